"""Delimited text in DuckDB: a view over a large regular file, else a table that the plain reader fills.

DuckDB's scanner is fast but knows regular files only, so a file is surveyed first: encoding, line ends, zero bytes and
quotes. What the scanner does not read exactly, row for row, the plain reader does.
"""

from __future__ import annotations

import codecs
import functools
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from recae.errors import ConfigError, SourceError
from recae.reading.dialect import decimal_comma, evenness, find_dialect, is_value
from recae.reading.encodings import Survey, count_lines, survey, transcoded
from recae.reading.engine import Engine, first_line, quoted, text
from recae.reading.lines import LONGEST, Dialect, first_rows, is_rule
from recae.reading.options import ReadOptions
from recae.reading.plain import PlainReader, is_total, try_split
from recae.reading.said import skipped_lines, unique_names
from recae.reading.table import Note, Table

LARGE: Final = 1 << 18
"""Bytes from which on DuckDB's scanner is tried."""
_HEAD: Final = 1 << 18  # characters that are looked at
_TAIL: Final = 1 << 16  # bytes at the end that are looked at
_COLUMNS: Final = 20_000  # that a table may have
_EVEN: Final = 0.8  # share of lines of one length from which on they are rows of a table
_SHORT: Final = 0.02  # share of rows that lack fields from which on that is no accident


def open_text(engine: Engine, path: Path, name: str, options: ReadOptions) -> Table:
    """Return the table that a file of delimited text holds; all columns are text, an empty field is null.

    Raises:
        SourceError: it is empty or no text, a line cannot be read, or its header does not fit its rows.
        ConfigError: an option does not fit it.
    """
    found = survey(path, name, options.encoding)
    head = _head_of(path, found)
    lines = [line.rstrip("\r\n") for line in io.StringIO(head, newline=found.newline)]
    if not any(line.strip() for line in lines):
        raise SourceError(f"'{name}' is empty; a header line and one row for each purchase are needed")
    complete = len(head) < _HEAD
    if not complete and len(lines) > 1:
        lines = lines[:-1]  # cut off somewhere
    delimiter = _delimiter_of(options)
    dialect = find_dialect(
        lines,
        delimiter=delimiter,
        header=options.header,
        named=bool(options.columns),
        wanted=frozenset(getattr(options, name) for name in options.names_of_columns()),
    )
    if (ragged := _ragged(engine, path, name, lines, dialect, options, found)) is not None:
        return ragged
    _check_header(name, lines, dialect)
    dialect = _padded(lines, dialect)
    return _Text(engine, path, name, options, found, dialect, lines).table()


def _delimiter_of(options: ReadOptions) -> str | None:
    """Return the delimiter that is asked for, in one of the ways in which it can be written."""
    if options.delimiter is None:
        return None
    words = {
        "tab": "\t",
        "comma": ",",
        "semicolon": ";",
        "space": " ",
        "blank": " ",
        "blanks": " ",
        "pipe": "|",
        "bar": "|",
    }
    given = words.get(options.delimiter.lower(), options.delimiter)
    if "\\" in given and len(given) > 1:
        given = given.encode("latin-1", "backslashreplace").decode("unicode_escape")
    if not given or len(given) > 4 or any(c in given for c in '"\r\n'):  # as many as DuckDB takes
        raise ConfigError(
            f"--delimiter is one to four characters such as ; or \\t, found {options.delimiter!r}: "
            "give the one between the fields"
        )
    return given


def _head_of(path: Path, found: Survey) -> str:
    with path.open("rb") as file:
        file.seek(found.bom)
        data = file.read(4 * _HEAD)
    decoder = codecs.getincrementaldecoder(found.encoding)("replace")
    return decoder.decode(data)[:_HEAD]


