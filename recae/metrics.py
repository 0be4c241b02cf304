"""Ranking metrics of each user, from a list of ranked items and the held-out items.

Notation: u a user, L_u the first k entries of u's list, L_u(i) the one in place i, T_u the set of items held out for u,
n_u = |T_u|. Every function returns one float64 a user, NaN for a user of whom nothing is held out (n_u = 0): such a
user has no right answer and belongs in no mean. Padding (-1) fills a place and is never a hit, so that a list of fewer
than k items is measured as if the places that it lacks were misses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError

# Places looked at together: their numbers stay in the processor's cache, and memory does not grow with the users.
_PLACES_PER_BLOCK = 2**16


def recall(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return recall@k = |L_u ∩ T_u| / n_u: the fraction of the held-out items in the first k places.

    The denominator is the number held out, also where it exceeds k; a perfect list then stays below 1.

    Args:
        ranked: item numbers (B, n), best first, without repeats; -1 is padding.
        held_out: csr_matrix (B, I); the items stored in row u are T_u, whatever their value.
        k: places that count, 1 <= k <= n.

    Returns:
        float64 (B,); NaN for a user with nothing held out.

    Raises:
        ConfigError: `k` is less than 1, or more than the lists' length n.
        DataError: the two do not have the same users, or a list repeats an item or holds one outside -1 .. I-1.
    """
    return compute(ranked, held_out, ("recall",), (k,))[f"recall@{k}"]


