"""Scores made comparable: a value against values of similar size or length, by weighted ranks and robust curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

_STRATA = 20  # 5 % each: few strata would hide the trend, light ones would have no tail
_LENGTH_STRATA = (
    10  # 10 % each: an anomaly in twenty users, all of them of one length, is still a minority there
)
_ROUGH = 100  # fewer members than this have no tail and no reliable spread
_FITS = 3
_USUAL = 3.0  # z-values further out do not take part in the second and third fit
_TINY = 1e-18
_MAD = 1.482602218505602  # the median absolute deviation of a standard normal variable is 1 / _MAD


def upper_tails(
    values: NDArray[np.float64], covariate: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How rare a value at least as large is among the others of a similar covariate.

    The entries are parted by the covariate into at most 20 strata of about equal weight. In one stratum the tail of
    an entry with value v and weight w is (A + T/2 + w̄/2) / (W − w + w̄), with A the weight of larger values, T that of
    the other equal ones, W that of all and w̄ the mean weight: the entry counts as one of ordinary weight, so that its
    own weight does not decide how extreme it may be. Between the strata's medians of the covariate the tail is
    interpolated, outside of them it is that of the last stratum.

    Parameters
    ----------
    values, covariate, weights : float64 ndarrays of shape (n,)
        Finite; weights above 0.

    Returns
    -------
    float64 ndarray of shape (n,)
        In (0, 1).
    """
    n = values.size
    if n == 0:
        return np.empty(0)
    stratum = _strata(covariate, weights, _STRATA)
    centres = np.array([np.median(covariate[stratum == s]) for s in range(int(stratum.max()) + 1)])
    at = np.interp(
        covariate, centres, np.arange(centres.size)
    )  # 2.25: a quarter of the way from stratum 2 to 3
    ordinary = float(weights.mean())
    tails = np.zeros(n)
    for s in range(centres.size):
        near = np.flatnonzero(np.abs(at - s) < 1)
        members = np.flatnonzero(stratum == s)
        members = members[np.argsort(values[members], kind="stable")]
        sums = np.concatenate([[0.0], np.cumsum(weights[members])])
        low = sums[np.searchsorted(values[members], values[near], "left")]
        high = sums[np.searchsorted(values[members], values[near], "right")]
        own = np.where(stratum[near] == s, weights[near], 0.0)
        tail = (sums[-1] - high + (high - low - own) / 2 + ordinary / 2) / (sums[-1] - own + ordinary)
        tails[near] += (1 - np.abs(at[near] - s)) * tail
    return np.clip(tails, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).eps)


def standardised(means: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Robust z-values of the means over histories of m items, against histories of similarly many.

    z = (mean − location(m)) / √(τ² + σ²/(m − 1)): users differ, and each item is judged by m − 1 others. The means are
    parted by m into at most 10 strata of about equal size. The location is a line in log m (the median of the slopes
    between the strata's medians, as Theil and Sen fit it) plus the strata's median residuals, interpolated in log m and
    constant beyond the last. τ² and σ², both at least 0, fit the squares of the strata's median absolute deviations by
    non-negative least squares of relative errors. Then all is fitted again to the means within 3 of the location, and
    once more: anomalies crowd at the ends of the lengths, and must not make themselves the rule.

    Parameters
    ----------
    means : float64 ndarray of shape (n,)
    counts : integer ndarray of shape (n,)
        The lengths m, at least 2.

    Returns
    -------
    float64 ndarray of shape (n,)
        0 where the mean is the location, however little the means vary.
    """
    length = np.log(counts)
    z = np.zeros(means.size)
    for _ in range(_FITS if means.size else 0):
        usual = np.abs(z) <= _USUAL
        fit = _fit(means[usual], length[usual])
        z = (means - fit.location(length)) / fit.scale(length)
    return z


@dataclass(frozen=True, eq=False)
class _Fit:
    """Location and scale of means over the log of the length of the history."""

    slope: float
    centres: NDArray[np.float64]  # (strata,), rising
    levels: NDArray[np.float64]  # (strata,) medians of what the slope leaves
    between: float  # τ²
    within: float  # σ²

    def location(self, length: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = self.slope * length + np.interp(length, self.centres, self.levels)
        return found

    def scale(self, length: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.sqrt(self.between + self.within / np.expm1(length) + _TINY)
        return found


def _fit(means: NDArray[np.float64], length: NDArray[np.float64]) -> _Fit:
    from scipy.optimize import nnls

    stratum = _strata(length, np.ones(length.size), _LENGTH_STRATA)
    groups = [np.flatnonzero(stratum == s) for s in range(int(stratum.max()) + 1)]
    centres = np.array([np.median(length[g]) for g in groups])
    medians = np.array([np.median(means[g]) for g in groups])
    first, second = np.triu_indices(centres.size, 1)
    slopes = (medians[second] - medians[first]) / (centres[second] - centres[first])
    slope = float(np.median(slopes)) if slopes.size else 0.0
    levels = np.array([np.median(means[g] - slope * length[g]) for g in groups])
    residuals = means - slope * length - np.interp(length, centres, levels)
    squares = np.array([(_MAD * np.median(np.abs(residuals[g]))) ** 2 for g in groups])
    # a stratum without spread has no relative error: it counts as one of very little
    weight = 1 / np.maximum(squares, max(1e-4 * float(squares.max()), _TINY))
    inverse = np.array([np.mean(1 / np.expm1(length[g])) for g in groups])
    (between, within), _ = nnls(np.column_stack([weight, weight * inverse]), weight * squares)
    return _Fit(slope, centres, levels, float(between), float(within))


def normal_tails(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability that a standard normal variable is at least z."""
    tails: NDArray[np.float64] = ndtr(-z)
    return tails


def _strata(covariate: NDArray[np.float64], weights: NDArray[np.float64], at_most: int) -> NDArray[np.int64]:
    """Numbers from 0 for groups of similar covariate and about equal weight; equal covariates stay together."""
    _, level = np.unique(covariate, return_inverse=True)
    n_strata = max(1, min(at_most, covariate.size // _ROUGH))
    weight = np.bincount(level, weights)
    middle = np.cumsum(weight) - weight / 2
    of_level = np.minimum((middle / weight.sum() * n_strata).astype(np.int64), n_strata - 1)
    _, numbered = np.unique(of_level, return_inverse=True)  # a heavy level may leave numbers out
    strata: NDArray[np.int64] = numbered[level]
    return strata
