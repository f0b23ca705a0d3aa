"""Which tests stay together in one process of pytest-xdist, and how it is told.

Tests that share a fixture of their module or folder stay together: it is made once, not once in each process. So do
those with the same `xdist_group`. All others go to whoever is free.

`--dist loadgroup` does this for the marker, by a change of the test's id which pytest 9.2 ignores
(pytest-dev/pytest-xdist#1386). So the processes write down who belongs together, and the scheduler reads it.
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.oracle.prepared import run_folder

_FILE = "groups.json"


class GroupScheduling(LoadScopeScheduling):
    """Sends a group to one process; a test without a group is one of its own. The largest groups come first."""

    @cached_property
    def _groups(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((run_folder() / _FILE).read_text(encoding="utf-8"))
        return found

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def tell_groups(items: Sequence[pytest.Item]) -> None:
    """In a process that runs tests: write down the groups; all of them write the same."""
    groups = {item.nodeid: group for item in items if (group := group_of(item)) is not None}
    draft = run_folder() / f"{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(groups), encoding="utf-8")
    draft.replace(run_folder() / _FILE)


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