def _ragged(
    engine: Engine,
    path: Path,
    name: str,
    lines: list[str],
    dialect: Dialect,
    options: ReadOptions,
    found: Survey,
) -> Table | None:
    """Return the table of a file whose lines are no rows of equal length, or None where they are."""
    from recae.reading import layouts

    asked = options.layout in ("baskets", "lists")
    if not asked and (options.layout is not None or evenness(lines, dialect) >= _EVEN):
        return None
    layout = layouts.ragged_layout(lines, options)
    if layout is None:
        return None
    if not found.is_utf8 or found.bom:
        path = transcoded(engine, path, found)
    return layouts.open_lines(engine, path, name, layout, dialect if options.delimiter else None)


def _check_header(name: str, lines: Sequence[str], dialect: Dialect) -> None:
    """Raise SourceError where the header has another number of fields than the rows, or there are too many fields."""
    if dialect.width > _COLUMNS:
        raise SourceError(
            f"'{name}' has more than {_COLUMNS:,} columns, but a table of purchases has a few; "
            "write a row for each purchase"
        )
    if dialect.names is not None:
        return
    above = [row for row in first_rows(lines, dialect) if row.line <= dialect.skip]
    last = above[-1] if above else None
    if last is None or len(last.fields) < max(2, dialect.width / 2):
        return
    if not any(is_value(field.strip()) for field in last.fields):
        raise SourceError(
            f"the header of '{name}' (line {last.line}) has {len(last.fields)} fields where the rows have "
            f"{dialect.width} (delimiter: {dialect.delimiter_name}); correct it, or name the columns with --columns"
        )


def _padded(lines: Sequence[str], dialect: Dialect) -> Dialect:
    """Return the dialect, with rows that may be short where many of them are, and none is long."""
    counts = [
        len(row.fields) for row in first_rows(lines, dialect) if row.line > dialect.skip and not row.fault
    ]
    short = sum(count < dialect.width for count in counts)
    if (
        dialect.names is None
        or any(count > dialect.width for count in counts)
        or short <= _SHORT * len(counts)
    ):
        return dialect
    if short < 2:
        return dialect
    return replace(
        dialect,
        pad=True,
        notes=(*dialect.notes, "rows that are short of fields at their end have none there"),
    )


