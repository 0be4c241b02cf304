"""Weights of a blend: which parts are worth having, and how much each counts, by NDCG@20 on validation users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.intervals import paired_difference
from recae.inputs import owned_part, readable
from recae.loops import loop
from recae.machine import processors
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
"""Groups of users; what the blend brings to each is measured with the weights chosen on the others."""

LEVEL: Final = 0.68
"""Level of the interval above 0 in which a blend has to bring something: about one standard error.

Two parts are nearly always better together than one, but on 200 users no such gain lies beyond an interval of 95 %."""

LEVEL_AGAIN: Final = 0.95
"""Level of the interval above 0 in which other weights than the present ones have to be better.

The present ones were chosen on validation users in training, and speak for themselves."""

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
        spreads: Sequence[tuple[float, float]] | None = None,
        most: int = USERS_AT_MOST,
    ) -> Candidates:
        """Return the union of each model's best `CANDIDATES` items, for the users (B, I) with held-out items.

        Of more than `most` users, as many at equal distances are taken. Each model scores them once. Spreads that are
        not given are those of these users' scores.
        """
        users = np.flatnonzero(np.diff(pair[1].indptr))
        if users.size > most:
            users = users[np.arange(most) * users.size // most]
        n_items, P, B = pair[1].shape[1], len(models), users.size
        owned = owned_part(pair[0], n_items)
        length = min(CANDIDATES, n_items)
        scores = np.full((P, B, P * length), -np.inf, dtype=np.float32)
        hits = np.zeros((B, P * length), dtype=np.bool_)
        deviations = np.zeros((P, B))
        step = rows_per_block(n_items * (P + 1))
        for start in range(0, B, step):
            rows = users[start : start + step]
            history, held = sp.csr_matrix(pair[0][rows]), sp.csr_matrix(pair[1][rows])
            of_models = [model.score(readable(model, history)) for model in models]
            left_out = owned_part(history, n_items) if exclude_owned else None
            ranked = np.hstack([top_k(s, length, exclude=left_out)[0] for s in of_models])
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
        lengths = np.diff(owned.indptr)[users]
        spreads = tuple(spreads or (spread_of(deviations[p], lengths) for p in range(P)))
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

        It begins with all parts alike, and leaves out one after the other as long as the lists are no worse without
        it. Then the weights are refined, each in turn. Of weights that are as good (see `NEAR`) the one nearest to that
        of the other parts is taken, so that a small number of users leaves them nearly equal: parts that differ are
        safer together than one alone, also where what is bought later is unlike what was held out.

        A single part is taken where the blend cannot be told from it: where the interval of the paired difference does
        not lie above 0, each group of users being measured with what was found on the other groups.
        """
        alone = np.array([self.values(one) for one in np.eye(len(self.scores))])
        single = int(np.argmax(alone.mean(axis=1)))
        crossed = self._crossed(Candidates._search)
        if paired_difference(crossed, alone[single], level=LEVEL).low > 0:
            return np.asarray(np.round(self._search(), 4))
        return np.asarray(np.eye(len(alone))[single])

    def choose_again(self, present: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weights (P,) of the parts that have one now, summing to 1: the present ones unless others are better.

        Each weight is refined in turn, as in `choose`, but of those that are as good the one nearest to the present is
        taken. Others are better where the interval of the paired difference from the present ones lies above 0, at
        `LEVEL_AGAIN`, each group of users being measured with what was found on the other groups.
        """
        present = np.asarray(present / present.sum())

        def near(candidates: Candidates) -> NDArray[np.float64]:
            return candidates._refined(present, present)

        gain = paired_difference(self._crossed(near), self.values(present), level=LEVEL_AGAIN)
        return np.asarray(np.round(near(self), 4)) if gain.low > 0 else present

    def _crossed(self, search: Callable[[Candidates], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the values of the users (B,), each group's with the weights that were found on the others."""
        group = np.arange(len(self.hits)) % FOLDS
        crossed = np.empty(len(self.hits))

        def cross(g: int) -> None:
            mine = group == g
            others = self._of_users(~mine) if (~mine).any() else self
            crossed[mine] = self._of_users(mine).values(search(others))

        with ThreadPoolExecutor(processors()) as pool:
            list(pool.map(cross, range(min(FOLDS, len(self.hits)))))
        return crossed

    def _search(self) -> NDArray[np.float64]:
        """Return the weights of the blend, which may be those of one part."""
        weights = np.full(len(self.scores), 1 / len(self.scores))
        reached = self.ndcg(weights)
        while (used := np.flatnonzero(weights)).size > 1:
            without = [self._without(weights, int(part)) for part in used]
            found = [self.ndcg(tried) for tried in without]
            best = int(np.argmax(found))
            if found[best] < reached:
                break
            weights, reached = without[best], found[best]
        return self._refined(weights, None) if used.size > 1 else weights

    def _refined(self, weights: NDArray[np.float64], unit: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return weights (P,) after two rounds in which each that is not 0 is chosen in turn.

        Args:
            weights: to begin with.
            unit: of the steps of each weight, (P,); None: the mean weight of the others.
        """
        reached = self.ndcg(weights)
        for _ in range(2):
            for part in map(int, np.flatnonzero(weights)):
                others = self._without(weights, part)
                tried = [self._with(others, part, weight) for weight in _steps(others, part, unit)]
                found = tried[_nearest(np.array([self.values(one) for one in tried]))]
                if (better := self.ndcg(found)) > reached:
                    weights, reached = found, better
        return weights

    def _of_users(self, users: NDArray[np.bool_]) -> Candidates:
        """Return the candidates of some of the users, (B,)."""
        return Candidates(
            np.ascontiguousarray(self.scores[:, users]), self.hits[users], self.ideal[users], self.spreads
        )

    def _without(self, weights: NDArray[np.float64], part: int) -> NDArray[np.float64]:
        found = weights.copy()
        found[part] = 0
        return np.asarray(found / found.sum())

    def _with(self, weights: NDArray[np.float64], part: int, weight: float) -> NDArray[np.float64]:
        """Return weights with another one for a part that has none; the others add up to 1 before."""
        found = weights.copy()
        found[part] = weight
        return np.asarray(found / found.sum())


def _steps(others: NDArray[np.float64], part: int, unit: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the weights that are tried for a part, beside those of the others, which add up to 1.

    The unit of the steps is the mean weight of the others, or the weight that the part has in `unit` beside them.
    """
    each = others[others > 0].mean() if unit is None else unit[part] / (1 - unit[part])
    return np.asarray(np.array(STEPS) * each)


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
    histories = readable(model, histories)
    lengths = np.diff(owned_part(histories, model.n_items).indptr)
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


@loop
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
