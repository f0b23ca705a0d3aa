"""`status`, `query` and `report` on a published snapshot, in process; no Dagster."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assets.cli.commands import app
from pipelines.errors import QueryError, ReportError, SnapshotError
from tests.exporting import export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.published import PublishedSources
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.fast]


def publish_rows(database: Database, export_dir: Path) -> None:
    fill_source(database, *random_rows(4, 80))
    export(settings_for(database, export_dir))


@pytest.fixture
def published(
    database: Database, published_sources: PublishedSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path / "exports"))
    monkeypatch.chdir(tmp_path)
    return published_sources.publish(database, tmp_path / "exports", publish_rows).manifest.id


def test_status_says_what_is_published(published: str) -> None:
    reported = json.loads(CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False).stdout)
    assert reported["snapshot"] == published
    assert reported["last_checked"]["result"] == "published"
    assert reported["rolled_back"] is False
    assert published in CliRunner().invoke(app, ["status"], catch_exceptions=False).stdout


def test_query_answers_and_explains_what_it_can_not_run(published: str) -> None:
    done = CliRunner().invoke(app, ["query", "--json", "SELECT count(*) AS n, NULL AS m FROM entities"])
    assert json.loads(done.stdout).keys() == {"n", "m"}
    assert "domain_count" in CliRunner().invoke(app, ["query", "FROM entities LIMIT 1"]).stdout.replace("\n", "")
    for query in ("SELEC 1", "DELETE FROM entities", "FROM nowhere"):
        with pytest.raises(QueryError, match="DuckDB refuses"):
            CliRunner().invoke(app, ["query", query], catch_exceptions=False)


@pytest.mark.usefixtures("published")
def test_query_shows_lists_as_json_and_writes_csv() -> None:
    sql = "SELECT ['a\"b', NULL] AS l, {'d': DATE '2026-01-02'} AS s, '' AS e, NULL AS n, DATE '0001-01-01 (BC)' AS t"
    shown = CliRunner().invoke(app, ["query", sql], catch_exceptions=False).stdout
    assert r'["a\"b", null]' in shown
    assert '{"d": "2026-01-02"}' in shown
    rows = list(csv.reader(CliRunner().invoke(app, ["query", "--csv", sql]).stdout.splitlines()))
    assert rows[0] == ["l", "s", "e", "n", "t"]
    assert rows[1][:4] == [r'["a\"b", null]', '{"d": "2026-01-02"}', "", ""]
    assert rows[1][4].startswith(("0000-01-01", "-0001", "0001"))
    assert CliRunner().invoke(app, ["query", "--csv", "--json", sql]).exit_code == 2


@pytest.mark.usefixtures("published")
def test_query_shows_lists_whose_texts_hold_ends_of_lines() -> None:
    sql = "SELECT ['a' || chr(8232) || 'b' || chr(133) || 'c'] AS x"
    shown = CliRunner().invoke(app, ["query", sql], catch_exceptions=False).stdout
    assert r'["a\u2028b\x85c"]' in shown
    (row,) = csv.DictReader(io.StringIO(CliRunner().invoke(app, ["query", "--csv", sql]).stdout))
    assert json.loads(row["x"]) == ["a\u2028b\u0085c"]
    assert CliRunner().invoke(app, ["query", "--csv", f"{sql} LIMIT 0"]).stdout == "x\n"


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("INTERVAL 1 DAY", "1 day"),
        ("1::UNION(n INTEGER, t VARCHAR)", "1"),
        ("'101'::BIT", "101"),
        ("'ab'::BLOB", "6162"),
        ("5::BIGNUM", "5"),
        ("TIMESTAMP '290000-01-01'", "290000-01-01 00:00:00"),
        ("'infinity'::TIMESTAMPTZ", "infinity"),
        ("'-infinity'::DATE", "-infinity"),
        ("TIME '24:00:00'", "24:00:00"),
        ("'12:00:00+02'::TIMETZ", "12:00:00+02"),
        ("row(1, INTERVAL 1 DAY)", "(1, 1 day)"),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("sum(20)", 20),
        ("['a\\x00'::BLOB]", ["a\\x00"]),
        ("MAP {1: [INTERVAL 1 DAY]}", {"1": ["1 day"]}),
        ("{'a': [{'b': 'infinity'::TIMESTAMP}]}", {"a": [{"b": "infinity"}]}),
        ("TIMESTAMPTZ '2026-01-02 03:04:05.6+00'", "2026-01-02T03:04:05.600+00:00"),
    ],
)
def test_query_answers_with_values_of_every_type(value: str, shown: object) -> None:
    sql = f"SELECT {value} AS x"
    done = CliRunner().invoke(app, ["query", "--json", sql], catch_exceptions=False)
    assert json.loads(done.stdout) == {"x": shown}
    (row,) = csv.DictReader(io.StringIO(CliRunner().invoke(app, ["query", "--csv", sql]).stdout))
    if isinstance(shown, list | dict):
        assert json.loads(row["x"]) == shown
    elif not value.startswith("TIMESTAMPTZ"):
        assert row["x"] == str(shown)
    assert CliRunner().invoke(app, ["query", sql]).exit_code == 0


@pytest.mark.usefixtures("published")
def test_query_of_the_published_columns() -> None:
    sql = (
        "SELECT sum(gleif_candidate_count) AS n, count(*) AS c, max(processed_at - created_at) AS t FROM domain_exports"
    )
    row = json.loads(CliRunner().invoke(app, ["query", "--json", sql], catch_exceptions=False).stdout)
    assert type(row["n"]) is int
    assert row["c"] > 0


def test_report_is_one_file(published: str) -> None:
    CliRunner().invoke(app, ["report"], catch_exceptions=False)
    text = Path("report.html").read_text(encoding="utf-8")
    assert published in text
    assert "<script" not in text


def test_report_that_can_not_be_written_or_opened_says_so(published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReportError, match=r"nowhere/report\.html can't be written") as caught:
        CliRunner().invoke(app, ["report", "--out", "nowhere/report.html"], catch_exceptions=False)
    assert "--out" in caught.value.fix
    assert CliRunner().invoke(app, ["report", "--open", "--out", "-"]).exit_code == 2
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    said = CliRunner().invoke(app, ["report", "--open"], catch_exceptions=False).stdout
    assert f"No browser was found here; open {Path('report.html').resolve().as_uri()}" in said


def test_nothing_published_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path))
    for command in (["status"], ["query", "SELECT 1"], ["report"]):
        with pytest.raises(SnapshotError, match="lei-exports run"):
            CliRunner().invoke(app, command, catch_exceptions=False)
