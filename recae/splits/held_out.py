"""How many users are held out, and who."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Facts, Weighting
from recae.errors import ConfigError, DataError
from recae.interactions import Events, Interactions
from recae.metrics import compute
from recae.models import Frequency
from recae.ranking import rank_histories
from recae.recommender import Recommender
from recae.splits.parts import fold_in_split, last_basket_out, number_held_out
from recae.splits.tasks import ProtocolOptions

AT_MOST = 10_000
"""Most users that a share holds out; beyond them an interval gains little. It seeds the draws, too, as in training."""

VALIDATION_SHARE = 0.1
"""Of the users, or of the purchases before the cut, to choose on where nothing else is asked for."""


def generator(seed: int, *parts: int) -> np.random.Generator:
    """The generator of a draw; without parts, the one with which `recae train` draws its held-out users.

    The parts are numbers from 1: a seed sequence that ends in zeros is the one without them.
    """
    return np.random.default_rng([seed, AT_MOST, *parts])


def draw_test_and_validation(
    n_users: int,
    eligible: NDArray[np.int64],
    options: ProtocolOptions,
    rng: np.random.Generator,
    who: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the users to test and to choose on, of the `eligible` ones; both ascending, no user twice.

    With the default options they are the ones that `recae train` holds out: a share is of all users, at least one,
    at most 10,000, and leaves as many eligible users to learn as are tested. Raises DataError, with the counts, where
    the users do not suffice; `who` says who is eligible.
    """
    test, validation = options.test_users, options.validation_users
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
    order = rng.permutation(eligible)
    return np.sort(order[n_validation : n_validation + n_test]), np.sort(order[:n_validation])


def draw_validation(
    n_users: int, eligible: NDArray[np.int64], options: ProtocolOptions, rng: np.random.Generator, spare: int
) -> NDArray[np.int64]:
    """Rows of the users to choose on, ascending; of the eligible ones at least `spare` are left.

    A share is of `n_users`, at least one and at most 10,000. Empty where none is asked for or can be spared. Raises
    DataError where a number of users is asked for that there is not.
    """
    asked = options.validation_users
    spared = max(eligible.size - spare, 0)
    number = _number(VALIDATION_SHARE if asked is None else asked, n_users, spared)
    if number > spared:
        raise DataError(
            f"{number:,} users to choose on were asked for, but only {spared:,} of {n_users:,} can be held out; "
            "ask for fewer"
        )
    return np.sort(rng.permutation(eligible)[:number])


def _number(asked: int | float, n_users: int, at_most: int) -> int:
    if isinstance(asked, int) or asked == 0:
        return int(asked)
    return min(max(1, round(asked * n_users)), AT_MOST, at_most)


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


HELD_OUT_SHARE = 0.1
HELD_OUT_AT_MOST = 10_000
HELD_OUT_ITEMS = 0.2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Who learns and who is held out: rows of the interactions, and the held-out users' histories in two parts."""

    learners: NDArray[np.int64]
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None
    test: tuple[sp.csr_matrix, sp.csr_matrix] | None


def hold_out(interactions: Interactions, rng: np.random.Generator) -> HeldOut:
    """Holds out 10 % of the users (at most 10,000) to choose on, and as many others to measure on.

    A fifth of each held-out history is to be found from the rest; histories of one item cannot be parted and stay with
    the learners. With fewer than three histories of two items or more, nobody is held out.
    """
    matrix = interactions.matrix
    divisible = np.flatnonzero(np.diff(matrix.indptr) >= 2)
    everybody = np.arange(interactions.n_users)
    number = number_held_out(interactions.n_users, len(divisible), HELD_OUT_SHARE, HELD_OUT_AT_MOST)
    if not number:
        return HeldOut(everybody, None, None)
    chosen = rng.permutation(divisible)[: 2 * number]
    parts = [
        fold_in_split(sp.csr_matrix(matrix[np.sort(users)]), HELD_OUT_ITEMS, rng=rng)
        for users in (chosen[:number], chosen[number:])
    ]
    return HeldOut(np.setdiff1d(everybody, chosen), parts[0], parts[1])


