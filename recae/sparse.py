"""CSR matrices: their rows and stored entries, whatever the values.

A matrix here is a `scipy.sparse.csr_matrix` (B, I) without duplicate entries; nnz is the number of stored entries, and
an entry's place is its index in `indices` and `data`.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def with_values(matrix: sp.csr_matrix, values: NDArray[Any]) -> sp.csr_matrix:
    """The matrix with other values, (nnz,), for its entries, and the same index arrays."""
    return sp.csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def pattern(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """The matrix with every stored value 1 (float32), and the same index arrays."""
    return with_values(matrix, np.ones(matrix.indices.size, dtype=np.float32))


def row_lengths(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """How many entries each row stores, int64 (B,)."""
    return np.diff(matrix.indptr).astype(np.int64)


def rows_in_use(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """The rows that store an entry, ascending, int64."""
    return np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)


def entry_rows(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """The row of each entry, int64 (nnz,)."""
    return np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))


def entry_keys(matrix: sp.csr_matrix) -> NDArray[np.int64]:
    """A number for each entry that no other entry of a matrix of this shape has, row · I + column, int64 (nnz,)."""
    return entry_rows(matrix) * matrix.shape[1] + matrix.indices


def stored_in(matrix: sp.csr_matrix, other: sp.csr_matrix) -> NDArray[np.bool_]:
    """Which entries of a matrix (B, I) another one (B, I) stores, too, (nnz,)."""
    return np.isin(entry_keys(matrix), entry_keys(other))


def count_before(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of the entries marked in `chosen` (nnz,), how many stand before each row and before the end, int64 (B + 1,).

    It is the `indptr` of the matrix that holds the chosen entries alone.
    """
    before = np.zeros(chosen.size + 1, dtype=np.int64)
    np.cumsum(chosen, out=before[1:])
    return before[matrix.indptr]


def take_entries(matrix: sp.csr_matrix, chosen: NDArray[np.bool_]) -> sp.csr_matrix:
    """The entries marked in `chosen` (nnz,), in a sorted matrix of the same shape with memory of its own."""
    indptr = count_before(matrix, chosen).astype(matrix.indptr.dtype)
    taken = sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)
    taken.sort_indices()
    return taken


def without(matrix: sp.csr_matrix, other: sp.csr_matrix) -> sp.csr_matrix:
    """The entries of a matrix (B, I) that another one (B, I) does not store."""
    return take_entries(matrix, ~stored_in(matrix, other))


def take_columns(matrix: sp.csr_matrix, columns: NDArray[np.int64]) -> sp.csr_matrix:
    """The columns (n,), rising, of a matrix (B, I): (B, n), sorted; the matrix itself where all are taken."""
    taken = matrix if columns.size == matrix.shape[1] else sp.csr_matrix(matrix[:, columns])
    taken.sort_indices()
    return taken


def joined_ranges(starts: NDArray[np.integer[Any]], lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The numbers start, start + 1, … of each range, one range after the other: int64 (sum of the lengths,).

    With the `indptr` and lengths of some rows, these are the places of the rows' entries.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    return np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
