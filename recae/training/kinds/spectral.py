"""Spectral: fit of a graph filter in closed form, with its settings chosen on validation users."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np
import scipy.sparse as sp
from numpy.polynomial import Polynomial
from numpy.polynomial.chebyshev import chebfit, chebpts1, chebval
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.machine import processors
from recae.models import Model, SparseLinear, Spectral
from recae.models.itemknn import largest_products
from recae.models.spectral import SpectralCode
from recae.settings import LARGEST_SEED, Settings, setting, settings_of
from recae.sparse import joined_ranges, with_values
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.device import memory_left
from recae.training.growth import Growth
from recae.training.kinds.subspace import largest_eigenvectors, times, width_of

Filter = Literal["one-step", "two-step", "chebyshev"]

BETAS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
"""Tried on validation users, from `DEFAULTS` on upwards and downwards while it helps."""

ALPHAS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Likewise."""

NEIGHBOURS: Final = (5, 20, 50, 200, 500)
"""Likewise. With 500 the lists of Gowalla are nearly those of all of S; with more, the model only grows."""

DEFAULTS: Final[dict[str, Any]] = {"filter": "one-step", "beta": 0.4, "alpha": 0.2, "neighbours": 500}
"""Taken without validation users; the search begins here. On validation users of Gowalla they
were level with the best."""

ORDER: Final = 8
"""Order of the Chebyshev interpolant."""

POWER: Final = 1.5
"""φ of the function that it interpolates, ½ − ½ sign(z) |z|^φ of z = 1 − 2λ."""


class SpectralSettings(Settings):
    """Settings of the graph filter; None: chosen on validation users, or else by `DEFAULTS`."""

    filter: Filter | None = setting(
        None,
        "f(λ) by which directions count, λ from 0 to 1: one-step λ; two-step 1.5 λ − λ²; chebyshev a polynomial of "
        "order 8 near ½ − ½ sign(z) |z|^1.5, z = 1 − 2λ. None: the best on the validation users, one-step where "
        "there are none",
    )
    beta: float | None = setting(
        None,
        "β: the score of an item of n owners is multiplied by n^β, and what it says of others by n^−β. None: the "
        "best of 0 to 0.8 on the validation users, 0.4 where there are none",
        ge=0,
        le=2,
    )
    alpha: float | None = setting(
        None,
        "α, what the main directions weigh in addition. None: the best of 0 to 1 on the validation users, 0.2 "
        "where there are none",
        ge=0,
        le=100,
    )
    factors: int = setting(512, "main directions, at most the users and the items", ge=1, le=16384)
    neighbours: int | None = setting(
        None,
        "items with which each item keeps its product, the most similar ones. None: the best of 5, 20, 50, 200 and "
        "500 on the validation users, 500 where there are none",
        ge=1,
        le=100_000,
    )
    seed: int = setting(
        0, "of the directions that the search for the main ones starts from", ge=0, le=LARGEST_SEED
    )


