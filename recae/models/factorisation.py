"""Matrix factorisations with fold-in: ALS by its exact user solve, BPR by minimising its own objective.

Both hold the items' vectors alone. A history's vector is found anew from its items, so that users of the training,
new ones and baskets are scored alike.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.errors import ModelFileError
from recae.loops import loop
from recae.machine import one_blas_thread
from recae.models.base import JSON, Encoder, Factored, check_histories, take_array, take_int, take_number
from recae.models.factored import FactoredScores

STEPS = 50
"""Most Newton steps; five to ten are usual."""

HALVINGS = 60
"""Most times that a step which leads too far is halved."""

PRECISION = 1e-8
"""Where it stops: length of the gradient, relative to that at the start."""


@loop
def fold_in(
    indptr: Ints, indices: Ints, Y: Floats, bias: Floats, others: Ints, regularization: float, codes: Floats
) -> None:
    """Fold histories in: codes (B, d) ← for each history S the p that minimises the loss below.

        mean over i ∈ S, j ∈ others ∖ S of log(1 + exp(−p·(y_i − y_j) − c_i + c_j))  +  ½ λ ‖p‖²

    Y (I, d), bias c (I,), others (n,) items of which some may occur more than once, λ > 0: strictly convex. The zero
    vector where there is no such pair. Holds len(S) × n numbers at a time. A row does not depend on the others.
    """
    owned = np.zeros(Y.shape[0], dtype=np.bool_)
    for b in range(codes.shape[0]):
        history = indices[indptr[b] : indptr[b + 1]]
        owned[history] = True
        rest = others[~owned[others]]
        owned[history] = False
        codes[b] = 0
        if len(history) and len(rest):
            liked, unliked = Y[history].astype(np.float64), Y[rest].astype(np.float64)
            codes[b] = _minimise(liked, unliked, bias[history], bias[rest], regularization)


@loop
def _minimise(A: Floats, B: Floats, a: Floats, b: Floats, regularization: float) -> Any:
    """Return the vector p (d,) float64 of one history.

    Args:
        A: vectors of the history, (m, d).
        B: vectors of the others, (n, d).
        a: biases of the history, (m,).
        b: biases of the others, (n,).
        regularization: λ.
    """
    p = np.zeros(A.shape[1])
    z, g = _gradient(A, B, a, b, regularization, p)
    enough = PRECISION * np.sqrt(g @ g)
    for _ in range(STEPS):
        if np.sqrt(g @ g) <= enough:
            break
        s = _newton_step(A, B, z, g, regularization)
        slope = g @ s  # below 0; the loss falls along s until it is 0
        if not slope < 0:  # of numbers so large that nothing can be said, NaN among them
            break
        t = 1.0
        falls = False
        for _ in range(HALVINGS):
            z, g = _gradient(A, B, a, b, regularization, p + t * s)
            falls = g @ s <= -0.1 * slope
            if falls:
                break
            t /= 2
        p += t * s
        if not falls:
            break
    return p


@loop
def _gradient(A: Floats, B: Floats, a: Floats, b: Floats, regularization: float, p: Floats) -> Any:
    """Return σ(score of j − score of i) for each pair, (m, n), and the gradient (d,)."""
    u, v = A @ p + a, B @ p + b
    middle = 0.5 * (u.mean() + v.mean())
    # one exponential an item and none a pair, unless their products would not be numbers
    near = max(np.abs(u - middle).max(), np.abs(v - middle).max()) < 300
    up, down = np.exp(u - middle), np.exp(middle - v)
    z = np.empty((u.size, v.size))
    of_liked, of_unliked = np.zeros(u.size), np.zeros(v.size)
    for i in range(u.size):
        for j in range(v.size):
            odds = up[i] * down[j] if near else np.exp(u[i] - v[j])
            z[i, j] = 1 / (1 + odds)
            of_liked[i] += z[i, j]
            of_unliked[j] += z[i, j]
    return z, regularization * p + (of_unliked @ B - of_liked @ A) / z.size


@loop
def _newton_step(A: Floats, B: Floats, z: Floats, g: Floats, regularization: float) -> Any:
    """Return the step s (d,) with H s = −g to a hundredth, by conjugate gradients.

    H = λ 1 + mean over the pairs of z(1 − z)(y_i − y_j)(y_i − y_j)ᵀ; of it only products with vectors are made.
    """
    h = z * (1 - z) / z.size
    of_liked, of_unliked = h.sum(axis=1), h.sum(axis=0)
    s = np.zeros(g.size)
    r = -g
    direction = r.copy()
    square = r @ r
    enough = 1e-4 * square
    for _ in range(2 * g.size):
        if square <= enough:
            break
        x, y = A @ direction, B @ direction
        product = regularization * direction
        product += (of_liked * x - h @ y) @ A + (of_unliked * y - x @ h) @ B
        curvature = direction @ product
        if not curvature > 0:
            break
        step = square / curvature
        s += step * direction
        r -= step * product
        new_square = r @ r
        direction = r + (new_square / square) * direction
        square = new_square
    return s


def _solved(matrix: Floats, right: Floats, symmetric: bool = True) -> NDArray[np.float64]:
    """Return the x of matrix · x = right, float64; the shortest of the nearest ones where the matrix is singular.

    Args:
        matrix: (d, d), positive definite as far as rounding leaves it so.
        right: (d,) or (d, n).
        symmetric: whether the matrix is.

    Raises:
        ModelFileError: its numbers are not finite, as those of vectors that are too large.
    """
    if not np.isfinite(matrix).all():
        raise ModelFileError(
            "the model file's item vectors are too large to compute with; train the model again"
        )
    import scipy.linalg  # a tenth of a second, which no other kind of model has a use for

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # that it is nearly singular
            if symmetric:
                return np.asarray(scipy.linalg.solve(matrix, right, assume_a="pos"))
            return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(scipy.linalg.lstsq(matrix, right)[0])


LARGEST = 1e9
"""Of the numbers in a configuration."""


class _FoldedIn(FactoredScores):
    """A factorisation that holds the items' vectors, and finds the vector of any history by `encode`."""

    folds_in: ClassVar[bool] = True

    @property
    def item_vectors(self: Factored) -> NDArray[np.float32]:
        """The items' vectors, float32 (I, d)."""
        return self.item_factors

    def user_factors(self: Encoder, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return `encode`: the histories' vectors."""
        return self.encode(histories)


@dataclass(frozen=True, eq=False)
class ALS(_FoldedIn):
    """Weighted least squares on all pairs: an item's score is x·y_j.

    The vector of a history S is the exact solution x = (YᵀY + (α − 1) Y_SᵀY_S + λ1)⁻¹ α Y_Sᵀ1, the user step of Hu,
    Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets" (eq. 4), with confidence α for
    the items owned and 1 for the others, as `implicit` has it.

    Attributes:
        item_factors: Y, float32 (I, d).
        regularization: λ > 0.
        alpha: α > 0.
        settings: the settings it was fitted with, for the record.
    """

    item_factors: NDArray[np.float32]
    regularization: float
    alpha: float
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "als"
    trained: ClassVar[bool] = False

    @property
    def item_bias(self) -> None:
        """None: items have no constant."""
        return None

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """YᵀY + λ1, (d, d)."""
        Y = self.item_factors
        gram = np.zeros((Y.shape[1], Y.shape[1]))
        for start in range(0, len(Y), 4096):  # in float64, but never all of Y
            block = Y[start : start + 4096].astype(np.float64)
            gram += block.T @ block
        gram[np.diag_indices_from(gram)] += self.regularization
        return gram

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        return _solved(self._gram, np.eye(len(self._gram)))

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the vectors x of histories: (B, I) CSR → (B, d) float32.

        Raises:
            DataError: the histories have another number of items.
        """
        check_histories(histories, self.n_items)
        codes = np.zeros((histories.shape[0], self.item_factors.shape[1]), dtype=np.float32)
        with one_blas_thread():  # how many there are changes the last bits
            for b in range(len(codes)):
                codes[b] = self._solve(histories.indices[histories.indptr[b] : histories.indptr[b + 1]])
        return codes

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return α y_iᵀ(YᵀY + (α − 1) Y_SᵀY_S + λ1)⁻¹ y_j for each item i of a history S and item j, (m, n).

        The solution is linear in the history's items once the matrix is that of the history: section 5 of Hu, Koren
        and Volinsky 2008.
        """
        V = self.item_factors[history.indices].astype(np.float64)
        gram = self._gram + (self.alpha - 1) * (V.T @ V)
        of_items = _solved(gram, self.item_factors[items].T.astype(np.float64))
        return np.asarray(self.alpha * (V @ of_items))

    def _solve(self, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the vector x (d,) of one history.

        Of fewer items than factors, the smaller system of the same solution is solved:
        (G + cVᵀV)⁻¹Vᵀ1 = G⁻¹Vᵀ (1 + c V G⁻¹ Vᵀ)⁻¹ 1.
        """
        V = self.item_factors[items].astype(np.float64)  # (m, d)
        c = self.alpha - 1
        if len(V) >= V.shape[1]:
            return np.asarray(self.alpha * _solved(self._gram + c * (V.T @ V), V.sum(axis=0)))
        through = V @ self._inverse  # (m, d)
        inner = c * (through @ V.T)
        inner[np.diag_indices_from(inner)] += 1
        return np.asarray(self.alpha * (_solved(inner, np.ones(len(V)), symmetric=False) @ through))

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with."""
        return {**self.settings, "regularization": self.regularization, "alpha": self.alpha}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `item_factors`, float32 (I, d)."""
        return {"item_factors": self.item_factors}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these vectors.

        Raises:
            ModelFileError: one is missing or does not fit.
        """
        return cls(
            item_factors=take_array(arrays, "item_factors", np.float32, (n_items, None)),
            regularization=take_number(config, "regularization", 1e-9, LARGEST),
            alpha=take_number(config, "alpha", 1e-9, LARGEST),
            settings=dict(config),
        )


@dataclass(frozen=True, eq=False)
class BPR(_FoldedIn):
    """Pairs ranked by logistic regression: an item's score is p·y_j + c_j (Rendle et al. 2009, arXiv:1205.2618).

    The vector of a history minimises the objective that the model was trained on, the items' vectors held fixed; the
    pairs are those of its items with a fixed sample of other items, drawn like training draws them: by popularity,
    owned ones left out.

    Attributes:
        item_factors: y, float32 (I, d).
        item_bias: c, float32 (I,).
        others: the sample, int64 (n,); an item may occur more than once.
        regularization: λ > 0.
        settings: the settings it was fitted with, for the record.
    """

    item_factors: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    others: NDArray[np.int64]
    regularization: float
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "bpr"
    trained: ClassVar[bool] = True

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the vectors p of histories: (B, I) CSR → (B, d) float32.

        Raises:
            DataError: the histories have another number of items.
        """
        check_histories(histories, self.n_items)
        codes = np.empty((histories.shape[0], self.item_factors.shape[1]), dtype=np.float32)
        # one type each and writeable: the loop is compiled for a single signature
        indptr = np.require(histories.indptr, np.int64, ["C", "A", "W"])
        indices = np.require(histories.indices, np.int32, ["C", "A", "W"])
        arrays = (self.item_factors, self.item_bias, self.others)
        with one_blas_thread():  # how many there are changes the last bits
            fold_in(indptr, indices, *arrays, self.regularization, codes)
        return codes

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each item of a history adds to the scores of some items, (m, n).

        At the minimum λp is the mean over the pairs of z(y_i − y_j), with z how wrongly a pair is ranked: a sum over
        the history's items i, in which z is that of the whole history.
        """
        found = np.zeros((history.nnz, len(items)))
        rest = self.others[~np.isin(self.others, history.indices)]
        if not history.nnz or not rest.size:
            return found
        Y, c = self.item_factors, self.item_bias
        liked, unliked = Y[history.indices].astype(np.float64), Y[rest].astype(np.float64)
        given = (liked, unliked, c[history.indices], c[rest], self.regularization)
        z, _ = _gradient(*given, _minimise(*given))
        vectors = Y[items].T.astype(np.float64)  # (d, n)
        found[:] = z.sum(axis=1)[:, None] * (liked @ vectors) - z @ (unliked @ vectors)
        return np.asarray(found / (self.regularization * z.size))

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with."""
        return {**self.settings, "others": self.others.size, "regularization": self.regularization}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `item_factors` float32 (I, d), `item_bias` float32 (I,), `others` int64 (n,)."""
        return {"item_factors": self.item_factors, "item_bias": self.item_bias, "others": self.others}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these vectors.

        Raises:
            ModelFileError: one is missing or does not fit.
        """
        others = take_array(arrays, "others", np.int64, (take_int(config, "others", at_least=1),))
        if others.min() < 0 or others.max() >= n_items:
            raise ModelFileError(
                f"the model file's array 'others' holds items outside 0 .. {n_items - 1}; train the model again"
            )
        return cls(
            item_factors=take_array(arrays, "item_factors", np.float32, (n_items, None)),
            item_bias=take_array(arrays, "item_bias", np.float32, (n_items,)),
            others=others,
            regularization=take_number(config, "regularization", 1e-9, LARGEST),
            settings=dict(config),
        )
