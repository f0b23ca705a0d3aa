"""What is not published: `current` stays as it was, and nothing is left behind."""

import subprocess
from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import ContractError, PublishError, StagingError
from pipelines.snapshots.opening import current_snapshot
from tests.forking import run_forked
from tests.publish.kit import Kit, assert_untouched, check_record, flip_a_byte, new_id
from tests.publish.rows import TABLES, domain_rows, rejected_rows

pytestmark = pytest.mark.fast


def test_tables_of_two_stagings_are_refused(published: Kit) -> None:
    other, own = published.build(new_id(2), {0: [1]}), published.build(new_id(3), {0: [1]})
    with pytest.raises(StagingError, match="domain_exports was built from another staging") as caught:
        published.publish(3, built=[other[0], *own[1:]])
    assert new_id(2) in caught.value.found
    assert_untouched(published)


@pytest.mark.parametrize(("slice_", "said"), [(slice(1, 3), "candidate_exports, rejected_rows"), (slice(0), "none")])
def test_a_missing_table_is_refused(published: Kit, slice_: slice, said: str) -> None:
    with pytest.raises(StagingError) as caught:
        published.publish(2, built=published.build(new_id(2), {0: [1]})[slice_])
    assert caught.value.found == said
    assert_untouched(published)


def test_a_table_that_stands_twice_is_refused(kit: Kit) -> None:
    built = kit.build(new_id(1), {0: [1]})
    with pytest.raises(StagingError):
        kit.publish(1, built=[*built, built[0]])


def test_another_contract_version_is_refused(kit: Kit) -> None:
    built = kit.build(new_id(1), {0: [1]})
    with pytest.raises(StagingError, match="contract version"):
        kit.publish(1, built=[built[0].model_copy(update={"contract_version": "0.9.0"}), *built[1:]])


@pytest.mark.parametrize(
    "files",
    [[], ["elsewhere/a.parquet"], ["domain_exports/../../a"], ["domain_exports/b", "domain_exports/a"]],
    ids=["none", "elsewhere", "outside", "order"],
)
def test_files_that_are_not_listed_properly_are_refused(kit: Kit, files: list[str]) -> None:
    built = kit.build(new_id(1), {0: [1]})
    record = built[0].files[0]
    wrong = built[0].model_copy(update={"files": tuple(record.model_copy(update={"path": path}) for path in files)})
    with pytest.raises(StagingError, match="not listed properly"):
        kit.publish(1, built=[wrong, *built[1:]])


def test_a_failed_check_blocks_and_a_warning_does_not(published: Kit) -> None:
    built = published.build(new_id(2), {0: [1]})
    failed = built[0].model_copy(update={"checks": (check_record("key_is_unique", passed=False),)})
    with pytest.raises(PublishError, match=r"domain_exports\.key_is_unique"):
        published.publish(2, built=[failed, *built[1:]])
    with pytest.raises(PublishError, match=r"domain_exports\.source_not_shrunk"):
        published.publish(2, built=built, checks=[check_record("source_not_shrunk", passed=False)])
    assert_untouched(published)
    warned = built[0].model_copy(update={"checks": (check_record("status", passed=False, severity="warn"),)})
    published.publish(2, built=[warned, *built[1:]])
    assert published.current().manifest.id == new_id(2)


def test_a_built_file_that_changed_or_is_gone_is_named(published: Kit) -> None:
    built = published.build(new_id(2), {0: range(50)})
    path = published.tables_dir(new_id(2)) / "candidate_exports" / "000000.parquet"
    flip_a_byte(path)
    with pytest.raises(PublishError, match=r"candidate_exports/000000\.parquet is not what was written"):
        published.publish(2, built=built)
    path.unlink()
    with pytest.raises(PublishError, match=r"candidate_exports/000000\.parquet is missing"):
        published.publish(2, built=built)
    assert_untouched(published)


def test_rows_out_of_order_do_not_pass_verification(published: Kit) -> None:
    built = published.write(
        new_id(2),
        {
            "domain_exports": {0: domain_rows([1, 3, 2])},
            "candidate_exports": {0: pl.DataFrame(schema=TABLES[1].polars_schema)},
            "rejected_rows": {None: rejected_rows(1)},
        },
    )
    with pytest.raises(PublishError, match=r"domain_exports\.parquet_sorted"):
        published.publish(2, built=built)
    assert_untouched(published)


def test_a_table_of_other_columns_cannot_even_be_built(kit: Kit) -> None:
    with pytest.raises(ContractError):
        kit.write(new_id(1), {"domain_exports": {0: rejected_rows(1)}})


def test_a_null_in_a_required_column_stops_the_switch(published: Kit) -> None:
    frames = {table.name: {None: pl.DataFrame(schema=table.polars_schema)} for table in TABLES}
    frames["domain_exports"] = {None: domain_rows([1]).with_columns(batch_id=pl.lit(None, pl.String))}
    with pytest.raises(PublishError, match=r"domain_exports\.batch_id"):
        published.publish(2, built=published.write(new_id(2), frames))
    assert_untouched(published)


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.errors import PublishError
from tests.publish.kit import Kit, new_id
kit = Kit(Path(sys.argv[1]))
built = kit.build(new_id(2), {0: range(50)})
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    kit.publish(2, built=built)
except PublishError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100, 200_000, 900_000])
def test_a_full_disk_leaves_the_published_snapshot(published: Kit, limit: int) -> None:
    assert "free space" in run_forked(FULL_DISK, published.root, limit).stdout
    assert_untouched(published)


def test_a_full_file_system_leaves_the_published_snapshot(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        kit = Kit(disk)
        kit.publish(1)
        with pytest.raises(PublishError) as caught:
            kit.publish(2, {0: range(3_000)})
        assert "free space" in caught.value.fix
        assert_untouched(kit)
        assert current_snapshot(kit.export_dir) is not None
    finally:
        subprocess.run(["umount", disk], check=True)
