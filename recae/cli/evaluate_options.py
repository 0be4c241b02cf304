"""How `recae evaluate` parts the purchases: its options, and what becomes of their texts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.evaluation.protocols import ProtocolOptions

_Function = TypeVar("_Function", bound=Callable[..., Any])

_EVERY = ("strong", "weak", "last-out", "time", "next-basket", "k-fold", "pair")

_OPTIONS: dict[str, tuple[str, tuple[str, ...], str]] = {
    # name: what stands for the value, the protocols that look at it, and the help
    "test_users": (
        "N",
        ("strong", "next-basket"),
        "Users to test, a share such as 0.1 or a number.  [default: 0.1, at most 10,000]",
    ),
    "held_out": (
        "SHARE",
        ("strong", "weak", "k-fold", "time", "pair"),
        "Share of each history to be found; with time, of all purchases; with pair, to choose on.  [default: 0.2]",
    ),
    "folds": ("N", ("k-fold",), "Parts of the users.  [default: 5]"),
    "cut": (
        "DATE",
        ("time",),
        "First moment held out, such as 2011-11-09; UTC unless it says otherwise.  [default: by --held-out]",
    ),
    "min_items": ("N", _EVERY, "Items that a user needs to be tested.  [default: 2]"),
    "validation_users": (
        "N",
        _EVERY,
        "Users to choose settings on, a share or a number; 0: none, all have their defaults.  [default: as many as "
        "are tested, or 0.1]",
    ),
    "decay": (
        "X",
        ("time", "next-basket"),
        "With --repeats: what a purchase still weighs one basket later.  [default: the best on validation users]",
    ),
}


def protocol_options(function: _Function) -> _Function:
    """Add an option for each of the fields of `ProtocolOptions`, as texts; and --repeats."""
    function = click.option(
        "--repeats",
        is_flag=True,
        help="With time or next-basket: people rebuy; owned items stay in the lists and count.",
    )(function)
    for name, (metavar, _, text) in reversed(_OPTIONS.items()):
        function = click.option(_flag(name), name, metavar=metavar, help=text)(function)
    return function


def read_protocol_options(protocol: str, texts: dict[str, Any]) -> ProtocolOptions:
    """The options of a protocol; takes what `protocol_options` added out of `texts`.

    Raises ConfigError for a text that is no value, a value out of range, and an option that the protocol does not look
    at.
    """
    from recae.evaluation.protocols import PROTOCOLS, ProtocolOptions

    given: dict[str, Any] = {"repeats": texts.pop("repeats")}
    for name, (_, protocols, _) in _OPTIONS.items():
        text = texts.pop(name)
        if text is None:
            continue
        if protocol in PROTOCOLS and protocol not in protocols:
            listed = " and ".join(filter(None, [", ".join(protocols[:-1]), protocols[-1]]))
            many = "s" if len(protocols) > 1 else ""
            raise ConfigError(
                f"{_flag(name)} is for the protocol{many} {listed}, but the protocol is {protocol}; leave it out"
            )
        given[name] = seconds_of(text) if name == "cut" else number(_flag(name), text)
    if "cut" in given and "held_out" in given:
        raise ConfigError("--cut and --held-out both say where the held-out period begins; give one of them")
    return ProtocolOptions(**given)


def number(flag: str, text: str) -> int | float:
    """A whole number or a decimal, as it is written; ConfigError for anything else."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ConfigError(f"{flag} is a number, found '{text}': give one")


def seconds_of(text: str) -> int:
    """An ISO date or time as seconds since 1970 UTC; ConfigError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--cut is an ISO date or time such as 2011-11-09 or 2011-11-09T12:00, found '{text}': give one"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def read_lengths(ctx: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    """The list lengths in "10,20,50", in their order; ConfigError for anything else."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        raise ConfigError(
            f"-k takes whole numbers joined by commas, such as 10,20,50, found '{text}': give some"
        )
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
