"""Delimited text, plain or compressed, as a stream of Arrow record batches in which every value is text."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.ahead import ahead
from recae.sources.base import Table, damaged, first_line, refuse_foreign, text_schema
from recae.sources.fields import Fields
from recae.sources.lines import Row, rows

_HEAD = 1 << 20  # bytes in which the header must end
_BLOCK = 1 << 20  # bytes of text in one batch; the longest row must fit
_LARGE = 1 << 22  # bytes of a file from which on the compiled reading of plain text pays
_PLAIN_BLOCK = 1 << 20  # bytes scanned at a time there; Arrow's reader takes over where a row is longer
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_RARE: Final = {":": "colon", "^": "caret", "~": "tilde", "\x01": "control character 1", " ": "space"}


class CsvSource(Table):
    """A file of delimited text: a header line, then one purchase a row.

    Values are exact text and an empty value is null; "NA" and the like stay text. A byte order mark is
    skipped. The delimiter (comma, semicolon, tab or vertical bar; where none of them is in the header, colon,
    caret, tilde, control character 1 or space) is the one that divides the header into most fields, or any
    character that a first line such as ``sep=#`` names. A quoted field may hold delimiters, line breaks and
    doubled quotes. Blank lines are ignored.

    Args:
        path: the file.
        compression: ``"gzip"``, ``"zstd"``, ``"bz2"``, or None for plain text.
        name: what to call it in messages; by default the path.

    Attributes:
        name: for messages.
        schema: text columns by the names in the header, each without surrounding blanks.

    Raises:
        SourceError: the file is empty, broken, not text, or its header cannot be read.
    """

    def __init__(self, path: Path, compression: str | None = None, name: str | None = None) -> None:
        self.name = name = name or str(path)
        self._path = path
        self._compression = compression
        try:
            with self._open() as stream:
                head = stream.read(_HEAD)
        except OSError as error:
            raise self._damaged(error) from error
        refuse_foreign(name, head, "delimited text", "csv")
        if b"\0" in head:
            raise SourceError(f"'{name}' is not text: it holds zero bytes; export the table as CSV in UTF-8")
        if not head.strip(b"\xef\xbb\xbf \t\r\n"):
            raise SourceError(f"'{name}' is empty; a header line and one row for each purchase are needed")
        header, self._delimiter = _header(head, tab_first=".tsv" in path.suffixes)
        if not header.closed or (len(head) == _HEAD and len(header.text) > _HEAD // 2):
            raise SourceError(
                f"the header of '{name}' (line {header.line}) does not end within 1 MiB; close its quotes"
            )
        try:
            text = header.text.encode("latin-1").decode("utf-8")
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter))
        except UnicodeDecodeError as error:
            raise self._not_utf8(header.line) from error
        except csv.Error as error:
            raise SourceError(
                f"the header of '{name}' (line {header.line}) cannot be read: {error}"
            ) from error
        self.schema = text_schema([column.strip() for column in names])
        self._skip = header.last_line
        ends = re.finditer(rb"\r\n|\r|\n", head)
        end = next(itertools.islice(ends, self._skip - 1, None), None)
        self._start = len(head) if end is None else end.end()  # where the rows begin

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns batch by batch, as text; memory stays at some 20 blocks of 1 MiB.

        Raises:
            ColumnError: the file has no such column.
            SourceError: the rest of the file cannot be read; the message names the physical line of a ragged
                row or of invalid UTF-8 (looked for in the columns asked for).
        """
        try:
            with self._stream() as stream:
                last = yield from self._arrow_batches(stream, self._skip, columns)
        except (pa.ArrowInvalid, OSError) as error:
            if self._has_no_rows():
                return
            raise self._explain(error) from error
        if last is not None and re.search(rb"[\r\n]", last):
            self._check_closed()

    def blocks(self, columns: Sequence[str]) -> Iterator[Fields | pa.RecordBatch]:
        """Yield the named columns block by block: as fields where a block is plain text, else as `batches` does.

        Raises:
            ColumnError, SourceError: as `batches`.
        """
        if self._delimiter in '"\r' or self._path.stat().st_size < _LARGE:
            return self.batches(columns)
        return ahead(self._plain_blocks(columns))

    def _plain_blocks(self, columns: Sequence[str]) -> Iterator[Fields | pa.RecordBatch]:
        from recae.sources.plain import plain_blocks  # which brings the compiler

        names: list[str | None] = [None] * len(self.column_names)
        for name, position in zip(columns, self.positions(columns), strict=True):
            names[position] = name
        try:
            with self._stream(self._start) as stream:
                for block in plain_blocks(stream, _PLAIN_BLOCK, self._delimiter, names):
                    if isinstance(block, Fields):
                        yield block
                    elif isinstance(block, bytes):
                        yield from self._arrow_batches(pa.BufferReader(block), 0, columns)
                    else:
                        yield from self._rest(self._start + block, columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._explain(error) from error

    def _rest(self, start: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield what follows the first bytes by Arrow's reader."""
        with self._stream(start) as stream:
            last = yield from self._arrow_batches(stream, 0, columns)
        if last is not None and re.search(rb"[\r\n]", last):
            self._check_closed()

    def _arrow_batches(
        self, stream: pa.NativeFile, skip: int, columns: Sequence[str]
    ) -> Generator[pa.RecordBatch, None, pa.Buffer | None]:
        """Yield the named columns of a text after some lines; returns the last field of its last row."""
        from pyarrow import csv as arrow_csv

        # Numbers stand for the names while Arrow reads, since a header may hold one name twice.
        positions = [str(position) for position in self.positions(columns)]
        labels = [str(position) for position in range(len(self.column_names))]
        types = dict.fromkeys(labels, pa.string())
        # A quote that is never closed swallows the rest of the file into the last field of the last row, and
        # Arrow does not mind; so that field is read too, and looked at.
        if labels[-1] not in positions:
            types[labels[-1]] = pa.binary()
        last = None
        reader = arrow_csv.open_csv(
            stream,
            read_options=arrow_csv.ReadOptions(column_names=labels, skip_rows=skip, block_size=_BLOCK),
            parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(dict.fromkeys([*positions, labels[-1]])),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        for batch in ahead(reader):
            if batch.num_rows:
                last = batch.column(labels[-1])[-1].as_buffer()
            yield batch.select(positions).rename_columns(list(columns))
        return last

    def _stream(self, start: int = 0) -> pa.NativeFile:
        """Open the decompressed bytes after the first ones."""
        stream = pa.input_stream(str(self._path), compression=self._compression)
        while start:
            start -= len(stream.read(min(start, _BLOCK)))
        return stream

    def _open(self) -> BinaryIO:
        """Open the decompressed bytes for Python's own readers."""
        return cast(BinaryIO, io.BufferedReader(self._stream()))

    def _check_closed(self) -> None:
        """Raise SourceError where the file ends inside a quoted field."""
        with self._open() as stream:
            for row in rows(stream, self._delimiter):
                if not row.closed:
                    raise self._unclosed(row)

    def _has_no_rows(self) -> bool:
        """Tell whether nothing but blank lines follows the header, which Arrow takes for an error."""
        try:
            with self._open() as stream:
                return not any(row.line > self._skip for row in rows(stream, self._delimiter))
        except OSError:
            return False

    def _explain(self, error: Exception) -> SourceError:
        """Read the file again, slowly, to name the physical line of what Arrow has stumbled over."""
        bad_text = "UTF8" in str(error)
        expected = len(self.column_names)
        try:
            with self._open() as stream:
                for row in rows(stream, self._delimiter):
                    if row.line <= self._skip:
                        continue
                    if not row.closed:
                        return self._unclosed(row)
                    if row.fields != expected:
                        return self._ragged(row, expected)
                    if bad_text and (line := _first_bad_line(row)) is not None:
                        return self._not_utf8(line)
        except OSError as broken:
            return self._damaged(broken)
        if isinstance(error, OSError):
            return self._damaged(error)
        return SourceError(f"'{self.name}' cannot be read as delimited text: {first_line(error)}")

    def _unclosed(self, row: Row) -> SourceError:
        return SourceError(
            f"line {row.line} of '{self.name}' opens a quoted field that is never closed; "
            "close the quote, or double it where it is part of the text"
        )

    def _ragged(self, row: Row, expected: int) -> SourceError:
        where = f"line {row.line}"
        if row.last_line > row.line:
            where = f"the row on lines {row.line} to {row.last_line}"
        return SourceError(
            f"{where} of '{self.name}' has {row.fields} field{'s' * (row.fields != 1)} where the header has "
            f"{expected} (delimiter: {(_DELIMITERS | _RARE).get(self._delimiter, repr(self._delimiter))}); "
            "correct that row, or quote a value that holds the delimiter"
        )

    def _not_utf8(self, line: int) -> SourceError:
        return SourceError(
            f"line {line} of '{self.name}' is not UTF-8; save the file as UTF-8, "
            "for example with: iconv -f WINDOWS-1252 -t UTF-8"
        )

    def _damaged(self, error: OSError) -> SourceError:
        return damaged(self.name, self._compression, error, self._path.suffix)


def _header(head: bytes, tab_first: bool) -> tuple[Row, str]:
    """Return the header row and the delimiter that divides it into most fields."""
    usual = ["\t", *(d for d in _DELIMITERS if d != "\t")] if tab_first else list(_DELIMITERS)
    best = None
    for candidates in (usual, list(_RARE)):
        for delimiter in candidates:
            row = next(rows(io.BytesIO(head), delimiter))
            # Excel's own first line names the delimiter; the header is the one after it.
            declared = re.fullmatch(r'"?sep=(.)"?\s*', row.text)
            if declared:
                delimiter = declared[1]  # declared, so nothing is left to be found
                after = (r for r in rows(io.BytesIO(head), delimiter) if r.line > row.line)
                return next(after, row), delimiter
            if best is None or row.fields > best[0].fields:  # the first of the equal ones
                best = row, delimiter
        if best is not None and best[0].fields > 1:
            break
    assert best is not None  # noqa: S101  # there are candidates
    return best


def _first_bad_line(row: Row) -> int | None:
    """Return the physical line of a row's first byte that is not UTF-8."""
    data = row.text.encode("latin-1")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return row.line + len(re.findall(rb"\r\n|\r|\n", data[: error.start]))
    return None
