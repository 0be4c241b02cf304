"""`NumberColumn`: quantities, ratings and the like, with the decimal sign decided for the column as a whole.

Whole numbers and plain decimals are read by the scan of the table itself, into ``X_number``; any other text goes into
``X_text``, which is null almost everywhere, and is understood once all rows are there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from recae.errors import ColumnError
from recae.reading.engine import quoted, text
from recae.reading.table import Note, Table

_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_UNSIGNED: Final = tuple("U" + kind for kind in _WHOLE)
_WIDEST: Final = 200  # columns that are asked for their decimal sign
_CURRENCY: Final = (
    r"(?:us\$|r\$|a\$|c\$|[$€£¥₹₽₩₺]|eur|usd|gbp|chf|jpy|cny|rmb|sek|nok|dkk|pln|zł|kr\.?|fr\.)"
)
_WIDE: Final = (
    "\u2212\u2013０１２３４５６７８９．，\u00a0\u2007\u2009\u202f\u3000'’",
    "--0123456789.,     ",  # the signs without one of their own are left out
)
# no three digits after the point: these may be thousands
_PLAIN: Final = r"-?\d{1,15}\.(?:\d{1,2}|\d{4,15})"
_POINTED: Final = r"-?\d+\.(?:00?|0{4,})"
_INTEGER: Final = r"[+-]?\d+"
_SCIENTIFIC: Final = r"[+-]?\d+(?:[.,]\d*)?e[+-]?\d+"
_SHAPES: Final = {
    # how often each sign occurs, and where, tells what it is
    "whole": _INTEGER,
    "comma": r"[+-]?(?:(?:\d{1,3}(?:\.\d{3})+|\d+|),(?:\d{0,2}|\d{4,})|(?:0|00+\d*|\d{4,}|\d{1,3}(?:\.\d{3})+|),\d{3})",
    "point": r"[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+|)\.(?:\d{0,2}|\d{4,})|(?:0|00+\d*|\d{4,}|\d{1,3}(?:,\d{3})+|)\.\d{3})",
    "commas": r"[+-]?(?:\d{1,3}(?:,\d{3}){2,}|\d{1,2}(?:,\d\d)+,\d{3})",  # 1,200,300 or the lakhs 12,00,300
    "points": r"[+-]?\d{1,3}(?:\.\d{3}){2,}",
    "one comma": r"[+-]?\d{1,3},\d{3}",
    "one point": r"[+-]?\d{1,3}\.\d{3}",
    "scientific": _SCIENTIFIC,
}
_BY_COMMA: Final = ("comma", "points")
"""Shapes that only a decimal comma explains."""
_BY_POINT: Final = ("point", "commas")


@dataclass(frozen=True)
class SettledNumbers:
    """What the values of a column of numbers mean.

    Attributes:
        sql: DOUBLE of a stored row, after the join; null where it is missing, NaN where it is no number.
        join: SQL that joins what texts mean to the stored rows; "" where there are none.
        notes: on how the values were understood.
        decimal_comma: whether a comma comes before the decimals; None where no value tells.
    """

    sql: str
    join: str
    notes: tuple[Note, ...] = ()
    decimal_comma: bool | None = None


class NumberColumn:
    """A column of numbers: what to store of it, and what that means once all rows are stored.

    Args:
        table: the table.
        column: its column.
        role: "quantity", "rating" or "confidence": the beginning of the names of the stored columns.

    Attributes:
        stored: the columns to store, with their SQL over the table.

    Raises:
        ColumnError: the type is no number, such as a date.
    """

    def __init__(self, table: Table, column: str, role: str) -> None:
        """Choose by the column's type what the scan reads."""
        self._table, self._column = table, column
        self._number, self._text = f"{role}_number", f"{role}_text"
        self._pointed = False  # whether there is 2.00, of which the scan keeps no point
        kind, name = table.types[column], quoted(column)
        if kind in _WHOLE or kind in _UNSIGNED or kind.startswith("DECIMAL"):
            self.stored = {self._number: f"{name}::DOUBLE"}
        elif kind in ("FLOAT", "DOUBLE"):
            infinite = f"WHEN isinf({name}) THEN 'NaN'::DOUBLE"
            self.stored = {
                self._number: f"CASE WHEN isnan({name}) THEN NULL {infinite} ELSE {name}::DOUBLE END"
            }
        elif kind.startswith(("VARCHAR", "ENUM", "JSON")) or kind == '"NULL"':
            value = name if kind == "VARCHAR" else f"{name}::VARCHAR"
            whole = f"{value} = TRY_CAST({value} AS BIGINT)::VARCHAR"
            plain = f"regexp_full_match({value}, {text(_PLAIN)})"
            pointed = f"regexp_full_match({value}, {text(_POINTED)})"
            self._pointed = bool(
                table.engine.value(f"SELECT count(*) FILTER (WHERE {pointed}) FROM {table.sample()}")
            )
            self.stored = {
                self._number: f"CASE WHEN {whole} THEN TRY_CAST({value} AS BIGINT)::DOUBLE "
                f"WHEN {plain} THEN TRY_CAST({value} AS DOUBLE) END",
                self._text: f"CASE WHEN {whole} THEN NULL WHEN {plain} THEN NULL ELSE {table.as_text(column)} END",
            }
        else:
            raise ColumnError(
                f"column {column!r} is of type {kind.split('(')[0]}, but a {role} must be a number; "
                f"name another column with --{role}-column"
            )

    def forget_unstored(self, names: Collection[str]) -> None:
        """Forget the columns that were not stored, since the table has no such values; the others are named."""
        self.stored = {name: sql for name, sql in self.stored.items() if name in names}

    def settle(self, rows: str) -> SettledNumbers:
        """Decide what the values mean.

        Args:
            rows: a relation with the stored columns, all rows of it.
        """
        if self._text not in self.stored:
            return SettledNumbers(self._number, "")
        engine = self._table.engine
        column = self._text
        distinct = (
            f"(SELECT {column} AS text, count(*) AS n FROM {rows} WHERE {column} IS NOT NULL GROUP BY 1)"
        )
        shaped = engine.store(
            f"SELECT text, n, t, {_shape('t')} AS shape FROM "
            f"(SELECT text, n, {_bare('text')} AS t FROM {distinct} WHERE NOT {Table.missing('text')})",
            "numbers",
        )
        counts: dict[str, int] = dict(engine.rows(f"SELECT shape, sum(n)::BIGINT FROM {shaped} GROUP BY 1"))
        if not counts:
            engine.run(f"DROP TABLE {shaped}")
            return SettledNumbers(self._number, "")
        decimal_comma, told, notes = self._decide(rows, shaped, counts)
        value = _value("t", "shape", decimal_comma)
        final = engine.store(
            f"SELECT text AS {self._text}_of, {value} AS {self._text}_value FROM {shaped}",
            "numbers",
        )
        engine.run(f"DROP TABLE {shaped}")
        return SettledNumbers(
            f"coalesce({self._number}, {self._text}_value)",
            f"LEFT JOIN {final} ON {self._text} = {self._text}_of",
            notes,
            told,
        )

    def _decide(
        self, rows: str, shaped: str, counts: dict[str, int]
    ) -> tuple[bool, bool | None, tuple[Note, ...]]:
        """Return whether a comma comes before decimals, whether a value tells so, and notes."""
        engine, name = self._table.engine, self._column
        wholes, points = engine.row(
            f"SELECT count(*) FILTER (WHERE {self._number} = floor({self._number})), "
            f"count(*) FILTER (WHERE {self._number} <> floor({self._number})) FROM {rows}"
        )
        by_comma = sum(counts.get(shape, 0) for shape in _BY_COMMA)
        by_point = sum(counts.get(shape, 0) for shape in _BY_POINT) + points
        if self._pointed:
            by_point, wholes = by_point + wholes, 0
        wholes += counts.get("whole", 0)
        commas, dots = counts.get("one comma", 0), counts.get("one point", 0)
        told = None if by_comma == by_point else by_comma > by_point
        if not commas and not dots:
            return bool(told), told, ()
        shape = "one comma" if commas >= dots else "one point"
        example, ends, zeros = engine.row(
            f"SELECT min(text), bool_and(ends_with(t, '000')), bool_or(ends_with(t, '0')) "
            f"FROM {shaped} WHERE shape = '{shape}'"
        )
        doubt = bool(by_comma and by_point)
        if told is not None:
            decimal_comma = told
        elif self._table.decimal_comma is not None:
            decimal_comma, doubt = self._table.decimal_comma, False
        elif commas and dots:  # one of them is a thousands sign, and nothing tells which
            decimal_comma, doubt = commas > dots, True
        elif commas:
            # 1,000 and 3,000 alone are SAP's ones and threes; thousands would be among smaller numbers
            decimal_comma, doubt = bool(ends) and not wholes, not (wholes and zeros)
        else:
            # who writes 1.200 and 30 would write 1.2 if it were one and a fifth
            decimal_comma, doubt = bool(zeros) and bool(wholes), bool(wholes)
        means = _meaning(example, decimal_comma)
        as_what = "decimals" if (shape == "one comma") == decimal_comma else "thousands"
        note = f"{name}: {example!r} is read as {means:g}, the digits behind its sign as {as_what}"
        if not doubt:
            return decimal_comma, told, (Note(note, column=name),)
        why = (
            "but other values have a decimal comma and others a decimal point"
            if by_comma and by_point
            else f"but nothing tells, and {_meaning(example, not decimal_comma):g} is as possible"
        )
        return (
            decimal_comma,
            told,
            (
                Note(
                    f"{note}, {why}",
                    doubt=True,
                    code="numbers-decimal-sign",
                    column=name,
                    advice="write numbers without thousands signs and with a decimal point to be sure",
                    rows=commas + dots,
                ),
            ),
        )


