"""Strong generalisation as Liang et al. 2018 drew it: the same users and the same items held out, draw for draw."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from published_data import Pairs

from recae.errors import DataError

SEED = 98765
SHARE = 0.2  # of the items of a user to test
ENOUGH = 5  # items that a user to test must have for some to be held out

Pair = tuple[sp.csr_matrix, sp.csr_matrix]


@dataclass(frozen=True, eq=False)
class Split:
    """What is learned from, csr (U, I); histories and what is held out of them of users to choose on and to test.

    counts  users, items and interactions that are left when the rare ones are dropped
    """

    train: sp.csr_matrix
    validation: Pair
    test: Pair
    counts: tuple[int, int, int]


def strong_split(pairs: Pairs, held_out: int, at_least: tuple[int, int]) -> Split:
    """The split of https://github.com/dawenl/vae_cf, whose generator is numpy's legacy one with seed 98765.

    First items of too few users are dropped, then users of too few items (`at_least` of items, of users). The users,
    in the order of their ids, are shuffled; the last `held_out` are tested, as many before them are to choose on, and
    the others are learned from. Only items of those are kept. Of each user held out with five items or more a fifth
    (rounded down) is drawn from the items in the order of the file, to be found from the others; one with fewer is
    left out.

    Raises DataError where there are not enough users.
    """
    kept = np.bincount(pairs.items)[pairs.items] >= at_least[1]
    users, items = pairs.users[kept], pairs.items[kept]
    kept = np.bincount(users)[users] >= at_least[0]
    users, items = users[kept], items[kept]
    present, users = np.unique(users, return_inverse=True)
    if present.size <= 2 * held_out:
        raise DataError(
            f"{held_out:,} users to test and as many to choose on leave nobody to learn from: of {at_least[0]} items "
            f"or more there are {present.size:,} users; is this the whole of the published data?"
        )
    counts = present.size, np.unique(items).size, users.size
    # RandomState's stream is frozen, which is why the draws of 2018 can be made again
    order = np.random.RandomState(SEED).permutation(present.size)
    role = np.zeros(present.size, dtype=np.int8)  # 0: learn, 1: choose on, 2: test
    role[order[-2 * held_out : -held_out]] = 1
    role[order[-held_out:]] = 2
    known, learned = np.unique(items[role[users] == 0], return_inverse=True)
    column = np.full(int(items.max()) + 1, -1)
    column[known] = np.arange(known.size)
    train = _csr(np.unique(users[role[users] == 0], return_inverse=True)[1], learned, known.size)
    parts = []
    for which in (1, 2):
        mine = (role[users] == which) & (column[items] >= 0)
        parts.append(_parted(users[mine], column[items[mine]], known.size))
    return Split(train, parts[0], parts[1], counts)


def _parted(users: NDArray[np.int64], items: NDArray[np.int64], n_items: int) -> Pair:
    """Histories and what is held out of them, a row a user with something held out."""
    rng = np.random.RandomState(SEED)
    by_user = np.argsort(users, kind="stable")  # within a user, as in the file
    users, items = users[by_user], items[by_user]
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    sizes = np.diff(starts, append=users.size)
    held = np.zeros(users.size, dtype=np.bool_)
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        if size >= ENOUGH:
            held[start + rng.choice(size, size=int(SHARE * size), replace=False)] = True
    tested = np.repeat(sizes >= ENOUGH, sizes)
    rows = np.repeat(np.cumsum(sizes >= ENOUGH) - 1, sizes)
    n_users = int((sizes >= ENOUGH).sum())
    histories, found = (
        _csr(rows[chosen], items[chosen], n_items, n_users) for chosen in (tested & ~held, tested & held)
    )
    return histories, found


def _csr(
    rows: NDArray[np.int64], columns: NDArray[np.int64], n_items: int, n_users: int | None = None
) -> sp.csr_matrix:
    shape = (int(rows.max(initial=-1)) + 1 if n_users is None else n_users, n_items)
    matrix = sp.csr_matrix((np.ones(rows.size, dtype=np.float32), (rows, columns)), shape=shape)
    matrix.sort_indices()
    return matrix
