"""What a shop wants to know of a model at a glance: what its lists cover, whom they favour, and what is no product."""

from __future__ import annotations

from typing import Final

import numpy as np

from recae.examination.products import is_service
from recae.serving.answers import RankedList, rank
from recae.serving.schemas import ListsSummary, RecommendRequest, ServiceItem
from recae.serving.served import ServedModel

SAMPLE: Final = 500
"""Customers whose lists are looked at, drawn by chance; the same ones for the same model."""
LENGTH: Final = 10
"""Items of a list."""
_TOGETHER: Final = 16  # lists that are made at a time, so that requests in between do not wait for long
_SHOWN: Final = 20  # items that are no products, those in most lists first


def lists_summary(served: ServedModel) -> ListsSummary | None:
    """Make the lists of a sample of customers, as they are answered now, and sum them up.

    Args:
        served: the model, which remembers the answer.

    Returns:
        The figures; None without histories or without customers who own something.
    """
    if served.summary:
        return served.summary[0]
    recommender, owners = served.recommender, served.owners
    if recommender.users is None or recommender.histories is None or owners is None:
        return None
    active = np.flatnonzero(np.diff(recommender.histories.indptr))
    if not active.size:
        return None
    drawn = np.random.default_rng(0).permutation(active)[:SAMPLE]
    users = recommender.users.ids(np.sort(drawn)).to_pylist()
    given = np.zeros(len(recommender.items), dtype=np.int64)
    n_lists = 0
    for start in range(0, len(users), _TOGETHER):
        asked = [RecommendRequest(user=user, n=LENGTH) for user in users[start : start + _TOGETHER]]
        for one in rank(served, asked):
            if isinstance(one, RankedList):  # else the user is forgotten by now
                n_lists += 1
                np.add.at(given, one.items, 1)
    n_given = int(given.sum())
    # by index where the numbers of owners are equal, as in every list
    top = np.argsort(-owners, kind="stable")[: max(1, owners.size // 10)]
    owned = int(owners.sum())
    summary = ListsSummary(
        customers=n_lists,
        length=LENGTH,
        items=given.size,
        items_given=int(np.count_nonzero(given)),
        most_possible=min(given.size, n_lists * LENGTH),
        top_items=top.size,
        top_share=int(given[top].sum()) / n_given if n_given else None,
        top_share_owned=int(owners[top].sum()) / owned if owned else None,
        services=_services(served, given, n_lists),
    )
    served.summary.append(summary)
    return summary


def _services(served: ServedModel, given: np.ndarray, n_lists: int) -> list[ServiceItem]:
    """Return the items of the lists that look by their names, or without one by their ids, like no products."""
    items = np.flatnonzero(given)
    items = items[np.argsort(-given[items], kind="stable")]
    found = [
        ServiceItem(item_id=item, name=name, lists=int(given[row]), share=int(given[row]) / n_lists)
        for row, item, name in zip(items.tolist(), *served.ids_and_names(items), strict=True)
        if is_service(name or item)
    ]
    return found[:_SHOWN]
