"""`Interactions`: who bought what, as an immutable CSR pattern with both id maps, times, counts and names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.filters import Filters
from recae.ids import IdMap

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""The time of an interaction whose time is not known."""

_CHECKED: Final = 1 << 22  # entries looked at together


@dataclass(frozen=True, eq=False)
class Interactions:
    """The purchases of a shop: one entry for each (user, item) pair that occurs.

    Every array is read-only; the ones passed in are not copied and should not be changed afterwards.

    Attributes:
        matrix: pattern of shape (users, items): float32 ones, sorted column numbers, no duplicates.
        users: ids of the rows.
        items: ids of the columns.
        times: int64 of shape (n_interactions,), aligned with ``matrix.indices``: the last purchase of the
            pair in seconds since 1970-01-01 UTC, `NO_TIME` where unknown; None where the source has no times.
        counts: int32 of shape (n_interactions,): how many purchases the pair stands for, 1 at least.
        item_names: text of shape (items,), null where unknown; None where the source has no names.
        filters: those that were applied while the purchases were read, kept so that a model can tell; None without.
            No part of the fingerprint, which is that of what they left.
        quantities: float32 of shape (n_interactions,): how much of the item the user bought in all, above 0; None where
            that was not asked for.

    Raises:
        DataError: the parts do not fit together.
    """

    matrix: sp.csr_matrix[Any]
    users: IdMap
    items: IdMap
    times: NDArray[np.int64] | None
    counts: NDArray[np.int32]
    item_names: pa.LargeStringArray | None = None
    filters: Filters | None = None
    quantities: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        matrix = self.matrix
        if not isinstance(matrix, sp.csr_matrix):
            raise DataError(f"interactions need a scipy.sparse.csr_matrix, not {type(matrix).__name__}")
        if matrix.shape != (len(self.users), len(self.items)):
            raise DataError(
                f"the matrix has {matrix.shape[0]} rows and {matrix.shape[1]} columns, "
                f"but there are {len(self.users)} user ids and {len(self.items)} item ids"
            )
        _check_pattern(matrix)
        if self.times is not None:
            _check_aligned("times", self.times, np.int64, matrix.nnz)
        _check_aligned("counts", self.counts, np.int32, matrix.nnz)
        if matrix.nnz and int(self.counts.min()) < 1:
            raise DataError(f"counts must be at least 1, but the smallest is {int(self.counts.min())}")
        if self.item_names is not None and len(self.item_names) != len(self.items):
            raise DataError(f"there are {len(self.item_names)} item names for {len(self.items)} items")
        if self.quantities is not None:
            _check_aligned("quantities", self.quantities, np.float32, matrix.nnz)
            if not (self.quantities > 0).all() or not np.isfinite(self.quantities).all():
                raise DataError(
                    "quantities must be finite numbers above 0; leave the purchases of others out"
                )
            object.__setattr__(self, "quantities", _read_only(self.quantities))
        # Views are frozen, not the caller's arrays.
        arrays = (_read_only(matrix.data), _read_only(matrix.indices), _read_only(matrix.indptr))
        frozen = sp.csr_matrix(arrays, shape=matrix.shape, copy=False)
        frozen.has_canonical_format = True
        object.__setattr__(self, "matrix", frozen)
        object.__setattr__(self, "counts", _read_only(self.counts))
        if self.times is not None:
            object.__setattr__(self, "times", _read_only(self.times))

    @property
    def n_users(self) -> int:
        """Number of users, the rows."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items, the columns."""
        return len(self.items)

    @property
    def n_interactions(self) -> int:
        """Number of (user, item) pairs."""
        return int(self.matrix.nnz)

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over pattern, ids, counts, times and quantities; the same on every machine."""
        digest = hashlib.sha256(b"recae interactions 1")
        parts: list[tuple[NDArray[Any], str]] = [(self.matrix.indptr, "<i8"), (self.matrix.indices, "<i8")]
        for ids in (self.users, self.items):
            data, offsets = ids.to_arrays()
            parts += [(data, "u1"), (offsets, "<i8")]
        parts.append((self.counts, "<i8"))
        if self.times is not None:
            parts.append((self.times, "<i8"))
        if self.quantities is not None:
            parts.append((self.quantities, "<f4"))
        for array, kind in parts:
            # The length first, so that the end of one part cannot pass for the beginning of the next.
            digest.update(array.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype=kind).data)
        return digest.hexdigest()

    def users_subset(self, rows: NDArray[np.integer[Any]]) -> Interactions:
        """Return the interactions of some users, in the order of ``rows``; all items stay.

        Args:
            rows: distinct row numbers, shape (n,).

        Raises:
            DataError: a row occurs twice.
            IndexError: a row is outside 0 .. n_users - 1.
        """
        rows = np.asarray(rows, dtype=np.int64)
        users = IdMap(self.users.ids(rows))
        indptr = self.matrix.indptr.astype(np.int64)
        lengths = indptr[rows + 1] - indptr[rows]
        ends = np.cumsum(lengths)
        entries = np.arange(int(lengths.sum())) + np.repeat(indptr[rows] - (ends - lengths), lengths)
        matrix = sp.csr_matrix(
            (
                np.ones(entries.size, dtype=np.float32),
                self.matrix.indices[entries],
                np.concatenate([[0], ends]).astype(self.matrix.indptr.dtype),
            ),
            shape=(rows.size, self.n_items),
        )
        times = None if self.times is None else self.times[entries]
        quantities = None if self.quantities is None else self.quantities[entries]
        return Interactions(
            matrix,
            users,
            self.items,
            times,
            self.counts[entries],
            self.item_names,
            self.filters,
            quantities,
        )

    def subset(self, users: NDArray[np.integer[Any]], items: NDArray[np.integer[Any]]) -> Interactions:
        """Return the interactions of some users with some items, both in their old order; others are no longer known.

        Args:
            users, items: row and column numbers, rising, each of shape (n,).
        """
        column = np.full(self.n_items, -1, dtype=self.matrix.indices.dtype)
        column[items] = np.arange(len(items))
        chosen = np.zeros(self.n_users, dtype=np.bool_)
        chosen[users] = True
        columns = column[self.matrix.indices]
        kept = (columns >= 0) & np.repeat(chosen, np.diff(self.matrix.indptr))
        ends = np.append(0, np.cumsum(kept))[self.matrix.indptr]  # how many are kept before each row
        lengths = np.diff(ends)[users]
        matrix: sp.csr_matrix[Any] = sp.csr_matrix(
            (
                np.ones(int(ends[-1]), dtype=np.float32),
                columns[kept],
                np.append(0, np.cumsum(lengths)).astype(self.matrix.indptr.dtype),
            ),
            shape=(len(users), len(items)),
        )
        return replace(
            self,
            matrix=matrix,
            users=IdMap(self.users.ids(users)),
            items=IdMap(self.items.ids(items)),
            times=None if self.times is None else self.times[kept],
            counts=self.counts[kept],
            item_names=None if self.item_names is None else self.item_names.take(pa.array(items)),
            quantities=None if self.quantities is None else self.quantities[kept],
        )


def _check_pattern(matrix: sp.csr_matrix[Any]) -> None:
    """Raise DataError unless the matrix is a canonical pattern of float32 ones."""
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise DataError(f"the interaction matrix is not a valid CSR matrix: {error}") from error
    pieces = (matrix.data[start : start + _CHECKED] for start in range(0, matrix.nnz, _CHECKED))
    if matrix.data.dtype != np.float32 or not all((piece == 1).all() for piece in pieces):
        raise DataError("the interaction matrix must hold float32 ones and nothing else")
    for start in range(0, matrix.nnz, _CHECKED):  # a piece at a time, to need next to no memory
        stop = min(start + _CHECKED, matrix.nnz)
        rises = matrix.indices[start + 1 : stop + 1] > matrix.indices[start : min(stop, matrix.nnz - 1)]
        first, last = np.searchsorted(matrix.indptr, [start + 1, stop], side="left")
        new_rows = matrix.indptr[first : last + 1]
        rises[new_rows[(new_rows > start) & (new_rows <= start + rises.size)] - start - 1] = True
        if not rises.all():
            raise DataError("the column numbers of the interaction matrix must rise within each row")


def _check_aligned(name: str, array: NDArray[Any], kind: type[np.generic], size: int) -> None:
    if array.dtype != np.dtype(kind) or array.shape != (size,):
        raise DataError(
            f"{name} must be {np.dtype(kind)} of shape ({size},), one for each interaction, "
            f"not {array.dtype} of shape {array.shape}"
        )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
