"""What Dagster keeps of runs has an end: old ones go, but for those that an asset's page still needs."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.defs.run_cleanup import delete_old_runs, try_delete_old_runs

pytestmark = [pytest.mark.orchestration, pytest.mark.standard]


@dg.asset
def rarely() -> None: ...


@dg.asset
def often() -> None: ...


@dg.op
def quiet() -> None: ...


@dg.job
def looks() -> None:
    quiet()


def files_of(home: Path) -> set[Path]:
    return {path.relative_to(home) for path in home.rglob("*") if path.is_file()}


def test_old_runs_go_and_leave_no_file(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        kept = dg.materialize([rarely], instance=instance).run_id
        before = files_of(tmp_path)
        runs = [looks.execute_in_process(instance=instance).run_id for _ in range(3)]
        runs.append(dg.materialize([often], instance=instance).run_id)
        latest = dg.materialize([often], instance=instance).run_id
        assert len(files_of(tmp_path)) > len(before)
        now = datetime.now(UTC)
        assert delete_old_runs(instance, timedelta(days=1), now) == 0
        later = now + timedelta(days=1, seconds=1)
        assert delete_old_runs(instance, timedelta(days=1), later) == len(runs)
        assert set(instance.get_run_ids()) == {kept, latest}
        left = files_of(tmp_path)
        assert not any(run_id in str(path) for path in left for run_id in runs)
        for key in (rarely.key, often.key):
            assert instance.get_latest_materialization_event(key) is not None
        assert delete_old_runs(instance, timedelta(days=1), later) == 0


def test_a_run_that_has_not_ended_stays(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        run = instance.create_run_for_job(looks, status=dg.DagsterRunStatus.STARTED)
        assert delete_old_runs(instance, timedelta(0), datetime.fromtimestamp(time.time() + 9, UTC)) == 0
        assert list(instance.get_run_ids()) == [run.run_id]


def test_old_runs_that_can_not_be_deleted_do_not_fail_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        looks.execute_in_process(instance=instance)
        for database in tmp_path.rglob("runs.db"):
            database.write_bytes(b"damaged" * 1000)
        try_delete_old_runs(instance, timedelta(0), datetime.now(UTC) + timedelta(seconds=9), said.append)
    assert len(said) == 1
    assert "old runs could not be deleted. Found: DatabaseError" in said[0]
