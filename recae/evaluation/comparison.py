"""Comparison of models on the same test users: metrics, curves and slices, and differences to the best baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError
from recae.evaluation.evaluate import measure
from recae.evaluation.intervals import Interval, Paired, bootstrap_means, draws_for, holm, paired_differences
from recae.evaluation.products import Products, money
from recae.evaluation.sets import set_figures
from recae.evaluation.slices import Slice, slices
from recae.metrics import METRICS
from recae.splits.tasks import Task


@dataclass(frozen=True, eq=False)
class Run:
    """One model on one protocol; every metric, slice and curve of it is computed from `ranked`.

    Attributes:
        name: of the model in tables, such as "item-kNN"; different for every run of a comparison.
        kind: name in the registry, such as "itemknn".
        baseline: whether other models are compared with it.
        config: the settings that were measured, as JSON values.
        tuned: trials on the validation users, in order: {"settings": {…}, "ndcg@20": float, NaN or None where it
            failed}; empty where nothing was tried. With k-fold the trials of all folds, each with the key "fold" as
            well.
        seconds: wall time of fitting, tuning and ranking, over all folds.
        peak_bytes: largest resident memory of the process that did it, over the folds; None where unknown.
        epochs: of the training that was measured, {"epoch": int, "loss": float, "recall@20": float or None}; with
            k-fold that of the first fold; empty for a closed form.
        ranked: int32 (B, K): the item numbers recommended to the B test users of all folds, one fold after the other,
            best first, padded with -1, in the columns of the user's own fold; (0, 0) where the run failed.
        scores: float32 (B, K) of the entries of `ranked`, NaN at padding; None where they were not stored.
        failed: one sentence that says why there is no result; None where there is one.
        diverse: diversity → int32 (B, k), the lists with it, k the length of the metric that models are judged by.
    """

    name: str
    kind: str
    baseline: bool
    config: dict[str, Any] = field(default_factory=dict)
    tuned: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    ranked: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    scores: NDArray[np.float32] | None = None
    failed: str | None = None
    diverse: Mapping[float, NDArray[np.int32]] = field(default_factory=dict)


CURVE_KS = (1, 2, 3, 5, 10, 20, 50, 100)
"""List lengths of the recall curve, as far as the lists go; those that are measured anyway are added."""


@dataclass(frozen=True)
class Difference:
    """The difference of a model to the best baseline, `to`; `p_corrected` by Holm's method over all comparisons."""

    to: str
    paired: Paired
    p_corrected: float


@dataclass(frozen=True)
class SliceMean:
    """The mean of the metric in a slice of the users or of their held-out items."""

    name: str
    n_users: int
    interval: Interval


