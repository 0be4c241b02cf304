"""Values of a report's JSON form, whatever they are: what is missing or of another type becomes None or empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def number_of(value: object) -> float | None:
    """Return the number; None for anything that is none: null, NaN, infinite, text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def count_of(value: object) -> int | None:
    """Return the whole number; None for anything that is none."""
    number = number_of(value)
    return None if number is None or number != int(number) else int(number)


def text_of(value: object) -> str:
    """Return the text, of a number its digits; empty for anything else."""
    if isinstance(value, str) or value is True or number_of(value) is not None:
        return str(value)
    return ""


def list_of(value: object) -> Sequence[Any]:
    """Return the list; an empty one for anything else."""
    return value if isinstance(value, list | tuple) else ()


def object_of(value: object) -> Mapping[str, Any]:
    """Return the object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def objects_of(value: object) -> list[Mapping[str, Any]]:
    """Return the objects of a list."""
    return [part for part in list_of(value) if isinstance(part, Mapping)]


def mapped_of(value: object, read: Callable[[Any], T]) -> dict[str, T] | None:
    """Return the values of an object, each read; None where it is none."""
    return {str(key): read(part) for key, part in value.items()} if isinstance(value, Mapping) else None
