"""The plain reading, as an oracle: one entry a row, and everything sorted and decided at the end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from plaincolumns import Codes, Times
from plainpurchases import Purchases, duplicates, in_text_order, to_interactions

from recae.errors import ColumnError
from recae.ids import IdMap
from recae.ingest import Columns, IngestReport
from recae.ingest import quantities as quantities_module
from recae.ingest import reading as folded
from recae.ingest import report as why
from recae.ingest.baskets import to_events
from recae.ingest.codes import as_text, without_point_zero
from recae.ingest.quantities import read_quantities
from recae.ingest.watching import USED
from recae.interactions import NO_TIME, Events, Interactions
from recae.sources import Source


class PlainReading(folded.Reading):
    """What the batches have brought, row by row."""

    def __init__(self, table: Source, columns: Columns) -> None:
        self._fewest = 2
        self._source = table.name
        self._columns = columns
        self._rows = 0
        self._dropped = dict.fromkeys(why.REASONS, 0)
        self._notes: list[str] = []
        self._whole_floats: dict[str, bool] = {}
        self._users, self._items, self._names, self._baskets = Codes(), Codes(), Codes(), Codes()
        self._times = Times(columns.time) if columns.time is not None else None
        self._quantities: list[NDArray[np.float64]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the usable rows of a batch."""
        columns = self._columns
        self._rows += batch.num_rows
        users, items = self._ids(batch, columns.user), self._ids(batch, columns.item)
        fates = np.full(batch.num_rows, USED)
        self._drop(why.NO_USER, fates, not_blank(users))
        self._drop(why.NO_ITEM, fates, not_blank(items))
        quantities = None
        if columns.quantity is not None:
            column = batch.column(columns.quantity)
            quantities = read_quantities(column, columns.quantity)
            if pa.types.is_string(column.type):
                texts = [quantities_module._number(text or "") for text in column.to_pylist()]
                quantities = np.array(texts, dtype=np.float64)
            self._drop(why.RETURNED, fates, ~(quantities <= 0))
            self._drop(why.NOT_A_NUMBER, fates, ~np.isnan(quantities))
        keep = fates == USED
        kept = pa.array(keep)
        self._users.add(users.filter(kept))
        self._items.add(items.filter(kept))
        if self._times is not None:
            self._times.add(batch.column(columns.time).filter(kept))
            if quantities is not None:
                self._quantities.append(quantities[keep])
        if columns.name is not None:
            names = pc.utf8_trim_whitespace(as_text(batch.column(columns.name), columns.name).filter(kept))
            self._names.add(_without_blanks(names))
        if columns.basket is not None:
            baskets = as_text(batch.column(columns.basket), columns.basket).filter(kept)
            self._baskets.add(_without_blanks(pc.utf8_trim_whitespace(baskets)))

    def finish(
        self, time_is_given: bool, with_events: bool
    ) -> tuple[Interactions, Events | None, IngestReport]:
        """Put the rows together."""
        user_codes, users = self._id_map(self._users, self._columns.user)
        item_codes, items = self._id_map(self._items, self._columns.item)
        self._check_enough(users, items)
        names, name_texts = self._names.finish() if self._columns.name is not None else (None, None)
        times = self._read_times(time_is_given)
        quantities = np.concatenate(self._quantities) if self._quantities and times is not None else None
        baskets, basket_texts = self._baskets.finish() if self._columns.basket is not None else (None, None)
        purchases = Purchases(user_codes, item_codes, names, times, quantities, baskets)
        repeated = duplicates(purchases, len(items))
        if repeated.any():
            self._dropped[why.DUPLICATE] = int(repeated.sum())
            purchases = purchases.where(~repeated)
        interactions = to_interactions(purchases, users, items, name_texts)
        repeats = purchases.users.size - interactions.n_interactions
        if times is None and repeats:
            self._notes.append("duplicate rows are kept as counts, since there is no time column")
        events = None
        if with_events:
            self._check_order(times, baskets)
            events = to_events(purchases, len(users), len(items), basket_texts, self._columns.basket or "")
        known = None if times is None else times[times != NO_TIME]
        report = IngestReport(
            source=self._source,
            columns=self._columns,
            rows=self._rows,
            dropped={reason: count for reason, count in self._dropped.items() if count},
            repeats=repeats,
            users=len(users),
            items=len(items),
            interactions=interactions.n_interactions,
            notes=tuple(self._notes),
            first_time=int(known.min()) if known is not None and known.size else None,
            last_time=int(known.max()) if known is not None and known.size else None,
            baskets=None if events is None else events.n_baskets,
        )
        return interactions, events, report

    def _id_map(self, column: Codes, name: str) -> tuple[NDArray[np.int32], IdMap]:
        codes, texts = column.finish()
        whole = without_point_zero(texts)
        if whole is not None:
            example = texts[0].as_py()
            self._notes.append(
                f"{name}: every value looks like {example}, read as whole numbers ({whole[0]})"
            )
            texts = whole
        elif self._whole_floats.get(name) and len(texts):
            self._notes.append(f"{name}: a column of floats, read as whole numbers ({texts[0]})")
        for text in texts.filter(pc.is_in(texts, value_set=folded._LOOKS_MISSING)).to_pylist():
            count = int((codes == pc.index(texts, text).as_py()).sum())
            self._notes.append(f"{name}: {text!r} is taken as an id like any other, in {count:,} rows")
        return in_text_order(codes, texts)

    def _read_times(self, is_given: bool) -> NDArray[np.int64] | None:
        if self._times is None:
            return None
        times, unreadable, notes = self._times.finish()
        if (times != NO_TIME).any():
            self._notes += notes
            missing = int((times == NO_TIME).sum()) - unreadable
            if missing:
                self._notes.append(f"{self._columns.time}: {missing:,} rows have no time, kept without one")
            return times
        if is_given:
            reason = notes[-1] if notes else "every value is missing"
            raise ColumnError(f"--time-column names {self._columns.time!r}, which holds no time ({reason})")
        self._notes.append(f"{self._columns.time}: no value could be read as a time, so there are no times")
        return None

    def _check_order(self, times: NDArray[np.int64] | None, baskets: NDArray[np.int32] | None) -> None:
        """Raise ColumnError unless something orders the baskets; note what has no place in the order."""
        if times is None and baskets is None:
            raise ColumnError(
                f"repeat purchases need an order, but column {self._columns.time!r} holds no time; "
                "name another with --time-column, or one that numbers the orders with --basket-column"
            )
        if baskets is not None and (lacking := int((baskets < 0).sum())):
            taken = "taken as the user's first" if times is None else "told apart by their times"
            self._notes.append(f"{self._columns.basket}: {lacking:,} rows have no basket, {taken}")


def not_blank(texts: pa.LargeStringArray) -> NDArray[np.bool_]:
    filled = pc.not_equal(pc.utf8_trim_whitespace(texts), "")
    return np.asarray(pc.fill_null(filled, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _without_blanks(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return trimmed texts with null in place of the empty ones."""
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts)
