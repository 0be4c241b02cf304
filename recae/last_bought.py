"""The day on which each user bought each item last, and what of a history was bought lately."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.interactions import NO_TIME, SECOND
from recae.sparse import entry_keys, take_entries

NO_DAY: Final = np.iinfo(np.int32).min
"""The day of a purchase whose time is not known."""

_DAY: Final = 86_400 * SECOND


def days_of(times: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return days since 1970-01-01 UTC, int32, of times in microseconds; `NO_DAY` for `NO_TIME`."""
    days = np.clip(times // _DAY, NO_DAY + 1, np.iinfo(np.int32).max)
    return np.where(times == NO_TIME, NO_DAY, days).astype(np.int32)


def placed_days(histories: sp.csr_matrix, days: NDArray[np.int32]) -> sp.csr_matrix:
    """Return days (nnz,) as a matrix of the shape of the histories, in whose arrays their places stand; int64."""
    return sp.csr_matrix((days.astype(np.int64), histories.indices, histories.indptr), shape=histories.shape)


def days_at(histories: sp.csr_matrix, *known: sp.csr_matrix) -> NDArray[np.int32]:
    """Return the last day for each entry of histories (U, I), sorted, (nnz,); `NO_DAY` where none is known.

    Args:
        histories: csr (U, I).
        known: days by `placed_days`, of the same shape; entries that the histories lack are passed over.
    """
    days = np.full(histories.nnz, NO_DAY, dtype=np.int64)
    keys = entry_keys(histories)
    for matrix in known:
        others = entry_keys(matrix)
        places = np.searchsorted(keys, others)
        there = places < keys.size
        there[there] = keys[places[there]] == others[there]
        np.maximum.at(days, places[there], matrix.data[there])
    return days.astype(np.int32)


def recent(histories: sp.csr_matrix, days: sp.csr_matrix, first: int) -> sp.csr_matrix:
    """Return the entries of histories that were bought on a day or after it, or nobody knows when, (B, I).

    Args:
        histories: csr (B, I).
        days: of the same entries, see `placed_days`.
        first: the day, since 1970-01-01 UTC.
    """
    return take_entries(histories, (days.data >= first) | (days.data == NO_DAY))
