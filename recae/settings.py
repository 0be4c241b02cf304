"""Settings of a kind of model from texts, TOML files and Python values, checked by name, type and range."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from recae.confidence import Weighting
from recae.errors import ConfigError, RecaeError
from recae.filters import Filters

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


Kinds = Mapping[str, type[Any]]
"""Kind → configuration class."""

FILTERS = "filters"
"""The table of a TOML file that says which purchases count; the fields of `recae.filters.Filters`."""

WEIGHTS = "weights"
"""The table that says what purchases weigh; the fields of `recae.confidence.Weighting`."""

_NO_KINDS: Kinds = {}
_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def parse_settings(
    config_class: type[Any], kind: str, assignments: Iterable[str], *, kinds: Kinds = _NO_KINDS
) -> dict[str, Any]:
    """Typed values of texts "key=value", by key.

    `kinds` are all kinds there are: the error for a key that others have names them, and a kind that is put together
    from several takes `sigmoid.factors=256` for its parts (and `factors` for its main one, if it has none itself).
    Raises ConfigError for what is no assignment, an unknown or repeated key, and a text that is not of the key's type;
    whether the value is in its range the configuration says.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not key:
            raise ConfigError(f"a setting is given as key=value, as in dropout=0.4, found '{assignment}'")
        key = full_name(config_class, key, kinds)
        setting = find_setting(kind, config_class, key, kinds)
        if key in values:
            raise ConfigError(f"the setting '{key}' is given twice; give it once")
        values[key] = _from_text(key, setting, text)
    return values


