"""Associations: pairs of items that are bought together, with support, confidence, lift and their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.inputs import readable
from recae.interactions import Events
from recae.ranking import rows_per_block
from recae.recommender import Recommender

LEAST: Final = 5
"""Baskets that hold both items of a pair, at least, where nothing else is asked for."""

LEAST_SHARE: Final = 0.0005
"""Fraction of the baskets that hold both, likewise."""

MOST_PAIRS: Final = 20_000_000
"""Pairs of two items at most that are frequent enough: 12 bytes each."""

_Z: Final = 1.959963984540054  # of a 95 % interval
_TOGETHER: Final = 2**24  # pairs of purchases that are counted at one time


@dataclass(frozen=True, eq=False)
class Associations:
    """Rules "who buys the first item also buys the second", in R rows, the surest first.

    Attributes:
        first: items (R,), int32.
        second: items (R,), int32, likewise.
        baskets: that hold both, (R,) int64.
        support: the fraction of all baskets that hold both, (R,).
        confidence: the fraction of the baskets with the first that hold the second, (R,).
        confidence_interval: its 95 % interval, (R, 2).
        lift: how many times more often both are bought together than chance would have it, (R,).
        lift_interval: its 95 % interval, (R, 2).
        n_baskets: B, of all.
        least: baskets that a pair had to be in.
        pairs: how many pairs of two items were in so many baskets; each has two rules.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    baskets: NDArray[np.int64]
    support: NDArray[np.float64]
    confidence: NDArray[np.float64]
    confidence_interval: NDArray[np.float64]
    lift: NDArray[np.float64]
    lift_interval: NDArray[np.float64]
    n_baskets: int
    least: int
    pairs: int

    @property
    def above_chance(self) -> int:
        """How many of the pairs would have a lift whose interval lies above 1 if all were bought by chance."""
        return round(self.pairs * 0.025)

    def __len__(self) -> int:
        """Return the number of rules."""
        return int(self.first.size)


def baskets_of(events: Events) -> sp.csr_matrix:
    """Return what each basket holds: float32 ones, (baskets, items), the baskets in the order of their users."""
    new = np.ones(events.n_events, dtype=np.bool_)
    new[1:] = (events.user[1:] != events.user[:-1]) | (events.basket[1:] != events.basket[:-1])
    starts = np.append(np.flatnonzero(new), events.n_events)
    ones = np.ones(events.n_events, dtype=np.float32)
    return sp.csr_matrix((ones, events.item, starts), shape=(starts.size - 1, events.n_items))


def associations(
    baskets: sp.csr_matrix, *, least: int | None = None, of: int | None = None, most: int = 100
) -> Associations:
    """Find the pairs of items that are bought together more often than chance would have it.

    With n baskets, n_i with the first item, n_j with the second, n_ij with both: support n_ij/n, confidence n_ij/n_i,
    lift n_ij n/(n_i n_j). Confidence has the interval of Wilson (1927). The logarithm of the lift has, by the delta
    method over the four counts of a table,

        variance (1/p_ij − 1/p_i − 1/p_j + 2 lift − 1)/n,   p = count/n

    which is (1/p_i − 1)(1/p_j − 1)/n where both are independent. The rules are sorted by the lower end of the lift's
    interval, then by confidence, then by item, so that a pair that is seen twice is not first.

    Pairs are counted in blocks of items by sparse products; nothing of the size items × items is held, only the pairs
    that are frequent enough.

    Args:
        baskets: pattern (B, I); users' histories will do.
        least: baskets that hold both; None: `LEAST`, or `LEAST_SHARE` of the baskets if that is more.
        of: an item, the first of all rules; None: any.
        most: rules that are returned.

    Raises:
        ConfigError: ``least`` or ``most`` is less than 1.
        DataError: there are no baskets, or more than `MOST_PAIRS` pairs are frequent enough.
    """
    for name, value in (("least", 1 if least is None else least), ("most", most)):
        if value < 1:
            raise ConfigError(f"{name} is a whole number from 1 on, found {value}: give one")
    n = baskets.shape[0]
    if not baskets.nnz:
        raise DataError("there are no purchases, so that nothing was bought together")
    chosen = max(LEAST, int(np.ceil(LEAST_SHARE * n))) if least is None else least
    first, second, both = _pairs(baskets, chosen, of)
    counts = np.bincount(baskets.indices, minlength=baskets.shape[1])
    pairs = int(first.size) if of is not None else int(first.size) // 2
    p_both, p_first, p_second = both / n, counts[first] / n, counts[second] / n
    lift = p_both / (p_first * p_second)
    variance = np.maximum((1 / p_both - 1 / p_first - 1 / p_second + 2 * lift - 1) / n, 0)
    margin = np.exp(_Z * np.sqrt(variance))
    confidence = both / counts[first]
    order = np.lexsort((second, first, -confidence, -(lift / margin)))[:most]
    of_first = counts[first][order]
    return Associations(
        first[order],
        second[order],
        both[order],
        p_both[order],
        confidence[order],
        np.stack(_wilson(confidence[order], of_first), axis=1),
        lift[order],
        np.stack([lift[order] / margin[order], lift[order] * margin[order]], axis=1),
        n,
        chosen,
        pairs,
    )


