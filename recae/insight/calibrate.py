"""Calibration of anomaly scores: ranks of held-out owned items, and values compared with those of similar histories.

`heldout_ranks` ranks each owned item by the scores of the rest of the history, since an item must not explain itself:
every history is split into folds, and each fold's items are ranked by the scores of the history without them. Users are
taken block by block; a block of users times folds is one call of the model. A user costs as many rows of scores as
there are folds, however long the history, and one pass over a row of scores for each owned item.

`upper_tails` and `standardised` compare values with those of similar size or length, by weighted ranks and robust
curves.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import ndtr

from recae.errors import ConfigError
from recae.loops import loop
from recae.machine import processors
from recae.models import Model
from recae.ranking import DEFAULT_BLOCK_BYTES, rows_per_block
from recae.sparse import joined_ranges

_STRATA = 20  # 5 % each: fewer strata would hide the trend, lighter ones would have no tail
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
    """Return how rare a value at least as large is among the others of a similar covariate.

    The entries are grouped by the covariate into at most 20 strata of about equal weight. In one stratum the tail of
    an entry with value v and weight w is (A + T/2 + w̄/2) / (W − w + w̄), with A the weight of larger values, T that of
    the other equal ones, W that of all and w̄ the mean weight: the entry counts as one of ordinary weight, so that its
    own weight does not decide how extreme it may be. Between the strata's medians of the covariate the tail is
    interpolated, outside of them it is that of the last stratum.

    Args:
        values: float64 of shape (n,), finite.
        covariate: likewise.
        weights: likewise, above 0.

    Returns:
        float64 of shape (n,), in (0, 1).
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
    """Return robust z-values of means over histories of m items, compared with histories of similar length.

    z = (mean − location(m)) / √(τ² + σ²/(m − 1)): users differ, and each item is judged by m − 1 others. The means are
    grouped by m into at most 10 strata of about equal size. The location is a line in log m (the median of the slopes
    between the strata's medians, as Theil and Sen fit it) plus the strata's median residuals, interpolated in log m and
    constant beyond the last. τ² and σ², both at least 0, fit the squares of the strata's median absolute deviations by
    non-negative least squares of relative errors. Then all is fitted again to the means within 3 of the location, and
    once more: anomalies crowd at the ends of the lengths, and must not set the norm.

    Args:
        means: float64 of shape (n,).
        counts: integers of shape (n,), the lengths m, at least 2.

    Returns:
        float64 of shape (n,); 0 where the mean is the location, however little the means vary.
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
    """Location and scale of means over the log of the history's length."""

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
    """Return the probability that a standard normal variable is at least z."""
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


# numba carries no types
# mypy: disallow-untyped-decorators=False, disallow-untyped-calls=False


