"""Keyed hashes of users and items, which decide who and what is held out.

A key is a number of 64 bits that depends on the seed and the ids alone: not on the order of rows, on other users or
items, on the machine or on a library's generator. Whoever has the smallest keys is held out, so that with one user
more the held-out users of yesterday are, but for one or two, those of today.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ids import IdMap

_CHUNK: Final = 65_536  # ids whose digests are in memory at a time

# the finaliser of SplitMix64 (Steele, Lea and Flood 2014)
_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True, eq=False)
class UserKeys:
    """Three independent keys of each user, uint64 (U,).

    Attributes:
        test: order in which users are taken to measure on.
        validation: order in which users are taken to choose on.
        items: combined with the keys of items by `pair_keys`.
    """

    test: NDArray[np.uint64]
    validation: NDArray[np.uint64]
    items: NDArray[np.uint64]


def user_keys(users: IdMap, seed: int) -> UserKeys:
    """Return the keys of users: the 24 bytes of BLAKE2b of each id, as three little-endian numbers.

    Args:
        users: ids, hashed by their UTF-8 bytes with the personalisation ``recae user``.
        seed: from 0, the salt, as 16 little-endian bytes.
    """
    keys = _digests(users, seed, b"recae user", 3)
    return UserKeys(*(np.ascontiguousarray(column) for column in keys.T))


def item_keys(items: IdMap, seed: int) -> NDArray[np.uint64]:
    """Return one key of each item, uint64 (I,), as `user_keys` with the personalisation ``recae item``."""
    return _digests(items, seed, b"recae item", 1)[:, 0]


def pair_keys(
    matrix: sp.csr_matrix, users: NDArray[np.uint64], items: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the key of each stored entry, uint64 (nnz,): the sum of its user's and its item's, mixed by SplitMix64.

    Args:
        matrix: (B, I).
        users: `UserKeys.items` of the rows, (B,).
        items: `item_keys` of the columns, (I,).
    """
    keys = np.repeat(users, np.diff(matrix.indptr))
    keys += items[matrix.indices]
    return mixed(keys)


def mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix sums of keys (n,) by the finaliser of SplitMix64, in place, and return them."""
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        keys ^= keys >> shift
        keys *= factor
    keys ^= keys >> _SHIFTS[-1]
    return keys


def smallest(rows: NDArray[np.int64], keys: NDArray[np.uint64], n: int | None = None) -> NDArray[np.int64]:
    """Return the n of the rows whose keys are smallest, or all, in the order of their keys.

    Args:
        rows: (m,), rising.
        keys: of all users, (U,).
        n: at most so many; None: all.
    """
    return rows[np.argsort(keys[rows], kind="stable")[:n]]


def _digests(ids: IdMap, seed: int, what: bytes, n: int) -> NDArray[np.uint64]:
    """Return BLAKE2b of each id as n numbers, (ids, n)."""
    start_state = blake2b(
        digest_size=8 * n, salt=seed.to_bytes(16, "little"), person=what, usedforsecurity=False
    )
    data, offsets = ids.to_arrays()
    keys = np.empty((len(ids), n), dtype=np.uint64)
    for start in range(0, len(ids), _CHUNK):
        ends = offsets[start : start + _CHUNK + 1]
        text = data[ends[0] : ends[-1]].tobytes()
        found = []
        for begin, end in pairwise((ends - ends[0]).tolist()):
            digest = start_state.copy()  # twice as fast as a new one
            digest.update(text[begin:end])
            found.append(digest.digest())
        keys[start : start + _CHUNK] = np.frombuffer(b"".join(found), dtype="<u8").reshape(-1, n)
    return keys
