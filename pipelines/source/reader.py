"""The one module that imports connectorx: a query in, an Arrow table out, and its errors as ours.

connectorx raises RuntimeError, and pyo3's PanicException, which is no Exception: no `except Exception` and no retry
policy sees it (FACTS 1.5). Both become ExtractError here. Their text is not passed on: it may quote a URL or a value,
and it holds no SQLSTATE. failed_read.py finds out what was the matter.
"""

import connectorx
import pyarrow as pa
from pydantic import SecretStr

from pipelines.errors import ExtractError


def read_query(url: SecretStr, query: str, setup: list[str]) -> pa.Table:
    """Run one query over one connection.

    Args:
        query: A SELECT without a semicolon.
        setup: Statements that run first on the same connection, one each.

    Returns:
        All rows; text columns are `string`, timestamps `timestamp[us]`.

    Raises:
        ExtractError: The read failed, whatever connectorx raised for it.
        MemoryError: There is no more memory.
    """
    try:
        table = connectorx.read_sql(
            url.get_secret_value(), query, return_type="arrow", protocol="binary", pre_execution_query=setup
        )
    except MemoryError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # an interrupt, whatever class the handler of the signal gave it
        raise ExtractError(
            "A read from PostgreSQL failed",
            found=type(error).__name__,
            fix="start the run again; if it stays so, the PostgreSQL server's log has the cause",
        ) from None
    return table
