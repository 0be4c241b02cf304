"""Settings of the kinds of model: their base class, and settings from texts and Python values.

A setting is one line of a class: type, default, meaning and range. What `--set`, TOML files (see
`recae.settings_toml`), `recae settings` and error sentences know of it comes from there:

    class SigmoidSettings(Settings):
        factors: int | None = setting(None, "size of the code, d", ge=1, le=16_384)
        code_norm: Literal["l1", "l2"] = setting("l2", "norm of the code")
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from recae.errors import ConfigError
from recae.renamed import RENAMED

_READ = (int, float, bool, str)  # in the order in which a text is tried
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BOUNDS = ("ge", "gt", "le", "lt")

LARGEST_SEED = 2**63 - 1

PARTS = "a table of settings by dotted names, such as {'sigmoid.factors': 256}"
"""Description of the field `parts` of a kind that is put together from several."""


def setting(
    default: Any,
    meaning: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    wanted: str = "",
) -> Any:
    """Declare a setting of a `Settings` class.

    Args:
        default: its value where none is given; None where one is chosen from the data.
        meaning: what it is, for help texts.
        ge: the least value.
        gt: the number that every value exceeds.
        le: the largest value.
        lt: the number that every value stays below.
        wanted: type and range in words, where the class checks what the type does not say.
    """
    bounds = {
        name: bound for name, bound in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if bound is not None
    }
    return Field(
        default, description=meaning, json_schema_extra={"wanted": wanted} if wanted else None, **bounds
    )  # type: ignore[call-overload]  # its overloads do not take bounds by name


def redefined(settings_class: type[Settings], name: str, default: Any) -> Any:
    """Declare a setting of a base class once more, with another default."""
    field = settings_class.model_fields[name]
    return setting(default, field.description or "", wanted=_own_words(field), **_bounds(field))


class Settings(BaseModel):
    """Base of the settings of a kind of model: frozen, checked by name, type and range.

    A whole number is taken for a number, and no text for either. What does not fit is a ConfigError, which says what
    was wanted and found; so is, in the checks of a subclass, what does not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def __init__(self, **values: Any) -> None:
        """Take the settings that are given, and the defaults of all others.

        Raises:
            ConfigError: a name is unknown, or a value not of the type and range that are wanted.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_refusal(type(self), error)) from error

    def updated(self, **changes: Any) -> Self:
        """Return these settings with some changed, checked like new ones."""
        return type(self)(**{**dict(self), **changes})

    def filled(self, **chosen: Any) -> Self:
        """Return these settings with each None replaced by what was chosen for it."""
        return self.updated(**{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name, as JSON values."""
        return self.model_dump()


@dataclass(frozen=True)
class Setting:
    """A setting: name, type, range, default and meaning.

    Attributes:
        name: of the field.
        types: of its values, without None: some of int, float, bool and str; empty where no text can give it.
        optional: whether None is allowed: chosen from the data.
        default: its value when it is not given.
        limits: type and range in words, such as "a whole number from 1 to 16384".
        meaning: what it is.
    """

    name: str
    types: tuple[type, ...]
    optional: bool
    default: Any
    limits: str
    meaning: str

    @property
    def wanted(self) -> str:
        """Type and range in words, None included."""
        return f"{self.limits} or 'none'" if self.optional else self.limits


def settings_of(settings_class: type[Settings]) -> Mapping[str, Setting]:
    """Return the settings that a text can give, by name, in the order of the class."""
    return MappingProxyType(
        {name: found for name, found in _described(settings_class).items() if found.types}
    )


@cache
def _described(settings_class: type[Settings]) -> Mapping[str, Setting]:
    described = {}
    for name, field in settings_class.model_fields.items():
        hints = _plain_types(field.annotation)
        types: tuple[type, ...] = tuple(kind for kind in _READ if kind in hints)
        limits = _own_words(field) or _limits(field, types)
        default = field.get_default(call_default_factory=False)
        described[name] = Setting(name, types, NoneType in hints, default, limits, field.description or "")
    return described


def _plain_types(hint: Any) -> set[type]:
    """Return the plain types in an annotation; empty when there is something else in it."""
    if get_origin(hint) is Literal:
        return {type(value) for value in get_args(hint)}
    if hint in (*_READ, NoneType):
        return {hint}
    parts = [_plain_types(part) for part in get_args(hint)]
    if (
        (isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Iterable))
        or not parts
        or not all(parts)
    ):
        return set()
    return set().union(*parts)


