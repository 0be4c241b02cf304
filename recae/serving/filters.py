"""Filters of requests by category and price, and what there is to filter by."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.list_rules import Selection, selected
from recae.serving.problems import Problem
from recae.serving.schemas import CategoryCount, FiltersAnswer, RecommendRequest
from recae.serving.served import ServedModel

_REMEMBERED: Final = 64  # filters whose marks are held, a byte an item each
_LISTED: Final = 200  # categories, those of most items first
_LEVELS: Final = (1, 2, 3)  # of paths of categories that are listed


def is_filtered(request: RecommendRequest) -> bool:
    """Return whether a request is about some categories or prices only."""
    return not (request.categories is None and request.price_from is None and request.price_to is None)


def marks_of(served: ServedModel, request: RecommendRequest) -> NDArray[np.bool_]:
    """Return which items fit the categories and prices of a request, bool (I,).

    Raises:
        Problem: 404, the model has no table of items, or no such column.
    """
    names = None if request.categories is None else tuple(request.categories)
    key = (names, request.price_from, request.price_to)
    known = served.filters.get(key)
    if known is None:
        wanted = Selection(
            categories=None if names is None else list(names),
            price_from=request.price_from,
            price_to=request.price_to,
        )
        recommender = served.recommender
        try:
            known = selected(wanted, recommender.items, recommender.item_table)
        except ConfigError as error:
            raise Problem("no-filter", 404, str(error)) from None
        if len(served.filters) >= _REMEMBERED:
            served.filters.clear()
        served.filters[key] = known
    return known


def filters_of(served: ServedModel) -> FiltersAnswer:
    """List the categories of the model's items, on the first levels of their paths, and the range of the prices."""
    recommender = served.recommender
    table = recommender.item_table
    if table is None:
        return FiltersAnswer(model=served.version, categories=[], more=False, price_from=None, price_to=None)
    own = table.of(recommender.items)
    counts: dict[str, int] = {}
    for level in _LEVELS if "category" in own else ():
        # a path that is shorter than the level stands there as a whole, with the same count
        for pair in pc.value_counts(own.path(level).drop_null()).to_pylist():
            counts[pair["values"]] = (
                pair["counts"] if level == 1 else counts.get(pair["values"], pair["counts"])
            )
    listed = sorted(sorted(counts, key=lambda name: (-counts[name], name))[:_LISTED])
    prices = own.column("price")
    ends = pc.min_max(prices) if len(prices) else pa.scalar({"min": None, "max": None})
    return FiltersAnswer(
        model=served.version,
        categories=[CategoryCount(category=name, items=counts[name]) for name in listed],
        more=len(counts) > len(listed),
        price_from=ends["min"].as_py(),
        price_to=ends["max"].as_py(),
    )