@dataclass(frozen=True)
class Diversified:
    """What diversity costs a model, and what it brings.

    Attributes:
        diversity: of the lists, above 0.
        interval: the mean of the metric that models are judged by.
        cost: its difference to the model's lists without diversity, user by user.
        sets: figures of the lists together, as `Measured.sets`.
    """

    diversity: float
    interval: Interval
    cost: Paired
    sets: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Measured:
    """The figures of one run; everything is empty where the run failed.

    Attributes:
        values: metric@k → float64 (B,), of each test user; NaN for a user who does not have it.
        metrics: metric@k → the mean over the users who have it, with its 95 % bootstrap interval; where prices are
            known, also the figures of `products.money`.
        curve: k → recall@k, likewise, k ascending.
        sets: "coverage@20", …: figures of all lists together, see `set_figures`.
        slices: "history", "popularity" and, where there are any, "repeat", "category" and "price" → the metric in each
            slice.
        difference: to the best baseline; None for that baseline itself, for a failed run, and without any baseline.
        worth: the difference of "value@k" to the best baseline; None likewise, and without prices.
        diversified: the lists with diversity, by rising diversity; none where none were made.
    """

    run: Run
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    curve: Mapping[int, Interval] = field(default_factory=dict)
    sets: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Sequence[SliceMean]] = field(default_factory=dict)
    difference: Difference | None = None
    worth: Paired | None = None
    diversified: tuple[Diversified, ...] = ()

    def n_users(self, metric: str) -> int:
        """Return how many users the mean of a metric, such as "recall@20", rests on."""
        return int(np.isfinite(self.values[metric]).sum())


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs measured on the same users; `models` in the order of the runs, `metric` such as "ndcg@20"."""

    tasks: tuple[Task, ...]
    metric: str
    ks: tuple[int, ...]
    seed: int
    models: tuple[Measured, ...]
    best_baseline: str | None

    @property
    def test_users(self) -> list[str]:
        """The ids of the B users, fold after fold: whom the values belong to."""
        return [user for task in self.tasks for user in task.test_users]


def compare_runs(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    *,
    ks: Sequence[int] = (10, 20, 50),
    metric: str = "ndcg@20",
    seed: int = 0,
    products: Products | None = None,
) -> Comparison:
    """Measure every run's lists and compare each with the best baseline.

    The best baseline is the one with the highest mean of `metric` on these same test users, the first of several
    equal ones. Choosing it where it is measured flatters it, so that the comparison is stricter on the models, never
    easier. All other runs are compared with it, other baselines included, and the p-values are corrected for all
    these comparisons together; the users are drawn often enough for that, see `draws_for`.

    With k-fold, each user is measured in the item columns of the own fold, and the users of all folds are put
    together. The intervals take users as independent, although the models of two folds share most of what they
    learned from. Figures of all lists together (coverage, …) are means over the folds, weighted by their users.

    Memory: about 16 bytes for each user, model and figure (some 40 figures, more with more ks), at the end.

    Args:
        tasks: one, or the folds of "k-fold".
        runs: their `ranked` have a row for each test user of all tasks, and all the same length.
        ks: list lengths to measure at, from 1 to the lists' length; that of `metric` is added.
        metric: a name of `METRICS` and a k, such as "ndcg@20", by which the models are compared.
        seed: of the bootstrap.
        products: categories and prices of the items of the tasks; None: none are known.

    Raises:
        ConfigError: there is no such metric, or a k is less than 1 or more than the lists' length.
        DataError: there is no task or no run, two runs have the same name, or a run's lists are not of the test
            users.
    """
    base, k = split_metric(metric)
    lengths = tuple(sorted({*ks, k}))
    _check(tasks, runs)
    measured = [_measure(tasks, run, lengths, base, k, products) for run in runs]
    columns = {(n, *key): values for n, parts in enumerate(measured) for key, values in parts.columns.items()}
    # all at once, since those that rest on the same users share their draws
    intervals = dict(zip(columns, bootstrap_means(columns.values(), seed=seed), strict=True))

    means = {n: intervals[n, "metric", metric].mean for n, run in enumerate(runs) if run.failed is None}
    baselines = [n for n in means if runs[n].baseline]
    best_baseline = max(baselines, key=means.__getitem__, default=None)
    differences: dict[int, Difference] = {}
    worth: dict[int, Paired] = {}
    if best_baseline is not None:
        others = [n for n in means if n != best_baseline]
        pairs = [(measured[n].values[metric], measured[best_baseline].values[metric]) for n in others]
        n_users = sum(len(task.test_users) for task in tasks)
        paired = paired_differences(pairs, seed=seed, draws=draws_for(len(pairs), n_users))
        corrected = holm([found.p for found in paired])
        differences = {
            n: Difference(runs[best_baseline].name, found, float(p))
            for n, found, p in zip(others, paired, corrected, strict=True)
        }
        if products is not None and products.priced:
            value, best = f"value@{k}", measured[best_baseline].values
            in_money = paired_differences(
                [(measured[n].values[value], best[value]) for n in others], seed=seed
            )
            worth = dict(zip(others, in_money, strict=True))
    models = [
        Measured(
            run,
            parts.values,
            {name: intervals[n, "metric", name] for name in parts.values},
            {length: intervals[n, "curve", length] for length in parts.curve},
            parts.sets,
            {
                kind: [SliceMean(s.name, s.n_users, intervals[n, kind, s.name]) for s in found]
                for kind, found in parts.slices.items()
            },
            differences.get(n),
            worth.get(n),
            _diversified(tasks, run, parts.values, metric, seed),
        )
        for n, (run, parts) in enumerate(zip(runs, measured, strict=True))
    ]
    name = None if best_baseline is None else runs[best_baseline].name
    return Comparison(tuple(tasks), metric, lengths, seed, tuple(models), name)


def split_metric(metric: str) -> tuple[str, int]:
    """Split the name of a metric at a length: "ndcg@20" is ("ndcg", 20).

    Raises:
        ConfigError: the text is no metric at a length.
    """
    base, at, k = metric.partition("@")
    if base not in METRICS or not at or not k.isascii() or not k.isdigit() or int(k) < 1:
        raise ConfigError(
            f"models are judged by a metric and a list length such as ndcg@20, but '{metric}' was given; "
            f"choose one of {', '.join(METRICS)}, an @ and a length of 1 or more"
        )
    return base, int(k)


@dataclass(frozen=True, eq=False)
class _Parts:
    """The figures of one run, user by user; empty where it failed."""

    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    curve: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    sets: Mapping[str, float] = field(default_factory=dict)
    slices: Mapping[str, Sequence[Slice]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[tuple[str, str | int], NDArray[np.float64]]:
        """Everything that an interval is wanted of."""
        return {
            **{("metric", name): values for name, values in self.values.items()},
            **{("curve", k): values for k, values in self.curve.items()},
            **{(kind, part.name): part.values for kind, found in self.slices.items() for part in found},
        }


def _measure(
    tasks: Sequence[Task], run: Run, ks: tuple[int, ...], base: str, k: int, products: Products | None
) -> _Parts:
    """Measure fold by fold, each in its own columns, and put the users together."""
    if run.failed is not None:
        return _Parts()
    length = run.ranked.shape[1]
    curve_ks = tuple(sorted({*ks, *(k for k in CURVE_KS if k <= length)}))
    values: list[Mapping[str, NDArray[np.float64]]] = []
    curves: list[Mapping[str, NDArray[np.float64]]] = []
    sets: list[Mapping[str, float]] = []
    lists = parted(tasks, run.ranked)
    for fold, (task, ranked) in enumerate(zip(tasks, lists, strict=True)):
        found = measure(
            ranked,
            task.held_out,
            ks,
            metrics=tuple(METRICS),
            histories=task.histories,
            exclude_owned=task.exclude_owned,
        )
        of_money = (
            money(ranked, task.held_out, products.prices[fold], ks) if products and products.priced else {}
        )
        values.append({**found.values, **of_money})
        curves.append(measure(ranked, task.held_out, curve_ks, metrics=("recall",)).values)
        sets.append(set_figures(ranked, task.train, ks))
    users = np.array([len(task.test_users) for task in tasks], dtype=np.float64)
    return _Parts(
        {name: np.concatenate([fold[name] for fold in values]) for name in values[0]},
        {n: np.concatenate([fold[f"recall@{n}"] for fold in curves]) for n in curve_ks},
        {name: float(np.average([fold[name] for fold in sets], weights=users)) for name in sets[0]},
        {
            **slices(run.ranked, tasks, base, k),
            **(products.slices(lists, tasks, base, k) if products else {}),
        },
    )


def _diversified(
    tasks: Sequence[Task], run: Run, plain: Mapping[str, NDArray[np.float64]], metric: str, seed: int
) -> tuple[Diversified, ...]:
    """Measure the lists with diversity against the plain ones, whose figures are given, (B,) each."""
    base, k = split_metric(metric)
    found = []
    users = np.array([len(task.test_users) for task in tasks], dtype=np.float64)
    for diversity in sorted(run.diverse):
        lists = parted(tasks, run.diverse[diversity])
        values = np.concatenate(
            [
                measure(ranked, task.held_out, (k,), metrics=(base,)).values[metric]
                for task, ranked in zip(tasks, lists, strict=True)
            ]
        )
        sets = [set_figures(ranked, task.train, (k,)) for task, ranked in zip(tasks, lists, strict=True)]
        found.append(
            Diversified(
                diversity,
                bootstrap_means([values], seed=seed)[0],
                paired_differences([(values, plain[metric])], seed=seed)[0],
                {name: float(np.average([fold[name] for fold in sets], weights=users)) for name in sets[0]},
            )
        )
    return tuple(found)


def parted(tasks: Sequence[Task], ranked: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Return the rows of each task's test users."""
    return np.split(ranked, np.cumsum([len(task.test_users) for task in tasks])[:-1])


def _check(tasks: Sequence[Task], runs: Sequence[Run]) -> None:
    if not tasks or not runs:
        raise DataError(
            f"a comparison needs a task and a run at least, but there are {len(tasks)} and {len(runs)}; "
            "make the tasks and fit a model to them first"
        )
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"each run has a name of its own, but two are named '{name}'; rename one of them")
    n_users = sum(len(task.test_users) for task in tasks)
    for run in runs:
        if run.failed is None and (run.ranked.ndim != 2 or len(run.ranked) != n_users):
            raise DataError(
                f"the lists of '{run.name}' have the shape {run.ranked.shape}, but there are {n_users:,} test users; "
                "measure a run on the tasks that it was made of"
            )
