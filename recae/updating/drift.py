"""Drift: how far the newest purchases are from what a model knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recae.filters import time_text
from recae.interactions import Interactions
from recae.recency import known_last
from recae.recommender import Recommender
from recae.updating.judging import Judged, K

_DAY = 86_400  # seconds


@dataclass(frozen=True)
class Drift:
    """How far the newest purchases are from what a model knows.

    Attributes:
        since: first time of the purchases, seconds since 1970 UTC.
        until: last time, likewise.
        pairs: of a user and an item.
        users: who bought.
        new_users: of these, those whom the model does not know; None where it holds no users.
        items: that were bought.
        new_items: of these, those that the model does not know.
        hits: recall@20 of the model on the purchases; None where there was nobody to measure on.
        hits_in_training: what it had on held-out users when it was trained; None where that was not measured.
        age: days from the last purchase that the model knows to the last one; None where the model does not say.
    """

    since: int
    until: int
    pairs: int
    users: int
    new_users: int | None
    items: int
    new_items: int
    hits: float | None
    hits_in_training: float | None
    age: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "since": time_text(self.since),
            "until": time_text(self.until),
            "pairs": self.pairs,
            "users": self.users,
            "new_users": self.new_users,
            "items": self.items,
            "new_items": self.new_items,
            f"recall@{K}": self.hits,
            f"recall@{K}_in_training": self.hits_in_training,
            "age_days": self.age,
        }

    def lines(self) -> list[str]:
        """Return it as lines to read."""
        who = "" if self.new_users is None else f"{self.new_users / max(self.users, 1):.1%} of the users and "
        found = [
            f"newest purchases: {self.pairs:,} pairs of {self.users:,} users and {self.items:,} items, "
            f"{time_text(self.since)} to {time_text(self.until)}",
            f"new to the model in service: {who}{self.new_items / max(self.items, 1):.1%} of the items",
        ]
        if self.hits is not None:
            own = (
                "" if self.hits_in_training is None else f"; {self.hits_in_training:.4f} when it was trained"
            )
            found.append(f"recall@{K} of the model in service on them: {self.hits:.4f}{own}")
        if self.age is not None:
            found.append(f"age: its last purchase is {self.age:.1f} days older than the newest one")
        return found


def drift_of(service: Recommender, week: Interactions, period: tuple[int, int], judged: Judged) -> Drift:
    """Return how far purchases are from what a model knows.

    Args:
        service: the model in service.
        week: the purchases.
        period: their first and last time, seconds since 1970 UTC.
        judged: the comparison on them.
    """
    items = np.unique(week.matrix.indices)
    known_items = service.items.rows(week.items.ids(items))
    new_users = None
    if service.users is not None:
        new_users = int((service.users.rows(week.users.ids(np.arange(week.n_users))) < 0).sum())
    last = known_last(service.metadata)
    figure = judged.figures.get(f"recall@{K}")
    return Drift(
        since=period[0],
        until=period[1],
        pairs=week.n_interactions,
        users=week.n_users,
        new_users=new_users,
        items=int(items.size),
        new_items=int((known_items < 0).sum()),
        hits=None if figure is None else figure.service,
        hits_in_training=_in_training(service),
        age=None if last is None else (period[1] - last) / _DAY,
    )


def _in_training(service: Recommender) -> float | None:
    """Return the recall@20 of the table of figures; None where there is none."""
    metrics = service.metadata.get("metrics")
    rows = metrics.get("rows") if isinstance(metrics, Mapping) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    value = first.get(f"recall@{K}") if isinstance(first, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
