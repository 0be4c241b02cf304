"""`Filters` at work on what is read: the rows that count, and then the core of users and items with enough of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.ids import IdMap, shown
from recae.ingest import report as why
from recae.ingest.narrow import Column
from recae.ingest.report import Settled
from recae.interactions import NO_TIME, Events, Interactions
from recae.kcore import Core, core_of

FATES: Final = 1 + len(why.FILTERED)
"""Fates of a purchase: 0 if it counts, else 1 and the place of the reason in `FILTERED`."""

_EXCLUDED, _NO_TIME, _OUTSIDE = (
    1 + why.FILTERED.index(reason) for reason in (why.EXCLUDED, why.NO_TIME, why.OUTSIDE)
)


@dataclass(frozen=True, eq=False)
class RowFilter:
    """Which purchases count by their item and time.

    It works on rows whose times are settled, at the end of a reading: what a number or a date means is known then only.
    So the rows that it leaves out take their memory until then, as if nobody had asked to leave them out.

    Attributes:
        excluded: which items are excluded, (items,); None where none is.
        start, end: seconds of the first moment that counts, and of the first one that does not any more; None for none.
    """

    excluded: NDArray[np.bool_] | None
    start: int | None
    end: int | None

    @classmethod
    def of(cls, filters: Filters, items: IdMap, column: str, notes: list[str]) -> RowFilter:
        """Return the filter of rows; note which excluded ids are no item's.

        Args:
            items: their ids by column.
            column: the name of the column of items.
            notes: gets a sentence.
        """
        excluded = None
        if filters.exclude_items:
            found = items.rows(filters.exclude_items)
            excluded = np.zeros(len(items), dtype=np.bool_)
            excluded[found[found >= 0]] = True
            unknown = [item for item, row in zip(filters.exclude_items, found, strict=True) if row < 0]
            if unknown:
                examples = ", ".join(map(shown, unknown[:3]))
                notes.append(
                    Settled(
                        f"{column}: {len(unknown):,} of the {len(found):,} ids of excluded items occur in no purchase "
                        f"({'such as ' if len(unknown) > 3 else ''}{examples})"
                    )
                )
        return cls(excluded, filters.start, filters.end)

    def fates(self, items: Ints, seconds: Column | None) -> NDArray[np.uint8]:
        """Return the fate of each purchase, (rows,).

        Args:
            items: their columns in the matrix, (rows,).
            seconds: likewise, `NO_TIME` where unknown; None where there are no times, and no period is asked for.
        """
        fates = np.zeros(items.size, dtype=np.uint8)
        if seconds is not None and (self.start is not None or self.end is not None):
            if self.start is not None:
                fates[seconds < self.start] = _OUTSIDE
            if self.end is not None:
                fates[seconds >= self.end] = _OUTSIDE
            fates[seconds == NO_TIME] = _NO_TIME
        if self.excluded is not None:
            fates[self.excluded[items]] = _EXCLUDED
        return fates


def check_period(filters: Filters, time_column: str | None, has_times: bool) -> None:
    """Raise ColumnError where a period is asked for of purchases without times.

    Args:
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
        interactions, events: what the filter of rows left, with all users and items; the events may not be read.
        left_out: how many purchases it left out, by fate, (FATES,).
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
        _too_few(interactions, filters, filtered, core, source, fewest)
    return (
        interactions.subset(core.users, core.items),
        None if events is None else events.subset(core.users, core.items),
        filtered,
    )


def _too_few(
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
