"""EASE and EDLAE, solved: one inverse of a symmetric matrix of items by items, or of users by users."""

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final, Self, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.errors import TrainingError
from recae.kinds import exact_solve
from recae.kinds.cost import BLOCK, GROUP
from recae.loops import loop
from recae.machine import processors
from recae.models import Ease, Edlae
from recae.models.linear import DenseLinear
from recae.settings import LARGEST_SEED, Settings, redefined, setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.device import memory_left


class EaseSettings(Settings):
    """Settings of EASE; None: chosen from the data by `resolve`."""

    l2: float | None = setting(None, "λ, what is added to the diagonal of XᵀX", ge=1e-3, le=1e9)
    user_power: float = setting(
        0.0,
        "p in 0..1: the squared errors of a user of m items weigh m^−p, relative to the mean purchase's; 0: alike",
        ge=0,
        le=1,
    )
    item_power: float | None = setting(
        0.0, "a in 0..1: the score of an item of n owners is divided by n^a; 0: not", ge=0, le=1
    )
    owned_power: float | None = setting(
        0.0,
        "b in -1..1: what owning an item of n owners adds to the scores is multiplied by n^b; 0: not",
        ge=-1,
        le=1,
    )
    diagonal: float | None = setting(
        0.0, "ξ in 0..1: what an item may add to its own score at most; 0: nothing", ge=0, le=1
    )
    seed: int = setting(0, "has no effect: nothing here is random", ge=0, le=LARGEST_SEED)


class EdlaeSettings(EaseSettings):
    """Settings of EDLAE: EASE with dropout in expectation.

    Users' errors are weighted by default: on validation users of three data sets that was better or as good. What
    brought up to a thirtieth of NDCG@20 on one data set cost an eighth on another: item_power, owned_power and diagonal
    are chosen on the validation users where there are any, see `factors`.
    """

    user_power: float = redefined(EaseSettings, "user_power", 0.5)
    item_power: float | None = redefined(EaseSettings, "item_power", None)
    owned_power: float | None = redefined(EaseSettings, "owned_power", None)
    diagonal: float | None = redefined(EaseSettings, "diagonal", None)
    dropout: float = setting(
        0.3,
        "p in [0, 1): fraction of each history hidden, in expectation; adds p/(1−p) diag(XᵀX) to the diagonal",
        ge=0,
        lt=1,
    )


class SparseLinearSettings(EdlaeSettings):
    """Settings of the sparse linear model: EDLAE with each item from its neighbours.

    It hides more than EDLAE by default, and weighs users more alike: on the validation users of Gowalla, Online Retail
    (by users and by time) and the sample that ranked better, on those of Ta-Feng as well.
    """

    user_power: float = redefined(EaseSettings, "user_power", 0.3)
    dropout: float = redefined(EdlaeSettings, "dropout", 0.5)
    neighbours: int = setting(200, "items from which each item is predicted", ge=1, le=10_000)


Config = TypeVar("Config", bound=EaseSettings)

FACTORS: Final = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.3), (0.1, -0.1, 0.0), (0.2, -0.1, 0.0))
"""item_power, owned_power and diagonal that are tried where they are left open: the best of some twenty on the
validation users of the sample, Online Retail, Gowalla and Ta-Feng."""


def factors(config: Config, hooks: Hooks) -> list[Config]:
    """Return the settings that are tried: those of `FACTORS` for what is left open, alike ones once.

    They use the same solution, so that each costs no more than its validation. Without validation users it is the
    first one.
    """
    names = ("item_power", "owned_power", "diagonal")
    found: list[Config] = []
    for option in FACTORS if hooks.validate is not None else FACTORS[:1]:
        tried = config.filled(**dict(zip(names, option, strict=True)))
        if tried not in found:
            found.append(tried)
    return found


def best_factors(
    kind: str, options: list[Config], quality: Callable[[Config], float], hooks: Hooks
) -> Config:
    """Return the first of the best settings by their quality, and say which."""
    if len(options) == 1:
        return options[0]
    best = max(options, key=quality)
    hooks.on_message(
        f"{kind}: item_power {best.item_power:g}, owned_power {best.owned_power:g} and diagonal {best.diagonal:g} are "
        f"the best of {len(options)} on the validation users"
    )
    return best