def heldout_ranks(
    model: Model,
    histories: sp.csr_matrix,
    *,
    folds: int = 5,
    seed: int = 0,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    on_users: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Return the fraction of items not owned that the model ranks above each owned item, by the rest of the history.

    A history of m items is split at random into min(folds, m) folds of nearly the same size: with at most `folds`
    items that is leave-one-out. Each fold's items are scored from the history without the fold. With G items that the
    user does not own scored higher, T scored the same and N in all, the fraction is (G + T/2) / N: 0 for the first, 1
    for the last; 1/2 where the user owns every item. The hidden items do not compete with one another, since those of a
    long history would push each other down.

    Args:
        model: scores the items.
        histories: csr_matrix of shape (U, I).
        folds: at least 2.
        seed: decides the split into folds, and nothing else.
        block_bytes: about how many bytes of scores are held at a time.
        on_users: is told after each block how many users are done.

    Returns:
        float64 of shape (nnz,), a fraction for each stored item of `histories`, in their order; NaN for the item of a
        user who owns only one.

    Raises:
        ConfigError: `folds` is less than 2, or `block_bytes` less than 1.
        DataError: the histories do not have the model's items.
    """
    if folds < 2:
        raise ConfigError(
            f"folds must be at least 2, but is {folds}; an item can only be explained by the others"
        )
    n_users, n_items = histories.shape
    lengths = np.diff(histories.indptr)
    fold = _folds(lengths, folds, seed)
    fractions = np.full(histories.indices.size, np.nan)
    judged = np.flatnonzero(lengths >= 2)
    step = max(1, rows_per_block(n_items, block_bytes) // folds)
    with ThreadPoolExecutor(processors()) as pool:
        for start in range(0, judged.size, step):
            users = judged[start : start + step]
            block = histories[users]
            entries = joined_ranges(
                histories.indptr[users], lengths[users]
            )  # (n,) places of the block's items
            fractions[entries] = _block(model, block, fold[entries], folds, pool)
            if on_users is not None:
                on_users(int(users[-1]) + 1)
    if on_users is not None and n_users:
        on_users(n_users)
    return fractions


def _folds(lengths: NDArray[np.integer], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of every stored item: a random order of each history, dealt out in turn."""
    n = int(lengths.sum())
    user = np.repeat(np.arange(lengths.size), lengths)
    order = np.lexsort((np.random.default_rng(seed).random(n), user))
    dealt = np.empty(n, dtype=np.int64)
    dealt[order] = joined_ranges(np.zeros(lengths.size, dtype=np.int64), lengths)
    fold: NDArray[np.int64] = dealt % folds
    return fold


def _block(
    model: Model,
    histories: sp.csr_matrix,  # (B, I)
    fold: NDArray[np.int64],  # (n,)
    folds: int,
    pool: ThreadPoolExecutor,
) -> NDArray[np.float64]:
    """Return the fractions of a block's items, (n,)."""
    n_rows = histories.shape[0] * folds  # row b·folds + f is user b without fold f
    user = np.repeat(np.arange(histories.shape[0]), np.diff(histories.indptr))
    item, owned_ptr = histories.indices.astype(np.int64), histories.indptr.astype(np.int64)
    # every item stays in the rows of all folds but its own
    row = user[:, None] * folds + np.arange(folds)  # (n, folds)
    stays = np.arange(folds) != fold[:, None]
    of_row, of_item = row[stays], np.repeat(item, folds - 1)
    order = np.lexsort((of_item, of_row))
    visible = of_item[order]
    visible_ptr = _pointers(of_row, n_rows)
    hidden_row = user * folds + fold
    by_row = np.argsort(hidden_row, kind="stable")
    hidden_ptr, hidden = _pointers(hidden_row, n_rows), item[by_row]
    remaining = sp.csr_matrix(
        (np.ones(visible.size, np.float32), visible, visible_ptr), shape=(n_rows, histories.shape[1])
    )
    used = np.flatnonzero(np.diff(hidden_ptr))  # a short history leaves folds empty
    scores = np.ascontiguousarray(model.score(remaining if used.size == n_rows else remaining[used]))
    place = np.zeros(n_rows, dtype=np.int64)
    place[used] = np.arange(used.size)
    fractions = np.empty(item.size)
    bounds = np.linspace(0, n_rows, 4 * processors() + 1).astype(np.int64)
    jobs = [
        pool.submit(
            _fractions_above,
            scores,
            place,
            folds,
            owned_ptr,
            item,
            hidden_ptr,
            hidden,
            fractions,
            start,
            stop,
        )
        for start, stop in pairwise(bounds)
    ]
    for job in jobs:
        job.result()
    result = np.empty(item.size)
    result[by_row] = fractions
    return result


def _pointers(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Return where each row's entries begin once they are sorted by row, (n_rows + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_rows))])


@loop
def _fractions_above(
    scores: NDArray[np.float32],  # (rows with something hidden, I)
    place: NDArray[np.int64],  # (R,) row → row of scores
    folds: int,
    owned_ptr: NDArray[np.int64],  # (R / folds + 1,)
    owned: NDArray[np.int64],  # the users' items, which do not compete with one another
    hidden_ptr: NDArray[np.int64],  # (R + 1,)
    hidden: NDArray[np.int64],  # (n,) the items to place
    fractions: NDArray[np.float64],  # (n,) written
    start: int,
    stop: int,
) -> None:
    n_items = scores.shape[1]
    for r in range(start, stop):
        row = scores[place[r]]
        first, last = owned_ptr[r // folds], owned_ptr[r // folds + 1]
        candidates = n_items - (last - first)
        for e in range(hidden_ptr[r], hidden_ptr[r + 1]):
            value = row[hidden[e]]
            above, same = np.int32(0), np.int32(0)
            for i in range(n_items):  # no branch, so LLVM vectorises it
                above += np.int32(row[i] > value)
                same += np.int32(row[i] == value)
            for p in range(first, last):
                above -= np.int32(row[owned[p]] > value)
                same -= np.int32(row[owned[p]] == value)
            fractions[e] = (above + 0.5 * same) / candidates if candidates > 0 else 0.5
