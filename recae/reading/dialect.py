"""`find_dialect`: how delimited text is written, by its first lines, and which of them is the header."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from recae.reading.lines import Dialect, Row, first_rows, split
from recae.reading.table import MISSING

_USUAL: Final = ("\t", "::", "\x01", "\x1f", ";", "|", ",")
_RARE: Final = ("^", "~", ":", " ")
_ROWS: Final = 1_000  # that are looked at
_CHARACTERS: Final = 1 << 18  # of text that is looked at
_GOOD: Final = 0.3  # quality of a delimiter from which on no rare one is tried
_NUMBER: Final = re.compile(r"[-+]?[$€£]?\d[\d.,' ]*(?:[eE][-+]?\d+)?%?|[-+]?[.,]\d+")
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d{1,3}(?:\.?\d{3})*,\d+")
_DATE: Final = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ].*)?|\d{1,2}:\d{2}(?::\d{2}.*)?|\d{4}年.*")
_HINT: Final = re.compile(
    r"(?:^|[\W_])(?:id|user|customer|client|member|buyer|visitor|item|product|article|asin|isbn|sku|order|date|time|"
    r"timestamp|qty|quantity|amount|count|price|rating|score|name|title|email|event|category|kunde|artikel|datum|"
    r"menge|fecha|cliente|produit|produkt|prodotto|articulo|article|invoice|transaction)(?:$|[\W_])|(?:id|Id|ID|Key|No|Nr)$"
)


def find_dialect(
    lines: Sequence[str],
    *,
    delimiter: str | None = None,
    header: bool | None = None,
    named: bool = False,
    wanted: frozenset[str] = frozenset(),
) -> Dialect:
    """Return how a text is written, judged by its first lines.

    Args:
        lines: physical lines without their ends, at least one that is not blank.
        delimiter: where it is known.
        header: whether there is a header, where that is known.
        named: whether somebody names the columns, so that a header must be certain.
        wanted: names of columns that somebody asks for: a first row that holds them is a header.
    """
    declared = re.fullmatch(r'\ufeff?"?sep=(.)"?\s*', lines[0])
    skipped = 1 if declared else 0
    if declared and delimiter is None:
        delimiter = declared[1]
    lines = _first(lines[skipped:])
    comment = _comment_of(lines)
    body = [line for line in lines if not comment or not line.startswith(comment)]
    dialect = find_delimiter(body, delimiter)
    dialect = replace(dialect, comment=comment)
    found = first_rows(lines, dialect, skipped)
    widest = len(found[0].fields) if found else 0
    if (
        widest > dialect.width
        and _is_names(found[0].fields)
        and max(len(row.fields) for row in found[1:]) == widest
        and header is not False
    ):  # most rows lack their last fields
        dialect = replace(dialect, width=widest)
    first = next((row.line for row in found if len(row.fields) == dialect.width), skipped + 1)
    commented = _commented_header(lines, dialect, first - skipped, skipped)
    if header is None and any(
        not name.isdecimal() for name in wanted
    ):  # numbers are names where there is none
        top = next((row.fields for row in found if len(row.fields) == dialect.width), [])
        header = True if wanted <= {field.strip() for field in top} else None
    return shape_of(found, replace(dialect, skip=skipped), header, commented, named)


def _first(lines: Sequence[str]) -> list[str]:
    """Return the first lines, so many that looking at them stays cheap."""
    chosen: list[str] = []
    left = _CHARACTERS
    for line in itertools.islice(lines, _ROWS):
        chosen.append(line)
        left -= len(line)
        if left < 0 and len(chosen) > 20:
            break
    return chosen


def _comment_of(lines: Sequence[str]) -> str:
    """Return what begins comments: # or % where the text begins with such a line."""
    first = next((line for line in lines if line.strip()), "")
    return first[0] if first[:1] in ("#", "%") else ""


