"""Sparse linear model: each item regressed on its neighbours; memory grows with items × neighbours."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.errors import TrainingError
from recae.loops import loop
from recae.machine import processors
from recae.models import SparseLinear
from recae.ranking import heap_rise, heap_sink
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.device import memory_left
from recae.training.kinds.linear import (
    Scales,
    SparseLinearSettings,
    best_factors,
    factors,
    item_squares,
    penalties,
    resolve,
    user_weights,
)

SAMPLE = 32
"""Items that are solved first, to say how long all will take."""

DENSE_BYTES_AT_MOST = 2**28
"""Bytes of XᵀX up to which it is held whole, float64: up to 5,792 items.

Then the systems are read from it. Otherwise each is summed up anew, which takes most of the time where items have many
owners."""


def fit_sparse_linear(
    matrix: sp.csr_matrix, config: SparseLinearSettings, hooks: Hooks
) -> tuple[SparseLinear, list[Epoch]]:
    """Fit the sparse linear model to (U, I) purchases; TrainingError as `solve_neighbours`."""
    options = factors(resolve(config, matrix), hooks)
    solution = solve_neighbours(matrix, options[0], hooks)

    def model(option: SparseLinearSettings) -> SparseLinear:
        return SparseLinear(solution.weights(option, matrix), option.as_dict())

    def quality(option: SparseLinearSettings) -> float:
        if hooks.validate is None:
            raise AssertionError("there is one option then")
        return hooks.validate(model(option))

    return model(best_factors(SparseLinear.kind, options, quality, hooks)), []


@dataclass(frozen=True, eq=False)
class Solution:
    """The weights of each item's neighbours, before any factors.

    Attributes:
        neighbours: int32 (I, k), rising; −1 where there is none.
        values: float32 (I, k).
        left: Λ_j P_jj of the item with its neighbours, float64 (I,); see `Scales.of`.
    """

    neighbours: NDArray[np.int32]
    values: NDArray[np.float32]
    left: NDArray[np.float64]

    def weights(self, config: SparseLinearSettings, matrix: sp.csr_matrix) -> sp.csr_matrix:
        """Return B by rows, float32 (I, I), with the factors of settings without open ones; (U, I) purchases."""
        scales = Scales.of(config, matrix, self.left)
        values = self.values * scales.rows.astype(np.float32)[self.neighbours]
        values *= scales.columns.astype(np.float32)[:, None]
        B = _by_row(self.neighbours, values)
        own = scales.diagonal.astype(np.float32)
        return (B + sp.diags_array(own, format="csr")).tocsr() if own.any() else B


def solve_neighbours(
    matrix: sp.csr_matrix, config: SparseLinearSettings, hooks: Hooks, *, held: bool | None = None
) -> Solution:
    """Return B with B_Sj = (G_SS + Λ_S)⁻¹ G_Sj for each item j and its neighbours S.

    G = XᵀX of the purchases X, the users weighted; X holds the root of the confidence in a
    purchase, as in `linear.solve`; `config` is resolved. Where S is all other items, this is EDLAE (Steck 2020); the
    limited S is the sparse pattern of Steck 2019 (arXiv:1904.13033), except that each column has its own. The
    neighbours of j are the items i that alone would explain most of it, by the decrease G_ij²/(G_ii + Λ_i) of the
    squared error. With `diagonal` ξ, `Scales` makes it the solution on S and j itself with B_jj ≤ ξ. G is held whole
    where `held` says so, which changes no bit; by default up to `DENSE_BYTES_AT_MOST`.

    Raises:
        TrainingError: it does not fit in memory (before anything is computed), or a system is not positive definite.
    """
    n_users, n_items = matrix.shape
    k = max(min(config.neighbours, n_items - 1), 1)
    threads = processors()
    weights = user_weights(matrix, config.user_power)
    squares = item_squares(matrix, weights, hooks.confidence)
    penalty = penalties(config, squares)
    _check_memory(n_users, n_items, matrix.nnz, k, threads)
    roots = of_owners = None
    if hooks.confidence is not None:
        roots = np.sqrt(hooks.confidence.astype(np.float64))
        matrix = sp.csr_matrix((roots, matrix.indices, matrix.indptr), shape=matrix.shape)
    # copies of what may not be written to: for such arrays the loops would be compiled once more
    indptr, indices = (np.require(a, requirements=["C", "A", "W"]) for a in (matrix.indptr, matrix.indices))
    owners = matrix.tocsc()
    if roots is not None:
        of_owners = owners.data
    whole = n_items if (_is_dense(n_items) if held is None else held) else 0
    products = np.zeros((whole, whole))
    neighbours = np.full((n_items, k), -1, dtype=np.int32)
    values = np.zeros((n_items, k), dtype=np.float32)
    left = np.ones(n_items)

    def multiply(items: NDArray[np.int64]) -> None:
        _products(
            indptr,
            indices,
            owners.indptr,
            owners.indices,
            weights,
            roots,
            of_owners,
            items,
            products,
        )

    def solve(items: NDArray[np.int64]) -> None:
        count = None if whole else np.zeros(n_users, dtype=np.int32)
        place = None if whole else np.zeros(n_users, dtype=np.int64)
        failed = _solve_columns(
            indptr, indices, owners.indptr, owners.indices, weights, roots, of_owners,
            products, count, place, squares, penalty, items, neighbours, values, left,
        )  # fmt: skip
        if failed >= 0:
            raise TrainingError(
                f"the weights of item row {failed} cannot be solved, since its neighbours are too much alike: "
                "give a larger l2"
            )

    order = np.arange(n_items)
    bounds = np.linspace(0, n_items, min(n_items, max(8 * threads, n_items // 256)) + 1).astype(np.int64)
    ranges = [order[start:stop] for start, stop in pairwise(bounds)]
    if whole:
        _in_threads(multiply, ranges, threads)
    if n_items > 20 * SAMPLE:
        solve(order[:1])  # compiles
        started = time.perf_counter()
        solve(order[:: -(-n_items // SAMPLE)].copy())  # contiguous, as the compiled loop is
        seconds = (time.perf_counter() - started) * n_items / SAMPLE / threads
        if seconds > 5:
            hooks.on_message(
                f"solving {n_items:,} items, each from {k:,} neighbours: about "
                + (f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:,.0f} minutes")
            )
    _in_threads(solve, ranges, threads)
    return Solution(neighbours, values, left)


def _is_dense(n_items: int) -> bool:
    """Return whether XᵀX is held whole. By the items alone, so that a fit gives the same bits on every machine."""
    return 8 * n_items**2 <= DENSE_BYTES_AT_MOST


def _in_threads(
    work: Callable[[NDArray[np.int64]], None], ranges: list[NDArray[np.int64]], threads: int
) -> None:
    """Do the work for ranges of items, in any order, on several threads."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in pool.map(work, ranges):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _check_memory(n_users: int, n_items: int, interactions: int, k: int, threads: int) -> None:
    of_thread = 16 * n_items + 16 * n_users + 8 * k * k + 4 * interactions
    need = 36 * n_items * k + 12 * interactions + threads * of_thread
    if _is_dense(n_items):
        need += 8 * n_items**2
    left = memory_left("cpu")
    if left is not None and need > left:
        raise TrainingError(
            f"{k:,} neighbours of {n_items:,} items need {need / 2**30:,.1f} GiB of memory, and this machine has "
            f"{left / 2**30:,.1f} GiB left: lower neighbours, or leave out rare items"
        )


