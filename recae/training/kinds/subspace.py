"""Main eigenvectors of R̃ᵀR̃ for a sparse R̃, by iterating on a block of vectors with Cholesky-QR.

Halko, Martinsson and Tropp 2011 (arXiv:0909.4061) describe the iteration; the shift that keeps Cholesky's factors of
an ill-conditioned block positive is that of Fukaya et al. 2020 (arXiv:1809.11085).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.loops import loop
from recae.machine import processors

OVERSAMPLED: Final = 64
"""Vectors of a block beyond those asked for, so that the last ones settle, too."""

ROUNDS: Final = 8
"""Most rounds of products and an orthogonal basis."""

PRODUCTS: Final = 3
"""Products with R̃ᵀR̃ in a round, fewer where the spectrum is so steep that float32 would lose the last vectors."""

SETTLED: Final = 0.01
"""Mean relative growth of the directions in a round below which they count as settled."""

_NULL: Final = 1e-6  # eigenvalues that are 0 but for rounding; the largest is 1
_DIGITS: Final = 7.0  # natural logarithm of what the lengths of a block may differ by in float32
_SHIFT: Final = 1e-6  # relative to the largest diagonal entry of a Gram matrix in float32


def width_of(matrix: sp.csr_matrix, factors: int) -> tuple[int, int, bool]:
    """Return the directions to find, the vectors of a block, and whether these are all there are.

    Args:
        matrix: (U, I) purchases.
        factors: directions asked for.
    """
    users = int(np.count_nonzero(np.diff(matrix.indptr)))
    items = int(np.count_nonzero(np.bincount(matrix.indices, minlength=matrix.shape[1])))
    smaller = min(users, items)
    block = min(smaller, factors + OVERSAMPLED)
    return min(factors, smaller), block, block == smaller


def largest_eigenvectors(
    matrix: sp.csr_matrix, factors: int, seed: int, start: Floats | None = None
) -> tuple[NDArray[np.float64], Floats]:
    """Return the largest eigenvalues of R̃ᵀR̃, falling, and their eigenvectors; those of eigenvalue 0 are left out.

    Where the block would be as wide as the smaller side of R̃, the Gram matrix of that side is solved as it is.

    Args:
        matrix: R̃, (U, I) CSR float32, of norm 1 at most.
        factors: how many are wanted.
        seed: of the first block.
        start: directions near the wanted ones, (I, k), of any lengths, to begin with; those of a matrix with a part of
            the purchases settle in two rounds. None: all of the first block are random.

    Returns:
        (d,) float64 and (I, d) float32, orthonormal to rounding; d is `factors` or the rank.
    """
    wanted, block, whole = width_of(matrix, factors)
    if whole:
        return _of_gram(matrix, wanted)
    transposed = matrix.T.tocsr()
    vectors = np.random.default_rng(seed).standard_normal((matrix.shape[1], block), dtype=np.float32)
    if start is not None:
        number = min(start.shape[1], block)
        lengths = np.linalg.norm(start[:, :number], axis=0)
        vectors /= np.sqrt(np.float32(vectors.shape[0]))
        vectors[:, :number] = np.where(
            lengths > 0, start[:, :number] / np.maximum(lengths, 1e-30), vectors[:, :number]
        )
        _orthogonalise(vectors)
    with ThreadPoolExecutor(processors()) as pool:
        products, before = 1, np.inf
        for _ in range(ROUNDS):
            for _ in range(products):
                vectors = times(transposed, times(matrix, vectors, pool), pool)
            norms = _orthogonalise(vectors)
            growth = float(
                np.log(norms).mean() / products
            )  # ½ log λ² in the mean, once they are eigenvectors
            if abs(growth - before) < SETTLED:
                break
            before = growth
            steepness = -np.log(norms.min() / norms.max()) / products
            products = int(np.clip(_DIGITS / max(steepness, 1e-9), 1, PRODUCTS))
        seen = times(matrix, vectors, pool)
    values, turns = _ritz(vectors, seen)
    return values[:wanted], vectors @ turns[:, :wanted]


def _of_gram(matrix: sp.csr_matrix, wanted: int) -> tuple[NDArray[np.float64], Floats]:
    """Return the same from the Gram matrix of the smaller side, in float64."""
    exact = matrix.astype(np.float64)
    rows = np.flatnonzero(np.diff(matrix.indptr))
    columns = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    small = exact[rows][:, columns]
    by_items = columns.size <= rows.size
    gram = (small.T @ small if by_items else small @ small.T).toarray()
    values, found = np.linalg.eigh(gram)
    values, found = values[::-1][:wanted], found[:, ::-1][:, :wanted]
    there = values > _NULL
    values, found = values[there], found[:, there]
    vectors = np.zeros((matrix.shape[1], values.size), dtype=np.float32)
    vectors[columns] = found if by_items else (small.T @ found) / np.sqrt(values)
    return np.minimum(values, 1.0), vectors


def _orthogonalise(vectors: Floats) -> NDArray[np.float64]:
    """Replace (I, B) vectors by an orthogonal basis of them, by shifted Cholesky-QR; return R's diagonal, (B,)."""
    gram = (vectors.T @ vectors).astype(np.float64)
    gram[np.diag_indices_from(gram)] += _SHIFT * gram.diagonal().max()
    factor = np.linalg.cholesky(gram)
    # the transpose is in the order of columns that BLAS wants, so that it is solved in its place
    solved = scipy.linalg.blas.strsm(1.0, factor.astype(np.float32), vectors.T, lower=1, overwrite_b=1)
    if not np.may_share_memory(solved, vectors):
        vectors[:] = solved.T
    return np.asarray(factor.diagonal())


