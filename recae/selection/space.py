"""What tuning found: its trials, the best of them, and the settings as the TOML that `recae train --config` takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, product
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.filters import Filters
from recae.selection.fit import CONFIGS
from recae.settings import FILTERS, WEIGHTS, choose_kind, to_toml
from recae.training.kinds.baselines import NEIGHBOURS

State = Literal["complete", "pruned", "failed"]
"""How a trial ended: measured, stopped after some epochs because it lagged behind, or not fitted at all."""


@dataclass(frozen=True)
class TunedTrial:
    """A trial that ended.

    number    from 1; the first one has the defaults
    state     how it ended
    value     the metric on the validation users, of a pruned trial after its last epoch; None where it failed
    settings  what was searched, with the values used; of the first one, those that were chosen from the data
    epochs    that were trained; 0 for a closed form
    seconds   that it took
    reason    why it failed; empty otherwise
    """

    number: int
    state: State
    value: float | None
    settings: Mapping[str, Any]
    epochs: int
    seconds: float
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values, the number as `trial`, no reason as None."""
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
        """Such as "factors 512, dropout 0.5"."""
        return settings_in_words(self.settings)


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    kind              the kind of model
    metric            what was to be raised, such as "ndcg@20"
    fixed             settings that were not searched, the seed among them
    trials            that ended, in their order, those of earlier sessions too
    importance        setting → share, adding up to 1, of how much it decides which trials do well; empty where too few
                      trials were measured to say
    ended             "trials" or "budget": what ended the search
    source            what the purchases were read from, without a password; empty where they were given as they are
    fingerprint       of the purchases
    n_users, n_items, validation_users, test_users  numbers of them; the test users were set aside
    repeats           whether people rebuy
    seconds           that the trials took, over all sessions
    filters           those that the purchases were read with
    weighting         what purchases weighed
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

    def toml(self) -> str:
        """The text of a file that `recae train --config` takes, with comments that say where it comes from.

        The same trials give the same text. The seed is among the settings, and filters and weights are tables of their
        own, so that training sets the same users aside.
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
            tables[WEIGHTS] = self.weighting.as_dict()
        return "\n".join([*lines, to_toml(self.kind, {**values, **tables})])

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
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
    """The complete trial of the highest value, of equal ones the first; None where none is complete."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Such as "factors 512, dropout 0.5"."""
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "the defaults"


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4f}"


def _one_line(text: str) -> str:
    """A text in quotation marks without anything that would end or break a comment in TOML."""
    return json.dumps(text).replace("\x7f", "\\u007f")


Scale = Literal["float", "log-float", "int", "log-int", "choice"]
"""How the values between two bounds are spread; "choice": there are no bounds, but a few values."""

DIGITS = 3
"""Significant digits of a number that is tried: more would be noise."""

REACH = 0.4
"""Share of a range that is searched to each side of a default which was chosen from the data: it is seldom far off."""

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Dimension:
    """A setting to be searched, and its values.

    name     of the setting; dotted for that of a part, as in "sigmoid.factors"
    scale    how the values are spread
    low      the least value, inclusive
    high     the greatest value, inclusive
    choices  the values, where the scale is "choice"
    """

    name: str
    scale: Scale
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return self.scale in ("int", "log-int")

    @property
    def log(self) -> bool:
        """Whether the values are spread evenly by their logarithm."""
        return self.scale in ("log-float", "log-int")

    def in_words(self) -> str:
        """Such as "factors 64 to 1024" or "weighting tfidf or bm25"."""
        bounds = f"{self.low:g} to {self.high:g}"
        return f"{self.name} {' or '.join(self.choices) if self.scale == 'choice' else bounds}"

    def at(self, share: float) -> Any:
        """The value that lies such a share, in 0..1, of the way from the first to the last; see `tidy`."""
        if self.scale == "choice":
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            return self.tidy(float(self.low * (self.high / self.low) ** share))
        return self.tidy(self.low + (self.high - self.low) * share)

    def tidy(self, value: Any) -> Any:
        """A value as it is tried: whole, or of `DIGITS` digits, and within the bounds; a choice as it is."""
        if self.scale == "choice":
            return value
        held = min(max(value, self.low), self.high)
        return round(held) if self.whole else min(max(float(f"{held:.{DIGITS}g}"), self.low), self.high)

    def around(self, default: Any) -> Dimension:
        """The part of this dimension that lies around a default, `REACH` of it to each side, and holds the default.

        Of choices all stay, and the default is added where it is none of them.
        """
        if self.scale == "choice":
            return self if default in self.choices else replace(self, choices=(*self.choices, default))
        if self.log:
            reach = (self.high / self.low) ** REACH
            low, high = default / reach, default * reach
        else:
            reach = (self.high - self.low) * REACH
            low, high = default - reach, default + reach
        low, high = self.tidy(max(low, self.low)), self.tidy(min(high, self.high))
        return replace(self, low=min(low, default), high=max(high, default))


