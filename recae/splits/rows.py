"""The protocols, a row each: a new one needs nothing but its row and the function that makes its tasks.

A row is light: its function stands in it as "module:function" and is imported when it is first used, so that the help
lists the protocols without NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from recae.splits.tasks import ProtocolOptions, Purchases, Task

Maker: TypeAlias = "Callable[[Purchases, ProtocolOptions, int], list[Task]]"
"""(purchases, options, seed) → tasks."""

_COMMON: Final = ("min_items", "validation_users", "weighting")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol: its row in `PROTOCOLS`.

    Attributes:
        name: As `--protocol` takes it.
        about: What is held out, in a line of the help.
        title: What the report calls it, with a capital letter.
        meaning: What is held out and for whom the figures hold, in some sentences of the report.
        maker: The function that makes its tasks, or "module:function", by which it is imported when it is first used.
        options: Fields of `ProtocolOptions` that it looks at beside those that all do; with "repeats" owned items may
            stay in the lists; "test" where its test part is given.
        by_basket: Whether it needs every purchase with its time or basket, and not only the pairs.
        timed: Whether every purchase needs a time, where its basket would not do.
    """

    name: str
    about: str
    title: str
    meaning: str
    maker: str | Maker
    options: tuple[str, ...] = ()
    by_basket: bool = False
    timed: bool = False

    def takes(self, option: str) -> bool:
        """Return whether the protocol looks at an option."""
        return option in self.options or option in _COMMON

    def make(self, purchases: Purchases, options: ProtocolOptions, seed: int) -> list[Task]:
        """Make its tasks by its function, imported now."""
        from pkgutil import resolve_name

        maker: Maker = resolve_name(self.maker) if isinstance(self.maker, str) else self.maker
        return maker(purchases, options, seed)


PROTOCOLS: Final[dict[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="strong",
            about="users not seen in training: a part of their items has to be predicted",
            title="Users the models have never met",
            meaning="Some users were set aside before anything was learned. Of each of them a part of the items was "
            "shown to the models, and the rest was to be found. The figures hold for new users whose first purchases "
            "are known.",
            maker="recae.splits.users:strong",
            options=("test_users", "held_out"),
        ),
        Protocol(
            name="weak",
            about="a part of every user's items, chosen at random",
            title="Some items of each user hidden",
            meaning="Of each test user some items, drawn at random, were hidden. The models learned from everything "
            "else, the other items of the same users included. The figures hold for users whom the models know.",
            maker="recae.splits.items:weak",
            options=("held_out",),
        ),
        Protocol(
            name="last-out",
            about="the item that each user bought last",
            title="The last item of each user hidden",
            meaning="Of each test user the most recent item was hidden, and the models learned from what came before. "
            "The figures say how well the very next item of a known user is found.",
            maker="recae.splits.items:last_out",
            options=("ties",),
        ),
        Protocol(
            name="time",
            about="what is bought from a date on, predicted from everything before it",
            title="Learned before a date, tested after it",
            meaning="One date divides the data. The models saw nothing from after it, not even which items would "
            "exist, and were to find what users bought later. This is closest to real use, and it is hard.",
            maker="recae.splits.time:global_time",
            options=("held_out", "cut", "repeats", "decay", "min_user_purchases", "min_item_purchases"),
            by_basket=True,
            timed=True,
        ),
        Protocol(
            name="next-basket",
            about="the last baskets of users not seen in training",
            title="The next basket",
            meaning="Some users were set aside before anything was learned. Of each of them the last basket was "
            "hidden, and the models were to find what is in it from the baskets before.",
            maker="recae.splits.users:next_basket",
            options=("test_users", "repeats", "decay"),
            by_basket=True,
        ),
        Protocol(
            name="k-fold",
            about="as strong, each user tested once",
            title="Every user tested once",
            meaning="The users were divided into groups. Each group was tested with models that had learned from the "
            "other groups, so that every user counts once.",
            maker="recae.splits.users:k_fold",
            options=("held_out", "folds"),
        ),
        Protocol(
            name="pair",
            about="a test part that is given",
            title="A given training and test part",
            meaning="The training part and the test part were given as two files, as published comparisons have them. "
            "The models learned from the first only.",
            maker="recae.splits.items:given_pair",
            options=("held_out", "test"),
        ),
        Protocol(
            name="cold-items",
            about="items held out whole: found by name, category and what else is known of them",
            title="New items that nobody has bought",
            meaning="Some items were set aside with all their purchases, as if they were new. The models learned from "
            "the other items, and what is known of each new one, such as its name and category, said where it belongs. "
            "Each user was asked which of the new items they bought. The figures hold for a choice among new items "
            "alone.",
            maker="recae.splits.cold:cold_items",
            options=("held_out",),
        ),
    )
}
"""The protocols by name, in the order of the help."""


def taking(option: str) -> list[str]:
    """Return the names of the protocols that look at an option."""
    return [row.name for row in PROTOCOLS.values() if row.takes(option)]


def in_words(protocols: Sequence[str]) -> str:
    """Return "protocol time" or "protocols time and next-basket"."""
    *others, last = protocols
    return f"protocols {', '.join(others)} and {last}" if others else f"protocol {last}"


def listed() -> str:
    """Return the protocols, one a line with what each holds out."""
    width = max(map(len, PROTOCOLS))
    return "\n".join(f"  {row.name:<{width}}  {row.about}" for row in PROTOCOLS.values())
