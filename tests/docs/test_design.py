"""Comments refer to sections of docs/design.md and docs/facts.md; each of these references leads to a heading there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {"DESIGN": ROOT / "docs" / "design.md", "FACTS": ROOT / "docs" / "facts.md"}
FOLDERS = ("pipelines", "assets", "tests", "bench", "docs")
SUFFIXES = {".py", ".sql", ".md", ".js", ".ts", ".toml", ".yaml", ".yml", ".sh", ".html", ".css"}
HEADING = re.compile(r"^#+ (\d+(?:\.\d+)?)\.? ", re.MULTILINE)
NUMBER = r"\d+(?:\.\d+)?"
# `DESIGN 4`, `DESIGN 3.7, 4`, `DESIGN 4.3 to 4.5`; the name without a section is found too.
REFERENCE = re.compile(rf"(?<!\w)(DESIGN|FACTS)\b(?: ({NUMBER}(?:(?:, | to | and ){NUMBER})*))?")
# Documents that do not come with the code.
ELSEWHERE = re.compile(r"\bSTYLE(?:\.md|:| \d)|\b(?:DESIGN|FACTS)\.md")


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of every file that may refer to the documents, but this one."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__).resolve():
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def references(document: str) -> Iterator[tuple[str, str | None]]:
    """Where a document is referred to, and the section; None: no section is named."""
    for path, text in texts():
        for match in REFERENCE.finditer(text):
            if match[1] == document:
                where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
                for section in re.findall(NUMBER, match[2]) if match[2] else [None]:
                    yield where, section


def sections(document: str) -> list[str]:
    return HEADING.findall(DOCUMENTS[document].read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_section_has_a_number_of_its_own(document: str) -> None:
    found = sections(document)
    assert found
    assert len(found) == len(set(found))
    assert found == sorted(found, key=lambda number: [int(part) for part in number.split(".")])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_reference_leads_to_a_section(document: str) -> None:
    found, known = list(references(document)), set(sections(document))
    assert len(found) > 10
    lost = [f"{where}: {document} {section or 'names no section'}" for where, section in found if section not in known]
    assert lost == [], "\n".join(lost)


def test_no_reference_leads_to_a_document_that_does_not_come_with_the_code() -> None:
    lost = [f"{path}: {match[0]}" for path, text in texts() for match in ELSEWHERE.finditer(text)]
    assert lost == [], "\n".join(lost)


def test_tables_and_required_columns_are_those_of_the_contract() -> None:
    text = DOCUMENTS["DESIGN"].read_text(encoding="utf-8")
    headings = re.findall(r"^### 4\.[1-6] (.+)$", text, re.MULTILINE)
    named = {name for heading in headings for name in heading.split(" and ")}
    assert named
    assert named <= {table.name for table in published_tables(include_full_data=False)}
    (required,) = re.findall(r"Required\s+are\s+([^.]+)\.", text)
    for stated, table in zip(re.split(r",\s+and\s+", required), SOURCE_TABLES, strict=True):
        *columns, of = re.findall(r"`(\w+)`", stated)
        assert of == table.name
        assert sorted(columns) == sorted(name for name, column in table.schema.columns().items() if not column.nullable)
