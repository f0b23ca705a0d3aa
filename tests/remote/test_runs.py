"""Object storage in runs: the asset `published/remote` in Dagster, the commands, and what is said of a failure."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from assets.defs.definitions import build_definitions
from assets.defs.resources import ExportsResource
from pipelines.export import run_export
from pipelines.remote.reading import open_remote
from pipelines.snapshots.opening import Snapshot, published_snapshot
from tests.exporting import settings_for
from tests.faults.kit import Operator
from tests.operating.kit import webhook
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows
from tests.remote.kit import KEY_ID, SECRET, Bucket, Proxy, assert_published, store_environment

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.standard]

REMOTE = dg.AssetKey(["published", "remote"])


@pytest.fixture
def source(database: Database) -> Database:
    fill_source(database, *random_rows(3, 60))
    return database


def current(export_dir: Path) -> Snapshot:
    return published_snapshot(export_dir)


@pytest.mark.extended
def test_a_store_that_fails_makes_its_step_red_and_the_next_run_catches_up(
    source: Database, bucket: Bucket, flaky: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports = tmp_path / "exports"
    for name, value in (("DATABASE_URL", source.url), ("PUBLISH_URL", bucket.url), ("PUBLISH_RETRY_SECONDS", "0.2")):
        monkeypatch.setenv(name, value)
    job = build_definitions(ExportsResource(overrides={"export_dir": str(exports)})).resolve_job_def("export")
    with dg.DagsterInstance.ephemeral() as instance:
        flaky.decide = lambda request: "503" if request.name.startswith("PUT") else "pass"
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
        steps = {e.step_key: e for e in failed.all_node_events if e.event_type_value == "STEP_FAILURE"}
        assert steps.keys() == {"remote"}
        reason = steps["remote"].step_failure_data.user_failure_data.description
        assert "the store answers 503" in reason
        assert KEY_ID not in reason
        first = current(exports)

        unchanged = job.execute_in_process(instance=instance, raise_on_error=False)  # the store still fails
        assert not unchanged.success

        flaky.decide = lambda _: "pass"
        caught_up = job.execute_in_process(instance=instance)
        assert caught_up.success
        assert current(exports).manifest.id == first.manifest.id, "nothing changed in the source"
        assert_published(bucket.url, first)
        event = instance.get_latest_materialization_event(REMOTE)
        assert event is not None
        metadata = event.asset_materialization.metadata
        assert metadata["uri"].value == bucket.url
        assert metadata["snapshot_id"].value == first.manifest.id
        assert metadata["sent_bytes"].value > first.manifest.database.bytes

        with source.connect() as connection:
            connection.execute("UPDATE domains SET company_name = 'another' WHERE id = (SELECT min(id) FROM domains)")
        changed = job.execute_in_process(instance=instance)
        assert_published(bucket.url, current(exports))
        checks = {c.check_name: c.passed for c in changed.get_asset_check_evaluations() if c.asset_key == REMOTE}
        assert checks == {"objects_complete": True, "versions_committed": True, "old_snapshots_removed": True}


def test_without_the_setting_nothing_of_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything of it loaded: it needs an extra."""
    monkeypatch.delenv("PUBLISH_URL", raising=False)
    keys = build_definitions().resolve_asset_graph().get_all_asset_keys()
    assert REMOTE not in keys
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"deltalake", "obstore"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import assets.cli.commands, assets.defs.definitions, pipelines.export, pipelines.query.snapshots
assert "pipelines.remote" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from assets.cli.commands import main  # noqa: PLC0415

    monkeypatch.setenv("PUBLISH_URL", "s3://bucket/prefix")
    monkeypatch.setattr("pipelines.settings.find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["lei-exports", "push"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "install lei-exports[cloud]" in " ".join(capsys.readouterr().err.split())


def test_embedders_publish_there_too(source: Database, bucket: Bucket, tmp_path: Path) -> None:
    settings = settings_for(source, tmp_path / "exports", publish_url=bucket.url)
    assert run_export(settings) is not None
    bucket.delete("current.json")  # as if the first push had not come to its end
    assert run_export(settings) is None, "nothing changed in the source"
    assert_published(bucket.url, current(tmp_path / "exports"))


@pytest.mark.extended
def test_commands(source: Database, bucket: Bucket, flaky: Proxy, tmp_path: Path) -> None:
    operator = Operator(source, tmp_path)
    variables = {**store_environment(flaky.endpoint), "PUBLISH_URL": bucket.url, "PUBLISH_RETRY_SECONDS": "0.2"}

    def run(*arguments: str, **more: str) -> tuple[int, str]:
        process = operator.start(*arguments, **variables, **more)
        out, err = process.communicate(timeout=240)
        return process.returncode, " ".join((out + err).split())

    flaky.decide = lambda request: "403" if request.name.startswith("PUT") else "pass"
    with webhook() as hook:
        status, said = run("run", ALERT_WEBHOOK_URL=hook.url)
    assert status == 1
    published = current(operator.export_dir).manifest.id
    assert "the store refuses it (403)" in said
    assert f"had published snapshot {published} before" in said
    (alert,) = hook.alerts
    assert "the store refuses it (403)" in alert["reason"]

    flaky.decide = lambda _: "pass"
    status, said = run("doctor")
    assert f"{bucket.url} can be read, and has nothing yet" in said
    status, said = run("push")
    assert (status, f"Snapshot {published} (sequence 1) is current now" in said) == (0, True), said
    status, said = run("verify", "--remote")
    assert (status, "is what was published: 7 tables" in said) == (0, True), said
    reader = {"EXPORT_DIR": str(tmp_path / "reader")}
    status, said = run("pull", **reader)
    assert (status, f"Snapshot {published} (sequence 1) is current" in said) == (0, True), said
    status, said = run("query", "SELECT count(*) AS n FROM domain_exports", **reader)
    assert status == 0, said
    assert open_remote(bucket.url).record.snapshot_id == published
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert [name for name in bucket.objects() if SECRET.encode() in bucket.read(name)] == []