def find_delimiter(lines: Sequence[str], delimiter: str | None = None) -> Dialect:
    """Return a dialect with delimiter, quotes and width, as they divide the lines most evenly."""
    if delimiter is not None:
        runs = delimiter == " " and any("  " in line.strip() for line in lines)
        return _measure(lines, Dialect(delimiter, 0, runs=int(runs)))[1]
    tried = [_measure(lines, Dialect(one, 0)) for one in _USUAL if any(one in line for line in lines)]
    best = max(tried, key=lambda found: found[0], default=(0.0, Dialect(",", 1)))
    if best[0] >= _GOOD:
        return best[1]
    rare = [_measure(lines, Dialect(one, 0)) for one in _RARE if any(one in line.strip() for line in lines)]
    if any("  " in line.strip() or "\t" in line for line in lines):
        wide = _measure(lines, Dialect(" ", 0, runs=2))
        # a single blank may be part of a text where columns are set apart by more
        near = _measure(lines, Dialect(" ", 0, runs=1))
        even = evenness(lines, wide[1]) if wide[1].width > 1 else 0.0
        rare.append((1.0, wide[1]) if even >= max(0.9, evenness(lines, near[1])) else near)
    return max([best, *rare], key=lambda found: found[0])[1]


def _measure(lines: Sequence[str], dialect: Dialect) -> tuple[float, Dialect]:
    """Return how well a delimiter divides lines, and the dialect with its quotes and width."""
    found = first_rows(lines, dialect)
    if any(row.fault or row.swallowed for row in found[:-1]):
        for other in other_quotes(dialect, next(row for row in found if row.fault or row.swallowed).line):
            again = first_rows(lines, other)
            if any(row.fault or row.swallowed for row in again[:-1]) or _share(again) < _share(found):
                continue
            begin, end = map(sum, zip(*(loose_quotes(row.fields) for row in again), strict=True))
            if other.quote or end <= begin // 2 or any(row.last_line - row.line > LONG for row in found):
                dialect, found = other, again
                break
    single = re.compile(
        rf"(?:^|{re.escape(dialect.delimiter)})'(?:[^']|'')*'(?={re.escape(dialect.delimiter)}|$)"
    )
    if not dialect.runs and sum(single.search(line) is not None for line in lines) > 0.5 * len(lines):
        other = replace(dialect, quote="'", escape="'")
        again = first_rows(lines, other)
        if not any(row.fault for row in again[:-1]) and _share(again) >= _share(found):
            dialect, found = other, again
    counts = Counter(len(row.fields) for row in found if not row.fault)
    if not counts:
        return 0.0, replace(dialect, width=1)
    width = max(counts, key=lambda count: (counts[count], count))
    if width < 2:
        # an odd line of one field among few rows must not hide the rest
        return 0.0, replace(dialect, width=1)
    share = counts[width] / counts.total()
    others = [one for one in _USUAL if one != dialect.delimiter]
    cells = [cell for row in found if len(row.fields) == width for cell in row.fields]
    clean = sum(
        _DECIMAL_COMMA.fullmatch(cell.strip()) is not None or not any(one in cell for one in others)
        for cell in cells
    )
    # cells that hold another delimiter speak against this one, but texts do so often
    quality = share * (1 - 1 / width) * (0.4 + 0.6 * clean / len(cells))
    if dialect.delimiter == " " and not dialect.runs:
        quality *= sum(map(bool, cells)) / len(cells)
    return quality, replace(dialect, width=width)


def other_quotes(dialect: Dialect, line: int) -> Iterator[Dialect]:
    """Yield how quotes may be meant where a line contradicts that they are doubled inside quoted fields."""
    said = "a backslash stands before quotes inside quoted fields"
    yield replace(dialect, escape="\\", notes=(*dialect.notes, said))
    said = f"quotes are plain text, since the one on line {line} is never closed or has text behind it"
    yield replace(dialect, quote="", escape="", notes=(*dialect.notes, said))