def _float(name: str, low: float, high: float) -> Dimension:
    return Dimension(name, "float", low, high)


def _log(name: str, low: float, high: float) -> Dimension:
    return Dimension(name, "log-float", low, high)


def _whole(name: str, low: int, high: int) -> Dimension:
    return Dimension(name, "log-int", low, high)


def _choice(name: str, *choices: str) -> Dimension:
    return Dimension(name, "choice", choices=choices)


_EASE = (_log("l2", 2, 5000), _float("user_power", 0, 1), _float("item_power", 0, 0.5))
_EDLAE = (_EASE[0], _float("dropout", 0.05, 0.75), *_EASE[1:])

# Each kind's settings in the order of how much they matter. The bounds lie around what the defaults resolve to for
# 1,000 to 1,000,000 users. Epochs are none of them: training stops by itself when nothing is gained any more, and
# trials of as many epochs can be compared epoch by epoch. The largest weight times the largest step stays below 2.
_SPACES: dict[str, tuple[Dimension, ...]] = {
    "sigmoid": (
        _log("purchase_weight", 1, 50),
        _log("learning_rate", 0.004, 0.035),
        _whole("factors", 64, 1024),
        _float("dropout", 0.2, 0.8),
        _log("encoder_learning_rate", 0.008, 0.2),
        _float("input_power", 0.2, 0.7),
    ),
    "deep": (
        _log("purchase_weight", 1, 50),
        _log("output_learning_rate", 0.004, 0.035),
        _float("dropout", 0.2, 0.8),
        _choice("layers", "128", "256", "512", "256,128", "600,200", "1000,300"),
        _log("learning_rate", 2e-4, 5e-3),
        _log("encoder_learning_rate", 0.008, 0.2),
        _choice("activation", "tanh", "sigmoid", "silu", "selu", "relu"),
        _float("input_power", 0.2, 0.7),
    ),
    "multvae": (
        _log("beta", 0.005, 0.5),
        _log("learning_rate", 5e-4, 0.01),
        _float("dropout", 0.2, 0.8),
        _choice("layers", "100", "200", "400", "400,100", "600,200"),
        _float("anneal", 0.1, 0.9),
    ),
    "recvae": (
        _log("gamma", 0.001, 0.03),
        _log("learning_rate", 2e-4, 5e-3),
        _float("dropout", 0.2, 0.8),
        _whole("factors", 64, 512),
        _whole("hidden", 200, 1000),
    ),
    "ease": _EASE,
    "edlae": _EDLAE,
    "sparse-linear": (_EDLAE[0], _EDLAE[1], _whole("neighbours", 50, 500), *_EASE[1:]),
    "itemknn": (_whole("k", NEIGHBOURS[0], NEIGHBOURS[-1]), _choice("weighting", "tfidf", "bm25", "cosine")),
    "als": (
        _whole("factors", 32, 512),
        _log("regularization", 0.1, 500),
        _log("alpha", 0.3, 50),
    ),
    "bpr": (
        _whole("factors", 16, 256),
        _log("regularization", 0.003, 0.1),
        _log("learning_rate", 0.01, 0.2),
        _whole("iterations", 30, 300),
    ),
    "frequency": (_log("popularity", 0.01, 20), _float("decay", 0.5, 1)),
    "popularity": (),
}

