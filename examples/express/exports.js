// Routes of an Express application that pass batches and candidates through from `lei-exports serve`.
//
//   app.use("/api", exportRoutes({ url: process.env.EXPORT_API_URL, token: process.env.EXPORT_API_TOKEN }));
//
// The token stays on this side: browsers talk to the application alone, which decides who may see what (put its own
// check before these routes).
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Router } from "express";

// What comes back of headers. The ETag is that of the snapshot: an unchanged batch is a 304.
const RESPONSE_HEADERS = [
  "content-type", "content-disposition", "content-length", "etag", "cache-control", "vary", "retry-after", "snapshot-id",
];

export function exportRoutes({ url = "http://127.0.0.1:8000", token, timeoutMs = 30_000 } = {}) {
  const router = Router();
  // Ids may hold any character, `/` too: they are encoded anew, never put into the path as they came.
  router.get("/export/:batchId", (request, response) =>
    pass(request, response, `/export/${encodeURIComponent(request.params.batchId)}`, ["format"]));
  router.get("/domains/:domainId/candidates", (request, response) =>
    pass(request, response, `/domains/${encodeURIComponent(request.params.domainId)}/candidates`, []));
  router.get("/batches", (request, response) =>
    pass(request, response, "/batches", ["sort", "descending", "limit", "offset"]));
  return router;

  async function pass(request, response, path, parameters) {
    const target = new URL(path, url);
    for (const name of parameters) {
      if (typeof request.query[name] === "string") target.searchParams.set(name, request.query[name]);
    }
    // Not compressed on the way here: fetch would unpack it. What compresses the application's answers does it to these.
    const headers = { "accept-encoding": "identity" };
    if (token) headers.authorization = `Bearer ${token}`;
    const known = request.headers["if-none-match"];
    if (known) headers["if-none-match"] = known;

    // Ends the request there when the caller hangs up here, or when no answer begins in time.
    const stop = new AbortController();
    response.on("close", () => stop.abort());
    const timer = setTimeout(() => stop.abort(), timeoutMs);
    let answer;
    try {
      answer = await fetch(target, { method: request.method, headers, signal: stop.signal });
    } catch {
      if (!response.destroyed) problem(response, 502, "The export server does not answer");
      return;
    } finally {
      clearTimeout(timer);
    }
    if (answer.status === 401) {
      // The application's token is wrong, not the caller's.
      await answer.body?.cancel();
      problem(response, 502, "The export server does not take the application's token");
      return;
    }
    response.status(answer.status);
    for (const name of RESPONSE_HEADERS) {
      const value = answer.headers.get(name);
      if (value !== null) response.setHeader(name, value);
    }
    if (answer.body === null) {
      response.end();
      return;
    }
    try {
      // At the caller's pace. Where it breaks off, so does this response: nobody takes half a file for a whole one.
      await pipeline(Readable.fromWeb(answer.body), response);
    } catch {
      response.destroy();
    }
  }
}

function problem(response, status, detail) {
  response.status(status).setHeader("content-type", "application/problem+json");
  response.end(JSON.stringify({ title: "Bad Gateway", status, detail }));
}