def decimal_comma(table: Table) -> bool | None:
    """Tell whether the numbers of a table are written with a decimal comma, by all its columns of text.

    Args:
        table: the table, of which a sample is looked at.

    Returns:
        True or False where values tell, None where none do or where they contradict each other.
    """
    names = [name for name in table.columns if table.is_text(name)][:_WIDEST]
    if not names:
        return None
    by_comma = "|".join(_SHAPES[shape] for shape in _BY_COMMA)
    by_point = "|".join(_SHAPES[shape] for shape in _BY_POINT)
    every = "|".join(_SHAPES.values())
    sums = ", ".join(
        f"count(*) FILTER (WHERE regexp_full_match(trim({quoted(name)}), {text(pattern)}))"
        for name in names
        for pattern in (by_comma, by_point, every)
    )
    present = ", ".join(f"count(nullif(trim({quoted(name)}), ''))" for name in names)
    row = table.engine.row(f"SELECT {sums}, {present} FROM {table.sample()}")
    commas = points = 0
    for k, filled in enumerate(row[3 * len(names) :]):
        here = row[3 * k : 3 * k + 3]
        # a column of numbers, not of texts of which some look like one
        if filled and here[2] >= 0.9 * filled:
            commas, points = commas + here[0], points + here[1]
    return None if bool(commas) == bool(points) else commas > 0


