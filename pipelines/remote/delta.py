"""Delta tables whose log adds the very Parquet files of a snapshot; nothing is written again.

A commit names only what changes: files that stay are in no action. (`mode="overwrite"` would remove and add them in
one commit, which the protocol forbids, because readers need not apply the actions of a commit in order.)
With each file go statistics of its footer, so that engines can skip files.
"""

import json
import math
import posixpath
import time
import urllib.parse
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.errors import RemoteError
from pipelines.remote.errors import store_errors
from pipelines.remote.layout import object_name
from pipelines.remote.store import RemoteStore
from pipelines.snapshots.opening import Snapshot

_TYPES: dict[pl.DataType, str] = {
    pl.Int32(): "integer",
    pl.Int64(): "long",
    pl.Float32(): "float",
    pl.Float64(): "double",
    pl.String(): "string",
    pl.Boolean(): "boolean",
    pl.Datetime("us"): "timestamp_ntz",
}
# Old files and old versions of the log go by retention.py, which knows the snapshots that are kept.
_CONFIGURATION: dict[str, str | None] = {"delta.checkpointInterval": "10", "delta.enableExpiredLogCleanup": "false"}
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
# Longer texts would make the log larger than what skipping by them saves.
_MAX_TEXT = 64


@dataclass(frozen=True)
class DeltaState:
    """A version of a Delta table.

    Attributes:
        files: Size by name of its data objects, relative to the table.
        rows: Rows by the statistics of its log.
        columns: Name and type of each column, as Delta's JSON.
    """

    version: int
    files: dict[str, int]
    rows: int
    columns: dict[str, str]


def read_state(store: RemoteStore, table: str, version: int | None = None) -> DeltaState | None:
    """A version of a table, the newest by default; None where there is no table.

    Raises:
        RemoteError: The log can't be read, or has no such version.
    """
    with store_errors(f"The Delta table {table} of {store.url} can't be read"):
        try:
            found = DeltaTable(store.table_url(table), version=version, storage_options=store.delta_options)
        except TableNotFoundError:
            return None
        added = pl.DataFrame(found.get_add_actions(flatten=True))
        names = [urllib.parse.unquote(posixpath.basename(path)) for path in added["path"]]
        return DeltaState(
            version=found.version(),
            files=dict(zip(names, added["size_bytes"].to_list(), strict=True)),
            rows=int(added["num_records"].sum() or 0) if "num_records" in added.columns else 0,
            columns={field.name: field.type.to_json() for field in found.schema().fields},
        )


def commit_table(
    store: RemoteStore, snapshot: Snapshot, record: TableRecord, table: Table | None, before: DeltaState | None
) -> DeltaState:
    """Bring a Delta table to the files of a snapshot; where it has them already, nothing is written.

    Args:
        store: Where to; the data objects are there.
        snapshot: The local one, whose files the statistics are read from.
        record: The table, as its manifest has it.
        table: The contract's table, for the comments; None: this version does not know it.
        before: The newest version, as it was read before anything was sent; None: there is no table yet.

    Returns:
        The version that holds the snapshot's files.

    Raises:
        RemoteConflictError: Another publisher committed to the table meanwhile.
        RemoteError: The store failed, or the table has a column of a type that Delta lacks.
        OSError: A local file can't be read.
    """
    wanted = {posixpath.basename(object_name(file)): file for file in record.files}
    schema = _schema(pl.Schema(pl.read_parquet_schema(snapshot.folder / record.files[0].path)), table)
    columns = {field.name: field.type.to_json() for field in schema.fields}
    if before is not None and _is_at(before, wanted, columns):
        return before
    now_ms = int(time.time() * 1000)
    adds = [
        AddAction(name, file.bytes, {}, now_ms, data_change=True, stats=statistics_of(snapshot.folder / file.path))
        for name, file in wanted.items()
        if before is None or name not in before.files
    ]
    properties = CommitProperties(custom_metadata={"snapshot_id": snapshot.manifest.id}, max_commit_retries=0)
    what = f"The Delta table {record.name} of {store.url} can't be written"
    with store_errors(what):
        try:
            if before is None:
                create_table_with_add_actions(
                    store.table_url(record.name),
                    schema,
                    adds,
                    name=record.name,
                    description=None if table is None else table.description,
                    configuration=_CONFIGURATION,
                    storage_options=store.delta_options,
                    commit_properties=properties,
                    post_commithook_properties=_HOOKS,
                )
            else:
                # With other columns every file is another one, and only `overwrite` brings the new schema along.
                is_new_schema = before.columns != columns
                removes = [
                    RemoveAction(name, data_change=True, deletion_timestamp=now_ms, size=size, partition_values={})
                    for name, size in before.files.items()
                    if name not in wanted and not is_new_schema
                ]
                found = DeltaTable(store.table_url(record.name), storage_options=store.delta_options)
                if found.version() != before.version:
                    raise store.conflict(f"the table {record.name}")
                found.create_write_transaction(
                    [*adds, *removes],
                    "overwrite" if is_new_schema else "append",
                    schema,
                    commit_properties=properties,
                    post_commithook_properties=_HOOKS,
                )
        except (CommitFailedError, DeltaError) as error:
            # The answer to a commit that was made may be lost; then the table is where it should be.
            after = read_state(store, record.name)
            if after is not None and _is_at(after, wanted, columns):
                return after
            if after is not None and (before is None or after.version > before.version):
                raise store.conflict(f"the table {record.name}") from None
            raise error from None
    after = read_state(store, record.name, 0 if before is None else before.version + 1)
    if after is None or not _is_at(after, wanted, columns):
        raise RemoteError(
            f"{what}: it does not have the snapshot's files after the commit", fix="lei-exports push tries again"
        )
    return after


