"""The rows of a table, stored once in the engine: numbered ids, settled times and quantities, and each row's fate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from recae.errors import ColumnError
from recae.reading import report as why
from recae.reading.counting import RowCounting
from recae.reading.engine import Engine, quoted
from recae.reading.keys import IdColumn, Ids, number_ids
from recae.reading.numbers import NumberColumn, SettledNumbers
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.table import Note, Table
from recae.reading.times import SettledTimes, TimeColumn

_COUNTS: Final = "0::UTINYINT"
"""The fate of a purchase where all rows count."""


@dataclass(frozen=True, eq=False)
class Stored:
    """The rows of a table in its engine.

    Attributes:
        rows: table (the columns of the roles as they were read, of every row of the source, in their order).
        purchases: table (row INTEGER or BIGINT from 1, user INTEGER, item INTEGER, time BIGINT microseconds, quantity
            DOUBLE, basket VARCHAR, confidence DOUBLE, fate UTINYINT), a row for each row of the source that is not left
            out. The columns from time to confidence are there only where the table has them. Fate is 0 for a purchase,
            duplicates among them, else 1 and the place of the reason in `REASONS`. User and item are codes of `Ids`.
        users, items: the ids of purchases by code.
        user_column, item_column: how the ids of users and items are stored in `rows`.
        times: how times were understood; None without.
        quantities: likewise.
        n_rows: rows of the source.
        left_out: reason to number of rows that are left out by what was chosen.
        dropped: reason to number of rows that are no purchases, duplicates not yet among them.
        columns: of `purchases`.
        notes: on how values were understood.
    """

    rows: str
    purchases: str
    users: Ids
    items: Ids
    user_column: IdColumn
    item_column: IdColumn
    times: SettledTimes | None
    quantities: SettledNumbers | None
    n_rows: int
    left_out: dict[str, int]
    dropped: dict[str, int]
    columns: frozenset[str]
    notes: tuple[Note, ...] = field(default=())

    @property
    def timed(self) -> bool:
        """Whether purchases have times."""
        return "time" in self.columns


def store(table: Table, columns: Columns, counting: RowCounting, options: ReadOptions) -> Stored:
    """Scan a table once, number its ids, and settle what its times and quantities mean.

    Args:
        table: to be read.
        columns: their roles.
        counting: which rows count.
        options: how to read it.

    Raises:
        SourceError: the table cannot be read to its end.
        ColumnError: a column is of a type that cannot be used, or one that was named holds no times.
    """
    engine = table.engine
    ids = [IdColumn.of(table, role, getattr(columns, role)) for role in ("user", "item")]
    time = None if columns.time is None else TimeColumn(table, columns.time, columns.clock)
    quantity = None if columns.quantity is None else NumberColumn(table, columns.quantity, "quantity")
    parts: dict[str, str] = {**ids[0].stored, **ids[1].stored}
    for reader in (time, quantity):
        if reader is not None:
            parts |= reader.stored
    if columns.name is not None:
        parts["name"] = table.as_text(columns.name)
    if columns.basket is not None and (options.baskets or time is None):
        parts["basket"] = table.as_text(columns.basket)
    if counting.confidence is not None:
        parts["confidence"] = counting.confidence
    if counting.conditions:
        cases = " ".join(f"WHEN {sql} THEN {i}" for i, (_, sql) in enumerate(counting.conditions, 1))
        parts["out"] = f"(CASE {cases} ELSE 0 END)::UTINYINT"
    if counting.inputs:
        cases = " ".join(f"WHEN {sql} THEN {i}" for i, (_, sql) in enumerate(counting.inputs, 1))
        parts["input"] = f"(CASE {cases} ELSE 0 END)::UTINYINT"
    rows, parts = _scan(table, counting.relation or table.relation, parts)
    ids = [column.of_stored(parts) for column in ids]
    for reader in (time, quantity):
        if reader is not None:
            reader.forget_unstored(parts)
    n_rows = int(engine.value(f"SELECT count(*) FROM {rows}"))
    counted, left_out = "true", {}
    if counting.conditions:
        counted = "out = 0"
        found = dict(engine.rows(f"SELECT out, count(*) FROM {rows} GROUP BY 1"))
        reasons = [reason for reason, _ in counting.conditions]
        left_out = {reason: int(found[i]) for i, reason in enumerate(reasons, 1) if i in found}
    users, items = (number_ids(engine, rows, column, counted) for column in ids)
    notes = [*users.notes, *items.notes]
    counted_rows = rows if counted == "true" else f"(SELECT * FROM {rows} WHERE {counted})"
    times = None if time is None else _settled_times(time, counted_rows, columns, options, notes)
    quantities = None if quantity is None else quantity.settle(counted_rows)
    notes += [] if quantities is None else quantities.notes
    coded, codes = _look_up(engine, rows, n_rows, [users, items])
    selected = _purchase_columns(codes[0], codes[1], times, quantities, parts)
    joins = [
        *(code.join for code in codes),
        *(found.join for found in (times, quantities) if found is not None),
    ]
    number = "(rowid + 1)::INTEGER" if n_rows < 2**31 - 1 else "rowid + 1"
    source = f"(SELECT *, {number} AS row FROM {rows})"
    if coded is not None:
        source = f"(SELECT * FROM {source} POSITIONAL JOIN {coded})"
    # what is the same in all rows, or follows from their place, need not be stored; joins change the places
    followed = {"row": number} if counted == "true" and not any(joins) else {}
    followed |= {"fate": selected["fate"]} if selected["fate"] == _COUNTS else {}
    stored = {name: sql for name, sql in selected.items() if name not in followed}
    purchases = engine.store(
        f"SELECT {_listed(stored)} FROM (SELECT * FROM {source} WHERE {counted}) r {' '.join(joins)}",
        "purchases",
    )
    if coded is not None:
        engine.unregister(coded)
    if followed:
        order = ", ".join(
            f"{followed[name]} AS {name}" if name in followed else quoted(name) for name in selected
        )
        purchases = engine.view(f"SELECT {order} FROM {purchases}", "purchases")
    counts = dict(engine.rows(f"SELECT fate, count(*) FROM {purchases} GROUP BY 1"))
    dropped = {reason: int(counts[i]) for i, reason in enumerate(why.REASONS, 1) if i in counts}
    return Stored(
        rows,
        purchases,
        users,
        items,
        ids[0],
        ids[1],
        times,
        quantities,
        n_rows,
        left_out,
        dropped,
        frozenset(selected),
        tuple(notes),
    )


def _scan(table: Table, relation: str, parts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Store the rows, and of the texts beside numbers only those that there are.

    A column without any text takes 16 bytes a row. So where the sample has no text beside its numbers, the scan only
    takes note of whether there are any, and is done again in the rare case that there are.

    Args:
        table: for its sample.
        relation: the rows to store.
        parts: the columns to store, with their SQL.

    Returns:
        The name of the table, and the parts that it holds.
    """
    engine = table.engine
    beside = [name for name in parts if name.endswith("_text") and f"{name[:-5]}_number" in parts]
    if beside:
        counted = ", ".join(f"count({parts[name]})" for name in beside)
        counts = engine.row(f"SELECT {counted} FROM {table.sample()}")
        beside = [name for name, count in zip(beside, counts, strict=True) if not count]
    chosen = {name: sql for name, sql in parts.items() if name not in beside}
    if beside:
        odd = " OR ".join(f"({parts[name]}) IS NOT NULL" for name in beside)
        rows = engine.store(f"SELECT {_listed(chosen)}, ({odd}) AS odd FROM {relation}", "rows")
        if not engine.value(f"SELECT bool_or(odd) FROM {rows}"):
            return rows, chosen
        engine.run(f"DROP TABLE {rows}")
    return engine.store(f"SELECT {_listed(parts)} FROM {relation}", "rows"), dict(parts)


