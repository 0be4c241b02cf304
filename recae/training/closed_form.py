"""EASE and EDLAE, solved: one inverse of a symmetric matrix of items by items, or of users by users."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numba import njit
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.errors import TrainingError
from recae.models import Ease, Edlae
from recae.ranking import processors
from recae.training.checkpoint import Epoch
from recae.training.device import memory_left
from recae.training.hooks import Hooks
from recae.training.linear_config import (
    EaseConfig,
    EdlaeConfig,
    item_squares,
    penalties,
    resolve,
    score_scales,
    user_weights,
)

GROUP = 8
"""Items whose rows the dual form computes together: one vector register."""

BLOCK = 512
"""Rows of a dense matrix that are filled or rescaled at once."""


def fit_ease(matrix: sp.csr_matrix, config: EaseConfig, hooks: Hooks) -> tuple[Ease, list[Epoch]]:
    """EASE of (U, I) purchases (Steck 2019, arXiv:1905.03375); TrainingError as `solve`."""
    config = resolve(config, matrix)
    return Ease(solve(matrix, config, hooks), config.as_dict()), []


def fit_edlae(matrix: sp.csr_matrix, config: EdlaeConfig, hooks: Hooks) -> tuple[Edlae, list[Epoch]]:
    """EDLAE of (U, I) purchases (Steck 2020); TrainingError as `solve`."""
    config = resolve(config, matrix)
    return Edlae(solve(matrix, config, hooks), config.as_dict()), []


def solve(matrix: sp.csr_matrix, config: EaseConfig, hooks: Hooks) -> NDArray[np.float32]:
    """B = I − P diag(1/diag P) with P = (XᵀX + Λ)⁻¹, float32 (I, I), of the purchases X (U, I); `config` resolved.

    In terms of Z = XΛ^−½, P = Λ^−½ N Λ^−½ with N = (I + ZᵀZ)⁻¹, which by Woodbury's identity is I − Zᵀ(I + ZZᵀ)⁻¹Z:
    the inverse is of items by items or of users by users, whichever is less work and fits.

    X holds the root of what each purchase weighs (`hooks.weights`), 1 without weights: an item's diagonal entry of XᵀX
    is then the sum of the weights of its purchases, and two items count as bought together by the geometric mean of
    the two purchases' weights. Weights of the single errors would need another inverse for each item.

    Raises TrainingError, before anything is computed, when it does not fit in memory, and when the matrix to invert is
    not positive definite in single precision.
    """
    weights = user_weights(matrix, config.user_power)
    penalty = penalties(config, item_squares(matrix, weights, hooks.weights))
    buyers = np.flatnonzero(np.diff(matrix.indptr))
    users, items = buyers.size, matrix.shape[1]
    dual, need = plan(users, items, matrix.nnz, memory_left("cpu"))
    Z = sp.csr_matrix(matrix, dtype=np.float64)[buyers]
    Z.data = np.repeat(np.sqrt(weights[buyers]), np.diff(Z.indptr)) / np.sqrt(penalty)[Z.indices]
    if hooks.weights is not None:
        Z.data *= np.sqrt(
            hooks.weights.astype(np.float64)
        )  # users without purchases have none that could be missing
    Z = Z.astype(np.float32)
    _announce(users if dual else items, "users" if dual else "items", items, need, hooks)
    N = from_users(Z) if dual else from_items(Z)
    return _to_weights(N, np.sqrt(penalty), score_scales(config, matrix))


def plan(users: int, items: int, interactions: int, left: int | None) -> tuple[bool, int]:
    """Whether to invert users by users (True) or items by items, and the bytes it takes.

    Raises TrainingError when neither fits into the bytes left (None: unknown, then everything fits).
    """
    small = 64 * interactions + 8 * BLOCK * max(users, items) + processors() * GROUP * 8 * users
    primal, dual = 4 * items**2 + small, 4 * items**2 + 4 * users**2 + small
    # multiplications, those of the sparse products ten times as dear as those of dense ones
    cheaper = users**3 + 10 * interactions * (users + items) < items**3
    need = dual if cheaper and (left is None or dual <= left) else primal
    if left is not None and need > left:
        raise TrainingError(
            f"a weight for each pair of {items:,} items needs {need / 2**30:,.1f} GiB of memory, and this machine has "
            f"{left / 2**30:,.1f} GiB left: use the kind 'sparse-linear', which keeps the weights of each item's "
            "neighbours only, or leave out rare items"
        )
    return need == dual, need


def from_items(Z: sp.csr_matrix) -> NDArray[np.float32]:
    """(I + ZᵀZ)⁻¹, float32 (I, I), for Z (U, I); TrainingError when rounding leaves it not positive definite."""
    return _inverse(_gram(Z.T.tocsr()))


def from_users(Z: sp.csr_matrix) -> NDArray[np.float32]:
    """The same as `from_items`, by way of I − Zᵀ(I + ZZᵀ)⁻¹Z."""
    M = _inverse(_gram(Z))
    columns = Z.tocsc()
    n_items = Z.shape[1]
    N = np.empty((n_items, n_items), dtype=np.float32)
    bounds = [*range(0, n_items, 32 * GROUP), n_items]
    with ThreadPoolExecutor(processors()) as pool:
        jobs = [
            pool.submit(_sandwich, columns.indptr, columns.indices, columns.data, M, N, start, stop)
            for start, stop in pairwise(bounds)
        ]
        for job in jobs:
            job.result()
    return N


def _gram(Z: sp.csr_matrix) -> NDArray[np.float32]:
    """I + ZZᵀ, dense, float32."""
    n = Z.shape[0]
    G = np.empty((n, n), dtype=np.float32)
    transposed = Z.T.tocsr()
    for start in range(0, n, BLOCK):
        (Z[start : start + BLOCK] @ transposed).toarray(out=G[start : start + BLOCK])
    G[np.diag_indices(n)] += 1
    return G


def _inverse(G: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix, in its place."""
    # LAPACK's order of columns; given as input and output, nothing is copied
    columns = torch.from_numpy(G).T
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    if info.item() != 0:
        raise TrainingError(
            "the matrix of purchases plus l2 is not positive definite in single precision: give a larger l2"
        )
    torch.cholesky_inverse(columns, out=columns)
    return G