def _own_words(field: FieldInfo) -> str:
    more = field.json_schema_extra
    return str(more.get("wanted", "")) if isinstance(more, dict) else ""


def _bounds(field: FieldInfo) -> dict[str, Any]:
    return {n: getattr(m, n) for m in field.metadata for n in _BOUNDS if getattr(m, n, None) is not None}


def _limits(field: FieldInfo, types: Sequence[type]) -> str:
    """Return type and range of a field in words."""
    named = [*get_args(field.annotation), field.annotation]
    literals = [value for hint in named if get_origin(hint) is Literal for value in get_args(hint)]
    if literals:
        return f"one of {', '.join(map(str, literals))}"
    if str not in types and (int in types or float in types):
        return in_words(whole=float not in types, **_bounds(field))
    return " or ".join(_TYPE_NAMES[kind] for kind in types if kind is not int or float not in types)


def in_words(
    *,
    whole: bool,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> str:
    """Return a range of numbers in words, such as "a whole number from 1 to 16384"."""
    text = _TYPE_NAMES[int if whole else float]
    if ge is not None or gt is not None:
        text += f" from {ge:.15g}" if gt is None else f" above {gt:.15g}"
    if lt is not None:
        text += f" and below {lt:.15g}" if ge is not None or gt is not None else f" below {lt:.15g}"
    elif le is not None:
        text += f" to {le:.15g}" if ge is not None or gt is not None else f" up to {le:.15g}"
    return text


def _refusal(settings_class: type[Settings], error: ValidationError) -> str:
    """Return the error for the first setting that is wrong."""
    first = error.errors(include_url=False)[0]
    name, found = str(first["loc"][0]), first["input"]
    if first["type"] == "extra_forbidden":
        return _no_such(settings_class.__name__, name, settings_of(settings_class))
    wrong = _described(settings_class)[name]
    if first["type"] == "literal_error":
        return f"{name} is {wrong.limits}, found {found!r}: choose one of these"
    if first["type"].startswith(("greater_than", "less_than")):
        return f"{name} is {wrong.limits}, found {found!r}: give one in that range"
    return f"{name} is {wrong.wanted}, found {found!r}: give one"


def _no_such(kind: str, name: str, known: Mapping[str, Setting]) -> str:
    """Return the error for a name that is no setting of a kind."""
    nearest = [RENAMED[name]] if RENAMED.get(name) in known else difflib.get_close_matches(name, known, n=1)
    if nearest:
        return f"{kind} has no setting '{name}'; did you mean '{nearest[0]}' ({known[nearest[0]].wanted})?"
    return f"{kind} has no setting '{name}'; choose one of {', '.join(known)}"


def check_range(
    name: str,
    value: float | None,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
    whole: bool = False,
) -> None:
    """Check an argument that is no setting of a kind of model.

    Raises:
        ConfigError: `value` is neither None nor a number in the range, a whole one if it has to be.
    """
    if value is None:
        return
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    fits = fits and (low < value if open_low else low <= value)
    fits = fits and (value < high if open_high else value <= high)
    if not fits:
        bounds = {"gt" if open_low else "ge": low, "lt" if open_high else "le": high}
        raise ConfigError(
            f"{name} is {in_words(whole=whole, **bounds)}, found {value!r}: give one in that range"
        )


def check_option(name: str, value: Any, options: Sequence[Any]) -> None:
    """Check an argument that is no setting of a kind of model.

    Raises:
        ConfigError: `value` is not one of the options.
    """
    if not any(value is option or (isinstance(value, str) and value == option) for option in options):
        listed = ", ".join(json.dumps(option) for option in options)
        raise ConfigError(f"{name} is one of {listed}, found {value!r}: choose one of these")


Kinds = Mapping[str, type[Settings]]
"""Kind → class of its settings."""

NO_KINDS: Kinds = {}
"""No other kinds: a kind by itself."""

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
    settings_class: type[Settings], kind: str, assignments: Iterable[str], *, kinds: Kinds = NO_KINDS
) -> dict[str, Any]:
    """Return the typed values of texts "key=value", by key.

    Whether a value is in its range, the settings class checks.

    Args:
        settings_class: class of the kind's settings.
        kind: name of the kind.
        assignments: the texts.
        kinds: all kinds: the error for a key that others have names them, and a kind that is put together from
            several takes `sigmoid.factors=256` for its parts (and `factors` for its main one, if it has none itself).

    Raises:
        ConfigError: a text is no assignment, a key is unknown or repeated, or a value is not of the key's type.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not key:
            raise ConfigError(f"a setting is given as key=value, as in dropout=0.4, found '{assignment}'")
        key = full_name(settings_class, key, kinds)
        setting = find_setting(kind, settings_class, key, kinds)
        if key in values:
            raise ConfigError(f"the setting '{key}' is given twice; give it once")
        values[key] = _from_text(key, setting, text)
    return values


def build_settings(
    kind: str, settings_class: type[Settings], values: Mapping[str, Any], *, kinds: Kinds = NO_KINDS
) -> Any:
    """Return the settings of these values.

    Dotted names, the settings of the parts of a kind that is put together from several, are checked by the class of
    their kind and become the field `parts`; so do settings of its main part without its name.

    Raises:
        ConfigError: a name is unknown, or a value of another type or out of range.
    """
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for given, value in values.items():
        if given == "parts" and takes_parts(settings_class):
            own[given] = value
            continue
        key = full_name(settings_class, given, kinds)
        if key != given and key in values:
            raise ConfigError(f"the setting '{key}' is given twice, once as '{given}'; give it once")
        find_setting(kind, settings_class, key, kinds)
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
    return settings_class(**own)


def choose_kind(kind: str, known: Iterable[str]) -> str:
    """Return `kind` if it is a known one; ConfigError with the nearest name if not."""
    names = list(known)
    if kind not in names:
        raise ConfigError(f"there is no model of kind '{kind}'; {_nearest(kind, names)}")
    return kind


def find_setting(kind: str, settings_class: type[Settings], key: str, kinds: Kinds = NO_KINDS) -> Setting:
    """Return the setting of that name.

    Raises:
        ConfigError: the kind has no such setting; the message names the nearest one, or the kinds that have it.
    """
    part, dot, name = key.rpartition(".")
    if dot and takes_parts(settings_class):
        parts = [other for other, cls in kinds.items() if not takes_parts(cls)]
        if part not in parts:
            raise ConfigError(
                f"{kind} has no part '{part}' that '{key}' could be a setting of; {_nearest(part, parts)}"
            )
        return find_setting(part, kinds[part], name, {other: kinds[other] for other in parts})
    known = {**settings_of(settings_class), **_settings_of_main(settings_class, kinds)}
    if key in known:
        return known[key]
    having = [other for other, cls in kinds.items() if other != kind and key in settings_of(cls)]
    if having:
        raise ConfigError(
            f"{kind} has no setting '{key}', which {_listed(having)} {'has' if len(having) == 1 else 'have'}; "
            f"leave it out, or choose one of {', '.join(known)}"
        )
    raise ConfigError(_no_such(kind, key, known))


def full_name(settings_class: type[Settings], key: str, kinds: Kinds) -> str:
    """Return `sigmoid.factors` for `factors` of a kind put together from several that has none itself; else `key`."""
    if key in settings_of(settings_class) or key not in _settings_of_main(settings_class, kinds):
        return key
    return f"{_main_part(settings_class)}.{key}"


def _settings_of_main(settings_class: type[Settings], kinds: Kinds) -> Mapping[str, Setting]:
    """Return the settings of the main part of a kind put together from several; empty for all others."""
    main = _main_part(settings_class)
    return settings_of(kinds[main]) if main in kinds else {}


def _main_part(settings_class: type[Settings]) -> str:
    main: str = getattr(settings_class, "main_part", "")
    return main


def takes_parts(settings_class: type[Settings]) -> bool:
    """Return whether a kind is put together from several, and takes settings for its parts."""
    return "parts" in settings_class.model_fields


def _from_text(key: str, setting: Setting, text: str) -> Any:
    if setting.optional and text.lower() == "none":
        return None
    for kind in setting.types:
        try:
            return _TRUTH[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            continue
    raise ConfigError(f"{key} is {setting.wanted}, found '{text}': give one")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + f"choose one of {', '.join(known)}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
