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
from recae.reading.keys import Ids, number_ids
from recae.reading.options import ReadOptions
from recae.reading.storing import Stored
from recae.reading.table import Note


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
    items: IdMap | None = None,
    users: IdMap | None = None,
) -> GatheredInputs:
    """Return the events of the users and items that have purchases.

    A user who only looked gives nothing to learn from, and an item that was only looked at cannot be recommended. The
    period and the excluded items of the filters apply to events as to purchases.

    Args:
        engine: that holds the stored rows, whose column `input` is the place of the event from 1, or 0.
        stored: those rows.
        names: of the inputs.
        interactions: the purchases that are left.
        options: of the reading.
        items: that events may be of, such as those of a model that is there; None: those of the purchases.
        users: likewise, in whose order the rows are then.
    """
    times, filters = stored.times, options.filters
    where = ["r.input > 0"]
    if times is not None and filters is not None:
        if filters.start is not None:
            where.append(f"{times.sql} >= {filters.start * SECOND}")
        if filters.end is not None:
            where.append(f"{times.sql} < {filters.end * SECOND}")
    columns, ids_of_items = interactions.items, stored.items
    if items is not None:  # those of the purchases have numbers already
        columns, ids_of_items = items, number_ids(engine, stored.rows, stored.item_column, "input > 0")
    rows_of, ids_of_users = interactions.users, stored.users
    if users is not None:
        rows_of, ids_of_users = users, number_ids(engine, stored.rows, stored.user_column, "input > 0")
    joins = [ids_of_users.join, ids_of_items.join, "" if times is None else times.join]
    found = engine.arrow(
        f"SELECT {ids_of_users.code} AS u, {ids_of_items.code} AS i, r.input AS e, count(*) AS n "
        f"FROM {stored.rows} r {' '.join(joins)} WHERE {' AND '.join(where)} GROUP BY ALL ORDER BY ALL"
    )
    of_user, of_item = (
        _places(engine, ids, known)[found.column(name).fill_null(ids.size).to_numpy()]
        for name, ids, known in (("u", ids_of_users, rows_of), ("i", ids_of_items, columns))
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
        of_items = "items without one" if items is None else "items that the model does not know"
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
