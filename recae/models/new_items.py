"""`NewItems`: a model with items that nobody or hardly anybody has bought, scored by ridge regression on features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, ModelFileError
from recae.inputs import inputs_of, owned_part
from recae.models.base import JSON, Model, check_histories, check_items, reads_values, take_array, take_number

ARRIVAL: Final = 10.0
"""Users that what the features predict counts like, against those who have bought an item that was new; m above."""

_CONSTANT = 1e-3  # ridge of the constant, which is to be free and the solution still unique


@dataclass(frozen=True, eq=False)
class NewItems:
    """A model over I items, and N new ones after them, which nobody has bought.

    With Φ the features of the known items (I, F), W the diagonal matrix of their weights, φ the features of a new item
    and s(x) the scores of a history x,

        score(x) = φᵀ (ΦᵀWΦ + Λ)⁻¹ ΦᵀW s(x),   Λ the ridge, all but free for the constant.

    Where scores are products s_i(x) = h(x)·v_i + b_i of a code and vectors of items, this is h(x)·v + b with the vector
    and the bias that the same ridge regression from features to vectors and biases predicts, since it is linear in
    them; for an item–item matrix it predicts the new column. So it needs to know nothing of the model, and holds for
    the sum of several.

    Items that were new a short while ago have hardly any purchases, of which the model knows little. What it makes of
    these is shrunk to what their features predict, by the number n of their users: (n s_i(x) + m p_i(x)) / (n + m),
    with p_i(x) the prediction above and m = `ARRIVAL`; empirical Bayes with a prior that counts like m users (Efron and
    Morris 1973).

    Attributes:
        base: the model of the known items; it reads no other events than purchases.
        features: float32 csr (I + N, F), the known items first.
        weights: of the known items in the regression, float32 (I,), at least 0.
        ridge: λ > 0.
        solver: (ΦᵀWΦ + Λ)⁻¹, float32 (F, F).
        own: the fraction of the model's own score in that of each known item, float32 (I,), in (0, 1]: 1 for all but
            those that were new a short while ago. None: 1 for all.
    """

    base: Model
    features: sp.csr_matrix
    weights: NDArray[np.float32]
    ridge: float
    solver: NDArray[np.float32]
    own: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        base: Model,
        features: sp.csr_matrix,
        weights: NDArray[np.float32],
        ridge: float,
        own: NDArray[np.float32] | None = None,
    ) -> NewItems:
        """Return the model with the new items that `features` has beyond the base's.

        Raises:
            ConfigError: the base reads other events than purchases.
        """
        if inputs_of(base):
            raise ConfigError(
                "a model that reads other events than purchases scores no new items: leave --inputs out"
            )
        known = features[: base.n_items]
        return cls(base, features, weights, ridge, solver_of(known, weights, ridge), own)

    @property
    def kind(self) -> str:
        """The base's kind."""
        return self.base.kind

    @property
    def trained(self) -> bool:
        """Whether the base is trained."""
        return self.base.trained

    @property
    def uses_values(self) -> bool:
        """Whether the base reads the values of a history."""
        return reads_values(self.base)

    @property
    def n_items(self) -> int:
        """Number of items, I + N."""
        return int(self.features.shape[0])

    @property
    def known(self) -> int:
        """Number of known items, I."""
        return self.base.n_items

    @cached_property
    def arriving(self) -> NDArray[np.int64]:
        """Known items that were new a short while ago, rising, whose scores are shrunk."""
        return np.flatnonzero(self.own < 1) if self.own is not None else np.zeros(0, dtype=np.int64)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the scores of all items: (B, I + N) CSR → (B, I + N) float32; new items in a history are not read."""
        known, some = self._known(histories), self.arriving
        new = np.arange(self.known, self.n_items)
        features = self.features[np.concatenate([some, new])]
        found = predicted(known, self.features[: self.known], features, self.weights, self.solver)
        if some.size and self.own is not None:
            fraction = self.own[some]
            known = known.copy()
            known[:, some] = fraction * known[:, some] + (1 - fraction) * found[:, : some.size]
        return np.hstack([known, found[:, some.size :]])

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the scores of some items: (B, I + N) CSR, (n,) → (B, n) float32."""
        items = check_items(items, self.n_items)
        if (items < self.known).all() and not np.isin(items, self.arriving).any():
            check_histories(histories, self.n_items)
            return self.base.score_items(self._read(histories), items)
        return np.ascontiguousarray(self.score(histories)[:, items])

    def config(self) -> dict[str, JSON]:
        """Return the base's configuration."""
        return self.base.config()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the base's parameters."""
        return self.base.arrays()

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> NewItems:
        """Not of a file by itself: the base is read, and what it is extended by.

        Raises:
            ModelFileError: always.
        """
        raise ModelFileError("new items extend a model of another kind; train the model again")

    def own_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the base is extended by."""
        return {
            "indptr": self.features.indptr.astype(np.int64),
            "indices": self.features.indices.astype(np.int32),
            "data": self.features.data.astype(np.float32),
            "weights": self.weights,
            "ridge": np.array([self.ridge, self.features.shape[1]], dtype=np.float64),
            **({} if self.own is None else {"own": self.own}),
        }

    @classmethod
    def extending(cls, base: Model, arrays: Mapping[str, NDArray[Any]], n_items: int) -> NewItems:
        """Return the model that `own_arrays` came from.

        Raises:
            ModelFileError: an array is missing or does not fit the others.
        """
        if inputs_of(base) or base.n_items > n_items:
            raise ModelFileError("the model file's new items do not fit its model; train the model again")
        numbers = take_array(arrays, "ridge", np.float64, (2,))
        limits = {"ridge": (1e-12, 1e12), "width": (1.0, 1e5)}
        ridge, width = (
            take_number(dict(zip(limits, map(float, numbers), strict=True)), name, *limits[name])
            for name in limits
        )
        indptr = take_array(arrays, "indptr", np.int64, (n_items + 1,))
        indices = take_array(arrays, "indices", np.int32, (None,))
        data = take_array(arrays, "data", np.float32, (indices.size,))
        weights = take_array(arrays, "weights", np.float32, (base.n_items,))
        steps = np.diff(indptr)
        if indptr[0] != 0 or (steps < 0).any() or int(indptr[-1]) != indices.size or (weights < 0).any():
            raise ModelFileError(
                "the model file's features of items are no sparse matrix; train the model again"
            )
        if indices.size and (indices.min() < 0 or indices.max() >= width):
            raise ModelFileError("the model file's features of items are out of range; train the model again")
        own = take_array(arrays, "own", np.float32, (base.n_items,)) if "own" in arrays else None
        if own is not None and not ((own > 0) & (own <= 1)).all():
            raise ModelFileError(
                "the model file's fractions of items are not above 0 and up to 1; train the model again"
            )
        features = sp.csr_matrix((data, indices, indptr), shape=(n_items, int(width)))
        return cls.of(base, features, weights, ridge, own)

    def _read(self, histories: sp.csr_matrix) -> sp.csr_matrix:
        """Return the known items of histories, (B, I)."""
        return sp.csr_matrix(owned_part(histories, self.n_items)[:, : self.known])

    def _known(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        check_histories(histories, self.n_items)
        return self.base.score(self._read(histories))


def own_fractions(owners: NDArray[Any], arriving: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Return the fraction of a model's own score in that of each item (I,), by numbers of users; None: 1 for all.

    Args:
        owners: number of users of each item (I,).
        arriving: items that were new a short while ago, bool (I,).
    """
    if not arriving.any():
        return None
    n = np.maximum(owners, 1).astype(np.float64)
    fractions = np.where(arriving, n / (n + ARRIVAL), 1.0)
    return fractions.astype(np.float32)


