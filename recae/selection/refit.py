"""Fit of a model once more on all users, with what was chosen on the validation users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from recae.kinds import find
from recae.machine import processors
from recae.models import Blend, Model
from recae.models.blend import Part
from recae.selection.blend import Fit, fit_parts
from recae.selection.fit import fit_kind, make_settings
from recae.settings import settings_of
from recae.training.callbacks import Hooks


def refit(
    model: Model,
    config: Any,
    best: Mapping[str, int],
    matrix: sp.csr_matrix,
    hooks: Hooks,
    fit: Fit | None = None,
) -> Model:
    """Fit a model, or each part of a blend, once more.

    All settings are those of the model, whether asked for, chosen on validation users or by a rule from the data. What
    is trained in epochs ends after its best one. The parts of a blend retain their weights and spreads.

    Args:
        model: that was chosen.
        config: the settings that it was asked for with, of its kind or of `auto`.
        best: kind → its best epoch, of what is trained in epochs.
        matrix: (U, I) purchases of all users.
        hooks: of the fits, with the confidence in these purchases; without validation.
        fit: fits a kind; None: `fit_kind`.

    Raises:
        TrainingError: fitting fails.
    """
    parts = parts_of_model(model)
    configs = {part.model.kind: _settings(part.model, config) for part in parts}
    models, _ = fit_parts(matrix, configs, hooks, None, fit or fit_kind, best)
    if not isinstance(model, Blend):
        return models[model.kind]
    again = [(part, models[part.model.kind]) for part in parts]
    return Blend(tuple(Part(new, part.weight, _spread(part, new)) for part, new in again), model.settings)


def parts_of_model(model: Model) -> tuple[Part, ...]:
    """Return the parts of a blend; any other model as the only one."""
    return model.parts if isinstance(model, Blend) else (Part(model, 1.0, (1.0, 0.0)),)


def refit_seconds(
    seconds: Mapping[str, float], epochs: int, best: Mapping[str, int], users: tuple[int, int]
) -> float | None:
    """Return about how many seconds `refit` takes; None where that is not known.

    Args:
        seconds: kind → what its fit took, without validation.
        epochs: how many were run.
        best: kind → its best epoch.
        users: how many were learned from, and how many there are.
    """
    if not seconds:
        return None
    trained = sum(
        seconds[kind] * min(number / max(epochs, 1), 1.0) for kind, number in best.items() if kind in seconds
    )
    solved = sum(took for kind, took in seconds.items() if kind not in best)
    both = max(trained, solved) if processors() > 1 else trained + solved  # one beside the other
    return both * users[1] / max(users[0], 1)


def _settings(model: Model, config: Any) -> Any:
    """Return the settings of a fitted model, and those asked for where it does not say them, as a plugin's may not."""
    kind = model.kind
    known = settings_of(find(kind).settings_class())
    if (asked := getattr(config, "parts", None)) is not None:  # of a blend or of auto
        values = {"seed": config.seed} | {
            name.removeprefix(f"{kind}."): value
            for name, value in asked.items()
            if name.startswith(f"{kind}.")
        }
    else:
        values = dict(config.as_dict())
    own = {name: value for name, value in model.config().items() if name in known and value is not None}
    return make_settings(kind, values | own)


def _spread(part: Part, model: Model) -> tuple[float, float]:
    """Return the spread of a part; counts of owners grow with the users, so that it is scaled with theirs."""
    a, b = part.spread
    if find(model.kind).personal:
        return part.spread
    nobody = (sp.csr_matrix(np.zeros((1, each.n_items), dtype=np.float32)) for each in (part.model, model))
    before, now = (
        float(each.score(own).std(dtype=np.float64))
        for each, own in zip((part.model, model), nobody, strict=True)
    )
    return (a * now / before, b) if before > 0 and now > 0 else (a, b)