def _bare(sql: str) -> str:
    """Return SQL for a number without currency, blanks and apostrophes, its minus sign in front."""
    plain = f"translate(lower({sql}), {text(_WIDE[0])}, {text(_WIDE[1])})"
    plain = f"regexp_replace({plain}, '\\s', '', 'g')"
    plain = f"regexp_replace({plain}, '^\\((.+)\\)$', '-\\1')"
    plain = f"regexp_replace({plain}, {text(rf'^([+-]?){_CURRENCY}([+-]?[0-9.,])')}, '\\1\\2')"
    plain = f"regexp_replace({plain}, {text(rf'([0-9.,]-?){_CURRENCY}$')}, '\\1')"
    return f"regexp_replace({plain}, '^([0-9.,]+)-$', '-\\1')"


def _shape(sql: str) -> str:
    """Return SQL for the name of a number's shape; "" for what is no number."""
    cases = " ".join(
        f"WHEN regexp_full_match({sql}, {text(pattern)}) THEN '{name}'" for name, pattern in _SHAPES.items()
    )
    return f"CASE WHEN NOT regexp_matches({sql}, '[0-9]') THEN '' {cases} ELSE '' END"


def _value(sql: str, shape: str, decimal_comma: bool) -> str:
    """Return SQL for the number of a text in bare form; NaN for what is none."""
    with_comma = f"replace(replace({sql}, '.', ''), ',', '.')"
    with_point = f"replace({sql}, ',', '')"
    chosen = with_comma if decimal_comma else with_point
    digits = (
        f"CASE WHEN {shape} IN ('comma', 'points') THEN {with_comma} WHEN {shape} IN ('point', 'commas', 'whole') "
        f"THEN {with_point} WHEN {shape} = 'scientific' THEN replace({sql}, ',', '.') "
        f"WHEN {shape} IN ('one comma', 'one point') THEN {chosen} END"
    )
    number = f"TRY_CAST({digits} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} ELSE 'NaN'::DOUBLE END"


def _meaning(example: str, decimal_comma: bool) -> float:
    """Return what a number with one comma or point and three digits behind it means, for a note."""
    digits = "".join(c for c in example if c.isdecimal() or c in ",.")
    digits = digits.replace(".", "").replace(",", ".") if decimal_comma else digits.replace(",", "")
    return float(digits)
