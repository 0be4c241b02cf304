"""Items spread over columns: numbered ones such as "Item 1", "Item 2", …, and a column an item (one-hot, or counts)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from recae.reading import hints
from recae.reading.engine import quoted, text
from recae.reading.table import MISSING, Table

_SAMPLE: Final = 20_000
_CELLS: Final = 1_000_000  # looked at in a matrix, which may have thousands of columns
_YES: Final = ("true", "t", "yes", "y", "x", "ja", "j", "oui", "si", "sí", "✓", "✔")
_NO: Final = ("false", "f", "no", "n", "nein", "non", "0", "0.0", "0,0")
_NUMBERED: Final = re.compile(r"^(?P<stem>.*?)[\s_.\-#(\[]*(?P<number>\d+)[)\]]*$")
_FLAG: Final = re.compile(
    r"^(is|has|was|flag|active|churn|target|label|gender|age|year|month|day|dow|hour|week)(_|$)"
)
_ENOUGH: Final = 20  # rows by which a user who is there once is told
_ANSWERS: Final = 10  # more values than these are no answers or ratings
_FIRST: Final = 20  # rows by which columns of text are told from those that may be numbers
_NUMERIC: Final = re.compile(r"[-+]?[\d_.,]*(e[-+]?[\d_]+)?|[-+]?(inf|infinity|nan)")
_MOST: Final = 1000  # of an item at once; larger numbers are no counts


@dataclass(frozen=True)
class Wide:
    """Numbered columns, each of which holds one item of a basket.

    Attributes:
        groups: the columns in their order by the name of what they hold, such as item and quantity.
        item: which of the groups is the item.
        count: the column that says how many there are; None where there is none.
        sure: whether the values and names alone say so.
        alike: whether at least the values do.
    """

    groups: dict[str, tuple[str, ...]]
    item: str
    count: str | None
    sure: bool
    alike: bool

    @property
    def columns(self) -> list[str]:
        """All columns that are used up."""
        used = [column for group in self.groups.values() for column in group]
        return used if self.count is None else [*used, self.count]


@dataclass(frozen=True)
class Matrix:
    """A column an item.

    Attributes:
        columns: those of the items.
        rest: the others.
        value: "" where a cell says only that it was bought; else the name of what it says, "quantity" or "rating".
        sure: whether the values alone say so.
        alike: whether it might be a matrix.
    """

    columns: tuple[str, ...]
    rest: tuple[str, ...]
    value: str
    sure: bool
    alike: bool


def filled(column: str) -> str:
    """Return the SQL of a column as text, null where nothing or a mark of nothing is in it."""
    cell = f"trim({quoted(column)}::VARCHAR)"
    return f"CASE WHEN {cell} <> '' AND NOT {Table.missing(cell)} THEN {cell} END"


def find_wide(table: Table, asked: bool = False) -> Wide | None:
    """Return the numbered columns that hold baskets; None where there are none.

    Args:
        table: any table.
        asked: whether somebody says that there are some.
    """
    stems = _stems(table.columns)
    if not stems and asked and not table.header:
        stems = {"": tuple(table.columns)}
    best: Wide | None = None
    for stem, columns in sorted(stems.items(), key=lambda entry: not _is_item_stem(entry[0])):
        numbers = _numbers(columns)
        groups = {
            other: beside
            for other, beside in stems.items()
            if other == stem or (_numbers(beside) == numbers and len(beside) == len(columns) and stem)
        }
        found = _looked(table, stem, groups)
        if found is not None and (asked or found.alike) and (best is None or (found.sure and not best.sure)):
            best = found
    return best


def _is_item_stem(stem: str) -> bool:
    return hints.is_item(stem) or hints.is_item_list(stem)


def _stems(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns that are numbered in a row, by what stands before their numbers."""
    found: dict[str, dict[int, str]] = {}
    for column in columns:
        match = _NUMBERED.match(column.strip())
        stem, number = (match["stem"].strip(), int(match["number"])) if match else (column.strip(), -1)
        found.setdefault(stem.lower(), {}).setdefault(number, column)
    stems: dict[str, tuple[str, ...]] = {}
    for numbered in found.values():
        order = sorted(numbered)
        inside = [number for number in order if number >= 0]
        # "item", "item.1", "item.2" are numbered, too
        in_a_row = (
            len(order) > 1 and inside == list(range(inside[0], inside[0] + len(inside))) and inside[0] < 3
        )
        if in_a_row:
            first = numbered[order[-1]]
            match = _NUMBERED.match(first.strip())
            stems[match["stem"].strip() if match else first] = tuple(numbered[number] for number in order)
    return stems


