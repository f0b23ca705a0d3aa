"""The three tiers of tests: each test states one, by a marker on itself, on its parameters or on its module.

The closest marker counts. Which commands run which: the Makefile.
"""

from collections.abc import Iterator, Sequence

import pytest

TIERS = {
    "fast": "starts no Dagster, and takes a second or two",
    "standard": "with the fast ones: the whole behaviour on a real PostgreSQL",
    "extended": "takes long, or needs a browser, or programs beyond Python and make",
}
_WITHOUT = "standard"


def settle_tiers(items: Sequence[pytest.Item]) -> list[str]:
    """Leave each test the one tier that counts, so that `-m` selects by it.

    Returns:
        The tests that state none, or two at the same place; without one they are of the tier `standard`.
    """
    complaints = []
    settled = []
    for item in items:
        stated = next(filter(None, _stated(item)), [])
        if len(stated) != 1:
            complaints.append(f"{item.nodeid}: {' and '.join(stated) or 'no tier'}")
        settled.append(stated[0] if stated else _WITHOUT)
    for item in items:
        for node in item.listchain():
            node.own_markers[:] = [marker for marker in node.own_markers if marker.name not in TIERS]
    for item, tier in zip(items, settled, strict=True):
        item.add_marker(tier)
    return complaints


def _stated(item: pytest.Item) -> Iterator[list[str]]:
    """Tiers stated by the parameters, the test, its class, its module: the closest first."""
    of_parameters = list(item.callspec.marks) if hasattr(item, "callspec") else []
    yield [marker.name for marker in of_parameters if marker.name in TIERS]
    for node in reversed(item.listchain()):
        yield [marker.name for marker in node.own_markers if marker.name in TIERS and marker not in of_parameters]