def ranks_by_model(
    recommender: Recommender, first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Return the place of each second item in the model's list for a basket of the first alone, (R,), from 1.

    Where it is far down, the model would rather show other items than those that are counted most often together.
    Equal scores take the better place.

    Args:
        recommender: any model.
        first: its items (R,); -1 for one that it does not know.
        second: likewise.

    Returns:
        int64 (R,); 0 where the model does not know one of the two.
    """
    n_items = len(recommender.items)
    ranks = np.zeros(first.size, dtype=np.int64)
    known = np.flatnonzero((first >= 0) & (second >= 0))
    step = rows_per_block(n_items)
    for start in range(0, known.size, step):
        rows = known[start : start + step]
        ones, places = np.ones(rows.size, dtype=np.float32), np.arange(rows.size)
        basket = sp.csr_matrix((ones, first[rows], np.arange(rows.size + 1)), shape=(rows.size, n_items))
        scores = recommender.model.score(readable(recommender.model, basket))
        own = scores[places, second[rows]]
        scores[places, first[rows]] = -np.inf
        ranks[rows] = 1 + (scores > own[:, None]).sum(axis=1)
    return ranks


def _pairs(
    baskets: sp.csr_matrix, least: int, of: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return the pairs of different items in at least so many baskets, in both orders, and how many hold both."""
    ones = np.ones(baskets.nnz, dtype=np.int32)
    held = sp.csr_matrix((ones, baskets.indices, baskets.indptr), shape=baskets.shape)
    counts = np.bincount(held.indices, minlength=held.shape[1])
    frequent = np.flatnonzero(counts >= least)
    firsts = frequent if of is None else frequent[frequent == of]
    lengths = np.diff(held.indptr)
    by_item = held.T.tocsr()
    # pairs of purchases that an item takes part in, which is what its row of the product costs
    cost = np.asarray(by_item @ lengths.astype(np.int64)).ravel()[firsts]
    held = sp.csr_matrix(held[:, frequent])
    found: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    total = start = 0
    while start < firsts.size:
        within = int(np.searchsorted(np.cumsum(cost[start:]), _TOGETHER, side="right"))
        stop = start + max(1, within)
        product = (by_item[firsts[start:stop]] @ held).tocoo()
        taken = (product.data >= least) & (firsts[start:stop][product.row] != frequent[product.col])
        found.append((firsts[start + product.row[taken]], frequent[product.col[taken]], product.data[taken]))
        total += int(taken.sum())
        if total > 2 * MOST_PAIRS:
            raise DataError(
                f"more than {MOST_PAIRS:,} pairs of items are in {least} baskets or more: ask for more baskets"
            )
        start = stop
    columns = zip(*found, strict=True) if found else [[np.zeros(0)]] * 3
    first, second, both = (np.concatenate(list(column)) for column in columns)
    return first.astype(np.int32), second.astype(np.int32), both.astype(np.int64)


def _wilson(
    fraction: NDArray[np.float64], n: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % interval of a fraction of n (Wilson 1927)."""
    centre = (fraction + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    margin = _Z / (1 + _Z**2 / n) * np.sqrt(fraction * (1 - fraction) / n + _Z**2 / (4 * n**2))
    return centre - margin, centre + margin
