"""The blocked pass: products of a block of users with one tile of items after another, and only the best of each kept.

A tile's products are approximate: made in bfloat16 where the processor has units for it, in float32 otherwise. Each
comes with a bound of its error, by the inequality of Cauchy and Schwarz: |x·w − x̂·ŵ| ≤ ‖x − x̂‖‖w‖ + ‖x̂‖‖w − ŵ‖, and a
term for the rounding of sums. The n largest lower bounds that a user has had so far are the threshold: an item whose
upper bound is below it is not among the n best. What remains at the end, a few items more than n, is scored again in
float64, so that the lists are those of exact arithmetic, however coarse the products were.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from llvmlite import binding
from numpy.typing import NDArray

from recae.models.base import Model
from recae.ranking import top_k
from recae.scoring import tile_kernels
from recae.scoring.catalogue import Catalogue, rounded_up, to_bfloat16

Floats = NDArray[np.float32]
Ranked = tuple[NDArray[np.int32], Floats]

TILE: Final = 1024
"""Items of a tile: with a block of users their products fit into the second-level cache, or nearly so."""

WIDE_TILE: Final = 8192
"""The same where sparse matrices have a part in the scores. Their rows are read in pieces, a piece a tile, and the
shorter these are, the more time goes into finding them."""

BLOCK: Final = 1024
"""Most users of a block. With fewer, a product spends its time on rearranging the vectors."""

# Where numbers are larger, sums may overflow.
_LARGEST: Final = 1e37
# Relative rounding error of bfloat16, and of what is done in float32, with room to spare.
_OF_BFLOAT16, _OF_FLOAT32 = 2.0**-8, 2.0**-20


def has_bfloat16_units() -> bool:
    """Whether the processor multiplies matrices of bfloat16 in tiles (Intel's AMX), many times faster than float32."""
    return bool(binding.get_host_cpu_features().get("amx-bf16", False))


def tile_width(catalogue: Catalogue) -> int:
    """Items of a tile; all, if there are fewer."""
    return min(WIDE_TILE if catalogue.additive else TILE, catalogue.n_items)


def capacity(n: int, n_items: int) -> int:
    """Candidates kept for a user at one time."""
    return min(n_items, 4 * n + 256)


def numbers_per_user(catalogue: Catalogue, n: int) -> int:
    """What a user of a block takes, in float32 numbers, beside some numbers for each item of the history."""
    return tile_width(catalogue) + 6 * capacity(n, catalogue.n_items) + n + 8 * catalogue.width


def best_of_tiles(
    catalogue: Catalogue,
    model: Model,
    histories: sp.csr_matrix,
    n: int,
    *,
    exclude_owned: bool,
    barred: NDArray[np.bool_] | None,
    coarse: bool,
) -> tuple[NDArray[np.int32], Floats, NDArray[np.intp]]:
    """The best items of some users, (B, n) each as `top_k` gives them, and the users for whom it could not be said.

    Those are users with very many items as good as the n-th best, and users with numbers that are not finite or nearly
    too large; their lists are undefined.

    catalogue      of the model
    histories      csr_matrix (B, I) with sorted indices, B ≤ BLOCK as a rule
    n              at most I
    exclude_owned  whether items of the history are left out
    barred         bool (I,), items that are left out for everybody
    coarse         whether products are made in bfloat16
    """
    n_users = histories.shape[0]
    indptr = np.require(histories.indptr, np.int64, ["C", "A", "W"])
    indices = np.require(histories.indices, np.int32, ["C", "A", "W"])
    codes = catalogue.codes(model, histories)
    factors = catalogue.constant_factors(model, histories)
    inputs = catalogue.inputs(model, histories)
    rows = indices + np.arange(len(inputs), dtype=np.int64)[:, None] * catalogue.n_items
    at, end = (catalogue.weights.indptr[rows + i].astype(np.int64) for i in (0, 1))

    exact = np.hstack([f[:, None].astype(np.float64) * x for x, f in codes])  # (B, K)
    sparse = sum(
        (sp.csr_matrix((np.abs(x), indices, indptr), shape=histories.shape) @ largest).astype(np.float64)
        for x, largest in zip(inputs, catalogue.largest_weights, strict=True)
    )
    length = np.linalg.norm(exact, axis=1)
    size = length * catalogue.norms.max(initial=0) + np.abs(factors) @ catalogue.largest_constants + sparse
    usual = np.maximum(size, length) < _LARGEST  # False for NaN, too
    exact[~usual] = 0
    product = _Coarse(catalogue, exact) if coarse else _Fine(catalogue, exact)
    # twice, since an upper bound is compared with a lower one
    slack = np.where(usual, 2 * _OF_FLOAT32 * size + 2.0**-100, 0).astype(np.float32)

    room = capacity(n, catalogue.n_items)
    best = np.full((n_users, n), -np.inf, dtype=np.float32)
    items = np.empty((n_users, room), dtype=np.int32)
    upper, extra = (np.empty((n_users, room), dtype=np.float32) for _ in range(2))
    count = np.where(usual, 0, -1)
    norms = catalogue.norms if barred is None else np.where(barred, np.float32(-np.inf), catalogue.norms)
    for first in range(0, catalogue.n_items, max(1, tile_width(catalogue))):
        width = min(tile_width(catalogue), catalogue.n_items - first)
        tile_kernels.sift(
            product.tile(first, width),
            product.shift,
            product.rounding,
            first,
            width,
            factors,
            catalogue.constants,
            indptr,
            indices,
            exclude_owned,
            inputs,
            at,
            end,
            catalogue.weights.indices,
            catalogue.weights.data,
            product.code_errors,
            norms,
            product.code_norms,
            product.vector_errors,
            slack,
            best,
            items,
            upper,
            extra,
            count,
        )
    tile_kernels.settle(slack, best, items, upper, extra, count)
    most = max(int(count.max(initial=0)), 1)
    there = np.arange(most) < count[:, None]
    scores = np.where(there, extra[:, :most], np.nan).astype(np.float64)  # NaN is never ranked
    tile_kernels.add_constants(factors, catalogue.constants, items, count, scores)
    for (x, f), vectors in zip(codes, catalogue.vectors, strict=True):
        tile_kernels.add_products(x, vectors, f, items, count, scores)
    # candidates lie in the order of their numbers, so that the tie rule for places is that for items
    places, values = top_k(scores.astype(np.float32), n, threads=1)
    ranked = np.where(places < 0, -1, np.take_along_axis(items, np.maximum(places, 0), axis=1))
    return ranked.astype(np.int32), values, np.flatnonzero(count < 0)


class _Fine:
    """Products in float32, by BLAS."""

    shift, rounding = 0, 0.0

    def __init__(self, catalogue: Catalogue, exact: NDArray[np.float64]) -> None:
        self._vectors = catalogue.beside
        self._codes = exact.astype(np.float32)
        self._made = np.empty(len(exact) * tile_width(catalogue), dtype=np.float32)
        lost = np.linalg.norm(exact - self._codes, axis=1)
        sums = _of_sums(catalogue) * np.linalg.norm(self._codes.astype(np.float64), axis=1)
        self.code_errors = rounded_up(lost + sums)
        self.code_norms = np.zeros(len(exact), dtype=np.float32)
        self.vector_errors = np.zeros(catalogue.n_items, dtype=np.float32)

    def tile(self, first: int, width: int) -> NDArray[Any]:
        """Bits of the products with items first … first + width − 1, (B, width)."""
        made = self._made[: len(self._codes) * width].reshape(-1, width)
        np.matmul(self._codes, self._vectors[first : first + width].T, out=made)
        return made.view(np.uint32)


class _Coarse:
    """Products in bfloat16, by torch."""

    shift, rounding = 16, _OF_BFLOAT16 * 1.01

    def __init__(self, catalogue: Catalogue, exact: NDArray[np.float64]) -> None:
        import torch

        self._multiply = torch.mm
        self._vectors, self.vector_errors = catalogue.coarse
        self._codes, rounded = to_bfloat16(exact.astype(np.float32))
        self._made = torch.empty(len(exact) * tile_width(catalogue), dtype=torch.bfloat16)
        self._bits = self._made.view(torch.int16).numpy().view(np.uint16)
        lost = np.linalg.norm(exact - rounded, axis=1)
        length = np.linalg.norm(rounded, axis=1)
        sums = _of_sums(catalogue)
        self.code_errors = rounded_up(lost + sums * length)
        self.code_norms = rounded_up(length * (1 + sums))

    def tile(self, first: int, width: int) -> NDArray[Any]:
        """Bits of the products with items first … first + width − 1, (B, width)."""
        n_users = len(self._codes)
        out = self._made[: n_users * width].view(n_users, width)
        self._multiply(self._codes, self._vectors[first : first + width].T, out=out)
        return self._bits[: n_users * width].reshape(n_users, width)


def _of_sums(catalogue: Catalogue) -> float:
    """Relative rounding error of a product's sums in float32, in whatever order they are made."""
    return (catalogue.width + 16) * 2.0**-23
