"""Stored rows become interactions: without duplicates, filtered, one entry a user and item; and their baskets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ColumnError, DataError
from recae.filters import Filters
from recae.ids import IdMap, shown
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.reading import report as why
from recae.reading.baskets import Bought, to_events
from recae.reading.filtering import apply_filters, check_period, row_fates
from recae.reading.joining import item_names
from recae.reading.keys import Ids
from recae.reading.options import ReadOptions
from recae.reading.pairs import Selection, gather_pairs
from recae.reading.roles import Columns
from recae.reading.storing import Stored
from recae.reading.table import Note, Table


@dataclass(frozen=True, eq=False)
class Gathered:
    """What stored rows came to.

    Attributes:
        interactions: an entry for each user and item.
        events: the purchases by basket; None where they were not asked for.
        duplicates: rows that repeat an earlier one: same user, item, known time and quantity.
        filtered: purchases that do not count by the filters, by reason.
        first, last: seconds of the first and the last purchase; None without times.
        notes: on what was found.
    """

    interactions: Interactions
    events: Events | None
    duplicates: int
    filtered: dict[str, int]
    first: int | None
    last: int | None
    notes: tuple[Note, ...]


def without_rows(name: str) -> DataError:
    """Return the error of a table that has columns and no rows."""
    return DataError(f"'{name}' has a header but no rows; one row for each purchase is needed")


class Gathering:
    """Puts the purchases of stored rows together.

    Of equal rows the earliest counts. Without times none are equal, because two purchases could not be told from one
    row written twice.

    Args:
        table: that was read.
        stored: its rows.
        columns: their roles.
        options: how to read it.
    """

    def __init__(self, table: Table, stored: Stored, columns: Columns, options: ReadOptions) -> None:
        """Begin with stored rows."""
        self._name, self._engine = table.name, table.engine
        self._stored, self._columns, self._options = stored, columns, options
        self._notes: list[Note] = []
        self.duplicates = 0

    def finish(self) -> Gathered:
        """Filter the purchases and put them together.

        Raises:
            ColumnError: a period or baskets are asked for, and nothing tells them.
            DataError: too little is left.
        """
        engine, options, stored = self._engine, self._options, self._stored
        filters = options.filters or None
        counted, left_out = ("true", None) if filters is None else self._filtered(filters)
        first = last = None
        if stored.timed:
            used = f"{stored.purchases} WHERE fate = 0 AND {counted}"
            first, last = engine.row(f"SELECT min(time), max(time) FROM {used}")
        pairs = gather_pairs(engine, self._selected(counted), options.quantities)
        total = stored.n_rows - sum(stored.left_out.values()) - sum(stored.dropped.values())
        beside = 0 if left_out is None else int(left_out.sum()) - int(left_out[0])
        self.duplicates = total - int(pairs.counts.sum(dtype=np.int64)) - beside
        users, of_users = self._present(stored.users, pairs.users)
        items, of_items = self._present(stored.items, pairs.items)
        if filters is None:
            self._check_enough(users, items)
        interactions = Interactions(
            _pattern(of_users[pairs.users], of_items[pairs.items], len(users), len(items)),
            users,
            items,
            pairs.times,
            pairs.counts,
            self._item_names(of_items, len(items)),
            filters,
            pairs.quantities,
            pairs.confidences,
        )
        if not stored.timed and int(interactions.counts.sum()) > interactions.n_interactions:
            self._notes.append(Note("duplicate rows are kept as counts, since there is no time column"))
        events = self._events(counted, of_users, of_items, interactions) if options.baskets else None
        filtered: dict[str, int] = {}
        if filters is not None and left_out is not None:
            interactions, events, filtered = apply_filters(
                interactions, events, filters, left_out, self._name, options.fewest
            )
        seconds = [None if moment is None else int(moment // SECOND) for moment in (first, last)]
        return Gathered(
            interactions, events, self.duplicates, filtered, seconds[0], seconds[1], tuple(self._notes)
        )

    def _selected(self, where: str = "true") -> Selection:
        """Return the purchases for which a condition holds."""
        stored = self._stored
        return Selection(
            stored.purchases, stored.columns, where, stored.n_rows, stored.users.size, stored.items.size
        )

    def _filtered(self, filters: Filters) -> tuple[str, NDArray[np.int64]]:
        """Return SQL for what the filters of rows leave, and how many purchases each fate has, (1 + reasons,)."""
        engine, stored = self._engine, self._stored
        n_users, n_items, *one = engine.row(
            f"SELECT count(DISTINCT user), count(DISTINCT item), min(user), min(item) FROM {stored.purchases} "
            "WHERE fate = 0"
        )
        if min(n_users, n_items) < self._options.fewest:
            users, _ = self._present(stored.users, np.array(one[:1] if n_users == 1 else range(n_users), int))
            items, _ = self._present(stored.items, np.array(one[1:] if n_items == 1 else range(n_items), int))
            self._check_enough(users, items)
        check_period(filters, self._columns.time, stored.timed)
        sql, note = row_fates(filters, engine, stored.items, self._columns.item, stored.timed)
        self._notes += [] if note is None else [note]
        left_out = np.zeros(1 + len(why.FILTERED), dtype=np.int64)
        if sql == "0":
            return "true", left_out
        for fate, count in engine.rows(
            f"SELECT {sql} AS f, sum(n)::BIGINT FROM {self._selected().without_duplicates()} GROUP BY 1"
        ):
            left_out[int(fate)] = count
        return f"{sql} = 0", left_out

    def _check_enough(self, users: IdMap, items: IdMap) -> None:
        """Raise DataError unless there are enough users and items."""
        stored, name = self._stored, self._name
        if min(len(users), len(items)) >= self._options.fewest:
            return
        if stored.n_rows == 0:
            raise without_rows(name)
        dropped = [f"{count:,} dropped: {reason}" for reason, count in stored.dropped.items()]
        dropped += [f"{count:,} left out: {reason}" for reason, count in stored.left_out.items()]
        rows = f"of its {stored.n_rows:,} rows" + (f" ({', '.join(dropped)})" if dropped else "")
        where = f"check the columns chosen: {self._columns}"
        if not len(users) or not len(items):
            raise DataError(f"no purchase is left in '{name}' {rows}; {where}")
        kind, ids = ("user", users) if len(users) == 1 else ("item", items)
        raise DataError(
            f"'{name}' has purchases of one {kind} only, {shown(ids.id(0))}, {rows}; "
            f"recommendations need at least two; {where}"
        )

    def _present(self, ids: Ids, codes: NDArray[Any]) -> tuple[IdMap, NDArray[np.int32]]:
        """Return the ids of the codes that occur, and the place of each code among them, −1 for others, (ids,)."""
        occurs = np.zeros(ids.size, dtype=np.bool_)
        occurs[codes] = True
        places = np.where(occurs, np.cumsum(occurs, dtype=np.int32) - 1, -1).astype(np.int32)
        every = self._engine.arrow(f"SELECT id FROM {ids.table} WHERE code IS NOT NULL ORDER BY code").column(
            "id"
        )
        return IdMap(every if occurs.all() else every.filter(pa.array(occurs))), places

    def _item_names(self, places: NDArray[np.int32], n_items: int) -> pa.LargeStringArray | None:
        """Return the name of each item: the table of items' own, else the most frequent, the first seen of equals."""
        engine, stored = self._engine, self._stored
        given = item_names(
            engine, self._options, f"(SELECT id FROM {stored.items.table} WHERE code IS NOT NULL)"
        )
        if self._columns.name is None and given is None:
            return None
        names = np.full(n_items, None, dtype=object)
        if self._columns.name is not None:
            of_rows = (
                f"SELECT {stored.items.code} AS code, name, count(*) AS n, min(row) AS first "
                f"FROM (SELECT *, rowid AS row FROM {stored.rows}) r {stored.items.join} "
                "WHERE name IS NOT NULL GROUP BY 1, 2"
            )
            best = engine.rows(
                f"SELECT code, name FROM ({of_rows}) WHERE code IS NOT NULL "
                "QUALIFY row_number() OVER (PARTITION BY code ORDER BY n DESC, first) = 1"
            )
            for code, name in best:
                if places[code] >= 0:
                    names[places[code]] = name
        if given is not None:
            joined = f"SELECT code, g.name FROM {stored.items.table} t JOIN {given} g ON t.id = g.id"
            found = engine.rows(f"{joined} WHERE code IS NOT NULL AND g.name IS NOT NULL")
            known = [(places[code], name) for code, name in found if places[code] >= 0]
            for place, name in known:
                names[place] = name
            if len(known) < n_items:
                said = f"'{self._options.items}' has names for {len(known):,} of {n_items:,} items"
                self._notes.append(Note(said, code="items-unnamed"))
        return pa.array(names.tolist(), pa.large_string())

    def _events(
        self,
        counted: str,
        of_users: NDArray[np.int32],
        of_items: NDArray[np.int32],
        interactions: Interactions,
    ) -> Events:
        """Return the purchases by basket."""
        has = self._stored.columns
        timed, by_basket = "time" in has, "basket" in has
        if not timed and not by_basket:
            raise ColumnError(
                f"repeat purchases need an order, but column {self._columns.time!r} holds no time; "
                "name another with --time-column, or one that numbers the orders with --basket-column"
            )
        names = ["user", "item", *(name for name in ("time", "basket") if name in has)]
        if self._options.quantities:
            names.append("quantity")
        found = self._engine.arrow(
            f"SELECT {', '.join(names)}, n FROM {self._selected(counted).without_duplicates()}"
        )
        repeated = np.repeat(np.arange(found.num_rows), found.column("n").to_numpy().astype(np.int64))

        def column(name: str) -> NDArray[Any]:
            values = found.column(name).to_numpy(zero_copy_only=False)
            taken: NDArray[Any] = np.take(values, repeated)
            return taken

        times = baskets = texts = None
        if timed:
            times = found.column("time").fill_null(NO_TIME).to_numpy().astype(np.int64)[repeated]
        if by_basket:
            encoded = found.column("basket").cast(pa.large_string()).combine_chunks()
            encoded = pa.concat_arrays(encoded.chunks) if isinstance(encoded, pa.ChunkedArray) else encoded
            encoded = encoded.dictionary_encode()
            baskets = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)[repeated]
            texts = encoded.dictionary
            if lacking := int((baskets < 0).sum()):
                taken = "told apart by their times" if timed else "taken as the user's first"
                said = f"{self._columns.basket}: {lacking:,} rows have no basket, {taken}"
                self._notes.append(Note(said, doubt=True))
        bought = Bought(
            of_users[column("user")].astype(np.int32),
            of_items[column("item")].astype(np.int32),
            times,
            baskets,
            column("quantity").astype(np.float64) if self._options.quantities else None,
        )
        name = self._columns.basket or ""
        return to_events(bought, interactions.n_users, interactions.n_items, texts, name)


def _pattern(users: NDArray[np.int32], items: NDArray[np.int32], n_users: int, n_items: int) -> sp.csr_matrix:
    """Return the matrix of ones (n_users, n_items) whose entries, (pairs,) each, come by user and then by item."""
    pointers = np.append(0, np.cumsum(np.bincount(users, minlength=n_users)))
    kind = np.int64 if items.size >= 2**31 else np.int32
    ones = np.ones(items.size, dtype=np.float32)
    return sp.csr_matrix((ones, items, pointers.astype(kind)), shape=(n_users, n_items))
