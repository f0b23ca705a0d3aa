"""Every endpoint's answers, cell by cell, against SQL in PostgreSQL."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import openpyxl
import psycopg
import pytest
from psycopg import sql

from pipelines.query.batch.batches import batch_of
from pipelines.query.batch.files import BatchFormat, BatchOptions, stream_batch
from tests.batch.kit import reader_of, time_text
from tests.exporting import export, settings_for
from tests.oracle.postgres import Cluster
from tests.oracle.query import oracle_sql
from tests.oracle.source import create_source_tables, load_csv_dir
from tests.serving.conftest import Source
from tests.serving.kit import Client, Served, export_path, served, with_query

pytestmark = [pytest.mark.integration, pytest.mark.standard]

Row = dict[str, Any]
Thing = TypeVar("Thing")


def number(text: str) -> float | int:
    """A JSON number as every reader takes it: beyond 2^53 as a double, however many digits it is written with."""
    value = float(text)
    return int(text) if text.lstrip("-").isdigit() and abs(value) <= 2**53 else value


def parse(text: str | bytes) -> Any:
    return json.loads(text, parse_int=number, parse_float=number)


def some(things: Sequence[Thing], most: int = 120) -> list[Thing]:
    """All of few; of many those whose text is longest, and others spread over the rest."""
    if len(things) <= most:
        return list(things)
    longest = sorted(things, key=lambda thing: len(repr(thing)))[-most // 4 :]
    return longest + list(things[:: -(-len(things) // (most - len(longest)))])


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Wanted:
    """What PostgreSQL itself makes of its tables, as JSON with the times of the answers."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, table: str) -> list[Row]:
        """A published table in its order, computed by the oracle's SQL."""
        body = oracle_sql(self._connection, table)
        described = self._connection.execute(f"SELECT * FROM ({body}) AS t LIMIT 0".encode()).description or ()
        columns = ", ".join(
            f'{time_text(column.name) if column.type_code == 1114 else column.name} AS "{column.name}"'
            for column in described
        )
        numbered = f"SELECT row_number() OVER () AS place, t.* FROM ({body}) AS t"
        query = (
            f"SELECT (to_jsonb(shown) - 'place')::text FROM (SELECT place, {columns} FROM ({numbered}) AS numbered)"
            " AS shown ORDER BY place"
        )
        with self._connection.transaction():
            self._connection.execute("SET LOCAL enable_nestloop = off")
            return [parse(row[0]) for row in self._connection.execute(query.encode())]


