"""The table that training ends with: the model beside simple baselines, on users that it has not seen."""

from __future__ import annotations

from typing import Any

from recae.errors import ConfigError
from recae.evaluation import evaluate
from recae.models import Model
from recae.workflow.holdout import HeldOut

KS = (10, 20, 50)
"""List lengths of the table."""


def measure(models: dict[str, Model], held_out: HeldOut) -> dict[str, Any]:
    """The table of recall@10/20/50 and NDCG@20 on the held-out test users, as JSON values."""
    if held_out.test is None or held_out.validation is None:
        raise ConfigError("nobody is held out, so that nothing can be measured; use more purchases")
    rows, n_users = [], 0
    for name, model in models.items():
        result = evaluate(model, *held_out.test, KS)
        n_users = result.n_users
        figures = {metric: result.mean(metric) for metric in (*(f"recall@{k}" for k in KS), "ndcg@20")}
        rows.append({"model": name, **figures})
    return {
        "n_users": n_users,
        "validation_users": held_out.validation[0].shape[0],
        "ks": list(KS),
        "rows": rows,
    }
