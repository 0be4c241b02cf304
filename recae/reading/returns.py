"""`Returned`: pairs of a user and an item of which a table holds returns, rows with a quantity below zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recae.interactions import SECOND
from recae.reading import report as why
from recae.reading.engine import Engine
from recae.reading.keys import Ids
from recae.reading.purchases import Reading


@dataclass(frozen=True, eq=False)
class Returned:
    """Distinct pairs, one a row.

    Attributes:
        users: their ids, (n,) text.
        items: likewise.
        balanced: whether what is left of new purchases beside them was bought anew, as in a journal; a table does not
            say whether its return is of a new purchase or of an earlier one.
    """

    users: pa.LargeStringArray
    items: pa.LargeStringArray
    balanced: bool = False


def returned_pairs(reading: Reading) -> Returned:
    """Return the pairs of which a table that was read holds a return.

    A return is a row with a quantity below zero, which is no purchase and is dropped where a table is read. Orders that
    were cancelled or never paid are no returns: they undo themselves and not what was bought before.

    Args:
        reading: after its `purchases`; the period that its filters ask for holds for returns, too.
    """
    stored, filters = reading.stored, reading.options.filters
    none = pa.array([], pa.large_string())
    if stored is None or "quantity" not in stored.columns:
        return Returned(none, none)
    where = [f"fate = {why.REASONS.index(why.RETURNED) + 1}", "quantity < 0"]
    if filters is not None and stored.timed:
        where += [] if filters.start is None else [f"time >= {filters.start * SECOND}"]
        where += [] if filters.end is None else [f"time < {filters.end * SECOND}"]
    found = reading.engine.arrow(
        f"SELECT DISTINCT user, item FROM {stored.purchases} WHERE {' AND '.join(where)} ORDER BY ALL"
    )
    users, items = (
        _texts(reading.engine, ids).take(pa.array(found.column(name).to_numpy().astype(np.int64)))
        for name, ids in (("user", stored.users), ("item", stored.items))
    )
    return Returned(users, items)


def _texts(engine: Engine, ids: Ids) -> pa.LargeStringArray:
    """Return the ids by their codes."""
    every = engine.arrow(f"SELECT id FROM {ids.table} WHERE code IS NOT NULL ORDER BY code").column("id")
    return every.cast(pa.large_string()).combine_chunks()
