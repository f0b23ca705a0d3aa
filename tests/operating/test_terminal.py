"""What the data holds is shown on a terminal as it is, and does nothing to it: values, ids, names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.system.printable import printable
from tests.exporting import export, settings_for
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, insert_source
from tests.terminal import show

pytestmark = [pytest.mark.integration, pytest.mark.standard]

# A new title for the window, a bell, a C1 control, a right-to-left override, an emoji code, markup, a link, lines.
HOSTILE = "\x1b]0;owned\x07\x9b6n\u202etxt :x: [bold]b[/bold] [link=http://e]l[/link]\r\n\t\x7fend"
SHOWN = "\\x1b]0;owned\\x07\\x9b6n\\u202etxt :x: [bold]b[/bold] [link=http://e]l[/link]\\r\\n\\t\\x7fend"
# A name of PostgreSQL has at most 63 bytes.
NAME = "\x1b]0;n\x07\x9bm\u202e:x: [bold]\nn"
SHOWN_NAME = "\\x1b]0;n\\x07\\x9bm\\u202e:x: [bold]\\nn"
# Of Rich itself: colours, and what moves the cursor for the bars.
STYLES = re.compile(r"\x1b\[[0-9;?]*[mABJKGhl]")
WIDE = 400


@pytest.fixture(scope="module")
def source(cluster: Cluster) -> Iterator[Database]:
    with cluster.new_database() as database:
        with database.connect() as connection:
            name = NAME.replace('"', '""')
            create_source_tables(connection, NAME, {"domains": {name: "text"}})
            domains = [
                {"id": 1, "domain": HOSTILE, "status": HOSTILE, "batch_id": HOSTILE, "company_name": HOSTILE, NAME: "x"}
            ]
            insert_source(connection, domains, [{"id": 1, "domain_id": 1, "lei_code": HOSTILE}], NAME)
        yield database


@pytest.fixture(scope="module")
def folder(source: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a person has in the current folder, with the source exported."""
    folder = tmp_path_factory.mktemp("terminal")
    export(settings_for(source, folder / "exports", source_schema=NAME))
    return folder


def on_a_terminal(folder: Path, source: Database, *arguments: str, **environment: str) -> str:
    """All that a command sends to its terminal, but for colours and bars."""
    settings = {"EXPORT_DIR": str(folder / "exports"), "DAGSTER_HOME": str(folder / "home"), "SOURCE_SCHEMA": NAME}
    shown = show(arguments, folder, {**settings, "DATABASE_URL": source.url, **environment}, WIDE)
    return STYLES.sub("", shown.sent.replace("\r\n", "\n"))


def assert_harmless(text: str, *expected: str, keep: str = "\n\r") -> None:
    assert printable(text, keep) == text, ascii(text)
    assert "❌" not in text
    for shown in expected:
        assert shown in text, ascii(text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT domain, batch_id FROM domain_exports", SHOWN),
        ("SELECT * FROM domain_exports", SHOWN),
        (f'SELECT domain_id AS "{HOSTILE}" FROM domain_exports', SHOWN),
        ("SELECT domain::INTEGER FROM domain_exports", SHOWN[:60]),
        (f"SELECT {HOSTILE}", SHOWN[:16]),
    ],
    ids=["table", "a line for each column", "name of a column", "error with a value", "error with the query"],
)
def test_a_query(folder: Path, source: Database, query: str, expected: str) -> None:
    assert_harmless(on_a_terminal(folder, source, "query", query), expected)


def test_a_query_as_json_is_exact_and_harmless(folder: Path, source: Database) -> None:
    text = on_a_terminal(folder, source, "query", "--json", "SELECT domain FROM domain_exports")
    assert_harmless(text)
    assert json.loads(text) == {"domain": HOSTILE}


def test_status_snapshots_and_verify(folder: Path, source: Database) -> None:
    assert_harmless(on_a_terminal(folder, source, "status"), SHOWN_NAME)
    assert_harmless(on_a_terminal(folder, source, "snapshots"))
    assert_harmless(on_a_terminal(folder, source, "verify"))
    assert json.loads(on_a_terminal(folder, source, "status", "--json"))["source"].endswith(NAME)


def test_a_batch_and_an_unknown_one(folder: Path, source: Database) -> None:
    assert_harmless(on_a_terminal(folder, source, "batch", HOSTILE, "--out", "x.csv"), f'"{SHOWN[:40]}')
    for form in ("csv", "json", "ndjson"):
        text = on_a_terminal(folder, source, "batch", HOSTILE, "--out", "-", "--format", form)
        assert_harmless(text, "owned")
    raw = (folder / "x.csv").read_bytes()
    assert b"\x1b]0;owned" in raw, "a file is exact"
    assert_harmless(on_a_terminal(folder, source, "batch", f"{HOSTILE}?"), SHOWN[:40])


@pytest.mark.extended
def test_a_run_says_names_of_the_source(folder: Path, source: Database) -> None:
    text = on_a_terminal(folder, source, "run", "--full-refresh")
    assert_harmless(text, f"left out: {SHOWN_NAME}", SHOWN_NAME)
    assert "Published" in text


def test_errors_and_doctor(folder: Path, source: Database) -> None:
    other = f"{NAME}2"
    text = on_a_terminal(folder, source, "run", SOURCE_SCHEMA=other)
    assert_harmless(text, f"{SHOWN_NAME}2")
    assert_harmless(on_a_terminal(folder, source, "doctor"), SHOWN_NAME)
    assert_harmless(on_a_terminal(folder, source, "rollback", HOSTILE), "owned")
    assert_harmless(on_a_terminal(folder, source, "status", EXPORT_DIR=str(folder / NAME)), SHOWN_NAME[:-3])


def test_text_that_is_harmless_is_left_alone() -> None:
    for text in (
        "株式会社\u3000サンプル",
        "Société\u00a0Générale",
        "\u0645\u06cc\u200c\u062e\u0648",
        "👩\u200d👩\u200d👧",
        "C:\\x1b",
        "ﬁ Ω ½",
    ):
        assert printable(text) == text
    assert printable("\ud800\u2028\ufeff\U000e0041") == "\\ud800\\u2028\\ufeff\\U000e0041"