def _ritz(vectors: Floats, seen: Floats) -> tuple[NDArray[np.float64], Floats]:
    """Return the Ritz values in the span of (I, B) vectors, falling, and what turns the vectors into theirs, (B, d).

    Args:
        vectors: nearly orthonormal, but for those that are lost in rounding, which are left out.
        seen: R̃ times these, (U, B).
    """
    lengths, axes = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
    there = lengths > 1e-3 * lengths.max()
    white = axes[:, there] / np.sqrt(lengths[there])
    values, turns = np.linalg.eigh(white.T @ (seen.T @ seen).astype(np.float64) @ white)
    order = np.flatnonzero(values > _NULL)[::-1]
    return np.minimum(values[order], 1.0), (white @ turns[:, order]).astype(np.float32)


def times(matrix: sp.csr_matrix, vectors: Floats, pool: ThreadPoolExecutor) -> Floats:
    """Return matrix @ vectors, (N, M) CSR float32, (M, B) → (N, B); each row is made by one thread."""
    made = np.empty((matrix.shape[0], vectors.shape[1]), dtype=np.float32)
    # ranges of as many entries, more than threads, so that a slow one does not leave the others idle
    bounds = np.searchsorted(matrix.indptr, np.linspace(0, matrix.nnz, 8 * processors() + 1)).astype(np.int64)
    bounds[0], bounds[-1] = 0, matrix.shape[0]
    jobs = [
        pool.submit(_times, matrix.indptr, matrix.indices, matrix.data, vectors, made, start, stop)
        for start, stop in pairwise(bounds)
    ]
    for job in jobs:
        job.result()
    return made


@loop(fastmath=FAST)
def _times(indptr: Ints, indices: Ints, data: Floats, X: Floats, Y: Floats, start: int, stop: int) -> None:
    """Write rows start … stop − 1 of a sparse matrix times X to Y."""
    for u in range(start, stop):
        row, p, last = Y[u], indptr[u], indptr[u + 1]
        row[:] = 0
        while p + 2 <= last:  # two at a time: the row is read and written half as often
            v, w, x, y = X[indices[p]], X[indices[p + 1]], data[p], data[p + 1]
            for k in range(row.shape[0]):
                row[k] += x * v[k] + y * w[k]
            p += 2
        if p < last:
            v, x = X[indices[p]], data[p]
            for k in range(row.shape[0]):
                row[k] += x * v[k]
