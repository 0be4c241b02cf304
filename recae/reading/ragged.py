"""Lines that are no rows of equal length: a basket a line, or a user and the items, or more columns before these."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recae.reading import hints
from recae.reading.cells import stripped
from recae.reading.engine import Engine, quoted, text
from recae.reading.options import ReadOptions
from recae.reading.table import BLANKS, Note, Table

_DELIMITERS: Final = ("\t", ";", "|", ",", " ")
_EVEN: Final = 0.8  # share of lines of one length from which on they are rows of a table
_NEARLY: Final = 0.95  # likewise, where somebody says that they are none
_LONG: Final = 60  # letters that names of items do not have on average
_SAME: Final = 0.99  # share of different users from which on each line is one
_AGAIN: Final = 1.5  # times that an item occurs on average, at least
_MIXED: Final = 0.5  # share of the items that stand at different places of different lines, at least
_ENOUGH: Final = 20  # lines that are needed where vocabularies are compared
_LINE: Final = 32 << 20  # bytes of a line
_NEVER: Final = "\x1d\x1e\x1f\x1d"  # a delimiter that no line has
_SPACE: Final = r"\s+"
_DATE: Final = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([ T].*)?")
_ODD: Final = re.compile(r"[-+]?\d+[.,]\d+|\d+:[\d.]+|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|\d{1,2}:\d{2}(:\d{2})?")


@dataclass(frozen=True)
class _Lines:
    """How lines are laid out.

    Attributes:
        delimiter: between their parts; a blank stands for any number of blanks.
        prefix: names of the columns before the items.
        item: the name of the items.
        header: whether the first line holds these names.
    """

    delimiter: str
    prefix: tuple[str, ...] = ()
    item: str = "item"
    header: bool = False

    @property
    def layout(self) -> str:
        """As `Table.layout`."""
        return "lists" if any(map(hints.is_user, self.prefix)) else "baskets"


def ragged_layout(lines: Sequence[str], options: ReadOptions) -> str | None:
    """Return how lines are laid out that are no rows of equal length.

    Args:
        lines: the first ones of a file, without their ends.
        options: the layout and the delimiter, where somebody says them.

    Returns:
        "baskets", "lists" (the first field is the user), or None where the lines are rows, or may be something else.
    """
    if options.layout in {"rows", "matrix"}:
        return None
    found = _laid_out(lines, options.delimiter, options.layout)
    return None if found is None else options.layout or found.layout


def _laid_out(lines: Sequence[str], delimiter: str | None, asked: str | None) -> _Lines | None:
    """Return how lines are laid out; None where they are rows, or may be something else."""
    own = _delimiter_of(lines, delimiter)
    raw = _fields(lines, own)
    if len(raw) < 2:
        return None
    names = _header(raw)
    raw = raw[bool(names) :]
    item = names[-1] if names and hints.is_item(names[-1]) else "item"
    even = Counter(map(len, raw)).most_common(1)[0][1] / len(raw)  # padded lines are of one length
    if asked is not None:
        without = () if asked == "baskets" else _prefix(raw) or ("user",)
        prefix = names[:-1] if names else without
        return None if even > _NEARLY else _Lines(own, prefix, item, bool(names))
    if even >= _EVEN or len(raw) < 5 or (own == " " and not _is_id(_flat(raw)) and _is_prose(raw)):
        return None
    before = names[:-1] if names else _prefix(raw)
    if before is None:
        return None
    found = _Lines(own, before, item, bool(names))
    return found if _are_items([_filled(line[len(before) :]) for line in raw], bool(before)) else None


def _prefix(raw: list[list[str]]) -> tuple[str, ...] | None:
    """Return the names of the columns before the items; None where it is not clear what they are."""
    firsts = [line[0] for line in raw]
    rest = _flat(_filled(line[1:]) for line in raw)
    if (
        len(set(firsts)) >= _SAME * len(firsts)
        and len(rest) >= _AGAIN * len(set(rest))
        and _is_id(firsts) >= _is_id(rest)
    ):
        return ("user",)
    names: list[str] = []
    for place in range(4):
        longer = [line for line in raw if len(line) > place + 1]
        here = [line[place] for line in longer]
        if here and all(map(_DATE.fullmatch, here)):
            names.append("date")
            continue
        behind = set(_flat(line[place + 1 :] for line in longer))
        if len(here) < _ENOUGH or sum(part in behind for part in here) > 0.02 * len(here):
            break
        if not _is_id(here):
            return None
        names.append("user")
    return tuple(names) if len(set(names)) == len(names) else None


def _are_items(baskets: list[list[str]], owned: bool) -> bool:
    """Tell whether the values of lines are items.

    Args:
        baskets: the parts of each line.
        owned: whether a user is before them, so that ids need not be mixed: they may be in order.
    """
    places: dict[str, set[int]] = {}
    for line in baskets:
        for place, part in enumerate(line):
            places.setdefault(part, set()).add(min(place, 2))
    parts = _flat(baskets)
    if not parts or sum(map(len, parts)) > _LONG * len(parts) or any(map(_ODD.fullmatch, parts[:10_000])):
        return False
    beside = _flat(line for line in baskets if len(line) > 1)
    mixed = sum(len(places[part]) > 1 for part in beside) >= _MIXED * len(beside) > 0
    return (mixed or (owned and _is_id(parts))) and len(parts) >= _AGAIN * len(places)


def _is_prose(raw: list[list[str]]) -> bool:
    """Tell whether words apart by blanks may be a text: with stops, with words twice in a line, and new ones always."""
    words = _flat(raw)
    stops = sum(bool(re.search(r"[.,;:!?)]$", word)) for word in words)
    twice = sum(len(set(line)) < len(line) for line in raw)
    return (
        len(raw) < _ENOUGH
        or stops > 0.02 * len(words)
        or twice > 0.01 * len(raw)
        or len(words) < 3 * len(set(words))
    )


def _flat(lines: Iterable[Sequence[str]]) -> list[str]:
    """Return the parts of all lines."""
    return [part for line in lines for part in line]


def _filled(line: Sequence[str]) -> list[str]:
    """Return the parts of a line that are not empty."""
    return [part for part in line if part]


def _is_id(parts: Sequence[str]) -> bool:
    """Tell whether nearly all parts are ids: without blanks, and with a digit."""
    return sum(bool(re.fullmatch(r"\S*\d\S*", part)) for part in parts) >= 0.95 * len(parts)


def _header(raw: list[list[str]]) -> tuple[str, ...]:
    """Return the first line where it names what the others hold, such as "user items"; else nothing."""
    first = raw[0]
    known = (hints.is_user, hints.is_basket, hints.is_item, hints.is_item_list, hints.is_time)
    if not (hints.is_item(first[-1]) or hints.is_item_list(first[-1])) or len(set(first)) < len(first):
        return ()
    named = all(any(is_known(name) for is_known in known) for name in first)
    later = set(_flat(raw[1:]))
    return tuple(first) if named and not later & set(first) else ()


def _delimiter_of(lines: Sequence[str], given: str | None = None) -> str:
    """Return what stands between the parts of lines: what is given, or what most of them have."""
    if given:
        return " " if given.isspace() and given != "\t" else given
    filled = [line for line in lines if line.strip()]
    counts = {mark: sum(mark in line.strip() for line in filled) for mark in _DELIMITERS}
    best = max(_DELIMITERS[:-1], key=lambda mark: counts[mark])
    if counts[best] >= max(1, 0.3 * len(filled)):
        return best
    return " " if counts[" "] else ","


def _fields(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the parts of each line that is not empty; quotes around them do not count."""
    filled = [line for line in lines if line.strip(BLANKS)]
    if delimiter == " ":
        return [line.split() for line in filled]
    if len(delimiter) > 1:
        found: Sequence[list[str]] = [line.split(delimiter) for line in filled]
    elif any('"' in line for line in filled):
        found = list(csv.reader(filled, delimiter=delimiter, skipinitialspace=True))
    else:
        found = [line.split(delimiter) for line in filled]
    return [[part.strip(BLANKS) for part in line] for line in found]


