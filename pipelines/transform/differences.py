"""Which rows of a table changed between two states of it, cell by cell. Pure: what is done about them is not here."""

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs


def differing_rows(before: pl.DataFrame, now: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Rows of either state that the other one does not have, by some columns.

    NULL equals NULL. Reals are compared by their text: 0.0 and -0.0 differ, as they do in a published file.

    Args:
        before: The older state; rows with a unique id among `columns`.
        now: The newer state, with the same columns.
        columns: Those that are compared.

    Returns:
        `columns` of these rows, first those that are gone or changed, then those that are new or changed.
    """
    old, new = (frame.select(columns).with_columns(cs.float().cast(pl.String)) for frame in (before, now))
    if old.equals(new):  # a tenth of the time of the joins
        return old.clear()
    return pl.concat(
        [
            old.join(new, on=list(columns), how="anti", nulls_equal=True),
            new.join(old, on=list(columns), how="anti", nulls_equal=True),
        ]
    )
