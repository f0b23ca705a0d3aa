"""Which tests stay together in one process of pytest-xdist, which begin first, and how the scheduler learns it.

Tests that share a fixture of their module or folder stay together: it is made once, not once in each process. So do
those with the same `xdist_group`. All others go to the process that is free. What takes longest begins
first, so that at the end no process waits for another: a test takes as long as its tier on average, or what its marker
`takes` says.

`--dist loadgroup` does this for the marker, by a change of the test's id which pytest 9.2 ignores
(pytest-dev/pytest-xdist#1386). So the processes write down who belongs together, and the scheduler reads it.
"""

import json
import os
from collections import defaultdict
from functools import cached_property

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.oracle.prepared import run_folder

_FILE = "groups.json"
_SECONDS = {"fast": 0.2, "standard": 1.0, "extended": 3.0}  # of a test, on average


class GroupScheduling(LoadScopeScheduling):
    """Sends a group to one process, in the order of the tests; a test without a group is one of its own."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False  # else by the number of tests
        super().__init__(config, log)

    @cached_property
    def _groups(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((run_folder() / _FILE).read_text(encoding="utf-8"))
        return found

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def tell_groups(items: list[pytest.Item]) -> None:
    """In a process that runs tests: put what takes longest first, and write down the groups; all do the same."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for item in items:
        seconds[group_of(item) or item.nodeid] += _seconds_of(item)
    items.sort(key=lambda item: -seconds[group_of(item) or item.nodeid])
    groups = {item.nodeid: group for item in items if (group := group_of(item)) is not None}
    draft = run_folder() / f"{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(groups), encoding="utf-8")
    draft.replace(run_folder() / _FILE)


def _seconds_of(item: pytest.Item) -> float:
    said = item.get_closest_marker("takes")
    if said is not None:
        return float(said.args[0])
    return next(seconds for tier, seconds in _SECONDS.items() if item.get_closest_marker(tier) is not None)


def group_of(item: pytest.Item) -> str | None:
    """The marker's name, else the folder or module whose fixtures it shares; None for a test that shares none."""
    marker = item.get_closest_marker("xdist_group")
    if marker is not None:
        return str(marker.args[0])
    if "PG_TEST_URL" in os.environ and "cluster" in item.fixturenames:
        return "PG_TEST_URL"  # one server for all: what a test finds of others there, it takes for its own
    fixtures = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]  # noqa: SLF001
    folders = [fixture.baseid for fixture in fixtures if fixture.scope == "package"]
    if folders:
        return min(folders)
    return item.nodeid.partition("::")[0] if any(fixture.scope == "module" for fixture in fixtures) else None
