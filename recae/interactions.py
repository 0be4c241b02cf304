"""`Interactions`: who bought what, as an immutable CSR pattern with both id maps, times, counts and names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.filters import Filters
from recae.ids import IdMap
from recae.sparse import count_before, entry_rows, joined_ranges
from recae.summary import Summarised, Summary

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""The time of an interaction whose time is not known."""

SECOND: Final = 1_000_000
"""Times count in microseconds; so many are a second."""

_CHECKED: Final = 1 << 22  # entries looked at together


@dataclass(frozen=True, eq=False, repr=False)
class Interactions(Summarised):
    """The purchases of a shop: one entry for each (user, item) pair that occurs.

    Every array is read-only; the ones passed in are not copied and should not be changed afterwards.

    Attributes:
        matrix: pattern of shape (users, items): float32 ones, sorted column numbers, no duplicates.
        users: ids of the rows.
        items: ids of the columns.
        times: int64 of shape (n_interactions,), aligned with ``matrix.indices``: the last purchase of the
            pair in microseconds since 1970-01-01 UTC, `NO_TIME` where unknown; None where the source has no times.
        counts: int32 of shape (n_interactions,): how many purchases the pair stands for, 1 at least.
        item_names: text of shape (items,), null where unknown; None where the source has no names.
        filters: those that were applied while the purchases were read, recorded so that a model can tell; None without.
            No part of the fingerprint, which is that of what they left.
        quantities: float32 of shape (n_interactions,): how much of the item the user bought in all, above 0; None where
            that was not asked for.
        confidences: float32 of shape (n_interactions,): how much the rows of the pair count together, by the events or
            the column that say so, above 0; None where nothing says so.

    Raises:
        DataError: the parts do not fit together.
    """

    matrix: sp.csr_matrix[Any]
    users: IdMap
    items: IdMap
    times: NDArray[np.int64] | None
    counts: NDArray[np.int32]
    item_names: pa.LargeStringArray | None = None
    filters: Filters | None = None
    quantities: NDArray[np.float32] | None = None
    confidences: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check the arrays against each other, and make them read-only."""
        matrix = self.matrix
        for name in ("users", "items"):  # plain lists of ids are taken, too
            if not isinstance(getattr(self, name), IdMap):
                object.__setattr__(self, name, IdMap(getattr(self, name)))
        if not isinstance(matrix, sp.csr_matrix):
            raise DataError(f"interactions need a scipy.sparse.csr_matrix, not {type(matrix).__name__}")
        if matrix.shape != (len(self.users), len(self.items)):
            raise DataError(
                f"the matrix has {matrix.shape[0]} rows and {matrix.shape[1]} columns, "
                f"but there are {len(self.users)} user ids and {len(self.items)} item ids"
            )
        _check_pattern(matrix)
        if self.times is not None:
            _check_aligned("times", self.times, np.int64, matrix.nnz)
        _check_aligned("counts", self.counts, np.int32, matrix.nnz)
        if matrix.nnz and int(self.counts.min()) < 1:
            raise DataError(f"counts must be at least 1, but the smallest is {int(self.counts.min())}")
        if self.item_names is not None and len(self.item_names) != len(self.items):
            raise DataError(f"there are {len(self.item_names)} item names for {len(self.items)} items")
        for name in ("quantities", "confidences"):
            values = getattr(self, name)
            if values is None:
                continue
            _check_aligned(name, values, np.float32, matrix.nnz)
            if not (values > 0).all() or not np.isfinite(values).all():
                raise DataError(f"{name} must be finite numbers above 0; leave the purchases of others out")
            object.__setattr__(self, name, _read_only(values))
        # Views are frozen, not the caller's arrays.
        arrays = (_read_only(matrix.data), _read_only(matrix.indices), _read_only(matrix.indptr))
        frozen = sp.csr_matrix(arrays, shape=matrix.shape, copy=False)
        frozen.has_canonical_format = True
        object.__setattr__(self, "matrix", frozen)
        object.__setattr__(self, "counts", _read_only(self.counts))
        if self.times is not None:
            object.__setattr__(self, "times", _read_only(self.times))

    @property
    def n_users(self) -> int:
        """Number of users, the rows."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items, the columns."""
        return len(self.items)

    @property
    def n_interactions(self) -> int:
        """Number of (user, item) pairs."""
        return int(self.matrix.nnz)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over pattern, ids, counts, times and quantities; the same on every machine."""
        digest = hashlib.sha256(b"recae interactions 1")
        parts: list[tuple[NDArray[Any], str]] = [(self.matrix.indptr, "<i8"), (self.matrix.indices, "<i8")]
        for ids in (self.users, self.items):
            data, offsets = ids.to_arrays()
            parts += [(data, "u1"), (offsets, "<i8")]
        parts.append((self.counts, "<i8"))
        if self.times is not None:
            parts += _times_in_parts(self.times)
        if self.quantities is not None:
            parts.append((self.quantities, "<f4"))
        if self.confidences is not None:
            parts.append((self.confidences, "<f4"))
        for array, kind in parts:
            # The length first, so that the end of one part cannot pass for the beginning of the next.
            digest.update(array.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype=kind).data)
        return digest.hexdigest()

    def summary(self) -> Summary:
        """Return the sizes, the period and what is known of the purchases."""
        purchases, pairs = int(self.counts.sum()), self.n_users * self.n_items
        facts = [("density", f"{self.n_interactions / pairs:.2%} of all pairs" if pairs else "no pairs")]
        if purchases > self.n_interactions:
            facts.append(("purchases", f"{purchases:,}, repeats included"))
        known = None if self.times is None else self.times[self.times != NO_TIME]
        if known is not None and known.size:
            first, last = (
                np.datetime64(int(t), "us").astype("datetime64[D]") for t in (known.min(), known.max())
            )
            facts.append(("last bought", f"{first} to {last}, by pair"))
        more = {"item names": self.item_names, "quantities": self.quantities, "confidences": self.confidences}
        if present := [name for name, values in more.items() if values is not None]:
            facts.append(("with", ", ".join(present)))
        if self.filters:
            facts.append(("filters", str(self.filters)))
        title = f"Interactions: {self.n_interactions:,} of {self.n_users:,} users and {self.n_items:,} items"
        return Summary(title, facts)

    def users_subset(self, rows: NDArray[np.integer[Any]]) -> Interactions:
        """Return the interactions of some users, in the order of ``rows``; all items stay.

        Args:
            rows: distinct row numbers, shape (n,).

        Raises:
            DataError: a row occurs twice.
            IndexError: a row is outside 0 .. n_users - 1.
        """
        rows = np.asarray(rows, dtype=np.int64)
        users = IdMap(self.users.ids(rows))
        indptr = self.matrix.indptr.astype(np.int64)
        lengths = indptr[rows + 1] - indptr[rows]
        entries = joined_ranges(indptr[rows], lengths)
        matrix = sp.csr_matrix(
            (
                np.ones(entries.size, dtype=np.float32),
                self.matrix.indices[entries],
                np.append(0, np.cumsum(lengths)).astype(self.matrix.indptr.dtype),
            ),
            shape=(rows.size, self.n_items),
        )
        times = None if self.times is None else self.times[entries]
        quantities = None if self.quantities is None else self.quantities[entries]
        confidences = None if self.confidences is None else self.confidences[entries]
        return Interactions(
            matrix,
            users,
            self.items,
            times,
            self.counts[entries],
            self.item_names,
            self.filters,
            quantities,
            confidences,
        )

    def subset(self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]) -> Interactions:
        """Return the interactions of some users with some items, both in their old order; others are no longer known.

        Args:
            users: row numbers, rising, shape (n,).
            items: column numbers, rising, shape (m,).
        """
        column = np.full(self.n_items, -1, dtype=self.matrix.indices.dtype)
        column[items] = np.arange(len(items))
        chosen = np.zeros(self.n_users, dtype=np.bool_)
        chosen[users] = True
        columns = column[self.matrix.indices]
        taken = (columns >= 0) & chosen[entry_rows(self.matrix)]
        ends = count_before(self.matrix, taken)
        lengths = np.diff(ends)[users]
        matrix: sp.csr_matrix[Any] = sp.csr_matrix(
            (
                np.ones(int(ends[-1]), dtype=np.float32),
                columns[taken],
                np.append(0, np.cumsum(lengths)).astype(self.matrix.indptr.dtype),
            ),
            shape=(len(users), len(items)),
        )
        return replace(
            self,
            matrix=matrix,
            users=IdMap(self.users.ids(users)),
            items=IdMap(self.items.ids(items)),
            times=None if self.times is None else self.times[taken],
            counts=self.counts[taken],
            item_names=None if self.item_names is None else self.item_names.take(pa.array(items)),
            quantities=None if self.quantities is None else self.quantities[taken],
            confidences=None if self.confidences is None else self.confidences[taken],
        )


def _times_in_parts(times: NDArray[np.int64]) -> list[tuple[NDArray[Any], str]]:
    """Return what the fingerprint covers of times: whole seconds, and the rest where there is one."""
    seconds, rest = np.divmod(times, SECOND)
    seconds[times == NO_TIME] = NO_TIME
    rest[times == NO_TIME] = 0
    return [(seconds, "<i8"), *([(rest, "<i4")] if rest.any() else [])]


def _check_pattern(matrix: sp.csr_matrix[Any]) -> None:
    """Raise DataError unless the matrix is a canonical pattern of float32 ones."""
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise DataError(f"the interaction matrix is not a valid CSR matrix: {error}") from error
    pieces = (matrix.data[start : start + _CHECKED] for start in range(0, matrix.nnz, _CHECKED))
    if matrix.data.dtype != np.float32 or not all((piece == 1).all() for piece in pieces):
        raise DataError("the interaction matrix must hold float32 ones and nothing else")
    for start in range(0, matrix.nnz, _CHECKED):  # a piece at a time, to need next to no memory
        stop = min(start + _CHECKED, matrix.nnz)
        rises = matrix.indices[start + 1 : stop + 1] > matrix.indices[start : min(stop, matrix.nnz - 1)]
        first, last = np.searchsorted(matrix.indptr, [start + 1, stop], side="left")
        new_rows = matrix.indptr[first : last + 1]
        rises[new_rows[(new_rows > start) & (new_rows <= start + rises.size)] - start - 1] = True
        if not rises.all():
            raise DataError("the column numbers of the interaction matrix must rise within each row")


def _check_aligned(name: str, array: NDArray[Any], kind: type[np.generic], size: int) -> None:
    if array.dtype != np.dtype(kind) or array.shape != (size,):
        raise DataError(
            f"{name} must be {np.dtype(kind)} of shape ({size},), one for each interaction, "
            f"not {array.dtype} of shape {array.shape}"
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


_LEAST = np.finfo(np.float32).tiny  # a purchase counts however small decay has made its value


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
        time: int64 of shape (n_events,): when it was bought, in microseconds since 1970-01-01 UTC; None where only
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
        """Check the arrays against each other, and make them read-only."""
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
            users: row numbers.
            items: column numbers.
            when: what tells a user's baskets apart and orders them, such as a time or the number of the order.
                An item that a basket holds several times counts once.
            n_users: number of rows of the matrix.
            n_items: number of its columns.
            times: microseconds since 1970-01-01 UTC of each row, if known.
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
        """Return how often, and how lately, each user bought each item.

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
        """Return what the last basket of each user with two baskets or more holds: float32 ones, (n_users, n_items)."""
        taken = self._in_last_basket()
        ones = np.ones(int(taken.sum()), dtype=np.float32)
        return sp.csr_matrix((ones, (self.user[taken], self.item[taken])), shape=(self.n_users, self.n_items))

    def before_last(self) -> Events:
        """Return the purchases without the last basket of each user who has two or more."""
        taken = ~self._in_last_basket()
        time = None if self.time is None else self.time[taken]
        quantity = None if self.quantity is None else self.quantity[taken]
        user, item, basket = self.user[taken], self.item[taken], self.basket[taken]
        return Events(user, item, basket, time, self.n_users, self.n_items, quantity)

    def where(self, taken: NDArray[np.bool_]) -> Events:
        """Return the purchases marked in ``taken`` (n_events,), with baskets numbered anew; users and items stay."""
        time = None if self.time is None else self.time[taken]
        quantity = None if self.quantity is None else self.quantity[taken]
        user, item, basket = self.user[taken], self.item[taken], self.basket[taken]
        return Events.of(user, item, basket, self.n_users, self.n_items, time, quantity)

    def subset(self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]) -> Events:
        """Return the purchases of some users of some items, with users, items and baskets numbered anew in their order.

        Args:
            users: row numbers, rising, shape (n,); as `Interactions.subset` takes them.
            items: column numbers, likewise.
        """
        rows, columns = np.full(self.n_users, -1), np.full(self.n_items, -1)
        rows[users], columns[items] = np.arange(len(users)), np.arange(len(items))
        user, item = rows[self.user], columns[self.item]
        taken = (user >= 0) & (item >= 0)
        time = None if self.time is None else self.time[taken]
        quantity = None if self.quantity is None else self.quantity[taken]
        return Events.of(user[taken], item[taken], self.basket[taken], len(users), len(items), time, quantity)

    def _in_last_basket(self) -> NDArray[np.bool_]:
        """Return which purchases are of the last basket of a user with two or more, (n_events,)."""
        baskets = self.baskets[self.user]
        last: NDArray[np.bool_] = (baskets >= 2) & (self.basket == baskets - 1)
        return last
