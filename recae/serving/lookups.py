"""The answers about items and users that are no recommendations, as JSON values; each for one `Served` model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recae.ids import shown
from recae.models import find_encoder
from recae.serving.problems import Problem
from recae.serving.served import Served, unknown, without_histories


def similar(served: Served, item_id: str, n: int) -> dict[str, Any]:
    """Return a `SimilarAnswer`. Raises Problem, 404: the item is unknown, or there is nothing to compare items by."""
    from recae.insight.neighbours import METRIC_ITEMS, similar_items

    recommender = served.recommender
    row = served.item(item_id)
    coded = find_encoder(recommender.model) is not None
    if not coded and served.together is None:
        raise Problem(
            "not-comparable",
            404,
            f"items cannot be compared, since a model of kind {recommender.model.kind} has no item vectors "
            "and this one was saved without histories",
        )
    near: list[dict[str, Any]] = []
    if coded:
        rows, likeness = similar_items(recommender, row, n)
        near = [
            {"rank": rank, "item_id": item, "name": name, "similarity": float(str(value))}
            for rank, (item, name, value) in enumerate(
                zip(*served.ids_and_names(rows), likeness, strict=True), start=1
            )
        ]
    together: list[dict[str, Any]] = []
    if served.together is not None:
        rows, users, lift = served.together.of(row, n)
        together = [
            {"rank": rank, "item_id": item, "name": name, "users": int(both), "lift": float(f"{factor:.6g}")}
            for rank, (item, name, both, factor) in enumerate(
                zip(*served.ids_and_names(rows), users, lift, strict=True), start=1
            )
        ]
    return {
        "model": served.version,
        "item_id": item_id,
        "name": served.ids_and_names(np.array([row]))[1][0],
        "metric": METRIC_ITEMS if coded else None,
        "similar": near,
        "bought_together": together,
    }


def find_items(served: Served, query: str, limit: int) -> dict[str, Any]:
    """Return an `ItemsAnswer`."""
    rows, more = served.items.find(query, limit)
    owners = [None] * rows.size if served.owners is None else served.owners[rows].tolist()
    ids, names = served.ids_and_names(rows)
    found = [
        {"item_id": item, "name": name, "owners": count}
        for item, name, count in zip(ids, names, owners, strict=True)
    ]
    return {"query": query, "items": found, "more": more}


def find_users(served: Served, query: str, limit: int) -> dict[str, Any]:
    """Return a `UsersAnswer`. Raises Problem, 404, without histories."""
    users, histories = served.recommender.users, served.recommender.histories
    if served.users is None or users is None or histories is None:
        raise without_histories()
    rows, more = served.users.find(query, limit)
    lengths = histories.indptr[rows + 1] - histories.indptr[rows]
    found = [
        {"user_id": user, "n_items": length}
        for user, length in zip(users.ids(rows).to_pylist(), lengths.tolist(), strict=True)
    ]
    return {"query": query, "users": found, "more": more}


def history(served: Served, user_id: str, limit: int) -> dict[str, Any]:
    """Return a `HistoryAnswer`. Raises Problem, 404: the user is unknown, or there are no histories."""
    try:
        _, rows = served.user(user_id)
    except Problem as problem:
        raise with_nearest_users(served, user_id, problem) from None
    ids, names = served.ids_and_names(rows[:limit])
    items = [{"item_id": item, "name": name} for item, name in zip(ids, names, strict=True)]
    return {"user_id": user_id, "n_items": int(rows.size), "items": items}


def with_nearest_users(served: Served, user_id: str, problem: Problem) -> Problem:
    """Return the problem of an unknown user with the nearest ids; any other one as it is."""
    users = served.recommender.users
    if problem.kind != "unknown-user" or users is None:
        return problem
    return unknown("user", user_id, users.nearest(user_id))


def with_nearest_items(served: Served, problem: Problem) -> Problem:
    """Return the problem of a basket of unknown items with the ids nearest to the first; any other one as it is."""
    first = problem.extras.get("unknown")
    if problem.kind != "unknown-item" or not isinstance(first, str):
        return problem
    nearest = served.recommender.items.nearest(first)
    near = f"; nearest to {shown(first)}: {', '.join(map(shown, nearest))}" if nearest else ""
    return Problem(problem.kind, 404, f"{problem.detail}{near}", nearest=nearest)


def describe(served: Served) -> dict[str, Any]:
    """Return a `ModelAnswer`; NaN and infinities are null."""
    recommender = served.recommender
    users, histories, metadata = recommender.users, recommender.histories, recommender.metadata
    content = {
        "model": served.version,
        "kind": recommender.model.kind,
        "config": recommender.model.config(),
        "n_items": len(recommender.items),
        "n_users": None if users is None else len(users),
        "n_interactions": None if histories is None else int(histories.nnz),
        "metrics": metadata.get("metrics"),
        "history": metadata.get("history", []),
        "versions": metadata.get("versions", {}),
        "fingerprint": metadata.get("fingerprint"),
        "loaded_at": served.loaded_at.isoformat(timespec="seconds"),
    }
    return {name: _finite(value) for name, value in content.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
