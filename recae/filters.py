"""`Filters`: which purchases count, by period, excluded items, and minimums of users and items."""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from recae.errors import ConfigError

MOST_ITEMS: Final = 1_000_000
"""Excluded items at most: they are stored with the model."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EXAMPLE: Final = "an ISO date or time such as 2010-12-01 or 2010-12-01T12:00"


@dataclass(frozen=True)
class Filters:
    """Which purchases of a table count. Nothing is left out unless it is asked for.

    Excluded items and the period go by rows, before anything else is counted. The minimums come last, to a fixed point:
    users and items below them are left out until all that remain reach them (`recae.kcore`). They count distinct items
    and users, as the k-core of the literature does, and not repeat purchases.

    Attributes:
        since: first time that counts: ISO text, a date or a datetime; UTC unless it says otherwise. Held as text.
        until: first time that no longer counts, likewise; the same as the cut of a split by time.
        min_user_purchases: distinct items that a user has at least.
        min_item_purchases: distinct users that an item has at least.
        exclude_items: ids of items whose purchases do not count. Held sorted, each once.

    Raises:
        ConfigError: a value is of another type, out of range or no time, or the period is empty.
    """

    since: str | dt.date | None = None
    until: str | dt.date | None = None
    min_user_purchases: int = 1
    min_item_purchases: int = 1
    exclude_items: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the values, and bring times and ids into one form."""
        for name in ("since", "until"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, time_text(seconds_of(name, getattr(self, name))))
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ConfigError(
                f"since is {self.since} and until is {self.until}, so that no time lies between them: until is the "
                "first time that does not count, give a later one"
            )
        for name in ("min_user_purchases", "min_item_purchases"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**31 - 1:
                raise ConfigError(f"{name} is a whole number from 1 on, found {value!r}: give one")
        items = self.exclude_items
        if isinstance(items, str) or not isinstance(items, Sequence):
            raise ConfigError(f"exclude_items is a list of item ids, found {items!r:.80}: give one")
        for item in items:
            if not isinstance(item, str):
                raise ConfigError(
                    f"exclude_items holds {item!r:.80}, but ids are text: write it as '{item!s:.80}'"
                )
        if len(items) > MOST_ITEMS:
            raise ConfigError(
                f"exclude_items holds {len(items):,} ids, at most {MOST_ITEMS:,} are taken: remove their rows from "
                "the purchases instead"
            )
        object.__setattr__(self, "exclude_items", tuple(sorted(set(items))))

    def __bool__(self) -> bool:
        """Return whether anything is asked for."""
        return self.by_row or self.has_minimum

    @property
    def start(self) -> int | None:
        """``since`` in seconds since 1970-01-01 UTC."""
        return None if self.since is None else seconds_of("since", self.since)

    @property
    def end(self) -> int | None:
        """``until`` in seconds since 1970-01-01 UTC."""
        return None if self.until is None else seconds_of("until", self.until)

    @property
    def by_time(self) -> bool:
        """Whether a period is asked for."""
        return self.since is not None or self.until is not None

    @property
    def by_row(self) -> bool:
        """Whether something is asked for that a row alone decides: the period or excluded items."""
        return self.by_time or bool(self.exclude_items)

    @property
    def has_minimum(self) -> bool:
        """Whether a minimum of users or items is asked for."""
        return self.min_user_purchases > 1 or self.min_item_purchases > 1

    def of_rows(self) -> Filters:
        """Return the same without the minimums."""
        return replace(self, min_user_purchases=1, min_item_purchases=1)

    def as_dict(self) -> dict[str, Any]:
        """Return what is asked for as JSON values, and nothing else; `Filters.of` takes it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        asked = {name: value for name, value in values.items() if value not in (None, 1, ())}
        return {name: list(value) if name == "exclude_items" else value for name, value in asked.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Filters:
        """Return the filters of these values by name; ConfigError for an unknown name, or as `Filters`."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'? " if near else ""
                raise ConfigError(f"there is no filter '{name}'; {hint}choose one of {', '.join(known)}")
        return cls(**values)

    def identity(self) -> dict[str, Any]:
        """Return what must be the same where work goes on: as `as_dict`, with a digest in place of many ids."""
        values = {f"filters.{name}": value for name, value in self.as_dict().items()}
        if self.exclude_items:
            digest = hashlib.sha256(
                "\0".join(self.exclude_items).encode("utf-8", "surrogatepass")
            ).hexdigest()
            values["filters.exclude_items"] = f"{len(self.exclude_items)} ids, {digest[:16]}"
        return values

    def __str__(self) -> str:
        """Return what is asked for, in words."""
        words = []
        if self.exclude_items:
            number = len(self.exclude_items)
            words.append(f"without {number:,} excluded item{'s' if number > 1 else ''}")
        if self.since is not None:
            words.append(f"from {self.since} on")
        if self.until is not None:
            words.append(f"before {self.until}")
        if self.min_user_purchases > 1:
            words.append(f"users of {self.min_user_purchases:,} items or more")
        if self.min_item_purchases > 1:
            words.append(f"items of {self.min_item_purchases:,} users or more")
        return ", ".join(words)


def seconds_of(name: str, value: object) -> int:
    """Return a time, ISO text, a date or a datetime, in seconds since 1970-01-01 UTC.

    Raises:
        ConfigError: it is none, or has fractions of a second; the message calls it ``name``.
    """
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{name} is {_EXAMPLE}, found '{value:.80}': give one") from None
    elif isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)  # the zone follows
    if not isinstance(value, dt.datetime):
        raise ConfigError(f"{name} is {_EXAMPLE}, found {value!r:.80}: give one")
    since = (value if value.tzinfo else value.replace(tzinfo=dt.UTC)) - _EPOCH
    if since.microseconds:
        raise ConfigError(
            f"{name} is {value.isoformat()}, but times count in whole seconds: leave the rest out"
        )
    return since.days * 86_400 + since.seconds


def time_text(seconds: int) -> str:
    """Return a time as ISO text in UTC, the day alone at midnight; ConfigError outside the years 1 to 9999."""
    try:
        moment = _EPOCH + dt.timedelta(seconds=seconds)
    except OverflowError:
        raise ConfigError("a time outside the years 1 to 9999 UTC was given: give another") from None
    if seconds % 86_400 == 0:
        return moment.date().isoformat()
    return f"{moment.replace(tzinfo=None).isoformat()}Z"
