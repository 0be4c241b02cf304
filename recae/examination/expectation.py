"""What a model can be expected to learn from a table, judged by its size; recall is not predicted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from recae.examination.findings import counted, percent
from recae.examination.times import DAY, day
from recae.examination.users import Figures
from recae.splits.parts import number_held_out

_SHORT, _LONG = 3, 10  # items of the median user
_MANY_USERS: Final = 1_000
_MANY_OWNERS: Final = 10.0  # users an item, in the mean
_MIN_MEASURED: Final = 30
_WEEKS: Final = 56 * DAY


@dataclass(frozen=True)
class Expectation:
    """What a model can be expected to learn.

    Attributes:
        word: ``little``, ``some`` or ``much``.
        held_out: users that `recae train` validates on, and as many others that it tests on.
        sentences: the reasons.
    """

    word: str
    held_out: int
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "sentences": list(self.sentences)}


def expectation_of(figures: Figures, first_time: int | None, last_time: int | None) -> Expectation:
    """Return what a model can be expected to learn.

    Args:
        figures: of the table.
        first_time: seconds since 1970-01-01 UTC of the first purchase; None without times that can be trusted.
        last_time: likewise of the last purchase.
    """
    number = number_held_out(figures.users, figures.divisible)
    sentences = [_measured(figures, number), _histories(figures), _items(figures)]
    if first_time is None or last_time is None:
        sentences.append("Without reliable times, `recae evaluate` cannot hold out what was bought last.")
    elif last_time - first_time < _WEEKS:
        sentences.append(
            f"The purchases span {day(first_time)} to {day(last_time)}: too short for seasons, and for a test by time."
        )
    else:
        sentences.append(
            f"From {day(first_time)} to {day(last_time)}, `recae evaluate --protocol time` can test what is bought "
            "later."
        )
    owners = figures.interactions / figures.items
    if number == 0 or figures.history_median < _SHORT or figures.users < 2 * _MIN_MEASURED:
        word = "little"
    elif figures.history_median >= _LONG and figures.users >= _MANY_USERS and owners >= _MANY_OWNERS:
        word = "much"
    else:
        word = "some"
    return Expectation(word, number, tuple(sentences))


def _measured(figures: Figures, number: int) -> str:
    if number == 0:
        return "Too few users have two items or more to hold any out: how good a model is cannot be measured."
    # a mean of values in [0, 1] has a standard error of 1 / (2 √n) at most
    error = f"±{0.98 / number**0.5:.2f}".replace("±0", "±")
    said = f"{counted(number, 'user')} can be held out to measure on, and as many to choose on"
    if number < _MIN_MEASURED:
        return f"Only {said}: differences between models will hardly be visible (recall is known to {error} at worst)."
    return f"{said}; recall is known to {error} at worst."


def _histories(figures: Figures) -> str:
    middle = figures.history_median
    half = f"The median user has {middle:g} different {'item' if middle == 1 else 'items'}"
    if middle < _SHORT:
        return f"{half}: a model learns what is popular and what is bought together, but hardly any individual taste."
    if middle < _LONG:
        return f"{half}: a model learns tastes roughly; simple models such as item-kNN may be as good as large ones."
    return f"{half}: enough for a model to learn tastes."


def _items(figures: Figures) -> str:
    if figures.owned_by_five == figures.items:
        return "Every item has five users or more."
    share = percent(figures.owned_by_five, figures.items)
    return (
        f"{figures.owned_by_five:,} of {counted(figures.items, 'item')} ({share}) have five users or more; no model "
        "can say much about the others."
    )
