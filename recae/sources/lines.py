"""Rows of delimited text with their physical line numbers: to read a header, or to say what is wrong."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BOM = "\xef\xbb\xbf"  # the UTF-8 byte order mark, read as Latin-1


@dataclass(frozen=True)
class Row:
    """One row of a delimited text.

    Attributes:
        line: number of its first physical line, from 1.
        last_line: number of its last physical line; larger where a quoted field holds line breaks.
        fields: how many fields it has.
        text: its bytes as Latin-1 (one character a byte, whatever they mean), with the line end.
        closed: False where the text ends inside a quoted field.
    """

    line: int
    last_line: int
    fields: int
    text: str
    closed: bool


def rows(stream: BinaryIO, delimiter: str) -> Iterator[Row]:
    """Yield the rows of a text that are not blank, by the rules of Arrow's CSV reader.

    A quote opens a quoted field only at the beginning of a field; a doubled quote inside stands for one;
    lines end with LF, CR LF or CR. The bytes are not decoded, so that broken UTF-8 cannot stop the count.
    """
    # Latin-1 maps every byte to one character and back.
    lines = io.TextIOWrapper(stream, encoding="latin-1", newline="")
    parts: list[str] = []
    number, first, fields, quoted = 0, 1, 1, False
    for number, line in enumerate(lines, 1):
        if number == 1:
            line = line.removeprefix(_BOM)  # the mark is no part of the first field
        if not quoted:
            if not line.strip("\r\n"):
                continue
            first, fields, parts = number, 1, []
        parts.append(line)
        delimiters, quoted = _scan(line, delimiter, quoted)
        fields += delimiters
        if not quoted:
            yield Row(first, number, fields, "".join(parts), closed=True)
    if quoted:
        yield Row(first, number, fields, "".join(parts), closed=False)


def _scan(line: str, delimiter: str, quoted: bool) -> tuple[int, bool]:
    """Count the delimiters of a physical line outside quotes, and tell whether it ends inside them.

    Args:
        quoted: whether the line begins inside a quoted field.
    """
    if not quoted and '"' not in line:
        return line.count(delimiter), False
    count, position = 0, 0
    if not quoted and line.startswith('"'):
        quoted, position = True, 1
    while True:
        if quoted:
            position = line.find('"', position)
            if position < 0:
                return count, True
            if line.startswith('"', position + 1):
                position += 2
                continue
            quoted = False
            position += 1
        position = line.find(delimiter, position)
        if position < 0:
            return count, False
        count += 1
        position += 1
        if line.startswith('"', position):
            quoted = True
            position += 1
