"""Segments and their fingerprints, whatever the ids are: as one plain query finds them (DESIGN 3.8)."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pipelines.contracts.records import Fingerprint, Fingerprints
from pipelines.contracts.segments import Segmentation, segment_name
from pipelines.errors import ExtractError
from pipelines.source.catalog import Relation, find_relations
from pipelines.source.fingerprint import Answer, changed_segments, take_fingerprints
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables

pytestmark = [pytest.mark.integration, pytest.mark.fast]

Connection = psycopg.Connection[tuple[Any, ...]]
SIZE = 100
ID_MIN, ID_MAX = -(2**63), 2**63 - 1
CHANCE = random.Random(5)  # noqa: S311
IDS: dict[str, Sequence[int]] = {
    "none": [],
    "one": [7],
    "negative": range(-250, 1),
    "dense": range(1, 1001),
    "first and last of all": [ID_MIN, ID_MIN + 1, -1, 0, 1, ID_MAX - 1, ID_MAX],
    "far apart": range(-(10**6), 10**8, 10**5),
    "random": sorted(CHANCE.randrange(ID_MIN, ID_MAX) for _ in range(700)),
    "dense ones far from each other": [*range(300), *range(10**12, 10**12 + 300), *range(ID_MAX - 299, ID_MAX + 1)],
    "dense ones at both ends": [*range(ID_MIN, ID_MIN + 300), *range(ID_MAX - 299, ID_MAX + 1)],
    # Ranges of 100 * 2^22 ids: the first is divided, into ranges of 102,400 ids, the second is not.
    "few behind many": [*range(300), 102_400, 102_450, *range(630_000_000, 630_000_500, 50), 10**12],
    "at the bounds of ranges": [
        SIZE * n + offset for n in (-4097, -1, 0, 1, 4095, 4096, 8192) for offset in (-1, 0, 99)
    ],
    "as many ranges as are asked at once": [0, SIZE * 4096 - 1],
    "one range more": [0, SIZE * 4096],
}


class Source:
    """Both tables, with any ids."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def fill(self, domains: Sequence[int], owners: Sequence[int | None]) -> None:
        self.connection.execute("DELETE FROM domains")
        self.connection.execute("DELETE FROM gleif_candidates")
        self.insert(domains, owners)

    def insert(self, domains: Sequence[int], owners: Sequence[int | None]) -> None:
        self.connection.execute(
            "INSERT INTO domains (id, domain, status, batch_id)"
            " SELECT id, 'd' || id, 'success', 'b' FROM unnest(%s::int8[]) AS id",
            [list(domains)],
        )
        self.connection.execute(
            "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name) SELECT"
            " (SELECT count(*) FROM gleif_candidates) + place, owner, 'L' || place, 'N'"
            " FROM unnest(%s::int8[]) WITH ORDINALITY AS t (owner, place)",
            [list(owners)],
        )

    def ask_both(self, ask: Callable[[Connection, Relation], Answer]) -> dict[str, Answer]:
        relations = find_relations(self.connection, "public", include_full_data=False)
        return {relation.table.name: ask(self.connection, relation) for relation in relations}

    def take(self, numbers: Sequence[int] | None = None) -> tuple[Segmentation, Fingerprints]:
        """Cut the ids, or take given segments; then their fingerprints. The rows are only counted to cut all ids."""
        segmentation, found = take_fingerprints(self.ask_both, SIZE, numbers)
        if numbers is not None:
            return segmentation, found
        again = take_fingerprints(self.ask_both, SIZE, segmentation.numbers)
        counted = {table: {name: one.rows for name, one in of_table.items()} for table, of_table in found.items()}
        assert counted == {t: {name: one.rows for name, one in of_table.items()} for t, of_table in again[1].items()}
        assert again[0] == segmentation
        assert {one.digest for of_table in found.values() for one in of_table.values()} <= {"0"}
        return again

    def summed(self, segmentation: Segmentation) -> Fingerprints:
        """Fingerprints of given segments, added up from those of single rows."""
        found: Fingerprints = {}
        for table, column in (("domains", "id"), ("gleif_candidates", "domain_id")):
            rows, sums = Counter[str](), Counter[str]()
            columns = {r.table.name: r for r in find_relations(self.connection, "public", include_full_data=False)}
            values = ", ".join(read.hashed.as_string(self.connection) for read in columns[table].read_columns)
            query = f"SELECT {column}, hashint8extended(0, hash_record_extended(row({values}), 0)) FROM {table}"
            for owner, digest in self.connection.execute(query):  # type: ignore[arg-type]
                name = segment_name(None if owner is None else segmentation.number_at(owner))
                rows[name] += 1
                sums[name] += digest
            found[table] = {name: Fingerprint(rows=rows[name], digest=str(sums[name])) for name in rows}
        return found


