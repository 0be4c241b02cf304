"""TOML files of settings: a kind of model, its settings, filters and weighting, read and written.

The settings stand at the top of a file or in a table of the kind's name, beside the tables `FILTERS` and `WEIGHTING`:

    kind = "sigmoid"
    factors = 256

    [filters]
    min_user_purchases = 5
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.settings import (
    NO_KINDS,
    Kinds,
    Setting,
    Settings,
    build_settings,
    find_setting,
    full_name,
    takes_parts,
)

FILTERS = "filters"
"""The table of a TOML file that says which purchases count; the fields of `recae.filters.Filters`."""

WEIGHTING = "weights"
"""The table that says how much purchases count; the fields of `recae.confidence.Weighting`."""


def read_toml(
    path: Path, kind: str, settings_class: type[Settings], *, kinds: Kinds = NO_KINDS
) -> dict[str, Any]:
    """Return the settings of a kind in a TOML file, by key.

    They stand at its top or in a table of the kind's name. Tables of other kinds are for the parts of a kind that is
    put together from several, and ignored by all others; so are the tables `FILTERS` and `WEIGHTING`, for
    `toml_filters` and `toml_weighting`.

    Raises:
        ConfigError: a setting is wrong; the message names file and key.
    """
    values: dict[str, Any] = {}

    def take(table: Mapping[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = prefix + name
            if isinstance(value, dict):
                take(value, f"{key}.")
                continue
            key = full_name(settings_class, key, kinds)
            setting = find_setting(kind, settings_class, key, kinds)
            if key in values:
                raise ConfigError(f"the setting '{key}' is given twice; give it once")
            values[key] = _from_toml(key, setting, value)

    try:
        for name, value in _document(path).items():
            if not isinstance(value, dict):
                take({} if name == "kind" else {name: value}, "")
            elif name == kind:
                take(value, "")
            elif name not in (FILTERS, WEIGHTING) and (name not in kinds or takes_parts(settings_class)):
                take(value, f"{name}.")
        build_settings(kind, settings_class, values, kinds=kinds)  # so that the file is named if it is wrong
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return values


def toml_kind(path: Path) -> str | None:
    """Return the kind of model that a TOML file of settings names; None if it names none.

    Raises:
        ConfigError: the value is no name.
    """
    try:
        kind = _document(path).get("kind")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if kind is not None and not isinstance(kind, str):
        raise ConfigError(f'{path}: kind is the name of a kind of model, as in kind = "deep", found {kind!r}')
    return kind


def toml_filters(path: Path) -> Filters:
    """Return the filters in the table `FILTERS` of a TOML file; none without such a table.

    Raises:
        ConfigError: a filter is wrong; the message names the file.
    """
    try:
        return Filters.of(_table(path, FILTERS, "min_user_purchases = 5"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def toml_weighting(path: Path) -> Weighting:
    """Return the weighting in the table `WEIGHTING` of a TOML file; none without such a table.

    Raises:
        ConfigError: a value is wrong; the message names the file.
    """
    try:
        return Weighting.of(_table(path, WEIGHTING, "half_life = 90"))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def to_toml(kind: str, values: Mapping[str, Any]) -> str:
    """Return the text of a TOML file that `read_toml` reads back.

    Values are texts, numbers, truth values, None, and tables of these; lists of texts are for `toml_filters`.

    Raises:
        ConfigError: a value is none of these.
    """
    lines, tables = [f"kind = {_toml_value('kind', kind)}"], []
    for name, value in values.items():
        if isinstance(value, Mapping):
            tables += ["", f"[{_toml_key(name)}]"]
            tables += [f"{_toml_key(key)} = {_toml_value(key, v)}" for key, v in value.items()]
        else:
            lines.append(f"{_toml_key(name)} = {_toml_value(name, value)}")
    return "\n".join([*lines, *tables]) + "\n"


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
    """Return a table of a TOML file, empty without one; ConfigError where the name stands for something else."""
    table = _document(path).get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is a table with lines such as {example}, found {table!r:.80}")
    return table


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


def _toml_key(key: str) -> str:
    """Return a key as TOML writes it; that of a file which is not trusted may hold anything."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key) else _toml_text(key)


def _toml_text(value: str) -> str:
    """Return a text as TOML writes it, without a character that would steer a terminal."""
    return "".join(map(_toml_character, json.dumps(value, ensure_ascii=False)))


def _toml_character(character: str) -> str:
    code = ord(character)
    if character.isprintable():
        return character
    if 0xD800 <= code < 0xE000:  # half of a surrogate pair, which TOML cannot hold
        return "\\ufffd"
    return f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"


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
        return _toml_text(value) if isinstance(value, str) else json.dumps(value)
    raise ConfigError(f"the setting '{name}' cannot be written as TOML: it is a {type(value).__name__}")
