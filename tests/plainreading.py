"""The plain reading, as an oracle: one entry a row, and everything sorted and decided at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.events import Events
from recae.ids import IdMap
from recae.ingest import Columns, IngestReport
from recae.ingest import quantities as quantities_module
from recae.ingest import reading as folded
from recae.ingest import report as why
from recae.ingest.baskets import to_events
from recae.ingest.codes import as_text, without_point_zero
from recae.ingest.datetexts import read_date_texts
from recae.ingest.quantities import read_quantities
from recae.ingest.watching import KEPT
from recae.interactions import NO_TIME, Interactions
from recae.sources import Source

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_UNIT_NAMES: Final = {1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_NUMERIC: Final = r"^[+-]?\d+(\.\d*)?$"
_DATE_AND_TIME: Final = r"^\d{14}$"  # 20101201083000, which as a number could be milliseconds


class Codes:
    """A growing column of text: a code for each row, and each distinct text once."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._codes: list[int] = []

    def add(self, texts: pa.LargeStringArray) -> None:
        for text in texts.to_pylist():
            self._codes.append(-1 if text is None else self._known.setdefault(text, len(self._known)))

    def finish(self) -> tuple[NDArray[np.int32], pa.LargeStringArray]:
        return np.array(self._codes, np.int32), pa.array(list(self._known), pa.large_string())


