"""What the command `run` says when it is stopped or fails: the truth about what is published, and the exit status."""

import sys
from pathlib import Path

import pytest

from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import export, settings_for
from tests.faults.kit import Operator
from tests.forking import run_program
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.publish.kit import ROOT
from tests.random_rows import random_rows

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]

# Starts `lei-exports run` with something that happens at one place: a Ctrl-C, or an error that is none of ours.
RUN = """
import os, signal, sys
from importlib import import_module
module, name, what = sys.argv[1].rpartition(".")[0], sys.argv[1].rpartition(".")[2], sys.argv[2]
real = getattr(import_module(module), name)
def happens(*arguments, **options):
    if what == "Ctrl-C":
        os.kill(os.getpid(), signal.SIGINT)
    else:
        raise RuntimeError("ROWSECRET")
    return real(*arguments, **options)
setattr(import_module(module), name, happens)
signal.signal(signal.SIGINT, signal.default_int_handler)
from assets.cli.commands import main
sys.argv = ["lei-exports", "run", "--full-refresh"]
main()
"""
BEFORE, AFTER = "pipelines.snapshots.publishing.promote", "pipelines.snapshots.publishing.prune_snapshots"
IN_THE_STEP, BEHIND_THE_RUN = "assets.defs.published._format_summary", "assets.cli.launch.show_publication"


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    fill_source(database, *random_rows(9, 40))
    export(settings_for(database, tmp_path / "exports"))
    return Operator(database, tmp_path)


def current(operator: Operator) -> Snapshot:
    snapshot = published_snapshot(operator.export_dir)
    verify_snapshot(snapshot)
    return snapshot


@pytest.mark.parametrize(
    ("place", "what", "is_published", "status"),
    [
        ("pipelines.snapshots.assembly.write_manifest", "Ctrl-C", False, 130),
        (BEFORE, "Ctrl-C", True, 130),
        (AFTER, "Ctrl-C", True, 130),
        (BEHIND_THE_RUN, "Ctrl-C", True, 130),
        (BEFORE, "error", False, 1),
        (AFTER, "error", True, 0),
        (IN_THE_STEP, "error", True, 1),
    ],
)
def test_what_an_ended_run_says_is_true(
    operator: Operator,
    place: str,
    what: str,
    is_published: bool,  # noqa: FBT001
    status: int,
) -> None:
    before = current(operator).manifest
    done = run_program(
        [sys.executable, "-c", RUN, place, what],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": operator.database.url,
            "EXPORT_DIR": str(operator.export_dir),
            "DAGSTER_HOME": str(operator.home),
        },
        timeout=300,
    )
    assert done.returncode == status, done.stderr
    after = current(operator).manifest
    assert (after.sequence == before.sequence + 1) == is_published
    if status:
        assert (f"had published snapshot {after.id}" in done.stderr) == is_published, done.stderr
        assert ("the published snapshot is as it was" in done.stderr) == (not is_published)
    else:
        assert after.id in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.extended
def test_a_full_disk_below_standard_output_fails_no_run(operator: Operator) -> None:
    before = current(operator).manifest
    with Path("/dev/full").open("wb") as full:
        process = operator.start("run", "--full-refresh", stdout=full.fileno())
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Standard output could not be written: No space left on device" in err
    assert current(operator).manifest.sequence == before.sequence + 1


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("rollback", "1"), 0),
        (("prune",), 0),
        (("snapshots",), 1),
        (("snapshots", "--json"), 1),
        (("status",), 1),
        (("query", "FROM domain_exports"), 1),
        (("report", "--out", "-"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_that_only_shows_something_has_failed_then(
    operator: Operator, command: tuple[str, ...], status: int
) -> None:
    with Path("/dev/full").open("wb") as full:
        process = operator.start(*command, stdout=full.fileno())
    _, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "No space left on device" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", [["rollback", "1"], ["prune"], ["verify"]])
def test_an_interrupted_command_says_nothing_of_publishing(operator: Operator, command: list[str]) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pipelines.snapshots import opening as snapshots\n"
        "from assets.cli import commands\n"
        "real = snapshots.load_manifest\n"
        "def interrupt(folder):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(folder)\n"
        "snapshots.load_manifest = interrupt\n"
        f"sys.argv = ['lei-exports', *{command!r}]\n"
        "commands.main()\n"
    )
    done = run_program(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "EXPORT_DIR": str(operator.export_dir)},
        timeout=300,
    )
    assert done.returncode == 130, done.stderr
    assert "published" not in done.stdout + done.stderr