def _by_row(neighbours: NDArray[np.int32], values: NDArray[np.float32]) -> sp.csr_matrix:
    """Return column j's weights of its neighbours, (I, k) both, −1 where there is none, as a matrix by rows."""
    n_items = len(neighbours)
    found = neighbours >= 0
    indptr = np.concatenate([[0], np.cumsum(found.sum(axis=1, dtype=np.int64))])
    by_column = sp.csc_matrix((values[found], neighbours[found], indptr), shape=(n_items, n_items))
    return by_column.tocsr()  # sorted, since the columns come in order


@loop(fastmath=FAST)
def _products(
    indptr: Ints, indices: Ints, owners_indptr: Ints, owners: Ints, weights: Floats, roots: Any, of_owners: Any,
    items: Ints, products: Floats,
) -> None:  # fmt: skip
    """Write the rows `items` of G to `products` (I, I), which is 0 before."""
    for j in items:
        row = products[j]
        for p in range(owners_indptr[j], owners_indptr[j + 1]):
            u = owners[p]
            for q in range(indptr[u], indptr[u + 1]):
                if roots is None:
                    row[indices[q]] += weights[u]
                else:
                    row[indices[q]] += weights[u] * of_owners[p] * roots[q]


@loop(fastmath=FAST)
def _solve_columns(
    indptr: Ints,
    indices: Ints,
    owners_indptr: Ints,
    owners: Ints,
    weights: Floats,  # (U,)
    roots: Floats | None,  # (nnz,) of what purchases weigh, by user; None: 1
    of_owners: Floats | None,  # (nnz,) likewise, by item
    products: Floats,  # (I, I) G, or (0, 0) where it is not held
    count: Ints | None,  # (U,) 0 before and after, and
    place: Ints | None,  # (U,) scratch; None where G is held: what sums it up is left out of that compilation
    squares: Floats,  # (I,) the diagonal of G
    penalty: Floats,  # (I,)
    items: Ints,
    neighbours: Ints,  # (I, k) written; −1 before
    values: Floats,  # (I, k) written
    left: Floats,  # (I,) written: Λ_j P_jj
) -> int:
    """Solve the columns `items`; return −1, or the first one whose system is not positive definite."""
    n_items, k = penalty.shape[0], neighbours.shape[1]
    common = np.zeros(n_items)  # G_ij of the current j
    touched = np.empty(n_items, dtype=np.int32)
    A, y, right = np.zeros((k, k)), np.zeros(k), np.zeros(k)
    for j in items:
        if place is None:
            n_touched = _read_row(j, products, common, touched)
        else:
            n_touched = _co_occurrences(
                j, indptr, indices, owners_indptr, owners, weights, roots, of_owners, common, touched
            )
        if k >= n_items - 1:  # all others, even those without a common owner, so that it is EDLAE's solution
            n = n_items - 1
            for a in range(n):
                neighbours[j, a] = a + (a >= j)
        else:
            n = _most_telling(touched[:n_touched], common, squares, penalty, neighbours[j])
        S = neighbours[j, :n]
        _sort(S)
        for a in range(n):
            y[a] = common[S[a]]
            right[a] = y[a]
        for t in range(n_touched):
            common[touched[t]] = 0
        if place is None:
            for a in range(n):
                row = products[S[a]]
                for b in range(a + 1):
                    A[a, b] = row[S[b]]
        else:
            _gram_of(S, owners_indptr, owners, weights, of_owners, count, place, A)
        for a in range(n):
            A[a, a] += penalty[S[a]]
        if not _solve_in_place(A, y, n):
            return int(j)
        pivot = squares[j] + penalty[j]  # becomes 1/P_jj of the items S and j
        for a in range(n):
            values[j, a] = y[a]
            pivot -= right[a] * y[a]
        left[j] = penalty[j] / pivot
    return -1


