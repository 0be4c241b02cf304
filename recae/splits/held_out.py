"""Held-out users and their held-out items: for one seed the same in training, tuning and every protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Facts, Weighting
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.inputs import EventInputs
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
    without_basket_ties,
)
from recae.splits.tasks import Pair, ProtocolOptions

VALIDATION_FRACTION = 0.1
"""Default fraction of the users, or of the purchases before the cut, that settings are chosen on."""


class Keys:
    """Keys of a shop's users and items for one seed; they decide what is held out."""

    def __init__(self, interactions: Interactions, seed: int) -> None:
        """Hash the ids of users and items with the seed."""
        self.users: UserKeys = user_keys(interactions.users, seed)
        self._items = item_keys(interactions.items, seed)

    def of(self, matrix: sp.csr_matrix, rows: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
        """Return the key of each stored entry, (nnz,).

        Args:
            matrix: (B, I).
            rows: the users that its rows belong to, (B,); None: all users.
        """
        users = self.users.items
        return pair_keys(matrix, users if rows is None else users[rows], self._items)

    def part(self, matrix: sp.csr_matrix, rows: NDArray[np.int64], fraction: float) -> Pair:
        """Split the items of some users (B,) of a matrix (U, I) into histories and held-out items, (B, I) each."""
        histories = sp.csr_matrix(matrix[rows])
        return hold_out_items(histories, self.of(histories, rows), fraction)


def held_out_users(
    eligible: NDArray[np.int64], n_test: int, n_validation: int, keys: UserKeys
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of test users and of validation users among the `eligible` ones; both ascending and disjoint.

    Each of the two has its own order, and test users are taken first. So one new user exchanges at most one user of
    each, and does not turn test users into validation users; larger numbers keep the users of smaller ones.
    """
    test = np.sort(smallest(eligible, keys.test, n_test))
    left = np.setdiff1d(eligible, test, assume_unique=True)
    return test, np.sort(smallest(left, keys.validation, n_validation))


def choose_users(
    eligible: NDArray[np.int64], options: ProtocolOptions, keys: UserKeys, who: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows of test users and of validation users, as many as the options say; both ascending and disjoint.

    With the default options they are the users that `recae train` holds out. A fraction is of all users, at least one
    and at most 10,000, and leaves as many eligible users to learn from as are tested.

    Args:
        eligible: rows of the users that can be held out.
        options: how many of them.
        keys: the order in which they are taken.
        who: who is eligible, for messages.

    Raises:
        DataError: there are not enough eligible users; the message holds the counts.
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
    """Return rows of validation users, ascending; at least `spare` eligible users are left.

    A fraction is of all users, at least one and at most 10,000. Empty where none is asked for or can be spared.

    Raises:
        DataError: more users are asked for than there are.
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
"""Decays tried on the validation users; the decay is what a purchase counts one basket later."""

DECAY = 0.9
"""The decay where there are no validation users to choose it on."""


def choose_decay(
    fit: sp.csr_matrix,
    histories: Callable[[float], sp.csr_matrix],
    held_out: sp.csr_matrix | None,
    decays: Sequence[float] = DECAYS,
) -> float:
    """Return the decay with which personal frequency has the best NDCG@20 on validation users; the first of equal ones.

    Args:
        fit: csr (U, I), what is learned from.
        histories: weighted histories of the validation users, csr (V, I), by decay.
        held_out: csr (V, I); None or an empty matrix gives `DECAY`.
        decays: to choose from.

    Raises:
        ConfigError: there is no decay to try.
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
    """Who is learned from and who is held out, with the held-out users' histories and held-out items.

    Attributes:
        codes: uint8 (users,): `LEARNED`, `VALIDATION` or `TEST`, as a model file holds them.
        validation: histories and held-out items of the validation users, csr (V, I) each, in the order of their rows;
            None where nobody is held out.
        test: of the test users, csr (B, I) each; likewise.
    """

    codes: NDArray[np.uint8]
    validation: Pair | None
    test: Pair | None

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 in hexadecimal over who is held out; a checkpoint is resumed only where it agrees."""
        return hashlib.sha256(self.codes.tobytes()).hexdigest()

    @property
    def learners(self) -> NDArray[np.int64]:
        """Rows of the users who are learned from, rising."""
        return np.flatnonzero(self.codes == LEARNED)


def hold_out(interactions: Interactions, seed: int) -> HeldOut:
    """Hold out 10 % of the users (at most 10,000) for validation, and as many others for the test.

    A fifth of each held-out history is to be found from the rest. Users of a single item cannot be held out and are
    learned from. With fewer than three histories of two items or more, nobody is held out. The users and items are
    those of the protocol "strong" with its default options.
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


def with_inputs(held_out: HeldOut, inputs: EventInputs) -> HeldOut:
    """Return the same with the users' other events beside their histories, without those of held-out purchases.

    Who buys an item has mostly looked at it before: with these events a model would find what it is told.
    """

    def beside(pair: Pair | None, code: int) -> Pair | None:
        if pair is None:
            return None
        own = inputs.rows(np.flatnonzero(held_out.codes == code)).hiding(pair[1])
        return own.beside(pair[0]), pair[1]

    return replace(
        held_out, validation=beside(held_out.validation, VALIDATION), test=beside(held_out.test, TEST)
    )


@dataclass(frozen=True, eq=False)
class HeldOutRepeats(HeldOut):
    """As `HeldOut`, for next baskets: the histories are all baskets but the last, with decay; the last is held out.

    Attributes:
        decay: of the histories' values; those of the recommender are `events.weights(decay)`.
    """

    decay: float


def hold_out_repeats(
    events: Events,
    users: IdMap,
    seed: int,
    decay: float | None = None,
    decays: Sequence[float] = DECAYS,
    items: IdMap | None = None,
) -> HeldOutRepeats:
    """Hold out the last baskets of 10 % of the users (at most 10,000) for validation, and of as many for the test.

    All other users are learned from, with all their baskets. Nothing of a held-out user is learned from: the earlier
    baskets are the history from which the last basket is to be found. Users with one basket are learned from. With
    fewer than three users of two baskets or more, nobody is held out. The users are those of the protocol
    "next-basket" with repeats and its default options, whatever the decay. Of several baskets that began at the last
    moment the ids and the seed decide which is the last.

    Args:
        events: purchases with their baskets.
        users: ids of the users.
        seed: decides, with the ids, who is held out.
        decay: what a purchase counts one basket later; None: the best of `decays`, see `choose_decay`.
        decays: tried where no decay is given.
        items: ids of the items; None: their numbers are taken for their ids.

    Raises:
        ConfigError: the decay is out of range.
    """
    keys = user_keys(users, seed)
    events, _ = without_basket_ties(events, keys.items, _item_keys(events, items, seed))
    eligible = np.flatnonzero(events.baskets >= 2)
    number = number_held_out(events.n_users, eligible.size)
    if not number:
        events.weights(given := DECAY if decay is None else decay)  # which checks it
        return HeldOutRepeats(np.full(events.n_users, LEARNED, np.uint8), None, None, given)
    test, validation = held_out_users(eligible, number, number, keys)
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


def _item_keys(events: Events, items: IdMap | None, seed: int) -> NDArray[np.uint64]:
    return item_keys(IdMap(map(str, range(events.n_items))) if items is None else items, seed)


def _codes(n_users: int, test: NDArray[np.int64], validation: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return what a model file says of each user, (users,)."""
    codes = np.full(n_users, LEARNED, dtype=np.uint8)
    codes[test], codes[validation] = TEST, VALIDATION
    return codes


def confidence_of(
    weighting: Weighting,
    interactions: Interactions,
    learners: NDArray[np.int64],
    tell: Callable[[str], None] | None = None,
) -> NDArray[np.float32] | None:
    """Return the confidence of each purchase of the learners, by their purchases alone, (nnz,); None where all count 1.

    Args:
        weighting: what is asked for.
        interactions: all purchases.
        learners: rows of the users who are learned from.
        tell: is given a sentence on times that are too late to be right, if there are any.

    Raises:
        ColumnError, ConfigError: as `Weighting.confidence`.
    """
    if not weighting and interactions.confidences is None:
        return None
    facts = Facts.of(interactions, learners)
    found = weighting.confidence(facts)
    if tell is not None and (note := weighting.note(facts)):
        tell(note)
    return found
