"""The evaluation report as frozen dataclasses, and its JSON form, which `recae evaluate --json` prints.

The fields stand in the order of the JSON keys and have their names. `Report.from_json` takes whatever a JSON file
holds: what is missing or of another type than expected becomes None, empty, or is left out, so that a report of another
version can still be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from recae.evaluation.report.users import Example, Failures
from recae.evaluation.report.values import (
    count_of,
    list_of,
    mapped_of,
    number_of,
    object_of,
    objects_of,
    text_of,
)
from recae.files import atomic_path
from recae.summary import Grid, Summarised, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION: Final = 1

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True)
class Estimate:
    """A mean over the test users and its 95 % interval; None where it is not known."""

    mean: float | None
    low: float | None
    high: float | None

    @classmethod
    def from_json(cls, value: object) -> Estimate:
        """Read `{"mean": …, "low": …, "high": …}`."""
        found = object_of(value)
        return cls(number_of(found.get("mean")), number_of(found.get("low")), number_of(found.get("high")))


UNKNOWN: Final = Estimate(None, None, None)


@dataclass(frozen=True)
class Difference:
    """Difference of a model to the best baseline, `to`: the mean over users, its 95 % interval and p-values."""

    to: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None

    @property
    def estimate(self) -> Estimate:
        """The mean difference and its interval."""
        return Estimate(self.mean, self.low, self.high)

    @classmethod
    def from_json(cls, value: object) -> Difference | None:
        """Read a difference; None where there is none."""
        found = object_of(value)
        if not found:
            return None
        numbers = (number_of(found.get(key)) for key in ("mean", "low", "high", "p", "p_corrected"))
        return cls(text_of(found.get("to")), text_of(found.get("metric")), *numbers)


@dataclass(frozen=True)
class Slice:
    """The metric in one part of the users or items."""

    name: str
    n_users: int | None
    mean: float | None
    low: float | None
    high: float | None

    @property
    def estimate(self) -> Estimate:
        """The mean and its interval."""
        return Estimate(self.mean, self.low, self.high)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Slice:
        """Read a slice."""
        numbers = (number_of(value.get(key)) for key in ("mean", "low", "high"))
        return cls(text_of(value.get("name")), count_of(value.get("n_users")), *numbers)


@dataclass(frozen=True)
class Curve:
    """Recall by the length of the list: one estimate for each length k."""

    k: tuple[float, ...]
    recall: tuple[Estimate, ...]

    @property
    def points(self) -> list[tuple[float, Estimate]]:
        """The lengths in ascending order, with their estimates."""
        return sorted(
            ((k, found) for k, found in zip(self.k, self.recall, strict=False) if k >= 1),
            key=lambda point: point[0],
        )

    @classmethod
    def from_json(cls, value: object) -> Curve | None:
        """Read `{"k": […], "recall": […]}`; None where there is none."""
        found = object_of(value)
        if not found:
            return None
        points = [
            (k, Estimate.from_json(recall))
            for key, recall in zip(list_of(found.get("k")), list_of(found.get("recall")), strict=False)
            if (k := number_of(key)) is not None
        ]
        return cls(tuple(k for k, _ in points), tuple(recall for _, recall in points))


@dataclass(frozen=True)
class Trial:
    """Settings that were tried on the validation users, and their metrics there; `fold` with k-fold only."""

    settings: Mapping[str, Json]
    metrics: Mapping[str, float | None]
    fold: int | None = None

    def to_json(self) -> dict[str, Json]:
        """Write the metrics beside the settings: `{"settings": {…}, "ndcg@20": …, "fold": …}`."""
        fold = {} if self.fold is None else {"fold": self.fold}
        return {"settings": self.settings, **self.metrics, **fold}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """Read a trial; metrics are the keys with an @."""
        metrics = {name: number_of(found) for name, found in value.items() if "@" in name}
        return cls(_settings(value.get("settings")), metrics, count_of(value.get("fold")))


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training: its number, and what was measured after it, "loss" and "recall@20"."""

    epoch: int | None
    values: Mapping[str, float | None]

    def to_json(self) -> dict[str, Json]:
        """Write the values beside the number: `{"epoch": 1, "loss": …, "recall@20": …}`."""
        return {"epoch": self.epoch, **self.values}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Epoch:
        """Read an epoch."""
        values = {name: number_of(found) for name, found in value.items() if name != "epoch"}
        return cls(count_of(value.get("epoch")), values)


