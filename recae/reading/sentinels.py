"""Dates that programs write where they know none, such as 9999-12-31, 1900-01-01 and the beginning of 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recae.reading.engine import Engine
from recae.reading.table import Note

_DAY: Final = 86_400_000_000
_YEAR: Final = 366 * _DAY
_SINCE_1990: Final = 631_152_000_000_000
_UNTIL_2037: Final = 2_114_380_800_000_000
_HALF_HOUR: Final = 1_800_000_000


@dataclass(frozen=True)
class _Candidate:
    """A range of times that may stand for none, in microseconds; both ends belong to it.

    Attributes:
        label: what to call it.
        low, high: its ends.
        gap: how far away from all other times it must be.
        always: whether it stands for none even where all rows have it.
        any_share: whether it may be in more rows than have a time.
        step: only its multiples of this.
    """

    label: str
    low: int
    high: int
    gap: int = 5 * _YEAR
    always: bool = False
    any_share: bool = False
    step: int = 1

    def holds(self, micros: str) -> str:
        """Return SQL that tells whether a time belongs to it."""
        sql = f"{micros} BETWEEN {self.low} AND {self.high}"
        return f"({sql} AND {micros} % {self.step} = 0)" if self.step > 1 else f"({sql})"


def _day(label: str, day: int, any_share: bool = False) -> _Candidate:
    return _Candidate(label, day * _DAY, (day + 1) * _DAY - 1, any_share=any_share)


NO_DATE: Final = -(2**62)
"""Microseconds that stand for digits that are all zero."""
YEAR_9999: Final = 253_370_764_800_000_000
"""Microseconds since 1970 of the beginning of 9999."""
_CANDIDATES: Final = (
    _Candidate("0 or 0000-00-00", NO_DATE, NO_DATE, always=True, any_share=True),
    _Candidate("0001-01-01", NO_DATE + 1, -62_135_596_800_000_000 + 2 * _DAY, always=True, any_share=True),
    _day("1677-09-21", -106_752),  # the first that pandas knows
    _day("1753-01-01", -79_257),  # the first that SQL Server knows
    _day("1899-12-30", -25_569, any_share=True),  # the first that spreadsheets know
    _day("1899-12-31", -25_568, any_share=True),
    _day("1900-01-01", -25_567, any_share=True),
    _Candidate("1970-01-01", -14 * 2 * _HALF_HOUR, 14 * 2 * _HALF_HOUR, gap=_YEAR, step=_HALF_HOUR),
    _Candidate("99991231", 99_991_231_000_000, 99_991_231_999_999),
    _Candidate("2038-01-19", 2_147_483_647_000_000, 2_147_483_647_999_999),
    _day("2099-12-31", 47_481),
    _day("2199-12-31", 84_005),
    _day("2262-04-11", 106_751),  # the last that pandas knows
    _day("2999-12-31", 376_199),
    _Candidate("9999-12-31", YEAR_9999, YEAR_9999 + 365 * _DAY - 1, always=True, any_share=True),
)


@dataclass(frozen=True)
class Part:
    """Times of a column: a relation, SQL for the microseconds, and SQL for how many rows have them."""

    relation: str
    micros: str
    rows: str


@dataclass(frozen=True)
class Sentinels:
    """What was found among the times of a column.

    Attributes:
        chosen: those that stand for no time, with their rows.
        first, last: the earliest and the latest of the other times; None where there are none.
        known: how many rows have one of these.
        clocked: how many of them are not at midnight; 0 where that was not asked for.
    """

    chosen: tuple[tuple[_Candidate, int], ...]
    first: int | None
    last: int | None
    known: int
    clocked: int

    @property
    def rows(self) -> int:
        """How many rows have one."""
        return sum(rows for _, rows in self.chosen)

    def without(self, micros: str) -> str:
        """Return SQL for a time, null for those that stand for none."""
        if not self.chosen:
            return micros
        return f"CASE WHEN {' OR '.join(one.holds(micros) for one, _ in self.chosen)} THEN NULL ELSE {micros} END"

    def notes(self, column: str) -> list[Note]:
        """Return a note on each."""
        return [note(column, rows, one.label) for one, rows in self.chosen]


def note(column: str, rows: int, label: str) -> Note:
    """Return a note on rows without a date."""
    what, they = ("row holds", "it is") if rows == 1 else ("rows hold", "they are")
    return Note(
        f"{column}: {rows:,} {what} {label}, which stands for no date; {they} kept without a time",
        code="times-sentinel",
        column=column,
        rows=rows,
    )


def find(engine: Engine, parts: list[Part], clocks: bool = False) -> Sentinels:
    """Find the times that stand for none: a small part of the rows has them, and all other times lie far away.

    Args:
        engine: the connection.
        parts: all times.
        clocks: count how many of the others are not at midnight.
    """
    plain = _totals(engine, parts, (), clocks)
    if plain.first is None or plain.last is None:
        return plain
    if plain.first >= _SINCE_1990 and plain.last < _UNTIL_2037:
        return plain
    chosen = _choose(engine, parts)
    return _totals(engine, parts, chosen, clocks) if chosen else plain


def _choose(engine: Engine, parts: list[Part]) -> tuple[tuple[_Candidate, int], ...]:
    """Look at each candidate that occurs."""
    some = f"({' OR '.join(one.holds('m') for one in _CANDIDATES)})"
    rows = [0] * len(_CANDIDATES)
    others, first, last = 0, None, None
    for part in parts:
        sums = ", ".join(
            f"coalesce(sum({part.rows}) FILTER (WHERE {one.holds('m')}), 0)::BIGINT" for one in _CANDIDATES
        )
        *here, number, low, high = engine.row(
            f"SELECT {sums}, coalesce(sum({part.rows}) FILTER (WHERE m IS NOT NULL AND NOT {some}), 0)::BIGINT, "
            f"min(m) FILTER (WHERE NOT {some}), max(m) FILTER (WHERE NOT {some}) "
            f"FROM (SELECT *, {part.micros} AS m FROM {part.relation})"
        )
        rows = [a + b for a, b in zip(rows, here, strict=True)]
        others += number
        first = low if first is None or (low is not None and low < first) else first
        last = high if last is None or (high is not None and high > last) else last
    chosen: list[tuple[_Candidate, int]] = []
    for one, number in zip(_CANDIDATES, rows, strict=True):
        if not number:
            continue
        far = one.always
        if first is not None and last is not None:
            far = one.high + one.gap < first or one.low - one.gap > last
        if far and (one.any_share or number <= others):
            chosen.append((one, number))
    return tuple(chosen)


def _totals(
    engine: Engine, parts: list[Part], chosen: tuple[tuple[_Candidate, int], ...], clocks: bool
) -> Sentinels:
    """Count the times other than those chosen."""
    found = Sentinels(chosen, None, None, 0, 0)
    clocked = f"coalesce(sum({{}}) FILTER (WHERE m % {_DAY} <> 0), 0)::BIGINT" if clocks else "0"
    totals = [
        engine.row(
            f"SELECT coalesce(sum({part.rows}) FILTER (WHERE m IS NOT NULL), 0)::BIGINT, min(m), max(m), "
            f"{clocked.format(part.rows)} "
            f"FROM (SELECT *, {found.without(f'({part.micros})')} AS m FROM {part.relation})"
        )
        for part in parts
    ]
    lows = [low for _, low, _, _ in totals if low is not None]
    highs = [high for _, _, high, _ in totals if high is not None]
    return Sentinels(
        chosen,
        min(lows, default=None),
        max(highs, default=None),
        sum(row[0] for row in totals),
        sum(row[3] for row in totals),
    )
