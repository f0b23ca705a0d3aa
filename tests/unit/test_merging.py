"""Old and new rows put together by ranges of the key: as if all were sorted, in bounded memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipelines.build.merging import is_within, merge_in_ranges
from tests.memory import peak_bytes

pytestmark = pytest.mark.fast

ROWS, CHARACTERS = 1_000_000, 1_000
MERGE = """
import sys
from pathlib import Path
import polars as pl
from pipelines.build.merging import is_within, merge_in_ranges
base = Path(sys.argv[1])
old = pl.scan_parquet(base).filter(pl.col("id") // 1_000 % 20 != 0)
new = pl.scan_parquet(base).filter(pl.col("id") // 1_000 % 20 == 0)
merged = merge_in_ranges(base, "id", old, lambda some: new.filter(is_within("id", some)))
merged.sink_parquet(base.with_name("merged"), row_group_size=25_000, maintain_order=True)
"""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-50, 50) | st.text("aé\U0001f4be", max_size=30), unique=True, max_size=60),
    st.integers(1, 4),
    st.data(),
)
def test_it_is_what_sorting_gives(keys: list[int | str], group: int, data: st.DataObject) -> None:
    kind = type(keys[0]) if keys else int
    texts = [key for key in keys if isinstance(key, str)]
    numbers = [key for key in keys if isinstance(key, int)]
    own = pl.Series("key", texts, pl.String) if kind is str else pl.Series("key", numbers, pl.Int64)
    frame = own.sort().to_frame().with_row_index("n")
    is_new = pl.Series([data.draw(st.booleans()) for _ in range(frame.height)], dtype=pl.Boolean)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "base.parquet"
        frame.write_parquet(path, row_group_size=group)
        old, new = frame.filter(~is_new).lazy(), frame.filter(is_new).lazy()
        merged = merge_in_ranges(path, "key", old, lambda some: new.filter(is_within("key", some)))
        assert_frame_equal(merged.collect(engine="streaming"), frame)
        alone = merge_in_ranges(path, "key", frame.lazy(), lambda _: None)
        assert_frame_equal(alone.collect(), frame)


def test_rows_of_any_number_are_not_in_memory_together(tmp_path: Path) -> None:
    """A million rows of 1 kB take 340 MB; sorted at once, as rejected rows were, 1,240; merged at once 970."""
    numbers = pl.int_range(ROWS, eager=True).alias("id")
    rows = pl.DataFrame([numbers, (numbers.cast(pl.String) + "x" * CHARACTERS).alias("text")])
    rows.write_parquet(tmp_path / "base", row_group_size=25_000, compression_level=1)
    assert peak_bytes(MERGE, str(tmp_path / "base")) < 500 << 20
    assert pl.scan_parquet(tmp_path / "merged").select((pl.col("id") == pl.int_range(ROWS)).all()).collect().item()
