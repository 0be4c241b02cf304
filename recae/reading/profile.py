"""`Profile`: what the values of a table's columns are like, by SQL on its first rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from recae.reading.engine import quoted
from recae.reading.table import Table

MANY: Final = 20
"""Rows from which on what the values are like tells something."""

_SHOWN: Final = 1000  # distinct values of a column that are looked at one by one
_COUNTED: Final = 400_000  # rows in which different values are counted
_WIDER: Final = 200_000  # rows looked at where the first ones repeat too little
_TOGETHER: Final = 12  # columns that one query looks at: to plan it takes longer than to run it

_MONTH_WORDS: Final = """
    jan feb fév fev mar mär mae mrz apr abr avr may mai mei mag jun jui giu jul lug aug aoû aou ago sep set oct okt out
    ott nov dec dez déc dic ene gen янв фев мар апр май мая июн июл авг сен окт ноя дек
"""
_OTHER_WORDS: Final = """
    mon tue wed thu fri sat sun mo di mi do fr sa so die mit don fre sam son lun mar mer jeu ven dim mié jue vie sáb dom
    seg ter qua qui sex gio maa din woe vri zat zon am pm a p m at um uhr de del of the st nd rd th er utc gmt z t h le
    el il cet cest est edt pst pdt bst
"""
_MONTHS: Final = frozenset(_MONTH_WORDS.split())  # their first three letters
_OF_DATES: Final = frozenset(_OTHER_WORDS.split())
_DAY: Final = r"(0?[1-9]|[12]\d|3[01])"
_MONTH: Final = r"(0?[1-9]|1[0-2])"
_YEAR: Final = r"(1[89]|2[01])\d\d"
_DATE: Final = re.compile(
    rf"""(?ix)
    {_YEAR} \s?[-/.\s年년]\s? {_MONTH} ( \s?[-/.\s月월]\s? {_DAY} [日일]? )? (?![-\d]) .*   # 2023-01-04…, 2023年1月4日
    | ({_DAY} \s?[-/.]\s? {_MONTH} | {_MONTH} \s?[-/.]\s? {_DAY}) \s?[-/.]\s? ({_YEAR}|\d\d) (?![-\d]) .*
    | {_YEAR} -?W\d\d .* | {_YEAR} \d{{4}} T\d{{4,6}} .*
    | {_MONTH} \s {_DAY} , \s {_YEAR}                                                 # 01 04, 2023
    """
)
_TIME_OF_DAY: Final = re.compile(
    r"(?i)\d{1,2}\s?[:.h時时]\s?\d{2}([:.分]\d{2}([.,]\d+)?秒?)?\s*([ap]\.?\s?m\.?)?\s*|\d{1,2}\s?[ap]\.?m\.?"
)
_WITH_TIME: Final = re.compile(r".*\d\s?[:h時时]\s?\d\d.*|.*T\d{4,6}.*")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_NUMBER: Final = re.compile(
    r"[+-]?[\d.,'\u00a0\u202f ]*\d[\d.,'\u00a0\u202f ]*(e[+-]?\d+)?[+-]?", re.IGNORECASE
)


@dataclass(frozen=True)
class Facts:
    """What the values of one column are like, in the first rows.

    Attributes:
        rows: rows looked at.
        filled: rows with a value.
        distinct: different values.
        top: the most frequent values, with their rows.
        first: the first value, "" for none.
    """

    rows: int
    filled: int
    distinct: int
    top: tuple[tuple[str, int], ...]
    first: str

    @property
    def share_filled(self) -> float:
        """Share of rows with a value."""
        return self.filled / self.rows if self.rows else 0.0

    def share(self, pattern: re.Pattern[str]) -> float:
        """Return the share of the most frequent values, by rows, that match a pattern wholly."""
        total = sum(count for _, count in self.top)
        return sum(c for value, c in self.top if pattern.fullmatch(value)) / total if total else 0.0

    def telling(self, meaning: Callable[[str], str | None], most: int = 50) -> float:
        """Return the share of rows whose value is a word of some meaning; 0 where there are many values, or numbers."""
        if not 0 < self.distinct <= most or self.numeric >= 0.5:
            return 0.0
        return sum(count for value, count in self.top if meaning(value) is not None) / self.filled

    @cached_property
    def numbers(self) -> list[float]:
        """The most frequent values that are numbers."""
        return [number for value, _ in self.top if (number := as_number(value)) is not None]

    @cached_property
    def numeric(self) -> float:
        """Share of rows whose value is a number, be it with a decimal comma or thousands."""
        return self.share(_NUMBER)

    @cached_property
    def whole(self) -> bool:
        """Whether all numbers are whole."""
        return all(number.is_integer() for number in self.numbers)

    @cached_property
    def emails(self) -> bool:
        """Whether the values are email addresses."""
        return self.share(_EMAIL) >= 0.8

    @cached_property
    def dates(self) -> bool:
        """Whether the values look like dates, by more than being numbers."""
        total = sum(count for _, count in self.top)
        return sum(count for value, count in self.top if _is_date(value)) > 0.5 * total

    @cached_property
    def dated_numbers(self) -> bool:
        """Whether the values are numbers that mean a date: YYYYMMDD, or seconds (ms, µs, ns) since 1970."""
        near = [n for n in self.numbers if _is_day(n) or _is_since_1970(n)]
        return self.numeric >= 0.5 and len(near) >= 0.9 * max(len(self.numbers), 1)

    @cached_property
    def excel_days(self) -> bool:
        """Whether the values are numbers that Excel would show as dates of 1982 to 2064."""
        return self.numeric >= 0.9 and all(30_000 <= number <= 60_000 for number in self.numbers)

    @cached_property
    def times_of_day(self) -> bool:
        """Whether the values are times of day: 15:17, 3:17 pm, or 1517."""
        if self.share(_TIME_OF_DAY) >= 0.9:
            return True
        numbers = self.numbers
        return (
            self.numeric >= 0.99
            and self.distinct > 1
            and self.whole
            and all(0 <= n < 2400 and n % 100 < 60 for n in numbers)
        ) or (
            self.numeric >= 0.99
            and self.whole
            and bool(numbers)
            and max(numbers) > 2400
            and all(0 <= n < 240_000 and n % 100 < 60 and n // 100 % 100 < 60 for n in numbers)
        )

    @cached_property
    def with_time(self) -> bool:
        """Whether the values are dates with a time of day that is not always midnight."""
        timed = [value for value, _ in self.top if _WITH_TIME.fullmatch(value)]
        return len(timed) >= 0.5 * len(self.top) and any(not re.search(r"\D0?0:00(:00)?", v) for v in timed)

    def quoted_values(self, most: int = 3) -> str:
        """Return the most frequent values for a sentence."""
        shown = ", ".join(repr(value[:40]) for value, _ in self.top[:most])
        return shown + (", …" if self.distinct > most else "")


class Profile:
    """The values of a table's columns, each looked at when asked for.

    Args:
        table: whose first rows are looked at.
    """

    def __init__(self, table: Table) -> None:
        """Keep the table; nothing is read yet."""
        self.table = table
        self._facts: dict[str, Facts] = {}
        self._values: dict[str, tuple[str, int]] = {}  # the relation (c, r, v) and the c of a column
        self._determined: dict[tuple[str, str], tuple[float, int]] = {}

    def value(self, column: str) -> str:
        """Return SQL for a column's text, null where it stands for no value."""
        text = self.table.as_text(column)
        return f"CASE WHEN {Table.missing(text)} THEN NULL ELSE {text} END"

    @cached_property
    def rows(self) -> int:
        """Rows looked at."""
        return int(self.table.engine.value(f"SELECT count(*) FROM {self.table.sample()}"))

    def facts(self, column: str) -> Facts:
        """Return what a column's values are like."""
        if column not in self._facts:
            self._look(column)
        return self._facts[column]

    def _look(self, column: str) -> None:
        """Look at a column, and at the next ones with it."""
        engine, columns = self.table.engine, self.table.columns
        later = [name for name in columns[columns.index(column) :] if name not in self._facts]
        looked_at = later[:_TOGETHER]
        texts = ", ".join(f"{quoted(name)}::VARCHAR AS c{at}" for at, name in enumerate(looked_at))
        names = ", ".join(f"c{at}" for at in range(len(looked_at)))
        # by a number of our own: a column of the table may be called rowid
        numbered = f"SELECT row_number() OVER () AS r, {texts} FROM {self.table.sample()}"
        values = engine.store(
            f"SELECT c, r, CASE WHEN NOT {Table.missing('v')} THEN v END AS v FROM ("
            f"SELECT c[2:]::INTEGER AS c, r, {Table.trimmed('v')} AS v FROM ("
            f"UNPIVOT ({numbered}) ON {names} INTO NAME c VALUE v))",
            "values",
        )
        grouped = f"SELECT c, v, count(*) AS n, min(r) AS i FROM {values} WHERE v IS NOT NULL GROUP BY c, v"
        top: list[list[tuple[str, int, int]]] = [[] for _ in looked_at]
        for at, *found in engine.rows(
            f"SELECT c, left(v, 200), n, i FROM ({grouped}) "
            f"QUALIFY row_number() OVER (PARTITION BY c ORDER BY n DESC, i) <= {_SHOWN} ORDER BY c, n DESC, i"
        ):
            top[at].append((found[0], found[1], found[2]))
        all_of = {}
        if any(len(shown) == _SHOWN for shown in top):
            totals = (
                f"SELECT c, sum(n)::BIGINT, count(*), arg_min(left(v, 200), i) FROM ({grouped}) GROUP BY c"
            )
            all_of = {at: total for at, *total in engine.rows(totals)}
        for at, (name, shown) in enumerate(zip(looked_at, top, strict=True)):
            if len(shown) == _SHOWN:
                filled, distinct, first = all_of[at]
            else:
                filled, distinct = sum(n for _, n, _ in shown), len(shown)
                first = min(shown, key=lambda row: row[2])[0] if shown else ""
            self._facts[name] = Facts(self.rows, filled, distinct, tuple((v, n) for v, n, _ in shown), first)
            self._values[name] = values, at

    def determined(self, by: str, column: str, wider: bool = True) -> tuple[float, int]:
        """Return how far one column determines another.

        Args:
            by: the column that may determine.
            column: the column that may be determined.
            wider: look at more rows where the first ones do not repeat enough values.

        Returns:
            Of the rows whose value of `by` occurs more than once: the share that carries the most frequent `column` of
            their `by`, 1 if there are none; and their number.
        """
        key = (by, column)
        if key not in self._determined:
            found = self._determine(self._two(by, column))
            if wider and found[1] < 200 and self.rows >= 20_000:
                values = f"{self.value(by)} AS a, {self.value(column)} AS b"
                found = self._determine(f"SELECT {values} FROM {self.table.sample(_WIDER)}")
            self._determined[key] = found
        return self._determined[key]

    def _two(self, one: str, other: str) -> str:
        """Return SQL for the values of two columns as `a` and `b`, row by row."""
        self.facts(one), self.facts(other)
        (of_one, a), (of_other, b) = self._values[one], self._values[other]
        rows = f"SELECT r, c = {a} AS is_a, c = {b} AS is_b, v FROM {of_one} WHERE c IN ({a}, {b})"
        if of_other != of_one:
            rows = (
                f"SELECT r, true AS is_a, false AS is_b, v FROM {of_one} WHERE c = {a} "
                f"UNION ALL SELECT r, false, true, v FROM {of_other} WHERE c = {b}"
            )
        return f"SELECT max(v) FILTER (is_a) AS a, max(v) FILTER (is_b) AS b FROM ({rows}) GROUP BY r"

    def _determine(self, values: str) -> tuple[float, int]:
        """Return how far `a` determines `b` in a relation (a, b), as `determined`."""
        most, rows = self.table.engine.row(
            "SELECT coalesce(sum(most), 0), coalesce(sum(rows), 0) FROM ("
            "SELECT a, max(n) AS most, sum(n) AS rows FROM ("
            f"SELECT a, b, count(*) AS n FROM ({values}) "
            "WHERE a IS NOT NULL AND b IS NOT NULL GROUP BY a, b) GROUP BY a HAVING sum(n) > 1)"
        )
        return (float(most) / float(rows) if rows else 1.0), int(rows)

    def same(self, one: str, other: str, share: float = 0.98) -> bool:
        """Tell whether two columns say the same: each determines the other."""
        return self.determined(one, other)[0] >= share and self.determined(other, one)[0] >= share

    def distinct(self, *columns: str) -> list[int]:
        """Return how many different values columns have in the table, or in its first rows where it is long."""
        counts = ", ".join(f"count(DISTINCT {self.value(column)})" for column in columns)
        names = ", ".join(map(quoted, columns))
        rows = f"(SELECT {names} FROM {self.table.relation} LIMIT {_COUNTED})"
        return [int(n) for n in self.table.engine.row(f"SELECT {counts} FROM {rows}")]

    def unique(self, column: str) -> bool:
        """Tell whether each of the first rows has a value of its own."""
        facts = self.facts(column)
        return facts.filled > 0 and facts.distinct == facts.filled

    def restarts(self, column: str, order: str) -> bool:
        """Tell whether a column numbers the lines of each order: 1, 2, 3 or 10, 20, 30 from the same start."""
        facts = self.facts(column)
        if facts.numeric < 0.99 or not facts.whole or facts.distinct < 2:
            return False
        found = self.table.engine.rows(
            "SELECT count(*), count(DISTINCT v), min(v) FROM ("
            f"SELECT a, try_cast(b AS DOUBLE) AS v FROM ({self._two(order, column)})) "
            "WHERE a IS NOT NULL AND v IS NOT NULL GROUP BY a"
        )
        if sum(1 for lines, *_ in found if lines > 1) < 2:
            return False
        starts = [low for _, _, low in found]
        start = max(set(starts), key=starts.count)
        same = sum(1 for low in starts if low == start) / len(found)
        once = sum(1 for lines, distinct, _ in found if lines == distinct) / len(found)
        longest = max(distinct for _, distinct, _ in found)
        return (
            same >= 0.9
            and once >= 0.9
            and facts.distinct <= max(1.5 * longest, longest + 2)
            and start <= 1000
        )