# What is known to do well, in the order of promise: these come before any other trials.
_LISTS: dict[str, list[dict[str, Any]]] = {
    # the defaults choose k by the validation users where there are any, and are 20 where there are none
    "itemknn": [
        *({"k": k} for k in (50, 100, 10, 200, 5, 20)),
        *({"weighting": weighting} for weighting in ("bm25", "cosine")),
    ],
    "als": [
        {"factors": factors, "regularization": regularization, "alpha": alpha}
        for factors, regularization, alpha in product((256, 128), (10.0, 50.0), (3.0, 10.0))
        if (factors, regularization, alpha) != (256, 10.0, 3.0)  # the defaults
    ],
    "bpr": [
        {"factors": factors, "regularization": regularization}
        for factors, regularization in product((64, 128), (0.03, 0.01))
        if (factors, regularization) != (64, 0.03)  # the defaults
    ],
}
_ONLY_LISTED = ("itemknn",)

_FILLED = 2
"""Settings that the trials beyond a list vary, the first of the space: a handful of trials says little of more."""

_MIDDLE = 0.6
"""Share of each range, around its middle, that these trials fill: the ends seldom do well."""

_OF_A_PART = 3
"""Settings of each part of a blend that are searched, the first of its space."""

_PARTS_OF_BLEND = ("sigmoid", "itemknn")
"""What every blend is made of whose components nobody names; the linear part depends on the number of items."""


def space(kind: str, fixed: Mapping[str, Any] = _NONE) -> tuple[Dimension, ...]:
    """The settings of a kind that are worth searching, the ones that matter most first.

    `fixed` are settings that somebody has chosen: they are not searched, nor what has no effect beside them or means
    something else. The weights of a blend are chosen when it is fitted, so that its space is the first settings of each
    of its parts, those of `fixed["components"]`. Popularity has no settings, and an empty space. Raises ConfigError for
    an unknown kind, and for `auto`, which searches by itself.
    """
    choose_kind(kind, CONFIGS)
    if kind == "auto":
        raise ConfigError("auto tries several kinds by itself, so there is nothing to tune: name one of them")
    found = _blend_space(fixed) if kind == "blend" else _SPACES[kind]
    left_out = {*fixed, *_without_effect(kind, fixed)}
    return tuple(dimension for dimension in found if dimension.name not in left_out)


def trials(kind: str, n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Up to `n` settings of a kind to try, each as `make_config` takes them, no two alike.

    The first is {}, the defaults. Then comes what is known to do well, where there is such a list, and then points that
    fill the middle of the space of its first settings evenly: a Halton sequence (Halton 1960,
    doi:10.1007/BF01386213) that `seed` shifts. A longer list begins with the shorter ones. There are fewer than `n` for
    a kind with few settings: one for popularity, nine for item-kNN. Raises ConfigError as `space`.
    """
    dimensions = tuple(d for d in space(kind)[:_FILLED] if d.name != "decay")  # which makes the histories
    filling = iter(()) if kind in _ONLY_LISTED or not dimensions else _fill(dimensions, seed)
    found: list[dict[str, Any]] = []
    for values in chain([{}], _LISTS.get(kind, []), islice(filling, 100 * max(n, 0))):
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
        shares = (1 - _MIDDLE) / 2 + _MIDDLE * ((sequence.random(1)[0] + shift) % 1)
        yield {d.name: d.at(float(share)) for d, share in zip(dimensions, shares, strict=True)}


def _blend_space(fixed: Mapping[str, Any]) -> tuple[Dimension, ...]:
    named = fixed.get("components")
    parts = _PARTS_OF_BLEND if named is None else tuple(part.strip() for part in str(named).split(","))
    found = []
    for part in parts:
        own = {key.partition(".")[2]: value for key, value in fixed.items() if key.startswith(f"{part}.")}
        found += [replace(d, name=f"{part}.{d.name}") for d in space(part, own)[:_OF_A_PART]]
    return tuple(found)


def _without_effect(kind: str, fixed: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that those that are fixed leave without effect, or with another meaning."""
    if kind == "sigmoid":
        return ("learning_rate", "encoder_learning_rate") if fixed.get("tied") else ()
    if kind == "deep":
        adam = ("output_learning_rate",) if fixed.get("loss", "squared") != "squared" else ()
        weightless = ("purchase_weight",) if fixed.get("loss") == "multinomial" else ()
        return (
            *adam,
            *weightless,
            *(("output_learning_rate", "encoder_learning_rate") if fixed.get("tied") else ()),
        )
    return ()
