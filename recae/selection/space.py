"""Search spaces, and the result of a search: its trials and the best settings as TOML for `recae train --config`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.kinds import Dimension, Kind, decay_setting, find, parts_of
from recae.kinds.space import never
from recae.plots import trials_figure
from recae.results import Table
from recae.settings_toml import FILTERS, WEIGHTING, to_toml
from recae.summary import Grid, Summarised, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = Literal["complete", "pruned", "failed"]
"""How a trial ended: measured, stopped after some epochs because it lagged behind, or not fitted at all."""


@dataclass(frozen=True)
class TunedTrial:
    """A trial that ended.

    Attributes:
        number: from 1; the first one has the defaults.
        state: how it ended.
        value: the metric on the validation users, of a pruned trial after its last epoch; None where it failed.
        settings: the searched settings with the values used; of the first trial those that were chosen from the data.
        epochs: number of epochs; 0 for a closed form.
        seconds: wall time.
        reason: why it failed; empty otherwise.
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    epochs: int
    seconds: float
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, the number as `trial`, no reason as None."""
        return {
            "trial": self.number,
            "state": self.state,
            "value": self.value,
            "settings": dict(self.settings),
            "epochs": self.epochs,
            "seconds": self.seconds,
            "reason": self.reason or None,
        }

    def settings_in_words(self) -> str:
        """Return such as "factors 512, dropout 0.5"."""
        return settings_in_words(self.settings)


@dataclass(frozen=True, repr=False)
class Tuned(Summarised):
    """The result of tuning.

    Attributes:
        kind: of model.
        metric: that was maximised, such as "ndcg@20".
        fixed: settings that were not searched, the seed among them.
        trials: that ended, in their order, those of earlier sessions too.
        importance: setting → how much it decides which trials do well, as fractions of 1; empty with too little data.
        ended: "trials" or "budget": what ended the search.
        source: what the purchases were read from, without a password; empty where they were given as they are.
        fingerprint: of the purchases.
        n_users: number of users.
        n_items: number of items.
        validation_users: their number.
        test_users: number of test users, who were set aside.
        repeats: whether repeat purchases count.
        seconds: of the trials, over all sessions.
        filters: those that the purchases were read with.
        weighting: confidence of the purchases.
    """

    kind: str
    metric: str
    fixed: Mapping[str, Any]
    trials: Sequence[TunedTrial]
    importance: Mapping[str, float]
    ended: str
    source: str
    fingerprint: str
    n_users: int
    n_items: int
    validation_users: int
    test_users: int
    repeats: bool
    seconds: float
    filters: Filters = field(default_factory=Filters)
    weighting: Weighting = field(default_factory=Weighting)

    def summary(self) -> Summary:
        """Return the best trials, and beside the best one the defaults."""
        best, first = self.best, self.trials[0]
        done = [trial for trial in self.trials if trial.value is not None]
        ranked = sorted(done, key=lambda trial: (-(trial.value or 0.0), trial.number))
        rows = [
            [
                str(trial.number),
                _figure(trial.value),
                trial.state,
                f"{trial.seconds:.1f}",
                trial.settings_in_words(),
            ]
            for trial in ranked
        ]
        ended = "the budget ended" if self.ended == "budget" else "all were tried"
        return Summary(
            f"Tuned: {self.kind}, {self.metric} {_figure(best.value)} in trial {best.number} of {len(self.trials)}",
            [
                ("defaults", f"{self.metric} {_figure(first.value)}"),
                ("measured", f"on {self.validation_users:,} validation users; {ended}"),
            ],
            Grid(
                ["trial", self.metric, "state", "seconds", "settings"],
                rows,
                ["trial", self.metric, "seconds"],
            ),
        )

    def plot(self) -> Figure:
        """Draw the trials and the best so far, by the settings that matter most; a notebook shows the figure.

        Raises:
            ConfigError: matplotlib is missing.
        """
        trials = [trial.as_dict() for trial in self.trials]
        return trials_figure(trials, self.importance, self.metric, f"Trials of {self.kind}")

    @property
    def best(self) -> TunedTrial:
        """The trial of the highest value, of equal ones the first."""
        found = best_of(self.trials)
        if found is None:
            raise AssertionError  # `tune` raises before
        return found

    @property
    def config(self) -> dict[str, Any]:
        """All chosen settings, as `train` takes them: what was fixed, and the best of what was searched."""
        return {**self.fixed, **self.best.settings}

    @property
    def table(self) -> Table[Any]:
        """A trial a row: ``trial``, ``state``, the metric, each setting that was searched, ``epochs``, ``seconds``."""
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.settings))
        columns: dict[str, list[Any]] = {
            "trial": [trial.number for trial in self.trials],
            "state": [trial.state for trial in self.trials],
            self.metric: [trial.value for trial in self.trials],
            **{name: [trial.settings.get(name) for trial in self.trials] for name in names},
            "epochs": [trial.epochs for trial in self.trials],
            "seconds": [trial.seconds for trial in self.trials],
        }
        return Table.of(columns)

    def toml(self) -> str:
        """Return the text of a file that `recae train --config` takes, with comments that say where it comes from.

        The same trials give the same text. The seed is among the settings, and filters and weighting are tables of
        their own, so that training sets the same users aside.
        """
        best, first = self.best, self.trials[0]
        defaults = (
            "these are the defaults" if best is first else f"the defaults reached {_figure(first.value)}"
        )
        data = f"{self.n_users:,} users × {self.n_items:,} items, fingerprint {self.fingerprint[:16]}"
        named = f" of {_one_line(self.source)}" if self.source else ""
        lines = [
            f"# recae tune: {self.metric} {_figure(best.value)} on {self.validation_users:,} validation users, trial "
            f"{best.number} of {len(self.trials)}; {defaults}",
            f"# purchases{named}: {data}",
            f"# the {self.test_users:,} users that recae train{' --repeats' if self.repeats else ''} measures on with "
            "this seed were set aside",
        ]
        values: dict[str, Any] = {}
        tables: dict[str, dict[str, Any]] = {}
        for name, value in self.config.items():
            part, dot, key = name.rpartition(".")
            if dot:
                tables.setdefault(part, {})[key] = value
            else:
                values[name] = value
        if self.filters:
            tables[FILTERS] = self.filters.as_dict()
        if self.weighting:
            tables[WEIGHTING] = self.weighting.as_dict()
        return "\n".join([*lines, to_toml(self.kind, {**values, **tables})])

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "kind": self.kind,
            "metric": self.metric,
            "value": self.best.value,
            "config": self.config,
            "fixed": dict(self.fixed),
            "best": self.best.as_dict(),
            "trials": [trial.as_dict() for trial in self.trials],
            "importance": dict(self.importance),
            "ended": self.ended,
            "fingerprint": self.fingerprint,
            "n_users": self.n_users,
            "n_items": self.n_items,
            "validation_users": self.validation_users,
            "test_users": self.test_users,
            "repeats": self.repeats,
            "filters": self.filters.as_dict(),
            "weights": self.weighting.as_dict() or None,
            "seconds": self.seconds,
        }


def best_of(trials: Sequence[TunedTrial]) -> TunedTrial | None:
    """Return the complete trial of the highest value, the first of equal ones; None where none is complete."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Return such as "factors 512, dropout 0.5"."""
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "the defaults"


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4f}"


