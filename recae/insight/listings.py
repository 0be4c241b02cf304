"""Listings for a recommender: rules for its items, and vectors of these where lists are to be diverse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from recae.errors import ConfigError
from recae.insight.vectors import ItemVectors
from recae.interactions import Interactions
from recae.item_table import ItemTable
from recae.list_rules import ListRules, apply_list_rules, read_list_rules
from recae.listing import Listing, unit_vectors
from recae.messages import say
from recae.recommender import RULES, Recommender

MOST_STORED: Final = 2**20
"""Bytes of rules that are stored with a model at most."""

NONE: Final = "none"
"""In place of the path of a file of rules: no rules at all, not even those that are stored with the model."""


def stored_rules(rules: ListRules) -> dict[str, Any]:
    """Return rules as JSON values for the metadata of a model, under `RULES`.

    Raises:
        ConfigError: they are too large to be stored.
    """
    values: dict[str, Any] = rules.model_dump(mode="json", exclude_defaults=True)
    size = len(json.dumps(values))
    if size > MOST_STORED:
        raise ConfigError(
            f"the rules take {size / 2**20:,.1f} MiB, and at most {MOST_STORED >> 20} MiB are stored with a model: "
            "name categories or brands instead of ids, or give the file with --rules wherever lists are made"
        )
    return values


def rules_of(metadata: Mapping[str, Any]) -> ListRules | None:
    """Return the rules that a model was trained with; None without.

    Raises:
        ConfigError: they are of a later version of recae.
    """
    values = metadata.get(RULES)
    if not values:
        return None
    try:
        return ListRules.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ConfigError(
            "the rules that are stored with the model are not those of this version of recae: give others with "
            "--rules, or none with --rules none"
        ) from error


def checked_rules(
    rules: ListRules, interactions: Interactions, table: ItemTable | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return rules as they are stored with a model, and what in them names nothing of its items, in sentences.

    Args:
        rules: for the lists of the model.
        interactions: that it is trained on.
        table: of items; None without.

    Raises:
        ConfigError: they do not fit the items, are too large to be stored, or need times that are not there.
    """
    stored = stored_rules(rules)
    if rules.bought_within_days is not None and interactions.times is None:
        raise ConfigError(
            "the rules leave out what was bought within so many days, but these purchases have no times: name their "
            "column with --time-column, or leave the rule bought_within_days out"
        )
    return stored, apply_list_rules(rules, interactions.items, table).remarks


def chosen_rules(recommender: Recommender, rules: ListRules | Path | str | None) -> ListRules | None:
    """Return the rules that are given, read, or else those that are stored with the model; None without any.

    Raises:
        ConfigError: as `read_list_rules`, or the stored ones are of a later version.
    """
    return rules_of(recommender.metadata) if rules is None else read_rules(rules)


def read_rules(rules: ListRules | Path | str) -> ListRules | None:
    """Return rules, or those of a file; None for "none".

    Raises:
        ConfigError: as `read_list_rules`.
    """
    if isinstance(rules, ListRules):
        return rules
    return None if str(rules) == NONE else read_list_rules(rules)


def listing_of(
    recommender: Recommender, rules: ListRules | Path | str | None = None, diversity: float = 0.0
) -> Listing | None:
    """Return how lists are made; None where they are the usual ones. What in the rules names nothing is said.

    Args:
        recommender: for whose items.
        rules: or the path of a file of rules, or "none" for no rules at all; None: those that are stored with the
            model.
        diversity: from 0 to 1, see `Listing.rank`.

    Raises:
        ConfigError: a value is out of range, or as `read_list_rules` and `apply_list_rules`.
        DataError: there is diversity, and the model scores every history alike.
    """
    if isinstance(diversity, bool) or not isinstance(diversity, int | float) or not 0 <= diversity <= 1:
        raise ConfigError(f"diversity is a number from 0 to 1, found {diversity!r}: give one in that range")
    read = chosen_rules(recommender, rules)
    if read is None and not diversity:
        return None
    applied = None
    if read is not None:
        applied = apply_list_rules(read, recommender.items, recommender.item_table)
        for remark in applied.remarks:
            say(f"warning: {remark}")
    vectors = unit_vectors(ItemVectors(recommender).vectors) if diversity else None
    return Listing(applied, float(diversity), vectors)
