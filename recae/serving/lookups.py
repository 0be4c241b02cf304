"""Lookups of items, users and the model itself; each from one `ServedModel`."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from recae.errors import DataError, JournalError
from recae.ids import shown
from recae.models.blend import learned_part
from recae.recency import known_last
from recae.recommender import REFIT
from recae.serving.customers import owning
from recae.serving.forgetting import forgotten
from recae.serving.owned import bought_by, owned_by
from recae.serving.problems import Problem
from recae.serving.schemas import (
    FoundItem,
    FoundUser,
    HistoryAnswer,
    ItemsAnswer,
    ModelAnswer,
    OwnedItem,
    SimilarAnswer,
    SimilarItem,
    TogetherItem,
    UsersAnswer,
)
from recae.serving.served import ServedModel, unknown, without_histories

_log = logging.getLogger("recae.serving")


def similar(served: ServedModel, item_id: str, n: int) -> SimilarAnswer:
    """Find the items most like an item, by their vectors and by who owns them.

    Args:
        served: the model.
        item_id: exact id of the item.
        n: how many of each at most.

    Returns:
        Both lists, best first.

    Raises:
        Problem: 404, the item is unknown, or there is nothing to compare items by.
    """
    from recae.insight.neighbours import similar_items

    recommender = served.recommender
    item = served.item(item_id)
    near: list[SimilarItem] = []
    try:
        items, cosines = similar_items(recommender, item, n, vectors=served.vectors)
    except DataError as error:  # a kind that scores every history alike
        if served.together is None:
            raise Problem("not-comparable", 404, str(error)) from None
        metric = None
    else:
        metric = served.vectors.metric
        near = [
            # the shortest decimals that float32 has for it
            SimilarItem(rank=rank, item_id=other, name=name, similarity=float(str(cosine)), **more)
            for rank, (other, name, cosine, more) in enumerate(
                zip(*served.ids_and_names(items), cosines, served.details(items), strict=True), start=1
            )
        ]
    together: list[TogetherItem] = []
    if served.together is not None:
        items, users, lift = served.together.of(item, n)
        together = [
            TogetherItem(
                rank=rank, item_id=other, name=name, users=int(both), lift=float(f"{factor:.6g}"), **more
            )
            for rank, (other, name, both, factor, more) in enumerate(
                zip(*served.ids_and_names(items), users, lift, served.details(items), strict=True), start=1
            )
        ]
    return SimilarAnswer(
        model=served.version,
        item_id=item_id,
        name=served.ids_and_names(np.array([item]))[1][0],
        metric=metric,
        similar=near,
        bought_together=together,
    )


def find_items(served: ServedModel, query: str, limit: int) -> ItemsAnswer:
    """Find items by words in their id or name; see `ItemSearch.find`."""
    items, more = served.items.find(query, limit)
    owners = [None] * items.size if served.owners is None else served.owners[items].tolist()
    found = [
        FoundItem(item_id=item, name=name, owners=count, **more)
        for item, name, count, more in zip(
            *served.ids_and_names(items), owners, served.details(items), strict=True
        )
    ]
    return ItemsAnswer(query=query, items=found, more=more)


def find_users(served: ServedModel, query: str, limit: int, owns: Sequence[str] = ()) -> UsersAnswer:
    """Find users by a part of their id, see `UserSearch.find`, and by items that they all own.

    Raises:
        Problem: 404, there are no histories, or an item is unknown.
    """
    users, histories = served.recommender.users, served.recommender.histories
    if served.users is None or users is None or histories is None:
        raise without_histories()
    rows, more = served.users.find(query, limit, owning(served, owns) if owns else None)
    rows = rows[~forgotten(served, users.ids(rows).to_pylist())]
    lengths = histories.indptr[rows + 1] - histories.indptr[rows]
    found = [
        FoundUser(user_id=user, n_items=length)
        for user, length in zip(users.ids(rows).to_pylist(), lengths.tolist(), strict=True)
    ]
    return UsersAnswer(query=query, users=found, more=more)


def history(served: ServedModel, user_id: str, limit: int) -> HistoryAnswer:
    """List what a user owns, by the model and by the journal.

    Args:
        served: the model.
        user_id: exact id of the user.
        limit: how many items at most.

    Returns:
        The items in the order of their indices, those that the model has not seen last, and how many there are.

    Raises:
        Problem: 404, the user is unknown, or there are no histories.
    """
    try:
        (bought,) = bought_by(served, [user_id])
        owned = owned_by(served, user_id, bought)
    except Problem as problem:
        raise with_nearest_users(served, user_id, problem) from None
    items = [
        OwnedItem(item_id=item, name=name, **more)
        for item, name, more in zip(
            *served.ids_and_names(owned.items[:limit]), served.details(owned.items[:limit]), strict=True
        )
    ]
    unseen = owned.unknown[: limit - len(items)]
    items += [OwnedItem(item_id=item, name=None, scored=False) for item in unseen]
    return HistoryAnswer(user_id=user_id, n_items=owned.items.size + len(owned.unknown), items=items)


def with_nearest_users(served: ServedModel, user_id: str, problem: Problem) -> Problem:
    """Return the problem of an unknown user with the nearest ids; any other one as it is."""
    users = served.recommender.users
    if problem.kind != "unknown-user" or users is None:
        return problem
    nearest = users.nearest(user_id)
    gone = forgotten(served, nearest)
    return unknown("user", user_id, [near for near, hidden in zip(nearest, gone, strict=True) if not hidden])


def with_nearest_items(served: ServedModel, problem: Problem) -> Problem:
    """Return the problem of a basket of unknown items with the ids nearest to the first; any other one as it is."""
    first = problem.details.unknown
    if first is None:
        return problem
    nearest = served.recommender.items.nearest(first)
    near = f"; nearest to {shown(first)}: {', '.join(map(shown, nearest))}" if nearest else ""
    return Problem(problem.kind, 404, f"{problem}{near}", nearest=nearest)


def unfolded(served: ServedModel) -> float:
    """Return how many events of the journal come after the purchases of the model; NaN where it cannot be read."""
    if served.journal is None:
        return 0
    try:
        return max(0, served.journal.last() - served.folded)
    except JournalError as error:
        _log.error("%s", error)
        return math.nan


def describe(
    served: ServedModel, image_hosts: Sequence[str] = (), beside: ServedModel | None = None
) -> ModelAnswer:
    """Describe the model; NaN and infinities become null in JSON.

    Args:
        served: the model.
        image_hosts: from which the page may load pictures.
        beside: the other model; None: there is none.
    """
    recommender = served.recommender
    users, histories, metadata = recommender.users, recommender.histories, recommender.metadata
    learned = learned_part(recommender.model)
    return ModelAnswer(
        model=served.version,
        kind=recommender.model.kind,
        config=recommender.model.config(),
        n_items=len(recommender.items),
        n_users=None if users is None else len(users),
        n_interactions=None if histories is None else int(histories.nnz),
        metrics=metadata.get("metrics"),
        history=metadata.get("history", []),
        refit=metadata.get(REFIT),
        history_of=None if learned is None else learned.kind,
        versions=metadata.get("versions", {}),
        fingerprint=metadata.get("fingerprint"),
        loaded_at=served.loaded_at.isoformat(timespec="seconds"),
        written_at=None if served.written_at is None else served.written_at.isoformat(timespec="seconds"),
        last_purchase=_date_of(known_last(metadata)),
        image_hosts=list(image_hosts),
        beside=None if beside is None else beside.version,
    )


def _date_of(seconds: int | None) -> str | None:
    """Return a time as ISO 8601; None where there is none, or none that a calendar has."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
