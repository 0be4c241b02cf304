"""Linear models of items by items: a history's score of an item is the sum of its items' weights for that item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats, Ints
from recae.errors import ModelFileError
from recae.loops import loop, numpy_is_sooner
from recae.models.base import (
    JSON,
    check_histories,
    check_items,
    item_weights_arrays,
    take_array,
    take_item_weights,
)


@dataclass(frozen=True, eq=False)
class DenseLinear:
    """Scores = histories @ weights, with one weight for each pair of items.

    Attributes:
        weights: B, float32 (I, I); B_ij is what owning item i adds to the score of item j, B_jj = 0 unless the setting
            `diagonal` allows more.
        settings: the settings it was solved with, for the record.
    """

    weights: NDArray[np.float32]
    settings: Mapping[str, JSON]

    kind: ClassVar[str]
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.weights.shape[0])

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return histories @ weights, (B, I) float32; reads only the weights of owned items."""
        check_histories(histories, self.n_items)
        return add_dense_rows(histories, self.weights)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return histories @ weights[:, items], (B, n) float32; reads only these columns."""
        check_histories(histories, self.n_items)
        items = check_items(items, self.n_items)
        scores = np.zeros((histories.shape[0], items.size), dtype=np.float32)
        add_dense_at(histories.indptr, histories.indices, self.weights, items, scores)
        return scores

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the weights of the history's items for some items, float64 (m, n)."""
        return np.asarray(self.weights[np.ix_(history.indices, items)], dtype=np.float64)

    def config(self) -> dict[str, JSON]:
        """Return the settings it was solved with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `weights`."""
        return {"weights": self.weights}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these weights.

        Raises:
            ModelFileError: they are not finite, not (I, I), or not 0 on the diagonal although the settings say so.
        """
        weights = take_array(arrays, "weights", np.float32, (n_items, n_items))
        if not config.get("diagonal") and weights.diagonal().any():
            raise ModelFileError(
                "the model file's array 'weights' should be 0 on its diagonal, where an item would speak for "
                "itself, but is not; train the model again"
            )
        return cls(weights, dict(config))


class Ease(DenseLinear):
    """Embarrassingly shallow autoencoder (Steck 2019, arXiv:1905.03375)."""

    kind: ClassVar[str] = "ease"


class Edlae(DenseLinear):
    """Linear autoencoder with emphasised denoising (Steck 2020, NeurIPS)."""

    kind: ClassVar[str] = "edlae"


@dataclass(frozen=True, eq=False)
class SparseLinear:
    """Scores = histories @ weights, with weights for a limited number of neighbours of each item.

    Attributes:
        weights: B, float32 csr_matrix (I, I) with sorted indices; column j holds the neighbours of item j.
        settings: the settings it was solved with, for the record.
    """

    weights: sp.csr_matrix
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "sparse-linear"
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.weights.shape[0])

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return histories @ weights, (B, I) float32; reads only the weights of owned items."""
        check_histories(histories, self.n_items)
        scores = np.zeros(histories.shape, dtype=np.float32)
        B = self.weights
        if numpy_is_sooner(histories.nnz * (1 + B.nnz // max(self.n_items, 1))):
            for row, start, stop in zip(scores, histories.indptr, histories.indptr[1:], strict=False):
                for i in histories.indices[start:stop]:
                    of_item = slice(B.indptr[i], B.indptr[i + 1])
                    row[B.indices[of_item]] += B.data[of_item]
            return scores
        _add_sparse(histories.indptr, histories.indices, B.indptr, B.indices, B.data, scores)
        return scores

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return histories @ weights[:, items], (B, n) float32, through one row of I numbers at a time."""
        check_histories(histories, self.n_items)
        items = check_items(items, self.n_items)
        scores = np.zeros((histories.shape[0], items.size), dtype=np.float32)
        B, row = self.weights, np.zeros((1, self.n_items), dtype=np.float32)
        _add_sparse_at(histories.indptr, histories.indices, B.indptr, B.indices, B.data, items, row, scores)
        return scores

    @property
    def item_weights(self) -> sp.csr_matrix:
        """B."""
        return self.weights

    @property
    def item_bias(self) -> None:
        """None: items have no constant."""
        return None

    def config(self) -> dict[str, JSON]:
        """Return the settings it was solved with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the weights as `item_weights_arrays` has them."""
        return item_weights_arrays(self.weights)

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these weights.

        Raises:
            ModelFileError: something is missing or does not fit.
        """
        return cls(take_item_weights(arrays, n_items, "weights"), dict(config))


def add_dense_rows(histories: sp.csr_matrix, B: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each history (U, ·) the sum of the rows of B (M, I) that it names, in its order, float32 (U, I)."""
    scores = np.zeros((histories.shape[0], B.shape[1]), dtype=np.float32)
    if numpy_is_sooner(histories.nnz * B.shape[1]):
        for row, start, stop in zip(scores, histories.indptr, histories.indptr[1:], strict=False):
            for i in histories.indices[start:stop]:
                row += B[i]
        return scores
    add_dense(histories.indptr, histories.indices, B, scores)
    return scores


# The loops are compiled and run without the interpreter's lock; each row's sum is made in the order of its history.


@loop
def add_dense(indptr: Ints, indices: Ints, B: Floats, scores: Floats) -> None:
    """Add to scores (U, I) the rows of B (M, I) that each history names."""
    for b in range(scores.shape[0]):
        row, p, last = scores[b], indptr[b], indptr[b + 1]
        while p + 4 <= last:  # four at a time: the row of scores is read and written a quarter as often
            v, w, s, t = B[indices[p]], B[indices[p + 1]], B[indices[p + 2]], B[indices[p + 3]]
            for j in range(row.shape[0]):
                row[j] = (((row[j] + v[j]) + w[j]) + s[j]) + t[j]
            p += 4
        while p < last:
            v = B[indices[p]]
            for j in range(row.shape[0]):
                row[j] += v[j]
            p += 1


@loop
def add_dense_at(indptr: Ints, indices: Ints, B: Floats, items: Ints, scores: Floats) -> None:
    """Add to scores (U, n) some columns (n,) of the rows of B (M, I) that each history names."""
    for b in range(scores.shape[0]):
        for p in range(indptr[b], indptr[b + 1]):
            weights = B[indices[p]]
            for c in range(items.shape[0]):
                scores[b, c] += weights[items[c]]


@loop
def _add_sparse(
    indptr: Ints, indices: Ints, B_indptr: Ints, B_indices: Ints, B_data: Floats, scores: Floats
) -> None:
    for b in range(scores.shape[0]):
        row = scores[b]
        for p in range(indptr[b], indptr[b + 1]):
            i = indices[p]
            for q in range(B_indptr[i], B_indptr[i + 1]):
                row[B_indices[q]] += B_data[q]


@loop
def _add_sparse_at(
    indptr: Ints,
    indices: Ints,
    B_indptr: Ints,
    B_indices: Ints,
    B_data: Floats,
    items: Ints,
    row: Floats,  # (1, I), zeros
    scores: Floats,
) -> None:
    for b in range(scores.shape[0]):
        _add_sparse(indptr[b : b + 2], indices, B_indptr, B_indices, B_data, row)
        for c in range(items.shape[0]):
            scores[b, c] = row[0, items[c]]
        for p in range(indptr[b], indptr[b + 1]):  # back to zeros, where something was added
            i = indices[p]
            for q in range(B_indptr[i], B_indptr[i + 1]):
                row[0, B_indices[q]] = 0