LONG: Final = 4
"""Line breaks that a field between quotes may have where each of its lines would be a row by itself."""


def loose_quotes(fields: Sequence[str]) -> tuple[int, int]:
    """Return how many fields begin with a quote and do not end with one, and how many the other way round.

    Quotes that are part of a text begin fields, or end them; those around fields do both as often.
    """
    begin = end = 0
    for field in fields:
        begins, ends = field.startswith('"'), len(field) > 1 and field.endswith('"')
        begin += begins
        end += ends
    return begin, end


def _share(found: Sequence[Row]) -> float:
    """Return the share of rows that have the most frequent number of fields."""
    counts = Counter(len(row.fields) for row in found if not row.fault)
    return max(counts.values(), default=0) / max(len(found), 1)


def evenness(lines: Sequence[str], dialect: Dialect) -> float:
    """Return the share of rows that have as many fields as the dialect says."""
    found = first_rows(_first(lines), dialect)
    return sum(len(row.fields) == dialect.width for row in found) / max(len(found), 1)


def shape_of(
    found: Sequence[Row],
    dialect: Dialect,
    header: bool | None,
    commented: tuple[tuple[str, ...], int] | None = None,
    named: bool = False,
) -> Dialect:
    """Return a dialect with what stands before the rows, the header, and the fields that are columns.

    Args:
        found: the first rows.
        dialect: their delimiter and width.
        header: whether there is a header, where that is known.
        commented: a header that is written as a comment, and its line.
        named: whether somebody names the columns, so that a header must be certain.
    """
    width = dialect.width
    whole = [n for n, row in enumerate(found) if len(row.fields) == width and not row.fault]
    if not whole:
        return replace(dialect, places=tuple(range(width)))
    first = whole[0] if header is False else _below_title(found, whole)
    notes: list[str] = []
    body = [row.fields for row in found[first:] if len(row.fields) == width]
    before = list(found[:first])
    names: tuple[str, ...] | None = None
    places = tuple(range(width))
    header_line = 0
    start = found[first].line - 1  # physical lines before the first row of data
    above = before[-1].fields if before and header is not False else []
    if len(above) == width - 1 > 0 and _is_names(above):
        if all(not row[-1].strip() for row in body):
            places = places[:-1]
        else:
            places = places[1:]
            notes.append("each row begins with its name, which the header lacks; it is left out")
        names, header_line = tuple(above), before.pop().line
    elif len(above) == width + 1 and not above[-1].strip() and _is_names(above[:-1]):
        names, header_line = tuple(above[:-1]), before.pop().line
    elif header is not False and commented is not None:
        names, header_line = commented
    elif header or (header is None and _likeness(body[0], body[1:]) >= (0.1 if named else 0)):
        names, header_line = tuple(body.pop(0)), found[first].line
        start = found[first].last_line
    if len(places) == width:
        places = _filled(names or (), places, body)
        names = names and tuple(names[place] for place in places)
    if before:
        notes.append(_left_out([row.line for row in before]))
    return replace(
        dialect,
        skip=start,
        names=names,
        places=places,
        notes=(*dialect.notes, *notes),
        header_line=header_line,
    )