@pytest.fixture(scope="module", params=["hostile", "real"])
def case(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A source, and the server of its export."""
    if request.param == "hostile":
        yield request.getfixturevalue("hostile"), request.getfixturevalue("hostile_server")
        return
    folder = request.getfixturevalue("shared_data")
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, folder)
        source = Source(database, export(settings_for(database, tmp_path_factory.mktemp("exports"))))
        with served(source.export_dir) as server:
            yield source, server


@pytest.fixture(scope="module")
def wanted(case: tuple[Source, Served]) -> dict[str, list[Row]]:
    tables = ("domain_exports", "candidate_exports", "unique_domains", "entities", "batch_summaries")
    with case[0].database.connect() as connection:
        oracle = Wanted(connection)
        return {table: oracle.rows(table) for table in tables}


@pytest.fixture(scope="module")
def client(case: tuple[Source, Served]) -> Iterator[Client]:
    with Client(case[1].port) as client:
        yield client


def reported(client: Client, path: str) -> Any:
    answer = client.ask(path)
    assert answer.status == 200, (path, answer.body)
    return without_old_keys(parse(answer.body))


def without_old_keys(value: Any) -> Any:
    """The answer without its camelCase keys, each of which says what its new one says."""
    if isinstance(value, list):
        return [without_old_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    old = {camel(name): name for name in value if "_" in name}
    assert {name: value[name] for name in old} == {name: value[new] for name, new in old.items()}
    return {name: without_old_keys(item) for name, item in value.items() if name not in old}


def test_candidates_of_domains(client: Client, wanted: dict[str, list[Row]]) -> None:
    of_domain: dict[int, list[Row]] = {row["domain_id"]: [] for row in wanted["domain_exports"]}
    for row in wanted["candidate_exports"]:
        of_domain[row["domain_id"]].append({**row, "gleif_full_data": None})
    assert of_domain
    for domain_id, rows in some(list(of_domain.items())):
        assert reported(client, f"/domains/{domain_id}/candidates") == rows


def test_domains_with_their_history(client: Client, wanted: dict[str, list[Row]]) -> None:
    history: dict[str, list[Row]] = {}
    for row in wanted["domain_exports"]:
        history.setdefault(row["domain_hash"], []).append(row)
    asked = 0
    for row in some(wanted["unique_domains"]):
        name = row["domain"]
        if len(name) > 2000:  # the limit of the parameter
            continue
        rows = history[row["domain_hash"]][:1000]
        found = reported(client, with_query("/domains", name=f" {name}\t", limit=1000))
        assert found == {**row, "history": rows, "next": None}
        asked += 1
    assert asked


def test_the_history_of_a_domain_in_pages(client: Client, wanted: dict[str, list[Row]]) -> None:
    row = max(
        (row for row in wanted["unique_domains"] if len(row["domain"]) <= 2000), key=lambda row: row["result_count"]
    )
    ids: list[int] = []
    following: str | None = f"?{urlencode({'name': row['domain'], 'limit': 1})}"
    while following is not None:
        page = reported(client, f"/domains{following}")
        ids += [found["domain_id"] for found in page["history"]]
        following = page["next"]
    assert len(ids) == row["result_count"] > 1
    assert ids == sorted(set(ids))


def test_entities(client: Client, wanted: dict[str, list[Row]]) -> None:
    assert wanted["entities"]
    for row in some(wanted["entities"]):
        assert reported(client, f"/entities/{quote(row['lei_code'], safe='')}") == row


def test_every_batch_alone_and_in_pages(client: Client, wanted: dict[str, list[Row]]) -> None:
    rows = wanted["batch_summaries"]
    for row in some(rows):
        assert reported(client, f"/batches/{quote(row['batch_id'], safe='')}") == row
    pages: list[Row] = []
    following: str | None = "?limit=17&descending=false"
    while following is not None:
        page = reported(client, f"/batches{following}")
        assert (page["total"], page["limit"], page["offset"]) == (len(rows), 17, len(pages))
        pages += page["items"]
        following = page["next"]
    assert pages == rows


@pytest.mark.parametrize("column", ["result_count", "candidate_count", "success_pct", "first_created_at"])
@pytest.mark.parametrize("descending", [False, True])
def test_batches_in_another_order(
    client: Client, wanted: dict[str, list[Row]], column: str, *, descending: bool
) -> None:
    found = reported(client, with_query("/batches", sort=column, descending=descending, limit=1000))["items"]
    known = [row[column] for row in found if row[column] is not None]
    assert known == sorted(known, reverse=descending)
    assert [row[column] for row in found[len(known) :]] == [None] * (len(found) - len(known))
    assert sorted(found, key=lambda row: row["batch_id"]) == sorted(
        wanted["batch_summaries"], key=lambda row: row["batch_id"]
    )


@pytest.mark.parametrize("text", ["com", "GmbH", "%%", "__", "''", "EXAMPLE", "zzzzqqqq"])
def test_search_finds_what_postgres_finds(case: tuple[Source, Served], client: Client, text: str) -> None:
    with case[0].database.connect() as connection:
        lowered = f"lower({sql.Literal(text).as_string(connection)})"
        has = " OR ".join(
            f"strpos(lower({column} COLLATE pg_unicode_fast), {lowered}) > 0" for column in ("domain", "company_name")
        )
        query = (
            f"SELECT domain_id FROM ({oracle_sql(connection, 'domain_exports')}) AS t WHERE {has} ORDER BY domain_id"
        )
        found = [row[0] for row in connection.execute(query.encode())]
    ids: list[int] = []
    following: str | None = f"?{urlencode({'limit': 100, 'q': text})}"
    while following is not None:
        page = reported(client, f"/search{following}")
        ids += [row["domain_id"] for row in page["items"]]
        following = page["next"]
        assert page["has_more"] == (following is not None)
    assert sorted(ids) == found


@pytest.mark.parametrize("form", list(BatchFormat))
def test_an_export_is_the_file_of_the_command(case: tuple[Source, Served], client: Client, form: BatchFormat) -> None:
    """The files' cells are compared with PostgreSQL in tests/batch; here, that the same bytes are sent."""
    snapshot = case[0].snapshot
    ids = snapshot.scan("batch_summaries").collect()["batch_id"].sort().to_list()
    with reader_of(snapshot) as reader:
        for batch_id in some(ids, 30 if form.is_text else 10):
            answer = client.ask(export_path(batch_id, form.value))
            assert answer.status == 200, batch_id
            assert answer.headers["snapshot-id"] == snapshot.manifest.id
            written = b"".join(stream_batch(batch_of(reader, batch_id), form, BatchOptions()))
            assert _content(answer.body, form) == _content(written, form), batch_id


def _content(file: bytes, form: BatchFormat) -> Any:
    """What is compared: bytes, but of a workbook its cells, since it holds the time of its making."""
    if form is not BatchFormat.XLSX:
        return file
    book = openpyxl.load_workbook(io.BytesIO(file), read_only=True)
    return [[list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book]


def test_batch_ids_of_any_characters(hostile: Source, hostile_server: Served) -> None:
    ids = hostile.snapshot.scan("batch_summaries").collect()["batch_id"].to_list()
    assert any("\n" in batch_id for batch_id in ids)
    for batch_id in ids:
        told_id = json.loads(hostile_server.ask(f"/batches/{quote(batch_id, safe='')}").body)["batch_id"]
        assert told_id == batch_id
