"""`TimeColumn`: when it was bought, as microseconds since 1970-01-01 UTC, decided for the column as a whole.

Most columns are whole numbers or are written in one way. Such values are read by the scan of the table itself, into
``time_number``; a text of any other kind goes into ``time_text``, which is null almost everywhere. Once all rows are
there, the distinct texts are understood together with the numbers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from recae.errors import ColumnError
from recae.reading import clocks, sentinels, units
from recae.reading.dates import parse_texts
from recae.reading.engine import Engine, quoted, text
from recae.reading.orders import Order, Scanned, choose_order
from recae.reading.table import Note, Table

_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_WIDER: Final = ("UBIGINT", "HUGEINT", "UHUGEINT")
_YEAR_1000: Final = -30_610_224_000_000_000  # two digits are no year where four are meant
_MOSTLY: Final = 0.5  # of the sampled texts are of a kind where reading it in the scan pays
_DATES: Final = (
    ("%d.%m.%Y", "%m.%d.%Y"),
    ("%d/%m/%Y", "%m/%d/%Y"),
    ("%d-%m-%Y", "%m-%d-%Y"),
)
_CLEAR: Final = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d %b %Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %B %Y",
)
_CLOCKS: Final = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")
_ISO: Final = tuple(
    f"%Y-%m-%d{between}{clock}{zone}"
    for between in (" ", "T")
    for clock in ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M")
    for zone in ("", "Z", "%z", " UTC", " %z")
)
_EITHER: Final = tuple((day + clock, month + clock) for day, month in _DATES for clock in _CLOCKS)
"""Formats of which the day is first, with those of which the month is."""
_FORMATS: Final = (
    *(fmt for pair in _EITHER for fmt in pair),
    *(date + clock for date in _CLEAR for clock in _CLOCKS),
    *(fmt for fmt in _ISO if fmt not in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S.%f")),
)
_FIELDS: Final = {
    "%Y": r"\d{4}", "%d": r"\d\d?", "%m": r"\d\d?", "%H": r"\d\d?", "%I": r"\d\d?", "%M": r"\d\d?", "%S": r"\d\d?",
    "%f": r"\d{1,6}", "%p": "[AaPp][Mm]", "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}", "%z": r"[+-]\d\d(?::?\d\d)?",
}  # fmt: skip
_LOOKED_AT: Final = 50  # texts by which formats are chosen that all of the sample is then read by
_DECIMAL: Final = r"-?\d{1,18}(\.\d{1,9})?"


@dataclass(frozen=True)
class SettledTimes:
    """What the values of a column of times mean.

    Attributes:
        sql: BIGINT microseconds since 1970-01-01 UTC of a stored row, after the join; null where there is no time.
        join: SQL that joins what texts mean to the stored rows; "" where there are none.
        notes: on how the values were understood. That some could not be read, or are missing, is not among them.
        unreadable: rows that hold something that is no time.
        unreadable_texts: the first three different texts of these.
        missing: rows that hold nothing, or a missing marker.
        sentinels: rows that hold what programs write for no date, such as 9999-12-31; they have no time.
        first, last: the earliest and the latest time, in microseconds; None where no row has a time.
        ambiguous: whether the day and the month of all dates could be the other way round.
        contradictory: whether some dates have the day first and others the month, so that none is used.
        units: how many rows are of which of the ways in which times are written, those that do not occur left out.
    """

    sql: str
    join: str
    notes: tuple[Note, ...]
    unreadable: int = 0
    unreadable_texts: tuple[str, ...] = ()
    missing: int = 0
    sentinels: int = 0
    first: int | None = None
    last: int | None = None
    ambiguous: bool = False
    contradictory: bool = False
    units: dict[str, int] = field(default_factory=dict)


class TimeColumn:
    """A column of times: what to store of it, and what that means once all rows are stored.

    Args:
        table: the table.
        column: its column of times.
        clock: a column with the time of day, where the first one holds the date alone; None without.

    Attributes:
        stored: the columns to store, with their SQL over the table.

    Raises:
        ColumnError: the type is no time, such as a list.
    """

    def __init__(self, table: Table, column: str, clock: str | None = None) -> None:
        """Choose by the column's type, and by a sample of its texts, what the scan reads."""
        self._table, self._column = table, column
        self._formats: tuple[str, ...] = ()
        self._order: str | None = None  # of day and month in what the scan reads
        self._kind, self._form = "", "BIGINT"
        self.stored: dict[str, str] = {}
        self._store()
        self._clock = None if clock is None else clocks.ClockColumn(table, clock)
        if self._clock is not None:
            self.stored |= self._clock.stored

    def _store(self) -> None:
        kind, name = self._table.types[self._column], quoted(self._column)
        if kind in _WHOLE:
            self._kind = "number"
            self.stored["time_number"] = f"{name}::BIGINT"
        elif kind in _WIDER:
            self._kind = "number"
            self.stored["time_number"] = f"TRY_CAST({name} AS BIGINT)"
            self.stored["time_text"] = (
                f"CASE WHEN TRY_CAST({name} AS BIGINT) IS NULL THEN {name}::VARCHAR END"
            )
        elif kind in ("FLOAT", "DOUBLE"):
            self._kind = "number"
            self._form = "DOUBLE"
            self.stored["time_number"] = f"CASE WHEN isnan({name}) THEN NULL ELSE {name}::DOUBLE END"
        elif kind.startswith("DECIMAL"):
            self._kind = "number"
            self._form = "DECIMAL"
            self.stored["time_number"] = f"TRY_CAST({name} AS DECIMAL(28, 9))"
            self.stored["time_text"] = (
                f"CASE WHEN TRY_CAST({name} AS DECIMAL(28, 9)) IS NULL THEN {name}::VARCHAR END"
            )
        elif kind == "DATE" or kind.startswith("TIMESTAMP"):
            self._kind = "time"
            exact = f"{name}::TIMESTAMPTZ" if kind == "TIMESTAMPTZ_NS" else name
            self.stored["time_number"] = f"epoch_us({exact})"
        elif kind.startswith(("VARCHAR", "ENUM", "JSON")) or kind == '"NULL"':
            self._store_text(name if kind == "VARCHAR" else f"{name}::VARCHAR")
        else:
            what = (
                "holds the time of day alone"
                if kind.startswith("TIME")
                else f"is of type {kind.split('(')[0]}"
            )
            raise ColumnError(
                f"column {self._column!r} {what}, which is no time; name another column with --time-column"
            )

    def _store_text(self, name: str) -> None:
        """Choose what the scan reads by what most texts of the sample are."""
        other = self._table.as_text(self._column)
        number = f"TRY_CAST({name} AS BIGINT)"
        whole = f"{name} = {number}::VARCHAR"
        decimal = f"regexp_full_match({name}, {text(_DECIMAL)})"
        sample, engine = self._table.sample(), self._table.engine
        column = quoted(self._column)
        present, wholes, decimals = engine.row(
            f"SELECT count(*), count(*) FILTER (WHERE {whole}), count(*) FILTER (WHERE {decimal}) "
            f"FROM {sample} WHERE {column} IS NOT NULL AND NOT {Table.missing(f'trim({name})')} AND trim({name}) <> ''"
        )
        if wholes and wholes >= _MOSTLY * present:
            self._kind = "number"
            self.stored["time_number"] = f"CASE WHEN {whole} THEN {number} END"
            self.stored["time_text"] = f"CASE WHEN {whole} THEN NULL ELSE {other} END"
            return
        if decimals and decimals >= _MOSTLY * present:
            self._kind = "number"
            self._form = "DECIMAL"
            self.stored["time_number"] = f"CASE WHEN {decimal} THEN TRY_CAST({name} AS DECIMAL(28, 9)) END"
            self.stored["time_text"] = f"CASE WHEN {decimal} THEN NULL ELSE {other} END"
            return
        self._choose_formats(sample, name)
        if not self._formats:
            self.stored["time_text"] = other
            return
        self._kind = "time"
        micros = f"epoch_us({_strptime(name, self._formats)})"
        # strptime takes "epoch" for 0
        known = f"{micros} >= {_YEAR_1000} AND {micros} <> 0"
        self.stored["time_number"] = f"CASE WHEN {known} THEN {micros} END"
        self.stored["time_text"] = f"CASE WHEN {known} THEN NULL ELSE {other} END"

    def _choose_formats(self, sample: str, name: str) -> None:
        """Choose the way in which most texts of the sample are written, and a second one that is common."""
        engine = self._table.engine
        distinct = f"(SELECT {name} AS x, count(*) AS n FROM {sample} WHERE {name} IS NOT NULL GROUP BY 1)"
        frequent = [
            str(x) for (x,) in engine.rows(f"SELECT x FROM {distinct} ORDER BY n DESC, x LIMIT {_LOOKED_AT}")
        ]
        met = [fmt for fmt, looks in _looks().items() if any(looks.fullmatch(x) for x in frequent)]
        if not met:
            return
        total, *each = engine.row(_counting(met, distinct))
        counts = dict(zip(met, each, strict=True))
        orders: dict[str, str] = {}
        for day, month in _EITHER:
            if day not in met and month not in met:
                continue
            only_day, only_month = engine.row(
                f"SELECT coalesce(sum(n) FILTER (WHERE {_read('x', day)} AND NOT {_read('x', month)}), 0), "
                f"coalesce(sum(n) FILTER (WHERE {_read('x', month)} AND NOT {_read('x', day)}), 0) FROM {distinct}"
            )
            for fmt in (day, month):
                counts.pop(fmt, None)
            # where both or none occur, it takes all rows to tell
            if bool(only_day) != bool(only_month):
                chosen = day if only_day else month
                orders[chosen] = "day_first" if only_day else "month_first"
                counts[chosen] = int(engine.row(_counting([chosen], distinct))[1])
        if not counts:
            return
        best = max(counts, key=lambda f: counts[f])
        if counts[best] < _MOSTLY * total:
            return
        self._order = orders.get(best)
        others = [
            f
            for f in counts
            if f != best
            and counts[f] >= 0.1 * total
            and ("%z" in f) == ("%z" in best)
            and orders.get(f) in (None, self._order)
        ]
        self._formats = (best, *sorted(others, key=lambda f: -counts[f])[:2])

    def forget_unstored(self, names: Collection[str]) -> None:
        """Forget the columns that were not stored, since the table has no such values; the others are named."""
        self.stored = {name: sql for name, sql in self.stored.items() if name in names}

    def settle(self, rows: str) -> SettledTimes:
        """Decide what the values mean.

        Args:
            rows: a relation with the stored columns, all rows of it.
        """
        return _Settling(self, rows).settled()

    # what settling looks at

    @property
    def table(self) -> Table:
        """The table."""
        return self._table

    @property
    def column(self) -> str:
        """The column's name."""
        return self._column

    @property
    def kind(self) -> str:
        """What ``time_number`` holds: "number", "time", or "" where it is not stored."""
        return self._kind

    @property
    def form(self) -> str:
        """The type of ``time_number``: "BIGINT", "DECIMAL" or "DOUBLE"."""
        return self._form

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats by which the scan has read texts."""
        return self._formats

    @property
    def order(self) -> str | None:
        """Which of day and month comes first in what the scan has read; None where that is not in question."""
        return self._order

    @property
    def clock(self) -> clocks.ClockColumn | None:
        """The column with the time of day."""
        return self._clock


class _Settling:
    """The decisions on a column, one after the other."""

    def __init__(self, times: TimeColumn, rows: str) -> None:
        self.times, self.rows = times, rows
        self.engine: Engine = times.table.engine
        self.name = times.column
        self.notes: list[Note] = []
        self.texts: str | None = None

    def settled(self) -> SettledTimes:
        times, engine, rows = self.times, self.engine, self.rows
        if "time_text" in times.stored:
            distinct = f"(SELECT time_text AS text, count(*) AS n FROM {rows} WHERE time_text IS NOT NULL GROUP BY 1)"
            if engine.value(f"SELECT count(time_text) FROM {rows}"):
                self.texts = parse_texts(engine, distinct)
        order = choose_order(times.table, self.name, self.texts, self._scanned_order())
        self.notes += order.notes
        if order.contradictory:
            return self._refused(order)
        number = times.kind == "number"
        unit, found_units = self._unit()
        scanned = times.kind and (units.micros("time_number", times.form, unit) if number else "time_number")
        readings = self._readings(order, unit)
        parts = [sentinels.Part(rows, scanned, "1")] if scanned else []
        parts += [] if readings is None else [sentinels.Part(readings, "time_micros", "n")]
        found = sentinels.find(engine, parts, times.clock is not None)
        self.notes += found.notes(self.name)
        unreadable, examples = self._unreadable(scanned if number and not unit.plain else "", readings)
        choices = [found.without(scanned)] if scanned else []
        join = ""
        if readings is not None:
            final = engine.store(
                f"SELECT time_of, {found.without('time_micros')} AS time_micros FROM {readings} "
                "WHERE time_micros IS NOT NULL",
                "times",
            )
            engine.run(f"DROP TABLE {readings}")
            join = f"LEFT JOIN {final} ON time_text = time_of"
            choices.append("time_micros")
        sql = (
            f"coalesce({', '.join(choices)})"
            if len(choices) > 1
            else choices[0]
            if choices
            else "NULL::BIGINT"
        )
        settled = SettledTimes(
            sql=f"({sql})",
            join=join,
            notes=(),
            unreadable=unreadable,
            unreadable_texts=examples,
            missing=self._missing(),
            sentinels=found.rows,
            first=found.first,
            last=found.last,
            ambiguous=order.ambiguous,
            units=found_units,
        )
        if times.clock is not None and found.known:
            settled = self._with_clock(times.clock, settled, found)
        return replace(settled, notes=tuple(self.notes))

    def _scanned_order(self) -> Scanned | None:
        """Return the evidence of what the scan has read on the order of day and month."""
        times = self.times
        if times.order is None:
            return None
        moment = "make_timestamp(time_number)"
        rows, example = self.engine.row(
            f"SELECT count(*), strftime(min({moment}), {text(times.formats[0])}) FROM {self.rows} "
            f"WHERE day({moment}) > 12"
        )
        # the sample has shown the order, even where the rows that show it are left out
        return Scanned(times.order, max(rows, 1), example or times.formats[0])

    def _unit(self) -> tuple[units.Unit, dict[str, int]]:
        """Choose the unit of all numbers, wherever they come from."""
        times, engine = self.times, self.engine
        parts = []
        words = 0
        if times.kind == "number":
            parts.append(units.Numbers(self.rows, "time_number", times.form, "1"))
        if self.texts is not None:
            numbers = f"(SELECT number, n FROM {self.texts} WHERE kind = 'number')"
            parts.append(units.Numbers(numbers, "number", "DECIMAL", "n"))
            words = engine.value(
                f"SELECT coalesce(sum(n), 0)::BIGINT FROM {self.texts} "
                "WHERE kind IN ('date', 'either', 'comma')"
            )
        unit = units.choose_unit(engine, self.name, parts)
        if times.formats:
            words += engine.value(f"SELECT count(time_number) FROM {self.rows}")
        found = ({units.TEXTS: words} if words else {}) | dict(unit.found)
        self.notes += unit.notes
        mixed = units.mixed_note(self.name, found)
        if mixed is not None:
            self.notes.append(mixed)
        return unit, found

    def _readings(self, order: Order, unit: units.Unit) -> str | None:
        """Store the time that each text means: (time_of, n, time_micros, unread); None where there are no texts."""
        if self.texts is None:
            return None
        number = units.micros("number", "DECIMAL", unit)
        reading = (
            f"CASE kind WHEN 'zero' THEN {sentinels.NO_DATE} WHEN 'number' THEN {number} WHEN 'date' THEN sure "
            f"WHEN 'either' THEN {order.either} WHEN 'comma' THEN {order.comma} END"
        )
        stored = self.engine.store(
            f"SELECT text AS time_of, n, kind, {reading} AS time_micros, "
            f"kind <> 'missing' AND ({reading}) IS NULL AS unread FROM {self.texts}",
            "readings",
        )
        self.engine.run(f"DROP TABLE {self.texts}")
        return stored

    def _unreadable(self, scanned: str, readings: str | None) -> tuple[int, tuple[str, ...]]:
        """Count what is no time, and return the first three of it that differ."""
        engine, rows = self.engine, self.rows
        count, conditions, shown = 0, [], []
        if scanned:
            bad = f"(time_number IS NOT NULL AND ({scanned}) IS NULL)"
            found = engine.value(f"SELECT count(*) FROM {rows} WHERE {bad}")
            if found:
                count += found
                conditions.append(bad)
                shown.append("time_number::VARCHAR")
        if readings is not None:
            found = engine.value(f"SELECT coalesce(sum(n), 0)::BIGINT FROM {readings} WHERE unread")
            if found:
                count += found
                conditions.append(f"time_text IN (SELECT time_of FROM {readings} WHERE unread)")
                shown.insert(0, "time_text")
        if not count:
            return 0, ()
        texts = engine.rows(
            f"SELECT coalesce({', '.join(shown)}) FROM {rows} WHERE {' OR '.join(conditions)} LIMIT 1000"
        )
        return count, tuple(dict.fromkeys(str(row[0]) for row in texts))[:3]

    def _missing(self) -> int:
        """Count the rows that hold nothing, or a missing marker."""
        stored = [name for name in ("time_number", "time_text") if name in self.times.stored]
        empty = " AND ".join(f"{name} IS NULL" for name in stored)
        marked = f" OR {Table.missing('time_text')}" if "time_text" in stored else ""
        return int(self.engine.value(f"SELECT count(*) FROM {self.rows} WHERE ({empty}){marked}"))

    def _refused(self, order: Order) -> SettledTimes:
        """Return that no row has a time, since the column contradicts itself."""
        missing = self._missing()
        total = self.engine.value(f"SELECT count(*) FROM {self.rows}")
        return SettledTimes(
            sql="NULL::BIGINT",
            join="",
            notes=order.notes,
            unreadable=total - missing,
            missing=missing,
            contradictory=True,
        )

    def _with_clock(
        self, clock: clocks.ClockColumn, settled: SettledTimes, found: sentinels.Sentinels
    ) -> SettledTimes:
        """Add the time of day of another column, unless the dates have their own."""
        if found.clocked * 10 > found.known:
            text = f"{self.name}: its times have a time of day, so column {clock.column!r} is not used for it"
            self.notes.append(Note(text, column=clock.column))
            return settled
        added = clock.settle(self.rows)
        self.notes += added.notes
        sql = f"({settled.sql} + coalesce({added.sql}, 0))"
        join = " ".join(filter(None, [settled.join, added.join]))
        first, last = self.engine.row(f"SELECT min({sql}), max({sql}) FROM {self.rows} {join}")
        return replace(settled, sql=sql, join=join, first=first, last=last)


@functools.cache
def _looks() -> dict[str, re.Pattern[str]]:
    """Return how texts of each format look."""
    fields = re.compile("|".join(_FIELDS))
    return {fmt: re.compile(fields.sub(lambda found: _FIELDS[found[0]], re.escape(fmt))) for fmt in _FORMATS}


def _strptime(name: str, formats: Sequence[str]) -> str:
    """Return SQL for a text read by the first of some formats that fits; null where none does."""
    if len(formats) == 1:
        return f"try_strptime({name}, {text(formats[0])})"
    return f"try_strptime({name}, [{', '.join(map(text, formats))}])"


def _read(name: str, pattern: str) -> str:
    """Return SQL that tells whether a text is read by a format."""
    return f"coalesce(epoch_us({_strptime(name, [pattern])}) >= {_YEAR_1000}, false)"


def _counting(formats: Sequence[str], relation: str) -> str:
    """Return a query for the number of rows, and of those that each format reads."""
    sums = ", ".join(f"coalesce(sum(n) FILTER (WHERE {_read('x', one)}), 0)::BIGINT" for one in formats)
    return f"SELECT coalesce(sum(n), 0)::BIGINT, {sums} FROM {relation}"
