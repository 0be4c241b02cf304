"""The blocked pass: products of a block of users with one tile of items after another, of which only the best stay.

A tile's products are approximate: made in bfloat16 where the processor has units for it, in whole numbers of 16 bits
where it adds up pairs of those (AVX2), in float32 otherwise. Each comes with a bound of its error, by the inequality of
Cauchy and Schwarz: |x·w − x̂·ŵ| ≤ ‖x − x̂‖‖w‖ + ‖x̂‖‖w − ŵ‖, and a term for the rounding of sums. The n largest lower
bounds that a user has had so far are the threshold: an item whose upper bound is below it is not among the n best. What
remains at the end, somewhat more than n items, is scored again as `Model.score` scores, by the same operations in the
same order: lists and scores are those that all scores, sorted, would give, to the last bit, however coarse the products
were.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from typing import Any, Final, Literal, cast
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp
from llvmlite import binding
from numpy.typing import NDArray

from recae.models.base import Additive, Factored, Model, reads_values
from recae.models.blend import Part, part_factors, summands
from recae.models.dots import as_operand, write_dots_at
from recae.ranking import top_k
from recae.scoring import tile_kernels
from recae.scoring.integers import PANEL, panels_of, rounded, write_products

# Items whose vectors are turned to float64 or bfloat16 at one time.
_PIECE: Final = 4096
# What is smaller than that in bfloat16 the processor takes for 0.
_SMALLEST_NORMAL: Final = 2.0**-126


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of a model whose scores are sums of products with item vectors, of sparse sums and of constants.

    Parts are named by their number in the blend, so that this does not keep the model alive; a model that is no blend
    is its own part 0.

    Attributes:
        factored: the parts whose scores are products.
        additive: the parts with a sparse matrix of items by items.
        constant: the parts with a constant an item.
        vectors: one float32 (I, D) for each factored part, the model's own.
        constants: float32 (P, I), a row for each constant part.
        weights: float32 csr_matrix (S·I, I), the matrices of the additive parts below one another, with sorted
            indices.
    """

    factored: tuple[int, ...]
    additive: tuple[int, ...]
    constant: tuple[int, ...]
    vectors: tuple[Floats, ...]
    constants: Floats
    weights: sp.csr_matrix

    @classmethod
    def of(cls, model: Model) -> Catalogue | None:
        """Return the catalogue of a model; None unless each part has one of these forms and one of them has vectors."""
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

    @cached_property
    def whole(self) -> tuple[NDArray[np.int32], Floats, Floats]:
        """The vectors in whole numbers, panels (I / 16, K / 2, 16), their scales, and the length of what each lost."""
        n_panels = -(-self.n_items // PANEL)
        panels = np.empty((n_panels, -(-self.width // 2), PANEL), dtype=np.int32)
        scales = np.zeros(n_panels * PANEL, dtype=np.float32)
        lost = np.empty(self.n_items)
        for piece in self._pieces():
            exact = self._exact(piece)
            numbers, of_piece = rounded(exact)
            scales[piece.start : piece.start + len(exact)] = of_piece
            some = panels_of(numbers)
            panels[piece.start // PANEL : piece.start // PANEL + len(some)] = some
            lost[piece] = np.linalg.norm(
                exact - numbers[:, : self.width] * of_piece[:, None].astype(np.float64), axis=1
            )
        return panels, scales, rounded_up(lost)

    def _pieces(self) -> Iterator[slice]:
        return (slice(start, start + _PIECE) for start in range(0, self.n_items, _PIECE))

    def _exact(self, piece: slice) -> NDArray[np.float64]:
        return np.hstack([vectors[piece] for vectors in self.vectors]).astype(np.float64)

    def codes(self, model: Model, histories: sp.csr_matrix) -> list[tuple[Floats, Floats]]:
        """Return for each factored part the codes (B, D) that multiply its vectors, and a factor (B,) of it all."""
        parts = self._parts(model, self.factored)
        return [
            (cast(Factored, part.model).user_factors(histories), part_factors(part, histories)[:, 0])
            for part in parts
        ]

    def constant_factors(self, model: Model, histories: sp.csr_matrix) -> Floats:
        """Return what the constants are multiplied by, (B, P)."""
        none = np.zeros((histories.shape[0], 0), dtype=np.float32)
        return np.hstack(
            [none, *(part_factors(part, histories) for part in self._parts(model, self.constant))]
        )

    def inputs(self, model: Model, histories: sp.csr_matrix) -> Floats:
        """Return what each item of a history enters into each sparse matrix, (S, nnz)."""
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


# An entry lives as long as its model, so that each block of a job finds what the first has made.
_known: WeakKeyDictionary[Model, Catalogue | None] = WeakKeyDictionary()
_lock = threading.Lock()


def catalogue(model: Model) -> Catalogue | None:
    """Return the catalogue of a model, made once; None where it has none."""
    with _lock:
        if model not in _known:
            _known[model] = Catalogue.of(model)
        return _known[model]


def to_bfloat16(values: Floats) -> tuple[Any, NDArray[np.float64]]:
    """Return the nearest bfloat16 as a torch tensor, and the same as float64; 0 for what the processor takes for 0."""
    import torch

    coarse = torch.from_numpy(values).bfloat16()
    coarse[coarse.abs() < _SMALLEST_NORMAL] = 0
    return coarse, coarse.double().numpy()


def rounded_up(values: NDArray[np.float64]) -> Floats:
    """float32 numbers that are above these by some rounding errors."""
    return (values * (1 + 2.0**-20) + 2.0**-120).astype(np.float32)


def _sorted(matrix: sp.csr_matrix) -> sp.csr_matrix:
    return matrix if matrix.has_sorted_indices else matrix.sorted_indices()


Floats = NDArray[np.float32]
Numbers = Literal["float32", "int16", "bfloat16"]
"""What the products of a tile are made in."""

Ranked = tuple[NDArray[np.int32], Floats]

TILE: Final = 256
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


# What LLVM calls the units for bfloat16: Intel's tiles, the vectors of AVX-512 (AMD since Zen 4), and Arm's.
_UNITS: Final = ("amx-bf16", "avx512bf16", "bf16")


@cache
def has_bfloat16_units() -> bool:
    """Return whether the processor multiplies bfloat16 faster than float32, and torch makes use of it.

    The units are reached by way of torch, which is loaded where there are some: without it there are none.
    """
    features = binding.get_host_cpu_features()
    if not any(features.get(unit, False) for unit in _UNITS) or find_spec("torch") is None:
        return False
    import torch

    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.is_available():  # torch's own loops turn each number to float32
        return False
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is None or bool(supported())


def tile_width(catalogue: Catalogue) -> int:
    """Return the number of items in a tile; all, if there are fewer."""
    width = WIDE_TILE if catalogue.additive else TILE
    return min(-(-width // PANEL) * PANEL, catalogue.n_items)


def capacity(n: int, n_items: int) -> int:
    """Return the most candidates held for a user at one time."""
    return min(n_items, 4 * n + 256)


def numbers_per_user(catalogue: Catalogue, n: int) -> int:
    """Return what a user of a block takes, in float32 numbers, beside some numbers for each item of the history."""
    return tile_width(catalogue) + 6 * capacity(n, catalogue.n_items) + n + 8 * catalogue.width


def best_of_tiles(
    catalogue: Catalogue,
    model: Model,
    histories: sp.csr_matrix,
    n: int,
    *,
    exclude_owned: bool,
    barred: NDArray[np.bool_] | None,
    numbers: Numbers,
) -> tuple[NDArray[np.int32], Floats, NDArray[np.intp]]:
    """Return the best items of some users, (B, n) as `top_k` gives them, and the users left undecided.

    Those are users with very many items as good as the n-th best, and users with numbers that are not finite or nearly
    too large; their lists are undefined.

    Args:
        catalogue: of the model.
        model: scores the items.
        histories: csr_matrix (B, I) with sorted indices, B ≤ BLOCK as a rule.
        n: at most I.
        exclude_owned: whether items of the history are left out.
        barred: bool (I,), items that are left out for everybody.
        numbers: in which products are made.
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
    # long histories make long sums, and there are two of each
    of_sparse = sparse * np.diff(indptr) * 2.0**-22
    usual = np.maximum(size, length) < _LARGEST  # False for NaN, too
    exact[~usual] = 0
    product = _PRODUCTS[numbers](catalogue, exact)
    # twice, since an upper bound is compared with a lower one
    slack = np.where(usual, 2 * _OF_FLOAT32 * size + 2 * of_sparse + 2.0**-100, 0).astype(np.float32)

    room = capacity(n, catalogue.n_items)
    best = np.full((n_users, n), -np.inf, dtype=np.float32)
    items = np.empty((n_users, room), dtype=np.int32)
    upper = np.empty((n_users, room), dtype=np.float32)
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
            count,
        )
    tile_kernels.settle(slack, best, items, upper, count)
    scores = scores_at(catalogue, model, histories, [code for code, _ in codes], items, count)
    # candidates lie in the order of their numbers, so that the tie rule for places is that for items
    places, values = top_k(scores, n, threads=1)
    ranked = np.where(places < 0, -1, np.take_along_axis(items, np.maximum(places, 0), axis=1))
    return ranked.astype(np.int32), values, np.flatnonzero(count < 0)


def scores_at(
    catalogue: Catalogue,
    model: Model,
    histories: sp.csr_matrix,
    codes: Sequence[Floats],
    items: NDArray[np.int32],
    count: NDArray[np.integer[Any]],
) -> Floats:
    """Return the scores of some items of each user, those of `Model.score` to the last bit.

    Args:
        catalogue: of the model.
        model: scores the items.
        histories: csr_matrix (B, I) with sorted indices.
        codes: what `catalogue.codes` has of each factored part, (B, D).
        items: item numbers, (B, ≥ m).
        count: how many of a user's there are, (B,), at most m; none where it is negative.

    Returns:
        float32 (B, m) with m the largest count, 1 at least; NaN, which is never ranked, where there is no item.
    """
    n_users, most = histories.shape[0], max(int(count.max(initial=0)), 1)
    there = np.arange(most) < count[:, None]
    at = np.where(there, items[:, :most], 0)
    indptr, indices = (
        np.require(array, kind, ["C", "A", "W"])
        for array, kind in ((histories.indptr, np.int64), (histories.indices, np.int32))
    )
    scores = np.zeros((n_users, most), dtype=np.float32)
    for number, part in enumerate(summands(model)):
        found = np.zeros((n_users, most), dtype=np.float32)
        if number in catalogue.factored:
            place, own = catalogue.factored.index(number), cast(Factored, part.model)
            vectors = as_operand(catalogue.vectors[place])
            bias = np.zeros(catalogue.n_items, dtype=np.float32) if own.item_bias is None else own.item_bias
            write_dots_at(as_operand(codes[place]), vectors, as_operand(bias), items, count, found)
        else:
            rows = indices + np.int64(catalogue.additive.index(number)) * catalogue.n_items
            begin, end = (catalogue.weights.indptr[rows + i].astype(np.int64) for i in (0, 1))
            values = histories.data if reads_values(part.model) else np.ones(indices.size)
            tile_kernels.write_sums_at(
                indptr,
                indices,
                values.astype(np.float32),
                begin,
                end,
                catalogue.weights.indices,
                catalogue.weights.data,
                items,
                count,
                found,
            )
            if number in catalogue.constant:
                found += catalogue.constants[catalogue.constant.index(number)][at]
        found *= part_factors(part, histories)
        scores = found if number == 0 else scores + found
    return np.where(there, scores, np.float32(np.nan))


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
        """Return the bits of the products with items first … first + width − 1, (B, width)."""
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
        """Return the bits of the products with items first … first + width − 1, (B, width)."""
        n_users = len(self._codes)
        out = self._made[: n_users * width].view(n_users, width)
        self._multiply(self._codes, self._vectors[first : first + width].T, out=out)
        return self._bits[: n_users * width].reshape(n_users, width)


class _Whole:
    """Products in whole numbers of 16 bits; the sums are exact."""

    shift, rounding = 0, 2.0**-21

    def __init__(self, catalogue: Catalogue, exact: NDArray[np.float64]) -> None:
        self._panels, self._scales, self.vector_errors = catalogue.whole
        numbers, self._of_users = rounded(exact)
        self._codes = numbers.view(np.int32)
        self._made = np.empty(len(exact) * -(-tile_width(catalogue) // PANEL) * PANEL, dtype=np.float32)
        taken = numbers[:, : catalogue.width] * self._of_users[:, None].astype(np.float64)
        lost, length = np.linalg.norm(exact - taken, axis=1), np.linalg.norm(exact, axis=1)
        # the sums of the score that the list is ordered by
        self.code_errors = rounded_up(lost + _of_sums(catalogue) * length)
        self.code_norms = rounded_up(np.linalg.norm(taken, axis=1))

    def tile(self, first: int, width: int) -> NDArray[Any]:
        """Return the bits of the products with items first … first + width − 1, (B, width or some more)."""
        filled = -(-width // PANEL) * PANEL
        made = self._made[: len(self._codes) * filled].reshape(-1, filled)
        write_products(self._codes, self._of_users, self._panels, self._scales, first // PANEL, made)
        return made.view(np.uint32)


_PRODUCTS: Final[dict[Numbers, type[_Fine | _Whole | _Coarse]]] = {
    "float32": _Fine,
    "int16": _Whole,
    "bfloat16": _Coarse,
}


def _of_sums(catalogue: Catalogue) -> float:
    """Return the relative rounding error of a product's sums in float32, in whatever order they are made.

    Twice: that of the tile, and that of the score that the list is ordered by.
    """
    return 2 * (catalogue.width + 16) * 2.0**-23
