"""Comparison of a new model with the one in service, on purchases that neither has learned from.

Both rank for the same users from the same histories, each over the items that it knows. What is to be found is the same
for both, items that only one of them knows among it: a model that does not know them cannot find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.intervals import Paired, paired_difference
from recae.ids import IdMap
from recae.inputs import inputs_of
from recae.interactions import Interactions
from recae.metrics import compute
from recae.ranking import PADDING, rank_histories
from recae.recommender import Recommender
from recae.sparse import entry_rows, pattern, without

K: Final = 20
"""Length of the lists."""

DECIDING: Final = f"ndcg@{K}"
"""By which it is decided; that of the validation users in training."""

METRICS: Final = (DECIDING, f"recall@{K}")


@dataclass(frozen=True)
class Figure:
    """A metric of both models.

    Attributes:
        service: mean of the model in service.
        candidate: of the new one.
        gain: candidate − service, with its 95 % interval.
    """

    service: float
    candidate: float
    gain: Paired


@dataclass(frozen=True)
class Judged:
    """What a comparison came to.

    Attributes:
        n_users: with something to be found.
        pairs: to be found in all.
        figures: by metric, those of `METRICS`; none where there is no user.
    """

    n_users: int
    pairs: int
    figures: Mapping[str, Figure]

    @property
    def worse(self) -> bool:
        """Whether the new model is worse: the interval of its gain lies below 0. Without two users nobody can tell."""
        return bool(self.figures) and self.figures[DECIDING].gain.high < 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "n_users": self.n_users,
            "pairs": self.pairs,
            "decided_by": DECIDING,
            "figures": {
                name: {
                    "service": found.service,
                    "candidate": found.candidate,
                    "gain": found.gain.mean,
                    "low": found.gain.low,
                    "high": found.gain.high,
                }
                for name, found in self.figures.items()
            },
        }


def judge(service: Recommender, candidate: Recommender, week: Interactions, seed: int = 0) -> Judged:
    """Compare two models on purchases that neither has learned from.

    The histories are those of the candidate, which end where `week` begins. Users without one are left out, since both
    would give them the list of nobody; so are items that neither model knows. Where owned items are left out of the
    lists, pairs that either model knows already are not looked for.

    Args:
        service: the model in service.
        candidate: the new one, with histories.
        week: what is to be found.
        seed: of the bootstrap.
    """
    if candidate.histories is None or candidate.users is None or candidate.scored is None:
        raise AssertionError("a model without histories is refused before")
    items = _both(candidate.items, service.items)
    rows = candidate.users.rows(week.users.ids(np.arange(week.n_users)))
    lengths = np.diff(candidate.histories.indptr)
    there = np.flatnonzero((rows >= 0) & (np.where(rows >= 0, lengths[np.maximum(rows, 0)], 0) > 0))
    wanted = _columns(sp.csr_matrix(week.matrix[there]), _places(week.items, items), len(items))
    own = candidate.excludes_owned()
    if own:
        known = sp.csr_matrix(candidate.histories[rows[there]])
        wanted = without(wanted, _columns(known, _places(candidate.items, items), len(items)))
        wanted = without(wanted, _known_to(service, week.users.ids(there), items))
    asked = np.flatnonzero(np.diff(wanted.indptr))
    wanted = pattern(sp.csr_matrix(wanted[asked]))
    if not asked.size:
        return Judged(0, 0, {})
    histories = sp.csr_matrix(candidate.scored[rows[there][asked]])
    values = {}
    for model, own_histories in (
        (service, _as_read(service, candidate, histories)),
        (candidate, histories),
    ):
        ranked = rank_histories(model.model, own_histories, K, exclude_owned=own).items
        lists = np.full((asked.size, K), PADDING, dtype=np.int64)
        places = _places(model.items, items)
        lists[:, : ranked.shape[1]] = np.where(ranked == PADDING, PADDING, places[ranked])
        values[id(model)] = compute(lists, wanted, ("ndcg", "recall"), (K,))
    ours, theirs = values[id(candidate)], values[id(service)]
    figures = {
        name: Figure(
            float(theirs[name].mean()),
            float(ours[name].mean()),
            paired_difference(ours[name], theirs[name], seed=seed),
        )
        for name in METRICS
    }
    return Judged(int(asked.size), int(wanted.nnz), figures)


def _both(first: IdMap, second: IdMap) -> IdMap:
    """Return the ids of either, those of the first in its order."""
    more = second.ids(np.flatnonzero(_places(second, first) < 0))
    return IdMap(pa.concat_arrays([first.ids(np.arange(len(first))), more])) if len(more) else first


def _places(ids: IdMap, among: IdMap) -> NDArray[np.int64]:
    """Return the number that each id has in another map, (n,); −1 for none."""
    return np.asarray(among.rows(ids.ids(np.arange(len(ids)))), dtype=np.int64)


def _columns(matrix: sp.csr_matrix, places: NDArray[np.int64], width: int) -> sp.csr_matrix:
    """Return a matrix (B, n) with its columns at other places, (B, width), sorted; without those at −1."""
    found = places[matrix.indices]
    chosen = found >= 0
    moved = sp.csr_matrix(
        (matrix.data[chosen], (entry_rows(matrix)[chosen], found[chosen])), shape=(matrix.shape[0], width)
    )
    moved.sort_indices()
    return moved


def _known_to(model: Recommender, users: pa.LargeStringArray, items: IdMap) -> sp.csr_matrix:
    """Return the histories that a model holds of some users, by the numbers of `items`, (users, items)."""
    if model.users is None or model.histories is None:
        return sp.csr_matrix((len(users), len(items)), dtype=np.float32)  # type: ignore[arg-type]  # of the stubs, which know no shape alone
    rows = model.users.rows(users)
    taken = np.flatnonzero(rows >= 0)
    found = _columns(sp.csr_matrix(model.histories[rows[taken]]), _places(model.items, items), len(items))
    placed = sp.csr_matrix(
        (found.data, (taken[entry_rows(found)], found.indices)), shape=(len(users), len(items))
    )
    placed.sort_indices()
    return placed


def _as_read(service: Recommender, candidate: Recommender, histories: sp.csr_matrix) -> sp.csr_matrix:
    """Return histories of the candidate as the model in service numbers the items; its events where both read them."""
    places, n_items = _places(candidate.items, service.items), len(service.items)
    blocks = 1
    if candidate.events is not None and inputs_of(candidate.model) == inputs_of(service.model):
        blocks += len(inputs_of(service.model))
    starts = np.arange(blocks)[:, None] * n_items
    moved = np.where(places < 0, -1, starts + places).ravel()
    more = np.full(
        histories.shape[1] - moved.size, -1, dtype=np.int64
    )  # events that the other model does not read
    return _columns(histories, np.concatenate([moved, more]), blocks * n_items)