def numbered(columns: Sequence[str]) -> set[str]:
    """Return the columns' names without their numbers."""
    return {match["stem"] if (match := _NUMBERED.match(column.strip())) else column for column in columns}


def _numbers(columns: Sequence[str]) -> list[str]:
    """Return the numbers of numbered columns."""
    return [match["number"] if (match := _NUMBERED.match(column.strip())) else "" for column in columns]


def _looked(table: Table, stem: str, groups: dict[str, tuple[str, ...]]) -> Wide | None:
    """Return what the values of numbered columns say; None where they hold measures rather than items."""
    columns = groups[stem]
    cells = f"[{', '.join(filled(column) for column in columns)}]"
    count = f"len(list_filter({cells}, lambda cell: cell IS NOT NULL))"
    lists = f"SELECT {cells} AS l, {count} AS n FROM {table.sample(_SAMPLE)}"
    rows, complete, from_left, occurring, distinct, mixed, numbers, fractions = table.engine.row(
        f"WITH lists AS ({lists}), parts AS (SELECT unnest(l) AS part, generate_subscripts(l, 1) AS place FROM lists) "
        f"SELECT (SELECT count(*) FROM lists), (SELECT avg((n = {len(columns)})::INT) FROM lists WHERE n > 0), "
        "(SELECT avg((n = len(list_filter(l[1:n], lambda cell: cell IS NOT NULL)))::INT) FROM lists), "
        "sum(occurring), count(*), sum(occurring) FILTER (places > 1), "
        "sum(occurring) FILTER (TRY_CAST(part AS DOUBLE) IS NOT NULL), "
        "sum(occurring) FILTER (TRY_CAST(part AS DOUBLE) <> round(TRY_CAST(part AS DOUBLE))) "
        "FROM (SELECT part, count(*) AS occurring, count(DISTINCT place) AS places FROM parts WHERE part IS NOT NULL "
        "GROUP BY part)"
    )
    if not occurring:
        return None
    padded = from_left >= 0.98 and complete < 0.8
    shared = (mixed or 0) >= 0.5 * occurring and occurring >= 1.5 * distinct
    numeric = (numbers or 0) > 0.5 * occurring
    tiny = distinct <= 3 and numeric  # marks of a matrix, or answers
    named = _is_item_stem(stem)
    bare = stem == "" or not table.header or stem.lower().startswith("unnamed")
    full = not padded and bare and len(columns) > 2 and not numeric and (mixed or 0) >= 0.8 * occurring
    alike = (
        not tiny and not (fractions or 0) and shared and (padded or named or full) and (named or not numeric)
    )
    sure = alike and (named or (bare and (padded or full) and len(groups) == 1))
    names = {_name(other, bare): beside for other, beside in groups.items()}
    number = _count_column(table, columns, [c for group in groups.values() for c in group]) if rows else None
    return Wide(names, _name(stem, bare), number, sure, alike)


def _name(stem: str, bare: bool) -> str:
    return "item" if bare else stem.strip(" _-.#([") or "item"


def _count_column(table: Table, columns: Sequence[str], used: Sequence[str]) -> str | None:
    """Return the column that says in each row how many of the numbered columns are filled."""
    others = [column for column in table.columns if column not in used]
    if not others:
        return None
    number = " + ".join(f"({filled(column)} IS NOT NULL)::INT" for column in columns)
    tests = ", ".join(
        f"bool_and(TRY_CAST({quoted(column)}::VARCHAR AS DOUBLE) IS NOT DISTINCT FROM ({number}))"
        for column in others
    )
    found = table.engine.row(f"SELECT {tests} FROM {table.sample(_SAMPLE)}")
    return next((column for column, same in zip(others, found, strict=True) if same), None)


