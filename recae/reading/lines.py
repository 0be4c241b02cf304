"""`rows`: delimited text row by row, as a `Dialect` says that it is written; the number of each line is known."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

NAMES: Final = {
    "\t": "tab", "::": "two colons", "\x01": "control character 1", "\x1f": "control character 31", ";": "semicolon",
    "|": "vertical bar", ",": "comma", "^": "caret", "~": "tilde", ":": "colon", " ": "space",
}  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written.

    Attributes:
        delimiter: between fields; " " with `runs` for one blank or more.
        width: fields a row.
        quote: around fields that hold delimiters; "" where quotes are plain text.
        escape: before a quote inside quotes: a quote, or a backslash.
        runs: whether blanks next to each other count as one; a number of blanks that there must be, or 0.
        skip: physical lines before the first row of data.
        names: of the columns as the header writes them; None without a header.
        places: the fields of a row that become columns.
        comment: what begins a line that is no row; "" for nothing.
        pad: whether rows may be short of fields at their end.
        notes: sentences on what was found.
        header_line: physical line of the header, from 1; 0 without.
    """

    delimiter: str
    width: int
    quote: str = '"'
    escape: str = '"'
    runs: int = 0
    skip: int = 0
    names: tuple[str, ...] | None = None
    places: tuple[int, ...] = ()
    comment: str = ""
    pad: bool = False
    notes: tuple[str, ...] = ()
    header_line: int = 0

    @property
    def delimiter_name(self) -> str:
        """The delimiter in words."""
        return "blanks" if self.runs else NAMES.get(self.delimiter, repr(self.delimiter))


class StrayQuoteError(Exception):
    """Text follows a closing quote."""


def split(line: str, dialect: Dialect) -> list[str] | None:
    """Return the fields of a row, or None where it ends inside a quoted field.

    Blanks around quotes do not count. A quote inside a field that does not begin with one is text.

    Raises:
        StrayQuoteError: text follows a closing quote.
    """
    if dialect.runs:
        if not dialect.quote or dialect.quote not in line:
            return re.split(rf"[ \t]{{{dialect.runs},}}", line.strip(" \t"))
        return _split_quoted(re.sub(r'[ \t]+(?=(?:[^"]*"[^"]*")*[^"]*$)', " ", line.strip(" \t")), dialect)
    if not dialect.quote or dialect.quote not in line:
        return line.split(dialect.delimiter)
    return _split_quoted(line, dialect)


def _split_quoted(line: str, dialect: Dialect) -> list[str] | None:
    delimiter, quote = dialect.delimiter, dialect.quote
    backslash = dialect.escape == "\\"
    fields: list[str] = []
    position, size, blank = 0, len(line), "" if delimiter == " " else " "
    while True:
        start = position
        while blank and line.startswith(blank, start):
            start += 1
        if not line.startswith(quote, start):
            end = line.find(delimiter, position)
            if end < 0:
                fields.append(line[position:])
                return fields
            fields.append(line[position:end])
            position = end + len(delimiter)
            continue
        end = start + 1
        while True:
            end = line.find(quote, end)
            if end < 0:
                return None
            if backslash and (end - len(line[start + 1 : end].rstrip("\\")) - start - 1) % 2:
                end += 1
            elif line.startswith(quote, end + 1) and not backslash:
                end += 2
            else:
                break
        value = line[start + 1 : end]
        fields.append(re.sub(r"\\(.)", r"\1", value) if backslash else value.replace(quote * 2, quote))
        end += 1
        while blank and line.startswith(blank, end):
            end += 1
        if end == size:
            return fields
        if not line.startswith(delimiter, end):
            raise StrayQuoteError
        position = end + len(delimiter)


@dataclass(frozen=True)
class Row:
    """A row of delimited text.

    Attributes:
        line, last_line: its first and last physical line, from 1.
        fields: of it.
        text: as it is written, without the line end.
        fault: "" or what is wrong with it: "stray" text after a closing quote, or a quote that stays "open".
        swallowed: whether a quoted field of it holds lines that look like rows themselves.
    """

    line: int
    last_line: int
    fields: list[str]
    text: str
    fault: str = ""
    swallowed: bool = False


LONGEST: Final = 1 << 24
"""Characters of the longest row."""
_ENOUGH: Final = 20  # rows that show how a text is written


def rows(lines: Iterable[str], dialect: Dialect, number: int = 0) -> Iterator[Row]:
    """Yield the rows of a text; blank lines, comments and lines that are drawn are none.

    Args:
        lines: physical lines, with or without their ends.
        dialect: how they are written.
        number: physical lines before the first of these.
    """
    source = _Lines(iter(lines))
    comment = dialect.comment
    plain = not dialect.quote
    quote, delimiter, runs = dialect.quote, dialect.delimiter, dialect.runs
    ruled = bool(runs) or delimiter == "|"
    for raw in source:
        number += 1
        line = raw.rstrip("\r\n")
        if not line or (line.isspace() and (runs or delimiter not in line)):
            continue
        if (comment and line.startswith(comment)) or (ruled and is_rule(line)):
            continue
        if not runs and (plain or quote not in line):
            yield Row(number, number, line.split(delimiter), line)
            continue
        parts, fault, fields = [raw], "", None
        try:
            fields = split(line, dialect)
            length = len(line)
            while fields is None and length <= LONGEST and (more := next(source, None)) is not None:
                parts.append(more)
                length += len(more)
                if quote in more:  # which alone can close the field
                    fields = split("\n".join(_unended(parts)), dialect)
            fault = "" if fields is not None else "open"
        except StrayQuoteError:
            fault = "stray"
        if fault or fields is None:
            source.give_back(parts[1:])  # they may be rows of their own
            yield Row(number, number, line.split(delimiter), line, fault)
            continue
        inside = parts[1:]
        swallowed = bool(inside) and all(part.count(delimiter) == dialect.width - 1 > 0 for part in inside)
        last = number + len(inside)
        yield Row(number, last, fields, "\n".join(_unended(parts)), swallowed=swallowed)
        number = last


def is_rule(line: str) -> bool:
    """Tell whether a line is drawn between the header and the rows, such as ----+----."""
    return ("--" in line or "==" in line) and not line.strip(" \t|+:-=")


def first_rows(lines: Iterable[str], dialect: Dialect, number: int = 0) -> list[Row]:
    """Return the rows of the first lines of a text, as `rows`; not those behind a quote that their end leaves open."""
    found = list(rows(lines, dialect, number))
    cut = next((place for place, row in enumerate(found) if row.fault == "open"), len(found))
    return found[:cut] if cut >= _ENOUGH else found


class _Lines:
    """Lines, of which some may be given back."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source, self._back = source, collections.deque[str]()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return self._back.popleft() if self._back else next(self._source)

    def give_back(self, lines: Sequence[str]) -> None:
        """Let lines come next."""
        self._back.extendleft(reversed(lines))


def _unended(parts: list[str]) -> list[str]:
    """Return lines of a row without the ends that joining gives back; those inside a field stay as they are."""
    return [part.removesuffix("\n") for part in parts[:-1]] + [parts[-1].rstrip("\r\n")]