def _parts_of(line: str, delimiter: str, head: Sequence[str]) -> str:
    """Return the SQL of the list of a line's parts, without blanks and quotes around them.

    Args:
        line: its SQL.
        delimiter: between the parts; a blank stands for any number of blanks.
        head: the first lines, which tell whether parts stand in quotes.
    """
    if delimiter == " ":
        found = f"CASE WHEN contains({line}, chr(9)) THEN string_split_regex({line}, {text(_SPACE)}) "
        found += f"ELSE string_split({line}, ' ') END"
    elif len(delimiter) == 1 and any('"' in each for each in head):
        inside = re.escape(delimiter)
        field = rf'(?:^|{inside})\s*("(?:[^"]|"")*"|[^{inside}]*)'
        bare = """replace(part[2:-2], '""', '"')"""
        found = f"regexp_extract_all({line}, {text(field)}, 1)"
        found = f"list_transform({found}, lambda part: CASE WHEN part LIKE '\"%\"' THEN {bare} ELSE part END)"
    else:
        found = f"string_split({line}, {text(delimiter)})"
    return f"list_filter({found}, lambda part: part <> '')" if delimiter == " " else stripped(found, line)


def open_lines(engine: Engine, path: Path, name: str, layout: str, dialect: Any = None) -> Table:
    """Return the rows of a file each line of which is a basket, or a user and the items.

    Args:
        engine: reads it.
        path: text in UTF-8.
        name: what to call it in messages.
        layout: "baskets" or "lists".
        dialect: with the attribute `delimiter`, which counts where lines cannot be told otherwise.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = [line.rstrip("\r\n") for line in file.readlines(1 << 20)]
    given = getattr(dialect, "delimiter", None)
    ways = (_laid_out(head, mark, asked) for asked in (None, layout) for mark in (None, given))
    found = next((way for way in ways if way is not None), _Lines(given or _delimiter_of(head)))
    prefix = ("user",) if layout == "lists" and not found.prefix else found.prefix
    lines = engine.view(
        f"SELECT ltrim(line, chr(65279)) AS line FROM read_csv({text(str(path))}, auto_detect = false, header = false, "
        f"columns = {{'line': 'VARCHAR'}}, delim = {text(_NEVER)}, quote = '', escape = '', "
        f"max_line_size = {_LINE}, buffer_size = {_LINE}, skip = {int(found.header)})",
        "lines",
    )
    user = next((place for place, column in enumerate(prefix) if hints.is_user(column)), None)
    ordered = any(hints.is_basket(column) for column in prefix)
    numbered = not ordered and (user is None or _come_again(head, found, user))
    number = ", row_number() OVER () AS basket" if numbered else ""
    sql = f"SELECT line{number} FROM {lines} WHERE trim(line) <> ''"
    parts = _parts_of("line", found.delimiter, head)
    sql = f"SELECT {parts} AS parts{', basket' if numbered else ''} FROM ({sql})"
    picked = [f"rtrim(parts[{place}], ':') AS {quoted(column)}" for place, column in enumerate(prefix, 1)]
    picked.append(
        f"unnest(list_filter(parts[{len(prefix) + 1}:], lambda part: part <> '')) AS {quoted(found.item)}"
    )
    picked += ["basket"] if numbered else []
    view = engine.view(f"SELECT {', '.join(picked)} FROM ({sql})", "rows")
    alone = user is None
    note = f"each line holds {', '.join(prefix)} and a list of items" if prefix else "each line is a basket"
    return Table(
        name,
        engine,
        view,
        engine.describe(view),
        files=(path,),
        notes=(Note(note + "; each basket stands for a user" * alone, code="layout"),),
        layout=layout,
        basket_is_user=alone,
    )


def _come_again(head: Sequence[str], found: _Lines, place: int) -> bool:
    """Tell whether users have several lines."""
    users = [line[place] for line in _fields(head, found.delimiter)[found.header :] if len(line) > place]
    return len(set(users)) < _SAME * len(users)
