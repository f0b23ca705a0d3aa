"""JSON and NDJSON, against the snapshot's Parquet files, PostgreSQL's own text of reals, json and Polars."""

import io
import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.query.batch.expressions import real_text
from tests.batch.conftest import AWKWARD, Exported
from tests.batch.kit import file_of, nested_frame, sample_of

pytestmark = [pytest.mark.integration, pytest.mark.fast]


class Number(str):
    """A number as it stands in the JSON."""

    __slots__ = ()


def parsed(content: bytes) -> Any:
    return json.loads(content, parse_float=Number, parse_int=Number, parse_constant=pytest.fail)


def expected_objects(frame: pl.DataFrame) -> list[dict[str, Any]]:
    candidates = frame.select("domain_id", "candidates").explode("candidates", empty_as_null=False).unnest("candidates")
    nested: dict[str, list[dict[str, Any]]] = {}
    for owner, candidate in zip(candidates["domain_id"].to_list(), _spelled(candidates.drop("domain_id")), strict=True):
        nested.setdefault(str(owner), []).append(candidate)
    return [
        {**domain, "candidates": nested.get(domain["domain_id"], [])} for domain in _spelled(frame.drop("candidates"))
    ]


def _spelled(frame: pl.DataFrame) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for column in frame:
        values: list[Any]
        if column.dtype == pl.Float32:
            values = [None if value is None else Number(real_text(value)) for value in column.to_list()]
        elif column.dtype.is_integer():
            values = [None if value is None else Number(value) for value in column.to_list()]
        elif column.dtype.is_temporal():
            texts = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_list()
            values = [text and re.sub(r"^([+-])(\d+)", lambda year: year[1] + year[2].zfill(6), text) for text in texts]
        else:
            values = column.to_list()
        columns[column.name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_every_value_of_every_row_is_the_snapshots(exported: Exported) -> None:
    for batch_id in sample_of(exported.cells, 15):
        wanted = expected_objects(nested_frame(exported.snapshot, batch_id))
        content = file_of(exported.snapshot, batch_id, "ndjson")
        lines = content.decode().split("\n")
        assert lines.pop() == ""
        found = [parsed(line.encode()) for line in lines]
        assert found == wanted, batch_id
        assert [list(row) for row in found] == [list(row) for row in wanted], "order of keys"
        assert parsed(file_of(exported.snapshot, batch_id, "json")) == wanted


def test_reals_are_written_as_postgres_prints_them(exported: Exported) -> None:
    for batch_id, cells in exported.cells.items():
        if not any(row[3] not in {"", "0"} for row in cells) or len(batch_id) > 20:
            continue
        rows = parsed(file_of(exported.snapshot, batch_id, "json"))
        assert [row["confidence_score"] or "" for row in rows] == [row[3] for row in cells], batch_id


def test_polars_reads_json_and_ndjson(real: Exported) -> None:
    batch_id = max(real.cells, key=lambda name: sum(int(row[7]) for row in real.cells[name]))
    wanted = nested_frame(real.snapshot, batch_id)
    array = pl.read_json(io.BytesIO(file_of(real.snapshot, batch_id, "json")), infer_schema_length=None)
    lines = pl.read_ndjson(io.BytesIO(file_of(real.snapshot, batch_id, "ndjson")), infer_schema_length=None)
    for read in (array, lines):
        assert sorted(read.columns) == sorted(wanted.columns)  # Polars infers them in any order
        for name in ("domain_id", "domain", "all_legal_names", "lei_codes", "gleif_candidate_count"):
            assert read[name].to_list() == wanted[name].to_list()
        scores = read["confidence_score"].cast(pl.Float32)
        assert scores.to_list() == wanted["confidence_score"].to_list()
        codes, wanted_codes = (
            frame["candidates"].list.eval(pl.element().struct.field("lei_code")).to_list() for frame in (read, wanted)
        )
        assert codes == wanted_codes


def test_candidates_stand_in_rank_order_and_codes_are_text(awkward: Exported) -> None:
    rows = json.loads(file_of(awkward.snapshot, "a=b", "json"))
    for row in rows:
        found = [(c["rank_position"], c["lei_code"], c["jurisdiction"], c["legal_name"]) for c in row["candidates"]]
        assert found == [(rank, *texts) for rank, texts in enumerate(AWKWARD)]
        assert row["lei_codes"] == [code for code, _, _ in AWKWARD]
        assert all(np.float32(c["weighted_score"]) == np.float32(85.3) for c in row["candidates"])
    assert b'"weighted_score":85.3,' in file_of(awkward.snapshot, "a=b", "json")


def test_full_data_is_the_text_byte_for_byte(hostile: Exported) -> None:
    rows = json.loads(file_of(hostile.snapshot, "hostile-batch", "json"))
    texts = {c["gleif_full_data"] for row in rows for c in row["candidates"]}
    assert '{ "a" : 1 ,"a":1.10}' in texts
