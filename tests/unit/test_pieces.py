"""Pieces: what each producer wrote for a consumer comes back, whole and in order; a damaged file is found."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from pipelines.build.pieces import PieceIndex, read_pieces, write_pieces

pytestmark = pytest.mark.fast

SCHEMA = pa.schema({"id": pa.int64(), "text": pa.string()})


def rows(first: int, count: int) -> pa.RecordBatch:
    texts = [None if n % 3 == 0 else f"ü{n}" for n in range(first, first + count)]
    return pa.record_batch([pa.array(range(first, first + count), pa.int64()), pa.array(texts)], schema=SCHEMA)


def written(folder: Path) -> PieceIndex:
    """Two producers, each with rows of consumers 0, 7 and None; those of 7 are slices of a larger batch."""
    parts = [
        write_pieces(
            folder,
            f"{number}.arrow",
            "k",
            SCHEMA,
            [(None, rows(number, 2)), (7, rows(100 * number, 90).slice(10, 50)), (0, rows(1_000 + number, 1))],
        )
        for number in (2, 1)
    ]
    return PieceIndex(parts)


def test_consumers_get_their_rows_in_the_order_of_producers(tmp_path: Path) -> None:
    index = written(tmp_path)
    path = tmp_path / "index.bin"
    index.write(path)
    for found in (index, PieceIndex.read(path)):
        assert read_pieces(tmp_path, found.of("k", 0), SCHEMA)["id"].to_list() == [1_001, 1_002]
        assert read_pieces(tmp_path, found.of("k", None), SCHEMA)["id"].to_list() == [1, 2, 2, 3]
        expected = pl.DataFrame(pa.Table.from_batches([rows(110, 50), rows(210, 50)]))
        assert_frame_equal(read_pieces(tmp_path, found.of("k", 7), SCHEMA), expected)


def test_a_consumer_without_rows_gets_none(tmp_path: Path) -> None:
    index = written(tmp_path)
    for kind, consumer in (("k", 5), ("other", 0)):
        assert read_pieces(tmp_path, index.of(kind, consumer), SCHEMA).shape == (0, 2)
    assert PieceIndex([]).of("k", 0).is_empty()


def test_a_piece_carries_its_own_rows_only(tmp_path: Path) -> None:
    big = rows(0, 100_000)
    (length,) = write_pieces(tmp_path, "a.arrow", "k", SCHEMA, [(0, big.slice(5, 10))])["length"]
    assert length < 1_000


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    index = written(tmp_path)
    path = tmp_path / "2.arrow"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:900])
    else:
        path.unlink()
    with pytest.raises((OSError, pa.ArrowException)):
        read_pieces(tmp_path, index.of("k", 7), SCHEMA)


def test_zeros_anywhere_are_found(tmp_path: Path) -> None:
    """As a power cut leaves them. Arrow stores what does not compress as it is: they were read as rows."""
    index = written(tmp_path)
    index.write(tmp_path / "index.bin")
    (piece,) = index.of("k", 7).filter(file="2.arrow").iter_rows(named=True)
    for name, begin, end in (
        ("2.arrow", piece["offset"], piece["offset"] + piece["length"]),
        ("index.bin", 0, (tmp_path / "index.bin").stat().st_size),
    ):
        path = tmp_path / name
        content = path.read_bytes()
        for block in range(begin, end, 16):
            zeros = bytes(min(16, end - block))
            if content[block : block + 16] == zeros:
                continue
            path.write_bytes(content[:block] + zeros + content[block + len(zeros) :])
            with pytest.raises((OSError, pa.ArrowException, pl.exceptions.PolarsError)):
                read_pieces(tmp_path, PieceIndex.read(tmp_path / "index.bin").of("k", 7), SCHEMA)
        path.write_bytes(content)


def test_a_file_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def batches():
        yield 0, rows(0, 5)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_pieces(tmp_path, "a.arrow", "k", SCHEMA, batches())
    assert list(tmp_path.iterdir()) == []
