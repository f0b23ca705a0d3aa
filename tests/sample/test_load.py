import gzip
import hashlib
import re
import shutil
import threading
from pathlib import Path

import psycopg
import pytest
from stdnum import lei

from pipelines.contracts.source import SOURCE_TABLES
from pipelines.errors import SampleError
from pipelines.sample.csv_files import SAMPLE_DIR
from pipelines.sample.load import ensure_sample, is_empty, load_directory

pytestmark = [pytest.mark.integration, pytest.mark.fast]

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DOMAINS = "id,domain,status,batch_id,retry_count\n1,a.example,success,b1,0\n"
CANDIDATES = "id,domain_id,lei_code,legal_name\n1,1,X,Name\n2,1,Y,Other\n"


@pytest.fixture
def schema(url, request):
    """A schema of its own per test."""
    name = "s_" + hashlib.md5(request.node.nodeid.encode()).hexdigest()[:12]  # noqa: S324
    yield name
    with psycopg.connect(url) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@pytest.fixture
def query(url, schema):
    def run(statement):
        with psycopg.connect(url, options=f"-c search_path={schema}") as connection:
            return connection.execute(statement).fetchall()

    return run


@pytest.fixture
def write(tmp_path):
    def run(domains=DOMAINS, candidates=CANDIDATES):
        for name, content in (("domains", domains), ("gleif_candidates", candidates)):
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / f"{name}.csv").write_bytes(data)
        return tmp_path

    return run


# The sample


def test_sample_fills_every_known_column(url, schema, query):
    assert ensure_sample(url, schema)
    for table, expected in zip(SOURCE_TABLES, (62, 127), strict=True):
        columns = list(table.schema.columns())
        counts = query(f"SELECT count(*), {', '.join(f'count({c})' for c in columns)} FROM {table.name}")[0]
        assert counts[0] == expected
        assert [c for c, count in zip(columns, counts[1:], strict=True) if count == 0] == []


def test_sample_has_the_types_of_the_contract(url, schema, query):
    ensure_sample(url, schema)
    found = dict(
        query(
            "SELECT data_type, count(*)::int FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = 'domains' GROUP BY 1"
        )
    )
    assert found == {
        "bigint": 1, "integer": 8, "text": 36, "real": 1, "boolean": 2, "timestamp without time zone": 4,
    }  # fmt: skip


def test_sample_has_the_cases_that_its_readme_names(url, schema, query):
    ensure_sample(url, schema)
    assert query("SELECT id FROM domains WHERE confidence_score = 'NaN' AND NOT isfinite(processed_at)") == [(51,)]
    assert query("SELECT id FROM gleif_candidates WHERE weighted_score = 'Infinity'") == [(110,)]
    assert query("SELECT id FROM gleif_candidates WHERE lei_code IS NULL OR lei_code = '' ORDER BY 1") == [
        (119,),
        (120,),
    ]
    assert query("SELECT id FROM gleif_candidates WHERE entity_status = 'NULL' ORDER BY 1") == [(79,), (115,)]
    assert query("SELECT id FROM gleif_candidates WHERE jurisdiction = 'NA' ORDER BY 1") == [(51,), (85,)]
    assert query("SELECT id FROM gleif_candidates WHERE legal_name LIKE '%; %' ORDER BY 1") == [(88,), (89,)]
    assert query("SELECT id FROM gleif_candidates WHERE domain_id = 28") == [(69,)]
    assert query("SELECT company_name FROM domains WHERE id = 48") == [('Line One\nLine "Two"\r\nLine; Three, 🚀',)]
    assert query("SELECT id FROM domains WHERE batch_id LIKE '-%' ORDER BY 1 LIMIT 1") == [(25,)]
    assert query("SELECT (SELECT count(*) FROM gleif_candidates WHERE domain_id = 3), level2_candidates_count"
                 " FROM domains WHERE id = 3") == [(13, 10)]  # fmt: skip
    assert query("SELECT gleif_full_data FROM gleif_candidates WHERE id = 115") == [
        (' { "b":1,  "a" : 1.10, "a":2 }\n',)
    ]


def test_sample_codes_and_hashes_are_right_but_where_the_readme_says(url, schema, query):
    ensure_sample(url, schema)
    codes = query("SELECT id, lei_code FROM gleif_candidates WHERE lei_code IS NOT NULL ORDER BY id")
    wrong = [i for i, code in codes if not (re.fullmatch("[A-Z0-9]{18}[0-9]{2}", code) and lei.is_valid(code))]
    assert wrong == [111, 112, 113, 114, 120]
    primaries = query("SELECT DISTINCT primary_lei_code FROM domains WHERE primary_lei_code IS NOT NULL")
    assert all(lei.is_valid(code) for (code,) in primaries)
    names = query("SELECT id, domain, domain_hash FROM domains WHERE domain IS NOT NULL ORDER BY id")
    white = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
    hashes = [hashlib.md5(name.strip(white).lower().encode()).hexdigest() for _, name, _ in names]  # noqa: S324
    assert [i for (i, _, found), right in zip(names, hashes, strict=True) if found != right] == [46, 47, 55]


