"""Ranking metrics of each user, from a list of ranked items and the items held out; nothing else.

Notation: u a user, L_u the first k entries of u's list, T_u the set of items held out for u, n_u = |T_u|.
Every function returns one float64 a user, NaN for a user of whom nothing is held out (n_u = 0): such a user
has no right answer and belongs in no mean. Padding (-1) fills a place and is never a hit.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError


def recall(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Recall@k = |L_u ∩ T_u| / n_u: the share of what was held out that the first k places hold.

    The denominator is the number held out, also where it exceeds k; a perfect list then stays below 1.

    Parameters
    ----------
    ranked : integer ndarray of shape (B, n)
        Item numbers, best first, without repeats; -1 is padding.
    held_out : csr_matrix of shape (B, I)
        The items stored in row u are T_u, whatever their value.
    k : int
        Places that count, 1 <= k <= n.

    Returns
    -------
    float64 ndarray of shape (B,)
        NaN for a user with nothing held out.

    Raises
    ------
    ConfigError
        `k` is less than 1, or more than the lists' length n.
    DataError
        The two do not have the same users, or a list repeats an item or holds one outside -1 .. I-1.
    """
    hits, n_held = _hits(ranked, held_out, k)
    return _divide(hits.sum(axis=1), n_held)


def capped_recall(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Capped recall@k = |L_u ∩ T_u| / min(k, n_u): as recall, but a perfect list always reaches 1.

    The denominator is the smaller of k and the number held out (the Recall@R of Liang et al. 2018,
    *Variational autoencoders for collaborative filtering*). Arguments and errors as for `recall`.
    """
    hits, n_held = _hits(ranked, held_out, k)
    return _divide(hits.sum(axis=1), np.minimum(k, n_held))


def precision(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Precision@k = |L_u ∩ T_u| / k.

    The denominator is k, also where the list is padded or fewer than k are held out. Arguments and errors
    as for `recall`.
    """
    hits, n_held = _hits(ranked, held_out, k)
    return _divide(hits.sum(axis=1), np.where(n_held > 0, k, 0))


def hit_rate(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """Hit rate@k = 1 if L_u ∩ T_u is not empty, else 0; its mean over users is the share of users served.

    Arguments and errors as for `recall`.
    """
    hits, n_held = _hits(ranked, held_out, k)
    return _divide(np.minimum(hits.sum(axis=1), 1), np.where(n_held > 0, 1, 0))


def ndcg(ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int) -> NDArray[np.float64]:
    """NDCG@k with binary relevance = DCG_u / IDCG_u (Järvelin & Kekäläinen 2002).

        DCG_u  = Σ_{i=1..k}           [L_u(i) ∈ T_u] / log2(i + 1)
        IDCG_u = Σ_{i=1..min(k, n_u)} 1 / log2(i + 1)

    The denominator is the gain of the best list possible, cut at min(k, n_u), so a perfect list reaches 1.
    Arguments and errors as for `recall`.
    """
    hits, n_held = _hits(ranked, held_out, k)
    gains = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(gains)])  # ideal[m]: the best m places all hit
    return _divide(hits @ gains, ideal[np.minimum(k, n_held)])


def _hits(
    ranked: NDArray[np.integer], held_out: sp.csr_matrix, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of the first k places hit, (B, k), and how many different items are held out, (B,)."""
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
    n_users, n_items = held_out.shape
    places = ranked[:, :k].astype(np.int64, copy=False)
    if places.size and not (places.min() >= -1 and places.max() < n_items):
        raise DataError(
            f"a ranked list holds an item number outside -1 .. {n_items - 1}; rank the same items"
        )
    in_order = np.sort(places, axis=1)
    if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
        raise DataError(
            "a ranked list holds the same item twice, which would count as two hits; rank each item once"
        )

    # a (user, item) pair as one number: membership of all lists at once is one search in sorted numbers
    users = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(held_out.indptr))
    held = np.unique(users * n_items + held_out.indices)
    n_held = np.bincount(held // max(n_items, 1), minlength=n_users).astype(np.int64)
    wanted = np.arange(n_users, dtype=np.int64)[:, None] * n_items + places
    if not held.size:
        return np.zeros(places.shape, dtype=np.bool_), n_held
    found = held[np.minimum(np.searchsorted(held, wanted), held.size - 1)]
    return (found == wanted) & (places >= 0), n_held


def _divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> NDArray[np.float64]:
    """numerator / denominator, NaN where the denominator is 0."""
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result
