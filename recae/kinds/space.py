"""Dimensions of a search space: a setting and the values that are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Scale = Literal["float", "log-float", "int", "log-int", "list"]
"""How the values are spread between two bounds; "list": a list of values without bounds."""

DIGITS: Final = 3
"""Significant digits of a number that is tried: more would be noise."""

REACH: Final = 0.4
"""Part of a range that is searched to each side of a default which was chosen from the data: it is seldom far off."""


Idle = Callable[[Mapping[str, Any]], bool]
"""Whether a setting has no effect, or another meaning, beside settings that are fixed."""


def never(fixed: Mapping[str, Any]) -> bool:
    """Return False: the setting always has its effect."""
    return False


@dataclass(frozen=True)
class Dimension:
    """A setting to be searched, and its values.

    Attributes:
        name: Of the setting; dotted for that of a part, as in "sigmoid.factors".
        scale: How the values are spread.
        low: The least value, inclusive.
        high: The greatest value, inclusive.
        choices: The values, where the scale is "list".
        idle: Whether the setting has no effect, or another meaning, beside settings that are fixed.
    """

    name: str
    scale: Scale
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    idle: Idle = field(default=never, repr=False, compare=False)

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.scale in ("int", "log-int")

    @property
    def log(self) -> bool:
        """Whether the values are spread evenly by their logarithm."""
        return self.scale in ("log-float", "log-int")

    def in_words(self) -> str:
        """Return such as "factors 64 to 1024" or "weighting tfidf or bm25"."""
        bounds = f"{self.low:g} to {self.high:g}"
        return f"{self.name} {' or '.join(self.choices) if self.scale == 'list' else bounds}"

    def at(self, fraction: float) -> Any:
        """Return the value that lies such a part, in 0..1, of the way from the first to the last; see `tidy`."""
        if self.scale == "list":
            return self.choices[min(int(fraction * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            return self.tidy(float(self.low * (self.high / self.low) ** fraction))
        return self.tidy(self.low + (self.high - self.low) * fraction)

    def tidy(self, value: Any) -> Any:
        """Return a value as it is tried: whole or of `DIGITS` digits, within the bounds; one of a list as it is."""
        if self.scale == "list":
            return value
        held = min(max(value, self.low), self.high)
        return round(held) if self.whole else min(max(float(f"{held:.{DIGITS}g}"), self.low), self.high)

    def around(self, default: Any) -> Dimension:
        """Return the part of this dimension around a default, `REACH` of it to each side, which holds the default.

        Of a list all values stay, and the default is added where it is none of them.
        """
        if self.scale == "list":
            return self if default in self.choices else replace(self, choices=(*self.choices, default))
        if self.log:
            reach = (self.high / self.low) ** REACH
            low, high = default / reach, default * reach
        else:
            reach = (self.high - self.low) * REACH
            low, high = default - reach, default + reach
        low, high = self.tidy(max(low, self.low)), self.tidy(min(high, self.high))
        return replace(self, low=min(low, default), high=max(high, default))


def even(name: str, low: float, high: float, idle: Idle = never) -> Dimension:
    """Return numbers spread evenly."""
    return Dimension(name, "float", low, high, idle=idle)


def log(name: str, low: float, high: float, idle: Idle = never) -> Dimension:
    """Return numbers spread evenly by their logarithm."""
    return Dimension(name, "log-float", low, high, idle=idle)


def whole(name: str, low: int, high: int) -> Dimension:
    """Return whole numbers spread evenly by their logarithm."""
    return Dimension(name, "log-int", low, high)


def one_of(name: str, *choices: str) -> Dimension:
    """Return a list of values."""
    return Dimension(name, "list", choices=choices)
