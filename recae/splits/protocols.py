"""Protocols: how purchases are parted into what is learned from, what is chosen on, and what is to be found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from recae.errors import ConfigError
from recae.filters import Filters
from recae.interactions import Interactions
from recae.settings import check_range
from recae.splits.items import given_pair, last_out, pair_of_matrices, weak
from recae.splits.tasks import ProtocolOptions, Purchases, Task
from recae.splits.time import global_time
from recae.splits.users import k_fold, next_basket, strong

__all__ = ["PROTOCOLS", "ProtocolOptions", "Purchases", "Task", "make_tasks", "pair_of_matrices"]

_MAKERS: Final[dict[str, Callable[[Purchases, ProtocolOptions, int], list[Task]]]] = {
    "strong": strong,
    "weak": weak,
    "last-out": last_out,
    "time": global_time,
    "next-basket": next_basket,
    "k-fold": k_fold,
    "pair": given_pair,
}

PROTOCOLS: Final = tuple(_MAKERS)
"""Names of the protocols.

strong       users who are not learned from; part of each one's items is to be found from the rest
weak         part of every user's items, chosen at random, from the rest, which is learned from
last-out     the item that each user bought last, from the earlier ones
time         what is bought from a moment on, from everything before it
next-basket  the last baskets of users who are not learned from, from their earlier ones; with or without what they own
k-fold       as strong, each user tested once
pair         a given test part, from a given training part
"""

_WITH_REPEATS: Final = ("time", "next-basket")
_CHOOSE: Final = "choose one of these"


def make_tasks(
    purchases: Purchases, protocol: str, options: ProtocolOptions | None = None, seed: int = 0
) -> list[Task]:
    """Parts the purchases as a protocol says: one task, or one for each of the folds of "k-fold".

    The same purchases, options and seed give the same bits.

    Raises
    ------
    ConfigError
        The protocol is unknown, an option does not belong to it, or the seed is out of range.
    DataError
        Nothing is left to learn from or nobody to test; more users are asked for than there are; the protocol needs
        times or baskets that the purchases lack, or the times are all the same or mix units; a given test part has
        ids that its training part lacks. The message holds the counts.
    """
    options = ProtocolOptions() if options is None else options
    check_protocol(protocol, options, seed, with_test=purchases.test is not None)
    return _MAKERS[protocol](purchases, options, seed)


def check_protocol(
    protocol: str, options: ProtocolOptions, seed: int = 0, *, with_test: bool = False
) -> None:
    """What `make_tasks` checks of its arguments, for before the purchases are read; `with_test`: a test part is given.

    Raises ConfigError for an unknown protocol, an option that does not belong to it, and a seed out of range.
    """
    if protocol not in PROTOCOLS:
        near = difflib.get_close_matches(str(protocol), PROTOCOLS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"protocol is one of {', '.join(PROTOCOLS)}, found {protocol!r}: {hint or _CHOOSE}".rstrip()
        )
    check_range("seed", seed, 0, 2**63 - 1, whole=True)
    if options.repeats and protocol not in _WITH_REPEATS:
        raise ConfigError(
            f"repeats count with the protocols {' and '.join(_WITH_REPEATS)}, but the protocol is {protocol}; "
            "choose one of these, or leave repeats out"
        )
    if options.cut is not None and protocol != "time":
        raise ConfigError(f"a cut is for the protocol time, but the protocol is {protocol}; leave it out")
    if max(options.min_user_purchases, options.min_item_purchases) > 1 and protocol != "time":
        raise ConfigError(
            f"minimums of what comes before the cut are for the protocol time, but the protocol is {protocol}; filter "
            "the purchases while they are read"
        )
    if options.decay is not None and not options.repeats:
        raise ConfigError(
            "a decay weighs repeats, but repeats are not asked for; leave it out, or ask for them"
        )
    if with_test and protocol != "pair":
        raise ConfigError(
            f"a test part is given, but the protocol is {protocol}; choose pair, or leave the test part out"
        )


def reading_options(
    source: object, columns: Mapping[str, Any] | None, filters: Filters | None
) -> dict[str, Any]:
    """Return the options of `recae.ingest.read_with_report`, the filters among them where any are asked for.

    Raises:
        ConfigError: purchases that were read already are to be filtered.
    """
    options = dict(columns or {})
    if not filters:
        return options
    if isinstance(source, Interactions | Purchases):
        raise ConfigError(
            f"filters ({filters}) apply while a table is read, but what is given was read already: give them to "
            "read_interactions, or give the path of the table"
        )
    return {**options, "filters": filters}
