"""`Table`: what an answer comes back as in Python: rows to iterate over, a data frame, a text to look at."""

from __future__ import annotations

import keyword
import math
import re
from collections import namedtuple
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae import html
from recae.arrow import arrow_numbers
from recae.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Row = TypeVar("Row")

SHOWN: Final = 10
"""Rows of a table that its text shows."""

_IN_HTML: Final = 20
_COLUMNS: Final = 12  # shown, of a wide table such as one of codes
_WIDEST: Final = 40  # characters of a cell
_BATCH: Final = 4_096  # rows made into Python's together
_GROUP: Final = 128 * 1024  # rows of a stream written together


class Table(Generic[Row]):
    """Rows with named columns, held as an Arrow table; not to be changed.

    It is a sequence of rows: iterate over it, take its length, index it by number or slice. A row is a named tuple, so
    that ``row.item_id`` and ``rank, item, *rest = row`` both work; what no attribute can be called, such as recall@20,
    is written with underscores there, as ``row.recall_20``. ``table["score"]`` is a column.

    Args:
        data: the columns.
        row: what makes a row of the columns' values; None: a named tuple.
        title: what the rows are, for the text.
    """

    def __init__(self, data: pa.Table, row: Any = None, title: str = "") -> None:
        """Hold the columns."""
        self._data, self._title = data, title
        self._row = row or row_type(data.column_names)

    @classmethod
    def of(cls, columns: Mapping[str, Any], row: Any = None, title: str = "") -> Table[Any]:
        """Return a table of columns: Arrow arrays, NumPy arrays or lists of equal length, by name.

        A list of several types, such as settings that are numbers or words, becomes text.
        """
        return Table(pa.table({name: _array(values) for name, values in columns.items()}), row, title)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        names: list[str] = self._data.column_names
        return names

    def __len__(self) -> int:
        """Return the number of rows."""
        rows: int = self._data.num_rows
        return rows

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows."""
        for start in range(0, len(self), _BATCH):
            yield from self._rows(start, _BATCH)

    @overload
    def __getitem__(self, key: int) -> Row: ...

    @overload
    def __getitem__(self, key: slice) -> Table[Row]: ...

    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...

    def __getitem__(self, key: int | slice | str) -> Row | Table[Row] | NDArray[Any]:
        """Return a row by its number, from the end where that is negative; some rows by a slice; a column by its name.

        Raises:
            IndexError: there is no such row.
            ConfigError: there is no such column.
        """
        if isinstance(key, slice):
            places = range(*key.indices(len(self)))
            return Table(self._data.take(arrow_numbers(np.asarray(places, np.int64))), self._row, self._title)
        if isinstance(key, str):
            return self._column(key)
        place = int(key)
        if not -len(self) <= place < len(self):
            raise IndexError(f"there is no row {key}; the table has {len(self):,}")
        return next(self._rows(place % len(self), 1))

    def __eq__(self, other: object) -> bool:
        """Return whether another table has the same columns and rows, or a list the same rows."""
        if isinstance(other, Table):
            return bool(self._data.equals(other._data))
        return list(self) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equality by content

    def __repr__(self) -> str:
        """Return the first rows with their columns aligned."""
        lines = [self._title] if self._title else []
        names = self.columns[:_COLUMNS]
        cells = [names, *self._cells(SHOWN, names)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            padded = (
                cell.ljust(width) if of_text else cell.rjust(width)
                for cell, width, of_text in zip(row, widths, self._of_text(names), strict=True)
            )
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, *self._left_out(SHOWN)])

    def _repr_html_(self) -> str:
        """Return the first rows as an HTML table, for notebooks; every text is escaped."""
        names = self.columns[:_COLUMNS]
        right = [name for name, of_text in zip(names, self._of_text(names), strict=True) if not of_text]
        title = [html.paragraph(self._title, "title")] if self._title else []
        more = map(html.paragraph, self._left_out(_IN_HTML))
        return html.fragment(*title, html.table(names, self._cells(_IN_HTML, names), right), *more)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the columns to whatever speaks Arrow's C interface, such as DuckDB, polars and pandas."""
        return self._data.__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """Return the columns as an Arrow table, without a copy."""
        return self._data

    def to_pandas(self) -> pd.DataFrame:
        """Return the columns as a pandas data frame."""
        frame: pd.DataFrame = self._data.to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """Return the columns as a polars data frame.

        Raises:
            ConfigError: polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise ConfigError(
                "a polars data frame needs polars, which is not installed: pip install polars, or take to_pandas() or "
                "to_arrow()"
            ) from None
        found = polars.from_arrow(self._data)
        if not isinstance(found, polars.DataFrame):
            raise AssertionError  # a table is never a series
        return found

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dictionary a row."""
        rows: list[dict[str, Any]] = self._data.to_pylist()
        return rows

    def save(self, path: str | Path) -> None:
        """Write the rows to a Parquet, CSV or JSON Lines file, as the path ends; see `recae.tables.write_table`.

        Raises:
            OutputError: the ending is another one, or the file cannot be written.
        """
        from recae.tables import write_table

        plain = [
            pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type)
            for f in self._data.schema
        ]
        data = self._data.cast(pa.schema(plain))
        write_table(path, data.schema, data.to_batches())

    def _rows(self, start: int, count: int) -> Iterator[Row]:
        columns = (column.to_pylist() for column in self._data.slice(start, count).itercolumns())
        return (self._row(*values) for values in zip(*columns, strict=True))

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise ConfigError(f"there is no column {name!r}; choose one of {', '.join(self.columns)}")
        return np.asarray(self._data.column(name).to_numpy())

    def _of_text(self, names: Sequence[str]) -> list[bool]:
        """Return which columns hold text, which is aligned at the left."""
        types = (self._data.schema.field(name).type for name in names)
        return [pa.types.is_large_string(kind) or pa.types.is_string(kind) for kind in types]

    def _cells(self, rows: int, names: Sequence[str]) -> list[list[str]]:
        """Return the first rows as texts."""
        columns = self._data.slice(0, rows).select(list(names)).itercolumns()
        return list(map(list, zip(*(_texts(column.to_pylist()) for column in columns), strict=True)))

    def _left_out(self, rows: int) -> list[str]:
        """Return what is not shown, as no line or one."""
        more = [f"{len(self) - rows:,} more rows"] if len(self) > rows else []
        if len(self.columns) > _COLUMNS:
            more.append(f"{len(self.columns) - _COLUMNS:,} more columns")
        return [f"… {' and '.join(more)}"] if more else [] if len(self) else ["no rows"]


