"""Spectral: a graph filter over the items, as a code of the main directions plus a sparse product of items.

With R the purchases (users × items), d_u and d_i its row and column sums and R̃ = D_u^−½ R D_i^−½, the items are
filtered by S = R̃ᵀR̃, whose eigenvalues λ lie in [0, 1]; V are the eigenvectors of the largest ones. A history x scores

    D_i^β [ f(S) + α V Vᵀ ] D_i^−β x

with a filter f, after Shen et al. 2021 (GF-CF, arXiv:2108.07567) and Kim et al. 2025 (ChebyCF). Beyond the main
directions λ is small, and f is taken to be a straight line a + c λ there. So every filter is a sparse product plus a
code:

    f(S) + α V Vᵀ  ≈  a + c S' + V M Vᵀ,    M = f(Λ) + α − a − c diag(Vᵀ S' V)

S' holds the largest entries of the rows and columns of S. What M leaves out is what S' does along each of the main
directions itself; with all of S, the filter is exact within them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats
from recae.models.base import (
    JSON,
    Model,
    check_histories,
    item_weights_arrays,
    take_array,
    take_item_weights,
)
from recae.models.factored import FactoredScores
from recae.models.linear import SparseLinear
from recae.sparse import with_values


@dataclass(frozen=True, eq=False)
class SpectralCode(FactoredScores):
    """The part that passes through the main directions: scores = (w ∘ Σ_i s_i v_i) vᵀ over the items i of a history.

    Attributes:
        vectors: v = D_i^β V g^½ with g = f(Λ) + α, float32 (I, d): what two items have in common within the main
            directions is the product of their vectors.
        scales: s = d_i^−2β, float32 (I,).
        weights: w = M g^−1, what a direction counts beside the sparse product, float32 (d,).
        settings: the settings it was fitted with, for the record.
    """

    vectors: Floats
    scales: NDArray[np.float32]
    weights: NDArray[np.float32]
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "spectral"
    trained: ClassVar[bool] = False

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the codes of histories: (B, I) CSR → (B, d) float32."""
        check_histories(histories, self.n_items)
        sums = with_values(histories, self.scales[histories.indices]) @ self.vectors
        return np.asarray(sums * self.weights, dtype=np.float32)

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each of m items of a history adds to the scores of n items, float64 (m, n)."""
        owned = history.indices
        scaled = self.vectors[owned] * (self.scales[owned, None] * self.weights.astype(np.float64))
        return np.asarray(scaled @ self.vectors[items].T.astype(np.float64))

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """The vectors."""
        return np.asarray(self.vectors, dtype=np.float32)

    @property
    def item_bias(self) -> None:
        """None: items have no constant."""
        return None

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name."""
        return {"vectors": self.vectors, "scales": self.scales, "weights": self.weights}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the part of these parameters.

        Raises:
            ModelFileError: something is missing or does not fit.
        """
        vectors = take_array(arrays, "vectors", np.float32, (n_items, None))
        scales = take_array(arrays, "scales", np.float32, (n_items,))
        return cls(
            vectors, scales, take_array(arrays, "weights", np.float32, vectors.shape[1:]), dict(config)
        )


@dataclass(frozen=True, eq=False)
class Spectral:
    """A graph filter over the items: the sum of a code and of a sparse product.

    Attributes:
        code: the part within the main directions.
        product: the sparse part, D_i^−β (a + c S') D_i^β.
    """

    code: SpectralCode
    product: SparseLinear

    kind: ClassVar[str] = "spectral"
    trained: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return self.code.n_items

    @property
    def summands(self) -> tuple[Model, ...]:
        """The two parts, by which tiles of items are scored."""
        return (self.code, self.product)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the sum of both parts: (B, I) CSR → (B, I) float32; higher is better, nothing masked."""
        scores = self.code.score(histories)
        scores += self.product.score(histories)
        return scores

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return the sum of both parts for some items: (B, I) CSR, (n,) → (B, n) float32."""
        scores = self.code.score_items(histories, items)
        scores += self.product.score_items(histories, items)
        return scores

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the codes of histories: (B, I) CSR → (B, d) float32; the sparse product is no part of them."""
        return self.code.user_factors(histories)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """What the code is weighed by in each item's score, float32 (I, d)."""
        return self.code.item_factors

    def config(self) -> dict[str, JSON]:
        """Return the settings it was fitted with."""
        return self.code.config()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters of both parts by name."""
        return {**self.code.arrays(), **item_weights_arrays(self.product.weights)}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model of these parameters.

        Raises:
            ModelFileError: something is missing or does not fit.
        """
        product = SparseLinear(take_item_weights(arrays, n_items, "products of items"), {})
        return cls(SpectralCode.from_arrays(config, arrays, n_items), product)
