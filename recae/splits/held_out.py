"""Who is held out, and what of them: by training, tuning and every protocol alike, for one seed the same users."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Facts, Weighting
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.interactions import Events, Interactions
from recae.metrics import compute
from recae.models import Frequency
from recae.ranking import rank_histories
from recae.recommender import LEARNED, TEST, VALIDATION
from recae.splits.keys import UserKeys, item_keys, pair_keys, smallest, user_keys
from recae.splits.parts import (
    HELD_OUT_ITEMS,
    fraction_of_users,
    hold_out_items,
    last_basket_out,
    number_held_out,
)
from recae.splits.tasks import Pair, ProtocolOptions

VALIDATION_FRACTION = 0.1
"""Of the users, or of the purchases before the cut, to choose on where nothing else is asked for."""


class Keys:
    """The keys of a shop's users and items for a seed, by which everything here is held out."""

    def __init__(self, interactions: Interactions, seed: int) -> None:
        self.users: UserKeys = user_keys(interactions.users, seed)
        self._items = item_keys(interactions.items, seed)

    def of(self, matrix: sp.csr_matrix, rows: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """The key of each stored entry, (nnz,), of a matrix (B, I) whose rows are these users, (B,); None: all."""
        users = self.users.items
        return pair_keys(matrix, users if rows is None else users[rows], self._items)

    def part(self, matrix: sp.csr_matrix, rows: NDArray[np.int64], fraction: float) -> Pair:
        """The items of some users (B,) of a matrix (U, I), parted into histories and held-out items, (B, I) each."""
        histories = sp.csr_matrix(matrix[rows])
        return hold_out_items(histories, self.of(histories, rows), fraction)


def held_out_users(
    eligible: NDArray[np.int64], n_test: int, n_validation: int, keys: UserKeys
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the users to measure on and to choose on, of the `eligible` ones; both rising, no user twice.

    Each of the two has an order of its own, and the users to measure on come first. So a new user exchanges one user
    of each at most, and does not turn users to measure on into users to choose on; the numbers may grow.
    """
    test = np.sort(smallest(eligible, keys.test, n_test))
    left = np.setdiff1d(eligible, test, assume_unique=True)
    return test, np.sort(smallest(left, keys.validation, n_validation))


def choose_users(
    eligible: NDArray[np.int64], options: ProtocolOptions, keys: UserKeys, who: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the users to test and to choose on, as many as the options ask for; both rising, no user twice.

    With the default options they are the ones that `recae train` holds out: a share is of all users, at least one,
    at most 10,000, and leaves as many eligible users to learn as are tested. Raises DataError, with the counts, where
    the users do not suffice; `who` says who is eligible.
    """
    test, validation, n_users = options.test_users, options.validation_users, keys.test.size
    parts = 2 if validation == 0 else 3  # test, choose, learn
    if eligible.size < parts:
        raise DataError(
            f"holding out needs at least {parts} {who}, but of {n_users:,} users {eligible.size:,} are such; "
            "use more purchases"
        )
    n_test = _number(test, n_users, eligible.size // parts)
    n_validation = n_test if validation is None else _number(validation, n_users, eligible.size // parts)
    if n_test + n_validation > min(eligible.size, n_users - 1):
        raise DataError(
            f"{n_test:,} users to test and {n_validation:,} to choose on were asked for, but of {n_users:,} users "
            f"only {eligible.size:,} are {who}, and one at least has to learn; ask for fewer"
        )
    return held_out_users(eligible, n_test, n_validation, keys)


def choose_validation_users(
    eligible: NDArray[np.int64], options: ProtocolOptions, keys: UserKeys, spare: int
) -> NDArray[np.int64]:
    """Rows of the users to choose on, rising; of the eligible ones at least `spare` are left.

    A share is of all users, at least one and at most 10,000. Empty where none is asked for or can be spared. Raises
    DataError where a number of users is asked for that there is not.
    """
    asked, n_users = options.validation_users, keys.validation.size
    spared = max(eligible.size - spare, 0)
    number = _number(VALIDATION_FRACTION if asked is None else asked, n_users, spared)
    if number > spared:
        raise DataError(
            f"{number:,} users to choose on were asked for, but only {spared:,} of {n_users:,} can be held out; "
            "ask for fewer"
        )
    return np.sort(smallest(eligible, keys.validation, number))


def _number(asked: int | float, n_users: int, at_most: int) -> int:
    return int(asked) if isinstance(asked, int) or asked == 0 else fraction_of_users(asked, n_users, at_most)


DECAYS = (1.0, 0.95, 0.9, 0.8, 0.6)
"""What a purchase weighs one basket later: tried on the validation users."""

DECAY = 0.9
"""The decay where nobody is held out to choose it on."""


def choose_decay(
    fit: sp.csr_matrix,
    histories: Callable[[float], sp.csr_matrix],
    held_out: sp.csr_matrix | None,
    decays: Sequence[float] = DECAYS,
) -> float:
    """The one of `decays` with which personal frequency has the best NDCG@20 on users to choose on; of equals the
    first.

    fit        csr (U, I), what is learned from
    histories  their histories (V, I), weighted with a decay
    held_out   csr (V, I); None, or nothing in it, gives `DECAY`

    Raises ConfigError when there is no decay to try.
    """
    if not decays:
        raise ConfigError("decays are tried to choose one of them, found none: give at least one")
    if held_out is None or not held_out.nnz:
        return DECAY
    model = Frequency.fit(fit)

    def quality(decay: float) -> float:
        found = compute(
            rank_histories(model, histories(decay), 20, exclude_owned=False).items, held_out, ("ndcg",), (20,)
        )
        return float(np.nanmean(found["ndcg@20"]))

    return max(decays, key=quality)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Who learns and who is held out, and the held-out users' histories in two parts.

    codes             uint8 (users,): `LEARNED`, `VALIDATION` or `TEST`, as a model file holds them
    validation, test  histories and held-out items of the users to choose on and to measure on, csr (B, I) each, in
                      the order of their rows; None where nobody is held out
    """

    codes: NDArray[np.uint8]
    validation: Pair | None
    test: Pair | None

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over who is held out; what goes on from a checkpoint must agree on it."""
        return hashlib.sha256(self.codes.tobytes()).hexdigest()

    @property
    def learners(self) -> NDArray[np.int64]:
        """Rows of the users who are learned from, rising."""
        return np.flatnonzero(self.codes == LEARNED)


def hold_out(interactions: Interactions, seed: int) -> HeldOut:
    """Holds out 10 % of the users (at most 10,000) to choose on, and as many others to measure on.

    A fifth of each held-out history is to be found from the rest; histories of one item cannot be parted and stay with
    the learners. With fewer than three histories of two items or more, nobody is held out. These are the users, and
    the items, of the protocol "strong" with its default options.
    """
    matrix = interactions.matrix
    eligible = np.flatnonzero(np.diff(matrix.indptr) >= 2)
    number = number_held_out(interactions.n_users, eligible.size)
    if not number:
        return HeldOut(np.full(interactions.n_users, LEARNED, np.uint8), None, None)
    keys = Keys(interactions, seed)
    test, validation = held_out_users(eligible, number, number, keys.users)
    return HeldOut(
        _codes(interactions.n_users, test, validation),
        keys.part(matrix, validation, HELD_OUT_ITEMS),
        keys.part(matrix, test, HELD_OUT_ITEMS),
    )


@dataclass(frozen=True, eq=False)
class HeldOutRepeats(HeldOut):
    """As `HeldOut`, for next baskets: each pair is all baskets but the last, weighted, and the last.

    decay  with which the histories are weighted; those of the recommender are `events.weights(decay)`
    """

    decay: float


def hold_out_repeats(
    events: Events,
    users: IdMap,
    seed: int,
    decay: float | None = None,
    decays: Sequence[float] = DECAYS,
) -> HeldOutRepeats:
    """Holds out the last basket of 10 % of the users (at most 10,000) to choose on, and of as many to measure on.

    The learners are all other users, with all their baskets. Nothing of the held-out users is learned from, not even
    their earlier baskets: these are the histories from which the last basket is to be found. Users with one basket
    learn. With fewer than three users of two baskets or more, nobody is held out. These are the users of the protocol
    "next-basket" with repeats and its default options.

    A decay that is not given is the one of `decays` with which personal frequency has the best NDCG@20 on the
    validation users. The same users are held out, whatever the decay. Raises ConfigError for a decay out of range.
    """
    eligible = np.flatnonzero(events.baskets >= 2)
    number = number_held_out(events.n_users, eligible.size)
    if not number:
        events.weights(given := DECAY if decay is None else decay)  # which checks it
        return HeldOutRepeats(np.full(events.n_users, LEARNED, np.uint8), None, None, given)
    test, validation = held_out_users(eligible, number, number, user_keys(users, seed))
    codes = _codes(events.n_users, test, validation)
    if decay is None:
        earlier, last = events.before_last(), sp.csr_matrix(events.last_baskets()[validation])
        decay = choose_decay(
            sp.csr_matrix(events.weights()[codes == LEARNED]),
            lambda decay: sp.csr_matrix(earlier.weights(decay)[validation]),
            last,
            decays,
        )
    parts = last_basket_out(events, decay)

    def pair(users: NDArray[np.int64]) -> Pair:
        return sp.csr_matrix(parts[0][users]), sp.csr_matrix(parts[1][users])

    return HeldOutRepeats(codes, pair(validation), pair(test), decay)


def _codes(n_users: int, test: NDArray[np.int64], validation: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What a model file says of each user, (users,)."""
    codes = np.full(n_users, LEARNED, dtype=np.uint8)
    codes[test], codes[validation] = TEST, VALIDATION
    return codes


def weights_of(
    weighting: Weighting, interactions: Interactions, learners: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """What each purchase of the learners weighs, by theirs alone, (nnz,); None where all weigh 1. ColumnError as
    `Weighting.weights`.
    """
    return weighting.weights(Facts.of(interactions, learners)) if weighting else None
