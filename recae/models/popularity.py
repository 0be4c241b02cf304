"""Popularity: every user gets the items that most users own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.base import JSON, check_histories, check_items, take_array


@dataclass(frozen=True, eq=False)
class Popularity:
    """Scores an item by the number of users who own it, or by the confidence in their purchases.

    Attributes:
        counts: number of users who own each item (exact up to 2^24 users), or the sum of the confidences in their
            purchases, float32 (I,).
        settings: the settings it was fitted with, for the record.
    """

    kind: ClassVar[str] = "popularity"
    trained: ClassVar[bool] = False

    counts: NDArray[np.float32]
    settings: Mapping[str, JSON] = field(default_factory=dict)

    @classmethod
    def fit(cls, matrix: sp.csr_matrix, confidence: NDArray[np.float32] | None = None) -> Self:
        """Count the owners of each item of a csr_matrix of shape (users, I) without duplicate entries.

        `confidence` (nnz,) is how much each purchase counts, in the order of the matrix; None: 1.
        """
        return cls(np.bincount(matrix.indices, confidence, matrix.shape[1]).astype(np.float32))

    @property
    def n_items(self) -> int:
        """Number of items I."""
        return int(self.counts.size)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the counts once for each row, (B, I); DataError if the histories do not have I columns."""
        check_histories(histories, self.n_items)
        return np.tile(self.counts, (histories.shape[0], 1))

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the items' counts once for each row, (B, n); DataError as `Model.score_items` says."""
        check_histories(histories, self.n_items)
        return np.tile(self.counts[check_items(items, self.n_items)], (histories.shape[0], 1))

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return zeros (m, n): no history changes the counts."""
        return np.zeros((history.nnz, len(items)))

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return `counts`, float32 (I,)."""
        return {"counts": self.counts}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these counts.

        Raises:
            ModelFileError: they are missing or do not fit.
        """
        return cls(take_array(arrays, "counts", np.float32, (n_items,)), dict(config))
