"""docs/troubleshooting.md: each message that it shows is what the program says when that really happens."""

import re
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assets.cli.commands import app
from pipelines.errors import ExportError
from pipelines.export import run_export
from pipelines.snapshots.opening import published_snapshot
from tests.docs.conftest import SAMPLE
from tests.docs.kit import ROOT
from tests.exporting import settings_for
from tests.forking import LEI_EXPORTS, run_program
from tests.integration.kit import as_role, role, run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, load_csv_dir

pytestmark = [pytest.mark.integration, pytest.mark.extended]

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (.+)\n((?:(?!^#{2,3} )[^\n]*\n)*)", re.MULTILINE)
BLOCK = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
REASONS = re.compile(r"^\| ((?!found|---)[^|]+) \| [^|]+ \|$", re.MULTILINE)
LABEL = re.compile(r"^(?:Error|expected|found|fix):? ", re.IGNORECASE)
# What is shown as a heading alone: such errors have tests of their own.
HEADINGS_OF_CODE = {
    "Two connections to the source share one server process": "pipelines/source/pooler.py",
    "Another run or command works on": "pipelines/system/file_lock.py",
    "too little room for this run": "pipelines/build/preflight.py",
    "The read took too long and was stopped": "pipelines/source/read_watchdog.py",
    "This server does not answer to the Host of the request": "assets/cli/web.py",
    "lei-exports needs Python 3.11 to 3.14": "Makefile",
}


class World:
    """A source that is published, and the program beside it.

    Attributes:
        source: The database; a symptom may spoil it.
        folder: Where EXPORT_DIR and the other folders are.
    """

    def __init__(self, source: Database, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.export_dir = folder / "exports"
        self._settings = settings_for(source, self.export_dir)

    def publish(self) -> str:
        """Run the export; what it says where it fails."""
        try:
            run_export(self._settings, full_refresh=True)
        except ExportError as error:
            return str(error)
        return ""

    def run(self, *arguments: str, **variables: str) -> str:
        """What a command says; without `DATABASE_URL` it is that of the source, blank is unset."""
        places = {"EXPORT_DIR": "exports", "EMBEDDED_DIR": "postgres", "DAGSTER_HOME": "home"}
        environment: dict[str, str | None] = {name: str(self.folder / place) for name, place in places.items()}
        environment |= {"DATABASE_URL": self.source.url, **variables}
        environment = {name: value or None for name, value in environment.items()}
        done = CliRunner().invoke(app, arguments, env=environment)
        if done.exception is not None and not isinstance(done.exception, (ExportError, SystemExit)):
            raise done.exception
        return f"{done.output} {done.exception or ''}"


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    with database.connect() as connection:
        create_source_tables(connection)
        load_csv_dir(connection, SAMPLE)
    return World(database, tmp_path)


def cant_read(world: World) -> str:
    with role(world.source) as name:
        run_sql(world.source, f'GRANT SELECT ON domains TO "{name}"')
        refused = world.run("doctor", DATABASE_URL=as_role(world.source, name).url)
    run_sql(world.source, "ALTER TABLE domains RENAME COLUMN status TO state")
    return refused + world.run("doctor")


def locked(world: World) -> str:
    with world.source.connect() as connection:
        connection.execute("LOCK TABLE domains IN ACCESS EXCLUSIVE MODE")
        return world.run("doctor")


def another_source(world: World) -> str:
    world.publish()
    return world.run("doctor", DATABASE_URL="")


def shrunk(world: World) -> str:
    world.publish()
    run_sql(world.source, "DELETE FROM gleif_candidates")
    return world.publish()


def rolled_back(world: World) -> str:
    world.publish()
    world.publish()
    world.run("rollback", "1")
    return world.run("status")


def lost_column(world: World) -> str:
    world.publish()
    run_sql(world.source, "ALTER TABLE domains RENAME COLUMN company_name TO firm")
    world.publish()
    return world.run("status")


def damaged(world: World) -> str:
    world.publish()
    snapshot = published_snapshot(world.export_dir)
    snapshot.database_path.chmod(0o644)
    snapshot.database_path.write_bytes(b"")
    return world.run("status")


def no_batch(world: World) -> str:
    world.publish()
    return world.run("batch", "nosuch")


def taken_port(_: World) -> str:
    with socket.socket() as with_lineage:
        with_lineage.bind(("127.0.0.1", 0))
        with_lineage.listen()
        return serve("--port", str(with_lineage.getsockname()[1]))


def serve(*arguments: str) -> str:
    """The server replaces its process, so it is started as one."""
    program = LEI_EXPORTS
    done = run_program([program, "serve", *arguments], timeout=240)
    assert done.returncode == 1
    return done.stdout + done.stderr


SYMPTOMS: dict[str, Callable[[World], str]] = {
    "Settings can't be used": lambda world: world.run("doctor", KEEP_SNAPSHOTS="none"),
    "Can't connect to the source PostgreSQL": lambda world: world.run(
        "doctor", DATABASE_URL="postgresql://reader:secret@127.0.0.1:1/app"
    ),
    "DATABASE_URL can't be read": lambda world: world.run(
        "doctor", DATABASE_URL="postgresql://reader:secret@db.example/app?schema=public"
    ),
    "Source table can't be read": cant_read,
    "Source table is missing": lambda world: world.run("doctor", SOURCE_SCHEMA="nowhere"),
    "Another session holds the table exclusively": locked,
    "This run reads another source": another_source,
    "Blocking checks failed": shrunk,
    "Nothing is published yet": lambda world: world.run("status"),
    "The data is old, though runs succeed": rolled_back,
    "A column is NULL everywhere": lost_column,
    "A published file is damaged": damaged,
    "A batch or snapshot is not found": no_batch,
    "The server can't listen": taken_port,
    "The server would be open to other machines without a token": lambda _: serve("--host", "0.0.0.0"),  # noqa: S104
}
SHOWN = {
    title: [line for block in BLOCK.findall(body) for line in block.splitlines()]
    for title, body in SECTION.findall(TEXT)
}


def test_every_message_has_its_symptom_here() -> None:
    assert {title for title, lines in SHOWN.items() if lines} == set(SYMPTOMS)


@pytest.mark.parametrize("title", SYMPTOMS)
def test_the_program_says_what_the_page_shows(title: str, world: World) -> None:
    said = " ".join(SYMPTOMS[title](world).split())
    for line in SHOWN[title]:
        if line != "or":
            assert LABEL.sub("", line) in said, said
    assert "reader:secret" not in said


@pytest.mark.fast
def test_headings_are_the_words_of_the_code() -> None:
    for words, file in HEADINGS_OF_CODE.items():
        assert words in (ROOT / file).read_text(encoding="utf-8").replace('"\n            f"', ""), words
        assert any(words.removeprefix("too ") in title or words in title for title in SHOWN), words


@pytest.mark.fast
def test_reasons_of_a_refusal_are_the_words_of_the_code() -> None:
    code = "".join(
        (ROOT / "pipelines" / "source" / f"{name}.py").read_text() for name in ("refusal", "sqlstates", "wire")
    )
    reasons = [reason for cell in REASONS.findall(TEXT) for reason in cell.split("; ")]
    assert len(reasons) > 8
    assert [reason for reason in reasons if f'"{reason}' not in code] == []


def test_its_commands_work(world: World) -> None:
    world.publish()
    lines = [line for block in COMMANDS.findall(TEXT) for line in block.splitlines()]
    assert len(lines) > 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "lei-exports"
        said = world.run(*arguments)
        assert said.strip()
        assert "Fix:" not in said, "the text of an error"
