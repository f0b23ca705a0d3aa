// Every route through openapi-fetch, with the types that openapi-typescript makes of /openapi.json; prints what came.
//
//   EXPORT_API_DOCUMENT=http://127.0.0.1:8000/openapi.json npm run generate && npm run build
//   EXPORT_API_URL=http://127.0.0.1:8000 EXPORT_API_TOKEN=… npm start
import { createHash } from "node:crypto";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Format = components["schemas"]["BatchFormat"];

const token = process.env.EXPORT_API_TOKEN;
const client = createClient<paths>({
  baseUrl: process.env.EXPORT_API_URL ?? "http://127.0.0.1:8000",
  headers: token ? { authorization: `Bearer ${token}` } : {},
});
const digest = (content: ArrayBuffer) => createHash("sha256").update(Buffer.from(content)).digest("hex");

async function of<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const page = await of(client.GET("/batches", { params: { query: { sort: "candidate_count", descending: true, limit: 1 } } }));
const batch_id = page.items[0]!.batch_id;
const byBatch = { params: { path: { batch_id } } };
const rows = await of(client.GET("/files/json/{batch_id}", byBatch));
const row = rows.find((one) => one.candidates.length > 0)!;
const file = { ...byBatch, parseAs: "arrayBuffer" } as const;
const workbook = await of(client.GET("/files/xlsx/{batch_id}", file));
const unknown = await client.GET("/batches/{batch_id}", { params: { path: { batch_id: "nowhere" } } });
const exported: [Format, string][] = [];
for (const format of ["json", "csv", "ndjson", "parquet"] satisfies Format[]) {
  const params = { path: { batch_id }, query: { format } };
  exported.push([format, digest(await of(client.GET("/export/{batch_id}", { params, parseAs: "arrayBuffer" })))]);
}
console.log(JSON.stringify({
  health: (await of(client.GET("/health"))).status,
  snapshot: (await of(client.GET("/ready"))).snapshot_id,
  batches: page.total,
  next: page.next,
  batch: [batch_id, (await of(client.GET("/batches/{batch_id}", byBatch))).result_count],
  rows: rows.length,
  candidates: [
    row.domain_id,
    (await of(client.GET("/domains/{domain_id}/candidates", { params: { path: { domain_id: row.domain_id } } }))).length,
    row.candidates.length,
  ],
  domain: (await of(client.GET("/domains", { params: { query: { name: row.domain } } }))).history.length,
  entity: (await of(client.GET("/entities/{lei_code}", { params: { path: { lei_code: row.candidates[0]!.lei_code } } }))).legal_name,
  search: (await of(client.GET("/search", { params: { query: { q: row.domain } } }))).items[0]!.domain,
  unknown: [unknown.error?.status, unknown.error?.title],
  files: {
    csv: digest(await of(client.GET("/files/csv/{batch_id}", file))),
    ndjson: digest(await of(client.GET("/files/ndjson/{batch_id}", file))),
    parquet: digest(await of(client.GET("/files/parquet/{batch_id}", file))),
  },
  workbook: Buffer.from(workbook).subarray(0, 2).toString(),
  exports: Object.fromEntries(exported),
}));
