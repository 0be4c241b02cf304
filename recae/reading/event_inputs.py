"""Other events than purchases, gathered beside them: who looked at what, and put what into the cart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.interactions import SECOND, Interactions
from recae.reading.engine import Engine
from recae.reading.keys import Ids
from recae.reading.options import ReadOptions
from recae.reading.storing import Stored
from recae.reading.table import Note


@dataclass(frozen=True, eq=False)
class GatheredInputs:
    """The events, and notes on those that are left out."""

    inputs: EventInputs
    notes: tuple[Note, ...]


def gather_inputs(
    engine: Engine, stored: Stored, names: Sequence[str], interactions: Interactions, options: ReadOptions
) -> GatheredInputs:
    """Return the events of the users and with the items that have purchases.

    Users and items that were only looked at are left out: nobody knows what such a user buys, and such an item cannot
    be recommended. Of a period and of excluded items the same holds as of purchases.

    Args:
        engine: that holds the stored rows, whose column `input` is the place of the event from 1, or 0.
        stored: those rows.
        names: of the inputs.
        interactions: the purchases that are left.
        options: of the reading.
    """
    times, filters = stored.times, options.filters
    where = ["r.input > 0"]
    if times is not None and filters is not None:
        if filters.start is not None:
            where.append(f"{times.sql} >= {filters.start * SECOND}")
        if filters.end is not None:
            where.append(f"{times.sql} < {filters.end * SECOND}")
    joins = [stored.users.join, stored.items.join, "" if times is None else times.join]
    found = engine.arrow(
        f"SELECT {stored.users.code} AS u, {stored.items.code} AS i, r.input AS e, count(*) AS n "
        f"FROM {stored.rows} r {' '.join(joins)} WHERE {' AND '.join(where)} GROUP BY ALL ORDER BY ALL"
    )
    users, items = (
        _places(engine, ids, known)[found.column(name).fill_null(ids.size).to_numpy()]
        for name, ids, known in (
            ("u", stored.users, interactions.users),
            ("i", stored.items, interactions.items),
        )
    )
    events, rows = found.column("e").to_numpy(), found.column("n").to_numpy()
    taken = (users >= 0) & (items >= 0)
    shape = (interactions.n_users, interactions.n_items)
    blocks = []
    for place in range(1, len(names) + 1):
        mine = taken & (events == place)
        ones = np.ones(int(mine.sum()), dtype=np.float32)
        blocks.append(sp.csr_matrix((ones, (users[mine], items[mine])), shape=shape))
    notes = []
    if lost := int(rows[~taken].sum()):
        nobody = int(rows[users < 0].sum())
        notes.append(
            Note(
                f"of {int(rows.sum()):,} rows of other events {lost:,} are left out: {nobody:,} are of users without a "
                f"purchase, {lost - nobody:,} of items that nobody bought",
                rows=lost,
            )
        )
    return GatheredInputs(EventInputs.of(names, blocks), tuple(notes))


def _places(engine: Engine, ids: Ids, known: IdMap) -> NDArray[np.int64]:
    """Return the row of each code's id in the purchases, −1 where it has none, and behind them −1 for no code."""
    every = engine.arrow(f"SELECT id FROM {ids.table} WHERE code IS NOT NULL ORDER BY code").column("id")
    return np.append(known.rows(every), -1)
