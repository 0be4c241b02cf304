"""Rows of purchases become one entry a (user, item) pair, in id order, and where asked for one a basket and item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.events import Events
from recae.ids import IdMap
from recae.ingest.codes import without_point_zero
from recae.interactions import NO_TIME, Interactions


@dataclass(frozen=True)
class Purchases:
    """The purchases kept, one a row; every array has shape (rows,).

    Attributes:
        users, items: int32 row numbers in the id maps.
        names: int32 positions in `name_texts`, −1 for none; None without a name column.
        times: int64 seconds, `NO_TIME` where unknown; None without a time column.
        quantities: float64; None without a quantity column or times, since nothing depends on them then.
        baskets: int32 positions in the texts of the basket column, −1 for none; None without one.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    names: NDArray[np.int32] | None
    times: NDArray[np.int64] | None
    quantities: NDArray[np.float64] | None
    baskets: NDArray[np.int32] | None = None

    def where(self, kept: NDArray[np.bool_]) -> Purchases:
        """Return the rows marked in ``kept``, without the quantities."""
        return Purchases(
            self.users[kept],
            self.items[kept],
            None if self.names is None else self.names[kept],
            None if self.times is None else self.times[kept],
            None,
            None if self.baskets is None else self.baskets[kept],
        )


def in_text_order(codes: NDArray[np.int32], texts: pa.LargeStringArray) -> tuple[NDArray[np.int32], IdMap]:
    """Number distinct ids by text order, so that the order of the rows in the file does not matter.

    Args:
        codes: int32 positions in ``texts``, shape (rows,).
        texts: distinct ids in any order, shape (ids,).

    Returns:
        row numbers in the map, shape (rows,), and the map.
    """
    order = pc.sort_indices(texts)
    rank = np.empty(len(texts), dtype=np.int32)
    rank[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
    return rank[codes], IdMap(texts.take(order))


def duplicates(purchases: Purchases, n_items: int) -> NDArray[np.bool_]:
    """Return which rows repeat an earlier one: same user, item, known time and quantity; shape (rows,).

    Without times there are none, because two purchases could not be told from one row written twice.
    """
    repeated = np.zeros(purchases.users.size, dtype=np.bool_)
    times = purchases.times
    if times is None:
        return repeated
    pair = _pairs(purchases, n_items)
    keys = [times, pair] if purchases.quantities is None else [purchases.quantities, times, pair]
    order = np.lexsort(keys)  # stable: the earliest of equal rows comes first
    same = times[order[1:]] != NO_TIME
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    repeated[order[1:][same]] = True
    return repeated


def to_interactions(
    purchases: Purchases, users: IdMap, items: IdMap, name_texts: pa.LargeStringArray | None
) -> Interactions:
    """Gather purchases into interactions: the last time and the number of purchases of each pair.

    An item's name is the most frequent one among its purchases; of equally frequent ones, the first seen.
    """
    pair = _pairs(purchases, len(items))
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    starts = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
    distinct = pair[starts]
    columns = (distinct % len(items)).astype(np.int32)
    ends = np.cumsum(np.bincount(distinct // len(items), minlength=len(users)))
    indptr = np.append(0, ends).astype("int32" if distinct.size < 2**31 else "int64")
    matrix: sp.csr_matrix[np.float32] = sp.csr_matrix(
        (np.ones(distinct.size, dtype=np.float32), columns, indptr), shape=(len(users), len(items))
    )
    counts = np.diff(np.append(starts, pair.size)).astype(np.int32)
    times = None if purchases.times is None else np.maximum.reduceat(purchases.times[order], starts)
    names = None
    if purchases.names is not None and name_texts is not None:
        names = _item_names(purchases.items, purchases.names, len(items), name_texts)
    return Interactions(matrix, users, items, times, counts, names)


def to_events(
    purchases: Purchases, n_users: int, n_items: int, basket_texts: pa.LargeStringArray | None, name: str
) -> Events:
    """Gather purchases into baskets.

    With times alone, what a user bought at one moment is a basket. With a basket column, its values tell the
    baskets apart: they are ordered by their first time where there are times, and as whole numbers otherwise. What
    has no value there is told apart by its time, and what has no time either is the user's first basket.

    Args:
        purchases: with times or baskets.
        basket_texts: the distinct values of the basket column; None without one.
        name: the basket column's name, for messages.

    Raises:
        ColumnError: there are no times and a value of the basket column is no whole number.
    """
    users, items, times, codes = purchases.users, purchases.items, purchases.times, purchases.baskets
    if codes is None or basket_texts is None:
        when = times if times is not None else np.zeros(users.size, dtype=np.int64)
    elif times is None:
        numbers = np.append(_whole_numbers(basket_texts, name), np.iinfo(np.int64).min)
        when = numbers[codes]
    else:
        # in text order, so that the order of the rows in the file does not matter
        rank = np.full(len(basket_texts) + 1, -1, dtype=np.int64)
        rank[pc.sort_indices(basket_texts).to_numpy()] = np.arange(len(basket_texts))
        numbers = rank[codes]
        # the first time of each (user, basket), and then a number that rises by it and by basket
        basket = users.astype(np.int64) * (len(basket_texts) + 1) + numbers + 1
        _, place = np.unique(basket, return_inverse=True)
        begins = np.full(int(place.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(begins, place, times)
        start = np.where(numbers >= 0, begins[place], times)
        order = np.lexsort((numbers, start))
        rises = (start[order[1:]] != start[order[:-1]]) | (numbers[order[1:]] != numbers[order[:-1]])
        when = np.empty(users.size, dtype=np.int64)
        when[order] = np.append(0, np.cumsum(rises))[: users.size]
    return Events.of(users, items, when, n_users, n_items, times)


def _whole_numbers(texts: pa.LargeStringArray, name: str) -> NDArray[np.int64]:
    whole = without_point_zero(texts)
    texts = texts if whole is None else whole
    try:
        numbers = texts.cast(pa.int64())
    except pa.ArrowInvalid as error:
        example = texts.filter(pc.invert(pc.match_substring_regex(texts, r"^-?\d{1,18}$")))
        shown = repr(example[0].as_py()) if len(example) else "a number beyond 64 bits"
        raise ColumnError(
            f"without times, baskets are ordered by the whole numbers in column {name!r}, which holds {shown}; "
            "name a column of times with --time-column, or one that numbers each user's orders with --basket-column"
        ) from error
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.int64)


def _pairs(purchases: Purchases, n_items: int) -> NDArray[np.int64]:
    return purchases.users.astype(np.int64) * n_items + purchases.items


def _item_names(
    items: NDArray[np.int32], names: NDArray[np.int32], n_items: int, texts: pa.LargeStringArray
) -> pa.LargeStringArray:
    """Return the most frequent name of each item, null for an item without one; shape (n_items,)."""
    named = names >= 0
    keys = items[named].astype(np.int64) * max(len(texts), 1) + names[named]
    distinct, first, counts = np.unique(keys, return_index=True, return_counts=True)
    owner = distinct // max(len(texts), 1)
    order = np.lexsort((first, -counts, owner))
    best = order[np.append(True, owner[order][1:] != owner[order][:-1])[: order.size]]
    chosen = np.full(n_items, -1, dtype=np.int64)
    chosen[owner[best]] = distinct[best] % max(len(texts), 1)
    return texts.take(pa.array(chosen, mask=chosen < 0))
