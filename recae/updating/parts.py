"""Renewal of a fitted model where purchases have changed: each part goes on from where it is, or is fitted again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import scipy.sparse as sp

from recae.kinds import find
from recae.models import Model
from recae.selection.fit import Pair, fit_kind, make_settings
from recae.selection.refit import parts_of_model, refit
from recae.settings import settings_of
from recae.training.callbacks import Hooks
from recae.training.checkpoint import BEST_EPOCHS, Epoch
from recae.training.growth import Growth

Trained = Literal["on", "stay", "again"]
"""What becomes of parts trained in epochs: they go on from their parameters, stay as they are, or are trained again."""

WENT_ON: Final = "went on"
SOLVED: Final = "solved again"
TRAINED: Final = "trained again"
STAYED: Final = "stays as it is"


def renewed(
    model: Model,
    matrix: sp.csr_matrix,
    growth: Growth,
    metadata: Mapping[str, Any],
    hooks: Hooks,
    *,
    trained: Trained = "on",
    exact: bool = False,
) -> tuple[Model, dict[str, str]]:
    """Return a model, or a blend of parts, that has learned from changed purchases.

    Weights and settings stay those of the model, spreads those of its training.

    Args:
        model: fitted to earlier purchases.
        matrix: (U, I) pattern of the purchases of all users.
        growth: what has changed.
        metadata: of the recommender, for the seed and the best epochs.
        hooks: of the fits.
        trained: what becomes of parts that are trained in epochs; "stay" needs the same items as before.
        exact: solve closed forms from the beginning, as a training does, and not from their present solutions.

    Returns:
        The model, and kind → what was done with the part, in words.

    Raises:
        TrainingError: fitting fails.
    """
    parts = {part.model.kind: part.model for part in parts_of_model(model)}
    done: dict[str, str] = {}

    def fit(
        kind: str, values: Mapping[str, Any], matrix: sp.csr_matrix, validation: Pair | None, hooks: Hooks
    ) -> tuple[Model, list[Epoch]]:
        old, go_on = parts[kind], find(kind).update_function()
        by_epochs = old.trained
        if by_epochs and trained == "stay":
            done[kind] = STAYED
            return old, []
        if go_on is not None and (trained == "on" if by_epochs else not exact):
            found: Model | None = go_on(old, matrix, growth, hooks)
            if found is not None:
                done[kind] = WENT_ON
                return found, []
        done[kind] = TRAINED if by_epochs else SOLVED
        return fit_kind(kind, values, matrix, validation, hooks)

    asked = _seed(metadata) if "seed" in settings_of(find(model.kind).settings_class()) else {}
    config = make_settings(model.kind, asked)
    best = metadata.get(BEST_EPOCHS)
    found = refit(
        model, config, best if isinstance(best, Mapping) else {}, matrix, replace(hooks, solved=None), fit
    )
    return found, {kind: done[kind] for kind in parts}


def _seed(metadata: Mapping[str, Any]) -> dict[str, int]:
    """Return the seed of the training, where the metadata has it."""
    held_out = metadata.get("held_out")
    seed = held_out.get("seed") if isinstance(held_out, Mapping) else None
    return {"seed": seed} if isinstance(seed, int) and not isinstance(seed, bool) else {}
