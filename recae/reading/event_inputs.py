"""Other events than purchases, gathered beside them: who looked at what, and put what into the cart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
from recae.inputs import EventInputs
from recae.interactions import SECOND, Interactions
from recae.reading.engine import Engine
from recae.reading.keys import Ids, number_ids
from recae.reading.options import ReadOptions
from recae.reading.storing import Stored
from recae.reading.table import Note

EventIds = Callable[[Interactions], tuple[IdMap, IdMap]]
"""Whose events of which items count, for the purchases that were read: ids of users and of items."""


@dataclass(frozen=True, eq=False)
class GatheredInputs:
    """The events, and notes on those that are left out."""

    inputs: EventInputs
    notes: tuple[Note, ...]


def gather_inputs(
    engine: Engine,
    stored: Stored,
    names: Sequence[str],
    interactions: Interactions,
    options: ReadOptions,
    ids: EventIds | None = None,
) -> GatheredInputs:
    """Return the events of the users and items that have purchases, or of those of a model as well.

    A user who only looked gives nothing to learn from, and an item that was only looked at cannot be recommended. The
    period and the excluded items of the filters apply to events as to purchases.

    Args:
        engine: that holds the stored rows, whose column `input` is the place of the event from 1, or 0.
        stored: those rows.
        names: of the inputs.
        interactions: the purchases that are left.
        options: of the reading.
        ids: users and items that events may be of, which are the rows and the columns of each event; None: those of the
            purchases.
    """
    times, filters = stored.times, options.filters
    where = ["r.input > 0"]
    if times is not None and filters is not None:
        if filters.start is not None:
            where.append(f"{times.sql} >= {filters.start * SECOND}")
        if filters.end is not None:
            where.append(f"{times.sql} < {filters.end * SECOND}")
    of_purchases = interactions.users, interactions.items
    rows_of, columns = of_purchases if ids is None else ids(interactions)
    ids_of_users, ids_of_items = stored.users, stored.items
    # those of the purchases have numbers already
    if rows_of is not interactions.users:
        ids_of_users = number_ids(engine, stored.rows, stored.user_column, "input > 0")
    if columns is not interactions.items:
        ids_of_items = number_ids(engine, stored.rows, stored.item_column, "input > 0")
    joins = [ids_of_users.join, ids_of_items.join, "" if times is None else times.join]
    found = engine.arrow(
        f"SELECT {ids_of_users.code} AS u, {ids_of_items.code} AS i, r.input AS e, count(*) AS n "
        f"FROM {stored.rows} r {' '.join(joins)} WHERE {' AND '.join(where)} GROUP BY ALL ORDER BY ALL"
    )
    of_user, of_item = (
        _places(engine, codes, known)[found.column(name).fill_null(codes.size).to_numpy()]
        for name, codes, known in (("u", ids_of_users, rows_of), ("i", ids_of_items, columns))
    )
    events, rows = found.column("e").to_numpy(), found.column("n").to_numpy()
    taken = (of_user >= 0) & (of_item >= 0)
    shape = (len(rows_of), len(columns))
    blocks = []
    for place in range(1, len(names) + 1):
        mine = taken & (events == place)
        ones = np.ones(int(mine.sum()), dtype=np.float32)
        blocks.append(sp.csr_matrix((ones, (of_user[mine], of_item[mine])), shape=shape))
    notes = []
    if lost := int(rows[~taken].sum()):
        without = int(rows[of_user < 0].sum())
        of_items = "items without one" if ids is None else "items that the model does not know"
        notes.append(
            Note(
                f"of {int(rows.sum()):,} rows of other events {lost:,} are left out: {without:,} are of users without "
                f"a purchase that counts, {lost - without:,} of {of_items}",
                rows=lost,
            )
        )
    return GatheredInputs(EventInputs.of(names, blocks), tuple(notes))


def _places(engine: Engine, ids: Ids, known: IdMap) -> NDArray[np.int64]:
    """Return the row of each code's id in the purchases, −1 where it has none, and behind them −1 for no code."""
    every = engine.arrow(f"SELECT id FROM {ids.table} WHERE code IS NOT NULL ORDER BY code").column("id")
    return np.append(known.rows(every), -1)
