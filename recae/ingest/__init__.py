"""Reading purchases: record batches become `Interactions` and an account of everything that was dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError, DataError
from recae.ids import IdMap, shown
from recae.ingest import report as why
from recae.ingest.codes import Codes, as_text, not_blank, without_point_zero
from recae.ingest.columns import KNOWN_NAMES, Columns, choose_columns
from recae.ingest.pairs import Purchases, duplicates, in_text_order, to_interactions
from recae.ingest.quantities import read_quantities
from recae.ingest.report import IngestReport
from recae.ingest.times import Times
from recae.interactions import NO_TIME, Interactions
from recae.sources import Source, open_source

__all__ = [
    "KNOWN_NAMES",
    "Columns",
    "IngestReport",
    "choose_columns",
    "read_interactions",
    "read_with_report",
]

_LOOKS_MISSING: Final = pa.array(
    ["nan", "NaN", "NAN", "None", "null", "NULL", "N/A", "NA", "<NA>", "\\N", "#N/A"], type=pa.large_string()
)


def read_with_report(
    source: str | Path,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    quantity_column: str | None = None,
    name_column: str | None = None,
) -> tuple[Interactions, IngestReport]:
    """Read a table of purchases.

    Columns that are not given are recognised by the names in `KNOWN_NAMES`. Ids are exact text, ordered as
    text. Rows without a user or an item, with a quantity of zero or less or one that is no number, and exact
    duplicates (same user, item, time and quantity; only where there are times) are dropped and counted. A
    missing quantity counts as one. Blank names are ignored, blanks around a name removed.

    Args:
        source: path of a CSV or Parquet file; see `recae.sources.open_source` for the endings.
        user_column, item_column, time_column, quantity_column, name_column: exact column names; "" for the
            last three says that there is none.

    Returns:
        the interactions, and the report of what was read and dropped.

    Raises:
        SourceError: the file cannot be read.
        ColumnError: the columns are not the ones needed, or of types that cannot be used.
        DataError: fewer than two users or two items are left.
    """
    table = open_source(source)
    given = {
        "user": user_column,
        "item": item_column,
        "time": time_column,
        "quantity": quantity_column,
        "name": name_column,
    }
    try:
        columns = choose_columns(table.column_names, given)
        reading = _Reading(table, columns)
        for batch in table.batches(columns.used()):
            reading.add(batch)
        return reading.finish(time_is_given=bool(time_column))
    except ColumnError as error:  # which knows the column, and not the table that it is in
        raise ColumnError(f"'{table.name}': {error}") from error


def read_interactions(source: str | Path, **columns: str | None) -> Interactions:
    """Read a table of purchases as `read_with_report` does, whose columns may be named, and keep no report."""
    return read_with_report(source, **columns)[0]


class _Reading:
    """The state of one reading: what the batches so far have brought."""

    def __init__(self, table: Source, columns: Columns) -> None:
        self._source = table.name
        self._columns = columns
        self._rows = 0
        self._dropped = dict.fromkeys(why.REASONS, 0)
        self._notes: list[str] = []
        self._whole_floats: dict[str, bool] = {}
        self._users, self._items, self._names = Codes(), Codes(), Codes()
        self._times = Times(columns.time) if columns.time is not None else None
        self._quantities: list[NDArray[np.float64]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the usable rows of a batch."""
        columns = self._columns
        self._rows += batch.num_rows
        users, items = self._ids(batch, columns.user), self._ids(batch, columns.item)
        keep = self._drop(why.NO_USER, np.ones(batch.num_rows, dtype=np.bool_), not_blank(users))
        keep = self._drop(why.NO_ITEM, keep, not_blank(items))
        quantities = None
        if columns.quantity is not None:
            quantities = read_quantities(batch.column(columns.quantity), columns.quantity)
            keep = self._drop(why.RETURNED, keep, ~(quantities <= 0))
            keep = self._drop(why.NOT_A_NUMBER, keep, ~np.isnan(quantities))
        kept = pa.array(keep)
        self._users.add(users.filter(kept))
        self._items.add(items.filter(kept))
        if self._times is not None:
            self._times.add(batch.column(columns.time).filter(kept))
            if quantities is not None:
                self._quantities.append(quantities[keep])
        if columns.name is not None:
            names = pc.utf8_trim_whitespace(as_text(batch.column(columns.name), columns.name).filter(kept))
            self._names.add(pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.large_string()), names))

    def finish(self, time_is_given: bool) -> tuple[Interactions, IngestReport]:
        """Put the rows together."""
        user_codes, users = self._id_map(self._users, self._columns.user)
        item_codes, items = self._id_map(self._items, self._columns.item)
        self._check_enough(users, items)
        names, name_texts = self._names.finish() if self._columns.name is not None else (None, None)
        times = self._read_times(time_is_given)
        quantities = np.concatenate(self._quantities) if self._quantities and times is not None else None
        purchases = Purchases(user_codes, item_codes, names, times, quantities)
        repeated = duplicates(purchases, len(items))
        if repeated.any():
            self._dropped[why.DUPLICATE] = int(repeated.sum())
            once = ~repeated
            purchases = Purchases(
                user_codes[once],
                item_codes[once],
                None if names is None else names[once],
                None if times is None else times[once],
                None,
            )
        interactions = to_interactions(purchases, users, items, name_texts)
        repeats = purchases.users.size - interactions.n_interactions
        if times is None and repeats:
            self._notes.append("duplicate rows are kept as counts, since there is no time column")
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
        )
        return interactions, report

    def _ids(self, batch: pa.RecordBatch, name: str) -> pa.LargeStringArray:
        column = batch.column(name)
        texts = as_text(column, name)
        if pa.types.is_floating(column.type):
            # Whole floats come out as digits; anything else keeps its point.
            points = pc.any(pc.match_substring(texts, ".")).as_py()
            self._whole_floats[name] = self._whole_floats.get(name, True) and not points
        return texts

    def _drop(self, reason: str, keep: NDArray[np.bool_], passes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count the rows kept so far that do not pass, and return those that do."""
        self._dropped[reason] += int((keep & ~passes).sum())
        return keep & passes

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
        for text in texts.filter(pc.is_in(texts, value_set=_LOOKS_MISSING)).to_pylist():
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

    def _check_enough(self, users: IdMap, items: IdMap) -> None:
        """Raise DataError unless there are at least two users and two items."""
        if len(users) > 1 and len(items) > 1:
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