@loop(fastmath=FAST)
def _co_occurrences(
    j: int, indptr: Ints, indices: Ints, owners_indptr: Ints, owners: Ints, weights: Floats, roots: Any,
    of_owners: Any, common: Floats, touched: Ints,
) -> int:  # fmt: skip
    """Write G_ij to common[i] for all other items i that an owner of j owns.

    Returns:
        Their number; they stand first in `touched`.
    """
    n = 0
    for p in range(owners_indptr[j], owners_indptr[j + 1]):
        u = owners[p]
        for q in range(indptr[u], indptr[u + 1]):
            i = indices[q]
            if i != j:
                if common[i] == 0:
                    touched[n] = i
                    n += 1
                if roots is None:
                    common[i] += weights[u]
                else:
                    common[i] += weights[u] * of_owners[p] * roots[q]
    return int(n)


@loop
def _read_row(j: int, products: Floats, common: Floats, touched: Ints) -> int:
    """Do the same as `_co_occurrences`, from G (I, I)."""
    n = 0
    for i in range(products.shape[0]):
        if i != j and products[j, i] != 0:
            common[i] = products[j, i]
            touched[n] = i
            n += 1
    return n


@loop
def _most_telling(touched: Ints, common: Floats, squares: Floats, penalty: Floats, neighbours: Ints) -> int:
    """Write the items of the largest G_ij²/(G_ii + Λ_i) to `neighbours`, as many as fit; return their number."""
    k: int = neighbours.shape[0]
    if touched.shape[0] <= k:
        for t in range(touched.shape[0]):
            neighbours[t] = touched[t]
        return len(touched)
    gains = np.empty(k)  # a heap with the smallest on top; of equal gains those touched first remain
    for t in range(touched.shape[0]):
        i = touched[t]
        gain = common[i] * common[i] / (squares[i] + penalty[i])
        if t < k:
            heap_rise(neighbours, gains, np.int64(t), np.int64(t), gain)
        elif gain > gains[0]:
            heap_sink(neighbours, gains, k, np.int64(t), gain)
    for n in range(k):
        neighbours[n] = touched[neighbours[n]]
    return k


