"""What a run needs of its machine: tried before it reads where that is possible, and else told by its cause."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.defs.alerting import failure_reasons
from assets.defs.resources import failures
from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.files import BatchFormat, BatchOptions, write_batch
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.unexpected import as_unexpected, describe_message, first_words
from tests.exporting import assert_agrees, export, settings_for
from tests.faults.kit import Operator
from tests.faults.shim import build_shim
from tests.forking import LEI_EXPORTS, run_program
from tests.integration.kit import ROW_MARK, run_sql
from tests.operating.kit import webhook
from tests.oracle.postgres import Database

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.extended]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


def events_of(operator: Operator) -> list[dg.DagsterEvent]:
    """What Dagster's event log, and so its UI, has of the last run."""
    with dg.DagsterInstance.from_config(str(operator.home)) as instance:
        logs = instance.all_logs(instance.get_runs(limit=1)[0].run_id)
    return [log.dagster_event for log in logs if log.dagster_event is not None]


def run_without_dagster(operator: Operator, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A full run in a process of its own, in half the time of the command."""
    places = {"DATABASE_URL": operator.database.url, "EXPORT_DIR": str(operator.export_dir)}
    script = (
        "from pipelines.export import run_export\n"
        "from pipelines.settings import load_settings\n"
        "run_export(load_settings(), full_refresh=True)"
    )
    command = [sys.executable, "-c", script]
    return run_program(command, env={**places, **environment})


@pytest.mark.parametrize(
    ("lack", "number", "says"),
    [
        ("LACK_FLOCK", errno.ENOLCK, "it can't lock a file (flock): No locks available (ENOLCK)"),
        ("LACK_SYMLINK", errno.EPERM, "it can't take symbolic links: Operation not permitted (EPERM)"),
        ("LACK_FOLDER_FSYNC", errno.EINVAL, "it can't bring a folder to the disk (fsync): Invalid argument (EINVAL)"),
    ],
)
def test_a_file_system_that_lacks_what_a_run_needs(
    operator: Operator, shim: Path, lack: str, number: int, says: str
) -> None:
    lacking = {"LD_PRELOAD": str(shim), "LACKING": str(operator.export_dir), lack: str(number)}
    done = run_without_dagster(operator, lacking)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("pipelines.errors.SettingsError: "), done.stderr
    assert str(operator.export_dir) in last
    assert os.strerror(number) in last, "the lock of the run comes before the questions"
    out, _ = operator.start("doctor", "--json", **lacking).communicate(timeout=240)
    failed = [finding for finding in json.loads(out) if finding["verdict"] == "failed"]
    assert [finding["topic"] for finding in failed] == ["EXPORT_DIR"]
    assert says in failed[0]["found"]


def test_a_file_system_without_hard_links_will_do(operator: Operator, shim: Path) -> None:
    lacking = {"LD_PRELOAD": str(shim), "LACKING": str(operator.export_dir), "LACK_LINK": str(errno.EPERM)}
    out, _ = operator.start("doctor", "--json", **lacking).communicate(timeout=240)
    assert {f["topic"]: f["verdict"] for f in json.loads(out)}["EXPORT_DIR"] == "warning"
    done = run_without_dagster(operator, lacking)
    assert done.returncode == 0, done.stderr


def test_too_few_addresses_stop_a_run_before_it_begins(operator: Operator) -> None:
    """`ulimit -v 1500000`: deep in a run, libraries without memory for a thread abort the process without a word."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": operator.database.url}
    environment |= {"EXPORT_DIR": str(operator.export_dir), "DAGSTER_HOME": str(operator.home)}
    for command, stream in (("run", "stderr"), ("doctor", "stdout")):
        limited = f'ulimit -v 1500000; exec "{LEI_EXPORTS}" {command}'
        done = run_program(["sh", "-c", limited], env=environment)
        assert done.returncode == 1, done.stderr
        assert "1,536,000,000 bytes (ulimit -v" in getattr(done, stream)


def test_an_unexpected_error_is_told_by_its_cause(operator: Operator, shim: Path) -> None:
    """On the terminal, in the alert and in Dagster's event log; once it was `Error occurred while executing op`."""
    lacking = {"LD_PRELOAD": str(shim), "LACKING": str(operator.export_dir), "LACK_STATVFS": str(errno.EIO)}
    with webhook() as hook:
        process = operator.start("run", "--full-refresh", ALERT_WEBHOOK_URL=hook.url, **lacking)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    for reported in (err, hook.alerts[0]["reason"], failure_reasons(events_of(operator))[0]):
        assert "An unexpected error stopped it (pipelines/" in reported
        assert f"OSError: {os.strerror(errno.EIO)}" in reported
        assert "Error occurred while executing op" not in reported


def test_folders_with_glob_characters(database: Database, operator: Operator, tmp_path: Path) -> None:
    """`operator` has filled the database."""
    settings = settings_for(database, tmp_path / "exports [1] {a,b} *", segment_size=100)
    assert_agrees(database, export(settings))
    run_sql(database, "UPDATE domains SET company_name = 'changed' WHERE id < 30")
    changed = export(settings)
    assert changed.manifest.base_snapshot
    verify_snapshot(changed)
    with open_batch(changed, "b") as batch:
        assert write_batch(batch, BatchFormat.CSV, settings.export_dir / "b.csv", BatchOptions()).bytes


def test_a_value_that_can_not_be_read_is_told_at_once(operator: Operator, database: Database) -> None:
    """The view that docs advise for wide ids, and one id that does not fit: nothing that a new try could change."""
    run_sql(
        database,
        "ALTER TABLE gleif_candidates DROP CONSTRAINT gleif_candidates_pkey, ALTER COLUMN id TYPE int8",
        "UPDATE gleif_candidates SET id = 2147483648 WHERE id = 7",
        "ALTER TABLE gleif_candidates RENAME TO wide",
        "CREATE VIEW gleif_candidates AS SELECT id::int4, domain_id, lei_code, legal_name FROM wide",
    )
    process = operator.start("run")
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "gleif_candidates" in err
    assert "22003" in err
    assert "262142" not in err
    assert "STEP_UP_FOR_RETRY" not in {event.event_type_value for event in events_of(operator)}


def test_no_row_content_in_what_is_shown() -> None:
    quoting = [
        ValueError(f"invalid literal for int() with base 10: '{ROW_MARK}'"),
        RuntimeError(f"could not read {ROW_MARK.lower()} of row 7"),
        KeyError(ROW_MARK),
        RuntimeError(f"{ROW_MARK}"),
    ]
    for error in quoting:
        assert ROW_MARK.lower() not in str(as_unexpected(error)).lower()
        with pytest.raises(dg.Failure) as caught, failures():
            raise error
        assert caught.value.__suppress_context__
        assert ROW_MARK.lower() not in str(caught.value.description).lower()
        assert type(error).__name__ in str(caught.value.description)


def test_causes_in_words() -> None:
    assert "OSError: No locks available (/x/.run.lock)" in str(
        as_unexpected(OSError(errno.ENOLCK, "anything", "/x/.run.lock"))
    )
    assert first_words("can't start new thread") == "can't start new thread"
    assert first_words("malloc of size 64 failed") == "malloc of size"
    assert describe_message("OSError", "OSError: [Errno 37] No locks available\n") == "OSError: No locks available"
    assert describe_message("ValueError", "ValueError: 'Acme' is none") == "ValueError"
