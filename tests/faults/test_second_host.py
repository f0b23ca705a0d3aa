"""Two hosts export to one folder on which locks do nothing: no damaged snapshot, and the loser says what happened."""

import json
import os
import sys
from pathlib import Path

import pytest

from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import export, settings_for
from tests.faults.kit import Operator
from tests.faults.test_stopping import is_reading
from tests.forking import run_program
from tests.integration.kit import make_slow
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.publish.kit import ROOT
from tests.random_rows import random_rows
from tests.system.kit import held_by_another_process, library_without_flock
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]

# Where the first run is when the second one begins. On the code before the token two in eight rounds did damage.
STAGES = ["start", "start", "start", "read", "build", "summarize", "publish", "publish", "start", "publish"]


@pytest.fixture(scope="module")
def no_flock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process for which flock does nothing."""
    return {"LD_PRELOAD": str(library_without_flock(tmp_path_factory.mktemp("noflock")))}


def test_two_runs_at_once_never_damage_a_snapshot(database: Database, tmp_path: Path, no_flock: dict[str, str]) -> None:
    fill_source(database, *random_rows(5, 300))
    done = run_program(
        [sys.executable, "-m", "tests.faults.second_host", database.url, tmp_path, *STAGES],
        env={**os.environ, **no_flock, "PYTHONPATH": str(ROOT)},
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["stage"] for result in rounds] == STAGES
    assert [result for result in rounds if result["damage"]] == []
    losers = [end for result in rounds for end in result["runs"] if end[0] != "published"]
    assert {kind for kind, _ in losers} <= {"LockLostError", "BusyError"}, losers
    assert len(losers) >= len(STAGES) // 2, "most of these runs meet"
    assert all("EXPORT_DIR" in text or "Another run" in text for _, text in losers)
    assert all(any(end[0] == "published" for end in result["runs"]) for result in rounds)
    # With locks that work, the next run cleans up and needs no help.
    snapshot = export(settings_for(database, tmp_path, segment_size=100), full_refresh=True)
    verify_snapshot(snapshot)
    assert len(list((tmp_path / "staging").glob("*/"))) == 1
    assert [path.name for path in (tmp_path / "snapshots").glob(".*")] == []


def test_the_command_says_who_took_the_lock(operator: Operator, no_flock: dict[str, str]) -> None:
    before = current_snapshot(operator.export_dir)
    make_slow(operator.database, 0.01)  # it reads for 5 s: meanwhile another interpreter starts
    process = operator.start("run", "--full-refresh", **no_flock)
    wait_until(lambda: is_reading(operator.database))
    with held_by_another_process(operator.export_dir, **no_flock) as other:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 1, out + err
    assert f"process {other.pid} on host {os.uname().nodename}" in err
    assert "the published snapshot is as it was" in err
    assert "Traceback" not in err
    assert current_snapshot(operator.export_dir) == before
