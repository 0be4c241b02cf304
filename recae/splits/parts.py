"""Splits of purchases in two parts: by items, by time, by baskets.

The two parts of a split are disjoint and add up to its input, which is not modified. Randomness comes only from keys
or from a generator that the caller passes.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.sparse import entry_rows, row_lengths, take_entries

HELD_OUT_FRACTION = 0.1
"""Default fraction of the users that are test users, and of those that are validation users."""

HELD_OUT_AT_MOST = 10_000
"""Most users that a fraction holds out; beyond them an interval gains little."""

HELD_OUT_ITEMS = 0.2
"""Default fraction of a held-out user's items that is to be found from the rest."""


def number_held_out(n_users: int, n_divisible: int) -> int:
    """Return how many validation users a training holds out, and as many test users.

    `HELD_OUT_FRACTION` of the users, rounded, from one to `HELD_OUT_AT_MOST`. Only the `n_divisible` users with two
    items or more can be held out, a third of them at most, and so nobody where there are fewer than three.
    """
    return fraction_of_users(HELD_OUT_FRACTION, n_users, n_divisible // 3)


def fraction_of_users(fraction: float, n_users: int, at_most: int) -> int:
    """Return the number that `fraction` of the users is: rounded, from one to `HELD_OUT_AT_MOST` and `at_most`."""
    return min(max(1, round(fraction * n_users)), HELD_OUT_AT_MOST, at_most)


def fold_in_split(
    histories: sp.csr_matrix, fraction_held_out: float = HELD_OUT_ITEMS, *, rng: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Split each user's items at random into a history to fold in and held-out items.

    As `hold_out_items`, with random numbers of `rng` as keys.
    """
    return hold_out_items(histories, rng.random(histories.nnz), fraction_held_out)


def hold_out_items(
    histories: sp.csr_matrix, keys: NDArray[np.generic], fraction_held_out: float = HELD_OUT_ITEMS
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Split each user's items into a history to fold in and the held-out items, those with the smallest keys.

    A user with n ≥ 2 items has `fraction_held_out` of n, rounded, held out, at least 1 and at most n - 1. A user with
    fewer has everything in the history and nothing held out.

    Args:
        histories: csr_matrix (B, I) without duplicate entries.
        keys: (nnz,), order the entries of each row.
        fraction_held_out: between 0 and 1.

    Returns:
        History and held-out items, csr_matrix (B, I) each: disjoint, values and dtype as in `histories`, sorted
        indices.

    Raises:
        ConfigError: `fraction_held_out` is not between 0 and 1.
    """
    _check_fraction(fraction_held_out, "each user's items")
    sizes = row_lengths(histories)
    # the upper bound wins where it is below the lower one: nothing is held out of a single item
    n_held = np.clip(np.rint(fraction_held_out * sizes), 1, np.maximum(sizes - 1, 0)).astype(np.int64)
    users = entry_rows(histories)
    ordered = np.lexsort((keys, users))  # each user's entries by their keys
    place = np.arange(users.size) - np.repeat(histories.indptr[:-1].astype(np.int64), sizes)
    held = np.zeros(users.size, dtype=np.bool_)
    held[ordered] = place < n_held[users]
    return take_entries(histories, ~held), take_entries(histories, held)


def leave_last_out(interactions: Interactions) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hold out the item that each user bought last; the others are the history.

    The time of a pair is its last purchase. Of several items at the same last moment, the one with the highest number
    is held out. Users with fewer than two items, or without a single known time, have everything in the history.

    Returns:
        History and held-out items, csr_matrix (n_users, n_items) each.

    Raises:
        DataError: the interactions carry no times.
    """
    held = last_bought(interactions.matrix, _times(interactions))
    return take_entries(interactions.matrix, ~held), take_entries(interactions.matrix, held)


def last_bought(matrix: sp.csr_matrix, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the entry that each user bought last, as `leave_last_out` holds it out; bool (nnz,).

    Args:
        matrix: csr_matrix (B, I).
        times: int64 (nnz,), the last purchase of each entry in microseconds, `NO_TIME` where unknown.
    """
    users = entry_rows(matrix)
    by_time = np.lexsort((matrix.indices, times, users))  # by user, then time, then item
    ends = matrix.indptr[1:][np.diff(matrix.indptr) >= 2].astype(np.int64)
    last = by_time[ends - 1]
    held = np.zeros(users.size, dtype=np.bool_)
    held[last[times[last] != NO_TIME]] = True
    return held


def last_basket_out(events: Events, decay: float = 1.0) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hold out each user's last basket, owned items included; the baskets before it are the history.

    The history's values are the personal frequencies of `Events.weights`, without the last basket: the basket before
    it counts most. A user with one basket has it as history and nothing held out.

    Args:
        events: purchases with their baskets.
        decay: in (0, 1], what a purchase counts one basket later. 1: the values are numbers of baskets.

    Returns:
        History, csr_matrix (n_users, n_items) float32 above 0; and held-out items, likewise with ones: the last
        basket, whether the history holds its items or not.

    Raises:
        ConfigError: `decay` is out of range.
    """
    return events.before_last().weights(decay), events.last_baskets()


def split_by_time(interactions: Interactions, cut: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Split the pairs at a moment: those last bought before `cut` are the history, the others are held out.

    Pairs without a known time stay in the history. A pair bought both before and after `cut` is held out, since its
    time is its last purchase; nothing from `cut` on is in the history.

    Args:
        interactions: with times.
        cut: seconds since 1970 UTC.

    Returns:
        History and held-out items, csr_matrix (n_users, n_items) each.

    Raises:
        DataError: the interactions carry no times, or all of them lie on one side of `cut`.
    """
    times = _times(interactions)
    held = times >= cut * SECOND  # NO_TIME is below every cut
    if held.all() or not held.any():
        known = times[times != NO_TIME]
        span = f"from {known.min() // SECOND} to {known.max() // SECOND}" if known.size else "all unknown"
        raise DataError(
            f"splitting at time {cut} leaves one side empty: the times are {span} (seconds since 1970); "
            "choose a cut inside"
        )
    return take_entries(interactions.matrix, ~held), take_entries(interactions.matrix, held)


def _check_fraction(fraction: float, what: str) -> None:
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction of {what} to hold out must lie between 0 and 1, but is {fraction}")


def _times(interactions: Interactions) -> NDArray[np.int64]:
    if interactions.times is None:
        raise DataError(
            "a split by time needs the time of each purchase, but there is none; name a time column"
        )
    return interactions.times
