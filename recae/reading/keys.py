"""Ids as keys: a number where the id is the text of one, its exact text otherwise; and their order as text.

Most ids are whole numbers, which are compared and stored many times as fast as texts. A column of ids therefore becomes
two columns of the stored rows: ``X_number`` (BIGINT) where the digits are exactly those of the number, and ``X_text``
where they are not. Both are null where there is no id.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recae.errors import ColumnError, SourceError
from recae.reading.engine import Engine, quoted, text
from recae.reading.table import Note, Table

_WHOLE: Final = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_BLANKS: Final = text(" \t\n\r\x0b\x0c\u00a0\u2007\u202f\u3000")
_MOSTLY: Final = 0.5  # of the sampled ids are numbers where a column of numbers pays
_DENSE: Final = 4  # places a row that an array by number may have


@dataclass(frozen=True)
class IdColumn:
    """A column of ids in the stored rows.

    Attributes:
        role: "user" or "item".
        column: its name in the table.
        number, text: SQL over the source; None where no id is of that form.
        floats: whether the column is of a type of floats.
    """

    role: str
    column: str
    number: str | None
    text: str | None
    floats: bool = False

    @classmethod
    def of(cls, table: Table, role: str, column: str) -> IdColumn:
        """Return how to store a column of ids.

        Raises:
            ColumnError: the type has no text, such as a list.
            SourceError: bytes are not UTF-8.
        """
        kind, name = table.types[column], quoted(column)
        if kind in _WHOLE:
            return cls(role, column, f"{name}::BIGINT", None)
        if kind in ("UBIGINT", "HUGEINT", "UHUGEINT"):
            return cls(role, column, f"TRY_CAST({name} AS BIGINT)", _unless_whole(name, f"{name}::VARCHAR"))
        if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
            floats = not kind.startswith("DECIMAL")
            known = f"CASE WHEN isnan({name}::DOUBLE) THEN NULL ELSE {name} END"
            whole = f"CASE WHEN ({known}) = trunc({name}) THEN TRY_CAST({name} AS BIGINT) END"
            digits = (
                f"coalesce(CASE WHEN {name} = trunc({name}) THEN TRY_CAST({name} AS HUGEINT)::VARCHAR END, "
            )
            other = f"{digits}({known})::VARCHAR)"
            return cls(role, column, whole, f"CASE WHEN ({whole}) IS NULL THEN {other} END", floats)
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
            raise ColumnError(
                f"column {column!r} is of type {kind.split('(')[0]}, but ids must be text or numbers; choose another "
                f"with --{role}-column"
            )
        if kind == "BLOB":
            broken = table.engine.value(
                f"SELECT count({name}) - count(try(decode({name}))) FROM {table.relation}"
            )
            if broken:
                raise SourceError(f"column {column!r} holds bytes that are not UTF-8; write it as text")
            return cls(role, column, None, f"decode({name})")
        if kind != "VARCHAR":
            return cls(role, column, None, f"{name}::VARCHAR")
        canonical = f"{name} = TRY_CAST({name} AS BIGINT)::VARCHAR"
        counts = table.engine.row(
            f"SELECT count(*) FILTER (WHERE {canonical}), count({name}) FROM {table.sample()}"
        )
        if counts[0] < _MOSTLY * counts[1] or not counts[1]:
            return cls(role, column, None, name)
        number = f"CASE WHEN {canonical} THEN TRY_CAST({name} AS BIGINT) END"
        return cls(role, column, number, f"CASE WHEN {canonical} THEN NULL ELSE {name} END")

    @property
    def stored(self) -> dict[str, str]:
        """The columns to store, with their SQL."""
        columns = {f"{self.role}_number": self.number, f"{self.role}_text": self.text}
        return {name: sql for name, sql in columns.items() if sql is not None}

    def of_stored(self, names: Collection[str]) -> IdColumn:
        """Return the column as it is where only those of its columns that are named were stored."""
        number, exact = (
            sql if f"{self.role}_{form}" in names else None
            for form, sql in (("number", self.number), ("text", self.text))
        )
        return replace(self, number=number, text=exact)


def _unless_whole(name: str, other: str) -> str:
    return f"CASE WHEN TRY_CAST({name} AS BIGINT) IS NULL THEN {other} END"


@dataclass(frozen=True)
class Ids:
    """The distinct ids of a column, numbered by text order.

    Attributes:
        role: "user" or "item".
        table: (code INTEGER, id VARCHAR, number BIGINT, text VARCHAR, n BIGINT) in the engine; code null for what is
            no id: blanks and missing markers.
        size: how many ids there are.
        join: SQL that joins it to stored rows.
        code: SQL for a row's code after that.
        notes: on what may be damaged about them.
        floats: whether the column is of a type of floats.
        first: the least number among them, where all are numbers that lie close enough together for an array; else
            None.
        last: the greatest one.
    """

    role: str
    table: str
    size: int
    join: str
    code: str
    notes: tuple[Note, ...]
    floats: bool
    first: int | None = None
    last: int | None = None

    def codes_by_number(self, engine: Engine) -> NDArray[np.int32]:
        """Return the code of each number from `first` on, behind a −1 for no number, (2 + last − first,); −1 for none.

        A look into an array takes a fraction of what a join takes.
        """
        if self.first is None or self.last is None:
            raise ValueError("ids without bounds have no array of codes")
        codes = np.full(self.last - self.first + 2, -1, dtype=np.int32)
        found = engine.arrow(
            f"SELECT number - ({self.first}) + 1 AS place, code FROM {self.table} "
            "WHERE number IS NOT NULL AND code IS NOT NULL"
        )
        codes[found.column("place").to_numpy()] = found.column("code").to_numpy()
        return codes


def number_ids(engine: Engine, rows: str, column: IdColumn, where: str = "true") -> Ids:
    """Number the ids of stored rows by text order, so that the order of the rows does not matter.

    Args:
        engine: that holds the rows.
        rows: the table of stored rows.
        column: which ids.
        where: SQL over the rows: those that count.
    """
    role = column.role
    number = f"{role}_number" if column.number is not None else "NULL::BIGINT"
    exact = f"{role}_text" if column.text is not None else "NULL::VARCHAR"
    both = column.number is not None and column.text is not None
    if both and not engine.value(f"SELECT count({exact}) FROM {rows}"):
        exact = "NULL::VARCHAR"  # numbers alone are told apart faster
    bare = f"trim(text, {_BLANKS})"
    valid = f"number IS NOT NULL OR (text IS NOT NULL AND {bare} <> '' AND NOT {Table.missing(bare)})"
    raw = engine.store(
        f"SELECT number, text, coalesce(text, number::VARCHAR) AS id, n, {valid} AS valid FROM (SELECT "
        f"{number} AS number, {exact} AS text, count(*) AS n FROM {rows} WHERE {where} GROUP BY ALL)",
        f"{role}s_raw",
    )
    # with how whole numbers look after a trip through a column of floats
    pointed, others, example, marked = engine.row(
        f"SELECT count(*) FILTER (valid AND regexp_full_match(text, '-?[0-9]+\\.0')), count(*) FILTER (valid), "
        f"min(id) FILTER (valid), count(*) FILTER (NOT valid AND {bare} <> '') FROM {raw}"
    )
    markers = f"SELECT {bare}, sum(n)::BIGINT FROM {raw} WHERE NOT valid AND {bare} <> '' GROUP BY 1 ORDER BY 2 DESC, 1"
    notes = [
        Note(
            f"{column.column}: {marker!r} in {count:,} row{'s' * (count != 1)} is taken as no {role}",
            doubt=False,
            code="ids-look-missing",
            column=column.column,
            rows=count,
        )
        for marker, count in (engine.rows(markers) if marked else [])
    ]
    final = "id"
    if others and pointed == others:
        final = "left(id, -2)"
        notes.append(
            Note(
                f"{column.column}: every value looks like {example}, read as whole numbers ({example[:-2]})",
                doubt=True,
                column=column.column,
            )
        )
    elif column.floats and others:
        points = engine.value(f"SELECT count(*) FROM {raw} WHERE id LIKE '%.%'")
        if not points:
            notes.append(
                Note(
                    f"{column.column}: a column of floats, read as whole numbers ({example})",
                    doubt=True,
                    column=column.column,
                )
            )
    table = engine.store(
        f"SELECT CASE WHEN valid THEN (row_number() OVER (PARTITION BY valid ORDER BY {final}) - 1)::INTEGER END "
        f"AS code, {final} AS id, number, text, n FROM {raw}",
        f"{role}s",
    )
    size, numbers, texts, first, last, rows_counted = engine.row(
        f"SELECT count(code), count(number), count(text), min(number), max(number), sum(n)::BIGINT FROM {table}"
    )
    engine.run(f"DROP TABLE {raw}")
    dense = numbers and not texts and last - first < max(_DENSE * rows_counted, 2**16)
    joins, codes = [], []
    for form, present in (("number", numbers), ("text", texts)):
        if present:
            alias = f"{role}_by_{form}"
            joins.append(
                f"LEFT JOIN (SELECT {form} AS {role}_{form}, code FROM {table} WHERE {form} IS NOT NULL) {alias} "
                f"USING ({role}_{form})"
            )
            codes.append(f"{alias}.code")
    code = f"coalesce({', '.join(codes)})" if codes else "NULL::INTEGER"
    bounds = (int(first), int(last)) if dense else (None, None)
    return Ids(role, table, int(size), " ".join(joins), code, tuple(notes), column.floats, *bounds)