class Times:
    """A growing column of times, finished at its end: its unit and the order of day and month need all rows.

    Numbers are seconds, milliseconds, microseconds or nanoseconds since 1970-01-01 UTC by the magnitude of
    their median. Times without a zone are taken as UTC. A row costs 8 bytes until then, except in batches
    whose texts are neither all ISO nor all numbers: those keep each distinct text.

    Args:
        name: the column's name, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._texts = Codes()
        # One part a batch: seconds (int64), numbers of a unit still unknown (float64), or a count of texts.
        self._parts: list[NDArray[np.int64] | NDArray[np.float64] | int] = []

    def add(self, column: pa.Array) -> None:
        """Append the rows of a batch.

        Raises:
            ColumnError: the type is no time, such as a list.
        """
        kind = column.type
        if pa.types.is_dictionary(kind):
            self.add(column.dictionary_decode())
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
            self._add_texts(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.large_string()), texts))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            self._parts.append(_numbers(column))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            self._parts.append(_arrow_seconds(column))
        elif pa.types.is_null(kind):
            self._parts.append(np.full(len(column), NO_TIME))
        else:
            raise ColumnError(
                f"column {self._name!r} is of type {kind}, which is no time; "
                "name another column with --time-column"
            )

    def finish(self) -> tuple[NDArray[np.int64], int, list[str]]:
        """Return the seconds of every row (`NO_TIME` where unknown), how many could not be read, and notes.

        Missing times are not among those that could not be read.
        """
        codes, texts = self._texts.finish()
        distinct, notes = read_date_texts(texts, self._name)
        matches = pc.match_substring_regex(texts, _NUMERIC).to_numpy(zero_copy_only=False)
        numeric = np.asarray(matches, dtype=np.bool_) & (distinct == NO_TIME)
        parts = [part for part in self._parts if isinstance(part, np.ndarray) and part.dtype == np.float64]
        # All numbers together, wherever they come from, tell the unit.
        numbers = np.concatenate([_numbers(texts.filter(pa.array(numeric))), *parts])
        from_numbers = self._from_numbers(numbers, notes)
        distinct[numeric] = from_numbers[: int(numeric.sum())]
        coded = np.append(distinct, NO_TIME)[codes]  # the last one stands for null
        bad = (coded == NO_TIME) & (codes >= 0)
        unreadable = int(bad.sum())
        unreadable += sum(int(np.isinf(part).sum()) for part in parts)
        if bad.any():
            first = texts[int(codes[bad.argmax()])].as_py()
            notes.append(
                f"{self._name}: {int(bad.sum()):,} times could not be read (the first: {first!r}), "
                "kept without a time"
            )
        return self._join(coded, from_numbers[int(numeric.sum()) :]), unreadable, notes

    def _add_texts(self, texts: pa.LargeStringArray) -> None:
        numeric = pc.match_substring_regex(texts, _NUMERIC)
        if pc.all(numeric).as_py() and not pc.any(pc.match_substring_regex(texts, _DATE_AND_TIME)).as_py():
            self._parts.append(_numbers(texts))
            return
        try:
            self._parts.append(_arrow_seconds(texts.cast(pa.timestamp("us"))))
        except pa.ArrowInvalid:  # not all of them are ISO without a zone
            self._texts.add(texts)
            self._parts.append(len(texts))

    def _join(self, coded: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Put the parts together in the order of the rows."""
        joined: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
        for part in self._parts:
            if isinstance(part, int):
                joined.append(coded[:part])
                coded = coded[part:]
            elif part.dtype == np.float64:
                joined.append(numbers[: part.size])
                numbers = numbers[part.size :]
            else:
                joined.append(part.astype(np.int64, copy=False))
        return np.concatenate(joined)

    def _from_numbers(self, numbers: NDArray[np.float64], notes: list[str]) -> NDArray[np.int64]:
        """Return seconds for numbers of a unit that their median tells; NaN and infinity have no time."""
        seconds = np.full(numbers.size, NO_TIME)
        known = np.isfinite(numbers)
        if not known.any():
            return seconds
        values = numbers[known]
        as_dates = _compact_dates(values)
        if as_dates is not None:
            notes.append(f"{self._name}: numbers like {int(values[0])} are read as dates (year, month, day)")
            seconds[known] = as_dates
            return seconds
        middle = float(np.median(np.abs(values)))
        # 1e11 seconds are the year 5138, 1e11 milliseconds are 1973; each unit has three more digits.
        factor = next((f for bound, f in ((1e11, 1), (1e14, 10**3), (1e17, 10**6)) if middle < bound), 10**9)
        if factor > 1:
            notes.append(f"{self._name}: read as {_UNIT_NAMES[factor]} since 1970")
        scaled = np.floor(values / factor)
        inside = np.abs(scaled) < 2**62
        seconds[np.flatnonzero(known)[inside]] = scaled[inside].astype(np.int64)
        return seconds


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers, or texts of numbers, as float64; null becomes NaN."""
    texts = pa.types.is_large_string(column.type)
    numbers = column.cast(pa.float64()) if texts else column.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def _compact_dates(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return seconds when every number is a calendar date such as 20101201, else None.

    As seconds since 1970 such numbers would all lie in August 1970 or so, where no shop's data do.
    """
    if not ((values >= 19_000_101) & (values <= 21_001_231)).all():
        return None
    texts = pa.array(np.unique(values).astype(np.int64)).cast(pa.large_string())
    dashed = pc.replace_substring_regex(texts, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
    seconds, _ = read_date_texts(dashed, "")
    if (seconds == NO_TIME).any():
        return None
    return np.asarray(seconds[np.unique(values, return_inverse=True)[1]])


def _arrow_seconds(column: pa.Array) -> NDArray[np.int64]:
    """Return the seconds of Arrow dates and timestamps, rounded down; null has no time."""
    kind = column.type
    if pa.types.is_date32(kind):
        counts, per_day, per_second = column.cast(pa.int32()).cast(pa.int64()), 86_400, 1
    elif pa.types.is_date64(kind):
        counts, per_day, per_second = column.cast(pa.int64()), 1, 1_000
    else:
        counts, per_day, per_second = column.cast(pa.int64()), 1, _PER_SECOND[kind.unit]
    missing = counts.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(missing, NO_TIME, numbers * per_day // per_second)


@dataclass(frozen=True)
class Purchases:
    """The purchases kept, one a row; every array has shape (rows,).

    Attributes:
        users, items: int32 row numbers in the id maps.
        names: int32 positions in `name_texts`, −1 for none; None without a name column.
        times: int64 seconds, `NO_TIME` where unknown; None without a time column.
        quantities: float64; None without a quantity column or times, since nothing depends on them then.
        baskets: int32 positions in the texts of the basket column, −1 for none; None without one.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    names: NDArray[np.int32] | None
    times: NDArray[np.int64] | None
    quantities: NDArray[np.float64] | None
    baskets: NDArray[np.int32] | None = None

    def where(self, kept: NDArray[np.bool_]) -> Purchases:
        """Return the rows marked in ``kept``, without the quantities."""
        return Purchases(
            self.users[kept],
            self.items[kept],
            None if self.names is None else self.names[kept],
            None if self.times is None else self.times[kept],
            None,
            None if self.baskets is None else self.baskets[kept],
        )


def in_text_order(codes: NDArray[np.int32], texts: pa.LargeStringArray) -> tuple[NDArray[np.int32], IdMap]:
    """Number distinct ids by text order, so that the order of the rows in the file does not matter.

    Args:
        codes: int32 positions in ``texts``, shape (rows,).
        texts: distinct ids in any order, shape (ids,).

    Returns:
        row numbers in the map, shape (rows,), and the map.
    """
    order = pc.sort_indices(texts)
    rank = np.empty(len(texts), dtype=np.int32)
    rank[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
    return rank[codes], IdMap(texts.take(order))


def duplicates(purchases: Purchases, n_items: int) -> NDArray[np.bool_]:
    """Return which rows repeat an earlier one: same user, item, known time and quantity; shape (rows,).

    Without times there are none, because two purchases could not be told from one row written twice.
    """
    repeated = np.zeros(purchases.users.size, dtype=np.bool_)
    times = purchases.times
    if times is None:
        return repeated
    pair = _pairs(purchases, n_items)
    keys = [times, pair] if purchases.quantities is None else [purchases.quantities, times, pair]
    order = np.lexsort(keys)  # stable: the earliest of equal rows comes first
    same = times[order[1:]] != NO_TIME
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    repeated[order[1:][same]] = True
    return repeated


def to_interactions(
    purchases: Purchases, users: IdMap, items: IdMap, name_texts: pa.LargeStringArray | None
) -> Interactions:
    """Gather purchases into interactions: the last time and the number of purchases of each pair.

    An item's name is the most frequent one among its purchases; of equally frequent ones, the first seen.
    """
    pair = _pairs(purchases, len(items))
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    starts = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
    distinct = pair[starts]
    columns = (distinct % len(items)).astype(np.int32)
    ends = np.cumsum(np.bincount(distinct // len(items), minlength=len(users)))
    indptr = np.append(0, ends).astype("int32" if distinct.size < 2**31 else "int64")
    matrix: sp.csr_matrix[np.float32] = sp.csr_matrix(
        (np.ones(distinct.size, dtype=np.float32), columns, indptr), shape=(len(users), len(items))
    )
    counts = np.diff(np.append(starts, pair.size)).astype(np.int32)
    times = None if purchases.times is None else np.maximum.reduceat(purchases.times[order], starts)
    names = None
    if purchases.names is not None and name_texts is not None:
        names = _item_names(purchases.items, purchases.names, len(items), name_texts)
    return Interactions(matrix, users, items, times, counts, names)


def _pairs(purchases: Purchases, n_items: int) -> NDArray[np.int64]:
    return purchases.users.astype(np.int64) * n_items + purchases.items


def _item_names(
    items: NDArray[np.int32], names: NDArray[np.int32], n_items: int, texts: pa.LargeStringArray
) -> pa.LargeStringArray:
    """Return the most frequent name of each item, null for an item without one; shape (n_items,)."""
    named = names >= 0
    keys = items[named].astype(np.int64) * max(len(texts), 1) + names[named]
    distinct, first, counts = np.unique(keys, return_index=True, return_counts=True)
    owner = distinct // max(len(texts), 1)
    order = np.lexsort((first, -counts, owner))
    best = order[np.append(True, owner[order][1:] != owner[order][:-1])[: order.size]]
    chosen = np.full(n_items, -1, dtype=np.int64)
    chosen[owner[best]] = distinct[best] % max(len(texts), 1)
    return texts.take(pa.array(chosen, mask=chosen < 0))


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
        fates = np.full(batch.num_rows, KEPT)
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
        keep = fates == KEPT
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
