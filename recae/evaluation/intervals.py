"""How far a mean over users may be trusted: percentile bootstrap intervals, of one mean and of a paired difference.

The users are drawn anew with replacement, as many as there are, and the mean is taken again; the middle part of many
such means is the interval (Efron 1979; the percentile method). Two models measured on the same users are compared by
the differences user by user, which is far sharper than looking at whether two intervals overlap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recae.errors import DataError
from recae.training.config import check_range

BLOCK_BYTES = 16 * 2**20
"""Of the users drawn at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean and the interval it probably lies in; NaN where it cannot be known."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The mean of a − b, its interval, and the two-sided p-value of "there is no difference"."""

    mean: float
    low: float
    high: float
    p: float


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = 2000) -> Interval:
    """The mean over users with its percentile bootstrap interval.

    values  (n,) numbers, one a user; users with NaN (nothing held out) are left out
    seed    of the draws: the same seed gives the same interval, bit for bit
    level   share of the drawn means inside the interval, between 0 and 1
    draws   number of times that the users are drawn anew

    One user says nothing about the spread: the bounds are NaN. Without any user the mean is NaN, too. Raises DataError
    for values that are not one finite or NaN number a user, ConfigError for a level, seed or number of draws out of
    range.
    """
    known = _users(values)
    known = known[~np.isnan(known)]
    mean, low, high, _ = _summarise(known, seed, level, draws)
    return Interval(mean, low, high)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = 2000
) -> Paired:
    """The mean over users of a − b with its percentile bootstrap interval and p-value.

    a, b    (n,) numbers of the same users in the same order; users with NaN in either are left out

    p = min(1, 2 (1 + min(#{d ≤ 0}, #{d ≥ 0})) / (draws + 1)) over the drawn mean differences d: the largest level at
    which the interval just holds 0, never below what so many draws can tell (Davison and Hinkley 1997, section 4.2).
    With one user or none p is NaN, which is below no threshold. Otherwise as `bootstrap_mean`; DataError when a and b
    have not the same length.
    """
    first, second = _users(a), _users(b)
    if first.shape != second.shape:
        raise DataError(
            f"a paired difference needs the same users twice, but there are {first.size} and {second.size} values; "
            "measure both models on the same users"
        )
    differences = first - second
    return Paired(*_summarise(differences[~np.isnan(differences)], seed, level, draws))


def _summarise(
    values: NDArray[np.float64], seed: int, level: float, draws: int
) -> tuple[float, float, float, float]:
    """Mean, bounds and p-value of (n,) numbers without NaN."""
    check_range("level", level, 0, 1, open_low=True, open_high=True)
    check_range("draws", draws, 1, 10_000_000, whole=True)
    check_range("seed", seed, 0, 2**63 - 1, whole=True)
    if not values.size:
        return (float("nan"),) * 4
    first = values[0]  # means are taken of what differs from it: the mean of a constant is then that constant
    mean = float(first + (values - first).mean())
    if values.size == 1:
        return mean, float("nan"), float("nan"), float("nan")
    means = first + _drawn_means(values - first, np.random.default_rng(seed), draws)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    fewer = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return mean, float(low), float(high), min(1.0, 2 * (1 + int(fewer)) / (draws + 1))


def _drawn_means(values: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Means (draws,) of the values drawn with replacement, some draws at a time."""
    means = np.empty(draws)
    step = max(1, BLOCK_BYTES // (16 * values.size))  # a number and a place for each
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        chosen = rng.integers(0, values.size, size=(stop - start, values.size))
        means[start:stop] = values[chosen].mean(axis=1)
    return means


def _users(values: ArrayLike) -> NDArray[np.float64]:
    """The values as float64 (n,)."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"an interval is of one number a user, but got something else ({error})") from error
    if array.ndim != 1:
        raise DataError(f"an interval is of one number a user, but got an array of shape {array.shape}")
    if np.isinf(array).any():
        raise DataError("an interval is of finite numbers, but one is infinite; find out which user's it is")
    return array
