"""The order of day, month and year of a whole column: a number that exceeds 12 is no month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recae.reading.engine import Engine, quoted, text
from recae.reading.table import Note, Table

AMBIGUOUS: Final = "no number exceeds 12"
"""What the note says where dates could be read either way."""
_NAMES: Final = {
    "day_first": "day/month/year",
    "month_first": "month/day/year",
    "year_first": "year/month/day",
}
_OTHER: Final = {"day_first": "month_first", "month_first": "day_first"}
_DAY: Final = r"(?:1[3-9]|2\d|3[01])"
_MONTH: Final = r"(?:0?[1-9]|1[0-2])"
_REST: Final = r"[-/.](?:\d{4}|\d\d)(?:[^\d].*)?"
_WIDEST: Final = 200  # columns that are asked for how their dates are written


@dataclass(frozen=True)
class Order:
    """How dates of numbers alone are read.

    Attributes:
        either: "day_first", "month_first" or "year_first", for dates such as 1/4/2023.
        comma: likewise for dates such as 01 04, 2023, where the month is first unless a number exceeds 12.
        notes: what was decided.
        ambiguous: whether nothing tells.
        contradictory: whether some dates can only have the day first and others only the month.
    """

    either: str = "day_first"
    comma: str = "month_first"
    notes: tuple[Note, ...] = ()
    ambiguous: bool = False
    contradictory: bool = False


@dataclass(frozen=True)
class Scanned:
    """Dates of numbers alone that the scan of the table has read, in an order that their sample settled.

    Attributes:
        order: "day_first" or "month_first".
        rows: how many of them show that.
        example: one of these.
    """

    order: str
    rows: int
    example: str


@dataclass(frozen=True)
class _Evidence:
    """How many rows of texts such as 1/4/2023 can be read in which order alone."""

    rows: int
    only_day: int
    only_month: int
    only_year: int
    not_year: int
    first_numbers: int
    last_numbers: int
    halves: int
    day_example: str | None
    month_example: str | None


def choose_order(table: Table, column: str, texts: str | None, scanned: Scanned | None) -> Order:
    """Decide the order of day, month and year for a column.

    Args:
        table: the table, whose other columns are asked where this one does not tell.
        column: the column.
        texts: what `recae.reading.dates.parse_texts` stored of it; None where it has none.
        scanned: what the scan has read; None where it has read no such dates.
    """
    engine = table.engine
    found = _evidence(engine, texts, "either")
    comma = _evidence(engine, texts, "comma")
    notes: list[Note] = []
    chosen, ambiguous = "day_first", False
    if found.rows or scanned is not None:
        by_day = (found.only_day, found.day_example)
        by_month = (found.only_month, found.month_example)
        if scanned is not None and scanned.order == "day_first":
            by_day = (found.only_day + scanned.rows, scanned.example)
        elif scanned is not None:
            by_month = (found.only_month + scanned.rows, scanned.example)
        if found.rows and scanned is None and (doubt := _year_first(found)) is not None:
            chosen = "year_first"
            notes.append(_settled(column, chosen, doubt=doubt))
        elif by_day[0] and by_month[0]:
            return _contradictory(column, by_day, by_month)
        elif by_day[0] or by_month[0]:
            chosen = "day_first" if by_day[0] else "month_first"
            notes.append(_settled(column, chosen))
        else:
            chosen, note = _undecided(table, column, found)
            notes.append(note)
            ambiguous = note.doubt
    if comma.only_day and comma.only_month:
        return _contradictory(
            column, (comma.only_day, comma.day_example), (comma.only_month, comma.month_example)
        )
    after = "day_first" if comma.only_day else "month_first"
    return Order(chosen, after, tuple(notes), ambiguous)


def _evidence(engine: Engine, texts: str | None, kind: str) -> _Evidence:
    if texts is None:
        return _Evidence(0, 0, 0, 0, 0, 0, 0, 0, None, None)
    only_day = "day_first IS NOT NULL AND month_first IS NULL"
    only_month = "month_first IS NOT NULL AND day_first IS NULL"
    only_year = "year_first IS NOT NULL AND day_first IS NULL AND month_first IS NULL"
    not_year = "year_first IS NULL AND (day_first IS NOT NULL OR month_first IS NOT NULL)"
    sums = ", ".join(
        f"coalesce(sum(n) FILTER (WHERE {condition}), 0)::BIGINT"
        for condition in ("true", only_day, only_month, only_year, not_year)
    )
    row = engine.row(
        f"SELECT {sums}, count(DISTINCT p), count(DISTINCT r), "  # names of our own
        "coalesce(sum(n) FILTER (WHERE regexp_matches(lower(text), '[ap]\\. ?m|[0-9 ][ap]m')), 0)::BIGINT, "
        f"min(text) FILTER (WHERE {only_day}), min(text) FILTER (WHERE {only_month}) "
        f"FROM {texts} WHERE kind = '{kind}'"
    )
    return _Evidence(*row)


def _year_first(found: _Evidence) -> bool | None:
    """Tell whether dates such as 23/01/04 begin with the year, and whether that is in doubt; None: they do not."""
    if found.not_year or found.only_month:
        return None
    if found.only_year:
        return False
    # a few first numbers and many last ones: a few years and the days of their months
    years = found.last_numbers >= 8 and found.first_numbers * 4 <= found.last_numbers
    return True if years else None


def _settled(column: str, order: str, *, doubt: bool = False) -> Note:
    code = "times-day-or-month" if doubt else ""
    advice = "write them with four digits of the year to be sure" if doubt else ""
    return Note(f"{column}: dates are read as {_NAMES[order]}", doubt, code, column, advice)


def _undecided(table: Table, column: str, found: _Evidence) -> tuple[str, Note]:
    """Choose where no date tells: as another column of the table is written, else by AM and PM, else the day first."""
    shown = _neighbour(table, column)
    if shown is not None:
        order, other = shown
        return order, Note(
            f"{column}: dates are read as {_NAMES[order]}, as in column {other!r}", column=column
        )
    order = "month_first" if found.halves * 2 > found.rows else "day_first"
    return order, Note(
        f"{column}: dates are read as {_NAMES[order]}, but {AMBIGUOUS}, so {_NAMES[_OTHER[order]]} is as possible",
        doubt=True,
        code="times-day-or-month",
        column=column,
        advice="write them as year-month-day to be sure",
        rows=found.rows,
    )


def _neighbour(table: Table, column: str) -> tuple[str, str] | None:
    """Return the order of dates in other columns of the sample, and one of these; None where they do not tell."""
    others = [name for name in table.columns if name != column and table.is_text(name)][:_WIDEST]
    if not others:
        return None
    patterns = (f"{_DAY}[-/.]{_MONTH}{_REST}", f"{_MONTH}[-/.]{_DAY}{_REST}")
    counts = ", ".join(
        f"count(*) FILTER (WHERE regexp_full_match({quoted(name)}, {text(pattern)}))"
        for name in others
        for pattern in patterns
    )
    row = table.engine.row(f"SELECT {counts} FROM {table.sample()}")
    days, months = row[::2], row[1::2]
    if bool(sum(days)) == bool(sum(months)):
        return None
    telling = days if sum(days) else months
    place = max(range(len(others)), key=lambda k: telling[k])
    return ("day_first" if sum(days) else "month_first"), others[place]


def _contradictory(column: str, by_day: tuple[int, str | None], by_month: tuple[int, str | None]) -> Order:
    note = Note(
        f"{column}: in {by_day[0]:,} rows the day comes first, as in {by_day[1]!r}, in {by_month[0]:,} the month, as "
        f"in {by_month[1]!r}; it is not clear which holds for the others, so no time of this column is used",
        doubt=True,
        code="times-contradictory",
        column=column,
        advice="write all of them as year-month-day",
        rows=min(by_day[0], by_month[0]),
    )
    return Order(notes=(note,), contradictory=True)
