"""`associations`: what is bought together, of a table of purchases, as a table with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recae.errors import ConfigError
from recae.interface.keywords import Words
from recae.interface.purchases import taken
from recae.reading import ReadOptions, read
from recae.results import Table

if TYPE_CHECKING:
    from recae.filters import Filters
    from recae.insight.associations import Associations
    from recae.interactions import Interactions
    from recae.recommender import Recommender


def associations(
    source: Any,
    *,
    baskets: bool = False,
    least: int | None = None,
    item: str | int | None = None,
    n: int = 100,
    model: Recommender | None = None,
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    **words: Any,
) -> Table[Any]:
    """Find items that are bought together more often than chance would have it, the surest pairs first.

    Args:
        source: as for `read`, or purchases that were read already.
        baskets: whether bought together means in one order or at one time; False: by one user, whenever.
        least: baskets, or users, that hold both items; None: 5, or one in two thousand if that is more.
        item: the first item of all pairs; None: any.
        n: how many rows.
        model: says where the second item stands in its own list for the first one.
        reading: how to understand the table; None: by its names and values.
        filters: which of the purchases count.
        words: the same as keywords, as for `read`.

    Returns:
        a row a rule: ``item_id``, ``name``, ``then_id``, ``then_name``, ``baskets``, ``support``, ``confidence``,
        ``confidence_low``, ``confidence_high``, ``lift``, ``lift_low``, ``lift_high``; with a model ``model_rank``.

    Raises:
        ConfigError: an option is unknown, or does not fit the source.
        DataError: the purchases cannot be used.
        UnknownIdError: there is no such item.
    """
    asked = Words("associations", words)
    purchases = taken(source, asked)
    options = asked.options(reading, filters) or ReadOptions()
    asked.finish()
    found, interactions = associate(purchases, options, baskets=baskets, least=least, item=item, n=n)
    return table_of(found, interactions, model)


def associate(
    source: Any, options: ReadOptions, *, baskets: bool, least: int | None, item: str | int | None, n: int
) -> tuple[Associations, Interactions]:
    """Read purchases and find their associations; the arguments are those of `associations`.

    Returns:
        what was found, and the interactions whose items it names by number.
    """
    from recae.insight.associations import associations as find
    from recae.insight.associations import baskets_of
    from recae.interactions import Interactions

    if isinstance(source, Interactions):
        if baskets:
            raise ConfigError(
                "baskets are told apart while a table is read, but these purchases were read already: give the "
                "table itself, or leave baskets out"
            )
        interactions, matrix = source, source.matrix
    else:
        purchases = read(source, options.updated(baskets=baskets))
        interactions = purchases.interactions
        matrix = interactions.matrix if purchases.events is None else baskets_of(purchases.events)
    of = None if item is None else interactions.items.row(item, "item")
    return find(matrix, least=least, of=of, most=n), interactions


def table_of(found: Associations, interactions: Interactions, model: Recommender | None = None) -> Table[Any]:
    """Return associations as a table, with ids and names, and with a model the place in its list."""
    from recae.insight.associations import ranks_by_model

    names = interactions.item_names
    columns: dict[str, Any] = {}
    for rows, what in ((found.first, "item"), (found.second, "then")):
        columns[f"{what}_id"] = interactions.items.ids(rows)
        named = pa.nulls(rows.size, pa.large_string()) if names is None else names.take(pa.array(rows))
        columns["name" if what == "item" else "then_name"] = named
    columns |= {
        "baskets": found.baskets,
        "support": found.support,
        "confidence": found.confidence,
        "confidence_low": found.confidence_interval[:, 0],
        "confidence_high": found.confidence_interval[:, 1],
        "lift": found.lift,
        "lift_low": found.lift_interval[:, 0],
        "lift_high": found.lift_interval[:, 1],
    }
    if model is not None:
        first, second = (model.items.rows(columns[name]) for name in ("item_id", "then_id"))
        ranks = ranks_by_model(model, first, second)
        columns["model_rank"] = pa.array(ranks, mask=np.equal(ranks, 0))
    return Table.of(columns, title="Bought together")
