"""Purchases become one entry a basket and item, in the order of each user's baskets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ColumnError
from recae.interactions import Events


@dataclass(frozen=True)
class Bought:
    """Purchases of different users, items, times or baskets; every array has shape (rows,).

    Attributes:
        users, items: int32 row numbers in the id maps.
        times: int64 microseconds, `NO_TIME` where unknown; None without times.
        baskets: int32 positions in the texts of the basket column, −1 for none; None without one.
        quantities: float64, how much was bought; None where that was not asked for.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    times: NDArray[np.int64] | None
    baskets: NDArray[np.int32] | None
    quantities: NDArray[np.float64] | None = None


def to_events(
    purchases: Bought, n_users: int, n_items: int, basket_texts: pa.LargeStringArray | None, name: str
) -> Events:
    """Gather purchases into baskets.

    With times alone, what a user bought at one moment is a basket. With a basket column, its values tell the
    baskets apart: they are ordered by their first time where there are times, and as whole numbers otherwise. What
    has no value there is told apart by its time, and what has no time either is the user's first basket.

    Args:
        purchases: with times or baskets.
        n_users: users of the matrix.
        n_items: its items.
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
    return Events.of(users, items, when, n_users, n_items, times, purchases.quantities)


def _whole_numbers(texts: pa.LargeStringArray, name: str) -> NDArray[np.int64]:
    if len(texts) and pc.all(pc.match_substring_regex(texts, r"^-?\d+\.0$")).as_py():
        texts = pc.utf8_slice_codeunits(texts, 0, -2)
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
