"""`PlainReader`: every row of a delimited text by Python, for files that are small or odd."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recae.errors import SourceError
from recae.reading.dialect import LONG, loose_quotes, other_quotes
from recae.reading.encodings import Survey
from recae.reading.engine import Engine
from recae.reading.lines import LONGEST, Dialect, Row, StrayQuoteError, rows, split
from recae.reading.said import Skipped
from recae.reading.table import Note

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH: Final = 20_000  # rows
_TOTAL: Final = re.compile(
    r"(?:(?:grand|sub|page|report)[ -]?)?totals?|sum(?:me|ma|a)?|(?:gesamt|insgesamt|zwischen)(?:summe|betrag)?|celkem|"
    r"итого|всего|合計|総計|总计|合计|소계|합계|somme|totale|suma total",
    re.IGNORECASE,
)
_FOOTER: Final = re.compile(
    r"\(?\d[\d,. ]* (?:rows?|records?|lines?|zeilen|lignes|filas)\b.*|\x1a*|"
    r"(?:end of|ende|generated|exported|copyright|©|--+|\*+|=+|total|summe|gesamt|count)\b.*",
    re.IGNORECASE,
)


class PlainReader:
    """Reads every row of a file by Python; for files that are small or odd."""

    def __init__(self, name: str, path: Path, found: Survey, dialect: Dialect, skip: bool) -> None:
        """Take note of the file; nothing is read yet."""
        self.name, self.path, self.found, self.dialect, self.skip = name, path, found, dialect, skip
        self._begin()

    def _begin(self) -> None:
        self.rejected: list[Skipped] = []
        self.headers = 0
        self.total: str | None = None
        self.footers = 0
        self._error: Exception | None = None

    def notes(self) -> list[Note]:
        """Return what was left out."""
        notes = []
        if self.headers:
            again = "once more" if self.headers == 1 else f"{self.headers:,} times more"
            notes.append(
                Note(
                    f"the header comes {again} inside the table and is left out",
                    code="header-repeated",
                    rows=self.headers,
                )
            )
        if self.total is not None:
            notes.append(
                Note(
                    f"the last row is a total ({self.total!r}) and no purchase: it is left out",
                    code="total",
                    rows=1,
                )
            )
        if self.footers:
            are = (
                "1 line below the table is"
                if self.footers == 1
                else f"{self.footers} lines below the table are"
            )
            notes.append(Note(f"{are} left out", code="layout"))
        return notes

    def stored(self, engine: Engine, names: Sequence[str]) -> str:
        """Store the rows in a table.

        Where quotes contradict themselves they are understood otherwise, and all is read again.
        """
        while True:
            self._begin()
            try:
                return self._store(engine, names)
            except _QuotesError as contradiction:
                self._revise(contradiction)

    def _store(self, engine: Engine, names: Sequence[str]) -> str:
        import duckdb
        import pyarrow as pa

        schema = pa.schema([(name, pa.string()) for name in names])
        reader = pa.RecordBatchReader.from_batches(schema, self._batches(schema))
        view = engine.register(reader)
        try:
            return engine.store(f"SELECT * FROM {view}", "text")
        except (duckdb.Error, SourceError) as error:
            if self._error is not None:
                raise self._error from None
            raise error

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        places = self.dialect.places
        whole = places == tuple(range(self.dialect.width))
        try:
            for batch in _batched(self.rows(), _BATCH):
                columns = list(zip(*batch, strict=True))
                arrays = [
                    pa.array([value or None for value in columns[place]], type=pa.string())
                    for place in (range(self.dialect.width) if whole else places)
                ]
                yield pa.record_batch(arrays, schema=schema)
        except Exception as error:
            self._error = error
            raise

    def _lines(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            file.seek(self.found.bom)
            wrapped = io.TextIOWrapper(
                file, self.found.encoding, "surrogateescape", newline=self.found.newline
            )
            while line := wrapped.readline(LONGEST + 2):
                if len(line) > LONGEST:
                    raise SourceError(
                        f"'{self.name}' has a line of more than {LONGEST >> 20} MiB, which is no row of a table; "
                        "check its quotes and line ends"
                    )
                yield line

    def _all(self) -> Iterator[Row]:
        dialect = self.dialect
        lines = self._lines()
        for _ in range(dialect.skip):
            next(lines, None)
        return rows(lines, dialect, dialect.skip)

    def rows(self) -> Iterator[list[str]]:
        """Yield the fields of the rows that are purchases; the last rows are looked at before they are given."""
        width, header = self.dialect.width, self.dialect.names
        places = self.dialect.places
        again = None if header is None else [name.strip() for name in header]
        waiting: list[str] | None = None
        odd: list[tuple[Row, str]] = []  # at the end they may be below the table
        for row in self._all():
            fields = row.fields
            if (row.swallowed or row.fault) and not self.found.quotes_settled:
                raise _QuotesError(row)
            if row.fault or len(fields) != width or not row.text.isascii():
                reason = self._reason(row)
                if reason is None and len(fields) < width:
                    fields = fields + [""] * (width - len(fields))
                if reason is not None:
                    odd.append((row, reason))
                    if len(odd) > 5:  # more than what stands below a table
                        self._reject(odd)
                    continue
            if odd:
                self._reject(odd)
            if (
                again is not None
                and fields[places[0]].strip() == again[0]
                and [fields[k].strip() for k in places] == again
            ):
                self.headers += 1
                continue
            if waiting is not None:
                yield waiting
            waiting = fields
        for row, reason in odd:
            if row.fault or not (_FOOTER.fullmatch(row.text.strip()) or self._is_footer(row)):
                self._reject([(row, reason)])
            else:
                self.footers += 1
        if waiting is not None:
            if is_total(waiting):
                self.total = next(field for field in waiting if field.strip())
            else:
                yield waiting

    def _is_footer(self, row: Row) -> bool:
        """Tell whether an odd row at the end is a total, or a line of text below the table."""
        filled = [field for field in row.fields if field.strip()]
        return not filled or is_total(row.fields)

    def _reason(self, row: Row) -> str | None:
        """Return what is wrong with a row, in short, or None."""
        if re.search("[\ud800-\udfff]", row.text):
            return f"is not {self.found.encoding_name}"
        if row.fault == "stray":
            return "has text after a closing quote"
        if row.fault == "open":
            return "opens a quoted field that is never closed"
        count, width = len(row.fields), self.dialect.width
        if count == width or (count < width and self.dialect.pad):
            return None
        what = "header has" if self.dialect.names is not None else "other lines have"
        delimiter = self.dialect.delimiter_name
        return f"has {count} field{'s' * (count != 1)} where the {what} {width} (delimiter: {delimiter})"

    def _reject(self, odd: list[tuple[Row, str]]) -> None:
        for row, reason in odd:
            if not self.skip:
                where = f"line {row.line}"
                if row.last_line > row.line:
                    where = f"the row on lines {row.line} to {row.last_line}"
                raise SourceError(f"{where} of '{self.name}' {reason}; {_advice(reason)}")
            self.rejected.append((row.line, reason, row.text.encode("utf-8", "replace").decode()[:10_000]))
        odd.clear()

    def _revise(self, contradiction: _QuotesError) -> None:
        """Understand quotes in the way that leaves no odd line, if there is one."""
        was = self.dialect
        for way in other_quotes(was, contradiction.row.line) if was.quote else ():
            self.dialect = way
            if self._fits(contradiction.row.last_line - contradiction.row.line > LONG):
                break
        else:
            self.dialect = was
        self.found = replace(self.found, quotes_settled=True)

    def _fits(self, stray: bool) -> bool:
        """Tell whether all rows have as many fields as they should, but for a footer.

        Args:
            stray: whether quotes are not around fields; else their places tell whether they are plain text.
        """
        odd = begin = end = 0
        for row in self._all():
            count, width = len(row.fields), self.dialect.width
            if not self.dialect.quote:
                begins, ends = loose_quotes(row.fields)
                begin, end = begin + begins, end + ends
            if row.fault or row.swallowed:
                return False
            if count != width and not (self.dialect.pad and count < width):
                odd += 1
            elif odd:
                return False
        return odd < 5 and (
            stray or end <= begin // 2
        )  # few below the table; quotes of a text begin fields only


class _QuotesError(Exception):
    """Quotes contradict themselves in a row."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row


def _advice(reason: str) -> str:
    """Return what to do about an odd line."""
    skip = "or leave out such lines with --bad-lines skip"
    if reason.startswith("is not"):
        return f"correct it, give the file's --encoding, {skip}"
    if "quote" in reason:
        return f"close the quote, or double it where it is part of the text, {skip}"
    return f"correct that row, quote a value that holds the delimiter, {skip}"


def is_total(fields: Sequence[str]) -> bool:
    """Tell whether a row is a total: its first filled field says so, alone or in a row with empty fields."""
    first = next((field.strip() for field in fields if field.strip()), "")
    word = re.match(r"[^\W\d_]+(?:[ -][^\W\d_]+)?", first)
    said = _TOTAL.fullmatch(first.rstrip(": "))
    begins = word is not None and any(_TOTAL.fullmatch(w) for w in (word[0], word[0].split()[0]))
    return said is not None or (begins and any(not field.strip() for field in fields))


def try_split(line: str, dialect: Dialect) -> list[str] | None:
    """Return the fields of a line, or None where its quotes are not whole."""
    try:
        return split(line, dialect)
    except StrayQuoteError:
        return None


def _batched(source: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(source)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
