"""`Filters` at work on what is read: the rows that count, and then the core of users and items with enough of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.ids import shown
from recae.interactions import SECOND, Events, Interactions
from recae.kcore import Core, core_of
from recae.reading import report as why
from recae.reading.engine import Engine
from recae.reading.keys import Ids
from recae.reading.table import Note

_EXCLUDED, _NO_TIME, _OUTSIDE = (
    1 + why.FILTERED.index(reason) for reason in (why.EXCLUDED, why.NO_TIME, why.OUTSIDE)
)
_EXAMPLES: Final = 3


def row_fates(
    filters: Filters, engine: Engine, items: Ids, column: str, timed: bool
) -> tuple[str, Note | None]:
    """Return SQL for the fate of a purchase: 0 if it counts, else 1 and the place of the reason in `FILTERED`.

    Args:
        filters: what is asked for.
        engine: that holds the purchases (item INTEGER, time BIGINT microseconds).
        items: their ids.
        column: the name of the column of items.
        timed: whether there are times.

    Returns:
        the SQL, and a note on excluded ids that are no item's.
    """
    cases, note = [], None
    if filters.exclude_items:
        asked = engine.register(pa.table({"id": pa.array(filters.exclude_items, pa.string())}))
        known = f"SELECT i.code FROM {items.table} i JOIN {asked} a ON i.id = a.id WHERE i.code IS NOT NULL"
        excluded = engine.store(known, "excluded")
        cases.append(f"WHEN item IN (SELECT code FROM {excluded}) THEN {_EXCLUDED}")
        unknown = [
            str(row[0])
            for row in engine.rows(
                f"SELECT id FROM {asked} WHERE id NOT IN "
                f"(SELECT id FROM {items.table} WHERE code IS NOT NULL) ORDER BY id"
            )
        ]
        if unknown:
            examples = ", ".join(map(shown, unknown[:_EXAMPLES]))
            such = "such as " if len(unknown) > _EXAMPLES else ""
            note = Note(
                f"{column}: {len(unknown):,} of the {len(filters.exclude_items):,} ids of excluded items occur in no "
                f"purchase ({such}{examples})"
            )
    if timed and filters.by_time:
        cases.append(f"WHEN time IS NULL THEN {_NO_TIME}")
        if filters.start is not None:
            cases.append(f"WHEN time < {filters.start * SECOND} THEN {_OUTSIDE}")
        if filters.end is not None:
            cases.append(f"WHEN time >= {filters.end * SECOND} THEN {_OUTSIDE}")
    return (f"(CASE {' '.join(cases)} ELSE 0 END)" if cases else "0"), note


def check_period(filters: Filters, time_column: str | None, has_times: bool) -> None:
    """Raise ColumnError where a period is asked for of purchases without times.

    Args:
        filters: what is asked for.
        time_column: the column of times; None where there is none.
        has_times: whether it holds any.
    """
    if not filters.by_time or has_times:
        return
    lacking = "there is no column of them" if time_column is None else f"column {time_column!r} holds none"
    raise ColumnError(
        f"a period (--since, --until) needs the times of purchases, but {lacking}; name a column of times with "
        "--time-column, or ask for no period"
    )


def apply_filters(
    interactions: Interactions,
    events: Events | None,
    filters: Filters,
    left_out: NDArray[np.int64],
    source: str,
    fewest: int,
) -> tuple[Interactions, Events | None, dict[str, int]]:
    """Leave out users and items of whom the filters leave nothing, or too little.

    Args:
        interactions: what the filter of rows left, with all users and items.
        events: likewise; None where they are not read.
        filters: what is asked for.
        left_out: how many purchases it left out, by fate, (1 + reasons,).
        source: name of the table, for messages.
        fewest: users and items that are needed.

    Returns:
        the interactions, which remember the filters, the events, and the purchases left out by reason.

    Raises:
        DataError: fewer users or items are left, with the counts at each step.
    """
    # the core of one item a user and one user an item is what has a purchase
    core = core_of(interactions.matrix, filters.min_user_purchases, filters.min_item_purchases)
    numbers = np.bincount(core.fates, weights=interactions.counts, minlength=3).astype(np.int64)
    counts = dict(zip(why.FILTERED, [*left_out[1:-2], *numbers[1:]], strict=True))
    filtered = {reason: int(count) for reason, count in counts.items() if count}
    if min(core.users.size, core.items.size) < fewest:
        _too_small(interactions, filters, filtered, core, source, fewest)
    return (
        interactions.subset(core.users, core.items),
        None if events is None else events.subset(core.users, core.items),
        filtered,
    )


def _too_small(
    interactions: Interactions,
    filters: Filters,
    filtered: Mapping[str, int],
    core: Core,
    source: str,
    fewest: int,
) -> None:
    matrix = interactions.matrix
    found = [
        f"{filtered[reason]:,} purchases left out: {reason}"
        for reason in why.FILTERED[:3]
        if reason in filtered
    ]
    if filters.has_minimum and matrix.nnz:
        n_items = np.unique(matrix.indices).size
        found.append(
            f"{np.count_nonzero(np.diff(matrix.indptr)):,} users and {n_items:,} items before the minimums"
        )
        found += [
            f"{users:,} users and {items:,} items after round {number}"
            for number, (users, items, _) in enumerate(core.steps, start=1)
        ]
        if core.rounds > len(core.steps):
            found.append(f"and so on, {core.rounds:,} rounds")
    raise DataError(
        f"the filters ({filters}) leave {core.users.size:,} users and {core.items.size:,} items of '{source}', and "
        f"{fewest} of each are needed: {'; '.join(found)}; ask for a longer period, lower minimums or fewer excluded "
        "items"
    )