@pytest.fixture(scope="module")
def tables(cluster: Any) -> Iterator[Connection]:
    """Tables of ids of 8 bytes without rows."""
    with cluster.new_database() as database, database.connect() as connection:
        create_source_tables(connection)
        connection.commit()
        connection.autocommit = True
        for table, column in (("domains", "id"), ("gleif_candidates", "id"), ("gleif_candidates", "domain_id")):
            connection.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE int8")
        yield connection


@pytest.fixture
def source(tables: Connection) -> Source:
    return Source(tables)


def assert_is_cut_well(segmentation: Segmentation, domains: Sequence[int], owners: Sequence[int | None]) -> None:
    """No segment has too many rows that could be cut, and no two neighbours could be one."""
    rows = [Counter(map(segmentation.number_at, ids)) for ids in (domains, [o for o in owners if o is not None])]
    for number in segmentation.numbers:
        assert not segmentation.is_too_large(*(count[number] for count in rows)) or not segmentation.can_be_cut(number)
    for low, high in pairwise(segmentation.numbers):
        assert segmentation.is_too_large(*(count[low] + count[high] for count in rows))


@pytest.mark.parametrize("name", IDS)
def test_all_ids_are_cut_by_the_rows_that_there_are(source: Source, name: str) -> None:
    domains = IDS[name]
    owners = [None, *domains, *domains[::3]]
    source.fill(domains, owners)
    segmentation, found = source.take()
    assert_is_cut_well(segmentation, domains, owners)
    assert found == source.summed(segmentation)
    assert source.take(segmentation.numbers) == (segmentation, found), "the published segments stay"


def test_many_candidates_cut_as_well(source: Source) -> None:
    owners = [number for number in range(0, 3000, 10) for _ in range(25)]
    source.fill([], owners)
    segmentation, found = source.take()
    assert_is_cut_well(segmentation, [], owners)
    assert len(segmentation.numbers) > 5
    assert found == source.summed(segmentation)


def test_few_candidates_of_many_ids_are_one_segment(source: Source) -> None:
    source.fill([], range(0, 150 * 2 * SIZE, 2 * SIZE))
    assert source.take()[0].numbers == (0,)


def test_one_id_with_too_many_candidates_is_one_segment(source: Source) -> None:
    source.fill([150], [150] * (SIZE * 10 + 1))
    assert source.take()[0].numbers == (1,)


@pytest.mark.parametrize(("last", "most"), [(4095, 4096), (4096, 2049)])
def test_one_scan_asks_for_4_096_ranges_at_most(source: Source, last: int, most: int) -> None:
    """Memory of the server and of the run depends on it. With one range more all are twice as wide."""
    asked: list[int] = []

    class CountingCursor(psycopg.Cursor[tuple[Any, ...]]):
        def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(query, sql.Composed):
                asked.extend(len(found.split(",")) for found in re.findall(r"\{([-\d,]+)\}", query.as_string(self)))
            return super().execute(query, *arguments, **options)

    source.fill([0, SIZE * last], [])
    source.connection.cursor_factory = CountingCursor
    try:
        source.take()
    finally:
        source.connection.cursor_factory = psycopg.Cursor
    assert max(asked) + 1 == most, "n cuts make n + 1 ranges"


