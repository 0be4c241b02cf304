"""Test users of a report one by one: histories, held-out items and lists, and for whom a model is worst."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recae.evaluation.report.values import count_of, number_of, object_of, objects_of, text_of


@dataclass(frozen=True)
class Item:
    """An item by its id and, where it has one, its name."""

    item: str
    name: str | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Item:
        """Read an item."""
        return cls(text_of(value.get("item")), text_of(value.get("name")) or None)


@dataclass(frozen=True)
class Recommended:
    """A recommended item: whether it is one of the held-out items, and the score that ranked it."""

    item: str
    name: str | None
    hit: bool
    score: float | None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recommended:
        """Read a recommended item."""
        item = Item.from_json(value)
        return cls(item.item, item.name, bool(value.get("hit")), number_of(value.get("score")))


@dataclass(frozen=True)
class Example:
    """One test user: the history the models saw, the held-out items, and the lists of some models, best item first."""

    user: str
    history: tuple[Item, ...]
    held_out: tuple[Item, ...]
    recommended: Mapping[str, tuple[Recommended, ...]]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Example:
        """Read an example."""
        return cls(
            text_of(value.get("user")),
            tuple(map(Item.from_json, objects_of(value.get("history")))),
            tuple(map(Item.from_json, objects_of(value.get("held_out")))),
            {
                str(name): tuple(map(Recommended.from_json, objects_of(listed)))
                for name, listed in object_of(value.get("recommended")).items()
            },
        )


@dataclass(frozen=True)
class Failures:
    """The test users for whom a model is worst.

    Attributes:
        model: Its name: the best model, or the best baseline where there is no other.
        metric: By which the users are in order, the lowest first; of equals those with most held-out items.
        n_users: Test users that the metric is known of.
        n_without_hit: Those of them who find none of their held-out items in their lists.
        history_without_hit: Median number of items in the histories of these; None where there are none.
        history_with_hit: Likewise of the others.
        examples: The worst users, with the lists of the model and the best baseline.
    """

    model: str
    metric: str
    n_users: int | None
    n_without_hit: int | None
    history_without_hit: float | None
    history_with_hit: float | None
    examples: tuple[Example, ...]

    @classmethod
    def from_json(cls, value: object) -> Failures | None:
        """Read failures; None where there are none."""
        found = object_of(value)
        if not found:
            return None
        return cls(
            text_of(found.get("model")),
            text_of(found.get("metric")),
            count_of(found.get("n_users")),
            count_of(found.get("n_without_hit")),
            number_of(found.get("history_without_hit")),
            number_of(found.get("history_with_hit")),
            tuple(map(Example.from_json, objects_of(found.get("examples")))),
        )
