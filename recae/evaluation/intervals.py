"""Confidence intervals of means over users: percentile bootstrap, of one mean and of a paired difference.

The users are drawn with replacement, as many as there are, and the mean is computed again; the middle part of many
such means is the interval (Efron 1979; the percentile method). Two models measured on the same users are compared by
the differences user by user, which is far more sensitive than looking at whether two intervals overlap.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recae.errors import DataError
from recae.settings import check_range

DRAWS = 2000
"""Times that the users are drawn for an interval."""

BLOCK_BYTES = 16 * 2**20
"""Of the users drawn at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean and its interval; NaN where it cannot be known."""

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


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = DRAWS) -> Interval:
    """Return the mean over users with its percentile bootstrap interval.

    One user says nothing about the spread: the bounds are NaN. Without any user the mean is NaN as well.

    Args:
        values: (n,), one number a user; users with NaN (nothing held out) are left out.
        seed: of the draws; the same seed gives the same interval, bit for bit.
        level: fraction of the drawn means inside the interval, between 0 and 1.
        draws: number of times that the users are drawn.

    Raises:
        DataError: the values are not one finite number or NaN a user.
        ConfigError: a level, seed or number of draws is out of range.
    """
    known = _users(values)
    known = known[~np.isnan(known)]
    mean, low, high, _ = _summarise(known, seed, level, draws)
    return Interval(mean, low, high)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, level: float = 0.95, draws: int = DRAWS
) -> Paired:
    """Return the mean over users of a − b with its percentile bootstrap interval and p-value.

    p = min(1, 2 (1 + min(#{d ≤ 0}, #{d ≥ 0})) / (draws + 1)) over the drawn mean differences d: the largest level at
    which the interval still holds 0, never below what so many draws can tell (Davison and Hinkley 1997, section 4.2).
    Nor is it below 2^(1 − n): if there is no difference, n users who all differ in the same direction come about so
    often (Fisher's exact test of signs), which draws of a handful of users do not know. With one user or none p is NaN,
    which is below no threshold. Otherwise as `bootstrap_mean`.

    Args:
        a: (n,), one number a user; users with NaN in either are left out.
        b: of the same users in the same order.
        seed: of the draws.
        level: as for `bootstrap_mean`.
        draws: number of times that the users are drawn.

    Raises:
        DataError: as `bootstrap_mean`, or a and b differ in length.
        ConfigError: as `bootstrap_mean`.
    """
    differences = _differences(a, b)
    return Paired(*_summarise(differences[~np.isnan(differences)], seed, level, draws))


def bootstrap_means(
    columns: Iterable[ArrayLike], *, seed: int = 0, level: float = 0.95, draws: int = DRAWS
) -> list[Interval]:
    """Return `bootstrap_mean` of each of many metrics, to rounding.

    Metrics of the same users share the draws, which costs little more than a single metric. Arguments and errors as
    there; every column has one number a user.
    """
    return [
        Interval(*found[:3]) for found in _summarise_all([_users(c) for c in columns], seed, level, draws)
    ]


def paired_differences(
    pairs: Iterable[tuple[ArrayLike, ArrayLike]], *, seed: int = 0, level: float = 0.95, draws: int = DRAWS
) -> list[Paired]:
    """Return `paired_difference` of many pairs (a, b), to rounding; the draws are shared as in `bootstrap_means`."""
    return [Paired(*f) for f in _summarise_all([_differences(a, b) for a, b in pairs], seed, level, draws)]


def draws_for(comparisons: int, users: int) -> int:
    """Return how often users are drawn so that Holm's correction can still find what is there.

    No p-value is below 2 / (draws + 1), and Holm's method multiplies the smallest by the number of comparisons, m: of
    2,000 draws none of 50 comparisons is ever below 0.05. With 1,000 m draws the smallest corrected p-value is below
    0.002. Where that is more than 5·10⁸ drawn users (some ten seconds), there are fewer draws, 200 m at least: then it
    is below 0.01.

    Args:
        comparisons: that are corrected together, m.
        users: that are drawn.
    """
    affordable = 500_000_000 // max(users, 1)
    return max(DRAWS, 200 * comparisons, min(1000 * comparisons, affordable))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p-values for being several, by Holm's step-down method.

    With the m values in ascending order, p_(1) ≤ … ≤ p_(m), the corrected i-th is

        max_{j ≤ i}  min(1, (m − j + 1) p_(j))

    (Holm 1979, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6).
    Calling significant what is below a level then errs anywhere among the m with at most that probability, whatever
    the dependence between the comparisons: they all share the best baseline and the users.

    Args:
        p_values: (m,) numbers from 0 to 1; NaN, where nothing was compared, stays NaN and does not count.

    Returns:
        The corrected values, float64 (m,), in the order given.

    Raises:
        DataError: For anything else.
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = ~np.isnan(p)
    if p.ndim != 1 or (p[known] < 0).any() or (p[known] > 1).any():
        raise DataError(
            f"p-values are numbers from 0 to 1, one for each comparison, but got {p.tolist()}; check how they were "
            "computed"
        )
    corrected = np.full(p.shape, np.nan)
    found = p[known]
    order = np.argsort(found, kind="stable")
    stepped = np.minimum(1, found[order] * np.arange(found.size, 0, -1))
    corrected[np.flatnonzero(known)[order]] = np.maximum.accumulate(stepped)
    return corrected


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return a − b of each user, NaN where either is."""
    first, second = _users(a), _users(b)
    if first.shape != second.shape:
        raise DataError(
            f"a paired difference needs the same users twice, but there are {first.size} and {second.size} values; "
            "measure both models on the same users"
        )
    return first - second


def _summarise(
    values: NDArray[np.float64], seed: int, level: float, draws: int
) -> tuple[float, float, float, float]:
    """Return mean, bounds and p-value of (n,) numbers without NaN."""
    _check(seed, level, draws)
    if not values.size:
        return (float("nan"),) * 4
    first = values[0]  # means are taken of what differs from it: the mean of a constant is then that constant
    mean = float(first + (values - first).mean())
    if values.size == 1:
        return mean, float("nan"), float("nan"), float("nan")
    means = first + _drawn_means(values - first, np.random.default_rng(seed), draws)
    return mean, *_bounds(means, level, values.size)


def _summarise_all(
    columns: Sequence[NDArray[np.float64]], seed: int, level: float, draws: int
) -> list[tuple[float, float, float, float]]:
    """Return `_summarise` of each column (n,), its NaN left out."""
    _check(seed, level, draws)
    groups: dict[bytes, list[int]] = {}
    for place, column in enumerate(columns):
        groups.setdefault(np.isnan(column).tobytes(), []).append(place)
    found: dict[int, tuple[float, float, float, float]] = {}
    for places in groups.values():
        values = np.stack([columns[place][~np.isnan(columns[place])] for place in places], axis=1)
        if len(values) < 2:
            found |= {n: _summarise(v, seed, level, draws) for n, v in zip(places, values.T, strict=True)}
            continue
        first = values[0]
        means = first + (values - first).mean(axis=0)
        drawn = first + _drawn_column_means(values - first, np.random.default_rng(seed), draws)
        found |= {
            n: (float(means[c]), *_bounds(drawn[:, c], level, len(values))) for c, n in enumerate(places)
        }
    return [found[place] for place in range(len(columns))]


def _check(seed: int, level: float, draws: int) -> None:
    check_range("level", level, 0, 1, open_low=True, open_high=True)
    check_range("draws", draws, 1, 10_000_000, whole=True)
    check_range("seed", seed, 0, 2**63 - 1, whole=True)


def _bounds(means: NDArray[np.float64], level: float, n: int) -> tuple[float, float, float]:
    """Return low, high and p-value of drawn means (draws,) of n users."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    fewer = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = max(2 * (1 + int(fewer)) / (means.size + 1), 2.0 ** (1 - n))
    return float(low), float(high), min(1.0, p)


def _drawn_means(values: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Return means (draws,) of the values drawn with replacement, some draws at a time."""
    means = np.empty(draws)
    step = max(1, BLOCK_BYTES // (16 * values.size))  # a number and a place for each
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        chosen = rng.integers(0, values.size, size=(stop - start, values.size))
        means[start:stop] = values[chosen].mean(axis=1)
    return means


def _drawn_column_means(
    values: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """Return the means (draws, m) of every column of (n, m) values with the same draws: counts times values."""
    n, m = values.shape
    means = np.empty((draws, m))
    step = max(1, BLOCK_BYTES // (16 * n))
    for start in range(0, draws, step):
        stop = min(start + step, draws)
        chosen = rng.integers(0, n, size=(stop - start, n))
        counts = np.stack([np.bincount(row, minlength=n) for row in chosen]).astype(np.float64)
        means[start:stop] = counts @ values / n
    return means


def _users(values: ArrayLike) -> NDArray[np.float64]:
    """Return the values as float64 (n,)."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"an interval is of one number a user, but got something else ({error})") from error
    if array.ndim != 1:
        raise DataError(f"an interval is of one number a user, but got an array of shape {array.shape}")
    if np.isinf(array).any():
        raise DataError(
            "an interval needs finite numbers, but one is infinite; check the values of the users"
        )
    return array
