"""Figures of the recommended lists beyond hits: coverage, novelty, popularity bias, diversity."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.loops import loop
from recae.machine import processors
from recae.metrics import check_lists
from recae.sparse import pattern

FIGURES = ("coverage", "novelty", "popularity_bias", "diversity")

# Below this many lists a second thread costs more to start than it saves.
_LISTS_PER_THREAD = 256


def set_figures(
    ranked: NDArray[np.integer], train: sp.csr_matrix, ks: Sequence[int], *, threads: int | None = None
) -> dict[str, float]:
    """Return the figures of all lists together, for each k.

    Notation: L_u the items among the first k places of user u's list (padding is none), I the number of items, T that
    of the training users, c_i the number of them who own item i, v_i ∈ {0, 1}^T who they are.

        coverage@k        = |∪_u L_u| / I
        novelty@k         = Σ_u Σ_{i∈L_u} −log2(max(c_i, 1) / T) / Σ_u |L_u|, in bits (Zhou et al. 2010, *Solving the
                            apparent diversity-accuracy dilemma of recommender systems*)
        popularity_bias@k = Σ_u Σ_{i∈L_u} c_i / T / Σ_u |L_u|
        diversity@k       = the mean, over the lists with two items at least, of 1 − the mean over the pairs i < j of
                            L_u of v_i·v_j / (‖v_i‖ ‖v_j‖) (intra-list diversity: Ziegler et al. 2005, *Improving
                            recommendation lists through topic diversification*, with the cosine as similarity)

    An item that nobody owns is as novel as one of a single owner, adds nothing to the popularity bias, and is similar
    to no other. Memory beside the arguments: the purchases once more, by item, and T numbers a thread;
    never items × items.

    Args:
        ranked: item numbers (B, n), best first, without repeats; -1 is padding.
        train: csr_matrix (T, I), who owns what: the items stored in row t, whatever their value.
        ks: list lengths, each from 1 to n.
        threads: at most; by default all processors. They do not change the result.

    Returns:
        Figures by name@k, such as coverage@20: by figure, then by k, in the order given. NaN for novelty and popularity
        bias where all lists are empty, and for diversity where none has two items.

    Raises:
        ConfigError: `threads` or a k is less than 1, or a k is more than the lists' length n.
        DataError: there are no training users or no items, or a list repeats an item or holds one outside -1 .. I-1.
    """
    _check(ranked, train, ks, threads)
    # the users who own each item, once however often they are stored
    owners = sp.csr_matrix(pattern(train).T)
    owners.sum_duplicates()
    counts = np.diff(owners.indptr).astype(np.float64)
    fraction = counts / train.shape[0]
    surprise = -np.log2(np.maximum(counts, 1) / train.shape[0])
    figures: dict[str, dict[int, float]] = {name: {} for name in FIGURES}
    for k in ks:
        places = ranked[:, :k]
        shown = np.bincount(places[places >= 0], minlength=train.shape[1])  # (I,) in how many lists
        filled = int(shown.sum())
        figures["coverage"][k] = float((shown > 0).mean())
        figures["novelty"][k] = float(shown @ surprise) / filled if filled else np.nan
        figures["popularity_bias"][k] = float(shown @ fraction) / filled if filled else np.nan
    similar = _similarity_of_pairs(ranked, owners, ks, threads)
    for column, k in enumerate(ks):
        sizes = (ranked[:, :k] >= 0).sum(axis=1)
        some = sizes >= 2
        pairs = sizes[some] * (sizes[some] - 1) / 2
        figures["diversity"][k] = float((1 - similar[some, column] / pairs).mean()) if some.any() else np.nan
    return {f"{name}@{k}": value for name, by_k in figures.items() for k, value in by_k.items()}


def _check(ranked: NDArray[np.integer], train: sp.csr_matrix, ks: Sequence[int], threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, but is {threads}; leave it out to use all processors")
    if not all(train.shape):
        raise DataError(
            f"figures of the lists need training users and items, but the training matrix has the shape "
            f"{train.shape}; use more purchases"
        )
    if ranked.ndim != 2:
        raise DataError(f"ranked lists must be a matrix (users, places), but have the shape {ranked.shape}")
    for k in ks:
        if not 1 <= k <= ranked.shape[1]:
            raise ConfigError(
                f"figures at {k} need k of at least 1 and lists of {k} items, but they have {ranked.shape[1]}; "
                "rank more items or count fewer places"
            )
    check_lists(ranked, train.shape[1])


def _similarity_of_pairs(
    ranked: NDArray[np.integer], owners: sp.csr_matrix, ks: Sequence[int], threads: int | None
) -> NDArray[np.float64]:
    """Return the cosines of all pairs among the first k places, summed, (B, number of ks).

    Args:
        ranked: (B, n).
        owners: csr (I, T).
        ks: list lengths.
        threads: at most.
    """
    sums = np.zeros((ranked.shape[0], len(ks)))
    # one type each: the kernel is compiled for a single signature
    lists = np.require(ranked, np.int32, ["C", "A", "W"])
    indptr, indices = owners.indptr.astype(np.int64), owners.indices.astype(np.int32)
    lengths = np.asarray(ks, dtype=np.int64)
    workers = min(threads or processors(), 1 + ranked.shape[0] // _LISTS_PER_THREAD)
    # several ranges a worker, so that one slow range does not leave the others idle
    bounds = np.linspace(0, ranked.shape[0], 4 * workers + 1).astype(np.int64)
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_sum_similarity, lists, indptr, indices, owners.shape[1], lengths, sums, start, stop)
            for start, stop in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    return sums


@loop
def _sum_similarity(
    ranked: NDArray[np.int32],  # (B, n)
    indptr: NDArray[np.int64],  # (I + 1,)
    owners: NDArray[np.int32],  # (nnz,) users by item
    n_users: int,
    ks: NDArray[np.int64],
    sums: NDArray[np.float64],  # (B, number of ks) written
    start: int,
    stop: int,
) -> None:
    """Add up the cosines of all pairs in lists start to stop - 1, at each of the ks.

    An item's cosines with all items before it in the list are its product with the sum of their unit vectors.
    """
    before = np.zeros(n_users)  # that sum; an item's unit vector has 1/√c_i at each of its c_i owners
    for b in range(start, stop):
        total = 0.0
        for p in range(ks.max()):
            item = ranked[b, p]
            if item >= 0 and indptr[item] < indptr[item + 1]:
                unit = 1 / np.sqrt(indptr[item + 1] - indptr[item])
                product = 0.0
                for e in range(indptr[item], indptr[item + 1]):
                    product += before[owners[e]]
                    before[owners[e]] += unit
                total += unit * product
            for column in range(len(ks)):
                if ks[column] == p + 1:
                    sums[b, column] = total
        for p in range(ks.max()):
            if ranked[b, p] >= 0:
                for e in range(indptr[ranked[b, p]], indptr[ranked[b, p] + 1]):
                    before[owners[e]] = 0.0
