"""What stops a run before its rows replace the published ones: another source, or far fewer rows (DESIGN 4)."""

from collections.abc import Callable

import pytest

from pipelines.errors import SnapshotError, SourceChangedError
from pipelines.snapshots.guards import check_shrink, require_same_source
from tests.publish.kit import Kit, assert_untouched, new_id, overwrite, staging_record

pytestmark = pytest.mark.fast


def test_another_source_is_refused_until_it_is_accepted(kit: Kit) -> None:
    kit.publish(1, staging=staging_record(new_id(1), identity="7391/app/public"))
    with pytest.raises(SourceChangedError) as caught:
        kit.publish(2, staging=staging_record(new_id(2), identity="sample"))
    assert "7391/app/public" in caught.value.expected
    assert caught.value.found == "source sample"
    assert "--accept-new-source" in caught.value.fix
    assert_untouched(kit)
    kit.publish(3, staging=staging_record(new_id(3), identity="sample", accept_new_source=True))
    assert kit.current().manifest.source.identity == "sample"


def test_the_same_source_at_another_address_is_another_one(published: Kit) -> None:
    def require(address_before: str, identity: str, address: str, *, is_accepted: bool = False) -> None:
        manifest = published.current().manifest
        before = manifest.source.model_copy(update={"address": address_before})
        require_same_source(manifest.model_copy(update={"source": before}), identity, address, is_accepted=is_accepted)

    require("one:5432", "sample", "one:5432")
    require("", "sample", "one:5432")  # published by a version that kept no address
    require("one:5432", "another", "two:5432", is_accepted=True)
    with pytest.raises(SourceChangedError, match="same PostgreSQL cluster at another address") as caught:
        require("one:5432", "sample", "two:5432")
    assert caught.value.expected == f"source sample at one:5432 of snapshot {new_id(1)}"
    assert caught.value.found == "source sample at two:5432"
    with pytest.raises(SourceChangedError) as caught:
        require("one:5432", "another", "one:5432")
    assert "same PostgreSQL cluster" not in str(caught.value)
    with pytest.raises(SourceChangedError):
        require("", "another", "one:5432")


def remove_current(kit: Kit) -> None:
    (kit.export_dir / "current").unlink()


def let_current_dangle(kit: Kit) -> None:
    (kit.export_dir / "current").unlink()
    (kit.export_dir / "current").symlink_to("snapshots/gone")


def damage_current(kit: Kit) -> None:
    overwrite(kit.current().folder / "manifest.json", lambda content: content.__delitem__(slice(5, None)))


@pytest.mark.parametrize("damage", [remove_current, let_current_dangle, damage_current])
def test_without_a_readable_current_the_newest_snapshot_guards(published: Kit, damage: Callable[[Kit], None]) -> None:
    published.publish(2)
    damage(published)
    with pytest.raises(SourceChangedError, match="another source") as caught:
        published.publish(3, staging=staging_record(new_id(3), "another"))
    assert new_id(1 if damage is damage_current else 2) in caught.value.expected
    published.publish(4)
    assert published.current().manifest.id == new_id(4)


def test_current_that_is_a_folder_is_refused(kit: Kit) -> None:
    (kit.export_dir / "current").mkdir(parents=True)
    with pytest.raises(SnapshotError, match="not a link"):
        kit.publish(1)
    assert list((kit.export_dir / "snapshots").iterdir()) == []


def test_identity_passes_when_nothing_is_published(kit: Kit) -> None:
    require_same_source(None, "sample", "", is_accepted=False)


@pytest.mark.parametrize(
    ("rows", "pct", "accept", "identity", "passed"),
    [
        (100, 50, False, "sample", True),
        (50, 50, False, "sample", True),
        (49, 50, False, "sample", False),
        (0, 50, False, "sample", False),
        (0, 0, False, "sample", True),
        (0, 50, True, "sample", True),
        (0, 50, False, "another", True),
        (99, 100, False, "sample", False),
        (1, 0.5, False, "sample", True),
        (0, 0.5, False, "sample", False),
    ],
)
def test_shrink(published: Kit, *, rows: int, pct: float, accept: bool, identity: str, passed: bool) -> None:
    manifest = published.current().manifest  # 100 rows in each source table
    checks = check_shrink(
        manifest, {"domains": rows, "gleif_candidates": 100}, pct, accept_shrink=accept, identity=identity
    )
    assert [(c.table, c.name, c.severity) for c in checks] == [
        ("domains", "source_not_shrunk", "error"),
        ("gleif_candidates", "source_not_shrunk", "error"),
    ]
    assert (checks[0].passed, checks[1].passed) == (passed, True)
    assert checks[0].metadata["rows_now"] == rows
    assert checks[0].metadata["rows_before"] == (100 if identity == "sample" else None)


def test_the_fewest_rows_are_rounded_up(published: Kit) -> None:
    manifest = published.current().manifest
    rows = {"domains": 33, "gleif_candidates": 34, "a table that was not there": 0}
    checks = check_shrink(manifest, rows, 33.01, accept_shrink=False, identity="sample")
    assert [check.passed for check in checks] == [False, True, True]
    assert [check.metadata["limit_rows"] for check in checks] == [34, 34, 0]


def test_shrink_passes_when_nothing_is_published() -> None:
    checks = check_shrink(None, {"domains": 0}, 50, accept_shrink=False, identity="sample")
    assert checks[0].passed
    assert checks[0].metadata["rows_before"] is None
