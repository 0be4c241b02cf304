"""Weights of a blend: which parts are worth having, and how much each counts, by NDCG@20 on validation users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recae.evaluation.intervals import paired_difference
from recae.models import Model
from recae.ranking import rows_per_block, top_k

CANDIDATES: Final = 100
"""Number of best items of each part among which the weights are chosen.

They hold the first 20 places of a blend in practically all cases, and users × items is never held."""

CHOSEN_AT: Final = 20
"""Length of the lists by whose NDCG the weights are chosen."""

USERS_AT_MOST: Final = 4_000
"""Users on whom weights are chosen; more would change them little."""

STEPS: Final = (0.125, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
"""Weights that are tried for a part, in units of the mean weight of the others."""

FOLDS: Final = 5
"""Groups of users; what a part brings to each is measured with the weight chosen on the others."""

LEVEL: Final = 0.68
"""Level of the interval above 0 in which a part has to bring something: about one standard error.

Two parts are nearly always better together than one, but on 200 users no such gain lies beyond an interval of 95 %."""

NEAR: Final = 1.0
"""Standard errors of the paired difference within which the weight nearest to that of the others is as good."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores of P models for each user's best items, and which of these are held out.

    Attributes:
        scores: (P, B, C) float32, each brought to unit spread; −inf in all models for an item that is no candidate.
        hits: (B, C) bool.
        ideal: the DCG of a perfect list, (B,).
        spreads: (a, b) of each model; see `fit_spread`.
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    ideal: NDArray[np.float64]
    spreads: tuple[tuple[float, float], ...]

    @classmethod
    def of(
        cls,
        models: Sequence[Model],
        pair: tuple[sp.csr_matrix, sp.csr_matrix],
        *,
        exclude_owned: bool = True,
    ) -> Candidates:
        """Return the union of each model's best `CANDIDATES` items, for the users (B, I) with held-out items.

        Of more than `USERS_AT_MOST` users, as many at equal distances are taken. Each model scores them once.
        """
        users = np.flatnonzero(np.diff(pair[1].indptr))
        if users.size > USERS_AT_MOST:
            users = users[np.arange(USERS_AT_MOST) * users.size // USERS_AT_MOST]
        n_items, P, B = pair[0].shape[1], len(models), users.size
        length = min(CANDIDATES, n_items)
        scores = np.full((P, B, P * length), -np.inf, dtype=np.float32)
        hits = np.zeros((B, P * length), dtype=np.bool_)
        deviations = np.zeros((P, B))
        step = rows_per_block(n_items * (P + 1))
        for start in range(0, B, step):
            rows = users[start : start + step]
            history, held = sp.csr_matrix(pair[0][rows]), sp.csr_matrix(pair[1][rows])
            of_models = [model.score(history) for model in models]
            ranked = np.hstack(
                [top_k(s, length, exclude=history if exclude_owned else None)[0] for s in of_models]
            )
            ranked = np.sort(ranked, axis=1)
            valid = ranked >= 0
            valid[:, 1:] &= ranked[:, 1:] != ranked[:, :-1]
            wanted = np.zeros(of_models[0].shape, dtype=np.bool_)
            wanted[np.repeat(np.arange(len(rows)), np.diff(held.indptr)), held.indices] = True
            places = np.where(valid, ranked, 0)
            block = slice(start, start + len(rows))
            hits[block] = np.take_along_axis(wanted, places, axis=1) & valid
            for p, of_model in enumerate(of_models):
                scores[p, block] = np.where(valid, np.take_along_axis(of_model, places, axis=1), -np.inf)
                deviations[p, block] = of_model.std(axis=1, dtype=np.float64)
        lengths = np.diff(pair[0].indptr)[users]
        spreads = tuple(spread_of(deviations[p], lengths) for p in range(P))
        for p, (a, b) in enumerate(spreads):
            scores[p] *= (1 / (a * np.maximum(lengths, 1.0) ** b)).astype(np.float32)[:, None]
        gains = 1 / np.log2(np.arange(2, CHOSEN_AT + 2))
        n_held = np.minimum(np.diff(pair[1].indptr)[users], CHOSEN_AT)
        return cls(scores, hits, np.cumsum(gains)[n_held - 1], spreads)

    def values(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the NDCG@20 of each user, (B,), for the sum of the models' scores with weights (P,)."""
        used = np.flatnonzero(weights)
        found = np.empty(len(self.hits))
        _gains(self.scores, used, weights[used].astype(np.float32), self.hits, self.ideal, found)
        return found

    def ndcg(self, weights: NDArray[np.float64]) -> float:
        """Return the mean NDCG@20 of the sum of the models' scores with weights (P,)."""
        return float(self.values(weights).mean())

    def choose(self) -> NDArray[np.float64]:
        """Return weights (P,) that add up to 1; 0 for a part that brings nothing.

        It begins with the part that is best alone. The part that adds most is added, as long as the interval of
        the paired difference over the users lies above 0, where each group of users is measured with the weight that
        is best on the other groups. So a blend is never taken where its best part cannot be told from it. Then the
        weights are refined, each in turn. Of weights that are as good (see `NEAR`) the one nearest to that of the other
        parts is taken, so that a small number of users leaves them nearly equal.
        """
        P = len(self.scores)
        alone = [self.values(one) for one in np.eye(P)]
        weights = np.eye(P)[int(np.argmax([values.mean() for values in alone]))]
        values = alone[int(np.flatnonzero(weights)[0])]
        while (left := np.flatnonzero(weights == 0)).size:
            grids = {int(p): self._grid(weights, int(p)) for p in left}
            crossed = {p: _crossed(grid) for p, grid in grids.items()}
            best = max(crossed, key=lambda p: float(crossed[p].mean()))
            if not paired_difference(crossed[best], values, level=LEVEL).low > 0:
                break
            at = _nearest(grids[best])
            weights, values = self._with(weights, best, STEPS[at]), grids[best][at]
        if (weights > 0).sum() > 1:
            for _ in range(2):
                for p in np.flatnonzero(weights):
                    others = weights.copy()
                    others[p] = 0
                    grid = self._grid(others, int(p))
                    tried = self._with(others, int(p), STEPS[_nearest(grid)])
                    if self.ndcg(tried) > self.ndcg(weights):
                        weights = tried
        return np.asarray(np.round(weights / weights.sum(), 4))

    def _with(self, weights: NDArray[np.float64], part: int, step: float) -> NDArray[np.float64]:
        found = weights.copy()
        found[part] = step * weights[weights > 0].mean()
        return np.asarray(found / found.sum())

    def _grid(self, weights: NDArray[np.float64], part: int) -> NDArray[np.float64]:
        """Return the users' values with each of `STEPS` as the weight of a part, (steps, B)."""
        return np.array([self.values(self._with(weights, part, step)) for step in STEPS])


def _crossed(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each user's value with the step (S, B) that is best on the users of the other groups, (B,)."""
    group = np.arange(grid.shape[1]) % FOLDS
    found = np.empty(grid.shape[1])
    for g in range(FOLDS):
        mine = group == g
        others = grid[:, ~mine] if (~mine).any() else grid
        found[mine] = grid[int(np.argmax(others.mean(axis=1)))][mine]
    return found


def _nearest(grid: NDArray[np.float64]) -> int:
    """Return the step (S, B) nearest to 1 of those that are as good as the best."""
    best = int(np.argmax(grid.mean(axis=1)))
    behind = grid[best] - grid
    errors = behind.std(axis=1) / np.sqrt(max(grid.shape[1], 1))
    near = np.flatnonzero(behind.mean(axis=1) <= NEAR * errors)
    distance = np.abs(np.log(np.array(STEPS)))
    return int(near[np.argmin(distance[near])])


def fit_spread(model: Model, histories: sp.csr_matrix) -> tuple[float, float]:
    """Return a and b of a·m^b, the standard deviation of a model's scores for a history of m items.

    They are fitted by least squares of the logarithms over the histories (B, I); (1, 0) where all scores are alike.
    """
    lengths = np.diff(histories.indptr)
    deviations = np.zeros(len(lengths))
    step = rows_per_block(model.n_items)
    for start in range(0, len(lengths), step):
        scores = model.score(sp.csr_matrix(histories[start : start + step]))
        deviations[start : start + step] = scores.std(axis=1, dtype=np.float64)
    return spread_of(deviations, lengths)


def spread_of(deviations: NDArray[np.float64], lengths: NDArray[Any]) -> tuple[float, float]:
    """Return a and b of a·m^b for the standard deviations of histories of m items, both (B,)."""
    usable = (deviations > 0) & (lengths > 0)
    if not usable.any():
        return 1.0, 0.0
    x, y = np.log(lengths[usable]), np.log(deviations[usable])
    if np.ptp(x) == 0:
        return float(np.exp(y.mean())), 0.0
    b, log_a = np.polyfit(x, y, 1)
    return float(np.exp(log_a)), float(np.clip(b, -10, 10))


@njit(nogil=True, cache=True)
def _gains(scores: Any, used: Any, weights: Any, hits: Any, ideal: Any, found: Any) -> None:
    """Write to found (B,) the NDCG@20 of the users, for the sum of the parts `used` of scores (P, B, C)."""
    B, C = hits.shape
    total = np.empty(C, dtype=np.float32)
    for b in range(B):
        total[:] = 0
        for n in range(used.size):
            p = used[n]
            for c in range(C):
                total[c] += weights[n] * scores[p, b, c]
        gain = 0.0
        for h in range(C):
            if not hits[b, h]:
                continue
            place = 0
            mine = total[h]
            for c in range(C):
                if total[c] > mine or (total[c] == mine and c < h):
                    place += 1
            if place < CHOSEN_AT:
                gain += 1 / np.log2(place + 2.0)
        found[b] = gain / ideal[b]
