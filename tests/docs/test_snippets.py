"""What the documents tell people to copy works: every SQL and Python block, on the sample, as it stands there."""

import re
import sys
from pathlib import Path

import pytest

from pipelines.snapshots.opening import Snapshot
from tests.forking import run_program

pytestmark = [pytest.mark.integration, pytest.mark.fast]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# Its blocks need object storage: tests/remote/test_documents.py runs them.
ELSEWHERE = {"object-storage.md"}
BLOCK = re.compile(r"^```(sql|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ANCHOR = re.compile(r"\]\((?!https?://)([^)#]*)#([^)]+)\)")
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")


def blocks(language: str) -> list[object]:
    return [
        pytest.param(match.group(2), id=f"{document.relative_to(ROOT)}-{number}")
        for document in DOCUMENTS
        for number, match in enumerate(BLOCK.finditer(document.read_text(encoding="utf-8")))
        if match.group(1) == language and document.name not in ELSEWHERE
    ]


@pytest.mark.parametrize("query", blocks("sql"))
def test_sql(snapshot: Snapshot, query: str) -> None:
    with snapshot.connect() as connection:
        rows = connection.execute(query).fetchall()
    assert rows, "a query of the documents shows something on the sample"


@pytest.mark.parametrize("code", blocks("python"))
def test_python(home: Path, code: str) -> None:
    done = run_program([sys.executable, "-c", code], cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_anchors_are_headings_of_the_page_they_name(document: Path) -> None:
    for target, anchor in ANCHOR.findall(document.read_text(encoding="utf-8")):
        text = ((document.parent / target) if target else document).read_text(encoding="utf-8")
        headings = [heading.lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
        assert anchor in {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}, (
            f"{target}#{anchor}"
        )


def test_every_page_links_to_the_glossary() -> None:
    """But those that follow the contract word by word, and what is generated."""
    without = {"glossary.md", "design.md", "facts.md", "SECURITY.md"}
    pages = [path for path in DOCUMENTS if path.name not in without and path.parent != ROOT / "data"]
    assert len(pages) > 15
    assert [path.name for path in pages if "glossary.md)" not in path.read_text(encoding="utf-8")] == []


def test_every_page_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in DOCUMENTS[4:] if f"(docs/{path.name})" not in text] == []


def test_files_that_contributors_are_sent_to_are_there() -> None:
    """But those of the table that is made up."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:pipelines|assets|tests|docs|examples|data|\.ci)/[\w./-]+)`", text))
    assert len(named) > 10
    assert [path for path in sorted(named) if not (ROOT / path).exists() and "status_summaries" not in path] == []


def test_settings_table_is_complete() -> None:
    from pipelines.settings import Settings  # noqa: PLC0415

    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_settings_table_of_the_server_is_complete() -> None:
    from pipelines.serving.settings import ServingSettings  # noqa: PLC0415

    text = (ROOT / "docs" / "from-express.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \|", text, re.MULTILINE))
    fields = ServingSettings.model_fields
    assert documented.keys() == {name.upper() for name in fields}
    for name, value in documented.items():
        field = fields[name.lower()]
        if field.default_factory is None and field.default not in (None, ()):
            assert value.strip() == str(field.default), name


def test_express_snippet_is_the_example() -> None:
    text = (ROOT / "docs" / "from-express.md").read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"^```js\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    example = (ROOT / "examples" / "express" / "server.js").read_text(encoding="utf-8").splitlines()
    assert lines
    assert set(lines) <= set(example)
