"""What the blocked pass needs to know of a model's items, made once a model: vectors, constants, weights, bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models.base import Additive, Factored, Model, reads_values
from recae.models.blend import Part, part_factors, summands

Floats = NDArray[np.float32]

# Items whose vectors are turned to float64 or bfloat16 at one time.
_PIECE: Final = 4096
# What is smaller than that in bfloat16 the processor takes for 0.
_SMALLEST_NORMAL: Final = 2.0**-126


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of a model whose scores are sums of products with item vectors, of sparse sums and of constants.

    Parts are named by their number in the blend, so that this does not keep the model alive; a model that is no blend
    is its own part 0.

    factored   the parts whose scores are products
    additive   the parts with a sparse matrix of items by items
    constant   the parts with a constant an item
    vectors    one float32 (I, D) for each factored part, the model's own
    constants  float32 (P, I), a row for each constant part
    weights    float32 csr_matrix (S·I, I), the matrices of the additive parts below one another, with sorted indices
    """

    factored: tuple[int, ...]
    additive: tuple[int, ...]
    constant: tuple[int, ...]
    vectors: tuple[Floats, ...]
    constants: Floats
    weights: sp.csr_matrix

    @classmethod
    def of(cls, model: Model) -> Catalogue | None:
        """The catalogue of a model; None unless each part has one of these forms and one of them has vectors."""
        models = [part.model for part in summands(model)]
        factored = {p: own for p, own in enumerate(models) if isinstance(own, Factored)}
        additive = {p: own for p, own in enumerate(models) if isinstance(own, Additive)}
        if not factored or len(factored) + len(additive) < len(models):
            return None
        biases = {p: own.item_bias for p, own in (factored | additive).items()}
        constants = {p: bias for p, bias in biases.items() if bias is not None}
        none = np.zeros((0, model.n_items), dtype=np.float32)
        matrices = [_sorted(own.item_weights) for own in additive.values()]
        return cls(
            factored=tuple(factored),
            additive=tuple(additive),
            constant=tuple(constants),
            vectors=tuple(np.ascontiguousarray(own.item_factors) for own in factored.values()),
            constants=np.vstack([none, *constants.values()]),
            weights=matrices[0] if len(matrices) == 1 else sp.vstack([sp.csr_matrix(none), *matrices], "csr"),
        )

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.constants.shape[1])

    @property
    def width(self) -> int:
        """Numbers in an item's vectors together, K."""
        return sum(vectors.shape[1] for vectors in self.vectors)

    @cached_property
    def beside(self) -> Floats:
        """The vectors of all factored parts side by side, (I, K); no copy where there is one such part."""
        return self.vectors[0] if len(self.vectors) == 1 else np.hstack(self.vectors)

    @cached_property
    def norms(self) -> Floats:
        """Length of each item's vector, (I,), never too small."""
        norms = np.empty(self.n_items)
        for piece in self._pieces():
            norms[piece] = np.linalg.norm(self._exact(piece), axis=1)
        return rounded_up(norms)

    @cached_property
    def largest_constants(self) -> NDArray[np.float64]:
        """Largest absolute constant of each constant part, (P,)."""
        return np.asarray(np.abs(self.constants).max(axis=1, initial=0), dtype=np.float64)

    @cached_property
    def largest_weights(self) -> Floats:
        """Largest absolute weight in each row of the sparse matrices, (S, I)."""
        indptr, data = self.weights.indptr, np.abs(self.weights.data)
        largest = np.zeros(len(self.additive) * self.n_items, dtype=np.float32)
        filled = np.diff(indptr) > 0
        if filled.any():
            largest[filled] = np.maximum.reduceat(data, indptr[:-1][filled])
        return largest.reshape(-1, self.n_items)

    @cached_property
    def coarse(self) -> tuple[Any, Floats]:
        """The vectors in bfloat16, a torch tensor (I, K), and the length of what each lost, (I,), never too small."""
        import torch

        coarse = torch.empty((self.n_items, self.width), dtype=torch.bfloat16)
        lost = np.empty(self.n_items)
        for piece in self._pieces():
            exact = self._exact(piece)
            coarse[piece], rounded = to_bfloat16(exact.astype(np.float32))
            lost[piece] = np.linalg.norm(exact - rounded, axis=1)
        return coarse, rounded_up(lost)

    def _pieces(self) -> Iterator[slice]:
        return (slice(start, start + _PIECE) for start in range(0, self.n_items, _PIECE))

    def _exact(self, piece: slice) -> NDArray[np.float64]:
        return np.hstack([vectors[piece] for vectors in self.vectors]).astype(np.float64)

    def codes(self, model: Model, histories: sp.csr_matrix) -> list[tuple[Floats, Floats]]:
        """For each factored part what multiplies its vectors, (B, D), and what the product is multiplied by, (B,)."""
        parts = self._parts(model, self.factored)
        return [
            (cast(Factored, part.model).user_factors(histories), part_factors(part, histories)[:, 0])
            for part in parts
        ]

    def constant_factors(self, model: Model, histories: sp.csr_matrix) -> Floats:
        """What the constants are multiplied by, (B, P)."""
        none = np.zeros((histories.shape[0], 0), dtype=np.float32)
        return np.hstack(
            [none, *(part_factors(part, histories) for part in self._parts(model, self.constant))]
        )

    def inputs(self, model: Model, histories: sp.csr_matrix) -> Floats:
        """What each item of a history enters into each sparse matrix, (S, nnz)."""
        inputs = np.empty((len(self.additive), histories.indices.size), dtype=np.float32)
        for row, part in zip(inputs, self._parts(model, self.additive), strict=True):
            row[:] = np.repeat(part_factors(part, histories)[:, 0], np.diff(histories.indptr))
            if reads_values(part.model):
                row *= histories.data
        return inputs

    @staticmethod
    def _parts(model: Model, numbers: Sequence[int]) -> list[Part]:
        parts = summands(model)
        return [parts[p] for p in numbers]


# Kept as long as the model itself, so that each block of a job finds what the first has made.
_known: WeakKeyDictionary[Model, Catalogue | None] = WeakKeyDictionary()
_lock = threading.Lock()


def catalogue(model: Model) -> Catalogue | None:
    """The catalogue of a model, made once; None where it has none."""
    with _lock:
        if model not in _known:
            _known[model] = Catalogue.of(model)
        return _known[model]


def to_bfloat16(values: Floats) -> tuple[Any, NDArray[np.float64]]:
    """The nearest bfloat16 as a torch tensor, and the same as float64; 0 for what the processor takes for 0."""
    import torch

    coarse = torch.from_numpy(values).bfloat16()
    coarse[coarse.abs() < _SMALLEST_NORMAL] = 0
    return coarse, coarse.double().numpy()


def rounded_up(values: NDArray[np.float64]) -> Floats:
    """float32 numbers that are above these by some rounding errors."""
    return (values * (1 + 2.0**-20) + 2.0**-120).astype(np.float32)


def _sorted(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return matrix if matrix.has_sorted_indices else matrix.sorted_indices()