def _below_title(found: Sequence[Row], whole: Sequence[int]) -> int:
    """Return the first row of the table: below rows that are as wide but mostly empty, and above which is no header."""
    filled = [sum(bool(field.strip()) for field in found[place].fields) for place in whole]
    usual = sorted(filled)[len(filled) // 2]
    for number, place in enumerate(whole[:10]):
        if filled[number] >= 0.6 * usual:
            body = [found[other].fields for other in whole[number + 1 :]]
            header = number and _is_names(found[place].fields) and _likeness(found[place].fields, body) > 0
            return place if header else whole[0]
    return whole[0]


def _filled(names: Sequence[str], places: tuple[int, ...], body: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """Return the fields that are columns.

    Those have no name and no value that stand beside delimiters at the ends of lines. Numbers that programs put before
    each row are none either.
    """
    last = len(places) - 1
    chosen = [
        place
        for place in places
        if (names[place].strip() if names else place not in (0, last))
        or any(row[place].strip() for row in body)
    ]
    if names and names[0].strip() in ("", "Unnamed: 0") and _counts_up([row[0].strip() for row in body]):
        chosen.remove(0)
    return tuple(chosen) or places


def _left_out(lines: Sequence[int]) -> str:
    """Return what to say of lines before the table."""
    if len(lines) == 1:
        return f"line {lines[0]} stands before the table and is left out"
    return f"lines {lines[0]} to {lines[-1]} stand before the table and are left out"


def _counts_up(cells: Sequence[str]) -> bool:
    """Tell whether cells are numbers in steps of one, which programs write before rows."""
    if len(cells) < 2 or not all(cell.isdecimal() for cell in cells):
        return False
    return all(int(two) - int(one) == 1 for one, two in itertools.pairwise(cells))


def _is_names(fields: Sequence[str]) -> bool:
    """Tell whether fields may be names of columns: none is a number or a date."""
    return all(field.strip() and not is_value(field.strip()) for field in fields)


def _commented_header(
    lines: Sequence[str], dialect: Dialect, before: int, skipped: int
) -> tuple[tuple[str, ...], int] | None:
    """Return a header that is written as a comment, the last one before the rows, and its line."""
    if not dialect.comment:
        return None
    for number in range(min(before - 1, len(lines)), 0, -1):
        line = lines[number - 1]
        if line.startswith(dialect.comment):
            fields = split(line.lstrip(dialect.comment + " "), dialect) or []
            fits = len(fields) == dialect.width > 1 and _is_names(fields)
            return (tuple(fields), number + skipped) if fits else None
    return None


def is_value(cell: str) -> bool:
    """Tell whether a cell is a number or a date, which names of columns rarely are."""
    return _NUMBER.fullmatch(cell) is not None or _DATE.fullmatch(cell) is not None


def _pattern(cell: str) -> str:
    """Return the kinds of characters in a cell: 9 for digits, a for letters."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", cell))


def _likeness(first: Sequence[str], body: Sequence[Sequence[str]]) -> float:
    """Return how much a row is unlike the rows below it, column by column: below 0 it is one of them, above a header.

    Args:
        first: the row in question.
        body: the rows below it.
    """
    body = [row for row in body if list(row) != list(first)]  # a header may come again
    score = 0.0
    for place, name in enumerate(first):
        name = name.strip()
        cells = [row[place].strip() for row in body if place < len(row) and row[place].strip()]
        if not name or name.lower() in MISSING:
            continue
        if not cells:
            score += -1 if is_value(name) else 1 if _HINT.search(name) else 0
            continue
        distinct = set(cells)
        values = sum(map(is_value, cells)) / len(cells)
        if name in distinct:
            score -= 1
        elif values >= 0.9:  # a few may be missing markers
            small = len(distinct) <= 3 and len(cells) > 10 * len(distinct)  # as 0 and 1
            score += 1 if small or not is_value(name) else -1
        else:
            if is_value(name):
                score -= 1
                continue
            shapes = Counter(map(_pattern, cells))
            shape, count = shapes.most_common(1)[0]
            if count >= 0.8 * len(cells):
                score += -0.5 if _pattern(name) == shape else 0.5
            if _HINT.search(name):
                score += 1
    return score


def decimal_comma(body: Iterable[Sequence[str]]) -> bool | None:
    """Tell whether numbers are written with a decimal comma; None where nothing tells."""
    commas = points = 0
    for row in body:
        for cell in row:
            cell = cell.strip()
            commas += re.fullmatch(r"[-+]?\d+(?:\.\d{3})*,\d+", cell) is not None
            points += re.fullmatch(r"[-+]?\d+(?:,\d{3})*\.\d+", cell) is not None
    return None if (commas > 0) == (points > 0) else commas > 0
