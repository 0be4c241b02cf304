"""How many users are held out, and who."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recae.errors import DataError
from recae.evaluation.tasks import ProtocolOptions

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
