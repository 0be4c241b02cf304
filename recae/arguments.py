"""Checks of arguments of Python's functions: a wrong type is a sentence with the way out, as on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recae.errors import ConfigError
from recae.text import brief


def check_flag(name: str, value: object) -> None:
    """Raise ConfigError unless a value is True, False or None."""
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False, found {brief(value)}: give one of them")


def check_text(name: str, value: object, example: str) -> None:
    """Raise ConfigError unless a value is text or None."""
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} is text such as {example!r}, found {brief(value)}: give one")


def check_seed(value: object) -> None:
    """Raise ConfigError unless a value is a whole number from 0 that fits 63 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ConfigError(f"seed is a whole number from 0, found {brief(value)}: give one")


def check_path(name: str, value: object) -> None:
    """Raise ConfigError unless a value is a path: text, or a `pathlib.Path`."""
    if not isinstance(value, str | Path):
        raise ConfigError(f"{name} is a path as text or a pathlib.Path, found {brief(value)}: give one")


def check_mapping(name: str, value: object, example: str) -> None:
    """Raise ConfigError unless a value is a mapping of text to mappings, or None."""
    plain = isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(inner, Mapping) for key, inner in value.items()
    )
    if value is not None and not plain:
        raise ConfigError(f"{name} is a dictionary such as {example}, found {brief(value)}: give one")


def listed(name: str, value: Any, kind: type, example: str) -> list[Any]:
    """Return one value or several as a list.

    Args:
        name: of the argument.
        value: of the kind, or an iterable of such.
        kind: str, int or float, which whole numbers are as well.
        example: of a list, for the message.

    Raises:
        ConfigError: it is neither.
    """
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    found = list(value) if several else [value]
    if kind is int:  # NumPy's are whole numbers, too
        found = [
            int(one) if hasattr(one, "__index__") and not isinstance(one, bool) else one for one in found
        ]
    if kind is float:
        found = [
            float(one) if hasattr(one, "__float__") and not isinstance(one, bool) else one for one in found
        ]
    if any(isinstance(one, bool) or not isinstance(one, kind) for one in found):
        what = {str: "a name or several", int: "a whole number or several"}.get(kind, "a number or several")
        raise ConfigError(f"{name} is {what}, such as {example}, found {brief(value)}: give that")
    return found
