"""The state of one reading: batches come in, `Interactions`, `Events` and a report come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.ids import IdMap, shown
from recae.ingest import report as why
from recae.ingest.baskets import to_events
from recae.ingest.codes import as_text, field_texts, not_blank, without_blanks, without_point_zero
from recae.ingest.columns import Columns
from recae.ingest.dictionary import Dictionary
from recae.ingest.filtering import RowFilter, apply_filters, check_period
from recae.ingest.pairs import Layout, gather, gather_pairs, text_order
from recae.ingest.quantities import quantity_tokens, read_quantities
from recae.ingest.report import IngestReport
from recae.ingest.runs import Runs
from recae.ingest.tally import PairCounts
from recae.ingest.times import Times
from recae.ingest.watching import USED, Watcher, fate_of
from recae.interactions import Events, Interactions
from recae.sources import Source
from recae.sources.fields import HELD, Fields

_LOOKS_MISSING: Final = pa.array(
    ["nan", "NaN", "NAN", "None", "null", "NULL", "N/A", "NA", "<NA>", "\\N", "#N/A"], type=pa.large_string()
)


class Reading:
    """The state of one reading: what the batches so far have brought, told to watchers as it comes.

    Fewer than `fewest` users or items are refused. How much was bought is kept `with_quantities` only.
    """

    _filters: Filters | None = None

    def __init__(
        self,
        table: Source,
        columns: Columns,
        watchers: Sequence[Watcher] = (),
        fewest: int = 2,
        filters: Filters | None = None,
        with_quantities: bool = False,
    ) -> None:
        self._watchers, self._fewest = watchers, fewest
        self._filters = filters or None  # those that ask for nothing are none
        self._source = table.name
        self._columns = columns
        self._rows = 0
        self._dropped = dict.fromkeys(why.REASONS, 0)
        self._notes: list[str] = []
        self._whole_floats: dict[str, bool] = {}
        self._users, self._items, self._names, self._baskets = (Dictionary() for _ in range(4))
        by_time = filters is not None and filters.by_time
        self._untimed = "left out, since a period is asked for" if by_time else "kept without a time"
        self._times = Times(columns.time, self._untimed) if columns.time is not None else None
        self._layout = Layout(
            columns.time is not None, columns.name is not None, columns.basket is not None, with_quantities
        )
        self._runs = Runs(self._layout.keys, self._layout.with_first)
        self._pairs = None if self._layout.keys else PairCounts()  # in place of runs, at half the cost
        self._kept = 0
        # each dictionary takes the blocks in their order
        self._threads = [
            ThreadPoolExecutor(1, thread_name_prefix=f"recae-{what}") for what in ("users", "items")
        ]
        self._coming: deque[
            tuple[Future[NDArray[np.int32]], Future[NDArray[np.int32]], list[NDArray[Any]]]
        ] = deque()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the usable rows of a batch."""
        self._settle(0)
        columns = self._columns
        users, items = self._ids(batch, columns.user), self._ids(batch, columns.item)
        quantities = None if columns.quantity is None else batch.column(columns.quantity)
        keep, bought = self._usable(not_blank(users), not_blank(items), quantities, batch)
        kept = None if keep.all() else pa.array(keep)

        def of_kept(column: pa.Array) -> pa.Array:
            return column if kept is None else column.filter(kept)

        keys = self._keys(lambda name: of_kept(batch.column(name)), bought)
        user_codes, item_codes = self._users.encode(of_kept(users)), self._items.encode(of_kept(items))
        self._take(user_codes, item_codes, keys)

    def add_fields(self, fields: Fields) -> None:
        """Take the usable rows of a block of plain text; no watcher is told."""
        columns = self._columns
        users, items = fields.filled(columns.user), fields.filled(columns.item)
        quantities = None if columns.quantity is None else field_texts(fields, columns.quantity)
        keep, bought = self._usable(users, items, quantities)
        kept = fields if keep.all() else fields.where(keep)
        keys = self._keys(lambda name: field_texts(kept, name), bought)
        self._settle(HELD - 1)
        user_codes, item_codes = (
            thread.submit(known.encode_fields, *kept.column(column))
            for thread, known, column in zip(
                self._threads, (self._users, self._items), (columns.user, columns.item), strict=True
            )
        )
        self._coming.append((user_codes, item_codes, keys))

    def _usable(
        self,
        with_user: NDArray[np.bool_],
        with_item: NDArray[np.bool_],
        quantities: pa.Array | None,
        batch: pa.RecordBatch | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
        """Count the rows that are dropped, and tell watchers, who see the batch.

        Returns:
            which rows are kept, shape (rows,), and the quantities of those.
        """
        if quantities is None and batch is None and with_user.all() and with_item.all():
            self._rows += with_user.size
            return with_user, None
        fates = np.full(with_user.size, USED)
        self._rows += fates.size
        self._drop(why.NO_USER, fates, with_user)
        self._drop(why.NO_ITEM, fates, with_item)
        bought = None
        if quantities is not None:
            bought = read_quantities(quantities, self._columns.quantity or "")
            self._drop(why.RETURNED, fates, ~(bought <= 0))
            self._drop(why.NOT_A_NUMBER, fates, ~np.isnan(bought))
        if batch is not None:
            for watcher in self._watchers:
                watcher.rows(batch, fates)
        keep = fates == USED
        return keep, None if bought is None else bought[keep]

    def _keys(
        self, column: Callable[[str], pa.Array], quantities: NDArray[np.float64] | None
    ) -> list[NDArray[Any]]:
        """Return what tells the kept rows apart beside user and item, in the order of `Layout`.

        Args:
            column: gives the kept rows of a column.
            quantities: of the kept rows; None without such a column.
        """
        keys: list[NDArray[Any]] = []
        if self._times is not None:
            keys += self._times.add(column(self._columns.time or ""))
        if self._times is not None or self._layout.quantity:
            keys.append(quantity_tokens(np.ones(keys[0].size) if quantities is None else quantities))
        for name, dictionary in ((self._columns.name, self._names), (self._columns.basket, self._baskets)):
            if name is not None:
                keys.append(dictionary.encode(without_blanks(as_text(column(name), name))))
        return keys

    def _settle(self, left: int) -> None:
        """Take the rows of the blocks whose ids are being numbered, until no more than so many are left."""
        while len(self._coming) > left:
            users, items, keys = self._coming.popleft()
            self._take(users.result(), items.result(), keys)

    def _take(self, users: NDArray[np.int32], items: NDArray[np.int32], keys: list[NDArray[Any]]) -> None:
        """Take the kept rows of a batch."""
        if self._pairs is not None:
            self._pairs.add(users, items)
        else:
            self._runs.add(users, items, keys, self._kept)
        self._kept += users.size

    def finish(
        self, time_is_given: bool, with_events: bool
    ) -> tuple[Interactions, Events | None, IngestReport]:
        """Put the rows together."""
        self._settle(0)
        user_order, _, users = self._id_map(self._users, self._columns.user, "user")
        _, item_rank, items = self._id_map(self._items, self._columns.item, "item")
        self._check_enough(users, items)
        times = self._read_times(time_is_given)
        filters, row_filter = self._filters, None
        if filters is not None:
            check_period(filters, self._columns.time, times is not None)
            row_filter = RowFilter.of(filters, items, self._columns.item, self._notes)
        # What is not needed for the rest makes room.
        self._users = self._items = Dictionary()
        if self._pairs is not None:
            found = gather_pairs(self._pairs, user_order, item_rank, row_filter)
        else:
            found = gather(self._runs, self._layout, user_order, item_rank, times, with_events, row_filter)
        if found.duplicates:
            self._dropped[why.DUPLICATE] = found.duplicates
        item_names = None if found.names is None else found.names.best(self._names.texts())
        interactions = Interactions(
            found.matrix, users, items, found.times, found.counts, item_names, filters, found.quantities
        )
        if times is None and int(interactions.counts.sum()) > interactions.n_interactions:
            self._notes.append(
                why.Settled("duplicate rows are kept as counts, since there is no time column")
            )
        events = None
        if found.rows is not None:
            self._check_order(times)
            basket_texts = None if self._columns.basket is None else self._baskets.texts()
            events = to_events(found.rows, len(users), len(items), basket_texts, self._columns.basket or "")
        filtered: dict[str, int] = {}
        period = None if times is None or times.first is None else (times.first, times.last)
        if filters is not None and found.filtered is not None:
            interactions, events, filtered = apply_filters(
                interactions, events, filters, found.filtered, self._source, self._fewest
            )
            period = found.period
        report = IngestReport(
            source=self._source,
            columns=self._columns,
            rows=self._rows,
            dropped={reason: count for reason, count in self._dropped.items() if count},
            repeats=int(interactions.counts.sum()) - interactions.n_interactions,
            users=interactions.n_users,
            items=interactions.n_items,
            interactions=interactions.n_interactions,
            notes=tuple(self._notes),
            first_time=None if period is None else period[0],
            last_time=None if period is None else period[1],
            baskets=None if events is None else events.n_baskets,
            filters=filters,
            filtered=filtered,
        )
        return interactions, events, report

    def _ids(self, batch: pa.RecordBatch, name: str) -> pa.LargeStringArray:
        column = batch.column(name)
        texts = as_text(column, name)
        if pa.types.is_floating(column.type):
            # Whole floats come out as digits; anything else keeps its point.
            points = pc.any(pc.match_substring(texts, ".")).as_py()
            self._whole_floats[name] = self._whole_floats.get(name, True) and not points
        return texts

    def _drop(self, reason: str, fates: NDArray[np.uint8], passes: NDArray[np.bool_]) -> None:
        """Count and mark the rows kept so far that do not pass."""
        fails = (fates == USED) & ~passes
        self._dropped[reason] += int(fails.sum())
        fates[fails] = fate_of(reason)

    def _id_map(
        self, known: Dictionary, name: str, role: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], IdMap]:
        """Return what `text_order` does of the ids of a column; note what may be damaged about them."""
        texts = known.texts()
        whole = without_point_zero(texts)
        if whole is not None:
            example = texts[0].as_py()
            self._notes.append(
                f"{name}: every value looks like {example}, read as whole numbers ({whole[0]})"
            )
            texts = whole
        elif self._whole_floats.get(name) and len(texts):
            self._notes.append(f"{name}: a column of floats, read as whole numbers ({texts[0]})")
        for text in texts.filter(pc.is_in(texts, value_set=_LOOKS_MISSING)).to_pylist():
            rows = self._runs if self._pairs is None else self._pairs
            count = rows.count_of(**{role: pc.index(texts, text).as_py()})
            self._notes.append(f"{name}: {text!r} is taken as an id like any other, in {count:,} rows")
        return text_order(texts)

    def _read_times(self, is_given: bool) -> Times | None:
        """Return the times, settled; None where there are none."""
        times, column = self._times, self._columns.time
        if times is None:
            return None
        times.settle(lambda: ((part[1], part[2], part[-1]) for part in self._runs.parts()))
        if times.first is not None:
            self._notes += times.notes
            if times.missing:
                what = self._untimed.replace("a time", "one")
                self._notes.append(f"{column}: {times.missing:,} rows have no time, {what}")
            return times
        if is_given:
            reason = times.notes[-1] if times.notes else "every value is missing"
            raise ColumnError(f"--time-column names {column!r}, which holds no time ({reason})")
        self._notes.append(f"{column}: no value could be read as a time, so there are no times")
        return None

    def _check_order(self, times: Times | None) -> None:
        """Raise ColumnError unless something orders the baskets; note what has no place in the order."""
        if times is None and not self._layout.basket:
            raise ColumnError(
                f"repeat purchases need an order, but column {self._columns.time!r} holds no time; "
                "name another with --time-column, or one that numbers the orders with --basket-column"
            )
        if self._layout.basket:
            # the item comes first, the basket is the last of the keys
            lacking = sum(int(part[-1][part[self._layout.keys] < 0].sum()) for part in self._runs.parts())
            if lacking:
                taken = "taken as the user's first" if times is None else "told apart by their times"
                self._notes.append(f"{self._columns.basket}: {lacking:,} rows have no basket, {taken}")

    def _check_enough(self, users: IdMap, items: IdMap) -> None:
        """Raise DataError unless there are enough users and items."""
        if min(len(users), len(items)) >= self._fewest:
            return
        if self._rows == 0:
            raise DataError(f"'{self._source}' has a header but no rows; one row for each purchase is needed")
        dropped = ", ".join(
            f"{count:,} dropped: {reason}" for reason, count in self._dropped.items() if count
        )
        rows = f"of its {self._rows:,} rows" + (f" ({dropped})" if dropped else "")
        where = f"check the columns chosen: {self._columns}"
        if not len(users):
            raise DataError(f"no purchase is left in '{self._source}' {rows}; {where}")
        few, ids = ("user", users) if len(users) == 1 else ("item", items)
        raise DataError(
            f"'{self._source}' has purchases of one {few} only, {shown(ids.id(0))}, {rows}; "
            f"recommendations need at least two; {where}"
        )
