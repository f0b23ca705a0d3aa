"""ENGINE and RAY_ADDRESS at the door."""

import sys

import pytest

from pipelines.errors import SettingsError
from pipelines.settings import load_settings

pytestmark = pytest.mark.fast


def test_threads_are_the_default() -> None:
    assert load_settings().engine == "local"


def test_the_cluster_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    monkeypatch.setenv("ENGINE", "ray")
    with pytest.raises(SettingsError, match=r'ENGINE: .* pip install "lei-exports\[ray\]"'):
        load_settings()


@pytest.mark.parametrize("value", ["ray://10.0.0.5:10001", "10.0.0.5", "http://10.0.0.5:8265", "auto", "a b:1"])
def test_an_address_is_host_and_port(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert load_settings().ray_address is None, "other tools read it too: with ENGINE=local it does not matter"
    monkeypatch.setenv("ENGINE", "ray")
    with pytest.raises(SettingsError, match=r"RAY_ADDRESS: .* host and port"):
        load_settings()


@pytest.mark.parametrize("value", ["10.0.0.5:6379", "head.example:6379", "[::1]:6379", " 10.0.0.5:6379\n"])
def test_an_address_is_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ENGINE", "ray")
    monkeypatch.setenv("RAY_ADDRESS", value)
    assert load_settings().ray_address == value.strip()