def capped_recall(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return capped recall@k = |L_u ∩ T_u| / min(k, n_u): as recall, but a perfect list always reaches 1.

    The denominator is the smaller of k and the number held out (the Recall@R of Liang et al. 2018,
    *Variational autoencoders for collaborative filtering*). Arguments and errors as for `recall`.
    """
    return compute(ranked, held_out, ("capped_recall",), (k,))[f"capped_recall@{k}"]


def precision(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return precision@k = |L_u ∩ T_u| / k.

    The denominator is k, also where the list is padded or fewer than k are held out. Arguments and errors
    as for `recall`.
    """
    return compute(ranked, held_out, ("precision",), (k,))[f"precision@{k}"]


def hit_rate(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return hit rate@k = 1 if L_u ∩ T_u is not empty, else 0; its mean over users is the fraction of users with a hit.

    Arguments and errors as for `recall`.
    """
    return compute(ranked, held_out, ("hit_rate",), (k,))[f"hit_rate@{k}"]


def ndcg(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return NDCG@k with binary relevance = DCG_u / IDCG_u (Järvelin & Kekäläinen 2002).

        DCG_u  = Σ_{i=1..k}           [L_u(i) ∈ T_u] / log2(i + 1)
        IDCG_u = Σ_{i=1..min(k, n_u)} 1 / log2(i + 1)

    The denominator is the gain of the best list possible, cut at min(k, n_u), so a perfect list reaches 1.
    Arguments and errors as for `recall`.
    """
    return compute(ranked, held_out, ("ndcg",), (k,))[f"ndcg@{k}"]


def average_precision(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return AP@k = Σ_{i=1..k} [L_u(i) ∈ T_u] · (hits in places 1..i) / i / min(k, n_u); the mean over users is MAP@k.

    The denominator is the smaller of k and the number held out, so a perfect list reaches 1. TREC's `map_cut_k`
    (Buckley & Voorhees 2005, *Retrieval system evaluation*) divides by n_u and is smaller where n_u exceeds k.
    Arguments and errors as for `recall`.
    """
    return compute(ranked, held_out, ("map",), (k,))[f"map@{k}"]


def reciprocal_rank(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Return RR@k = 1 / (place of the first hit), 0 without a hit in the first k places; the mean over users is MRR@k.

    From Voorhees 1999, *The TREC-8 question answering track report*, there with k = 5. Arguments and errors as for
    `recall`.
    """
    return compute(ranked, held_out, ("mrr",), (k,))[f"mrr@{k}"]


@dataclass(frozen=True, eq=False)
class Hits:
    """Where the lists of some users hit; the sums in column i are over the places 1..i+1.

    Attributes:
        hit: bool (B, n).
        n_held: different items held out, int64 (B,).
    """

    hit: NDArray[np.bool_]
    n_held: NDArray[np.int64]

    @cached_property
    def found(self) -> NDArray[np.int64]:
        """Hits, (B, n)."""
        return np.cumsum(self.hit, axis=1, dtype=np.int64)

    @cached_property
    def gain(self) -> NDArray[np.float64]:
        """DCG, (B, n); added place by place, so that a perfect list has exactly the ideal one."""
        return np.cumsum(self.hit * _discounts(self.hit.shape[1]), axis=1)

    @cached_property
    def precisions(self) -> NDArray[np.float64]:
        """Precision at each hit, summed, (B, n)."""
        return np.cumsum(self.hit * (self.found / np.arange(1, self.hit.shape[1] + 1)), axis=1)

    @cached_property
    def first(self) -> NDArray[np.float64]:
        """Place of the first hit from 1, (B,); infinite without one."""
        return np.where(self.hit.any(axis=1), self.hit.argmax(axis=1) + 1.0, np.inf)

    @cached_property
    def ideal(self) -> NDArray[np.float64]:
        """The DCG of 0 .. n hits in the first places, (n + 1,)."""
        return np.concatenate([[0.0], np.cumsum(_discounts(self.hit.shape[1]))])


Formula = Callable[[Hits, int], tuple[NDArray[np.generic], NDArray[np.generic]]]
"""(hits of B users, k) → numerator (B,) and denominator (B,); a user with the denominator 0 has no value."""


@dataclass(frozen=True)
class Metric:
    """A metric: its entry in `METRICS`.

    Called with lists, held-out items and k it measures as `recall` does.

    Attributes:
        name: As options and files have it, before the @k.
        title: What tables and the report call it.
        meaning: Its definition in words, with the denominator, for the report.
        formula: Numerator and denominator of each user at one k.
    """

    name: str
    title: str
    meaning: str
    formula: Formula

    def __call__(self, ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
        """Return its value of each user, float64 (B,); arguments and errors as for `recall`."""
        return compute(ranked, held_out, (self.name,), (k,))[f"{self.name}@{k}"]


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric(
            name="recall",
            title="Recall",
            meaning="The fraction of a user's held-out items that the first k places hold. Denominator: the number of "
            "items held out for that user, also where that is more than k.",
            formula=lambda h, k: (h.found[:, k - 1], h.n_held),
        ),
        Metric(
            name="capped_recall",
            title="Capped recall",
            meaning="As recall, but a perfect list always reaches 1. Denominator: the smaller of k and the number of "
            "items held out.",
            formula=lambda h, k: (h.found[:, k - 1], np.minimum(k, h.n_held)),
        ),
        Metric(
            name="precision",
            title="Precision",
            meaning="The fraction of the k places that hold a held-out item. Denominator: k.",
            formula=lambda h, k: (h.found[:, k - 1], np.where(h.n_held > 0, k, 0)),
        ),
        Metric(
            name="hit_rate",
            title="Hit rate",
            meaning="The fraction of users whose first k places hold at least one held-out item. Denominator: the "
            "number of users.",
            formula=lambda h, k: (np.minimum(h.found[:, k - 1], 1), np.minimum(h.n_held, 1)),
        ),
        Metric(
            name="ndcg",
            title="NDCG",
            meaning="Hits count more the higher they stand: a hit in place r is worth 1 ÷ log₂(r + 1). Denominator: "
            "the worth of a perfect list, with as many hits in front as k and the held-out items allow.",
            formula=lambda h, k: (h.gain[:, k - 1], h.ideal[np.minimum(k, h.n_held)]),
        ),
        Metric(
            name="map",
            title="MAP",
            meaning="The precision at each hit, averaged (mean average precision). Denominator: the smaller of k and "
            "the number of items held out.",
            formula=lambda h, k: (h.precisions[:, k - 1], np.minimum(k, h.n_held)),
        ),
        Metric(
            name="mrr",
            title="MRR",
            meaning="1 ÷ the place of the first hit, 0 without a hit in the first k places (mean reciprocal rank). "
            "Denominator: the number of users in the mean.",
            formula=lambda h, k: (np.where(h.first <= k, 1 / h.first, 0.0), np.minimum(h.n_held, 1)),
        ),
    )
}
"""The metrics by name, in the order of the report. One more entry is measured, checked by name and explained."""


def compute(
    ranked: NDArray[np.integer], held_out: sp.csr_matrix, metrics: Sequence[str], ks: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Return several metrics at several k; the hits are found once for all of them.

    Args:
        ranked: item numbers (B, n), as for `recall`.
        held_out: csr_matrix (B, I), as for `recall`.
        metrics: names of `METRICS`.
        ks: each from 1 to the lists' length.

    Returns:
        float64 (B,) by name@k, such as ndcg@20: by metric, then by k, in the order given. The values are those of the
        metric's own function.

    Raises:
        ConfigError: there is no such metric, or as `recall`.
        DataError: as `recall`.
    """
    check_metrics(metrics)
    for k in ks:
        _check(ranked, held_out, k)
    values = {f"{name}@{k}": np.full(held_out.shape[0], np.nan) for name in metrics for k in ks}
    longest = max(ks, default=1)
    step = max(1, _PLACES_PER_BLOCK // longest)
    for start in range(0, held_out.shape[0], step):
        hits = _find_hits(ranked[start : start + step, :longest], held_out, start)
        for name in metrics:
            for k in ks:
                above, below = METRICS[name].formula(hits, k)
                block = values[f"{name}@{k}"][start : start + step]
                np.divide(above, below, out=block, where=below != 0)
    return values


def check_metrics(metrics: Sequence[str]) -> None:
    """Check the names of metrics.

    Raises:
        ConfigError: there is no such metric; it names those that there are.
    """
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(f"there is no metric '{name}'; choose from {', '.join(METRICS)}")


def _check(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> None:
    """Check that lists of this shape can be measured at k."""
    if k < 1:
        raise ConfigError(f"k must be at least 1, but is {k}; count one place or more")
    if ranked.ndim != 2 or ranked.shape[0] != held_out.shape[0]:
        raise DataError(
            f"ranked lists of shape {ranked.shape} do not fit held-out items of shape {held_out.shape}; "
            "give one list for each user"
        )
    if k > ranked.shape[1]:
        raise ConfigError(
            f"metrics at {k} need lists of {k} items, but they have {ranked.shape[1]}; rank more items"
        )


def check_lists(ranked: NDArray[np.integer], n_items: int) -> None:
    """Check ranked lists (B, n).

    Raises:
        DataError: a list repeats an item or holds one outside -1 .. n_items - 1.
    """
    if ranked.size and not (ranked.min() >= -1 and ranked.max() < n_items):
        raise DataError(
            f"a ranked list holds an item number outside -1 .. {n_items - 1}; rank the same items"
        )
    in_order = np.sort(ranked, axis=1)
    if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
        raise DataError(
            "a ranked list holds the same item twice, which would count as two hits; rank each item once"
        )


def _find_hits(ranked: NDArray[np.integer], held_out: sp.csr_matrix, start: int) -> Hits:
    """Return the hits of the lists (b, n) of the users start .. start + b - 1."""
    n_users, n_items = ranked.shape[0], held_out.shape[1]
    check_lists(ranked, n_items)
    # a (user, item) pair as one number: membership of all lists at once is one search in sorted numbers
    indptr = held_out.indptr[start : start + n_users + 1].astype(np.int64)
    users = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(indptr))
    held = np.unique(users * n_items + held_out.indices[indptr[0] : indptr[-1]])
    n_held = np.bincount(held // max(n_items, 1), minlength=n_users).astype(np.int64)
    if not held.size:
        return Hits(np.zeros(ranked.shape, dtype=np.bool_), n_held)
    wanted = np.arange(n_users, dtype=np.int64)[:, None] * n_items + ranked.astype(np.int64, copy=False)
    found = held[np.minimum(np.searchsorted(held, wanted), held.size - 1)]
    return Hits((found == wanted) & (ranked >= 0), n_held)


def _discounts(n: int) -> NDArray[np.float64]:
    """Return what a hit in each of the places 1..n is worth, (n,)."""
    return 1 / np.log2(np.arange(2, n + 2))