def read_toml(path: Path, kind: str, config_class: type[Any], *, kinds: Kinds = _NO_KINDS) -> dict[str, Any]:
    """The settings of a kind in a TOML file, by key.

    They stand at its top or in a table of the kind's name. Tables of other kinds are for the parts of a kind that is
    put together from several, and passed over by all others; so are the tables `FILTERS` and `WEIGHTS`, for
    `toml_filters` and `toml_weights`. Raises ConfigError, which names file and key.
    """
    values: dict[str, Any] = {}

    def take(table: Mapping[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = prefix + name
            if isinstance(value, dict):
                take(value, f"{key}.")
                continue
            key = full_name(config_class, key, kinds)
            setting = find_setting(kind, config_class, key, kinds)
            if key in values:
                raise ConfigError(f"the setting '{key}' is given twice; give it once")
            values[key] = _from_toml(key, setting, value)

    try:
        for name, value in _document(path).items():
            if not isinstance(value, dict):
                take({} if name == "kind" else {name: value}, "")
            elif name == kind:
                take(value, "")
            elif name not in (FILTERS, WEIGHTS) and (name not in kinds or _takes_parts(config_class)):
                take(value, f"{name}.")
        build_config(kind, config_class, values, kinds=kinds)  # so that the file is named if it is wrong
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return values


def toml_kind(path: Path) -> str | None:
    """The kind of model that a TOML file of settings names, None if it names none; ConfigError for another value."""
    try:
        kind = _document(path).get("kind")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if kind is not None and not isinstance(kind, str):
        raise ConfigError(f'{path}: kind is the name of a kind of model, as in kind = "deep", found {kind!r}')
    return kind


def toml_filters(path: Path) -> Filters:
    """The filters in the table `FILTERS` of a TOML file, none without such a table; ConfigError names the file."""
    try:
        return Filters.of(_table(path, FILTERS, "min_user_purchases = 5"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def toml_weights(path: Path) -> Weighting:
    """The weighting in the table `WEIGHTS` of a TOML file, none without such a table; ConfigError names the file."""
    try:
        return Weighting.of(_table(path, WEIGHTS, "half_life = 90"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def build_config(
    kind: str, config_class: type[Any], values: Mapping[str, Any], *, kinds: Kinds = _NO_KINDS
) -> Any:
    """The configuration of these values; ConfigError for an unknown name, a value of another type or out of range.

    Dotted names, the settings of the parts of a kind that is put together from several, are checked by the
    configuration of their kind and become the field `parts`; so do settings of its main part without its name.
    """
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for given, value in values.items():
        if given == "parts" and _takes_parts(config_class):
            own[given] = value
            continue
        key = full_name(config_class, given, kinds)
        if key != given and key in values:
            raise ConfigError(f"the setting '{key}' is given twice, once as '{given}'; give it once")
        setting = find_setting(kind, config_class, key, kinds)
        if not _fits(setting, value):
            raise ConfigError(f"{key} is {setting.wanted}, found {value!r}: give one")
        part, dot, name = key.rpartition(".")
        if dot:
            parts.setdefault(part, {})[name] = value
        else:
            own[key] = value
    for part, of_part in parts.items():
        try:
            kinds[part](**of_part)
        except ConfigError as error:
            raise ConfigError(f"{part}: {error}") from error
    dotted = {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
    if dotted:
        own["parts"] = {**own.get("parts", {}), **dotted}
    return config_class(**own)


def to_toml(kind: str, values: Mapping[str, Any]) -> str:
    """The text of a TOML file that `read_toml` reads back: texts, numbers, truth values, None, and tables of these.

    Lists of texts are written, too, for `toml_filters`.

    Raises ConfigError for a value that is none of these.
    """
    lines, tables = [f"kind = {_toml_value('kind', kind)}"], []
    for name, value in values.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{name}]", *(f"{key} = {_toml_value(key, v)}" for key, v in value.items())]
        else:
            lines.append(f"{name} = {_toml_value(name, value)}")
    return "\n".join([*lines, *tables]) + "\n"


def choose_kind(kind: str, known: Iterable[str]) -> str:
    """`kind`, if it is one of the known; ConfigError with the nearest of them if not."""
    names = list(known)
    if kind not in names:
        raise ConfigError(f"there is no model of kind '{kind}'; {_nearest(kind, names)}")
    return kind


def find_setting(kind: str, config_class: type[Any], key: str, kinds: Kinds = _NO_KINDS) -> Setting:
    """The setting of a kind of that name; ConfigError with the nearest, type and range, or the kinds that have it."""
    part, dot, name = key.rpartition(".")
    if dot and _takes_parts(config_class):
        parts = [other for other, cls in kinds.items() if not _takes_parts(cls)]
        if part not in parts:
            raise ConfigError(
                f"{kind} has no part '{part}' that '{key}' could be a setting of; {_nearest(part, parts)}"
            )
        return find_setting(part, kinds[part], name, {other: kinds[other] for other in parts})
    known = {**settings_of(config_class), **_settings_of_main(config_class, kinds)}
    if key in known:
        return known[key]
    having = [other for other, cls in kinds.items() if other != kind and key in settings_of(cls)]
    if having:
        raise ConfigError(
            f"{kind} has no setting '{key}', which {_listed(having)} {'has' if len(having) == 1 else 'have'}; "
            f"leave it out, or choose one of {', '.join(known)}"
        )
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        raise ConfigError(
            f"{kind} has no setting '{key}'; did you mean '{near[0]}' ({known[near[0]].wanted})?"
        )
    raise ConfigError(f"{kind} has no setting '{key}'; choose one of {', '.join(known)}")


def full_name(config_class: type[Any], key: str, kinds: Kinds) -> str:
    """`sigmoid.factors` for the `factors` of a kind put together from several that has none itself; else `key`."""
    if key in settings_of(config_class) or key not in _settings_of_main(config_class, kinds):
        return key
    return f"{config_class.main_part}.{key}"


def _settings_of_main(config_class: type[Any], kinds: Kinds) -> Mapping[str, Setting]:
    """The settings of the main part of a kind put together from several; empty for all others."""
    main: str = getattr(config_class, "main_part", "")
    return settings_of(kinds[main]) if main in kinds else {}


def _takes_parts(config_class: type[Any]) -> bool:
    return "parts" in getattr(config_class, "__dataclass_fields__", {})


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the settings cannot be read: {error.strerror or error}; give the path of a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            "this is not UTF-8 text; give a TOML file such as recae inspect --toml prints"
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f'this is not TOML ({error}); write lines such as dropout = 0.4 or dtype = "float32"'
        ) from error


def _table(path: Path, name: str, example: str) -> dict[str, Any]:
    """A table of a TOML file, empty without one; ConfigError where the name stands for something else."""
    table = _document(path).get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is a table with lines such as {example}, found {table!r:.80}")
    return table


def _from_text(key: str, setting: Setting, text: str) -> Any:
    if setting.optional and text.lower() == "none":
        return None
    for kind in setting.types:
        try:
            return _TRUTH[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            continue
    raise ConfigError(f"{key} is {setting.wanted}, found '{text}': give one")


def _from_toml(key: str, setting: Setting, value: Any) -> Any:
    if setting.optional and value == "none":
        return None
    if isinstance(value, list) and str in setting.types and all(type(part) in (int, str) for part in value):
        return ",".join(map(str, value))
    if value is None or not _fits(setting, value):
        raise ConfigError(f"{key} is {setting.wanted}, found {value!r}: give one")
    return (
        float(value) if float in setting.types and type(value) is int and int not in setting.types else value
    )


def _fits(setting: Setting, value: Any) -> bool:
    if value is None:
        return setting.optional
    if isinstance(value, bool):
        return bool in setting.types
    return isinstance(value, setting.types) or (isinstance(value, int) and float in setting.types)


def _toml_value(name: str, value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan and inf are TOML's words, too
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return f"[{', '.join(_toml_value(name, part) for part in value)}]"
    if isinstance(value, str | int | float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise ConfigError(f"the setting '{name}' cannot be written as TOML: it is a {type(value).__name__}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + f"choose one of {', '.join(known)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
