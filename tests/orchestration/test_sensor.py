"""The sensor `source_changed`: one run per change, again after a failure with growing pauses, never past a success."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.defs.definitions import build_definitions
from assets.defs.resources import ExportsResource
from assets.defs.sensors import FIRST_PAUSE, MAX_PAUSE, POSITION_TAG, Try, decide, source_changed
from pipelines.source.connection import SourceAddress
from pipelines.source.probe import probe_source
from tests.exporting import settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source
from tests.random_rows import random_rows

pytestmark = pytest.mark.standard

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def key(failures: int, last_end_minutes_ago: float | None = None) -> str:
    """The run_key of position `p`."""
    ended = 0 if last_end_minutes_ago is None else (NOW - timedelta(minutes=last_end_minutes_ago)).timestamp()
    return f"p:{failures}:{int(ended)}"


def failed(minutes_ago: float, position: str = "p") -> Try:
    return Try(position, "failed", NOW - timedelta(minutes=minutes_ago))


def test_a_new_position_asks_for_one_run() -> None:
    assert decide("p", "before", [], NOW).run_key == key(0)
    assert decide("p", "", [Try("p", "running", None)], NOW).run_key is None
    assert decide("p", "", [Try("", "running", None)], NOW).run_key is None, "somebody else's run is under way"


def test_the_cursor_moves_only_past_a_success() -> None:
    assert decide("p", "o", [], NOW).done == "o"
    assert decide("p", "o", [failed(9)], NOW).done == "o"
    published = decide("p", "o", [Try("p", "succeeded", NOW)], NOW)
    assert published.done == "p"
    assert published.run_key is None
    assert decide("p", "p", [], NOW).run_key is None


def test_a_failed_key_is_never_asked_again_and_pauses_grow() -> None:
    assert decide("p", "", [failed(0.5)], NOW).run_key is None
    assert decide("p", "", [failed(1.1)], NOW).run_key == key(1, 1.1)
    assert decide("p", "", [failed(9), failed(1.1)], NOW).run_key is None
    assert decide("p", "", [failed(9), failed(2.1)], NOW).run_key == key(2, 2.1)
    longest = MAX_PAUSE / timedelta(minutes=1) + 0.1
    assert decide("p", "", [*[failed(1000)] * 30, failed(longest)], NOW).run_key == key(31, longest)
    assert FIRST_PAUSE < MAX_PAUSE


def test_the_pause_stays_the_longest_however_many_tries_failed() -> None:
    many = [failed(MAX_PAUSE / timedelta(minutes=1) - 0.1)] * 50
    assert "50 tries failed" in decide("p", "", many, NOW).reason
    assert decide("p", "", many, NOW + timedelta(minutes=1)).run_key is not None


def test_after_a_run_that_succeeded_the_next_one_waits() -> None:
    pause = timedelta(minutes=10)
    ended = [Try("o", "succeeded", NOW - timedelta(minutes=9)), Try("n", "succeeded", NOW - timedelta(minutes=40))]
    waiting = decide("p", "o", ended, NOW, pause)
    assert waiting.run_key is None
    assert waiting.done == "o"
    assert "12:01:00" in waiting.reason
    assert decide("p", "o", ended, NOW + timedelta(minutes=1), pause).run_key == key(0, 9)
    assert decide("p", "o", [*ended, failed(2)], NOW + timedelta(minutes=1), pause).run_key == key(1, 2)


def test_a_run_that_ended_in_the_future_holds_up_nothing() -> None:
    pause, in_a_year = timedelta(minutes=10), -365 * 24 * 60.0
    ahead = [Try("o", "succeeded", NOW - timedelta(minutes=in_a_year)), failed(in_a_year)]
    assert decide("p", "o", ahead, NOW, pause).run_key == key(1)
    assert decide("p", "o", [*ahead, failed(0.5)], NOW, pause).run_key is None
    assert decide("p", "o", [Try("o", "succeeded", NOW + timedelta(minutes=4))], NOW, pause).run_key is None, (
        "clocks may differ by minutes"
    )


def test_the_next_run_is_told_with_its_date_where_that_is_another_day() -> None:
    ended = [Try("o", "succeeded", NOW)]
    assert "at 12:10:00 UTC" in decide("p", "o", ended, NOW, timedelta(minutes=10)).reason
    assert "at 2026-11-24 12:00:00 UTC" in decide("p", "o", ended, NOW, timedelta(days=1)).reason


def test_a_failure_of_another_position_does_not_delay() -> None:
    assert decide("p", "", [failed(0.1, "other")], NOW).run_key == key(0, 0.1)


def test_a_key_does_not_come_again_where_old_tries_are_not_known() -> None:
    first = decide("p", "o", [], NOW).run_key
    others = [failed(minutes, "other") for minutes in range(50)]
    assert decide("p", "o", others, NOW).run_key not in {None, first}, "the tries of p are not among the last 50"
    many = [failed(minutes) for minutes in range(100, 150)]
    before = decide("p", "o", many, NOW).run_key
    assert decide("p", "o", [failed(61), *many[:-1]], NOW).run_key not in {None, before}, "still 50 tries"


@pytest.mark.orchestration
@pytest.mark.integration
def test_a_change_is_asked_for_again_after_its_run_failed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_source(database, *random_rows(2, 50))
    monkeypatch.setenv("DATABASE_URL", database.url)
    exports = ExportsResource(overrides={"export_dir": str(tmp_path), "min_rows_pct": "0"})
    definitions = build_definitions(exports)
    job = definitions.resolve_job_def("export")

    def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions)
        result = source_changed(context, exports=exports)
        assert isinstance(result, dg.SensorResult)
        return result

    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(instance, None)
        assert first.run_requests is not None
        (request,) = first.run_requests
        assert request.run_key is not None
        monkeypatch.setenv("SOURCE_SCHEMA", "nowhere")
        assert not job.execute_in_process(instance=instance, tags=request.tags, raise_on_error=False).success
        monkeypatch.delenv("SOURCE_SCHEMA")
        waiting = tick(instance, first.cursor)
        assert not waiting.run_requests
        assert "1 tries failed" in str(waiting.skip_reason)
        monkeypatch.setattr("assets.defs.sensors.FIRST_PAUSE", timedelta(0))
        (again,) = tick(instance, waiting.cursor).run_requests or []
        assert again.run_key != request.run_key
        assert again.tags[POSITION_TAG] == request.tags[POSITION_TAG]
        assert job.execute_in_process(instance=instance, tags=again.tags).success
        done = tick(instance, waiting.cursor)
        assert not done.run_requests
        assert request.tags[POSITION_TAG] in str(done.cursor)
        observed = instance.get_latest_materialization_event(dg.AssetKey(["source", "domains"]))
        assert observed is not None


@pytest.mark.integration
def test_the_probe_sees_each_kind_of_change_without_a_scan(database: Database, tmp_path: Path) -> None:
    url = settings_for(database, tmp_path).database_url
    assert url is not None
    address = SourceAddress(url, is_sample=False)
    with database.connect(autocommit=True) as connection:
        create_source_tables(connection)
        scans = "SELECT sum(seq_scan) FROM pg_stat_user_tables"
        seen = [probe_source(address, "public")]
        for statement in (
            "INSERT INTO domains (id, domain, status, batch_id) VALUES (1, 'a.example', 'success', 'b')",
            "UPDATE domains SET domain = 'b.example'",
            "DELETE FROM domains",
            "TRUNCATE gleif_candidates",
            "CREATE TABLE child () INHERITS (domains); CREATE TABLE grandchild () INHERITS (child)",
            "INSERT INTO child (id, domain, status, batch_id) VALUES (2, 'c.example', 'success', 'b')",
            "INSERT INTO grandchild (id, domain, status, batch_id) VALUES (3, 'd.example', 'success', 'b')",
            "DELETE FROM grandchild",
        ):
            connection.execute(statement.encode())
            connection.execute("SELECT pg_stat_force_next_flush()")
            seen.append(probe_source(address, "public"))
        before = connection.execute(scans).fetchone()
        assert len(set(seen)) == len(seen)
        assert probe_source(address, "public") == seen[-1]
        connection.execute("SELECT pg_stat_force_next_flush()")
        assert connection.execute(scans).fetchone() == before
