"""Every route through a client that openapi-python-client generated; prints what came as JSON.

python every_route.py http://127.0.0.1:8000 [token]
"""

import json
import sys
from hashlib import sha256

from lei_exports_client.api.batches import (
    export_batch,
    get_batch,
    get_batch_as_csv,
    get_batch_as_json,
    get_batch_as_ndjson,
    get_batch_as_parquet,
    get_batch_as_xlsx,
    list_batches,
)
from lei_exports_client.api.domains import get_domain, list_candidates, search_domains
from lei_exports_client.api.entities import get_entity
from lei_exports_client.api.server import get_health, get_readiness
from lei_exports_client.client import AuthenticatedClient
from lei_exports_client.models import BatchFormat, BatchOrder, Problem

url, token = sys.argv[1], (sys.argv[2:] or ["none"])[0]
client = AuthenticatedClient(base_url=url, token=token)

page = list_batches.sync(client=client, sort=BatchOrder.CANDIDATE_COUNT, descending=True, limit=1)
batch_id = page.items[0].batch_id
rows = get_batch_as_json.sync(batch_id, client=client)
row = next(row for row in rows if row.candidates)
texts = {
    "csv": get_batch_as_csv.sync(batch_id, client=client).encode(),
    "ndjson": get_batch_as_ndjson.sync(batch_id, client=client).encode(),
}
files = {
    "xlsx": get_batch_as_xlsx.sync(batch_id, client=client).payload.read(),
    "parquet": get_batch_as_parquet.sync(batch_id, client=client).payload.read(),
}
unknown = get_batch.sync("nowhere", client=client)
if not isinstance(unknown, Problem):
    sys.exit("an unknown batch is a problem document")
found = {
    "health": get_health.sync(client=client).status,
    "snapshot": get_readiness.sync(client=client).snapshot_id,
    "batches": page.total,
    "next": page.next_,
    "batch": [batch_id, get_batch.sync(batch_id, client=client).result_count],
    "rows": len(rows),
    "candidates": [row.domain_id, len(list_candidates.sync(row.domain_id, client=client)), len(row.candidates)],
    "domain": len(get_domain.sync(client=client, name=row.domain).history),
    "entity": get_entity.sync(row.candidates[0].lei_code, client=client).legal_name,
    "search": search_domains.sync(client=client, q=row.domain).items[0].domain,
    "unknown": [unknown.status, unknown.title],
    "files": {name: sha256(content).hexdigest() for name, content in (texts | files).items() if name != "xlsx"},
    "workbook": files["xlsx"][:2].decode(),
    "exports": {
        form.value: sha256(export_batch.sync_detailed(batch_id, client=client, format_=form).content).hexdigest()
        for form in BatchFormat
        if form is not BatchFormat.XLSX
    },
}
print(json.dumps(found))