class Stream(Iterator[pa.RecordBatch]):
    """Record batches that are made as they are asked for, once; or all of them together, as a data frame or a file.

    Args:
        schema: the columns.
        batches: of that schema.
        unknown_items: ids that were named by a rule and that the model does not know, each once.
    """

    def __init__(
        self,
        schema: pa.Schema,
        batches: Generator[pa.RecordBatch, None, None],
        unknown_items: Sequence[str] = (),
    ) -> None:
        """Hold what is to come."""
        self.schema = schema
        self.unknown_items = tuple(unknown_items)
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Iterate over the batches that are left."""
        return self._batches

    def __next__(self) -> pa.RecordBatch:
        """Return the next batch."""
        return next(self._batches)

    def close(self) -> None:
        """End early; what would compute further batches ends, too."""
        self._batches.close()

    def __repr__(self) -> str:
        """Return the columns."""
        return f"<stream of record batches: {', '.join(self.schema.names)}>"

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give the batches that are left to whatever speaks Arrow's C interface."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self._batches)
        return reader.__arrow_c_stream__(requested_schema)

    def table(self) -> Table[Any]:
        """Return the rows that are left as a table."""
        return Table(pa.Table.from_batches(self._batches, self.schema))

    def to_arrow(self) -> pa.Table:
        """Return the rows that are left as an Arrow table."""
        return self.table().to_arrow()

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows that are left as a pandas data frame."""
        return self.table().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """Return the rows that are left as a polars data frame; ConfigError where polars is not installed."""
        return self.table().to_polars()

    def save(self, path: str | Path) -> int:
        """Write the rows that are left to a Parquet, CSV or JSON Lines file, block by block; return how many.

        Raises:
            OutputError: the ending is another one, or the file cannot be written.
        """
        from recae.tables import write_table

        return write_table(path, self.schema, self._batches, _GROUP)


def _array(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf" and values.ndim == 1:
        return arrow_numbers(values)
    if not isinstance(values, list):
        return values
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.large_string())


def row_type(names: Sequence[str]) -> Any:
    """Return the type of a row of columns of these names: a named tuple."""
    return namedtuple("Row", _attributes(names))  # the names are known only now


def _attributes(names: Sequence[str]) -> list[str]:
    """Return the names as attributes: other characters than letters, digits and underscores replaced, each once."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W+", "_", name).strip("_") or "column"
        if plain[0].isdigit() or keyword.iskeyword(plain):
            plain = f"column_{plain}"
        while plain in found:
            plain += "_"
        found.append(plain)
    return found


def _texts(values: Sequence[object]) -> list[str]:
    """Return the values of a column for a text: numbers with four significant digits of the largest, empty for none."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v)]
    largest = max(sizes, default=0.0)
    if not largest or not 1e-4 <= largest < 1e6:
        return [_text(value, ".4g") for value in values]
    return [_text(value, f".{max(0, 3 - math.floor(math.log10(largest)))}f") for value in values]


def _text(value: object, form: str) -> str:
    """Return a value for a text: a float in its form, anything else on one line and not too long."""
    if value is None:
        return ""
    if isinstance(value, float):
        return format(value, form)
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"
