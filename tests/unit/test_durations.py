"""Durations among the settings: each has an end, so that none overflows where it is added to a time."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.errors import SettingsError
from pipelines.serving.settings import ServingSettings
from pipelines.settings import Settings

pytestmark = pytest.mark.fast

UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
DURATIONS = [
    (settings, name)
    for settings in (Settings, ServingSettings)
    for name in settings.model_fields
    if name.rpartition("_")[2] in UNITS
]


@pytest.mark.parametrize(("settings", "name"), DURATIONS)
@pytest.mark.parametrize("value", ["1e12", "inf", "nan"])
def test_a_duration_without_an_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings | ServingSettings], name: str, value: str
) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError, match=f"{name.upper()}: "):
        settings.load()


@pytest.mark.parametrize(("settings", "name"), DURATIONS)
def test_a_week_is_taken_and_the_longest_can_be_added_to_a_time(
    monkeypatch: pytest.MonkeyPatch, settings: type[Settings | ServingSettings], name: str
) -> None:
    unit = UNITS[name.rpartition("_")[2]]
    monkeypatch.setenv(name.upper(), str(7 * 86_400 / unit))
    settings.load()
    (longest,) = (rule.le for rule in settings.model_fields[name].metadata if hasattr(rule, "le"))
    now = datetime.now(UTC)
    assert now - timedelta(seconds=longest * unit) < now < now + timedelta(seconds=longest * unit)


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_pace_is_a_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PUBLISH_MB_PER_S", value)
    with pytest.raises(SettingsError, match="PUBLISH_MB_PER_S"):
        Settings.load()