def _is_at(state: DeltaState, wanted: dict[str, FileRecord], columns: dict[str, str]) -> bool:
    return state.columns == columns and state.files == {name: file.bytes for name, file in wanted.items()}


def _schema(found: pl.Schema, table: Table | None) -> Schema:
    """Columns as the files have them, with the contract's descriptions as comments. All may be NULL, as in Parquet."""
    descriptions = {} if table is None else table.column_descriptions
    fields = [
        {
            "name": name,
            "type": _type(name, dtype),
            "nullable": True,
            "metadata": {"comment": descriptions[name]} if name in descriptions else {},
        }
        for name, dtype in found.items()
    ]
    return Schema.from_json(json.dumps({"type": "struct", "fields": fields}))


def _type(name: str, dtype: pl.DataType) -> str | dict[str, object]:
    if dtype == pl.List(pl.String):
        return {"type": "array", "elementType": "string", "containsNull": True}
    if dtype not in _TYPES:
        raise RemoteError(f"Column {name} has the type {dtype}, which Delta Lake lacks", fix="report it")
    return _TYPES[dtype]


def statistics_of(path: Path) -> str:
    """Row count, and per column that is no list: number of NULLs, smallest and largest value.

    Returns:
        JSON as the Delta protocol has it (`numRecords`, `minValues`, `maxValues`, `nullCount`). A column without a
        bound in every row group, or with a long text as a bound, has none here.

    Raises:
        OSError: The file can't be read.
    """
    footer = pq.read_metadata(path)
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for number in range(footer.num_columns):
        column = footer.schema.column(number)
        if column.max_repetition_level or column.max_definition_level > 1:
            continue
        found = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
        if any(each is None or not each.has_null_count for each in found):
            continue
        nulls[column.name] = sum(each.null_count for each in found)
        bounds = _bounds([each for each in found if each.num_values])
        if bounds is not None:
            smallest[column.name], largest[column.name] = bounds
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls},
        ensure_ascii=False,
        allow_nan=False,
    )


def _bounds(groups: list[Any]) -> tuple[Any, Any] | None:
    """Smallest and largest value over row groups, as JSON; None where one is missing or can't be said."""
    if not groups or not all(each.has_min_max for each in groups):
        return None
    try:
        values = _value(min(each.min for each in groups)), _value(max(each.max for each in groups))
    except (OverflowError, ValueError):  # PostgreSQL's years go from 4713 BC to 294276
        return None
    return None if None in values else values


def _value(bound: Any) -> Any:  # noqa: ANN401  a value of any column
    """A bound as JSON; None where it can't be one. The protocol has no bounds of booleans."""
    match bound:
        case bool():
            return None
        case datetime():
            return bound.isoformat(timespec="microseconds")
        case float():
            return bound if math.isfinite(bound) else None
        case str():
            return bound if len(bound) <= _MAX_TEXT else None
        case int():
            return bound
    return None
