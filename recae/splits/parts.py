"""Splits of purchases in two parts: by items, by time, by baskets.

The two parts of a split are disjoint and add up to its input, which is not modified. Randomness comes only from keys
or from a generator that the caller passes.
"""

from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.sparse import entry_rows, row_lengths, take_entries
from recae.splits.keys import item_keys, mixed, pair_keys, user_keys

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


TIES: Final = ("random", "moment")
"""What is held out where a user bought several items at the last moment: one of them at random, or all of them."""


def leave_last_out(
    interactions: Interactions, seed: int = 0, ties: str = "random"
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Hold out the item that each user bought last; the others are the history.

    The time of a pair is its last purchase. Users with fewer than two items, or without a single known time, have
    everything in the history.

    Args:
        interactions: with times.
        seed: decides, with the ids, between several items of the same last moment; from 0.
        ties: one of `TIES`. With "moment" everything of the last moment is held out, and users who bought everything
            at one moment have it in the history.

    Returns:
        History and held-out items, csr_matrix (n_users, n_items) each.

    Raises:
        DataError: the interactions carry no times.
    """
    matrix, times = interactions.matrix, _times(interactions)
    held = last_bought(matrix, times, pair_keys_of(interactions, seed), ties)
    return take_entries(matrix, ~held), take_entries(matrix, held)


def pair_keys_of(interactions: Interactions, seed: int) -> NDArray[np.uint64]:
    """Return the key of each (user, item) pair, (nnz,), by the ids and the seed alone."""
    users, items = user_keys(interactions.users, seed).items, item_keys(interactions.items, seed)
    return pair_keys(interactions.matrix, users, items)


def last_bought(
    matrix: sp.csr_matrix, times: NDArray[np.int64], keys: NDArray[np.uint64], ties: str = "random"
) -> NDArray[np.bool_]:
    """Mark what each user bought last, as `leave_last_out` holds it out; bool (nnz,).

    Args:
        matrix: csr_matrix (B, I).
        times: int64 (nnz,), the last purchase of each entry in microseconds, `NO_TIME` where unknown.
        keys: uint64 (nnz,), of several entries of the last moment the smallest is held out ("random").
        ties: one of `TIES`.
    """
    last = at_last_moment(matrix, times)
    users = entry_rows(matrix)
    if ties == "moment":
        earlier = np.bincount(users[~last], minlength=matrix.shape[0])
        return last & (earlier[users] > 0)
    candidates = np.flatnonzero(last)
    ordered = candidates[np.lexsort((keys[candidates], users[candidates]))]
    first = np.ones(ordered.size, dtype=np.bool_)
    first[1:] = users[ordered[1:]] != users[ordered[:-1]]
    held = np.zeros(users.size, dtype=np.bool_)
    held[ordered[first]] = True
    return held


def at_last_moment(matrix: sp.csr_matrix, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark every entry of the last known moment of each user with two items or more; bool (nnz,).

    Args:
        matrix: csr_matrix (B, I).
        times: as for `last_bought`.
    """
    users = entry_rows(matrix)
    latest = np.full(matrix.shape[0], NO_TIME)
    np.maximum.at(latest, users, times)
    enough = row_lengths(matrix) >= 2
    found: NDArray[np.bool_] = enough[users] & (times != NO_TIME) & (times == latest[users])
    return found


def tied_users(matrix: sp.csr_matrix, times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which users bought several items at their last moment, bool (B,); the arguments as `at_last_moment`."""
    at_last = entry_rows(matrix)[at_last_moment(matrix, times)]
    return np.bincount(at_last, minlength=matrix.shape[0]) >= 2


def without_basket_ties(
    events: Events, users: NDArray[np.uint64], items: NDArray[np.uint64]
) -> tuple[Events, NDArray[np.bool_]]:
    """Put baskets of one user that began at the same moment into the order of their keys.

    Their order was that of their numbers or names, which say nothing of time. Baskets of unknown times stay.

    Args:
        events: purchases with their baskets; without times they have no ties.
        users: keys of the users, (n_users,).
        items: keys of the items, (n_items,).

    Returns:
        The purchases, and which users began several baskets at their last moment, bool (n_users,).
    """
    tied = np.zeros(events.n_users, dtype=np.bool_)
    if events.time is None or not events.n_events:
        return events, tied
    starts = np.flatnonzero(
        np.append(True, (events.user[1:] != events.user[:-1]) | (events.basket[1:] != events.basket[:-1]))
    )
    owner, began = events.user[starts], np.minimum.reduceat(events.time, starts)
    same = (owner[1:] == owner[:-1]) & (began[1:] == began[:-1]) & (began[1:] != NO_TIME)
    if not same.any():
        return events, tied
    last = np.append(owner[1:] != owner[:-1], True)
    tied[owner[1:][same & last[1:]]] = True
    # the sum of the keys of its pairs: baskets of the same items alone have the same, and their order is of no account
    keys = mixed(np.add.reduceat(mixed(users[events.user] + items[events.item]), starts))
    run = np.append(0, np.cumsum(~same))  # baskets of one user and moment
    place = np.empty(starts.size, dtype=np.int64)
    place[np.lexsort((keys, run))] = np.arange(starts.size)
    when = np.repeat(place, np.diff(np.append(starts, events.n_events)))
    ordered = Events.of(
        events.user, events.item, when, events.n_users, events.n_items, events.time, events.quantity
    )
    return ordered, tied


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