@dataclass(frozen=True)
class Diversified:
    """Lists of a model with diversity: the metric, its difference to those without, and figures of the lists."""

    diversity: float | None
    mean: Estimate
    cost: Estimate
    sets: Mapping[str, float | None]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Diversified:
        """Read what diversity costs."""
        return cls(
            number_of(value.get("diversity")),
            Estimate.from_json(value.get("mean")),
            Estimate.from_json(value.get("cost")),
            mapped_of(value.get("sets"), number_of) or {},
        )


@dataclass(frozen=True)
class Model:
    """One model of the comparison; what was not measured, as of a model that failed, is None.

    Attributes:
        name: Name of the model in tables, unique in the report.
        kind: Name of its kind, as `recae train --kind` takes it.
        baseline: Whether it is a baseline, with which the others are compared.
        config: Settings that the figures belong to.
        tuned: Trials on the validation users.
        seconds: Wall time of tuning, fitting and ranking.
        peak_bytes: Most memory that its process held.
        metrics: metric@k → mean over the test users.
        sets: Figures of the lists together: "coverage@20", "novelty@20", …
        difference: To the best baseline; None for that one itself.
        verdict: One sentence on the model.
        curve: Recall by the length of the list.
        slices: "history", "popularity", with repeat purchases "repeat", and, where they are known, "category" and
            "price" → the metric in each part.
        epochs: Of the training; of k-fold, of the first group.
        failed: Why there is no result, in one sentence; None otherwise.
        worth: Where prices are known, the difference to the best baseline in value of the hits per 1,000
            recommendations; None for that one itself.
        diversified: Its lists with diversity, where they were asked for.
    """

    name: str
    kind: str
    baseline: bool
    config: Mapping[str, Json]
    tuned: tuple[Trial, ...]
    seconds: float | None
    peak_bytes: int | None
    metrics: Mapping[str, Estimate] | None
    sets: Mapping[str, float | None] | None
    difference: Difference | None
    verdict: str | None
    curve: Curve | None
    slices: Mapping[str, tuple[Slice, ...]] | None
    epochs: tuple[Epoch, ...]
    failed: str | None
    worth: Estimate | None = None
    diversified: tuple[Diversified, ...] = ()

    def estimate(self, metric: str) -> Estimate:
        """Return the model's estimate of a metric; unknown where it was not measured."""
        return (self.metrics or {}).get(metric, UNKNOWN)

    @property
    def gap(self) -> Estimate:
        """The difference to the best baseline; unknown where it was not compared."""
        return UNKNOWN if self.difference is None else self.difference.estimate

    @property
    def p_corrected(self) -> float | None:
        """The corrected p-value of the difference; None where it was not compared."""
        return None if self.difference is None else self.difference.p_corrected

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Model:
        """Read a model."""
        metrics, sets, slices = (value.get(key) for key in ("metrics", "sets", "slices"))
        return cls(
            name=text_of(value.get("name") or value.get("kind") or "unnamed"),
            kind=text_of(value.get("kind")),
            baseline=bool(value.get("baseline")),
            config=_settings(value.get("config")),
            tuned=tuple(map(Trial.from_json, objects_of(value.get("tuned")))),
            seconds=number_of(value.get("seconds")),
            peak_bytes=count_of(value.get("peak_bytes")),
            metrics=mapped_of(metrics, Estimate.from_json),
            sets=mapped_of(sets, number_of),
            difference=Difference.from_json(value.get("difference")),
            verdict=text_of(value.get("verdict")) or None,
            curve=Curve.from_json(value.get("curve")),
            slices=mapped_of(slices, lambda parts: tuple(map(Slice.from_json, objects_of(parts)))),
            epochs=tuple(map(Epoch.from_json, objects_of(value.get("epochs")))),
            failed=text_of(value.get("failed")) or None,
            worth=Estimate.from_json(value["worth"]) if value.get("worth") else None,
            diversified=tuple(map(Diversified.from_json, objects_of(value.get("diversified")))),
        )


