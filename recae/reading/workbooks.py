"""Workbooks (.xlsx, .xlsm, .xlsb, .xls, .ods): all sheets of the same columns as one table."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recae.errors import ColumnError, SourceError
from recae.reading.dialect import shape_of
from recae.reading.engine import Engine, first_line
from recae.reading.frames import stored
from recae.reading.lines import Dialect, Row
from recae.reading.options import ReadOptions
from recae.reading.plain import is_total
from recae.reading.said import unique_names
from recae.reading.table import Note, Table
from recae.reading.values import text_of

_HEAD: Final = 200  # rows by which the header is found
_BATCH: Final = 20_000  # rows


@dataclass(frozen=True)
class _Sheet:
    """A sheet that holds a table.

    Attributes:
        name: of it.
        dialect: where the table begins and which of its columns count.
        names: of these columns.
        repeated: what to say of columns of one name.
        rows: of the whole sheet.
    """

    name: str
    dialect: Dialect
    names: tuple[str, ...]
    repeated: tuple[Note, ...]
    rows: list[list[str]]


def open_workbook(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    """Return the table of a workbook: its only sheet, all of them where they have the same columns, or the one named.

    All columns are text: digits of numbers, ISO dates.

    Raises:
        SourceError: the workbook is damaged or encrypted, its sheets differ, or calamine is not installed.
    """
    import pyarrow as pa

    book = _opened(engine, path, name)
    known: list[str] = list(book.sheet_names)
    if options.table is not None and options.table not in known:
        raise SourceError(f"'{name}' has no sheet {options.table!r}; it has {', '.join(map(repr, known))}")
    wanted = [options.table] if options.table is not None else known
    sheets = [sheet for one in wanted if (sheet := _sheet(book, one, name, options)) is not None]
    if not sheets:
        raise SourceError(f"'{name}' is empty; a header and one row for each purchase are needed")
    groups: dict[tuple[str, ...], list[_Sheet]] = {}
    for sheet in sheets:
        groups.setdefault(tuple(sorted(sheet.names)), []).append(sheet)
    tables = [group for group in groups.values() if len(group[0].names) > 1] or list(groups.values())
    if len(tables) > 1:
        shown = "; ".join(f"{group[0].name!r} ({', '.join(group[0].names[:5])})" for group in tables[:5])
        raise SourceError(f"the sheets of '{name}' have different columns; name one with --table: {shown}")
    chosen = tables[0]
    names = chosen[0].names
    notes = [Note(sentence, code="layout") for sheet in chosen for sentence in sheet.dialect.notes]
    if len(chosen) > 1:
        notes.append(
            Note(f"its {len(chosen)} sheets have the same columns and are read as one table", code="layout")
        )
    left = [sheet.name for sheet in sheets if sheet not in chosen]
    if left:
        notes.append(
            Note(f"sheets that hold no table are left out: {', '.join(map(repr, left))}", code="layout")
        )
    notes += chosen[0].repeated
    schema = pa.schema([(column, pa.string()) for column in names])
    error: list[Exception] = []
    totals: list[str] = []
    relation = stored(engine, schema, _batches(chosen, schema, error, totals), error)
    notes += [
        Note(f"the last row is a total ({one!r}) and no purchase: it is left out", code="total", rows=1)
        for one in totals
    ]
    return Table(
        name=name,
        engine=engine,
        relation=relation,
        types=dict.fromkeys(names, "VARCHAR"),
        header=chosen[0].dialect.names is not None,
        files=(path,),
        notes=tuple(notes),
        decimal_comma=False,
    )


def _opened(engine: Engine, path: Path, name: str) -> Any:
    try:
        import python_calamine as calamine
    except ImportError as error:
        raise SourceError(f"'{name}' is a workbook; pip install 'recae[excel]', or save it as CSV") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > engine.memory_limit:
            raise SourceError(
                f"'{name}' is a workbook that unpacks to {size / 2**30:,.1f} GiB, more than the "
                f"{engine.memory_limit / 2**30:,.1f} GiB that reading may take; save it as CSV, or raise --memory-limit"
            )
    try:
        return calamine.CalamineWorkbook.from_path(str(path))
    except Exception as error:  # calamine's own classes, and whatever its parsers panic with
        if "assword" in str(error):
            raise SourceError(f"'{name}' is protected by a password; save it without one") from error
        raise SourceError(
            f"'{name}' is not a valid workbook ({first_line(error)}); save it again, or export the table as CSV"
        ) from error


def _sheet(book: Any, sheet: str, name: str, options: ReadOptions) -> _Sheet | None:
    """Return a sheet with its table, or None where it is empty."""
    try:
        cells = book.get_sheet_by_name(sheet).to_python(skip_empty_area=True)
    except Exception as error:
        raise SourceError(
            f"sheet {sheet!r} of '{name}' cannot be read ({first_line(error)}); save it again"
        ) from error
    rows = [[_text(cell, sheet, name) for cell in row] for row in cells]
    filled = [
        Row(number, number, _cut(row), " ")
        for number, row in enumerate(rows, 1)
        if any(cell.strip() for cell in row)
    ]
    if not filled:
        return None
    width = max(_widths(filled[:_HEAD]))
    padded = [Row(r.line, r.last_line, _fitted(r.fields, width), r.text) for r in filled[:_HEAD]]
    dialect = shape_of(padded, Dialect("", width, notes=()), options.header)
    if dialect.names is None:
        names = [str(place) for place in range(1, len(dialect.places) + 1)]
        return _Sheet(sheet, dialect, tuple(names), (), rows)
    unique, repeated = unique_names(dialect.names)
    return _Sheet(sheet, dialect, tuple(unique), tuple(repeated), rows)


def _widths(rows: Sequence[Row]) -> Iterator[int]:
    for row in rows:
        yield len(row.fields)


def _cut(row: Sequence[str]) -> list[str]:
    """Return a row without the empty cells at its end."""
    size = len(row)
    while size and not row[size - 1].strip():
        size -= 1
    return list(row[:size])


def _fitted(fields: Sequence[str], width: int) -> list[str]:
    """Return a row as wide as the table; one of a single cell stays what it is, since it may be a title above it."""
    return list(fields) if len(fields) == 1 < width else [*fields, *[""] * (width - len(fields))]


def _text(value: Any, sheet: str, name: str) -> str:
    """Return a cell as text; a time of day without its date, a duration in seconds."""
    if isinstance(value, dt.timedelta):
        return str(value)
    try:
        return text_of(value) or ""
    except ColumnError as error:
        raise SourceError(f"a cell of sheet {sheet!r} of '{name}' {error}; save it as CSV") from error


def _batches(
    sheets: Iterable[_Sheet], schema: Any, error: list[Exception], totals: list[str]
) -> Iterator[Any]:
    """Yield the rows of sheets as record batches, the columns in the order of the first sheet's."""
    import pyarrow as pa

    order: tuple[str, ...] = tuple(schema.names)
    try:
        for sheet in sheets:
            places = [sheet.dialect.places[sheet.names.index(column)] for column in order]
            body = [row for row in sheet.rows[sheet.dialect.skip :] if any(cell.strip() for cell in row)]
            if body and is_total(body[-1]):
                totals.append(next(cell for cell in body.pop() if cell.strip()))
            for start in range(0, len(body), _BATCH):
                part = body[start : start + _BATCH]
                arrays = [
                    pa.array([(row[place] if place < len(row) else "") or None for row in part], pa.string())
                    for place in places
                ]
                yield pa.record_batch(arrays, schema=schema)
    except Exception as problem:
        error.append(problem)
        raise
