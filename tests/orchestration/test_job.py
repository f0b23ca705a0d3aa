"""The job `export` in Dagster: what it publishes, what the operator sees of it, and how it fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.defs.definitions import build_definitions
from assets.defs.resources import ExportsResource, listening
from pipelines.contracts.tables import DERIVED_TABLES
from pipelines.progress import Progress
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import OUR_SESSIONS
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.standard]

WARNED_OF_CANDIDATES = (
    "lei_format",
    "lei_check_digits",
    "entity_status_known",
    "registration_status_known",
    "jurisdiction_format",
)
ACCEPT_ALL = {"ops": {"staging": {"config": {"accept_new_source": True, "accept_shrink": True}}}}


class Operator:
    """An operator's instance, export folder and database; runs what a test asks for."""

    def __init__(self, database: Database, export_dir: Path, instance: dg.DagsterInstance) -> None:
        self.database = database
        self.export_dir = export_dir
        self.instance = instance
        self.definitions = build_definitions(ExportsResource(overrides={"export_dir": str(export_dir)}))

    def run(self, *keys: str, run_config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Run the job, or materialize some assets alone, as the UI does."""
        selection = [dg.AssetKey.from_user_string(key) for key in keys] or None
        return self.definitions.resolve_job_def("export").execute_in_process(
            instance=self.instance, asset_selection=selection, raise_on_error=False, run_config=run_config
        )

    def export(self) -> None:
        """Publish as an embedder does: for what begins after a run, a fifth of a run's time."""
        export(settings_for(self.database, self.export_dir))

    def current(self) -> Snapshot:
        return published_snapshot(self.export_dir)

    def change(self, statement: str) -> None:
        with self.database.connect() as connection:
            connection.execute(statement.encode())


@pytest.fixture
def operator(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    fill_source(database, *random_rows(3, 200))
    monkeypatch.setenv("DATABASE_URL", database.url)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Operator(database, tmp_path / "exports", instance)


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    (event,) = [event for event in result.all_node_events if event.event_type_value == "STEP_FAILURE"]
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    assert failure.error is not None
    return failure.error.message


def test_the_job_publishes_and_tells_what_it_did(operator: Operator) -> None:
    result = operator.run()
    assert result.success
    snapshot = operator.current()
    assert_agrees(operator.database, snapshot)
    rows = {table.name: table.rows for table in snapshot.manifest.tables}
    for name, count in rows.items():
        materialization = operator.instance.get_latest_materialization_event(dg.AssetKey(["exports", name]))
        assert materialization is not None
        assert materialization.asset_materialization is not None
        metadata = materialization.asset_materialization.metadata
        assert metadata["dagster/row_count"].value == count
        assert metadata["write_s"].value >= 0
    (published,) = result.asset_materializations_for_node("published")
    assert published.metadata["snapshot_id"].value == snapshot.manifest.id
    checks = {(c.asset_key.to_user_string(), c.check_name): c.passed for c in result.get_asset_check_evaluations()}
    specs = {
        (key.asset_key.to_user_string(), key.name)
        for key in operator.definitions.resolve_asset_graph().asset_check_keys
    }
    assert checks.keys() == specs
    # Random rows break what is only warned of, and nothing else.
    warned = {
        *(("exports/domain_exports", name) for name in ("source_hash_agrees", "primary_is_candidate")),
        *(("exports/candidate_exports", name) for name in WARNED_OF_CANDIDATES),
    }
    assert {key for key, passed in checks.items() if not passed} == warned


def verdicts(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], tuple[bool, dg.AssetCheckSeverity, bool]]:
    return {
        (check.asset_key.to_user_string(), check.check_name): (check.passed, check.severity, check.blocking)
        for check in result.get_asset_check_evaluations()
    }


def test_nothing_changed_is_said_and_nothing_is_published(operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
    first = operator.run()
    assert first.success
    before = operator.current().manifest
    caplog.clear()
    again = operator.run()
    assert again.success
    assert "without gating" not in caplog.text
    assert verdicts(again) == verdicts(first), "every check is reported again, warnings too"
    for check in again.get_asset_check_evaluations():
        if check.asset_key.path[0] != "staging":  # those were evaluated just now
            assert check.metadata["found_by_snapshot"].value == before.id
            assert before.id in str(check.metadata["reported_again"].value)
    materialized = {event.asset_key.path[0] for event in again.all_events if event.is_step_materialization}
    assert materialized == {"source", "published"}, "both are as fresh as the look at the source"
    event = operator.instance.get_latest_materialization_event(dg.AssetKey(["published", "snapshot"]))
    assert event is not None
    assert event.run_id == again.run_id
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["snapshot_id"].value == before.id
    assert "plots" in metadata
    observations = [event for event in again.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert {event.asset_key.path[-1] for event in observations} == {"domains", "gleif_candidates"}
    assert operator.current().manifest.id == before.id
    full = {"ops": {"staging": {"config": {"full_refresh": True}}}}
    assert operator.run(run_config=full).success
    assert operator.current().manifest.sequence == before.sequence + 1


def test_one_asset_alone_is_computed_from_the_last_staging(operator: Operator) -> None:
    operator.export()
    before = operator.current()
    operator.change("DELETE FROM gleif_candidates WHERE id % 2 = 0")
    alone = operator.run("exports/candidate_exports")
    assert alone.success
    (materialization,) = alone.asset_materializations_for_node("exports")
    assert materialization.metadata["dagster/row_count"].value == before.record_of("candidate_exports").rows
    assert operator.current().manifest.id == before.manifest.id, "only `published` switches"


def test_published_refuses_tables_of_different_runs(operator: Operator) -> None:
    operator.export()
    before = operator.current().manifest.id
    operator.change("UPDATE domains SET retry_count = 7")
    assert operator.run("staging/domains", "staging/gleif_candidates").success
    assert operator.run("exports/candidate_exports").success
    refusal = failure_of(operator.run("published/snapshot"))
    assert "domain_exports" in refusal
    assert "run the job `export`" in refusal
    assert operator.current().manifest.id == before
    refusal = failure_of(operator.run("exports/entities"))
    assert "domain_exports is not built from the last staging" in refusal
    assert "materialize exports/domain_exports first" in refusal
    others = [f"exports/{table.name}" for table in DERIVED_TABLES]
    assert operator.run("exports/domain_exports", "exports/rejected_rows", *others, "published/snapshot").success
    verify_snapshot(operator.current())


def test_a_collapsed_source_fails_its_blocking_check_and_can_be_accepted(operator: Operator) -> None:
    operator.export()
    before = operator.current().manifest.id
    operator.change("TRUNCATE gleif_candidates")
    result = operator.run()
    assert not result.success
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert [(check.asset_key.path[-1], check.check_name) for check in failed] == [
        ("gleif_candidates", "source_not_shrunk")
    ]
    assert failed[0].metadata["rows_now"].value == 0
    assert operator.current().manifest.id == before
    assert operator.run(run_config=ACCEPT_ALL).success
    assert operator.current().record_of("candidate_exports").rows == 0


def test_another_source_stops_the_run_until_it_is_accepted(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    operator.export()
    before = operator.current().manifest
    operator.change(
        "CREATE SCHEMA other; CREATE TABLE other.domains AS TABLE domains;"
        "CREATE TABLE other.gleif_candidates AS TABLE gleif_candidates"
    )
    monkeypatch.setenv("SOURCE_SCHEMA", "other")
    refusal = failure_of(operator.run())
    assert before.source.identity in refusal
    assert "accept_new_source" in refusal
    assert operator.current().manifest.id == before.id
    assert operator.run(run_config=ACCEPT_ALL).success
    assert operator.current().manifest.source.identity.endswith("/other")


def test_a_read_that_fails_is_tried_again_with_a_new_snapshot(operator: Operator) -> None:
    tries: list[str] = []

    def cut_off_once(progress: Progress) -> None:
        if progress.what == "segments of both tables":
            tries.append(progress.what)
            if len(tries) == 1:
                operator.change(OUR_SESSIONS.replace("count(*)", "pg_terminate_backend(pid)"))

    with listening(cut_off_once):
        assert operator.run().success
    assert len(tries) == 2


def test_a_wrong_setting_fails_at_once_and_is_not_tried_again(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGMENT_SIZE", "many")
    result = operator.run()
    assert "SEGMENT_SIZE" in failure_of(result)
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
