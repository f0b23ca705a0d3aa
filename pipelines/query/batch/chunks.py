"""A part of a batch: how large it is, and what is asked of it; a domain that does not fit in the memory of a part.

Such a domain is read value by value, long texts in pieces. DuckDB has a whole value in its memory, and with it the
values of the 2,048 rows that it reads together; outside of DuckDB there is a piece at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.errors import AnswerTooLargeError
from pipelines.query.bounded import DoesNotFitError, too_large
from pipelines.query.database import Reader
from pipelines.snapshots.duckdb_connections import quoted

if TYPE_CHECKING:
    import pyarrow as pa  # 25 MB of memory, which only Parquet needs

# Of Python's texts; a piece is there twice, as a text and as bytes.
_BYTES_PER_CHARACTER, _BYTES_PER_ASCII_CHARACTER = 8, 2
_CANDIDATES_AT_A_TIME = 1_000
_ELEMENTS_AT_A_TIME = 1_000


class ChunkSize(NamedTuple):
    """How much of a batch is in memory at a time. One domain with all its candidates is the least."""

    domains: int = 1_000
    candidates: int = 5_000


DEFAULT_CHUNK = ChunkSize()


@dataclass(frozen=True)
class ChunkQueries:
    """Asks for what belongs to one chunk: `$batch_id`, `$first_id` and `$last_id` are bound.

    Domain rows and their candidates are asked for one after the other and put together outside. Joined in one query,
    both are in DuckDB's memory at once, with all their blocks: with 48 MB it read each block of a batch of 5,000
    domains again for each chunk, 0.65 s instead of 0.24 s.
    """

    _reader: Reader
    _parameters: Mapping[str, object]
    _alone: bool
    _is_one_domain: bool

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows.

        Raises:
            DoesNotFitError: They need more memory than a chunk may take.
        """
        return self._reader.chunk(sql, self._parameters, alone=self._alone)

    def table(self, sql: str) -> "pa.Table":
        """All rows with their types.

        Raises:
            DoesNotFitError: They need more memory than a chunk may take, or than one domain may.
        """
        return self._reader.table(sql, self._parameters, alone=self._alone, is_least=self._is_one_domain)


class LargeRow:
    """One row of a table."""

    def __init__(self, reader: Reader, relation: str, key: dict[str, int]) -> None:
        """Read nothing yet.

        Args:
            key: Values of the columns that name the row, domain_id among them.
        """
        self._reader = reader
        self._from = f"FROM {relation} WHERE {' AND '.join(f'{quoted(name)} = ${name}' for name in key)}"
        self._key = key
        self._is_alone = False

    def value(self, expression: str, **parameters: object) -> Any:  # noqa: ANN401  of any type that DuckDB has
        """What an expression is in this row.

        Raises:
            AnswerTooLargeError: It does not fit.
            SnapshotError: DuckDB can't read the file any more.
        """
        return self._rows(f"SELECT {expression} {self._from}", **parameters)[0][0]

    def texts(self, name: str) -> Iterator[str] | None:
        """The text of a column in pieces; None: it is NULL. Raises as `value`."""
        column = quoted(name)
        found = self._rows(f"SELECT length({column}), length({column}) = strlen({column}) {self._from}")[0]
        return None if found[0] is None else self._texts(name, *found)

    def json_elements(self, name: str) -> Iterator[str]:
        """The elements of a list as they stand in a JSON array, some at a time. Raises as `value`."""
        count = self.value(f"len({quoted(name)})") or 0
        for start in range(1, count + 1, _ELEMENTS_AT_A_TIME):
            some = f"to_json(list_slice({quoted(name)}, $start, $end))::VARCHAR"
            yield self.value(some, start=start, end=start + _ELEMENTS_AT_A_TIME - 1)[1:-1]

    def too_large(self) -> AnswerTooLargeError:
        """What to say of it where it can't be read."""
        what = f"Row {self._key['domain_id']} of domains needs more memory than there is"
        return too_large(self._reader.memory, what)

    def _texts(self, name: str, length: int, is_ascii: bool) -> Iterator[str]:  # noqa: FBT001  as DuckDB answers it
        size = _BYTES_PER_ASCII_CHARACTER if is_ascii else _BYTES_PER_CHARACTER
        step = max(1, self._reader.memory.chunk_bytes // size)
        for start in range(1, length + 1, step):
            yield self.value(f"substring({quoted(name)}, $start, $count)", start=start, count=step)

    def _rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        parameters |= self._key
        try:
            if not self._is_alone:
                try:
                    return self._reader.chunk(sql, parameters)
                except DoesNotFitError:
                    self._is_alone = True  # and so will be what is asked next
            return self._reader.chunk(sql, parameters, alone=True)
        except DoesNotFitError:
            raise self.too_large() from None


class LargeDomain(LargeRow):
    """A row of domain_exports, with its candidates."""

    def __init__(self, reader: Reader, domains: str, candidates: str, domain_id: int) -> None:
        super().__init__(reader, domains, {"domain_id": domain_id})
        self.domain_id = domain_id
        self._candidates = candidates

    def candidates(self, expression: str, order: str) -> Iterator[str | LargeRow]:
        """What an expression is of each candidate; of one that does not fit, its row.

        Raises:
            AnswerTooLargeError: Their ids do not fit.
            SnapshotError: DuckDB can't read the file any more.
        """
        of_domain = f"FROM {self._candidates} WHERE domain_id = $domain_id"
        groups = [[row[0] for row in self._rows(f"SELECT candidate_id {of_domain} ORDER BY {order}")]]
        sql = f"SELECT candidate_id, {expression} {of_domain} AND list_contains($ids, candidate_id)"
        while groups:
            ids = groups.pop()
            if len(ids) > _CANDIDATES_AT_A_TIME:
                groups += [ids[_CANDIDATES_AT_A_TIME:], ids[:_CANDIDATES_AT_A_TIME]]
                continue
            found = self._some(sql, ids)
            if found is not None:
                yield from (found[number] for number in ids)
            elif len(ids) == 1:
                yield LargeRow(self._reader, self._candidates, {**self._key, "candidate_id": ids[0]})
            else:
                groups += [ids[len(ids) // 2 :], ids[: len(ids) // 2]]

    def _some(self, sql: str, ids: Sequence[int]) -> dict[int, str] | None:
        """The texts of some candidates by id; None: they do not fit."""
        for alone in (False, True):
            try:
                return dict(self._reader.chunk(sql, {**self._key, "ids": list(ids)}, alone=alone))
            except DoesNotFitError as error:
                if not error.is_in_duckdb:
                    break
        return None