def find_matrix(table: Table, given: Sequence[str] = (), asked: bool = False) -> Matrix | None:
    """Return the columns that are items, each cell of which says whether, or how often, it was bought.

    Args:
        table: any table.
        given: columns that play a role of their own.
        asked: whether somebody says that it is a matrix.
    """
    if len(table.columns) < (2 if asked else 3):
        return None
    may_be = _maybe_numbers(table)
    if len(may_be) < (1 if asked else 2):
        return None
    looked = _look_at_cells(table, may_be)
    columns, others = [], []
    for column in table.columns:
        found = looked.get(column)
        if found is None or column in given:
            others.append(column)
            continue
        # an item may be called "DVD player", too, but nobody's id is empty for most
        own = table.header and found.empty < 0.5 * found.rows and _is_known(column)
        if own or not (found.is_mark or (asked and found.is_number and not found.is_unique)):
            others.append(column)
        else:
            columns.append(column)
    if len(columns) < (1 if asked else 2):
        return None
    cells = [looked[column] for column in columns]
    rows = sum(cell.rows for cell in cells)
    empty = sum(cell.empty for cell in cells) / rows if rows else 0
    binary = all(cell.largest <= 1 for cell in cells)
    blanks = all(not cell.zeros for cell in cells)
    ratings = (
        blanks and not binary and sum(cell.total for cell in cells) > 1.5 * sum(cell.filled for cell in cells)
    )
    most = len(columns) >= 0.6 * len(table.columns)
    named = not any(_FLAG.search(hints.plain(column)) for column in columns) and not any(
        map(hints.is_item, others)
    )
    enough = len(columns) >= 10 or (len(columns) >= 3 and not others)
    alike = most and named and empty >= 0.5 and (table.header or binary) and len(columns) >= 4
    sure = most and named and enough and empty >= (0.3 if not others and binary else 0.5)
    sure = (
        sure and (table.header or (binary and len(columns) >= 10)) and sum(cell.filled for cell in cells) > 0
    )
    value = "" if binary else "rating" if ratings else "quantity"
    return Matrix(tuple(columns), tuple(others), value, sure, alike)


def _is_known(column: str) -> bool:
    """Tell whether a column's name is one of a role, or of a measure."""
    return hints.is_user(column) or hints.is_basket(column) or hints.is_measure(column)


@dataclass(frozen=True)
class _Cells:
    """What the cells of a column hold: how many rows, filled cells, zeros; the largest number and the sum."""

    rows: int
    filled: int
    zeros: int
    marks: int
    numbers: int
    whole: int
    distinct: int
    largest: float
    smallest: float
    total: float

    @property
    def empty(self) -> int:
        """Cells that say that nothing was bought."""
        return self.rows - self.filled + self.zeros

    @property
    def is_unique(self) -> bool:
        """Whether no two rows have the same, as with numbers of rows."""
        return self.distinct == self.filled == self.rows > 2

    @property
    def is_number(self) -> bool:
        """Whether each cell is a number, a mark, or empty."""
        return self.marks + self.numbers == self.filled

    @property
    def is_mark(self) -> bool:
        """Whether the cells may be marks of what was bought, counts or ratings."""
        if not self.is_number or self.is_unique or self.smallest < 0 or self.largest > _MOST:
            return False
        rated = not self.zeros and self.largest <= 10 and self.filled < 0.8 * self.rows
        return self.largest <= 1 or (self.empty >= 0.1 * self.rows and (self.whole == self.numbers or rated))


def _maybe_numbers(table: Table) -> list[str]:
    """Return the columns whose first cells are all empty, marks or numbers; the others hold neither marks nor counts.

    A look at the first rows saves most tables the look at all cells.
    """
    rows = table.engine.rows(f"SELECT * FROM {table.sample(_SAMPLE)} LIMIT {_FIRST}")
    words = {*_YES, *_NO, *MISSING, ""}

    def is_possible(cell: object) -> bool:
        text = str(cell).strip().lower()
        return cell is None or text in words or _NUMERIC.fullmatch(text) is not None

    return [
        column
        for column, *cells in zip(table.columns, *rows, strict=True)
        if table.types[column] != "VARCHAR" or all(map(is_possible, cells))
    ]


