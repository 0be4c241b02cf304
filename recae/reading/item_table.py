"""`read_item_table`: a table of products, whatever its columns are called, as an `ItemTable`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from recae.errors import DataError
from recae.ids import IdMap
from recae.item_table import MEANINGS, MOST_BYTES, TEXT, ItemTable
from recae.reading.candidates import listed
from recae.reading.engine import Engine, quoted
from recae.reading.item_columns import ItemColumns, choose_item_columns
from recae.reading.item_values import Value, category_of, embedding_of, texts_of, value_of
from recae.reading.keys import IdColumn, number_ids
from recae.reading.numbers import NumberColumn
from recae.reading.open import open_table
from recae.reading.options import ReadOptions
from recae.reading.table import Note, Table

_MOST_ROWS: Final = 10_000_000


@dataclass(frozen=True)
class ItemReport:
    """How a table of items was read.

    Attributes:
        source: what to call it; never with a password.
        rows: that it has.
        items: of these rows, a row an item.
        without_id: rows that name no item, which are left out.
        doubled: rows of an item that has a later row, which counts instead.
        columns: column of the result to the columns it is from; "id" comes first.
        known: column to how many items it is known of.
        dropped: what was left out of the values, in words, to how often.
        left_out: columns that are not taken, since there are too many.
        notes: what was decided.
    """

    source: str
    rows: int
    items: int
    without_id: int
    doubled: int
    columns: Mapping[str, tuple[str, ...]]
    known: Mapping[str, int]
    dropped: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def sentences(self) -> list[str]:
        """Return what was read, what was left out, and why, a line each."""
        named = ", ".join(
            f"{name} {' > '.join(map(repr, source))}" if (name,) != source else repr(name)
            for name, source in self.columns.items()
        )
        found = [f"{self.items:,} items in {self.rows:,} rows of '{self.source}': {named}"]
        if self.without_id:
            found.append(f"rows left out, since they have no id: {self.without_id:,}")
        if self.doubled:
            found.append(f"rows left out, since a later row has the same id: {self.doubled:,}")
        found += [f"left out: {times:,} {what}" for what, times in self.dropped.items()]
        if self.left_out:
            found.append(f"columns left out, since there are too many: {listed(self.left_out)}")
        return [*found, *map(str, self.notes)]


def read_item_table(
    source: Any,
    columns: Mapping[str, Sequence[str]] | None = None,
    *,
    known: IdMap | None = None,
    bad_lines: str = "stop",
) -> tuple[ItemTable, ItemReport]:
    """Read what is known of items.

    Args:
        source: a table, as `recae.reading.read` takes it.
        columns: "id" or a name of `recae.item_table.MEANINGS` to the exact names of its columns, several for a category
            whose path is in several, none for a meaning that no column has; the others are recognised by their names.
        known: ids of items that were bought; the column of ids is the one that holds most of them. None: it is told by
            its name.
        bad_lines: "stop" at a line that cannot be read, or "skip" it.

    Returns:
        the table, its items in the order of their ids as text, and how it was read.

    Raises:
        SourceError: the source cannot be read.
        ColumnError: a column is not there, or none holds ids.
        DataError: it holds no item, or is too large to be stored.
    """
    with Engine() as engine:
        table = open_table(engine, source, ReadOptions(layout="rows", bad_lines=bad_lines))
        bought = None
        if known is not None and len(known):
            # the ids themselves are enough to tell which column holds them
            bought = engine.register(pa.table({"id": pa.array(known).cast(pa.string())}))
        chosen = choose_item_columns(table, columns or {}, bought)
        return _read(engine, table, chosen)


def _read(engine: Engine, table: Table, chosen: ItemColumns) -> tuple[ItemTable, ItemReport]:
    ids = IdColumn.of(table, "item", chosen.id)
    relation, texts = texts_of(table, [*chosen.single.values(), *chosen.category, *chosen.embedding[:1]])
    values = {name: value_of(table, name, column, texts) for name, column in chosen.single.items()}
    notes = [*chosen.notes]
    if len(chosen.embedding) > 1:
        values["embedding"] = embedding_of(table, chosen.embedding)
    elif chosen.embedding:
        values["embedding"] = value_of(table, "embedding", chosen.embedding[0], texts)
    if chosen.category:
        values["category"], note = category_of(table, chosen.category, texts)
        notes += [note] if note else []
    names = [name for name in chosen.order if name != "price"]
    stored = [f"{sql} AS {name}" for name, sql in ids.stored.items()]
    stored += [f"{values[name].sql} AS c{place}" for place, name in enumerate(names)]
    stored += [
        f"{value.dropped} AS d{place}" for place, name in enumerate(names) if (value := values[name]).dropped
    ]
    price = NumberColumn(table, chosen.price, "price") if chosen.price is not None else None
    if price is not None:
        stored += [f"{sql} AS {name}" for name, sql in price.stored.items()]
    rows = engine.store(f"SELECT {', '.join(stored)} FROM {relation}", "item_rows")
    found = number_ids(engine, rows, ids)
    notes += found.notes
    if not found.size:
        raise DataError(
            f"'{table.name}' names no item in column {chosen.id!r}; name the column of ids: id=NAME"
        )
    if found.size > _MOST_ROWS:
        raise DataError(
            f"'{table.name}' has {found.size:,} items, and at most {_MOST_ROWS:,} can be stored with a model: leave "
            "out those that are not sold"
        )
    last = engine.store(
        f"SELECT {found.code} AS code, max(r.row) AS row, count(*) AS n FROM (SELECT *, rowid AS row FROM {rows}) r "
        f"{found.join} GROUP BY 1",
        "last_rows",
    )
    total, without, there = engine.row(
        f"SELECT coalesce(sum(n), 0)::BIGINT, coalesce(sum(n) FILTER (WHERE code IS NULL), 0)::BIGINT, "
        f"count(code) FROM {last}"
    )
    selected, join = [f"c{place}" for place in range(len(names))], ""
    if price is not None:
        settled = price.settle(rows)
        notes += settled.notes
        selected, join = [*selected, f"{settled.sql} AS price"], settled.join
    dropped = [f"d{place}" for place, name in enumerate(names) if values[name].dropped]
    taken = engine.store(
        f"SELECT l.code, {', '.join([*selected, *dropped])} FROM (SELECT *, rowid AS row FROM {rows}) r "
        f"JOIN {last} l ON l.row = r.row AND l.code IS NOT NULL {join}",
        "items_taken",
    )
    engine.run(f"DROP TABLE {rows}")
    counts = _counts(engine, taken, names, values, price is not None)
    wanted = _wanted(engine, taken, names, price is not None, chosen.order)
    _check_size(engine, taken, names, there, table.name)
    data = engine.arrow(f"SELECT {wanted} FROM {taken} ORDER BY code")
    ordered = engine.arrow(
        f"SELECT id FROM {found.table} WHERE code IS NOT NULL GROUP BY code, id ORDER BY code"
    )
    result = ItemTable(IdMap(_one(ordered.column("id"))), _typed(data, chosen.order))
    empty = [
        name for name in result.names if name not in MEANINGS and result.column(name).null_count == there
    ]
    if empty and len(empty) < len(result.names):
        result = ItemTable(result.ids, result.columns.drop_columns(empty))
    known = {name: there - result.column(name).null_count for name in result.names}
    report = ItemReport(
        source=table.name,
        rows=int(total),
        items=int(there),
        without_id=int(without),
        doubled=int(total - without - there),
        columns={"id": (chosen.id,), **{n: s for n, s in chosen.sources().items() if n in known}},
        known={name: int(number) for name, number in known.items()},
        dropped=counts,
        left_out=chosen.left_out,
        notes=(*table.notes, *notes),
    )
    return result, report


def _counts(
    engine: Engine, taken: str, names: Sequence[str], values: Mapping[str, Value], priced: bool
) -> dict[str, int]:
    """Return how many values of the items that count were left out, in words."""
    asked = {
        values[name].what: f"count(*) FILTER (WHERE d{k})"
        for k, name in enumerate(names)
        if values[name].dropped
    }
    if priced:
        asked["prices that are no numbers"] = "count(*) FILTER (WHERE isnan(price))"
        asked["prices below 0"] = "count(*) FILTER (WHERE price < 0 AND NOT isnan(price))"
    if not asked:
        return {}
    found = engine.row(f"SELECT {', '.join(asked.values())} FROM {taken}")
    return {what: int(times) for what, times in zip(asked, found, strict=True) if times}


def _wanted(engine: Engine, taken: str, names: Sequence[str], priced: bool, order: Sequence[str]) -> str:
    columns = {name: f"c{place}" for place, name in enumerate(names)}
    if priced:
        columns["price"] = "CASE WHEN price >= 0 AND isfinite(price) THEN price END"
    return ", ".join(f"{columns[name]} AS {quoted(f'v{place}')}" for place, name in enumerate(order))


def _check_size(engine: Engine, taken: str, names: Sequence[str], items: int, source: str) -> None:
    """Raise DataError, before it is all in memory, where the table is too large to be stored with a model."""
    texts = [f"coalesce(sum(strlen(c{k})), 0)" for k, name in enumerate(names) if name != "available"]
    letters = engine.value(f"SELECT ({' + '.join(texts) or '0'})::BIGINT FROM {taken}")
    needed = int(letters) + 8 * items * (len(texts) + 1)
    if needed > MOST_BYTES:
        raise DataError(
            f"'{source}' would take {needed / 2**20:,.0f} MiB with the model, and a table of items may take "
            f"{MOST_BYTES / 2**20:,.0f}: leave out columns of long text, or items that are not sold"
        )


def _typed(data: pa.Table, order: Sequence[str]) -> pa.Table:
    return pa.table({name: data.column(k).cast(MEANINGS.get(name, TEXT)) for k, name in enumerate(order)})


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.cast(TEXT).combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)


__all__ = ["ItemReport", "read_item_table"]