def _one_line(text: str) -> str:
    """Return a text in quotation marks without anything that would end or break a comment in TOML."""
    return json.dumps(text).replace("\x7f", "\\u007f")


_NONE: Mapping[str, Any] = MappingProxyType({})

_FILLED = 2
"""Number of settings that trials beyond a list vary, the first of the space: so short a search tells little of more."""

_MIDDLE = 0.6
"""Fraction of each range, around its middle, that these trials fill: the ends seldom do well."""

_OF_A_PART = 3
"""Number of settings of each part of a blend that are searched, the first of its space."""


def space(kind: str, fixed: Mapping[str, Any] = _NONE) -> tuple[Dimension, ...]:
    """Return the settings of a kind that are worth searching, the ones that matter most first.

    The weights of a blend are chosen when it is fitted, so that its space is the first settings of each of its parts,
    those of `fixed["components"]`. Popularity has no settings, and an empty space.

    Args:
        kind: of model.
        fixed: settings that are given: they are not searched, nor those without effect or with another meaning beside
            them.

    Raises:
        ConfigError: the kind is unknown, or is `auto`, which searches by itself.
    """
    if not tunable(kind):
        raise ConfigError(
            f"{kind} tries several kinds by itself, so there is nothing to tune: name one of them"
        )
    row = find(kind)
    found = _space_of_parts(row, fixed) if row.parts else row.space
    return tuple(d for d in found if d.name not in fixed and not d.idle(fixed))


def tunable(kind: str) -> bool:
    """Return whether a kind's settings can be searched; not those of one whose models are of other kinds."""
    return bool(find(kind).model)


def trials(kind: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return up to `n` different settings of a kind to try, each as `make_settings` takes them.

    The first is {}, the defaults. Then come presets where there are any, and then points that fill the middle of the
    space of the first settings evenly: a Halton sequence (Halton 1960, doi:10.1007/BF01386213) that `seed` shifts. A
    longer list begins with the shorter ones. A kind with a small space has fewer than `n`: popularity one, item-kNN
    three: one for each weighting, which chooses its number of neighbours by itself.

    Raises:
        ConfigError: as `space`.
    """
    row, decay = find(kind), decay_setting(kind)  # which makes the histories
    dimensions = tuple(d for d in space(kind)[:_FILLED] if d.name != decay)
    filling = iter(()) if row.only_presets or not dimensions else _fill(dimensions, seed)
    found: list[dict[str, Any]] = []
    for values in chain([{}], row.presets, islice(filling, 100 * max(n, 0))):
        if len(found) >= n:
            break
        if values not in found:
            found.append(dict(values))
    return found


def _fill(dimensions: tuple[Dimension, ...], seed: int) -> Iterator[dict[str, Any]]:
    from scipy.stats import qmc  # takes a moment

    sequence = qmc.Halton(len(dimensions), scramble=False).fast_forward(1)  # the first is a corner
    shift = np.random.default_rng(seed).random(len(dimensions))
    while True:
        fractions = (1 - _MIDDLE) / 2 + _MIDDLE * ((sequence.random(1)[0] + shift) % 1)
        yield {d.name: d.at(float(fraction)) for d, fraction in zip(dimensions, fractions, strict=True)}


def _space_of_parts(row: Kind, fixed: Mapping[str, Any]) -> tuple[Dimension, ...]:
    found = []
    for part in parts_of(row.name, fixed.get(row.parts), repeats=False):
        own = {key.partition(".")[2]: value for key, value in fixed.items() if key.startswith(f"{part}.")}
        found += [replace(d, name=f"{part}.{d.name}", idle=never) for d in space(part, own)[:_OF_A_PART]]
    return tuple(found)
