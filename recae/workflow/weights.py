"""The weights of a blend: what its parts say of the likeliest items of validation users, and a search over it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models import Model
from recae.models.blend import Blend
from recae.ranking import rows_per_block, top_k

CANDIDATES = 200
"""Best items of each part among which the weights are chosen: what a blend puts into the first 20 places is among them
in all but freak cases, and users × items is never held."""

CHOSEN_AT = 20
"""Length of the lists whose NDCG the weights are chosen by."""

STEPS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 4.0)
"""What the weight of one part is multiplied by while those of the others stay."""

GRID = 4
"""Steps of the coarse grid from 0 to 1."""


def fit_spread(model: Model, histories: sp.csr_matrix) -> tuple[float, float]:
    """a and b of a·m^b, the standard deviation of a model's scores for a history of m items, by least squares of the
    logarithms over the histories (B, I); (1, 0) where no history is told apart.
    """
    lengths = np.diff(histories.indptr)
    deviations = np.zeros(len(lengths))
    step = rows_per_block(model.n_items)
    for start in range(0, len(lengths), step):
        scores = model.score(sp.csr_matrix(histories[start : start + step]))
        deviations[start : start + step] = scores.std(axis=1, dtype=np.float64)
    usable = (deviations > 0) & (lengths > 0)
    if not usable.any():
        return 1.0, 0.0
    x, y = np.log(lengths[usable]), np.log(deviations[usable])
    if np.ptp(x) == 0:
        return float(np.exp(y.mean())), 0.0
    b, log_a = np.polyfit(x, y, 1)
    return float(np.exp(log_a)), float(np.clip(b, -10, 10))


@dataclass(frozen=True, eq=False)
class Candidates:
    """The scores that each of P models gives to a user's likeliest items, and which of these the user wants.

    scores  (P, B, C) float32; −inf in all models for what is no candidate
    hits    (B, C) bool
    ideal   (B,) the DCG of a perfect list
    """

    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    ideal: NDArray[np.float64]

    @classmethod
    def of(
        cls, models: list[Blend], pair: tuple[sp.csr_matrix, sp.csr_matrix], *, exclude_owned: bool = True
    ) -> Candidates:
        """The union of each model's best `CANDIDATES` items, for the users (B, I) that have something held out."""
        users = np.flatnonzero(np.diff(pair[1].indptr))
        n_items, P = pair[0].shape[1], len(models)
        length = min(CANDIDATES, n_items)
        scores = np.full((P, len(users), P * length), -np.inf, dtype=np.float32)
        hits = np.zeros((len(users), P * length), dtype=np.bool_)
        step = rows_per_block(n_items * (P + 1))
        for start in range(0, len(users), step):
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
        gains = 1 / np.log2(np.arange(2, CHOSEN_AT + 2))
        n_held = np.minimum(np.diff(pair[1].indptr)[users], CHOSEN_AT)
        return cls(scores, hits, np.cumsum(gains)[n_held - 1])

    def ndcg(self, weights: NDArray[np.float64]) -> float:
        """Mean NDCG@20 of the weighted sum of the models' scores, weights (P,)."""
        used = np.flatnonzero(weights)
        total = np.float32(weights[used[0]]) * self.scores[used[0]]
        for p in used[1:]:
            total = total + np.float32(weights[p]) * self.scores[p]
        n = min(CHOSEN_AT, total.shape[1])
        best = (
            np.argpartition(-total, n - 1, axis=1)[:, :n]
            if n < total.shape[1]
            else np.argsort(-total, axis=1)
        )
        order = np.argsort(-np.take_along_axis(total, best, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self.hits, np.take_along_axis(best, order, axis=1), axis=1)
        gains = 1 / np.log2(np.arange(2, n + 2))
        return float(np.mean(hits @ gains / self.ideal))

    def search(self) -> NDArray[np.float64]:
        """Weights (P,) that add up to 1, by changing one at a time, from the best three of a coarse grid."""
        P = len(self.scores)
        grid = [np.array(w) / GRID for w in product(range(GRID + 1), repeat=P) if sum(w) == GRID]
        starts = sorted(grid, key=self.ndcg, reverse=True)[:3]
        found = [self._improve(start) for start in starts]
        return np.round(max(found, key=lambda pair: pair[0])[1], 4)

    def _improve(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        best = self.ndcg(weights)
        for _ in range(4):
            before = best
            for p in range(len(weights)):
                base = weights[p] or 0.1
                for step in STEPS:
                    tried = weights.copy()
                    tried[p] = base * step
                    if not tried.any():
                        continue
                    tried /= tried.sum()
                    reached = self.ndcg(tried)
                    if reached > best + 1e-6:
                        best, weights = reached, tried
            if best - before < 1e-5:
                break
        return best, weights
