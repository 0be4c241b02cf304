"""The unit of a column of numbers that are times: seconds since 1970, Excel's days, or the digits of dates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recae.reading.engine import Engine
from recae.reading.sentinels import NO_DATE, YEAR_9999
from recae.reading.table import Note

_SECONDS: Final = (631_152_000, 4_102_444_800)  # the years 1990 to 2099
UNITS: Final = {
    "seconds": _SECONDS,
    "milliseconds": tuple(1_000 * bound for bound in _SECONDS),
    "microseconds": tuple(1_000_000 * bound for bound in _SECONDS),
    "nanoseconds": tuple(1_000_000_000 * bound for bound in _SECONDS),
    "dates such as 20240131": (19_000_101, 21_001_231),
    "days since 1900, as Excel counts": (20_000, 80_000),
}
"""Units of numeric times, by the range that each would lie in; no two ranges meet."""
TEXTS: Final = "dates as text"
_SINCE_1970: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
# 1e11 seconds are the year 5138, 1e11 milliseconds are 1973; each unit has three more digits.
_BOUNDS: Final = (1e11, 1e14, 1e17)
_NO_DATES: Final = (0, 99_991_231, 99_999_999, 999_912_312_359, 99_991_231_235_959, 99_999_999_999_999)
"""Numbers that programs write for no date."""
_EIGHT: Final = (19_000_101, 21_001_231)
_TWELVE: Final = (190_001_010_000, 210_012_312_359)
_FOURTEEN: Final = (19_000_101_000_000, 21_001_231_235_959)
_SIX: Final = (190_001, 210_012)
_EXCEL: Final = (20_000, 80_000)
_NEARLY: Final = 0.95
_EPOCH_IN_EXCEL: Final = 25_569


@dataclass(frozen=True)
class Numbers:
    """Numbers of a column of times.

    Attributes:
        relation: where they are.
        number: SQL for the number.
        form: its type, "BIGINT", "DECIMAL" or "DOUBLE".
        rows: SQL for how many rows have it.
    """

    relation: str
    number: str
    form: str
    rows: str


@dataclass(frozen=True)
class Unit:
    """What the numbers of a column mean.

    Attributes:
        name: one of `_SINCE_1970`, "excel", "months", or "digits" for those of dates such as 20240131.
        notes: what was decided.
        found: how many rows are of which of `UNITS`.
        plain: whether each number is within the years 1990 to 2099 by the unit, so that none needs another look.
    """

    name: str = "seconds"
    notes: tuple[Note, ...] = ()
    found: tuple[tuple[str, int], ...] = ()
    plain: bool = False

    @property
    def is_calendar(self) -> bool:
        """Whether the digits are those of a date."""
        return self.name in ("months", "digits")


def choose_unit(engine: Engine, column: str, parts: list[Numbers]) -> Unit:
    """Choose one unit for all numbers: by their digits where most are dates of the calendar, else by their median.

    Args:
        engine: the connection.
        column: its name, for the notes.
        parts: the numbers; each row counts.
    """
    ranges = [
        engine.row(
            f"SELECT coalesce(sum({part.rows}), 0)::BIGINT, min({part.number}), max({part.number}) "
            f"FROM {part.relation} WHERE {part.number} IS NOT NULL"
        )
        for part in parts
    ]
    ranges = [found for found in ranges if found[0]]
    for place, name in enumerate(_SINCE_1970):
        low, high = UNITS[name]
        if ranges and all(low <= least and most <= high for _, least, most in ranges):
            return Unit(name, _since(column, place), ((name, sum(n for n, _, _ in ranges)),), plain=True)
    return _by_counts(engine, column, parts)


def _by_counts(engine: Engine, column: str, parts: list[Numbers]) -> Unit:
    """Choose the unit of numbers that do not all lie within the usual years."""
    counts: dict[str, int] = {}
    example: float | None = None
    for part in parts:
        conditions = _conditions(part)
        sums = ", ".join(
            f"coalesce(sum({part.rows}) FILTER (WHERE {condition}), 0)::BIGINT"
            for condition in conditions.values()
        )
        row = engine.row(
            f"SELECT {sums}, min({part.number}) FILTER (WHERE {conditions['known']}) FROM {part.relation}"
        )
        for name, count in zip(conditions, row, strict=False):
            counts[name] = counts.get(name, 0) + count
        example = row[-1] if example is None else example
    known = counts.get("known", 0)
    found = tuple((unit, counts[unit]) for unit in UNITS if counts.get(unit))
    if not known or example is None:
        return Unit(found=found)
    if sum(counts[digits] for digits in ("8", "12", "14")) * 2 > known:
        text = f"{column}: numbers like {int(example)} are read as dates (year, month, day)"
        return Unit("digits", (Note(text, column=column),) if counts["8"] else (), found)
    if counts["months"] >= _NEARLY * known:
        text = (
            f"{column}: numbers like {int(example)} are read as months (year, month), each as its first day"
        )
        return Unit("months", (Note(text, column=column),), found)
    if counts["excel"] >= _NEARLY * known:
        text = f"{column}: numbers like {float(example):g} are read as days since 1900, as Excel counts them"
        return Unit("excel", (Note(text, column=column),), found)
    place, below = 0, counts["at 0"]
    while below <= known // 2:
        place += 1
        below += counts[f"at {place}"]
    return Unit(_SINCE_1970[place], _since(column, place), found)


def _since(column: str, place: int) -> tuple[Note, ...]:
    """Return a note on a unit other than seconds."""
    return (Note(f"{column}: read as {_SINCE_1970[place]} since 1970", column=column),) if place else ()


def mixed_note(column: str, found: dict[str, int]) -> Note | None:
    """Return a note on times that are written in several ways; None where there is one way."""
    if len(found) < 2:
        return None
    listed = ", ".join(f"{unit} in {count:,} rows" for unit, count in found.items())
    numbers = [unit for unit in found if unit != TEXTS]
    result = (
        "one way is taken for all numbers, so some dates are wrong"
        if len(numbers) > 1
        else "each is read as such"
    )
    most = max(found, key=lambda unit: found[unit])
    return Note(
        f"{column}: times are written in several ways: {listed}; {result}",
        doubt=True,
        code="times-mixed-units",
        column=column,
        advice=f"write all of them as {most}, or as 2024-03-01 12:30:00",
        rows=sum(found.values()) - found[most],
    )


def _no_date(number: str, form: str) -> str:
    """Return SQL that tells whether a number is one that programs write for no date, whatever the unit."""
    sql = f"{number} IN ({', '.join(map(str, _NO_DATES))})"
    return sql if form != "DECIMAL" else f"{number}::DOUBLE IN ({', '.join(map(str, _NO_DATES))})"


def micros(number: str, form: str, unit: Unit) -> str:
    """Return SQL for the microseconds since 1970 that a number means; null where it means none."""
    if unit.is_calendar:
        return _calendar(_whole(number, form), unit.name)
    if unit.name == "excel":
        # Excel shows milliseconds at most; its floats hold no more
        days = f"TRY_CAST(round(({number}::DOUBLE - {_EPOCH_IN_EXCEL}) * 86400000) AS BIGINT)"
        return f"CASE WHEN abs({number}::DOUBLE) < 1e8 THEN {days} * 1000 END"
    place = _SINCE_1970.index(unit.name)
    if form == "DOUBLE":
        plain = f"TRY_CAST(round({number} * {10 ** (6 - 3 * place)}) AS BIGINT)" if place < 2 else None
        plain = plain or f"TRY_CAST(round({number}{' / 1000' if place == 3 else ''}) AS BIGINT)"
    elif form == "DECIMAL":
        factor = 10 ** max(0, 6 - 3 * place)
        inside = f"CASE WHEN abs({number}) < {9_000_000_000_000_000_000 // factor} THEN {number} END"
        plain = f"TRY_CAST(floor(({inside}) * {factor}) AS BIGINT)"
        plain = plain if place < 3 else _thousandth(plain)
    elif place < 2:
        factor = 10 ** (6 - 3 * place)
        most = 9_223_372_036_854_775_807 // factor
        plain = f"CASE WHEN {number} BETWEEN -{most} AND {most} THEN {number} * {factor} END"
    else:
        plain = number if place == 2 else _thousandth(number)
    if place > 1 or unit.plain:
        return plain
    # as seconds or milliseconds 20240131083000 would lie beyond the year 2500
    whole = _whole(number, form)
    date = f"CASE WHEN {_between(whole, _FOURTEEN)} THEN {_calendar(whole, 'digits')} END"
    return f"coalesce({date}, {plain})"


def _conditions(part: Numbers) -> dict[str, str]:
    """Return what to count of numbers, as SQL."""
    number, whole = part.number, _whole(part.number, part.form)
    finite = f"isfinite({number}) AND " if part.form == "DOUBLE" else ""
    known = f"{number} IS NOT NULL AND {finite}NOT {_no_date(number, part.form)}"
    size = f"abs({number}::DOUBLE)"
    at = {
        f"at {k}": f"{known}"
        + (f" AND {size} >= {_BOUNDS[k - 1]:.0f}" if k else "")
        + (f" AND {size} < {_BOUNDS[k]:.0f}" if k < 3 else "")
        for k in range(4)
    }
    day = f"{whole} % 100 BETWEEN 1 AND 31 AND {whole} // 100 % 100 BETWEEN 1 AND 12"
    minute = "{0} % 100 < 60 AND {0} // 100 % 100 < 24"
    twelve = (
        f"{whole} // 10000 % 100 BETWEEN 1 AND 31 AND {whole} // 1000000 % 100 BETWEEN 1 AND 12 AND "
        + minute.format(whole)
    )
    fourteen = (
        f"{whole} // 1000000 % 100 BETWEEN 1 AND 31 AND {whole} // 100000000 % 100 BETWEEN 1 AND 12 AND "
        f"{whole} % 100 < 61 AND " + minute.format(f"({whole} // 100)")
    )
    return {
        "known": known,
        **at,
        "8": f"{_between(whole, _EIGHT)} AND {day}",
        "12": f"{_between(whole, _TWELVE)} AND {twelve}",
        "14": f"{_between(whole, _FOURTEEN)} AND {fourteen}",
        "months": f"{_between(whole, _SIX)} AND {whole} % 100 BETWEEN 1 AND 12",
        "excel": f"{number} BETWEEN {_EXCEL[0]} AND {_EXCEL[1]}",
        **{name: f"{number} BETWEEN {low} AND {high}" for name, (low, high) in UNITS.items()},
    }


def _whole(number: str, form: str) -> str:
    """Return SQL for a number as BIGINT, null where it has a fraction or is too large."""
    return (
        number
        if form == "BIGINT"
        else f"(CASE WHEN {number} = floor({number}) THEN TRY_CAST({number} AS BIGINT) END)"
    )


def _between(number: str, bounds: tuple[int, int]) -> str:
    return f"{number} BETWEEN {bounds[0]} AND {bounds[1]}"


def _thousandth(number: str) -> str:
    """Return SQL for a thousandth of a whole number, rounded down."""
    return f"({number} // 1000 - CASE WHEN {number} % 1000 < 0 THEN 1 ELSE 0 END)"


def _calendar(whole: str, name: str) -> str:
    """Return SQL for the microseconds of digits such as 20240131; null where the calendar has no such date."""
    none = f"WHEN {whole} = 0 THEN {NO_DATE} WHEN {_no_date(whole, 'BIGINT')} THEN {YEAR_9999} "
    if name == "months":
        return (
            f"CASE {none}WHEN {_between(whole, _SIX)} THEN "
            f"epoch_us(try_strptime(({whole} * 100 + 1)::VARCHAR, '%Y%m%d')) END"
        )
    cases = " ".join(
        f"WHEN {_between(whole, bounds)} THEN epoch_us(try_strptime({whole}::VARCHAR, {pattern}))"
        for bounds, pattern in (
            (_EIGHT, "'%Y%m%d'"),
            (_TWELVE, "'%Y%m%d%H%M'"),
            (_FOURTEEN, "'%Y%m%d%H%M%S'"),
        )
    )
    return f"CASE {none}{cases} END"
