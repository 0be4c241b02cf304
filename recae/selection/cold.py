"""Lists of items that are held out whole: scored by features as new items are, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.comparison import Run
from recae.models import Model
from recae.models.new_items import predicted, solver_of
from recae.ranking import PADDING, Ranked, rows_per_block, top_k
from recae.selection.new_items import judge, popularity_of, weights_of
from recae.splits.tasks import ColdItems, Task

RANDOM = "random"
"""Name of the baseline that ranks by chance."""

CATEGORY = "popularity in category"
"""Name of the baseline that ranks by what the category of an item sells on the mean."""

_RIDGE = 3.0  # where too little was bought to choose one


def rank_cold(
    model: Model, fit: sp.csr_matrix, histories: sp.csr_matrix, cold: ColdItems, length: int
) -> tuple[Ranked, dict[str, Any]]:
    """Return lists of the held-out items and what was chosen for them.

    The ridge and the weights of the regression are chosen on items of `fit` whose scores are hidden in turn; the
    held-out items take no part in that.

    Args:
        model: of the K items that are learned from.
        fit: csr (U, K), what it learned from.
        histories: csr (B, K).
        cold: of all I items.
        length: of the lists.

    Returns:
        Lists (B, length) in the columns of all I items; {"new_items": {"ridge", "power"}}, the power of an item's
        number of users by which it weighs in the regression.
    """
    known = ~cold.new
    features = sp.csr_matrix(cold.features[known])
    judged = judge(model, fit, features, cold.groups[known])
    ridge, power = (_RIDGE, 0.0) if judged is None else (judged.ridge, judged.power)
    weights = weights_of(np.bincount(fit.indices, minlength=fit.shape[1]), power)
    solver = solver_of(features, weights, ridge)
    of_new = sp.csr_matrix(cold.features[cold.new])

    def scores(block: slice) -> NDArray[np.float32]:
        return predicted(model.score(sp.csr_matrix(histories[block])), features, of_new, weights, solver)

    ranked = _lists(scores, histories.shape[0], cold, length, rows_per_block(2 * cold.new.size))
    return ranked, {"new_items": {"ridge": ridge, "power": power}}


def cold_baselines(tasks: Sequence[Task], runs: Sequence[Run], seed: int) -> list[Run]:
    """Return lists by chance and by popularity in the category, as long as those of the runs.

    Without categories the word of a name that tells most takes their place, see `recae.item_features.groups_of`.
    None where no items are held out whole.
    """
    length = max((run.ranked.shape[1] for run in runs), default=0)
    (task,) = tasks if tasks[0].cold is not None else (None,)
    if task is None or task.cold is None or not length:
        return []
    cold, n_users = task.cold, task.histories.shape[0]
    n_new, known = int(cold.new.sum()), ~cold.new
    owners = np.bincount(task.train.indices, minlength=cold.new.size)
    popular = popularity_of(owners[known], cold.groups[known], cold.groups[cold.new])
    rng = np.random.default_rng([seed, 31])
    # items of the same category tie: by chance, and not by their order in the table
    popular = popular + rng.random(n_new).astype(np.float32) * np.float32(1e-4) * np.maximum(popular, 1)

    def by_category(block: slice) -> NDArray[np.float32]:
        return np.tile(popular.astype(np.float32), (block.stop - block.start, 1))

    def by_chance(block: slice) -> NDArray[np.float32]:
        return rng.random((block.stop - block.start, n_new), dtype=np.float32)

    step = rows_per_block(2 * cold.new.size)
    made = {
        name: _lists(make, n_users, cold, length, step)
        for name, make in ((RANDOM, by_chance), (CATEGORY, by_category))
    }
    return [Run(name, name, True, ranked=ranked.items, scores=ranked.scores) for name, ranked in made.items()]


def _lists(
    scores: Callable[[slice], NDArray[np.float32]], n_users: int, cold: ColdItems, length: int, step: int
) -> Ranked:
    """Return the best held-out items by their scores (b, N), block by block, as (B, length), padded."""
    new = np.flatnonzero(cold.new)
    items = np.full((n_users, length), PADDING, dtype=np.int32)
    values = np.full((n_users, length), np.nan, dtype=np.float32)
    for start in range(0, n_users, step):
        block = slice(start, min(start + step, n_users))
        found = top_k(np.ascontiguousarray(scores(block)), min(length, new.size))
        width = found.items.shape[1]
        items[block, :width] = new[found.items]
        values[block, :width] = found.scores
    return Ranked(items, values)