def solver_of(features: sp.csr_matrix, weights: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """Return (ΦᵀWΦ + Λ)⁻¹, float32 (F, F), for the features Φ (I, F) and weights (I,) of items."""
    import scipy.linalg  # here, since models without new items do without it

    used = np.unique(features.indices)  # of a small shop few words are; the others know nothing of each other
    wide = features.astype(np.float64).tocsc()[:, used]
    gram = (wide.T @ sp.diags(weights.astype(np.float64)) @ wide).toarray()
    penalty = np.full(features.shape[1], ridge)
    penalty[0] = _CONSTANT
    gram[np.diag_indices_from(gram)] += penalty[used]
    inverse = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
    found = np.diag((1 / penalty).astype(np.float32))
    found[np.ix_(used, used)] = (inverse + inverse.T) / 2
    return found


def predicted(
    scores: NDArray[np.float32],
    known: sp.csr_matrix,
    features: sp.csr_matrix,
    weights: NDArray[np.float32],
    solver: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the scores (B, n) of items with features (n, F), from those (B, I) of items with features (I, F)."""
    projected = np.asarray((known.T @ (scores * weights).T).T, dtype=np.float32)
    return np.ascontiguousarray((features @ (projected @ solver).T).T, dtype=np.float32)


def base_of(model: Model) -> Model:
    """Return the model of the known items alone."""
    return model.base if isinstance(model, NewItems) else model