def _listed(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{sql} AS {quoted(name)}" for name, sql in parts.items())


@dataclass(frozen=True)
class _Code:
    """A row's code of a user or an item: its SQL, the join that it needs, and whether every row has one."""

    sql: str
    join: str = ""
    always: bool = False


def _look_up(engine: Engine, rows: str, n_rows: int, both: Sequence[Ids]) -> tuple[str | None, list[_Code]]:
    """Return a relation with a row of codes for each stored row, and what to select of it.

    Where numbers lie too far apart, or ids are texts, they are joined instead; without others there is no relation.
    """
    dense = [ids for ids in both if ids.first is not None]
    if not dense:
        return None, [_Code(ids.code, ids.join) for ids in both]
    tables = {ids.role: ids.codes_by_number(engine) for ids in dense}
    codes = {ids.role: np.empty(n_rows, dtype=np.int32) for ids in dense}
    places = {
        ids.role: f"CASE WHEN {ids.role}_number BETWEEN {ids.first} AND {ids.last} "
        f"THEN {ids.role}_number - ({ids.first}) + 1 ELSE 0 END"
        for ids in dense
    }
    start = 0
    for batch in engine.batches(f"SELECT {_listed(places)} FROM {rows}"):
        stop = start + batch.num_rows
        for role, table in tables.items():
            np.take(table, batch.column(role).to_numpy(), out=codes[role][start:stop])
        start = stop
    found = []
    for ids in both:
        if ids.role in codes:
            always = not (codes[ids.role] < 0).any()
            code = f"r.{ids.role}_code"
            found.append(_Code(code if always else f"nullif({code}, -1)", always=always))
        else:
            found.append(_Code(ids.code, ids.join))
    named = {f"{role}_code": pa.array(of_rows) for role, of_rows in codes.items()}
    return engine.register(pa.table(named)), found


def _purchase_columns(
    user: _Code,
    item: _Code,
    times: SettledTimes | None,
    quantities: SettledNumbers | None,
    parts: Mapping[str, str],
) -> dict[str, str]:
    """Return the columns of the purchases with their SQL over the stored rows."""
    lacking = ((user, why.NO_USER), (item, why.NO_ITEM))
    fates = [(f"{code.sql} IS NULL", reason) for code, reason in lacking if not code.always]
    selected = {"row": "r.row", "user": user.sql, "item": item.sql}
    if times is not None:
        selected["time"] = times.sql
    if quantities is not None:
        selected["quantity"] = f"coalesce({quantities.sql}, 1)"
        fates += [
            (f"{quantities.sql} <= 0", why.RETURNED),
            (f"isnan({quantities.sql}) OR isinf({quantities.sql})", why.NOT_A_NUMBER),
        ]
    for name in ("basket", "confidence"):
        if name in parts:
            selected[name] = f"r.{name}"
    cases = " ".join(f"WHEN {sql} THEN {why.REASONS.index(reason) + 1}" for sql, reason in fates)
    selected["fate"] = f"(CASE {cases} ELSE 0 END)::UTINYINT" if cases else _COUNTS
    return selected


def _settled_times(
    time: TimeColumn, rows: str, columns: Columns, options: ReadOptions, notes: list[Note]
) -> SettledTimes | None:
    """Return the times, settled; None where there are none. Notes get what is to be said."""
    settled = time.settle(rows)
    column = columns.time
    notes += settled.notes
    if settled.first is not None:
        by_time = options.filters is not None and options.filters.by_time
        untimed = "left out, since a period is asked for" if by_time else "kept without a time"
        if settled.unreadable:
            first = f" (the first: {settled.unreadable_texts[0]!r})" if settled.unreadable_texts else ""
            said = f"{column}: {settled.unreadable:,} times could not be read{first}, {untimed}"
            notes.append(
                Note(said, doubt=True, code="times-unreadable", column=column, rows=settled.unreadable)
            )
        if settled.missing:
            what = untimed.replace("a time", "one")
            said = f"{column}: {settled.missing:,} rows have no time, {what}"
            notes.append(Note(said, doubt=True, code="times-missing", column=column, rows=settled.missing))
        return settled
    if options.time_column:
        doubts = [str(note) for note in settled.notes if note.doubt]
        reason = doubts[-1] if doubts else "every value is missing"
        if settled.unreadable_texts and not doubts:
            reason = f"{settled.unreadable:,} values such as {settled.unreadable_texts[0]!r} are no times"
        raise ColumnError(f"--time-column names {column!r}, which holds no time ({reason})")
    said = f"{column}: no value could be read as a time, so there are no times"
    notes.append(Note(said, doubt=True, code="times-unreadable", column=column))
    return None
