"""The purchases of one process's items: what it needs of the histories when several train one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Ints
from recae.loops import loop
from recae.training.exact.group import Group

Numbers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Shard:
    """The purchases of the items of one process, by user.

    Attributes:
        indptr: (U + 1,) where each user's purchases begin.
        items: (n,) the items, by their number among the process's own.
        places: (n,) where in the user's whole history each stands; empty where the shard is everything.
    """

    indptr: Numbers
    items: Numbers
    places: Numbers


@dataclass(frozen=True, eq=False)
class Outline:
    """What a process is told of the histories of all users and items: how long they are.

    Attributes:
        indptr: (U + 1,) where each user's history begins.
        shape: (U, I).
    """

    indptr: Numbers
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        """Number of purchases."""
        return int(self.indptr[-1])


def whole(matrix: sp.csr_matrix) -> Shard:
    """Return all purchases of the CSR pattern `matrix` (U, I), not copied: the shard of a process by itself."""
    return Shard(matrix.indptr, matrix.indices, np.empty(0, np.int32))


def cut(matrix: sp.csr_matrix, rank: int, size: int) -> Shard:
    """Return the shard of process `rank` of `size` in the CSR pattern `matrix` (U, I)."""
    if size == 1:
        return whole(matrix)
    return Shard(*_cut(matrix.indptr, matrix.indices, rank, size))


def deal(group: Group, matrix: sp.csr_matrix) -> None:
    """Send, from process 0, each other process the lengths of all histories and its shard; `receive` takes them."""
    for other in range(1, group.size):
        shard = cut(matrix, other, group.size)
        for array in (matrix.indptr.astype(np.int64), shard.indptr, shard.items, shard.places):
            group.hand_over(array, other)


def receive(group: Group, n_items: int) -> tuple[Outline, Shard]:
    """Return what `deal` sends to this process."""
    indptr = group.take_over(np.int64)
    shard = Shard(group.take_over(np.int64), group.take_over(np.int32), group.take_over(np.int32))
    return Outline(indptr, (len(indptr) - 1, n_items)), shard


@loop
def _cut(indptr: Ints, indices: Ints, rank: int, size: int) -> tuple[Ints, Ints, Ints]:
    n_users = len(indptr) - 1
    own = np.zeros(n_users + 1, np.int64)
    for u in range(n_users):
        n = 0
        for p in range(indptr[u], indptr[u + 1]):
            n += indices[p] % size == rank
        own[u + 1] = own[u] + n
    items = np.empty(own[n_users], np.int32)
    places = np.empty(own[n_users], np.int32)
    at = 0
    for u in range(n_users):
        for p in range(indptr[u], indptr[u + 1]):
            if indices[p] % size == rank:
                items[at] = indices[p] // size
                places[at] = p - indptr[u]
                at += 1
    return own, items, places