def test_sample_is_left_alone_where_one_table_is_there(url, schema, query):
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"CREATE VIEW {schema}.domains AS SELECT 1 AS id")
    assert not is_empty(url, schema)
    assert not ensure_sample(url, schema)
    assert query("SELECT to_regclass('gleif_candidates')") == [(None,)]


def test_sample_is_loaded_once_by_several_at_once(url, schema, query):
    done = []
    threads = [threading.Thread(target=lambda: done.append(ensure_sample(url, schema))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    assert query("SELECT count(*) FROM domains") == [(62,)]


# Files


@pytest.mark.skipif(not (REAL_DATA / "domains.csv").is_file(), reason=f"no real data in {REAL_DATA}")
def test_real_data_is_loaded(url, schema, query):
    assert load_directory(url, REAL_DATA, schema) == {"domains": 2824, "gleif_candidates": 5879}
    assert query("SELECT count(*), count(DISTINCT domain) FROM domains") == [(2824, 1107)]
    assert query("SELECT count(*) FROM gleif_candidates WHERE entity_status = 'NULL'") == [(19,)]
    assert query("SELECT created_at::text FROM domains WHERE id = 1") == [("2025-06-24 03:01:05.39",)]


def test_reload_replaces(url, schema, query, write):
    load_directory(url, SAMPLE_DIR, schema)
    assert load_directory(url, write(), schema) == {"domains": 1, "gleif_candidates": 2}
    assert query("SELECT * FROM domains") == [(1, "a.example", "success", "b1", 0)]
    assert load_directory(url, SAMPLE_DIR, schema) == {"domains": 62, "gleif_candidates": 127}


def test_gzip_is_loaded(url, schema, query, write, tmp_path):
    plain = write() / "domains.csv"
    (tmp_path / "domains.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert load_directory(url, tmp_path, schema) == {"domains": 1, "gleif_candidates": 2}


def test_null_and_empty_string_differ_and_defects_are_loadable(url, schema, query, write):
    text = 'id,domain,status,batch_id\n1,,"",NULL\n1,"  ",x,\n,a,,\n'
    load_directory(url, write(text), schema)
    assert query("SELECT * FROM domains") == [(1, None, "", "NULL"), (1, "  ", "x", None), (None, "a", None, None)]


def test_times_with_an_offset_become_utc(url, schema, query, write):
    text = "id,created_at\n1,2026-01-01T01:30:00+02:00\n2,2026-01-01 01:30:00.123456\n3,infinity\n4,\n"
    load_directory(url, write(text), schema)
    assert query("SELECT created_at::text FROM domains ORDER BY id") == [
        ("2025-12-31 23:30:00",),
        ("2026-01-01 01:30:00.123456",),
        ("infinity",),
        (None,),
    ]


def test_unknown_columns_become_text_and_absent_ones_stay_absent(url, schema, query, write):
    load_directory(url, write('"a ""b"", ü",id\n007,1\n'), schema)
    with_types = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()"
    assert query(with_types + " AND table_name = 'domains' ORDER BY ordinal_position") == [
        ('a "b", ü', "text"),
        ("id", "bigint"),
    ]
    assert query("SELECT * FROM domains") == [("007", 1)]


@pytest.mark.parametrize("text", ["\ufeff" + DOMAINS, DOMAINS.replace("\n", "\r\n"), DOMAINS.rstrip("\n")])
def test_byte_order_mark_and_line_ends(url, schema, query, write, text):
    assert load_directory(url, write(text), schema)["domains"] == 1
    assert query("SELECT * FROM domains") == [(1, "a.example", "success", "b1", 0)]


def test_a_header_alone_is_an_empty_table(url, schema, query, write):
    assert load_directory(url, write("id,domain\n", "id\n"), schema) == {"domains": 0, "gleif_candidates": 0}


def test_a_long_file_is_not_held_in_memory(url, schema, write, monkeypatch):
    sizes = []
    monkeypatch.setattr("pipelines.sample.csv_files._CHUNK_BYTES", 1000)
    write_ = psycopg.Copy.write
    monkeypatch.setattr(psycopg.Copy, "write", lambda copy, data: sizes.append(len(data)) or write_(copy, data))
    load_directory(url, write("id\n" + "1\n" * 5000), schema)
    assert max(sizes) == 1000


BAD = {
    "empty file": ("", "empty file"),
    "no header": ("1,a.example\n", "2 names without `id`"),
    "no id": ("domain,status\nx,y\n", "without `id`"),
    "duplicate header": ("id,domain,domain\n", "domain more than once"),
    "blank name": ("id,\n", "number 2"),
    "system column": ("id,ctid\n", "number 2"),
    "open quote in header": ('id,"dom\n', "quote that is not closed"),
    "header without end": ("id," + "x" * 70_000, "no end of it"),
    "header not utf-8": (b"id,\xff\n", "not UTF-8"),
    "utf-16": ("id,domain\n".encode("utf-16"), "not UTF-8"),
    "nul in header": ("id,a\0b\n", "number 2"),
    "wrong value": ("id,retry_count\n1,2\n2,SECRET\n", r"line 3, column retry_count. Expected: integer"),
    "wrong value after a line break": ('id,domain\n1,"a\nb"\nSECRET,c\n', r"line 4, column id"),
    "too large": ("id\n9223372036854775808\n", r"line 2, column id.*22003"),
    "no time": ("id,created_at\n1,SECRET\n", r"line 2, column created_at. Expected: timestamp"),
    "no such time": ("id,created_at\n1,2026-02-30\n", "line 2, column created_at.*22008"),
    "too few values": ("id,domain\n1,a\n2\n", r"line 3.*too few or too many values"),
    "too many values": ("id,domain\n1,a,SECRET\n", "line 2.*too few or too many values"),
    "open quote": ('id,domain\n1,"SECRET\n', "too few or too many values, or a quote"),
    "not utf-8": (b"id,domain\n1,SECRET\xff\n", "line 2.*not UTF-8"),
    "nul": ("id,domain\n1,a\n2,SECRET\0\n", "line 3.*NUL byte"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_and_the_old_tables_stay(url, schema, query, write, case):
    load_directory(url, write(), schema)
    content, message = BAD[case]
    with pytest.raises(SampleError, match=message) as caught:
        load_directory(url, write(content), schema)
    assert "domains.csv" in str(caught.value)
    assert "SECRET" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert query("SELECT * FROM domains") == [(1, "a.example", "success", "b1", 0)]
    assert query("SELECT count(*) FROM gleif_candidates") == [(2,)]


def test_a_bad_second_file_leaves_both_tables(url, schema, query, write):
    load_directory(url, write(), schema)
    with pytest.raises(SampleError, match=r"gleif_candidates\.csv.*line 2, column domain_id"):
        load_directory(url, write("id\n5\n", "id,domain_id\n1,x\n"), schema)
    assert query("SELECT id FROM domains") == [(1,)]


def test_missing_files_and_folders_are_named(url, schema, write, tmp_path):
    with pytest.raises(SampleError, match="is no folder"):
        load_directory(url, tmp_path / "none", schema)
    with pytest.raises(SampleError, match=r"table domains .*neither"):
        load_directory(url, tmp_path, schema)
    shutil.copy(write() / "domains.csv", tmp_path / "domains.csv.gz")
    with pytest.raises(SampleError, match="Found: both"):
        load_directory(url, tmp_path, schema)
    (tmp_path / "domains.csv").unlink()
    with pytest.raises(SampleError, match="can't be unpacked"):
        load_directory(url, tmp_path, schema)
    (tmp_path / "domains.csv.gz").write_bytes(gzip.compress(DOMAINS.encode() * 99)[:-9])
    with pytest.raises(SampleError, match="can't be unpacked"):
        load_directory(url, tmp_path, schema)


def test_a_view_in_the_way_is_named(url, schema, write):
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"CREATE VIEW {schema}.domains AS SELECT 1 AS id")
    with pytest.raises(SampleError, match=r"table domains can't be replaced.*drop that object"):
        load_directory(url, write(), schema)


def test_a_table_in_use_is_named(url, schema, write, monkeypatch):
    monkeypatch.setattr("pipelines.sample.load._LOCK_TIMEOUT", "100ms")
    load_directory(url, write(), schema)
    with psycopg.connect(url) as reader:
        reader.execute(f"SELECT * FROM {schema}.domains").fetchall()
        with pytest.raises(SampleError, match="another session holds the table"):
            load_directory(url, write(), schema)


def test_killed_while_loading_leaves_the_old_tables(url, schema, query, write, run_python):
    load_directory(url, write(), schema)
    loader = run_python(
        """
import sys
from pathlib import Path
from pipelines.sample import load
from pipelines.sample.csv_files import CsvFile
chunks = CsvFile.chunks
def slow(file):
    yield from chunks(file)
    print("ready", flush=True)
    if file.path.name == "gleif_candidates.csv":
        sys.stdin.read()
CsvFile.chunks = slow
load.load_directory(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
""",
        url,
        SAMPLE_DIR,
        schema,
    )
    assert [loader.stdout.readline() for _ in range(2)] == [b"ready\n", b"ready\n"]
    loader.kill()
    loader.wait()
    assert query("SELECT count(*) FROM domains") == [(1,)]
    assert load_directory(url, SAMPLE_DIR, schema)["domains"] == 62
