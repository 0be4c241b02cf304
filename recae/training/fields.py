"""What a configuration class says of its fields: type, default, range and meaning, for errors and for people."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from recae.errors import RecaeError

_READ = (int, float, bool, str)  # in the order in which a text is tried
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Setting:
    """A field of a configuration that a person can set.

    name      of the field
    types     of its values, without None: some of int, float, bool and str
    optional  None is allowed: chosen from the data
    default   its value when it is not given
    wanted    type and range in words, such as "a whole number from 1 to 16384"
    meaning   what the configuration's docstring says of it
    """

    name: str
    types: tuple[type, ...]
    optional: bool
    default: Any
    wanted: str
    meaning: str


def settings_of(config_class: type[Any]) -> Mapping[str, Setting]:
    """The settings of a configuration class by name, in its order; fields of other types are not for people to set."""
    of: Any = config_class  # mypy holds that a type cannot be hashed
    return _settings_of(of)


@cache
def _settings_of(config_class: Any) -> Mapping[str, Setting]:
    hints, meanings = get_type_hints(config_class), _meanings(config_class)
    found = {}
    for field in fields(config_class):
        of_hint = _types(hints[field.name])
        optional = NoneType in of_hint
        types: tuple[type, ...] = tuple(kind for kind in _READ if kind in of_hint)
        if types and field.init:
            default = field.default if field.default is not MISSING else None
            wanted = _wanted(config_class, field.name, types) + (" or 'none'" if optional else "")
            found[field.name] = Setting(
                field.name, types, optional, default, wanted, meanings.get(field.name, "")
            )
    return MappingProxyType(found)


def _types(hint: Any) -> set[type]:
    """The plain types in an annotation; empty when there is something else in it."""
    if get_origin(hint) is Literal:
        return {type(choice) for choice in get_args(hint)}
    if hint in (*_READ, NoneType):
        return {hint}
    parts = [_types(part) for part in get_args(hint)]
    if get_origin(hint) in (list, tuple, dict, set) or not parts or not all(parts):
        return set()
    return set().union(*parts)


def _wanted(config_class: type[Any], name: str, types: tuple[type, ...]) -> str:
    """Type and range: what the class itself says when it refuses a value, so that it is written in one place."""
    try:
        config_class(**{name: "?" if str in types else math.nan})
    except RecaeError as error:
        if found := re.search(rf"\b{name} (?:is|are) (.+?)[,;:] (?:but )?found\b", str(error)):
            return found[1]
    except Exception:  # noqa: S110  a class that cannot take it says nothing of its range
        pass
    return " or ".join(_TYPE_NAMES[kind] for kind in types if kind is not int or float not in types)


def _meanings(config_class: type[Any]) -> dict[str, str]:
    """Field name → its lines in the docstrings of the class and its bases, joined."""
    meanings: dict[str, str] = {}
    for cls in reversed(config_class.__mro__):
        if not hasattr(cls, "__dataclass_fields__"):
            continue
        name = None
        for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
            found = re.match(r"(\w+)(?: : .*|  +(\S.*)|)$", line)
            if found and found[1] in cls.__dataclass_fields__:
                name = found[1]
                meanings[name] = found[2] or ""
            elif name and line.startswith("  "):
                meanings[name] = f"{meanings[name]} {line.strip()}".strip()
            else:
                name = None
    return meanings
