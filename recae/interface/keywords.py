"""`Words`: the options of the command line as keywords of Python's functions, parted by what they are for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, NoReturn

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.ids import written_ids
from recae.reading import ReadOptions
from recae.reading.options import BY_CODE, split_inputs
from recae.text import brief

READING: Final = tuple(field.name for field in fields(ReadOptions) if field.name not in BY_CODE)
"""Words on how to read a table."""

FILTERS: Final = tuple(field.name for field in fields(Filters))
"""Words on which purchases count."""

WEIGHTING: Final = tuple(field.name for field in fields(Weighting))
"""Words on how much each purchase counts."""

IDS: Final = ("users", "items")
"""Words for the ids of a matrix."""

_TEXTS: Final = ("query", "table", "delimiter", "encoding", "layout", "where", "bad_lines")


class Words:
    """Keywords of a call, taken out group by group; what is left in the end nobody knows.

    Args:
        function: name of the function that was called, for messages.
        given: the keywords, not changed.
    """

    def __init__(self, function: str, given: Mapping[str, Any]) -> None:
        """Hold a copy of the keywords."""
        self._function, self._left = function, dict(given)
        self._known: list[str] = []

    def take(self, names: Iterable[str]) -> dict[str, Any]:
        """Return those of the keywords that have these names, and take them out."""
        names = tuple(names)
        self._known += names
        return {name: self._left.pop(name) for name in names if name in self._left}

    def reading(self, base: ReadOptions | None = None) -> ReadOptions | None:
        """Return how to read: ``base``, changed by the words for it; None where there is neither.

        Raises:
            ConfigError: a value is of another type or out of its range.
        """
        if base is not None and not isinstance(base, ReadOptions):
            raise ConfigError(
                f"reading is a recae.ReadOptions, found {brief(base)}: write the options as keywords, such as "
                f'recae.{self._function}(…, user_column="customer")'
            )
        words = {name: _value(name, value) for name, value in self.take(READING).items()}
        if not words:
            return base
        made = ReadOptions.of(words)
        return made if base is None else base.updated(**{name: getattr(made, name) for name in words})

    def options(self, base: ReadOptions | None = None, filters: Filters | None = None) -> ReadOptions | None:
        """Return how to read, and which of the purchases count, as one; None where nothing is asked for.

        Raises:
            ConfigError: as `reading` and `filters`.
        """
        found, chosen = self.reading(base), self.filters(filters)
        return found if chosen is None else (found or ReadOptions()).updated(filters=chosen)

    def filters(self, base: Filters | None = None) -> Filters | None:
        """Return which purchases count: ``base``, or what the words ask for; None where there is neither.

        Raises:
            ConfigError: both are given, or a value is out of its range.
        """
        words = self.take(FILTERS)
        if base is not None and not isinstance(base, Filters):
            raise ConfigError(
                f'filters is a recae.Filters, found {brief(base)}: write since="2024-01-01" and the others as keywords'
            )
        if not words:
            return base
        if base:
            raise ConfigError(
                f"filters and {', '.join(words)} are both given; put everything into one of the two"
            )
        if words.get("exclude_items") is not None:
            words["exclude_items"] = written_ids(words["exclude_items"], "item")
        return Filters.of({name: value for name, value in words.items() if value is not None})

    def weighting(self, base: Weighting | None = None) -> Weighting | None:
        """Return how much purchases count: ``base``, or what the words ask for; None where there is neither.

        Raises:
            ConfigError: both are given, or a value is out of its range.
        """
        words = self.take(WEIGHTING)
        if base is not None and not isinstance(base, Weighting):
            raise ConfigError(
                f"confidence is a recae.Weighting, found {brief(base)}: write half_life=90 or "
                "quantity_as_confidence=True as keywords"
            )
        if not words:
            return base
        if base:
            raise ConfigError(f"confidence and {', '.join(words)} are both given; leave one of them out")
        return Weighting.of(words)

    @property
    def left(self) -> dict[str, Any]:
        """The keywords that were not taken out."""
        return self._left

    def finish(self, more: Iterable[str] = ()) -> None:
        """Raise ConfigError, with the nearest names that are known, for a keyword that was not taken out.

        Args:
            more: further keywords of the function.
        """
        for name in self._left:
            near = self._nearest(name, more)
            hint = (
                f"did you mean {' or '.join(near)}?"
                if near
                else "help(recae.ReadOptions) lists those on reading"
            )
            raise ConfigError(f"recae.{self._function} has no option '{name}'; {hint}")

    def refuse_setting(self, name: str, error: ConfigError, more: Iterable[str]) -> NoReturn:
        """Raise ConfigError for a keyword that is no setting, either, as ``error`` says.

        Args:
            name: the keyword.
            error: what is said of it as a setting.
            more: further keywords of the function.
        """
        near = self._nearest(name, more)
        if not near or "did you mean" in str(error):
            raise error
        raise ConfigError(
            f"recae.{self._function} has no option or setting '{name}'; did you mean {' or '.join(near)}?"
        ) from error

    def _nearest(self, name: str, more: Iterable[str]) -> list[str]:
        """Return the known keywords that one may have meant: another form of the word, or a similar spelling."""
        known = sorted({*self._known, *READING, *more})
        plain = name.lower().replace("-", "_").removesuffix("_col").removesuffix("_id").removesuffix("s")
        roles = [f"{plain}_column"] if f"{plain}_column" in known else []
        return list(dict.fromkeys([*roles, *difflib.get_close_matches(name.lower(), known, n=2)]))[:2]


def _value(name: str, value: Any) -> Any:
    """Return the value of an option on reading in the type that it has there.

    Raises:
        ConfigError: it is of another type.
    """
    if value is None:
        return None
    if name.endswith("_column"):
        if isinstance(value, bool) or not isinstance(value, str | int | tuple):
            raise ConfigError(
                f"{name} is the name of a column, found {brief(value)}: give the name as text, such as {name}='id'"
            )
        return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if name in _TEXTS and not isinstance(value, str):
        raise ConfigError(f"{name} is text, found {brief(value)}: give it as text, or leave it out")
    if name == "columns":
        parts = value.split(",") if isinstance(value, str) else list(value) if _is_list(value) else None
        if parts is None or not all(isinstance(part, str | int) for part in parts):
            raise ConfigError(
                f'columns lists what the columns hold, such as ["user", "item"], found {brief(value)}: give that'
            )
        return tuple(str(part).strip() for part in parts)
    if name == "inputs":
        events = split_inputs(value) if isinstance(value, str) else tuple(value) if _is_list(value) else None
        if events is None or not all(isinstance(event, str) for event in events):
            raise ConfigError(
                f'inputs lists other events than purchases, such as ["cart", "view"], found {brief(value)}: give that'
            )
        return events
    if name == "items_columns":
        return tuple(item_columns(value).items())
    if name == "memory_limit":
        from recae.reading.engine import parse_memory

        return parse_memory(value) if isinstance(value, str) else _number(name, value, int)
    if name == "min_rating":
        return _number(name, value, float)
    if name in ("header", "strict") and not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False, found {brief(value)}: give one of them")
    if name == "event_weights":
        return _event_weights(value)
    if name == "rejects" and not isinstance(value, str | Path):
        raise ConfigError(f"rejects is the path of a file to write, found {brief(value)}: give one")
    return value


def item_columns(value: Any) -> dict[str, tuple[str, ...]]:
    """Return the columns of a table of items by their meanings, several where they make a path.

    Raises:
        ConfigError: it is no mapping of texts.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(
            'the columns of a table of items are named as {"price": "net_price", "category": ["main", "sub"]}, found '
            f"{brief(value)}: give that"
        )
    return {
        str(meaning): (str(names),) if isinstance(names, str | int) else tuple(map(str, names))
        for meaning, names in value.items()
    }


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, Mapping | bytes)


def _number(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, bool):
        raise ConfigError(f"{name} is a number, found {value!r}: give one")
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is a number, found {brief(value)}: give one") from None


def _event_weights(value: Any) -> tuple[tuple[str, float], ...]:
    wanted = 'event_weights says how much each event counts, such as {"view": 0.1, "purchase": 1}'
    try:
        pairs = list(value.items() if isinstance(value, Mapping) else value)
        return tuple((str(event), float(confidence)) for event, confidence in pairs)
    except (TypeError, ValueError):
        raise ConfigError(f"{wanted}, found {brief(value)}: give that") from None
