"""Alerts: when there is one, what it says, and a webhook that does not take it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from pipelines.alerts.webhook import REPEAT, Alert, StaleMemory, decide_stale, decide_success, post_alert
from pipelines.errors import SettingsError
from pipelines.settings import load_settings
from pipelines.snapshots.history import SourceCheck
from tests.operating.kit import SECRET, webhook

pytestmark = pytest.mark.fast

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(hours=25)
HOUR = timedelta(hours=1)
ALERT = Alert("failure", NOW, "the source shrank", "run-1", "20261123T065932Z-1f3a9c2e")


def look(hours_ago: float, result: str = "unchanged") -> SourceCheck:
    return SourceCheck.model_validate(
        {"checked_at": NOW - hours_ago * HOUR, "result": result, "snapshot_id": "snap", "sequence": 3}
    )


def test_an_unchanged_source_is_fresh() -> None:
    memory = StaleMemory(NOW - 100 * HOUR)
    assert decide_stale(look(24.9), memory, DAY, NOW) == (None, memory)


def test_staleness_counts_from_the_last_look_and_is_told_again_each_day() -> None:
    alert, reported = decide_stale(look(26), StaleMemory(NOW), DAY, NOW)
    assert alert is not None
    assert (alert.kind, alert.snapshot_id, alert.run_id) == ("stale", "snap", None)
    assert "26.0 h ago" in alert.reason
    assert "every 25 h" in alert.reason
    later = NOW + REPEAT - HOUR
    assert decide_stale(look(26), reported, DAY, later) == (None, reported)
    again, _ = decide_stale(look(26), reported, DAY, NOW + REPEAT)
    assert again is not None
    assert "50.0 h ago" in again.reason


def test_a_new_look_ends_an_episode_and_the_next_one_is_told_at_once() -> None:
    _, reported = decide_stale(look(26), StaleMemory(NOW), DAY, NOW)
    nothing, afterwards = decide_stale(look(-1), reported, DAY, NOW + 2 * HOUR)
    assert nothing is None
    assert afterwards.reported_at is None
    assert decide_stale(look(-1), afterwards, HOUR, NOW + 3 * HOUR)[0] is not None


def test_a_look_of_the_future_is_told_for_until_then_nothing_would_be_stale() -> None:
    assert decide_stale(look(-1 / 15), StaleMemory(NOW), DAY, NOW)[0] is None, "clocks may differ by minutes"
    alert, reported = decide_stale(look(-30), StaleMemory(NOW), DAY, NOW)
    assert alert is not None
    assert "of the future" in alert.reason
    assert decide_stale(look(-30), reported, DAY, NOW + HOUR)[0] is None, "once a day"


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    year = timedelta(days=365)
    alert, reported = decide_stale(look(26), StaleMemory(NOW - DAY, NOW + year), DAY, NOW)
    assert alert is not None
    assert reported == StaleMemory(NOW - DAY, NOW)
    nothing, watching = decide_stale(None, StaleMemory(NOW + year), DAY, NOW)
    assert (nothing, watching) == (None, StaleMemory(NOW))
    assert decide_stale(None, watching, DAY, NOW + 26 * HOUR)[0] is not None


def test_a_source_that_was_never_looked_at_is_stale_from_when_watching_began() -> None:
    assert decide_stale(None, StaleMemory(NOW - 24 * HOUR), DAY, NOW)[0] is None
    alert, _ = decide_stale(None, StaleMemory(NOW - 26 * HOUR), DAY, NOW)
    assert alert is not None
    assert "never looked at" in alert.reason


@pytest.mark.parametrize("result", ["published", "held", "unchanged"])
def test_success_names_the_snapshot(result: str) -> None:
    alert = decide_success(look(0.1, result), NOW - HOUR, "run-1", NOW)
    assert alert is not None
    assert alert.payload()["snapshot_id"] == "snap"
    assert alert.payload()["run_id"] == "run-1"


def test_a_run_that_did_not_look_at_the_source_is_no_news() -> None:
    assert decide_success(look(2), NOW - HOUR, "run-1", NOW) is None
    assert decide_success(None, NOW - HOUR, "run-1", NOW) is None


def test_an_alert_is_posted_as_json() -> None:
    said: list[str] = []
    with webhook() as hook:
        assert post_alert(SecretStr(hook.url), ALERT, said.append)
    assert said == []
    assert hook.alerts == [
        {
            "kind": "failure",
            "at": "2026-11-25T12:00:00+00:00",
            "reason": "the source shrank",
            "run_id": "run-1",
            "snapshot_id": "20261123T065932Z-1f3a9c2e",
            "text": "lei-exports failure: the source shrank",
        }
    ]


@pytest.mark.parametrize(
    ("answers", "tries", "found"),
    [([503, 429], 3, ""), ([500, 502, 503, 504], 3, "status 503"), ([404], 1, "status 404"), ([302], 1, "status 302")],
)
def test_what_may_pass_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, answers: list[int], tries: int, found: str
) -> None:
    monkeypatch.setattr("pipelines.alerts.webhook._FIRST_PAUSE_S", 0.01)
    said: list[str] = []
    with webhook(answers) as hook:
        assert post_alert(SecretStr(hook.url), ALERT, said.append) is (found == "")
    assert len(hook.alerts) == tries
    assert found in str(said)
    assert bool(said) == bool(found)
    assert SECRET not in str(said)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cr3t-path-of-the-hook", "http://[s3cr3t-path-of-the-hook"])
def test_a_webhook_that_is_down_is_told_without_its_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("pipelines.alerts.webhook._FIRST_PAUSE_S", 0.01)
    said: list[str] = []
    assert not post_alert(SecretStr(url), ALERT, said.append)
    assert "ALERT_WEBHOOK_URL" in said[0]
    assert "127.0.0.1" not in said[0]
    assert SECRET not in said[0]


def test_certificates_that_are_missing_are_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipelines.alerts.webhook._FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    said: list[str] = []
    assert not post_alert(SecretStr(f"https://127.0.0.1:1/{SECRET}"), ALERT, said.append)
    assert "could not be posted to ALERT_WEBHOOK_URL. Found: OSError" in said[0]
    assert SECRET not in said[0]


def test_a_webhook_that_is_no_web_address_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"alert_webhook_url": f"ftp://host/{SECRET}"})
    assert "ALERT_WEBHOOK_URL" in str(caught.value)
    assert SECRET not in str(caught.value)
