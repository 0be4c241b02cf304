"""What the report's parts ask: which model leads, which colour it has, how it stands to the best baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recae.evaluation.html_words import finite

SLOTS = 8
"""Colours; the leading model has the first and the best baseline the second, whatever their names."""

AHEAD, EVEN, BEHIND = "ahead", "even", "behind"
LEVEL = 0.05
"""A difference whose corrected p-value is below is called one."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the report as it is shown; `slot` is its colour, `mean` None where nothing was measured."""

    model: Mapping[str, Any]
    name: str
    slot: int
    baseline: bool
    failed: str | None
    mean: float | None
    status: str | None

    @property
    def colour(self) -> str:
        """The classes that give a mark its colour, and its dashes for a baseline."""
        return f"s{self.slot}{' base' if self.baseline else ''}"

    @property
    def difference(self) -> Mapping[str, Any]:
        """Of the model to the best baseline; empty where there is none."""
        return mapping(self.model.get("difference"))


@dataclass(frozen=True, eq=False)
class View:
    """The report and its models, best first and those that failed last.

    `leader` is the best model that is no baseline (of those ahead of the best baseline, where there are any), `rival`
    the best baseline, `best` the first of all; each None where there is none that was measured.
    """

    report: Mapping[str, Any]
    metric: str
    entries: tuple[Entry, ...]
    best: Entry | None
    leader: Entry | None
    rival: Entry | None

    @property
    def k(self) -> str:
        """The list length of the metric that everything is judged by, as text."""
        return self.metric.partition("@")[2]

    @property
    def measured(self) -> tuple[Entry, ...]:
        """The models that did not fail."""
        return tuple(entry for entry in self.entries if entry.failed is None)

    def part(self, name: str) -> Mapping[str, Any]:
        """An object of the report, empty where it is missing."""
        return mapping(self.report.get(name))


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list, which may be missing."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [part for part in value if isinstance(part, Mapping)]


def figure(model: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    """`mean`, `low` and `high` of a model's metric; empty where it was not measured."""
    return mapping(mapping(model.get("metrics")).get(metric))


def make_view(report: Mapping[str, Any]) -> View:
    """Orders the models and gives them their colours; the same report gives the same view."""
    metric = str(report.get("metric") or "ndcg@20")
    models = objects(report.get("models"))

    def quality(model: Mapping[str, Any]) -> tuple[int, float]:
        mean = finite(figure(model, metric).get("mean"))
        if model.get("failed"):
            return 2, 0.0
        return (1, 0.0) if mean is None else (0, -mean)

    ordered = sorted(models, key=quality)  # stable: equals stay as they came
    led = [m for m in ordered if not m.get("baseline") and quality(m)[0] == 0]
    # a steadier model can be ahead for sure while the one with the higher mean is not
    ahead = [m for m in led if standing(mapping(m.get("difference"))) == AHEAD]
    leader = next(iter(ahead or led), None)
    named = {str(mapping(m.get("difference")).get("to")) for m in models}
    baselines = [m for m in ordered if m.get("baseline") and quality(m)[0] == 0]
    rival = next((m for m in baselines if str(m.get("name")) in named), next(iter(baselines), None))
    first = [m for m in (leader, rival) if m is not None]
    rest = [m for m in ordered if all(m is not taken for taken in first)]
    slots = {id(m): n for n, m in enumerate(rest, start=2)}
    slots |= {id(m): n for n, m in ((0, leader), (1, rival)) if m is not None}

    entries = tuple(
        Entry(
            model=m,
            name=str(m.get("name") or m.get("kind") or "unnamed"),
            slot=_slot(slots[id(m)]),
            baseline=bool(m.get("baseline")),
            failed=str(m["failed"]) if m.get("failed") else None,
            mean=None if m.get("failed") else finite(figure(m, metric).get("mean")),
            status=None if m.get("failed") else standing(mapping(m.get("difference"))),
        )
        for m in ordered
    )

    def entry(model: Mapping[str, Any] | None) -> Entry | None:
        return next((e for e in entries if e.model is model), None)

    best = entries[0] if entries and entries[0].mean is not None else None
    return View(report, metric, entries, best, entry(leader), entry(rival))


def _slot(n: int) -> int:
    """The first two colours are kept for the two models that matter; the others take turns."""
    return n if n < SLOTS else 2 + (n - 2) % (SLOTS - 2)


def standing(difference: Mapping[str, Any]) -> str | None:
    """Ahead of, behind or not distinguishable from the best baseline; None where that was not compared."""
    mean, low, high = (finite(difference.get(key)) for key in ("mean", "low", "high"))
    if mean is None:
        return None
    p = finite(difference.get("p_corrected"))
    told = p < LEVEL if p is not None else low is not None and high is not None and (low > 0 or high < 0)
    if not told:
        return EVEN
    return AHEAD if mean > 0 else BEHIND