@loop
def _sort(items: Ints) -> None:
    """Sort the items in place; numpy's own sort would take seconds to compile."""
    equal = np.zeros(items.shape[0])  # so that the highest item is on top of the heap
    for n in range(items.shape[0]):
        heap_rise(items, equal, np.int64(n), np.int64(items[n]), 0.0)
    for last in range(items.shape[0] - 1, 0, -1):
        item = np.int64(items[last])
        items[last] = items[0]
        heap_sink(items, equal, last, item, 0.0)


@loop(fastmath=FAST)
def _gram_of(
    S: Ints,
    owners_indptr: Ints,
    owners: Ints,
    weights: Floats,
    of_owners: Floats | None,
    count: Ints,
    place: Ints,
    A: Floats,
) -> None:
    """Write G_SS, its lower triangle, to A. `count` (U,) is 0 before and after, `place` (U,) scratch."""
    n, total = S.shape[0], 0
    for a in range(n):
        A[a, : a + 1] = 0
        for p in range(owners_indptr[S[a]], owners_indptr[S[a] + 1]):
            count[owners[p]] += 1
        total += owners_indptr[S[a] + 1] - owners_indptr[S[a]]
    held = np.empty(total, dtype=np.int32)  # of each owner in turn, which of S it owns
    held_roots = np.empty(0 if of_owners is None else total)  # and the root of what that weighs
    end = 0
    for a in range(n):
        for p in range(owners_indptr[S[a]], owners_indptr[S[a] + 1]):
            u = owners[p]
            if count[u] > 0:  # seen for the first time: makes room, and counts downwards from here
                place[u] = end
                end += count[u]
                count[u] = -1
            held[place[u] - count[u] - 1] = a
            if of_owners is None:
                for t in range(place[u], place[u] - count[u]):
                    A[a, held[t]] += weights[u]
            else:
                held_roots[place[u] - count[u] - 1] = of_owners[p]
                for t in range(place[u], place[u] - count[u]):
                    A[a, held[t]] += weights[u] * of_owners[p] * held_roots[t]
            count[u] -= 1
    for a in range(n):
        for p in range(owners_indptr[S[a]], owners_indptr[S[a] + 1]):
            count[owners[p]] = 0


@loop(fastmath=FAST)
def _solve_in_place(A: Floats, y: Floats, n: int) -> bool:
    """Replace y[:n] by A⁻¹y, by Cholesky's factors, which replace the lower triangle of A.

    Returns:
        False when A is not positive definite.
    """
    for a in range(n):
        for b in range(a):
            total = A[a, b]
            for c in range(b):
                total -= A[a, c] * A[b, c]
            A[a, b] = total / A[b, b]
        pivot = A[a, a]
        for c in range(a):
            pivot -= A[a, c] * A[a, c]
        if not pivot > 0:  # NaN included
            return False
        A[a, a] = np.sqrt(pivot)
        total = y[a]
        for c in range(a):
            total -= A[a, c] * y[c]
        y[a] = total / A[a, a]
    for a in range(n - 1, -1, -1):
        y[a] /= A[a, a]
        for c in range(a):
            y[c] -= A[a, c] * y[a]
    return True
