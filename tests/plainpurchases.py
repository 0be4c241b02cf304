"""The purchases of the plain reading, one a row: which are duplicates, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap
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
