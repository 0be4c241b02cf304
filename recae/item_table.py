"""`ItemTable`: what is known of each item beside who bought it, such as its name, category, price and picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import DataError
from recae.ids import IdMap

TEXT: Final = pa.large_string()
"""The type of a column of text, and of every column without a meaning of its own."""

MEANINGS: Final = {
    "name": TEXT,
    "category": TEXT,
    "brand": TEXT,
    "price": pa.float64(),
    "available": pa.bool_(),
    "image": TEXT,
    "link": TEXT,
    "text": TEXT,
    "embedding": TEXT,
}
"""Columns that mean something to recae, in the order in which they are shown, and their types."""

SHOWN: Final = ("category", "brand", "price", "available", "image", "link")
"""Columns that are shown beside an item's name, where there are any."""

SEPARATOR: Final = " > "
"""What stands between the parts of a category that is a path, the widest part first: "Home > Kitchen > Mugs"."""

MOST_COLUMNS: Final = 64
"""Columns of a table at most."""

MOST_BYTES: Final = 2**30
"""Bytes of a table at most: it is stored in the model file and held by every process that serves it."""


@dataclass(frozen=True, eq=False)
class ItemTable:
    """What is known of items, a row an item.

    Its items need not be those of a model: some were never bought, and some that were bought may lack. `of` brings the
    rows into a model's order.

    Attributes:
        ids: of the rows.
        columns: a column each for what is known, null where it is not: those of `MEANINGS` that there are, with these
            types and in this order, then others as text, by the names that they had. A price is finite and at least 0;
            an image or a link begins with http:// or https://. An embedding is numbers with blanks between them.

    Raises:
        DataError: the parts do not fit together, or it is too large.
    """

    ids: IdMap
    columns: pa.Table

    def __post_init__(self) -> None:
        """Check types, order and sizes."""
        names = self.columns.column_names
        if self.columns.num_rows != len(self.ids):
            raise DataError(f"there are {self.columns.num_rows:,} rows for {len(self.ids):,} items")
        if len(names) > MOST_COLUMNS or len(set(names)) < len(names):
            raise DataError(
                f"a table of items has at most {MOST_COLUMNS} columns, each once, found {len(names)}: "
                "leave some out"
            )
        known = [name for name in MEANINGS if name in names]
        if names[: len(known)] != known:
            raise DataError(
                f"the columns begin with {', '.join(known)}, in this order, not {', '.join(names)}"
            )
        for field in self.columns.schema:
            if field.type != MEANINGS.get(field.name, TEXT):
                raise DataError(
                    f"column {field.name!r} has type {MEANINGS.get(field.name, TEXT)}, not {field.type}"
                )
        if "price" in names:
            prices = self.columns["price"].drop_null()
            if not _all(pc.and_(pc.is_finite(prices), pc.greater_equal(prices, 0))):
                raise DataError("a price is a finite number of at least 0")
        for name in ("image", "link"):
            if name in names and not _all(pc.match_substring_regex(self.columns[name], "^https?://")):
                raise DataError(f"column {name!r} holds addresses that begin with http:// or https://")
        if self.nbytes > MOST_BYTES:
            raise DataError(
                f"a table of items takes at most {MOST_BYTES / 2**20:,.0f} MiB, found {self.nbytes / 2**20:,.0f}: "
                "leave out columns of long text"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the columns in memory."""
        return int(self.columns.nbytes)

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns.column_names)

    def __contains__(self, column: object) -> bool:
        """Return whether there is a column of that name."""
        return column in self.columns.column_names

    def column(self, name: str) -> pa.Array:
        """Return a column in one piece, of shape (rows,); all null where there is none of that name."""
        if name not in self:
            return pa.nulls(len(self.ids), MEANINGS.get(name, TEXT))
        found = self.columns[name].combine_chunks()
        return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)

    def of(self, items: IdMap) -> Self:
        """Return the rows of these items, in their order; null in all columns where an item is not in the table."""
        if items == self.ids:
            return self
        rows = self.rows(items)
        places = pa.array(np.maximum(rows, 0), mask=rows < 0, type=pa.int64())
        return type(self)(items, self.columns.take(places))

    def rows(self, items: IdMap) -> NDArray[np.int64]:
        """Return the row of each of these items, of shape (items,); -1 where an item is not in the table."""
        return self.ids.rows(_values(items))

    def unbought(self, items: IdMap) -> NDArray[np.int64]:
        """Return the rows of the table, rising, whose items are not among these, the ones that were bought."""
        return np.flatnonzero(items.rows(_values(self.ids)) < 0)

    def take(self, rows: NDArray[np.integer[Any]]) -> Self:
        """Return some of the rows, each at most once, in that order."""
        places = np.asarray(rows, dtype=np.int64)
        return type(self)(IdMap(self.ids.ids(places)), self.columns.take(pa.array(places)))

    def path(self, level: int | None = None) -> pa.Array:
        """Return the category of each item, of shape (rows,); null where none is known.

        Args:
            level: of the path, from 1, the widest; a shorter path as a whole. None: the whole path.
        """
        whole = self.column("category")
        if level is None:
            return whole
        first = rf"(?s)^((?:.*?{SEPARATOR}){{{level - 1}}}.*?){SEPARATOR}.*$"
        return pc.replace_substring_regex(whole, first, r"\1")


def _values(ids: IdMap) -> pa.LargeStringArray:
    return ids.ids(np.arange(len(ids)))


def _all(flags: pa.ChunkedArray) -> bool:
    """Return whether all are true that are known."""
    return bool(pc.all(flags, min_count=0).as_py())
