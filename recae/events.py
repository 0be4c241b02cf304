"""`Events`: who bought what in which basket, for shops where people buy the same things again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError

_LEAST = np.finfo(np.float32).tiny  # a weight that decay has worn down is still a purchase


@dataclass(frozen=True, eq=False)
class Events:
    """Purchases, one for each distinct (user, basket, item), sorted by user, then basket, then item.

    Rows and columns are those of the `Interactions` that were read with them. Every array is read-only; the
    ones passed in are not copied and should not be changed afterwards.

    Attributes:
        user: int32 of shape (n_events,), rising.
        item: int32 of shape (n_events,), rising within a basket.
        basket: int32 of shape (n_events,): the place of the basket among the user's own, oldest first, from 0
            without gaps.
        time: int64 of shape (n_events,): when it was bought, in seconds since 1970-01-01 UTC; None where only
            the order of the baskets is known.
        n_users, n_items: size of the matrix that the events belong to.
        quantity: float32 of shape (n_events,): how much of the item the basket holds; None where that was not asked
            for.

    Raises:
        DataError: the parts do not fit together or are not in this order.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    basket: NDArray[np.int32]
    time: NDArray[np.int64] | None
    n_users: int
    n_items: int
    quantity: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        kinds = {
            "user": np.int32,
            "item": np.int32,
            "basket": np.int32,
            "time": np.int64,
            "quantity": np.float32,
        }
        for name, kind in kinds.items():
            array = getattr(self, name)
            if array is None and name in ("time", "quantity"):
                continue
            if array.dtype != np.dtype(kind) or array.shape != self.user.shape or array.ndim != 1:
                raise DataError(
                    f"{name} must be {np.dtype(kind)} with one entry for each purchase, "
                    f"not {array.dtype} of shape {array.shape}"
                )
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        self._check_order()

    def _check_order(self) -> None:
        user, item, basket = self.user, self.item, self.basket
        if not user.size:
            return
        for name, array, limit in (("user", user, self.n_users), ("item", item, self.n_items)):
            if array.min() < 0 or array.max() >= limit:
                raise DataError(
                    f"{name} numbers must lie in 0 .. {limit - 1}; number them as the matrix does"
                )
        new_user = user[1:] > user[:-1]
        next_basket = basket[1:] - basket[:-1]  # int32, but both are small and not negative, or refused
        same_user = user[1:] == user[:-1]
        fits = np.where(
            new_user,
            basket[1:] == 0,
            same_user & ((next_basket == 1) | ((next_basket == 0) & (item[1:] > item[:-1]))),
        )
        if basket[0] != 0 or not fits.all():
            raise DataError(
                "purchases must rise by user, basket and item, with the baskets of each user numbered "
                "0, 1, 2, ...; Events.of puts rows into this order"
            )

    @classmethod
    def of(
        cls,
        users: NDArray[np.integer[Any]],
        items: NDArray[np.integer[Any]],
        when: NDArray[np.integer[Any]],
        n_users: int,
        n_items: int,
        times: NDArray[np.int64] | None = None,
        quantities: NDArray[np.floating[Any]] | None = None,
    ) -> Self:
        """Put rows of purchases, each of shape (rows,), in order.

        Args:
            users, items: row and column numbers.
            when: what tells a user's baskets apart and orders them, such as a time or the number of the order.
                An item that a basket holds several times counts once.
            n_users, n_items: size of the matrix.
            times: seconds since 1970-01-01 UTC of each row, if known.
            quantities: how much was bought in each row, above 0, if known; those of an item in one basket are added up.

        Raises:
            DataError: a number is out of range, or the arrays differ in length.
        """
        known = [array for array in (times, quantities) if array is not None]
        if not users.shape == items.shape == when.shape or any(a.shape != users.shape for a in known):
            raise DataError("users, items, baskets and times must have one entry for each purchase")
        # of the times of an item in one basket the first, so that the order of the rows does not matter
        order = np.lexsort((items, when, users) if times is None else (times, items, when, users))
        user, item, when = users[order], items[order], when[order]
        first = np.ones(user.size, dtype=np.bool_)  # of its basket
        first[1:] = (user[1:] != user[:-1]) | (when[1:] != when[:-1])
        once = first.copy()
        once[1:] |= item[1:] != item[:-1]
        begins = np.ones(user.size, dtype=np.bool_)  # the user
        begins[1:] = user[1:] != user[:-1]
        number = np.cumsum(first) - 1
        lengths = np.diff(np.append(np.flatnonzero(begins), user.size))
        basket = number - np.repeat(number[begins], lengths)
        if quantities is not None:
            starts = np.flatnonzero(once)
            sums = np.add.reduceat(quantities[order], starts) if starts.size else quantities
            quantities = np.minimum(sums, np.finfo(np.float32).max).astype(np.float32)
        return cls(
            user[once].astype(np.int32, copy=False),
            item[once].astype(np.int32, copy=False),
            basket[once].astype(np.int32),
            None if times is None else times[order][once],
            n_users,
            n_items,
            quantities,
        )

    @property
    def n_events(self) -> int:
        """Number of distinct (user, basket, item)."""
        return int(self.user.size)

    @property
    def baskets(self) -> NDArray[np.int64]:
        """Number of baskets of each user, int64 (n_users,)."""
        numbers = np.zeros(self.n_users, dtype=np.int64)
        last = np.flatnonzero(np.append(self.user[1:] != self.user[:-1], True)[: self.n_events])
        numbers[self.user[last]] = self.basket[last].astype(np.int64) + 1
        return numbers

    @property
    def n_baskets(self) -> int:
        """Number of baskets of all users together."""
        return int(self.baskets.sum())

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over the purchases and their order; the same on every machine."""
        digest = hashlib.sha256(b"recae events 1")
        for array in (
            np.array([self.n_users, self.n_items, self.n_events]),
            self.user,
            self.item,
            self.basket,
        ):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def weights(self, decay: float = 1.0) -> sp.csr_matrix:
        """How often, and how lately, each user bought each item.

            weight(u, i) = Σ over the baskets b of u that hold i of decay^(n_u − 1 − b),   n_u baskets, b from 0

        the recency-weighted personal frequency of TIFU-kNN (Hu et al. 2020, arXiv 2006.00556) without its groups. With
        decay 1 it is the number of baskets that hold the item.

        Args:
            decay: in (0, 1]; what a purchase still weighs one basket later.

        Returns:
            float32 csr_matrix of shape (n_users, n_items), every stored value above 0, sorted columns.

        Raises:
            ConfigError: ``decay`` is out of range.
        """
        if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 < decay <= 1:
            raise ConfigError(f"decay is a number above 0 to 1, found {decay!r}: give one in that range")
        ago = (self.baskets[self.user] - 1 - self.basket).astype(np.float64)
        shape = (self.n_users, self.n_items)
        summed = sp.csr_matrix(
            (float(decay) ** ago, (self.user, self.item)), shape=shape
        )  # adds what falls together
        weights = sp.csr_matrix(
            (np.maximum(summed.data.astype(np.float32), _LEAST), summed.indices, summed.indptr), shape=shape
        )
        weights.sort_indices()
        return weights

    def last_baskets(self) -> sp.csr_matrix:
        """What the last basket of each user with two baskets or more holds: float32 ones, (n_users, n_items)."""
        kept = self._in_last_basket()
        ones = np.ones(int(kept.sum()), dtype=np.float32)
        return sp.csr_matrix((ones, (self.user[kept], self.item[kept])), shape=(self.n_users, self.n_items))

    def before_last(self) -> Events:
        """The purchases without the last basket of each user who has two or more; nothing of it is left."""
        kept = ~self._in_last_basket()
        time = None if self.time is None else self.time[kept]
        quantity = None if self.quantity is None else self.quantity[kept]
        user, item, basket = self.user[kept], self.item[kept], self.basket[kept]
        return Events(user, item, basket, time, self.n_users, self.n_items, quantity)

    def where(self, kept: NDArray[np.bool_]) -> Events:
        """The purchases marked in ``kept`` (n_events,), the baskets left numbered anew; users and items stay."""
        time = None if self.time is None else self.time[kept]
        quantity = None if self.quantity is None else self.quantity[kept]
        user, item, basket = self.user[kept], self.item[kept], self.basket[kept]
        return Events.of(user, item, basket, self.n_users, self.n_items, time, quantity)

    def subset(self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]) -> Events:
        """The purchases of some users of some items, both numbered anew in their old order, and so are baskets left.

        Args:
            users, items: row and column numbers, rising, each of shape (n,); as `Interactions.subset` takes them.
        """
        rows, columns = np.full(self.n_users, -1), np.full(self.n_items, -1)
        rows[users], columns[items] = np.arange(len(users)), np.arange(len(items))
        user, item = rows[self.user], columns[self.item]
        kept = (user >= 0) & (item >= 0)
        time = None if self.time is None else self.time[kept]
        quantity = None if self.quantity is None else self.quantity[kept]
        return Events.of(user[kept], item[kept], self.basket[kept], len(users), len(items), time, quantity)

    def _in_last_basket(self) -> NDArray[np.bool_]:
        """Which purchases are of the last basket of a user with two or more, (n_events,)."""
        baskets = self.baskets[self.user]
        last: NDArray[np.bool_] = (baskets >= 2) & (self.basket == baskets - 1)
        return last
