"""Customers of an item: for whom it has the highest score, and how many own it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recae.errors import DataError
from recae.serving.forgetting import forgotten
from recae.serving.schemas import CustomersAnswer, LikelyUser
from recae.serving.served import ServedModel, unknown, without_histories

_SPARE = 50  # users that are looked up beside those asked for, in place of forgotten ones


def customers_of(served: ServedModel, item_id: str, n: int) -> CustomersAnswer:
    """Find the users for whom an item has the highest score, by the histories of the model.

    Args:
        served: the model; purchases of its journal do not count here, but nobody is listed who is forgotten.
        item_id: exact id of the item.
        n: how many users at most.

    Returns:
        The users, best first; none where the model scores every history alike, so that nobody stands out.

    Raises:
        Problem: 404, the item is unknown or there are no histories.
    """
    recommender = served.recommender
    row = served.item(item_id)
    if recommender.users is None or recommender.histories is None or served.owners is None:
        raise without_histories()
    found: list[LikelyUser] = []
    if _tells_apart(served):
        table = recommender.users_for(item_id, min(n + _SPARE, len(recommender.users)))
        ids, scores = table["user_id"].tolist(), table["score"].tolist()
        stay = ~forgotten(served, ids)
        found = [
            LikelyUser(rank=rank, user_id=ids[at], score=float(f"{scores[at]:.6g}"))
            for rank, at in enumerate(np.flatnonzero(stay)[:n].tolist(), start=1)
        ]
    return CustomersAnswer(
        model=served.version,
        item_id=item_id,
        name=served.ids_and_names(np.array([row]))[1][0],
        owners=int(served.owners[row]),
        likely=found,
    )


def owning(served: ServedModel, items: Sequence[str]) -> NDArray[np.bool_]:
    """Return which users own all of some items by the histories of the model, bool (U,).

    Raises:
        Problem: 404, an item is unknown or there are no histories.
    """
    histories = served.recommender.histories
    if histories is None:
        raise without_histories()
    rows = served.item_rows(items)
    for item, row in zip(items, rows.tolist(), strict=True):
        if row < 0:
            raise unknown("item", item, served.recommender.items.nearest(item))
    rows = np.unique(rows)
    # an item is at most once in a history, so that a user who owns all of them has as many hits as there are
    hits = np.flatnonzero(np.isin(histories.indices, rows))
    users = np.searchsorted(histories.indptr, hits, "right") - 1
    owns: NDArray[np.bool_] = np.bincount(users, minlength=histories.shape[0]) == rows.size
    return owns


def _tells_apart(served: ServedModel) -> bool:
    try:
        return bool(served.vectors.vectors.size)
    except DataError:  # a kind that scores every history alike
        return False