def resolve(config: Config, matrix: sp.csr_matrix) -> Config:
    """Return `config` with l2 filled in from the purchases ((U, I) CSR pattern).

    20 times the root of the purchases per item: on validation users of two data sets, of 16 and 40 purchases per item,
    the best of a coarse grid (50 or 100, and 100) lay near it.
    """
    return config.filled(l2=l2_of(matrix))


def l2_of(matrix: sp.csr_matrix) -> float:
    """Return the l2 of `resolve`."""
    per_item = max(matrix.nnz, 1) / matrix.shape[1]
    return round(float(np.clip(20 * per_item**0.5, 1, 5000)), 2)


def user_weights(matrix: sp.csr_matrix, power: float) -> NDArray[np.float64]:
    """Return the weight of each user's squared errors, float64 (U,): m^−power for m items, with mean 1 over purchases.

    Raises:
        TrainingError: there is no purchase.
    """
    sizes = np.diff(matrix.indptr).astype(np.float64)
    if not sizes.any():
        raise TrainingError("there is no purchase to learn from: every history is empty")
    weights = np.maximum(sizes, 1) ** -power
    return np.asarray(weights * (sizes.sum() / (weights @ sizes)))


def item_squares(
    matrix: sp.csr_matrix, weights: NDArray[np.float64], purchases: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return the diagonal of XᵀX with weighted users, float64 (I,).

    Args:
        matrix: (U, I) pattern of the purchases.
        weights: of the users, (U,).
        purchases: confidence in each purchase, (nnz,) in the order of `matrix`, X holding its root; None: 1.
    """
    each = np.repeat(weights, np.diff(matrix.indptr))
    if purchases is not None:
        each = each * purchases
    return np.bincount(matrix.indices, weights=each, minlength=matrix.shape[1]).astype(np.float64)


def penalties(config: EaseSettings, squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what is added to the diagonal of XᵀX, Λ = λ + p/(1−p) diag(XᵀX), float64 (I,); `config` resolved."""
    if config.l2 is None:
        raise AssertionError("a resolved configuration gives l2")
    dropout = config.dropout if isinstance(config, EdlaeSettings) else 0.0
    return np.asarray(config.l2 + dropout / (1 - dropout) * squares)


@dataclass(frozen=True, eq=False)
class Scales:
    """What the solution is multiplied with: B_ij = −P_ij/P_jj · rows_i · columns_j, and B_jj = diagonal_j.

    With both powers alike the factors of owners are the n_i^α n_j^−α of data-adaptive normalisation (Park et al. 2025,
    arXiv:2504.05805).

    Attributes:
        rows: n^owned_power for items of n owners, float64 (I,).
        columns: n^−item_power · (1 − B'_jj), with B' before the factors of owners, float64 (I,).
        diagonal: of B, float64 (I,).
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    diagonal: NDArray[np.float64]

    @classmethod
    def of(cls, config: EaseSettings, matrix: sp.csr_matrix, left: NDArray[np.float64]) -> Self:
        """Return the factors of settings without open ones.

        Args:
            config: the settings.
            matrix: (U, I) pattern of the purchases.
            left: Λ_j P_jj, which is 1 − B'_jj without a bound on the diagonal, (I,). With the bound ξ it is at least
                1 − ξ (Moon et al. 2023, arXiv:2305.12922).
        """
        if config.item_power is None or config.owned_power is None or config.diagonal is None:
            raise AssertionError("these settings are chosen before")
        owners = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1).astype(np.float64)
        rows, columns = owners**config.owned_power, owners**-config.item_power
        apart = (
            np.maximum(1 - config.diagonal, np.minimum(left, 1)) if config.diagonal else np.ones(len(left))
        )
        return cls(rows, columns * apart, rows * columns * (1 - apart))


def fit_ease(matrix: sp.csr_matrix, config: EaseSettings, hooks: Hooks) -> tuple[Ease, list[Epoch]]:
    """Fit EASE to (U, I) purchases (Steck 2019, arXiv:1905.03375); TrainingError as `solve`."""
    return _fit(Ease, matrix, config, hooks), []


def fit_edlae(matrix: sp.csr_matrix, config: EdlaeSettings, hooks: Hooks) -> tuple[Edlae, list[Epoch]]:
    """Fit EDLAE to (U, I) purchases (Steck 2020); TrainingError as `solve`."""
    return _fit(Edlae, matrix, config, hooks), []


Dense = TypeVar("Dense", bound=DenseLinear)


def _fit(model: type[Dense], matrix: sp.csr_matrix, config: EaseSettings, hooks: Hooks) -> Dense:
    options = factors(resolve(config, matrix), hooks)
    B, left = solve(matrix, options[0], hooks)
    scales = [Scales.of(option, matrix, left) for option in options]
    now = 0  # whose factors B has; there is no room for another matrix of this size

    def at(place: int) -> Dense:
        nonlocal now
        _rescale(B, scales[place].rows / scales[now].rows, scales[place].columns / scales[now].columns)
        np.fill_diagonal(B, scales[place].diagonal)
        now = place
        return model(B, options[place].as_dict())

    def quality(option: EaseSettings) -> float:
        if hooks.validate is None:
            raise AssertionError("there is one option then")
        return hooks.validate(at(options.index(option)))

    return at(options.index(best_factors(model.kind, options, quality, hooks)))


def solve(
    matrix: sp.csr_matrix, config: EaseSettings, hooks: Hooks
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return B = I − P diag(μ + Λ) with P = (XᵀX + Λ)⁻¹, float32 (I, I), of purchases X (U, I), and Λ_j P_jj (I,).

    `config` is resolved. Without `diagonal` ξ, μ_j + Λ_j = 1/P_jj, so that B_jj = 0; with it B_jj ≤ ξ instead,
    μ_j = max(0, (1 − ξ)/P_jj − Λ_j). Rows and columns are multiplied by the factors of `Scales`.

    In terms of Z = XΛ^−½, P = Λ^−½ N Λ^−½ with N = (I + ZᵀZ)⁻¹, which by Woodbury's identity is I − Zᵀ(I + ZZᵀ)⁻¹Z:
    the inverse is of items by items or of users by users, whichever is less work and fits.

    X holds the root of the confidence in each purchase (`hooks.confidence`), 1 without: an item's diagonal entry of XᵀX
    is then the sum of the confidences of its purchases, and two items count as bought together by the geometric mean
    of the two confidences. Weights of the single errors would need another inverse for each item.

    Raises:
        TrainingError: it does not fit in memory (before anything is computed), or the matrix to invert is not
            positive definite in single precision.
    """
    weights = user_weights(matrix, config.user_power)
    penalty = penalties(config, item_squares(matrix, weights, hooks.confidence))
    buyers = np.flatnonzero(np.diff(matrix.indptr))
    users, items = buyers.size, matrix.shape[1]
    dual, need = plan(users, items, matrix.nnz, memory_left("cpu"))
    Z = sp.csr_matrix(matrix, dtype=np.float64)[buyers]
    Z.data = np.repeat(np.sqrt(weights[buyers]), np.diff(Z.indptr)) / np.sqrt(penalty)[Z.indices]
    if hooks.confidence is not None:
        Z.data *= np.sqrt(
            hooks.confidence.astype(np.float64)
        )  # users without purchases have none that could be missing
    Z = Z.astype(np.float32)
    announce(users if dual else items, "users" if dual else "items", items, need, hooks)
    N = from_users(Z) if dual else from_items(Z)
    left = N.diagonal().astype(np.float64)
    return _to_weights(N, np.sqrt(penalty), Scales.of(config, matrix, left)), left


def plan(users: int, items: int, interactions: int, left: int | None) -> tuple[bool, int]:
    """Return whether to invert users by users (True) or items by items, and the bytes it takes.

    Raises:
        TrainingError: neither fits into the bytes left (None: unknown, then everything fits).
    """
    found = exact_solve(users, items, interactions, left, processors(), memory_share=1.0)
    need = found.bytes
    if left is not None and need > left:
        raise TrainingError(
            f"a weight for each pair of {items:,} items needs {need / 2**30:,.1f} GiB of memory, and this machine has "
            f"{left / 2**30:,.1f} GiB left: use the kind 'sparse-linear', which keeps the weights of each item's "
            "neighbours only, or leave out rare items"
        )
    return found.by_users, need


def from_items(Z: sp.csr_matrix) -> NDArray[np.float32]:
    """Return (I + ZᵀZ)⁻¹, float32 (I, I), for Z (U, I); TrainingError if not positive definite."""
    return _inverse(_gram(Z.T.tocsr()))


def from_users(Z: sp.csr_matrix) -> NDArray[np.float32]:
    """Return the same as `from_items`, by way of I − Zᵀ(I + ZZᵀ)⁻¹Z."""
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
    """Return I + ZZᵀ, dense, float32."""
    n = Z.shape[0]
    G = np.empty((n, n), dtype=np.float32)
    transposed = Z.T.tocsr()
    for start in range(0, n, BLOCK):
        (Z[start : start + BLOCK] @ transposed).toarray(out=G[start : start + BLOCK])
    G[np.diag_indices(n)] += 1
    return G


SCIPY_AT_MOST: Final = 8192
"""Rows up to which SciPy inverts: as fast as torch or faster, and without the seconds that importing torch takes."""

_INDEFINITE = "the matrix of purchases plus l2 is not positive definite in single precision: give a larger l2"


def _inverse(G: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inverse of a symmetric positive definite matrix, in its place."""
    if len(G) <= SCIPY_AT_MOST or find_spec("torch") is None:
        return _inverse_by_scipy(G)
    import torch  # here, since it takes a second

    # LAPACK's order of columns; given as input and output, nothing is copied
    columns = torch.from_numpy(G).T
    info = torch.empty((), dtype=torch.int32)
    torch.linalg.cholesky_ex(columns, out=(columns, info))
    if info.item() != 0:
        raise TrainingError(_INDEFINITE)
    torch.cholesky_inverse(columns, out=columns)
    return G


def _inverse_by_scipy(G: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the same by way of SciPy; its last bits differ from torch's."""
    n, info = ctypes.c_int(len(G)), ctypes.c_int()
    for name in ("spotrf", "spotri"):
        _lapack(name)(
            b"L", ctypes.byref(n), G.ctypes.data_as(ctypes.c_void_p), ctypes.byref(n), ctypes.byref(info)
        )
        if info.value != 0:
            raise TrainingError(_INDEFINITE)
    # by rows it is the upper triangle that holds the inverse
    for start in range(0, len(G), BLOCK):
        stop = min(start + BLOCK, len(G))
        square = np.triu(G[start:stop, start:stop])
        G[start:stop, start:stop] = square + np.triu(square, 1).T
        G[stop:, start:stop] = G[start:stop, stop:].T
    return G


def _to_weights(N: NDArray[np.float32], roots: NDArray[np.float64], scales: Scales) -> NDArray[np.float32]:
    """Turn N into B_ij = −N_ij √Λ_j/(√Λ_i N_jj), i ≠ j, with the factors and the diagonal of `scales`, in its place.

    Args:
        N: (I + ZᵀZ)⁻¹, (I, I); P_ij = N_ij/√(Λ_i Λ_j).
        roots: of Λ, (I,).
        scales: the factors.
    """
    diagonal = N.diagonal().astype(np.float64)
    if not (diagonal > 0).all():  # NaN included
        raise TrainingError("the inverse lost its precision: give a larger l2")
    _rescale(N, scales.rows / roots, -roots * scales.columns / diagonal)
    np.fill_diagonal(N, scales.diagonal)
    return N


def _rescale(B: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> None:
    """Multiply B_ij by rows_i · columns_j, in its place; TrainingError where that is not finite."""
    if (rows == 1).all() and (columns == 1).all():
        return
    of_rows, of_columns = rows.astype(np.float32), columns.astype(np.float32)
    for start in range(0, len(B), BLOCK):
        block = B[start : start + BLOCK]
        block *= of_columns
        block *= of_rows[start : start + BLOCK, None]
        if not np.isfinite(block).all():
            raise TrainingError("a weight is not finite: give a larger l2")


def announce(n: int, what: str, items: int, need: int, hooks: Hooks) -> None:
    """Say what is about to be solved when it takes more than some seconds."""
    if n < 4096:
        return
    probe = np.ones((1024, 1024), dtype=np.float32)
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


@cache
def _lapack(name: str) -> Callable[..., None]:
    """Return a routine of SciPy's LAPACK on one triangle of a matrix, without the interpreter's lock.

    `scipy.linalg.lapack` holds the lock meanwhile, and what trains in another thread would stand still.
    """
    from numba.extending import get_cython_function_address

    address = get_cython_function_address("scipy.linalg.cython_lapack", name)
    whole, place = ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, ctypes.c_char_p, whole, place, whole, whole)(address)


@loop(fastmath=FAST)
def _sandwich(indptr: Ints, indices: Ints, data: Floats, M: Floats, N: Any, start: int, stop: int) -> None:
    """Write rows of I − ZᵀMZ to N[start:stop], for Z (U, I) by columns and M (U, U) symmetric."""
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