def as_number(value: str) -> float | None:
    """Return the number that a text is, by its point or its comma; None if it is none."""
    text = re.sub(r"[\s'\u00a0\u202f]", "", value)
    if text.endswith("-"):
        text = "-" + text[:-1]
    if "," in text:
        text = (
            text.replace(".", "").replace(",", ".")
            if text.rfind(",") > text.rfind(".")
            else text.replace(",", "")
        )
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e300 else None


def _is_date(value: str) -> bool:
    """Tell whether a text is a date of digits, or one with the name of its month and nothing that is none."""
    if _DATE.fullmatch(value):
        return True
    words = re.findall(r"[^\W\d_]+", value.lower())
    months = [word for word in words if word[:3] in _MONTHS]
    others = [
        word
        for word in words
        if word[:3] not in _MONTHS and word not in _OF_DATES and word[:3] not in _OF_DATES
    ]
    return len(set(months)) == 1 and not others and len(re.findall(r"\d+", value)) >= 2 and len(value) < 50


def _is_day(number: float) -> bool:
    day = int(number)
    if day != number:
        return False
    if 10**13 <= day < 10**14:  # YYYYMMDDhhmmss
        day //= 10**6
    return 1900 <= day // 10_000 <= 9999 and 1 <= day // 100 % 100 <= 12 and 1 <= day % 100 <= 31


def _is_since_1970(number: float) -> bool:
    return any(3e8 <= abs(number) / unit < 5e9 for unit in (1, 1e3, 1e6, 1e9))