GROWN: dict[str, tuple[list[int], list[int], list[int]]] = {
    "behind": ([0, 1], [*range(0, 150, 2)], [*range(150, 700)]),
    "below the first": ([0, 1], [*range(0, 150, 2)], [*range(-700, 0)]),
    "between": ([0, 50], [*range(0, 100, 2), *range(5000, 5050)], [*range(1000, 1400)]),
    "not where it begins": ([0, 10], [5, 5000], [*range(6000, 6300)]),
    "far inside": (
        [0, 3, 10**11],
        [1, 350],
        [*range(360, 700), 102_400, 102_450, 102_650, *range(630_000_000, 630_000_500, 50), 10**12, 10**14],
    ),
    "in two at once": ([0, 50, 90], [*range(5), *range(5000, 5050)], [*range(1000, 1300), *range(6000, 6300)]),
    "at both ends": (
        [3, 9],
        [*range(300, 380), *range(900, 950)],
        [*range(-10_000, -9700), *range(10**15, 10**15 + 300)],
    ),
    "at the last id": ([0, 1], [1, 150], [*range(ID_MAX - 250, ID_MAX + 1), ID_MIN]),
    "at the first id": ([0, 1], [1, 150], [*range(ID_MIN, ID_MIN + 250), ID_MAX]),
    "around the first id": ([ID_MIN // SIZE, 1], [ID_MIN, 150], [*range(ID_MIN + 1, ID_MIN + 600)]),
}


@pytest.mark.parametrize("name", GROWN)
def test_a_segment_that_grows_is_cut_and_the_others_stay(source: Source, name: str) -> None:
    numbers, before, more = GROWN[name]
    source.fill(before, before)
    segmentation, published = source.take(numbers)
    assert (segmentation.numbers, published) == (tuple(numbers), source.summed(segmentation))
    source.insert(more, more[::2])
    cut, found = source.take(numbers)
    assert set(numbers) < set(cut.numbers)
    assert found == source.summed(cut)
    for number in cut.numbers:
        rows = [found[table].get(segment_name(number)) for table in found]
        assert not cut.is_too_large(*(0 if one is None else one.rows for one in rows)) or not cut.can_be_cut(number)
    changed = changed_segments(published, found)
    assert {segment_name(cut.number_at(number)) for number in more} <= changed
    assert source.take(cut.numbers) == (cut, found)


def test_a_segment_that_can_not_be_cut_stays(source: Source) -> None:
    owners = [150] * (SIZE * 10 + 1)
    source.fill([50, 150, 250], owners)
    segmentation, found = source.take([0, 1, 2])
    assert segmentation.numbers == (0, 1, 2)
    assert found == source.summed(segmentation)
    assert found["gleif_candidates"]["000001"].rows == len(owners)


def test_which_segments_changed() -> None:
    one, other = Fingerprint(rows=1, digest="5"), Fingerprint(rows=1, digest="6")
    before = {"domains": {"a": one, "b": one, "c": one}, "gleif_candidates": {"a": one}}
    now = {"domains": {"a": one, "b": other, "d": one}, "gleif_candidates": {"a": one, "e": one}}
    assert changed_segments(before, now) == {"b", "c", "d", "e"}
    assert changed_segments({}, now) == {"a", "b", "d", "e"}
    assert changed_segments(now, now) == frozenset()


def test_partitions_and_tables_without_any(source: Source, database: Database) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        connection.execute("ALTER TABLE domains RENAME TO plain")
        connection.execute("CREATE TABLE domains (LIKE plain) PARTITION BY RANGE (id)")
        partitioned = Source(connection)
        assert partitioned.take() == (Segmentation(SIZE), {"domains": {}, "gleif_candidates": {}})
        connection.execute("CREATE TABLE low PARTITION OF domains FOR VALUES FROM (MINVALUE) TO (150)")
        connection.execute("CREATE TABLE high PARTITION OF domains FOR VALUES FROM (150) TO (MAXVALUE)")
        partitioned.insert(range(400), range(400))
        segmentation, found = partitioned.take()
    assert segmentation.numbers == (0, 1, 2, 3)
    source.fill(range(400), range(400))
    assert source.take() == (segmentation, found), "the same rows in one table have the same fingerprints"


def test_a_failed_query_says_what_was_done(source: Source) -> None:
    relations = find_relations(source.connection, "public", include_full_data=False)
    with psycopg.connect(source.connection.info.dsn) as gone:
        pass
    with pytest.raises(ExtractError, match="looking for the ids of domains"):
        take_fingerprints(lambda ask: {relation.table.name: ask(gone, relation) for relation in relations}, SIZE, None)
