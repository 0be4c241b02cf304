"""`Watch`: collects, while a table is read, keys of rows, examples of dropped ones and the units of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.doctor.findings import EXAMPLES
from recae.ids import shown
from recae.ingest.codes import as_text
from recae.ingest.columns import Columns
from recae.ingest.report import DUPLICATE
from recae.ingest.rowkeys import KeysOfRows, RowKeys
from recae.ingest.watching import USED, reason_of

_NUMBER: Final = r"^[+-]?\d+(\.\d*)?$"
_SECONDS: Final = (631_152_000, 4_102_444_800)  # the years 1990 to 2099
UNITS: Final = {
    "seconds": _SECONDS,
    "milliseconds": tuple(1_000 * bound for bound in _SECONDS),
    "microseconds": tuple(1_000_000 * bound for bound in _SECONDS),
    "nanoseconds": tuple(1_000_000_000 * bound for bound in _SECONDS),
    "dates such as 20240131": (19_000_101, 21_001_231),
    "days since 1900, as Excel counts": (20_000, 80_000),
}
"""Units of numeric times, by the range that each would lie in; no two ranges meet."""
TEXTS: Final = "dates as text"


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of a table.

    Attributes:
        columns: the columns read.
        rows: how many rows there are.
        dropped: how many of them were dropped, by reason; duplicates among them.
        examples: of dropped rows, by reason.
        keys: of the rows used, duplicates among them.
        units: how many values of the time column are of which of `UNITS`, or `TEXTS`; units that do not occur left out.
        floats: the columns of ids that are of a type of floats.
    """

    columns: Columns
    rows: int
    dropped: dict[str, int]
    examples: dict[str, list[str]]
    keys: RowKeys
    units: dict[str, int]
    floats: list[str]
    dropped_rows: NDArray[np.int64]

    def row(self, place: int) -> int:
        """Return the number in the table, from 1, of a row by its place among those used."""
        before = self.dropped_rows - np.arange(self.dropped_rows.size)
        return place + int(np.searchsorted(before, place, side="right")) + 1


class Watch:
    """Watches the reading of a table; see `recae.ingest.Watcher`. It takes 24 bytes a row used, 8 a row dropped."""

    def __init__(self, columns: Columns) -> None:
        """Begin before the first row."""
        self._columns = columns
        self._rows = 0
        self._dropped: dict[str, int] = {}
        self._dropped_rows: list[NDArray[np.int64]] = []
        self._examples: dict[str, list[str]] = {}
        self._keys = KeysOfRows(columns)
        self._units: dict[str, int] = {}
        self._floats: list[str] = []

    def rows(self, batch: pa.RecordBatch, fates: NDArray[np.uint8]) -> None:
        """Look at a batch."""
        used = fates == USED
        self._keys.add(batch, used)
        for fate in np.unique(fates[~used]).tolist():
            reason, places = reason_of(fate), np.flatnonzero(fates == fate)
            self._dropped[reason] = self._dropped.get(reason, 0) + places.size
            examples = self._examples.setdefault(reason, [])
            for place in places[: EXAMPLES - len(examples)].tolist():
                examples.append(f"row {self._rows + place + 1:,}: {self._values(batch, place)}")
        self._dropped_rows.append(np.flatnonzero(~used) + self._rows)
        if self._columns.time is not None:
            self._count_units(batch.column(self._columns.time).filter(pa.array(used)))
        if not self._floats:
            ids = (self._columns.user, self._columns.item)
            self._floats = [name for name in ids if pa.types.is_floating(batch.column(name).type)]
        self._rows += batch.num_rows

    def finish(self, with_duplicates: bool) -> Seen:
        """Return what was seen, once all rows have been.

        Args:
            with_duplicates: look for duplicates; it takes a sorting of all rows.
        """
        keys = self._keys.finish()
        dropped_rows = np.concatenate([np.zeros(0, np.int64), *self._dropped_rows])
        seen = Seen(
            self._columns,
            self._rows,
            self._dropped,
            self._examples,
            keys,
            self._units,
            self._floats,
            dropped_rows,
        )
        repeated = np.flatnonzero(keys.duplicates()) if with_duplicates else np.zeros(0, np.int64)
        if repeated.size:
            self._dropped[DUPLICATE] = repeated.size
            self._examples[DUPLICATE] = [_duplicate(seen, place) for place in repeated[:EXAMPLES].tolist()]
        return seen

    def _values(self, batch: pa.RecordBatch, place: int) -> str:
        """Return the values of a row as text."""
        texts = {
            name: as_text(batch.column(name).slice(place, 1), name)[0].as_py() for name in batch.schema.names
        }
        return ", ".join(
            f"{name} {'missing' if text is None else shown(text)}" for name, text in texts.items()
        )

    def _count_units(self, times: pa.Array) -> None:
        kind = times.type
        if pa.types.is_dictionary(kind):
            times = times.dictionary_decode()
            kind = times.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            texts = pc.utf8_trim_whitespace(times.cast(pa.large_string()).drop_null())
            texts = texts.filter(pc.not_equal(texts, ""))
            numeric = pc.match_substring_regex(texts, _NUMBER)
            words = len(texts) - int(pc.sum(numeric).as_py() or 0)
            self._count(TEXTS, words)
            numbers = texts.filter(numeric).cast(pa.float64())
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers = times.drop_null().cast(pa.float64(), safe=False)
        else:
            return
        values = numbers.to_numpy(zero_copy_only=False)
        for unit, (low, high) in UNITS.items():
            self._count(unit, int(((values >= low) & (values <= high)).sum()))

    def _count(self, unit: str, number: int) -> None:
        if number:
            self._units[unit] = self._units.get(unit, 0) + number


def _duplicate(seen: Seen, place: int) -> str:
    """Return a duplicate as text, with the row that it repeats."""
    keys = seen.keys
    same = (keys.users == keys.users[place]) & (keys.items == keys.items[place])
    if keys.times is not None:
        same &= keys.times == keys.times[place]
    if keys.quantities is not None:
        same &= keys.quantities == keys.quantities[place]
    user = keys.user_texts[int(keys.users[place])].as_py()
    item = keys.item_texts[int(keys.items[place])].as_py()
    ids = f"{seen.columns.user} {shown(user)}, {seen.columns.item} {shown(item)}"
    return f"row {seen.row(place):,} repeats row {seen.row(int(same.argmax())):,}: {ids}"
