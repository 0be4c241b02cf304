"""Protocols: how purchases are split into training, validation and held-out purchases."""

from __future__ import annotations

import difflib
from typing import Final

from recae.errors import ConfigError
from recae.filters import Filters
from recae.interactions import Interactions
from recae.reading.options import ReadOptions
from recae.settings import check_range
from recae.splits.items import pair_of_matrices
from recae.splits.rows import PROTOCOLS, in_words, taking
from recae.splits.tasks import ProtocolOptions, Purchases, Task

__all__ = ["PROTOCOLS", "ProtocolOptions", "Purchases", "Task", "make_tasks", "pair_of_matrices"]

_CHOOSE: Final = "choose one of these"


def make_tasks(
    purchases: Purchases, protocol: str, options: ProtocolOptions | None = None, seed: int = 0
) -> list[Task]:
    """Split the purchases as a protocol says: one task, or one for each fold of "k-fold".

    The same purchases, options and seed give the same bits.

    Args:
        purchases: what was read.
        protocol: one of `PROTOCOLS`.
        options: of the protocol; None: the defaults.
        seed: decides, with the ids, who and what is held out.

    Raises:
        ConfigError: the protocol is unknown, an option does not belong to it, or the seed is out of range.
        DataError: nothing is left to learn from or nobody to test; more users are asked for than there are; the
            protocol needs times or baskets that the purchases lack, or the times are all the same or mix units; a
            given test part has no purchase of a user and an item of its training part. The message holds the counts.
    """
    options = ProtocolOptions() if options is None else options
    check_protocol(protocol, options, seed, with_test=purchases.test is not None)
    return PROTOCOLS[protocol].make(purchases, options, seed)


def check_protocol(
    protocol: str, options: ProtocolOptions, seed: int = 0, *, with_test: bool = False
) -> None:
    """Check the arguments of `make_tasks` before the purchases are read.

    Args:
        protocol: one of `PROTOCOLS`.
        options: of the protocol.
        seed: a whole number from 0.
        with_test: whether a test part is given.

    Raises:
        ConfigError: the protocol is unknown, an option does not belong to it, or the seed is out of range.
    """
    if protocol not in PROTOCOLS:
        near = difflib.get_close_matches(str(protocol), PROTOCOLS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(
            f"protocol is one of {', '.join(PROTOCOLS)}, found {protocol!r}: {hint or _CHOOSE}".rstrip()
        )
    check_range("seed", seed, 0, 2**63 - 1, whole=True)
    row = PROTOCOLS[protocol]
    if options.repeats and not row.takes("repeats"):
        raise ConfigError(
            f"repeats count with the {in_words(taking('repeats'))}, but the protocol is {protocol}; "
            "choose one of these, or leave repeats out"
        )
    if options.cut is not None and not row.takes("cut"):
        raise ConfigError(
            f"a cut is for the {in_words(taking('cut'))}, but the protocol is {protocol}; leave it out"
        )
    for least in ("min_user_purchases", "min_item_purchases"):
        if getattr(options, least) > 1 and not row.takes(least):
            raise ConfigError(
                f"minimums of what comes before the cut are for the {in_words(taking(least))}, but the protocol is "
                f"{protocol}; filter the purchases while they are read"
            )
    if options.decay is not None and not options.repeats:
        raise ConfigError(
            "a decay weighs repeats, but repeats are not asked for; leave it out, or ask for them"
        )
    if options.ties != "random" and not row.takes("ties"):
        raise ConfigError(
            f"ties of the last moment are broken with the {in_words(taking('ties'))}, but the protocol is {protocol}; "
            "leave ties out"
        )
    if with_test and not row.takes("test"):
        raise ConfigError(
            f"a test part is given, but the protocol is {protocol}; choose {' or '.join(taking('test'))}, or leave "
            "the test part out"
        )


def reading_options(
    source: object, reading: ReadOptions | None, filters: Filters | None = None
) -> ReadOptions:
    """Return how to read a table, the filters among it where any are asked for.

    Raises:
        ConfigError: purchases that were read already are to be filtered.
    """
    options = reading or ReadOptions()
    asked = filters or options.filters
    if asked and isinstance(source, Interactions | Purchases):
        raise ConfigError(
            f"filters ({asked}) apply while a table is read, but what is given was read already: give them to "
            "recae.read, or give the path of the table"
        )
    return options.updated(filters=asked or None)


def check_no_inputs(options: ReadOptions | None, function: str) -> None:
    """Raise ConfigError where other events are asked for as inputs, for what measures purchases alone."""
    if options is not None and options.inputs is not None:
        raise ConfigError(
            f"{function} learns from purchases alone: leave --inputs (inputs=) out, or give it to recae train, "
            "which measures what each event brings on held-out users"
        )


def check_baskets(source: object, options: ReadOptions, repeats: bool) -> None:
    """Raise ConfigError where baskets and repeat purchases do not go together."""
    if repeats and isinstance(source, Interactions):
        raise ConfigError(
            "repeats need to know the baskets, which Interactions do not hold: give the path of a table"
        )
    if not repeats and options.basket_column:
        raise ConfigError(
            "baskets are told apart only for repeat purchases: add --repeats, or leave out --basket-column"
        )