@dataclass(frozen=True)
class Data:
    """The purchases: where they come from, how many there are, which filters were set, what reading dropped."""

    source: str | None = None
    fingerprint: str | None = None
    n_users: int | None = None
    n_items: int | None = None
    n_interactions: int | None = None
    filters: Mapping[str, Json] = field(default_factory=dict)
    report: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Data:
        """Read what is known of the data."""
        found = object_of(value)
        return cls(
            text_of(found.get("source")) or None,
            text_of(found.get("fingerprint")) or None,
            count_of(found.get("n_users")),
            count_of(found.get("n_items")),
            count_of(found.get("n_interactions")),
            _settings(found.get("filters")),
            tuple(map(text_of, list_of(found.get("report")))),
        )


@dataclass(frozen=True)
class Protocol:
    """How the test users and their held-out items were chosen.

    Attributes:
        name: Such as "strong" or "k-fold".
        rule: A sentence with counts.
        seed: Of the random parts.
        folds: Number of groups of "k-fold"; None otherwise.
        n_test_users: Users measured on.
        n_held_out: Their held-out interactions.
        lost: Held-out interactions of items that no training part has.
        exclude_owned: Whether items of the history are left out of the lists.
        counts: Further numbers of the split by name, such as "users_with_ties".
    """

    name: str | None = None
    rule: str | None = None
    seed: int | None = None
    folds: int | None = None
    n_test_users: int | None = None
    n_held_out: int | None = None
    lost: int | None = None
    exclude_owned: bool | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Protocol:
        """Read what is known of the protocol."""
        found = object_of(value)
        counts = {name: count_of(number) for name, number in object_of(found.get("counts")).items()}
        owned = found.get("exclude_owned")
        return cls(
            text_of(found.get("name")) or None,
            text_of(found.get("rule")) or None,
            count_of(found.get("seed")),
            count_of(found.get("folds")),
            count_of(found.get("n_test_users")),
            count_of(found.get("n_held_out")),
            count_of(found.get("lost")),
            owned if isinstance(owned, bool) else None,
            {name: number for name, number in counts.items() if number is not None},
        )


@dataclass(frozen=True)
class Budget:
    """What each model was given for tuning; `text` says it in a sentence."""

    trials_per_model: int | None = None
    text: str | None = None

    @classmethod
    def from_json(cls, value: object) -> Budget:
        """Read the budget."""
        found = object_of(value)
        return cls(count_of(found.get("trials_per_model")), text_of(found.get("text")) or None)


