"""Shops where people rebuy: each user's next basket is to be found, and what is owned may be recommended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.events import Events
from recae.models import Frequency, Model
from recae.splits import last_basket_out
from recae.workflow.holdout import HELD_OUT_AT_MOST, HELD_OUT_SHARE, HeldOut
from recae.workflow.measure import KS

METADATA = {"repeats": True}
"""What marks a recommender as one whose owned items stay recommendable; see `Recommender.repeats`."""

DECAYS = (1.0, 0.95, 0.9, 0.8, 0.6)
"""What a purchase weighs one basket later: tried on the validation users."""

DECAY = 0.9
"""The decay where nobody can be held out to choose it on."""

FIGURES = (*(f"recall@{k}" for k in KS), "ndcg@20", "recall_repeat@20", "recall_new@20")
"""Columns of the table, beside the model's name."""


@dataclass(frozen=True, eq=False)
class HeldOutRepeats(HeldOut):
    """As `HeldOut`, for next baskets: each pair is all baskets but the last, weighted, and the last.

    decay  with which the histories are weighted; those of the recommender are `events.weights(decay)`
    """

    decay: float


def hold_out_repeats(
    events: Events,
    rng: np.random.Generator,
    decay: float | None = None,
    decays: Sequence[float] = DECAYS,
) -> HeldOutRepeats:
    """Holds out the last basket of 10 % of the users (at most 10,000) to choose on, and of as many to measure on.

    The learners are all other users, with all their baskets. Nothing of the held-out users is learned from, not even
    their earlier baskets: these are the histories from which the last basket is to be found. Users with one basket
    learn. With fewer than three users of two baskets or more, nobody is held out.

    A decay that is not given is the one of `decays` with which personal frequency has the best NDCG@20 on the
    validation users. The same users are held out, whatever the decay. Raises ConfigError for a decay out of range.
    """
    eligible = np.flatnonzero(events.baskets >= 2)
    everybody = np.arange(events.n_users)
    if len(eligible) < 3:
        events.weights(given := DECAY if decay is None else decay)  # which checks it
        return HeldOutRepeats(everybody, None, None, given)
    share = min(max(1, round(HELD_OUT_SHARE * events.n_users)), HELD_OUT_AT_MOST)
    number = min(share, len(eligible) // 3)
    chosen = rng.permutation(eligible)[: 2 * number]
    validation, test = np.sort(chosen[:number]), np.sort(chosen[number:])
    learners = np.setdiff1d(everybody, chosen)
    if decay is None:
        decay = _choose_decay(events, learners, validation, decays)
    parts = last_basket_out(events, decay)

    def pair(users: NDArray[np.int64]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        return sp.csr_matrix(parts[0][users]), sp.csr_matrix(parts[1][users])

    return HeldOutRepeats(learners, pair(validation), pair(test), decay)


def measure_repeats(models: dict[str, Model], held_out: HeldOut) -> dict[str, Any]:
    """The table of `FIGURES` on the last baskets of the held-out test users, owned items in the lists; JSON values.

    `recall_repeat@20` is the mean over the `repeat_users`, who bought something again, of the share of these items that
    was found; `recall_new@20` likewise over the `new_users`, who bought something new. None where there are none.
    Raises ConfigError when nobody is held out.
    """
    if held_out.test is None or held_out.validation is None:
        raise ConfigError("nobody is held out, so that nothing can be measured; use more purchases")
    rows: list[dict[str, Any]] = []
    counts = {"n_users": 0, "repeat_users": 0, "new_users": 0}
    for name, model in models.items():
        result = evaluate(model, *held_out.test, KS, exclude_owned=False)
        means = {figure: result.mean(figure) for figure in FIGURES}
        rows.append({"model": name, **{k: None if math.isnan(v) else v for k, v in means.items()}})
        having = {
            f"{part}_users": int(np.isfinite(result.values[f"recall_{part}@20"]).sum())
            for part in ("repeat", "new")
        }
        counts = {"n_users": result.n_users, **having}
    return {
        **counts,
        "validation_users": held_out.validation[0].shape[0],
        "ks": list(KS),
        "repeats": True,
        "rows": rows,
    }


def _choose_decay(
    events: Events, learners: NDArray[np.int64], users: NDArray[np.int64], decays: Sequence[float]
) -> float:
    """The decay with the best NDCG@20 on the last baskets of `users`; of equal ones the first."""
    if not decays:
        raise ConfigError("decays are tried to choose one of them, found none: give at least one")
    earlier, last = events.before_last(), sp.csr_matrix(events.last_baskets()[users])
    model = Frequency.fit(sp.csr_matrix(events.weights()[learners]))

    def quality(decay: float) -> float:
        histories = sp.csr_matrix(earlier.weights(decay)[users])
        return evaluate(model, histories, last, (20,), exclude_owned=False).mean("ndcg@20")

    return max(decays, key=quality)
