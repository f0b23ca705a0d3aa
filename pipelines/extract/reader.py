"""The one module that imports connectorx: a query in, an Arrow table out, and its errors as ours.

connectorx raises RuntimeError, and pyo3's PanicException, which is no Exception: no `except Exception` and no retry
policy sees it (FACTS 1.5). Both become ExtractError here. Its text is not passed on: it may quote a URL or a value.
"""

import connectorx
import pyarrow as pa
from pydantic import SecretStr

from pipelines.errors import ExportError, ExtractError, SourceError

_SQLSTATE_TEXTS = (
    (
        "canceling statement due to statement timeout",
        "the longest time for a read was over",
        "raise EXPORT_MAX_SECONDS",
    ),
    ("canceling statement due to user request", "the read was cancelled", "start the run again"),
    (
        "canceling statement due to conflict with recovery",
        "the standby cancelled the read",
        "raise max_standby_streaming_delay, or turn hot_standby_feedback on",
    ),
    ("terminating connection", "the server ended the connection", "start the run again"),
    # What a server before 18 says of a snapshot whose exporter is gone.
    ("invalid snapshot identifier", "the snapshot, a table or a column is gone", "start the run again"),
    ("does not exist", "the snapshot, a table or a column is gone", "start the run again"),
    ("permission denied", "no privilege", "grant SELECT on both tables"),
    ("row-level security", "row-level security that hides rows", "ALTER ROLE … BYPASSRLS, or change the policy"),
    ("out of range", "a value is outside of what can be read", "look for timestamps after the year 262142"),
    (
        "value too large to decode",
        "a value is outside of what can be read",
        "look for timestamps after the year 262142",
    ),
    ("timed out waiting for connection", "no connection could be opened", "check max_connections of the server"),
    ("connection closed", "the connection broke", "start the run again"),
    ("error communicating with the server", "the connection broke", "start the run again"),
    ("broken pipe", "the connection broke", "start the run again"),
    ("connection reset", "the connection broke", "start the run again"),
)
_NOT_TRIED_AGAIN = frozenset({"permission denied", "row-level security"})


def read_query(url: SecretStr, query: str, setup: list[str]) -> pa.Table:
    """Run one query over one connection.

    Args:
        url: Where to connect; secret.
        query: A SELECT without a semicolon.
        setup: Statements that run first on the same connection, one each.

    Returns:
        All rows; text columns are `string`, timestamps `timestamp[us]`.

    Raises:
        ExtractError: The read failed, whatever connectorx raised for it.
    """
    try:
        table = connectorx.read_sql(
            url.get_secret_value(), query, return_type="arrow", protocol="binary", pre_execution_query=setup
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  PanicException derives from BaseException
        raise _as_ours(error) from None
    return table


def _as_ours(error: BaseException) -> ExportError:
    lowered = str(error).lower()
    for words, found, fix in _SQLSTATE_TEXTS:
        if words in lowered:
            kind = SourceError if words in _NOT_TRIED_AGAIN else ExtractError
            return kind("A read from PostgreSQL failed", found=found, fix=fix)
    return ExtractError(
        "A read from PostgreSQL failed",
        found=type(error).__name__,
        fix="start the run again; if it stays so, the PostgreSQL server's log has the cause",
    )