@dataclass(frozen=True, repr=False)
class Report(Summarised):
    """A comparison of models on the same test users.

    Attributes:
        format_version: Of the JSON form.
        command: The exact command.
        versions: Name of a library → its version.
        data: The purchases.
        protocol: Who was tested on what.
        budget: What each model was given for tuning.
        ks: List lengths measured.
        metric: What the models are judged by, such as "ndcg@20".
        models: In the order in which they were run.
        examples: Some test users, one by one.
        verdict: Some sentences; the first says whether a model is worth it.
        failures: For whom the best model is worst; None where nothing was measured.
    """

    format_version: int
    command: str
    versions: Mapping[str, str]
    data: Data
    protocol: Protocol
    budget: Budget
    ks: tuple[int, ...]
    metric: str
    models: tuple[Model, ...]
    examples: tuple[Example, ...]
    verdict: str | None
    failures: Failures | None = None

    @property
    def k(self) -> str:
        """The list length of the metric that the models are judged by, as text."""
        return self.metric.partition("@")[2]

    def summary(self) -> Summary:
        """Return the table of models, the best first, and the verdict."""

        def text(found: Estimate, form: str) -> str:
            return "-" if found.mean is None else f"{found.mean:{form}}"

        def span(found: Estimate) -> str:
            return "" if found.low is None or found.high is None else f"{found.low:.4f} to {found.high:.4f}"

        measured = sorted(self.models, key=lambda model: -(model.estimate(self.metric).mean or 0.0))
        names = list(dict.fromkeys([f"recall@{self.k}", self.metric]))
        rows = [
            [
                model.name,
                "failed" if model.failed is not None else "baseline" if model.baseline else "model",
                *(text(model.estimate(name), ".4f") for name in names),
                span(model.estimate(self.metric)),
                text(model.gap, "+.4f"),
            ]
            for model in measured
        ]
        grid = Grid(["model", "role", *names, "95 % interval", "difference"], rows, [*names, "difference"])
        tested = self.protocol.n_test_users
        users = "" if tested is None else f", {tested:,} test users"
        title = f"Report: {len(self.models):,} models, protocol {self.protocol.name or 'unknown'}{users}"
        return Summary(title, (), grid, [self.verdict] if self.verdict else [])

    def plot(self, what: str = "metrics") -> Figure:
        """Draw a plot, which a notebook shows.

        Args:
            what: "metrics" (each with its interval), "recall-curves" or "training".

        Raises:
            ConfigError: There is no such plot, or matplotlib is missing.
            DataError: The report has nothing for it.
        """
        # looked up by name, since what draws a report stands on this file
        found: Figure = import_module("recae.evaluation.report.png").report_figure(self, what)
        return found

    def save(self, path: str | Path) -> None:
        """Write the report to a file, as one page of HTML; it appears whole or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        page: str = import_module("recae.evaluation.report.html").report_html(self)
        with atomic_path(Path(path)) as temporary:
            temporary.write_text(page, encoding="utf-8")

    def to_json(self) -> dict[str, Any]:
        """Write the report as JSON values; what is not known is None."""
        written: dict[str, Any] = plain(self)
        return written

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """Read a report from JSON values.

        Args:
            value: What `to_json` gave, also through a file; whatever is missing or odd is taken as not known.

        Returns:
            The report.
        """
        return cls(
            format_version=count_of(value.get("format_version")) or FORMAT_VERSION,
            command=text_of(value.get("command")),
            versions=mapped_of(value.get("versions"), text_of) or {},
            data=Data.from_json(value.get("data")),
            protocol=Protocol.from_json(value.get("protocol")),
            budget=Budget.from_json(value.get("budget")),
            ks=tuple(k for key in list_of(value.get("ks")) if (k := count_of(key)) is not None),
            metric=text_of(value.get("metric")) or "ndcg@20",
            models=tuple(map(Model.from_json, objects_of(value.get("models")))),
            examples=tuple(map(Example.from_json, objects_of(value.get("examples")))),
            verdict=text_of(value.get("verdict")) or None,
            failures=Failures.from_json(value.get("failures")),
        )


def plain(value: Any) -> Any:
    """Convert a value to JSON values.

    Args:
        value: A dataclass of this module, or anything that a model's settings hold.

    Returns:
        Dataclasses as objects, tuples and arrays as lists, NumPy's numbers as Python's, NaN and infinities as None,
        everything that JSON does not have as text.
    """
    if isinstance(value, Trial | Epoch):
        return plain(value.to_json())
    if is_dataclass(value):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _settings(value: object) -> Mapping[str, Json]:
    """Return settings as JSON values."""
    settings: Mapping[str, Json] = plain(object_of(value))
    return settings
