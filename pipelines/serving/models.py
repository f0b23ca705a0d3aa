"""What answers look like: Pydantic models, those of published rows made from the contracts.

Keys are the published column names, as in every file. Until version 3 of the contract each answer has the earlier keys
too, in camelCase; the document does not describe these.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    create_model,
    model_serializer,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pipelines.contracts.source import FULL_DATA_COLUMN
from pipelines.contracts.tables import BATCH_SUMMARIES, DOMAIN_EXPORTS, ENTITIES, UNIQUE_DOMAINS, Table
from pipelines.query.batch.batches import OF_THE_DOMAIN
from pipelines.query.batch.expressions import real_text
from pipelines.query.queries import CANDIDATE_EXPORTS, SEARCH_COLUMNS


def _shortest_real(value: float | None) -> float | None:
    """The number that PostgreSQL prints for a real: 85.3, not 85.30000305175781; whole numbers without a fraction."""
    return None if value is None else _shortest_double(float(real_text(value)))


def _shortest_double(value: float | None) -> float | None:
    if value is None or not value.is_integer() or (value == 0 and math.copysign(1, value) < 0):
        return value
    return int(value)


_NUMBER = WithJsonSchema({"type": "number"})
_Real = Annotated[Any, BeforeValidator(_shortest_real), _NUMBER]
_Double = Annotated[Any, BeforeValidator(_shortest_double), _NUMBER]
# Not the format `date-time`: its years have four digits, PostgreSQL's do not end there (ISO 8601 expanded).
_TIME = {
    "pattern": r"^(\d{4}|[+-]\d{6})-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$",
    "examples": ["2026-11-23T06:59:32.000Z"],
}
_Time = Annotated[str, Field(json_schema_extra=_TIME)]
_TYPES: dict[str, Any] = {
    "INTEGER": int,
    "BIGINT": int,
    "FLOAT": _Real,
    "DOUBLE": _Double,
    "VARCHAR": str,
    "BOOLEAN": bool,
    "TIMESTAMP": _Time,
    "VARCHAR[]": list[str],
}


_Next = Annotated[
    str | None,
    Field(
        description="Address of the next page, relative to the address of this one, such as `?limit=100&offset=100`;"
        " null: there is none",
        json_schema_extra={"format": "uri-reference"},
    ),
]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    @model_serializer(mode="wrap")
    def _with_old_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = serialize(self)
        return {**found, **{to_camel(name): value for name, value in found.items()}}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The fields: without it, the schema is that of what the serializer returns, any object."""
        return handler({name: part for name, part in schema.items() if name != "serialization"})


def _model(
    name: str, table: Table, description: str, columns: Sequence[str] = (), absent: Sequence[str] = ()
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for column in columns or table.columns:
        kind = _TYPES[table.duckdb_types[column]]
        is_required = column in table.required and column not in absent
        described = Field(... if is_required else None, description=table.column_descriptions[column])
        fields[column] = (kind if is_required else kind | None, described)
    return create_model(name, __base__=_Answer, __doc__=description, __module__=__name__, **fields)


Candidate = _model(
    "Candidate", CANDIDATE_EXPORTS, "A candidate of a row of `domains`; ranked.", absent=(FULL_DATA_COLUMN,)
)
# Keys of the answer, the earlier ones too, and the column of each.
CANDIDATE_KEYS = {
    **{name: name for name in CANDIDATE_EXPORTS.columns},
    **{to_camel(name): name for name in CANDIDATE_EXPORTS.columns},
}
Batch = _model("Batch", BATCH_SUMMARIES, "A batch, with its counts, percentages and times.")
Entity = _model("Entity", ENTITIES, "A legal entity, with the domains that it is a candidate of.")
DomainRow = _model("DomainRow", DOMAIN_EXPORTS, "A row of `domains`, with its candidates joined in rank order.")
SearchHit = _model("SearchHit", DOMAIN_EXPORTS, "A row of `domains` that was found.", SEARCH_COLUMNS)
_UniqueDomain = _model("UniqueDomain", UNIQUE_DOMAINS, "A domain across all batches, with its best row.")
Domain = create_model(
    "Domain",
    __base__=_UniqueDomain,
    __doc__="A domain across all batches, with its best row and all its rows.",
    __module__=__name__,
    history=(list[DomainRow], Field(description="Its rows, by id; result_count says how many there are")),  # type: ignore[valid-type]
    next=(_Next, None),
)
_ExportedCandidate = _model(
    "ExportedCandidate",
    CANDIDATE_EXPORTS,
    "A candidate in the file of a batch; without what it shares with its row.",
    [name for name in CANDIDATE_EXPORTS.columns if name not in OF_THE_DOMAIN],
    absent=(FULL_DATA_COLUMN,),
)
ExportedDomain = create_model(
    "ExportedDomain",
    __base__=DomainRow,
    __doc__="A row of `domains` in the file of a batch, with its candidates in rank order.",
    __module__=__name__,
    candidates=(list[_ExportedCandidate], Field(description="Its candidates, in rank order")),  # type: ignore[valid-type]
)


class BatchPage(_Answer):
    """Some of the batches."""

    total: int = Field(description="How many batches there are")
    limit: int
    offset: int
    next: _Next
    items: list[Batch]  # type: ignore[valid-type]


class SearchPage(_Answer):
    """Some of what was found."""

    has_more: bool = Field(description="Whether there is more after these")
    limit: int
    offset: int
    next: _Next
    items: list[SearchHit]  # type: ignore[valid-type]


class Health(_Answer):
    """The server runs."""

    status: Literal["ok"] = "ok"


class CheckSummary(_Answer):
    """What the snapshot's checks said when it was published."""

    total: int
    passed: int
    warnings: list[str] = Field(description="Names of checks that warned, `<table>.<check>`")


class Readiness(_Answer):
    """The server has a snapshot to answer from."""

    status: Literal["ready"] = "ready"
    snapshot_id: str
    sequence: int
    contract_version: str
    created_at: datetime = Field(description="When the snapshot was built")
    source_at: datetime = Field(description="The instant of the database that it shows")
    age_seconds: float = Field(description="Seconds since then")
    is_current: bool = Field(description="False: a newer snapshot can't be opened, the server's log says why")
    rows: dict[str, int] = Field(description="Rows by table")
    checks: CheckSummary
