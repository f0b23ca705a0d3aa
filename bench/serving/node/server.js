// The application's way: Express and pg; a batch takes one query for its domains, then one query for each of them.
// PG* variables say where the database is. PARALLEL: how many of these queries are on their way at a time.
import express from "express";
import pg from "pg";

const parallel = Number(process.env.PARALLEL ?? 1);
const pool = new pg.Pool({ max: 10 });
// Times as our answers show them: UTC, milliseconds, whatever the zone of the machine (timestamp without time zone).
pg.types.setTypeParser(1114, (text) => new Date(`${text.replace(" ", "T")}Z`).toISOString());

// All columns but gleif_full_data, which is not in our answers either.
const CANDIDATE_COLUMNS = `id, domain_id, lei_code, legal_name, entity_status, jurisdiction, legal_form, entity_category,
  registration_status, gleif_match_score, weighted_score, rank_position, domain_tld_score, fortune500_score,
  name_match_score, entity_complexity_score, match_method, selection_reason, is_primary_selection, created_at`;
// A name makes it a prepared statement: parsed once a connection.
const CANDIDATES = {
  name: "candidates",
  text: `SELECT ${CANDIDATE_COLUMNS} FROM gleif_candidates WHERE domain_id = $1 ORDER BY rank_position NULLS LAST, id`,
};
const DOMAINS = { name: "domains", text: "SELECT * FROM domains WHERE batch_id = $1 ORDER BY id" };

async function candidatesOf(domainId) {
  return (await pool.query({ ...CANDIDATES, values: [domainId] })).rows;
}

const app = express();

app.get("/domains/:id/candidates", async (request, response) => {
  response.json(await candidatesOf(request.params.id));
});

app.get("/export/:batchId", async (request, response) => {
  const domains = (await pool.query({ ...DOMAINS, values: [request.params.batchId] })).rows;
  let next = 0;
  async function work() {
    while (next < domains.length) {
      const domain = domains[next++];
      domain.candidates = await candidatesOf(domain.id);
    }
  }
  await Promise.all(Array.from({ length: parallel }, work));
  response.json(domains);
});

app.get("/health", (request, response) => response.json({ status: "ok" }));
app.listen(Number(process.env.PORT), "127.0.0.1");
