"""Who learns and who is held out when a model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.interactions import Interactions
from recae.recommender import Recommender
from recae.splits import fold_in_split, number_held_out
from recae.weighting import Facts, Weighting

HELD_OUT_SHARE = 0.1
HELD_OUT_AT_MOST = 10_000
HELD_OUT_ITEMS = 0.2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Who learns and who is held out: rows of the interactions, and the held-out users' histories in two parts."""

    learners: NDArray[np.int64]
    validation: tuple[sp.csr_matrix, sp.csr_matrix] | None
    test: tuple[sp.csr_matrix, sp.csr_matrix] | None


def hold_out(interactions: Interactions, rng: np.random.Generator) -> HeldOut:
    """Holds out 10 % of the users (at most 10,000) to choose on, and as many others to measure on.

    A fifth of each held-out history is to be found from the rest; histories of one item cannot be parted and stay with
    the learners. With fewer than three histories of two items or more, nobody is held out.
    """
    matrix = interactions.matrix
    divisible = np.flatnonzero(np.diff(matrix.indptr) >= 2)
    everybody = np.arange(interactions.n_users)
    number = number_held_out(interactions.n_users, len(divisible), HELD_OUT_SHARE, HELD_OUT_AT_MOST)
    if not number:
        return HeldOut(everybody, None, None)
    chosen = rng.permutation(divisible)[: 2 * number]
    parts = [
        fold_in_split(sp.csr_matrix(matrix[np.sort(users)]), HELD_OUT_ITEMS, rng=rng)
        for users in (chosen[:number], chosen[number:])
    ]
    return HeldOut(np.setdiff1d(everybody, chosen), parts[0], parts[1])


def weights_of(
    weighting: Weighting, interactions: Interactions, learners: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """What each purchase of the learners weighs, by theirs alone, (nnz,); None where all weigh 1. ColumnError as
    `Weighting.weights`.
    """
    return weighting.weights(Facts.of(interactions, learners)) if weighting else None


def learners_of(recommender: Recommender) -> NDArray[np.bool_] | None:
    """Which users `train` let the model learn from, (users,), found again by the seed; None where that is not known."""
    metrics, seed = recommender.metadata.get("metrics"), recommender.model.config().get("seed")
    if recommender.repeats:
        return None  # another way of holding out
    described = recommender.metadata.get("held_out")
    if isinstance(described, Mapping):
        seed = described.get("seed")
    users, histories = recommender.users, recommender.histories
    if users is None or histories is None or not isinstance(metrics, Mapping):
        return None
    if not isinstance(seed, int) or seed < 0:
        return None
    once = np.ones(histories.nnz, dtype=np.int32)
    purchases = Interactions(histories, users, recommender.items, None, once)
    held_out = hold_out(purchases, np.random.default_rng([seed, HELD_OUT_AT_MOST]))
    parts = (held_out.test, held_out.validation)
    found = [None if part is None else part[0].shape[0] for part in parts]
    if found != [metrics.get("n_users"), metrics.get("validation_users")]:
        return None  # another way of holding out
    learners = np.zeros(len(users), dtype=np.bool_)
    learners[held_out.learners] = True
    return learners
