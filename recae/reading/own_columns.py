"""What purchases themselves say of their items: columns such as a category or a price that belong to the item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recae.errors import ColumnError, DataError
from recae.ids import IdMap
from recae.item_table import MEANINGS, ItemTable
from recae.reading.item_columns import is_user, path_of
from recae.reading.item_values import Value, category_of, value_of
from recae.reading.item_words import meaning_of
from recae.reading.keys import IdColumn, Ids, number_ids
from recae.reading.numbers import NumberColumn
from recae.reading.profile import MANY, Profile
from recae.reading.roles import ROLES, Columns
from recae.reading.table import Table

_TAKEN: Final = ("category", "brand", "price", "image", "link")
"""Meanings that are looked for; a text beside the name, or what is in stock, is none that purchases have."""

_OF_ITS_ITEM: Final = (
    0.9  # of the rows that must carry the most frequent value of their item, as its name must
)
_WITHIN: Final = 3.0  # times more or less than its item's median that a price may be, since prices change


@dataclass(frozen=True)
class OwnColumns:
    """Columns of purchases that belong to the items.

    Attributes:
        table: of the items that were bought.
        sources: column of the table to those of the purchases.
    """

    table: ItemTable
    sources: dict[str, tuple[str, ...]]

    def sentence(self) -> str:
        """Return which columns are stored with the items, in words."""
        return f"columns that belong to the items are stored with them: {self._named()}"

    def measured_by(self) -> str:
        """Return which columns figures are also given by, in words."""
        return f"columns that belong to the items, by which figures are given, too: {self._named()}"

    def _named(self) -> str:
        return ", ".join(
            f"{name} {' > '.join(map(repr, columns))}{' (the median)' if name == 'price' else ''}"
            for name, columns in self.sources.items()
        )


def own_columns(table: Table, columns: Columns) -> dict[str, tuple[str, ...]]:
    """Return the columns of purchases that belong to the items: meaning to columns, several for a path of categories.

    At least nine of ten rows carry the most frequent value of their item, and nine of ten prices are between a third
    and three times the median of their item.

    Args:
        table: of purchases.
        columns: the roles of its columns; these are not looked at.
    """
    used = {getattr(columns, role) for role in ROLES}
    fits: dict[str, list[tuple[int, int, str]]] = {}
    for place, name in enumerate(table.columns):
        if name not in used and not is_user(name) and (found := meaning_of(name)) and found[0] in _TAKEN:
            fits.setdefault(found[0], []).append((found[1], place, name))
    chosen = {}
    profile = Profile(table)
    for meaning in [meaning for meaning in MEANINGS if meaning in fits]:
        names = [
            name
            for _, _, name in sorted(fits[meaning])
            if table.types[name].rpartition("[")[0] == ""
            and (
                _price_belongs(table, columns.item, name)
                if meaning == "price"
                else _belongs(profile, columns.item, name)
            )
        ]
        if names:
            chosen[meaning] = path_of(names) if meaning == "category" else (names[0],)
    return chosen


def read_own_columns(table: Table, columns: Columns, items: IdMap) -> OwnColumns | None:
    """Return what purchases say of their items: the most frequent value of each, and of prices the median.

    Args:
        table: of purchases.
        columns: the roles of its columns.
        items: that were bought, whose order the result has.

    Returns:
        None where no column belongs to the items, or what they hold is too large to be stored.
    """
    chosen = own_columns(table, columns)
    if not chosen:
        return None
    engine = table.engine
    ids = IdColumn.of(table, "item", columns.item)
    values: dict[str, Value] = {
        meaning: category_of(table, names)[0] if meaning == "category" else value_of(table, meaning, names[0])
        for meaning, names in chosen.items()
        if meaning != "price"
    }
    price = NumberColumn(table, chosen["price"][0], "price") if "price" in chosen else None
    stored = {**ids.stored, **{meaning: value.sql for meaning, value in values.items()}}
    stored |= {} if price is None else price.stored
    selected = ", ".join(f"{sql} AS {name}" for name, sql in stored.items())
    rows = engine.store(f"SELECT {selected} FROM {table.relation}", "own_rows")
    found = number_ids(engine, rows, ids)
    arrays = {meaning: _most_frequent(table, rows, found, meaning, items) for meaning in values}
    if price is not None:
        settled = price.settle(rows)
        median = (
            f"SELECT {found.code} AS code, median({settled.sql}) AS v FROM {rows} r {found.join} {settled.join} "
            f"WHERE {settled.sql} >= 0 AND isfinite({settled.sql}) GROUP BY 1"
        )
        arrays["price"] = _placed(table, found, median, items)
    engine.run(f"DROP TABLE {rows}")
    made = {name: arrays[name].cast(kind) for name, kind in MEANINGS.items() if name in arrays}
    try:
        return OwnColumns(ItemTable(items, pa.table(made)), {name: chosen[name] for name in made})
    except DataError:  # nobody has asked for it
        return None


def _belongs(profile: Profile, item: str, column: str) -> bool:
    if not profile.facts(column).filled:
        return False
    share, repeated = profile.determined(item, column)
    return repeated < MANY or share >= _OF_ITS_ITEM


def _price_belongs(table: Table, item: str, column: str) -> bool:
    """Return whether a column holds prices of a piece: those of an item are near each other."""
    try:
        price = NumberColumn(table, column, "price")
    except ColumnError:  # such as one of dates
        return False
    engine, value = table.engine, table.as_text(item)
    stored = ", ".join(f"{sql} AS {name}" for name, sql in price.stored.items())
    rows = engine.store(f"SELECT {value} AS item, {stored} FROM {table.sample()}", "prices")
    settled = price.settle(rows)
    near, several, known = engine.row(
        f"SELECT count(*) FILTER (n > 1 AND v BETWEEN m / {_WITHIN} AND m * {_WITHIN}), count(*) FILTER (n > 1), "
        "count(*) FROM (SELECT v, median(v) OVER (PARTITION BY item) AS m, count(*) OVER (PARTITION BY item) AS n FROM "
        f"(SELECT item, {settled.sql} AS v FROM {rows} {settled.join}) "
        "WHERE item IS NOT NULL AND isfinite(v) AND v > 0)"
    )
    engine.run(f"DROP TABLE {rows}")
    return bool(known) and (several < MANY or near >= _OF_ITS_ITEM * several)


def _most_frequent(table: Table, rows: str, found: Ids, column: str, items: IdMap) -> pa.Array:
    """Return the most frequent text of each item, the first by text of equals."""
    counted = (
        f"SELECT {found.code} AS code, r.{column} AS v, count(*) AS n FROM {rows} r {found.join} "
        f"WHERE r.{column} IS NOT NULL GROUP BY 1, 2"
    )
    best = f"SELECT code, v FROM ({counted}) QUALIFY row_number() OVER (PARTITION BY code ORDER BY n DESC, v) = 1"
    return _placed(table, found, best, items)


def _placed(table: Table, found: Ids, values: str, items: IdMap) -> pa.Array:
    """Return the values of a relation (code, v) in the order of the items, null where an item has none."""
    got = table.engine.arrow(
        f"SELECT i.id, v.v FROM ({values}) v JOIN {found.table} i USING (code) ORDER BY 1"
    )
    places = items.rows(_one(got.column("id")).cast(pa.large_string()))
    at = np.full(len(items), -1, dtype=np.int64)
    known = np.flatnonzero(places >= 0)
    at[places[known]] = known
    return _one(got.column("v")).take(pa.array(np.maximum(at, 0), mask=at < 0, type=pa.int64()))


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