@dataclass
class _Text:
    """A file of delimited text, on its way to a table."""

    engine: Engine
    path: Path
    name: str
    options: ReadOptions
    found: Survey
    dialect: Dialect
    lines: list[str]

    def table(self) -> Table:
        """Return the table."""
        relation = self._scanned() if self.found.size >= LARGE else None
        rejected = None
        dropped: list[Note] = []
        skipped = 0
        if relation is None:
            relation, rejected, skipped, dropped = self._plain()
        dialect = self.dialect
        names, repeated = self._names()
        notes = [Note(sentence, code="layout") for sentence in dialect.notes]
        if self.found.note:
            notes.append(Note(self.found.note, code="encoding"))
        notes += repeated
        body = itertools.islice(
            (row.fields for row in first_rows(self.lines, dialect) if row.line > dialect.skip), 1000
        )
        return Table(
            name=self.name,
            engine=self.engine,
            relation=relation,
            types=dict.fromkeys(names, "VARCHAR"),
            header=dialect.names is not None,
            files=(self.path,),
            notes=(*notes, *dropped),
            decimal_comma=None if dialect.delimiter == "," else decimal_comma(body),
            skipped=skipped,
            rejected=rejected,
        )

    def _names(self) -> tuple[list[str], list[Note]]:
        dialect = self.dialect
        if dialect.names is None:
            return [str(place) for place in range(1, len(dialect.places) + 1)], []
        return unique_names(dialect.names)

    def _scanned(self) -> str | None:
        """Return a view that DuckDB's scanner reads, or None where the plain reader is needed."""
        found, dialect = self.found, self.dialect
        odd = dialect.runs or dialect.pad or dialect.width < 2 or any(map(is_rule, self.lines))
        if odd or found.has_zero or found.mixed_ends or found.damaged or found.newline != "\n":
            return None
        path = self.path if found.is_utf8 else transcoded(self.engine, self.path, found)
        begins = [self.lines[dialect.header_line - 1]] * bool(dialect.header_line) + [dialect.comment] * bool(
            dialect.comment
        )
        if self._has_footer() or any(self._comes_later(path, begin) for begin in begins):
            return None
        labels = [f"c{place}" for place in range(dialect.width)]
        kinds = ", ".join(f"'{label}': 'VARCHAR'" for label in labels)
        scan = (
            f"read_csv({text(str(path))}, auto_detect = false, header = false, skip = {dialect.skip}, "
            f"delim = {text(dialect.delimiter)}, quote = {text(dialect.quote)}, escape = {text(dialect.escape)}, "
            # each processor reads a buffer at a time; by default that would be sixteen of the longest lines
            f"max_line_size = {LONGEST}, buffer_size = {LONGEST}, columns = {{{kinds}}}, nullstr = '', "
            "compression = 'none', hive_partitioning = false)"
        )
        names, _ = self._names()
        picked = ", ".join(
            f"{labels[place]} AS {quoted(name)}" for place, name in zip(dialect.places, names, strict=True)
        )
        in_rows = found.quotes - sum(line.count('"') for line in self.lines[: dialect.skip])
        if ((in_rows or dialect.quote == "'") and dialect.quote) or self.options.bad_lines == "skip":
            if not self._holds(scan):
                return None
        else:  # lines of another length are all that it may stumble over
            self.engine.explainers.append(functools.partial(self._explain, path))
        return self.engine.view(f"SELECT {picked} FROM {scan}", "text")

    def _holds(self, scan: str) -> bool:
        """Tell whether DuckDB's scanner reads the file to its end, and quotes mean what they seem to."""
        import duckdb

        found, dialect = self.found, self.dialect
        try:
            count = self.engine.value(f"SELECT count(*) FROM {scan}")
        except duckdb.Error:
            return False
        lines, blanks = count_lines(self.path, found) if dialect.quote else (0, 0)
        blanks -= sum(not line for line in self.lines[: dialect.skip])
        if count < lines - dialect.skip - blanks:
            # line breaks inside quotes; where all lines are rows by themselves the quotes are stray
            was = f"quote = {text(dialect.quote)}, escape = {text(dialect.escape)}"
            plain = scan.replace(was, "quote = '', escape = ''")
            try:
                self.engine.value(f"SELECT count(*) FROM {plain}")
            except duckdb.Error:
                return True
            return False
        return True

    def _explain(self, path: Path, error: Exception) -> SourceError | None:
        """Return what is wrong with the file where DuckDB stumbles over it, with the line."""
        if str(path) not in str(error):
            return None
        reader = PlainReader(self.name, self.path, self.found, self.dialect, skip=False)
        try:
            for _ in reader.rows():
                pass
        except SourceError as found:
            return found
        return SourceError(f"'{self.name}' cannot be read as delimited text: {first_line(error)}")

    def _has_footer(self) -> bool:
        """Tell whether the last line is no row, or a total."""
        with self.path.open("rb") as file:
            file.seek(max(self.found.bom, self.found.size - _TAIL) // 4 * 4)
            tail = file.read().decode(self.found.encoding, "replace")
        last = next((line for line in reversed(tail.splitlines()) if line.strip()), "")
        fields = try_split(last, self.dialect)
        return fields is None or len(fields) != self.dialect.width or is_total(fields)

    def _comes_later(self, path: Path, begin: str) -> bool:
        """Tell whether a line behind the header begins with a text."""
        wanted, rest = b"\n" + begin.encode(), b""
        with path.open("rb") as file:
            for _ in range(self.dialect.skip):
                rest = file.readline()[-1:]
            while data := file.read(1 << 20):
                if wanted in rest + data:
                    return True
                rest = data[-len(wanted) :]
        return False

    def _plain(self) -> tuple[str, str | None, int, list[Note]]:
        """Return a table that the plain reader fills, and what it left out."""
        reader = PlainReader(self.name, self.path, self.found, self.dialect, self.options.bad_lines == "skip")
        names, _ = self._names()
        relation = reader.stored(self.engine, names)
        self.dialect = reader.dialect
        rejected, said = skipped_lines(self.engine, reader.rejected)
        return relation, rejected, len(reader.rejected), [*reader.notes(), *said]
