"""`ClockColumn`: the time of day where it is in a column of its own, such as 15:17, 1517, 3:17 PM or 0.63681."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from recae.errors import ColumnError
from recae.reading.dates import CLOCK, CLOCK_GROUPS, DAY, clock_micros, plain
from recae.reading.engine import Engine, quoted, text
from recae.reading.table import Note, Table

_ALONE: Final = "^" + CLOCK + "$"
_AFTER_A_DATE: Final = r"^.*\d(?:[, ]+|t)" + CLOCK + "$"
_HOUR_ALONE: Final = r"^(\d{1,2}) ?([ap]m)$"
_NUMBER: Final = r"\d+(?:[.,]\d*)?(?:e-\d+)?"
_DOTTED: Final = r"\d{1,2}[.,]\d\d"
_NEARLY: Final = 0.95
_FORMS: Final = {
    # of whole numbers: which of them it can be, and the seconds that each means
    "hours": ("v <= 24", "v * 3600"),
    "hours and minutes": ("v <= 2400 AND v % 100 < 60", "v // 100 * 3600 + v % 100 * 60"),
    "hours, minutes and seconds": (
        "v <= 240000 AND v // 100 % 100 < 60 AND v % 100 < 60",
        "v // 10000 * 3600 + v // 100 % 100 * 60 + v % 100",
    ),
    "seconds since midnight": ("v <= 86400", "v"),
}


@dataclass(frozen=True)
class SettledClock:
    """What the values of a column of times of day mean.

    Attributes:
        sql: BIGINT microseconds since midnight of a stored row, after the join; null where there are none.
        join: SQL that joins them; "" where none is needed.
        notes: what was decided, and what could not be read.
    """

    sql: str
    join: str
    notes: tuple[Note, ...] = ()


class ClockColumn:
    """A column of times of day.

    Args:
        table: the table.
        column: its column.

    Attributes:
        column: its name.
        stored: the columns to store, with their SQL over the table.

    Raises:
        ColumnError: the type is no time of day, such as a list.
    """

    def __init__(self, table: Table, column: str) -> None:
        """Choose by its type what is stored."""
        self.column = column
        self._engine: Engine = table.engine
        kind, name = table.types[column], quoted(column)
        if kind.startswith("TIME") and not kind.startswith("TIMESTAMP"):
            self.stored = {"clock_number": f"epoch_us({name}::TIME)"}
        elif kind.startswith("TIMESTAMP"):
            self.stored = {"clock_number": f"(epoch_us({name}) % {DAY} + {DAY}) % {DAY}"}
        elif kind.endswith("]") or kind.startswith(
            ("STRUCT", "MAP", "UNION", "BLOB", "DATE", "INTERVAL", "BOOLEAN")
        ):
            raise ColumnError(
                f"column {column!r} is of type {kind.split('(')[0]}, which is no time of day; name the column that "
                "holds date and time with --time-column"
            )
        else:
            self.stored = {"clock_text": table.as_text(column)}

    def settle(self, rows: str) -> SettledClock:
        """Decide what the values mean.

        Args:
            rows: a relation with the stored columns.
        """
        if "clock_number" in self.stored:
            return SettledClock("clock_number", "")
        engine = self._engine
        distinct = (
            f"(SELECT clock_text AS text, count(*) AS n FROM {rows} WHERE clock_text IS NOT NULL GROUP BY 1)"
        )
        plained = engine.store(
            f"SELECT text, n, {plain('text')} AS t FROM {distinct} WHERE NOT {Table.missing('text')}",
            "clocks",
        )
        numbers = (
            "(SELECT n, CASE WHEN d = floor(d) THEN TRY_CAST(d AS BIGINT) END AS v, d, dotted FROM "
            f"(SELECT n, TRY_CAST(replace(t, ',', '.') AS DOUBLE) AS d, "
            f"regexp_full_match(t, {text(_DOTTED)}) AS dotted "
            f"FROM {plained} WHERE regexp_full_match(t, {text(_NUMBER)})))"
        )
        dotted = self._are_dotted(numbers)
        form, notes = self._form(numbers)
        value = "TRY_CAST(replace(t, ',', '.') AS DOUBLE)"
        fraction = f"round(({value} - floor({value})) * 86400000)::BIGINT * 1000 % {DAY}"
        condition, seconds = _FORMS[form]
        groups = ", ".join(map(text, CLOCK_GROUPS))
        number = (
            f"CASE WHEN {value} <> floor({value}) THEN "
            + (
                f"({_dotted_micros('t')})"
                if dotted
                else f"CASE WHEN {value} < 1 OR {value} BETWEEN 20000 AND 80000 THEN {fraction} END"
            )
            + f" WHEN {value} < 1e9 THEN (SELECT CASE WHEN {condition} THEN ({seconds}) * 1000000 END "
            f"FROM (SELECT {value}::BIGINT AS v)) END"
        )
        reading = (
            f"CASE WHEN regexp_full_match(t, {text(_NUMBER)}) THEN {number} "
            f"WHEN regexp_full_match(t, {text(_HOUR_ALONE)}) THEN "
            f"{clock_micros(_hour_alone('t'))} "
            f"WHEN regexp_full_match(t, {text(_ALONE)}) THEN "
            f"{clock_micros(f'regexp_extract(t, {text(_ALONE)}, [{groups}])')} "
            f"WHEN regexp_full_match(t, {text(_AFTER_A_DATE)}) THEN "
            f"{clock_micros(f'regexp_extract(t, {text(_AFTER_A_DATE)}, [{groups}])')} END"
        )
        settled = engine.store(
            f"SELECT text AS clock_of, n, {reading} AS clock_micros FROM {plained}",
            "clocks",
        )
        engine.run(f"DROP TABLE {plained}")
        bad, example = engine.row(
            f"SELECT coalesce(sum(n), 0)::BIGINT, min(clock_of) FROM {settled} WHERE clock_micros IS NULL"
        )
        if bad:
            notes.append(
                Note(
                    f"{self.column}: {bad:,} times of day could not be read (such as {example!r}); their rows have the "
                    "date alone",
                    doubt=True,
                    code="times-unreadable",
                    column=self.column,
                    rows=bad,
                )
            )
        join = f"LEFT JOIN (SELECT clock_of, clock_micros FROM {settled}) ON clock_text = clock_of"
        return SettledClock("clock_micros", join, tuple(notes))

    def _are_dotted(self, numbers: str) -> bool:
        """Tell whether numbers with a fraction are hours and minutes such as 15.17, rather than parts of a day."""
        of_hours, others = self._engine.row(
            "SELECT coalesce(sum(n) FILTER (WHERE dotted AND d < 24 AND round(d * 100) % 100 < 60), 0)::BIGINT, "
            f"coalesce(sum(n) FILTER (WHERE NOT dotted), 0)::BIGINT FROM {numbers} WHERE d <> floor(d) AND d >= 1"
        )
        return bool(of_hours > others)

    def _form(self, numbers: str) -> tuple[str, list[Note]]:
        """Choose what whole numbers mean: the first that nearly all of them can be."""
        sums = ", ".join(
            f"coalesce(sum(n) FILTER (WHERE {condition}), 0)::BIGINT" for condition, _ in _FORMS.values()
        )
        *fitting, total = self._engine.row(
            f"SELECT {sums}, coalesce(sum(n), 0)::BIGINT FROM {numbers} WHERE v IS NOT NULL"
        )
        for form, rows in zip(_FORMS, fitting, strict=True):
            if rows >= _NEARLY * total:
                text = f"{self.column}: its numbers are read as {form}"
                return form, [Note(text, column=self.column)] if total else []
        return "hours and minutes", []


def _dotted_micros(sql: str) -> str:
    """Return SQL for the microseconds of a text such as 15.17."""
    hour, minute = (f"regexp_extract({sql}, '(\\d+)[.,](\\d\\d)$', {k})::BIGINT" for k in (1, 2))
    return f"CASE WHEN {hour} < 24 AND {minute} < 60 THEN ({hour} * 60 + {minute}) * 60000000 END"


def _hour_alone(sql: str) -> str:
    """Return SQL for the groups of a text such as 3 PM, as the pattern of a clock would find them."""
    found = f"regexp_extract({sql}, {text(_HOUR_ALONE)}, ['hour', 'half'])"
    values = dict.fromkeys(CLOCK_GROUPS, "''") | {"hour": f"{found}.hour", "half": f"{found}.half"}
    return "{" + ", ".join(f"{text(name)}: {value}" for name, value in values.items()) + "}"
