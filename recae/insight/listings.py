"""Listings for a recommender: rules for its items, and vectors of these where lists are to be diverse."""

from __future__ import annotations

from pathlib import Path

from recae.errors import ConfigError
from recae.insight.vectors import ItemVectors
from recae.list_rules import ListRules, apply_list_rules, read_list_rules
from recae.listing import Listing, unit_vectors
from recae.messages import say
from recae.recommender import Recommender


def listing_of(
    recommender: Recommender, rules: ListRules | Path | str | None = None, diversity: float = 0.0
) -> Listing | None:
    """Return how lists are made; None where they are the usual ones. What in the rules names nothing is said.

    Args:
        recommender: for whose items.
        rules: or the path of a file of rules; None: without.
        diversity: from 0 to 1, see `Listing.rank`.

    Raises:
        ConfigError: a value is out of range, or as `read_list_rules` and `apply_list_rules`.
        DataError: there is diversity, and the model scores every history alike.
    """
    if isinstance(diversity, bool) or not isinstance(diversity, int | float) or not 0 <= diversity <= 1:
        raise ConfigError(f"diversity is a number from 0 to 1, found {diversity!r}: give one in that range")
    if rules is None and not diversity:
        return None
    applied = None
    if rules is not None:
        read = rules if isinstance(rules, ListRules) else read_list_rules(rules)
        applied = apply_list_rules(read, recommender.items, recommender.item_table)
        for remark in applied.remarks:
            say(f"warning: {remark}")
    vectors = unit_vectors(ItemVectors(recommender).vectors) if diversity else None
    return Listing(applied, float(diversity), vectors)
