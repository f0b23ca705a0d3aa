"""The server as a client meets it: a real uvicorn over a socket, on hostile rows."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from pipelines.reading.batch.batches import open_batch
from pipelines.reading.batch.files import BatchFormat, BatchOptions, stream_batch
from pipelines.reading.snapshots import Snapshot
from tests.exporting import export, settings_for
from tests.hostile import insert_hostile
from tests.oracle.postgres import Cluster
from tests.oracle.source import create_source_tables

pytestmark = pytest.mark.integration

SCRIPT = Path(sys.executable).with_name("lei-exports")


@pytest.fixture(scope="module")
def snapshot(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            insert_hostile(connection)
        return export(settings_for(database, tmp_path_factory.mktemp("exports")))


@contextmanager
def served(snapshot: Snapshot, **environment: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [SCRIPT, "serve", "--port", str(port)],
        env={**clean, "EXPORT_DIR": str(snapshot.folder.parents[1]), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                ask(f"{address}/health")
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def ask(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


@pytest.fixture(scope="module")
def address(snapshot: Snapshot) -> Iterator[str]:
    with served(snapshot) as url:
        yield url


@pytest.mark.parametrize("form", [BatchFormat.CSV, BatchFormat.JSON, BatchFormat.NDJSON])
def test_an_export_is_byte_for_byte_the_file_of_the_command(
    snapshot: Snapshot, address: str, form: BatchFormat
) -> None:
    # A path ends at a line break (Starlette's converter): an id that holds one is asked of the command instead.
    known = snapshot.scan("batch_summaries").collect()["batch_id"].to_list()
    batches = [batch_id for batch_id in known if not {"\r", "\n"} & set(batch_id)]
    assert batches
    for batch_id in batches:
        with open_batch(snapshot, batch_id) as batch:
            wanted = b"".join(stream_batch(batch, form, BatchOptions()))
        status, headers, body = ask(f"{address}/export/{quote(batch_id, safe='')}?format={form.value}")
        assert status == 200, batch_id
        assert body == wanted
        assert headers["snapshot-id"] == snapshot.manifest.id
        assert (
            ask(
                f"{address}/export/{quote(batch_id, safe='')}?format={form.value}", **{"If-None-Match": headers["etag"]}
            )[0]
            == 304
        )


def test_candidates_of_a_domain_are_in_rank_order(snapshot: Snapshot, address: str) -> None:
    candidates = snapshot.scan("candidate_exports").collect()
    busiest = candidates["domain_id"].mode().sort()[0]
    status, _, body = ask(f"{address}/domains/{busiest}/candidates")
    assert status == 200
    wanted = candidates.filter(domain_id=busiest)
    assert [c["candidateId"] for c in json.loads(body)] == wanted["candidate_id"].to_list()
    assert [c["legalName"] for c in json.loads(body)] == wanted["legal_name"].to_list()


def test_batches_are_listed_and_unknown_things_are_problem_documents(snapshot: Snapshot, address: str) -> None:
    told = json.loads(ask(f"{address}/batches?limit=100")[2])
    assert told["total"] == snapshot.record_of("batch_summaries").rows
    status, headers, body = ask(f"{address}/export/nowhere")
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(body)["status"] == 404
    assert ask(f"{address}/domains/2147483000/candidates")[0] == 404
    assert json.loads(ask(f"{address}/ready")[2])["snapshotId"] == snapshot.manifest.id


def test_a_token_is_asked_for_once_it_is_set(snapshot: Snapshot) -> None:
    with served(snapshot, EXPORT_API_TOKEN="a-long-enough-token-for-tests-0123456789") as url:
        assert ask(f"{url}/health")[0] == 200
        assert ask(f"{url}/batches")[0] == 401
        assert ask(f"{url}/batches", Authorization="Bearer wrong")[0] == 401
        right = "Bearer a-long-enough-token-for-tests-0123456789"
        assert ask(f"{url}/batches", Authorization=right)[0] == 200


def test_another_address_than_loopback_is_refused_without_a_token(snapshot: Snapshot) -> None:
    done = subprocess.run(
        [SCRIPT, "serve", "--host", "0.0.0.0", "--port", "0"],  # noqa: S104  the point of the test
        env={"PATH": os.environ["PATH"], "EXPORT_DIR": str(snapshot.folder.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode != 0
    assert "EXPORT_API_TOKEN" in done.stderr