def _look_at_cells(table: Table, columns: Sequence[str]) -> dict[str, _Cells]:
    """Return what the cells of some columns hold."""
    rows = max(50, min(_SAMPLE, _CELLS // len(columns)))
    sample = f"(SELECT * FROM {table.sample(_SAMPLE)} LIMIT {rows})"
    picked = ", ".join(f"lower(trim({quoted(c)}::VARCHAR)) AS c{i}" for i, c in enumerate(columns))
    names = ", ".join(f"c{i}" for i in range(len(columns)))
    number = "TRY_CAST(replace(cell, ',', '.') AS DOUBLE)"
    yes, no, nothing = (f"cell IN ({', '.join(map(text, words))})" for words in (_YES, _NO, MISSING))
    found = table.engine.rows(
        f"SELECT column_number, count(*), count(*) FILTER ({no}), "
        f"count(*) FILTER ({yes} OR ({no} AND n IS NULL)), count(n), count(*) FILTER (n = round(n)), "
        "count(DISTINCT cell), coalesce(max(n), 1), coalesce(min(n), 0), "
        f"coalesce(sum(n), 0) FROM (SELECT column_number, cell, {number} AS n FROM ("
        f"UNPIVOT (SELECT {picked} FROM {sample}) ON {names} INTO NAME column_number VALUE cell) "
        f"WHERE cell <> '' AND NOT {nothing}) GROUP BY column_number"
    )
    height = int(table.engine.value(f"SELECT count(*) FROM {sample}"))
    looked = {int(row[0][1:]): _Cells(height, *row[1:]) for row in found}
    return {
        column: looked.get(i, _Cells(height, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0))
        for i, column in enumerate(columns)
    }


def is_user_and_items(table: Table) -> bool:
    """Tell whether the first column of a table without a header is a user, each once, and the others hold items."""
    first, *others = table.columns
    if len(others) < 2 or any(table.types[column] != "VARCHAR" for column in table.columns):
        return False
    sample = table.sample(_SAMPLE)
    rows, users = table.engine.row(f"SELECT count(*), count(DISTINCT {quoted(first)}) FROM {sample}")
    if rows < _ENOUGH or users < rows:
        return False
    number = "TRY_CAST(part AS DOUBLE)"
    is_id = rf"regexp_full_match(part, '\S*\d\S*') AND ({number} IS NULL OR {number} = round({number}))"
    occurring, distinct, ids, mixed, places = table.engine.row(
        f"WITH lists AS (SELECT [{', '.join(filled(column) for column in others)}] AS l FROM {sample}), "
        "parts AS (SELECT unnest(l) AS part, generate_subscripts(l, 1) AS place FROM lists) "
        f"SELECT sum(occurring), count(*), sum(occurring) FILTER ({is_id}), "
        "coalesce(sum(occurring) FILTER (places > 1), 0), max(places) FROM (SELECT part, count(*) AS occurring, "
        "count(DISTINCT place) AS places FROM parts WHERE part IS NOT NULL GROUP BY part)"
    )
    if not occurring or ids != occurring or distinct <= _ANSWERS:
        return False
    return bool(places == len(others) and mixed >= 0.8 * occurring and occurring >= 1.5 * distinct)


def header_of(table: Table) -> list[str] | None:
    """Return the first row of a table without a header where it names items above marks, or numbers the columns."""
    if len(table.columns) < 3:
        return None
    first = [
        str(cell or "").strip() for cell in table.engine.row(f"SELECT * FROM {table.sample(_SAMPLE)} LIMIT 1")
    ]
    if first in ([str(i) for i in range(len(first))], [str(i + 1) for i in range(len(first))]):
        rest = f"(SELECT * FROM {table.sample(_SAMPLE)} OFFSET 1)"
        number = " OR ".join(
            f"TRY_CAST({quoted(column)}::VARCHAR AS BIGINT) IS NOT NULL" for column in table.columns
        )
        return first if not table.engine.value(f"SELECT bool_or({number}) FROM {rest}") else None
    names = [name or column for name, column in zip(first, table.columns, strict=True)]
    words = {*_YES, *_NO, *MISSING}
    named = [name.lower() not in words and not re.fullmatch(r"[-+\d.,]+", name) for name in first]
    if len(set(map(str.lower, names))) < len(names) or sum(named) < max(3, 0.6 * len(names)):
        return None
    marks = ", ".join(
        f"bool_and(lower(trim({quoted(column)}::VARCHAR)) IN ({', '.join(map(text, (*_YES, *_NO, '1', '1.0')))}))"
        for column, is_name in zip(table.columns, named, strict=True)
        if is_name
    )
    found = table.engine.row(f"SELECT {marks} FROM (SELECT * FROM {table.sample(_SAMPLE)} OFFSET 1)")
    return names if sum(bool(mark) for mark in found) >= 0.6 * len(names) else None


def bought(column: str) -> str:
    """Return the SQL of how much a cell of a matrix says was bought; null where nothing."""
    cell = f"lower(trim({quoted(column)}::VARCHAR))"
    yes = f"CASE WHEN {cell} IN ({', '.join(map(text, _YES))}) THEN 1 END"
    other = f"nullif(coalesce(TRY_CAST(replace({cell}, ',', '.') AS DOUBLE), {yes}), 0)"
    plain = f"{quoted(column)}::VARCHAR"  # most cells need no more
    return f"CASE WHEN {plain} = '0' THEN NULL WHEN {plain} = '1' THEN 1.0::DOUBLE ELSE {other} END"
