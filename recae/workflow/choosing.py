"""Which of several fitted models to take, the best or a cheaper one that cannot be told from it, and why in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.evaluation.intervals import Interval, Paired, bootstrap_mean, paired_difference
from recae.models import Model
from recae.training.checkpoint import Epoch

CLOSE = 0.005
"""Share of the best mean that a cheaper model may lack at most."""

BYTES_PER_SECOND = 10e6
"""What is stored weighs as much as the time to fit: 10 MB a second."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A model that was fitted and measured.

    name      what it is called, its kind
    settings  what it was fitted with, apart from the defaults
    values    NDCG@20 of each validation user, (B,), NaN for those without anything held out
    cost      seconds that fitting it takes by the rule of thumb, the same each time
    note      what else is to be said of it
    """

    name: str
    model: Model
    epochs: list[Epoch]
    settings: Mapping[str, Any]
    values: NDArray[np.float64]
    cost: float
    note: str = ""
    interval: Interval = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", bootstrap_mean(self.values))

    @property
    def mean(self) -> float:
        """Mean NDCG@20 over the users."""
        return self.interval.mean

    @property
    def bytes(self) -> int:
        """Of the model's parameters."""
        return sum(array.nbytes for array in self.model.arrays().values())

    def in_words(self) -> str:
        """Such as "sigmoid 0.2391 [0.2300, 0.2520]"."""
        return f"{self.name} {self.mean:.4f}{_bounds(self.interval)}"


@dataclass(frozen=True)
class Choice:
    """The trial that was chosen, why, and how far each falls short of the best (in the order of the trials)."""

    chosen: Trial
    why: str
    behind: tuple[Paired, ...]


def choose(trials: Sequence[Trial]) -> Choice:
    """The trial of the best mean, or the cheapest of those that cannot be told from it and lack at most `CLOSE` of it.

    Two trials cannot be told apart where the 95 % interval of the paired difference over the users holds 0, or is not
    known, as with a single user. Cheap is what takes little time to fit and little place to store.
    """
    best = max(trials, key=lambda trial: (trial.mean, -_price(trial)))
    behind = tuple(paired_difference(best.values, trial.values) for trial in trials)
    same = [
        trial
        for trial, gap in zip(trials, behind, strict=True)
        if trial is not best and not gap.low > 0  # NaN: one user tells nothing
    ]
    close = [trial for trial in same if trial.mean >= (1 - CLOSE) * best.mean]
    chosen = min([best, *close], key=_price)
    return Choice(chosen, _why(trials, behind, best, same, chosen), behind)


def _why(
    trials: Sequence[Trial], behind: Sequence[Paired], best: Trial, same: Sequence[Trial], chosen: Trial
) -> str:
    others = sorted((t for t in trials if t is not best), key=lambda t: -t.mean)
    if chosen is not best:
        return (
            f"{best.in_words()}; {chosen.name} {chosen.mean:.4f}: not distinguishable, "
            f"chosen because it is {_cheaper(chosen, best)}"
        )
    if not others:
        return f"{best.in_words()} is chosen, since nothing else could be tried"
    if not same:
        gap = behind[list(trials).index(others[0])]
        return (
            f"{best.in_words()} is chosen, the best; {others[0].name} {others[0].mean:.4f} comes next, "
            f"{gap.mean:.4f}{_bounds(gap)} behind"
        )
    listed = ", ".join(f"{trial.name} {trial.mean:.4f}" for trial in sorted(same, key=lambda t: -t.mean))
    return (
        f"{best.in_words()} is chosen, the best; not distinguishable from it, but more than "
        f"{CLOSE:.1%} lower or no cheaper: {listed}"
    )


def _price(trial: Trial) -> float:
    return trial.cost + trial.bytes / BYTES_PER_SECOND


def _cheaper(trial: Trial, than: Trial) -> str:
    smaller, faster = trial.bytes < than.bytes, trial.cost < than.cost
    return "smaller and faster to fit" if smaller and faster else "smaller" if smaller else "faster to fit"


def _bounds(interval: Interval | Paired) -> str:
    return "" if math.isnan(interval.low) else f" [{interval.low:.4f}, {interval.high:.4f}]"
