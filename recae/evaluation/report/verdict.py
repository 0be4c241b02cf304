"""The findings of a comparison: how each model stands to the best baseline, and whether a model is worth it.

This module decides; `recae.evaluation.report.words` says it in sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from recae.evaluation.report.schema import Difference, Model, Report

LEVEL: Final = 0.05
"""A difference is significant where its corrected p-value is below."""

BLEND: Final = "blend"
"""The kind that adds up several others, whose success says nothing yet of any one of them."""


class Standing(Enum):
    """How a model stands to the best baseline."""

    BETTER = "better"
    EVEN = "even"
    WORSE = "worse"


class Doubt(Enum):
    """Why a difference is not significant."""

    CHANCE = "the interval holds 0"
    CORRECTION = "the interval leaves 0 out, but the corrected p-value is not below the level"
    IDENTICAL = "every user has the same value with both"
    ONE_USER = "there is no interval"


@dataclass(frozen=True, eq=False)
class Ranked:
    """A model among the others.

    Attributes:
        model: The model of the report.
        mean: Its mean of the metric that models are judged by; None where it failed or lacks it.
        standing: To the best baseline; None where the two were not compared.
        doubt: Why the standing is even; None where it is not.
    """

    model: Model
    mean: float | None
    standing: Standing | None
    doubt: Doubt | None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name


@dataclass(frozen=True, eq=False)
class Ranking:
    """The models of a report, best first, those without a mean after them, those that failed last.

    Attributes:
        metric: What the models are judged by, such as "ndcg@20".
        models: All models.
        best: The first; None where nothing was measured.
        best_model: The best that is no baseline, of those better than the best baseline where there are any; None
            where none was measured.
        best_baseline: What the others were compared with; None where no baseline was measured.
    """

    metric: str
    models: tuple[Ranked, ...]
    best: Ranked | None
    best_model: Ranked | None
    best_baseline: Ranked | None

    @property
    def measured(self) -> tuple[Ranked, ...]:
        """The models that did not fail."""
        return tuple(found for found in self.models if found.model.failed is None)

    @property
    def compared(self) -> bool:
        """Whether any model was compared with the best baseline."""
        return any(found.standing is not None for found in self.measured)

    @property
    def n_comparisons(self) -> int:
        """Number of comparisons that the p-values are corrected for."""
        return sum(found.model.p_corrected is not None for found in self.measured)


def rank_models(report: Report) -> Ranking:
    """Order the models of a report and find the two that the verdict is about."""
    ordered = sorted((_ranked(model, report.metric) for model in report.models), key=_order)  # stable
    known = [found for found in ordered if found.mean is not None]
    models = [found for found in known if not found.model.baseline]
    baselines = [found for found in known if found.model.baseline]
    # a steadier model can be better for sure while the one with the higher mean is not
    better = [found for found in models if found.standing is Standing.BETTER]
    compared_with = {model.difference.to for model in report.models if model.difference is not None}
    named = [found for found in baselines if found.name in compared_with]
    return Ranking(
        report.metric,
        tuple(ordered),
        best=_first(known),
        best_model=_first(better or models),
        best_baseline=_first(named or baselines),
    )


def _ranked(model: Model, metric: str) -> Ranked:
    if model.failed is not None:
        return Ranked(model, None, None, None)
    mean = model.estimate(metric).mean
    if model.difference is None or model.difference.mean is None:
        return Ranked(model, mean, None, None)
    if not _significant(model.difference):
        return Ranked(model, mean, Standing.EVEN, _doubt(model.difference))
    return Ranked(model, mean, Standing.BETTER if model.difference.mean > 0 else Standing.WORSE, None)


def _significant(difference: Difference) -> bool:
    """Return whether a difference is significant: by the corrected p-value, or by the interval where there is none."""
    if difference.p_corrected is not None:
        return difference.p_corrected < LEVEL
    low, high = difference.low, difference.high
    return low is not None and high is not None and (low > 0 or high < 0)


def _doubt(difference: Difference) -> Doubt:
    low, high = difference.low, difference.high
    if low is None or high is None:
        return Doubt.ONE_USER
    if low == high == 0:
        return Doubt.IDENTICAL
    return Doubt.CORRECTION if low > 0 or high < 0 else Doubt.CHANCE


def _order(found: Ranked) -> tuple[int, float]:
    if found.model.failed is not None:
        return 2, 0.0
    return (1, 0.0) if found.mean is None else (0, -found.mean)


def _first(found: Sequence[Ranked]) -> Ranked | None:
    return found[0] if found else None


class Outcome(Enum):
    """The answer to "is a model worth it on these data?"."""

    NOTHING_MEASURED = "every model failed"
    NO_BASELINE = "no baseline was asked for"
    BASELINES_FAILED = "every baseline failed"
    ONLY_BASELINES = "nothing but baselines was asked for"
    MODELS_FAILED = "every model that is no baseline failed"
    BETTER = "the best model is better than the best baseline"
    EVEN = "the best model is not distinguishable from the best baseline"
    WORSE = "the best model is worse than the best baseline"


@dataclass(frozen=True, eq=False)
class Verdict:
    """The finding on all models.

    Taking the best of several models flatters it, but all differences are corrected together: a best model that is
    called better is better with the certainty that is stated.

    Attributes:
        outcome: The answer.
        ranking: What it rests on.
        several: Whether the best model is the best of several.
        single: The best model that is no blend, where the best model is a blend that was compared.
        failed: Names of the models that are not part of the answer.
        repeats: Whether items of the history were recommended again.
    """

    outcome: Outcome
    ranking: Ranking
    several: bool
    single: Ranked | None
    failed: tuple[str, ...]
    repeats: bool


def find_verdict(report: Report) -> Verdict:
    """Find whether a model is worth it: whether the best one is better than the best baseline."""
    ranking = rank_models(report)
    models = [found for found in ranking.measured if not found.model.baseline]
    best, baseline = ranking.best_model, ranking.best_baseline
    blended = best is not None and baseline is not None and best.model.kind == BLEND
    return Verdict(
        _outcome(ranking),
        ranking,
        several=len(models) > 1,
        single=_first([found for found in models if found.model.kind != BLEND]) if blended else None,
        failed=tuple(found.name for found in ranking.models if found.model.failed is not None),
        repeats=report.protocol.exclude_owned is False,
    )


def _outcome(ranking: Ranking) -> Outcome:
    if ranking.best is None:
        return Outcome.NOTHING_MEASURED
    if ranking.best_baseline is None:
        failed = any(found.model.baseline for found in ranking.models)
        return Outcome.BASELINES_FAILED if failed else Outcome.NO_BASELINE
    if ranking.best_model is None:
        failed = any(not found.model.baseline for found in ranking.models)
        return Outcome.MODELS_FAILED if failed else Outcome.ONLY_BASELINES
    standing = ranking.best_model.standing or Standing.EVEN
    return {
        Standing.BETTER: Outcome.BETTER,
        Standing.EVEN: Outcome.EVEN,
        Standing.WORSE: Outcome.WORSE,
    }[standing]