def response(name: Filter, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return f(λ) of a filter for eigenvalues λ in [0, 1], of the same shape."""
    if name == "one-step":
        return values
    if name == "two-step":
        return 1.5 * values - values**2
    z = 1 - 2 * values
    at = chebpts1(ORDER + 1)
    terms = chebfit(at, 0.5 - 0.5 * np.sign(at) * np.abs(at) ** POWER, ORDER)
    return np.asarray(chebval(z, terms), dtype=np.float64)


def fit_spectral(
    matrix: sp.csr_matrix, config: SpectralSettings, hooks: Hooks
) -> tuple[Spectral, list[Epoch]]:
    """Fit the graph filter to (U, I) purchases; what is None in the settings is chosen by `hooks.validate`.

    With confidence, R holds the confidence in each purchase instead of 1.

    Raises:
        TrainingError: there is no purchase, or the filter does not fit in memory (before anything is computed).
    """
    chosen = {name: getattr(config, name) for name in DEFAULTS}
    start = {name: DEFAULTS[name] if value is None else value for name, value in chosen.items()}
    parts = Parts.of(matrix, config.updated(**start), hooks)
    if hooks.validate is None or None not in chosen.values():
        return parts.model(config.updated(**start)), []
    free = [name for name, value in chosen.items() if value is None]
    return _search(parts, config.updated(**start), free, hooks.validate, hooks), []


def update_spectral(model: Spectral, matrix: sp.csr_matrix, growth: Growth, hooks: Hooks) -> Spectral:
    """Return the filter of all purchases, (U, I), with the settings of a model that knows a part of them.

    Its main directions are looked for from those of the model on, to the same tolerance; the rest is computed as in a
    fit.

    Raises:
        TrainingError: as `fit_spectral`.
    """
    known = settings_of(SpectralSettings)
    values: dict[str, Any] = {name: value for name, value in model.config().items() if name in known}
    config = SpectralSettings(**values)
    config = config.updated(
        **{name: value for name, value in DEFAULTS.items() if getattr(config, name) is None}
    )
    start = np.zeros((matrix.shape[1], model.code.vectors.shape[1]), dtype=np.float32)
    start[growth.items] = (
        model.code.vectors * np.sqrt(model.code.scales)[:, None]
    )  # V, but for the lengths of columns
    return Parts.of(matrix, config, hooks, start).model(config)


@dataclass(frozen=True, eq=False)
class Parts:
    """What the filters of all settings have in common.

    Attributes:
        degrees: d_i, 1 at least, float64 (I,).
        values: the main eigenvalues of S, float64 (d,), falling.
        vectors: V, float32 (I, d).
        end: all other eigenvalues lie between 0 and this.
        largest: the largest entries of each row of S, as `largest_products` gives them.
        sparse: number of neighbours → S' and the diagonal of Vᵀ S' V, once they were asked for.
    """

    degrees: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float32]
    end: float
    largest: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]
    sparse: dict[int, tuple[sp.csr_matrix, NDArray[np.float64]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        matrix: sp.csr_matrix,
        config: SpectralSettings,
        hooks: Hooks,
        start: NDArray[np.float32] | None = None,
    ) -> Parts:
        """Return the parts for (U, I) purchases and up to `config.neighbours`; `start` as `largest_eigenvectors`."""
        if not matrix.nnz:
            raise TrainingError("there is no purchase to learn from: every history is empty")
        neighbours = config.neighbours or DEFAULTS["neighbours"]
        _check_memory(matrix, config.factors, neighbours)
        scaled, degrees = normalised(matrix, hooks.confidence)
        largest = largest_products(scaled.T.tocsr(), scaled, neighbours)
        values, vectors = largest_eigenvectors(scaled.astype(np.float32), config.factors, config.seed, start)
        all_there = values.size < config.factors  # the others are 0
        return cls(degrees, values, vectors, 0.0 if all_there else float(values[-1]), largest)

    def products(self, neighbours: int) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
        """Return S' of that many neighbours, float32 (I, I), and the diagonal of Vᵀ S' V, (d,).

        S' is the mean of the largest entries of each row of S and of each column: what is among the largest of one
        only counts half. With both, lists were better than with rows alone.
        """
        if neighbours not in self.sparse:
            starts, lengths, items, cosines = self.largest
            lengths = np.minimum(lengths, neighbours)
            places = joined_ranges(starts, lengths)
            ends = np.append(0, np.cumsum(lengths))
            halves = 0.5 * cosines[places].astype(np.float32)
            of_rows = sp.csr_matrix((halves, items[places], ends), shape=(lengths.size, lengths.size))
            found = sp.csr_matrix(of_rows + of_rows.T.tocsr())
            found.sort_indices()
            with ThreadPoolExecutor(processors()) as pool:
                seen = np.einsum("ij,ij->j", self.vectors, times(found, self.vectors, pool), dtype=np.float64)
            self.sparse.clear()  # one at a time is enough
            self.sparse[neighbours] = found, seen
        return self.sparse[neighbours]

    def model(self, config: SpectralSettings) -> Spectral:
        """Return the model of some settings, none of them None."""
        name, beta, alpha, neighbours = config.filter, config.beta, config.alpha, config.neighbours
        if name is None or beta is None or alpha is None or neighbours is None:
            raise AssertionError("resolved settings give filter, beta, alpha and neighbours")
        sparse, seen = self.products(neighbours)
        constant, slope = line(name, self.end)
        wanted = response(name, self.values) + alpha
        lengths = np.maximum(wanted, 1e-6)  # the weights make up for it
        weights = (wanted - constant - slope * seen) / lengths
        powers = self.degrees**beta
        products = sparse.copy()
        rows = np.repeat(1 / powers, np.diff(products.indptr))
        products.data = (slope * products.data * rows * powers[products.indices]).astype(np.float32)
        if constant:
            products = (products + constant * sp.identity(powers.size, np.float32, "csr")).tocsr()
            products.sort_indices()
        vectors = (self.vectors * np.sqrt(lengths).astype(np.float32)) * powers.astype(np.float32)[:, None]
        code = SpectralCode(
            np.ascontiguousarray(vectors),
            (powers**-2).astype(np.float32),
            weights.astype(np.float32),
            config.as_dict(),
        )
        return Spectral(code, SparseLinear(products.astype(np.float32), {}))


def normalised(
    matrix: sp.csr_matrix, confidence: NDArray[np.float32] | None
) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
    """Return R̃ = D_u^−½ R D_i^−½ of (U, I) purchases, float64, and d_i, 1 where nobody bought an item, (I,)."""
    values: NDArray[np.float64] = np.ones(matrix.nnz) if confidence is None else confidence.astype(np.float64)
    purchases = sp.csr_matrix(with_values(matrix, values))
    of_users, of_items = (np.asarray(purchases.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0))
    of_users[of_users == 0] = 1
    of_items[of_items == 0] = 1
    each = np.repeat(of_users, np.diff(matrix.indptr)) * of_items[matrix.indices]
    return with_values(matrix, values / np.sqrt(each)), np.asarray(of_items)


def line(name: Filter, end: float) -> tuple[float, float]:
    """Return a and c of the straight line a + c λ nearest to a filter on [0, end], in squares; its tangent for 0."""
    if name == "one-step":
        return 0.0, 1.0
    at = np.linspace(0, max(end, 1e-4), 65)
    constant, slope = Polynomial.fit(at, response(name, at), 1).convert().coef
    return float(constant), float(slope)


def _search(
    parts: Parts, config: SpectralSettings, free: list[str], validate: Callable[[Model], float], hooks: Hooks
) -> Spectral:
    """Return the best model by `validate`: one setting after the other, each upwards and downwards."""
    best = parts.model(config)
    quality, tried = validate(best), 1

    def better(**change: Any) -> bool:
        nonlocal best, quality, config, tried
        model = parts.model(config.updated(**change))
        tried += 1
        if not (found := validate(model)) > quality:
            return False
        best, quality, config = model, found, config.updated(**change)
        return True

    if "filter" in free:
        for filtered in get_args(Filter)[1:]:
            better(filter=filtered)
    for name, values in (("beta", BETAS), ("neighbours", NEIGHBOURS), ("alpha", ALPHAS)):
        if name not in free:
            continue
        at = values.index(getattr(config, name))
        for steps in (values[at + 1 :], values[:at][::-1]):
            moved = False
            for value in steps:
                if not better(**{name: value}):
                    break
                moved = True
            if moved:
                break
    hooks.on_message(
        f"spectral: {config.filter}, beta {config.beta:g}, alpha {config.alpha:g}, {config.neighbours} neighbours are "
        f"the best of {tried} on the validation users"
    )
    return best


def _check_memory(matrix: sp.csr_matrix, factors: int, neighbours: int) -> None:
    users, items = matrix.shape
    factors, block, _ = width_of(matrix, factors)
    pairs = items * min(neighbours, items)
    # a block of vectors three times and its products with the users; those cosines of each item; the model twice
    need = 4 * block * (3 * items + users) + 12 * pairs + 8 * items * factors + 32 * pairs + 24 * matrix.nnz
    left = memory_left("cpu")
    if left is not None and need > left:
        raise TrainingError(
            f"{factors:,} directions of {items:,} items and {neighbours:,} neighbours of each need "
            f"{need / 2**30:,.1f} GiB of memory, and this machine has {left / 2**30:,.1f} GiB left: lower factors or "
            "neighbours, or leave out rare items"
        )