def weights_of(
    weighting: Weighting, interactions: Interactions, learners: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """What each purchase of the learners weighs, by theirs alone, (nnz,); None where all weigh 1. ColumnError as
    `Weighting.weights`.
    """
    return weighting.weights(Facts.of(interactions, learners)) if weighting else None


def learners_of(recommender: Recommender) -> NDArray[np.bool_] | None:
    """Which users `train` let the model learn from, (users,), found again by the seed; None where that is not known."""
    metrics, seed = recommender.metadata.get("metrics"), recommender.model.config().get("seed")
    if recommender.repeats:
        return None  # another way of holding out
    described = recommender.metadata.get("held_out")
    if isinstance(described, Mapping):
        seed = described.get("seed")
    users, histories = recommender.users, recommender.histories
    if users is None or histories is None or not isinstance(metrics, Mapping):
        return None
    if not isinstance(seed, int) or seed < 0:
        return None
    once = np.ones(histories.nnz, dtype=np.int32)
    purchases = Interactions(histories, users, recommender.items, None, once)
    held_out = hold_out(purchases, np.random.default_rng([seed, HELD_OUT_AT_MOST]))
    parts = (held_out.test, held_out.validation)
    found = [None if part is None else part[0].shape[0] for part in parts]
    if found != [metrics.get("n_users"), metrics.get("validation_users")]:
        return None  # another way of holding out
    learners = np.zeros(len(users), dtype=np.bool_)
    learners[held_out.learners] = True
    return learners


@dataclass(frozen=True, eq=False)
class HeldOutRepeats(HeldOut):
    """As `HeldOut`, for next baskets: each pair is all baskets but the last, weighted, and the last.

    decay  with which the histories are weighted; those of the recommender are `events.weights(decay)`
    """

    decay: float


def hold_out_repeats(
    events: Events,
    rng: np.random.Generator,
    decay: float | None = None,
    decays: Sequence[float] = DECAYS,
) -> HeldOutRepeats:
    """Holds out the last basket of 10 % of the users (at most 10,000) to choose on, and of as many to measure on.

    The learners are all other users, with all their baskets. Nothing of the held-out users is learned from, not even
    their earlier baskets: these are the histories from which the last basket is to be found. Users with one basket
    learn. With fewer than three users of two baskets or more, nobody is held out.

    A decay that is not given is the one of `decays` with which personal frequency has the best NDCG@20 on the
    validation users. The same users are held out, whatever the decay. Raises ConfigError for a decay out of range.
    """
    eligible = np.flatnonzero(events.baskets >= 2)
    everybody = np.arange(events.n_users)
    if len(eligible) < 3:
        events.weights(given := DECAY if decay is None else decay)  # which checks it
        return HeldOutRepeats(everybody, None, None, given)
    share = min(max(1, round(HELD_OUT_SHARE * events.n_users)), HELD_OUT_AT_MOST)
    number = min(share, len(eligible) // 3)
    chosen = rng.permutation(eligible)[: 2 * number]
    validation, test = np.sort(chosen[:number]), np.sort(chosen[number:])
    learners = np.setdiff1d(everybody, chosen)
    if decay is None:
        earlier, last = events.before_last(), sp.csr_matrix(events.last_baskets()[validation])
        decay = choose_decay(
            sp.csr_matrix(events.weights()[learners]),
            lambda decay: sp.csr_matrix(earlier.weights(decay)[validation]),
            last,
            decays,
        )
    parts = last_basket_out(events, decay)

    def pair(users: NDArray[np.int64]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        return sp.csr_matrix(parts[0][users]), sp.csr_matrix(parts[1][users])

    return HeldOutRepeats(learners, pair(validation), pair(test), decay)
