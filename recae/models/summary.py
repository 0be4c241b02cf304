"""What a model with its ids says of itself: kind, sizes, settings, and its metrics beside the baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from recae.models.base import Model
from recae.models.blend import learned_part
from recae.summary import Grid, Summary
from recae.text import refit_words, updates_words

_SETTINGS: Final = 6  # of the model, in the text
_SHOWN: Final = ("recall@10", "recall@20", "recall@50", "ndcg@20")


def summary_of(
    model: Model, n_users: int | None, n_items: int, interactions: int | None, metadata: Mapping[str, Any]
) -> Summary:
    """Return the summary of a recommender.

    Args:
        model: its model.
        n_users: how many users it knows; None: it came without histories.
        n_items: how many items.
        interactions: in the histories; None: they were left out.
        metadata: as training stores it, or another program; what does not have the expected form is left out.
    """
    config = dict(model.config())
    parts = config.pop("parts", None)
    of = ""
    if isinstance(parts, list):
        named = [str(part.get("kind")) for part in parts if isinstance(part, Mapping)]
        of = f" of {' + '.join(named)}" if named else ""
    known = f"{interactions:,} interactions" if interactions is not None else "no histories"
    users = f"{n_users:,} users, " if n_users is not None else ""
    facts = [("knows", f"{users}{n_items:,} items, {known}")]
    said = [f"{name} {_value(value)}" for name, value in config.items() if not isinstance(value, dict | list)]
    if said:
        more = f", … {len(said) - _SETTINGS} more" if len(said) > _SETTINGS else ""
        facts.append(("settings", f"{', '.join(said[:_SETTINGS])}{more}"))
    history = metadata.get("history")
    if isinstance(history, list) and history and isinstance(history[-1], Mapping):
        loss = history[-1].get("loss")
        last = f", loss {loss:.2f} in the last" if isinstance(loss, int | float) else ""
        part = learned_part(model)
        of_part = f"{part.kind} part: " if part is not None and part is not model else ""
        if part is not None:
            facts.append(("trained", f"{of_part}{len(history):,} epoch{'s' * (len(history) != 1)}{last}"))
    if metadata.get("repeats") is True:
        facts.append(("repeats", "owned items stay recommendable"))
    metrics = metadata.get("metrics")
    grid = _grid(metrics)
    if grid is not None and isinstance(metrics, Mapping) and isinstance(metrics.get("n_users"), int):
        before = refit_words(metadata.get("refit"))
        before = before and f", before it was {before}"
        facts.append(("measured", f"on {metrics['n_users']:,} held-out users{before}"))
    if updated := updates_words(metadata.get("updates")):
        facts.append(("updates", updated))
    details = [f"{name} {_value(value)}" for name, value in config.items()]
    return Summary(f"Recommender: {model.kind}{of}", facts, grid, details=details)


def _grid(metrics: object) -> Grid | None:
    """Return the table of models and metrics that training stored; None where there is none."""
    found = metrics.get("rows") if isinstance(metrics, Mapping) else None
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    names = [name for name in _SHOWN if any(name in row for row in rows)]
    if not names:
        return None
    body = [[str(row.get("model", "-")), *(_figure(row.get(name)) for name in names)] for row in rows]
    return Grid(["model", *names], body, names)


def _figure(value: object) -> str:
    good = isinstance(value, int | float) and math.isfinite(value) and abs(value) < 1e12
    return f"{value:.4f}" if good else "-"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