def _to_weights(
    N: NDArray[np.float32], roots: NDArray[np.float64], scales: NDArray[np.float64]
) -> NDArray[np.float32]:
    """B_ij = −P_ij/P_jj · scale_j = −N_ij √Λ_j/(√Λ_i N_jj) · scale_j off the diagonal, in the place of N."""
    diagonal = N.diagonal().astype(np.float64)
    if not (diagonal > 0).all():  # NaN included
        raise TrainingError("the inverse lost its precision: give a larger l2")
    columns = (-roots * scales / diagonal).astype(np.float32)
    rows = (1 / roots).astype(np.float32)
    for start in range(0, len(N), BLOCK):
        block = N[start : start + BLOCK]
        block *= columns
        block *= rows[start : start + BLOCK, None]
        if not np.isfinite(block).all():
            raise TrainingError("a weight is not finite: give a larger l2")
    np.fill_diagonal(N, 0)
    return N


def _announce(n: int, what: str, items: int, need: int, hooks: Hooks) -> None:
    """Says what is about to be solved when it takes more than some seconds."""
    if n < 4096:
        return
    probe = torch.ones(1024, 1024)
    probe @ probe
    started = time.perf_counter()
    probe @ probe
    seconds = (
        (time.perf_counter() - started) * 0.7 * (n / 1024) ** 3
    )  # n³ operations at two thirds of that speed
    hooks.on_message(
        f"inverting {n:,} × {n:,} {what} for the weights of {items:,} items: about {_duration(seconds)}, "
        f"{need / 2**30:,.1f} GiB"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


@njit(nogil=True, cache=True, fastmath=FAST)
def _sandwich(indptr: Ints, indices: Ints, data: Floats, M: Floats, N: Any, start: int, stop: int) -> None:
    """N[start:stop] ← rows of I − ZᵀMZ, for Z (U, I) by columns and M (U, U) symmetric."""
    users, items = M.shape[0], N.shape[0]
    rows = np.empty((GROUP, users), dtype=M.dtype)
    across = np.empty((users, GROUP), dtype=M.dtype)
    sums = np.empty(GROUP, dtype=M.dtype)
    for first in range(start, stop, GROUP):
        n = min(GROUP, stop - first)
        rows[:] = 0
        for g in range(n):
            row = rows[g]
            for p in range(indptr[first + g], indptr[first + g + 1]):
                value, other = data[p], M[indices[p]]
                for u in range(users):
                    row[u] += value * other[u]
        for u in range(users):
            for g in range(GROUP):
                across[u, g] = rows[g, u]
        for j in range(items):
            sums[:] = 0
            for p in range(indptr[j], indptr[j + 1]):
                value, u = data[p], indices[p]
                for g in range(GROUP):
                    sums[g] += value * across[u, g]
            for g in range(n):
                N[first + g, j] = -sums[g]
        for g in range(n):
            N[first + g, first + g] += 1
