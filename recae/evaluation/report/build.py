"""From a comparison to its report: measured figures, findings in words, and some test users one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation.comparison import Comparison, Measured, Run, SliceMean, compare_runs
from recae.evaluation.intervals import Interval, Paired
from recae.evaluation.products import Products
from recae.evaluation.report.schema import (
    FORMAT_VERSION,
    Budget,
    Curve,
    Data,
    Difference,
    Diversified,
    Epoch,
    Estimate,
    Model,
    Protocol,
    Report,
    Slice,
    Trial,
    plain,
)
from recae.evaluation.report.users import Example, Failures, Item, Recommended
from recae.evaluation.report.verdict import find_verdict, rank_models
from recae.evaluation.report.words import model_text, verdict_text
from recae.ids import IdMap
from recae.splits.tasks import Task

Names: TypeAlias = Mapping[str, str] | Callable[[str], str | None] | None
"""Item id → its name; items without a name are missing, or None."""

PLACES: Final = (0.1, 0.5, 0.9)
"""Places of the users shown among all by the length of their histories: a short, a middle and a long one."""
SHOWN: Final = 10
"""Recommendations shown of each model."""
WORST: Final = 5
"""Users shown for whom the best model is worst."""


def build_report(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    *,
    ks: Sequence[int] = (10, 20, 50),
    metric: str = "ndcg@20",
    command: str,
    versions: Mapping[str, str],
    data: Data,
    seed: int,
    budget: Budget,
    names: Names = None,
    comparison: Comparison | None = None,
    products: Products | None = None,
) -> Report:
    """Measure and compare models and say what it means; the same arguments give the same report.

    Args:
        tasks: As for `compare_runs`.
        runs: As for `compare_runs`.
        ks: As for `compare_runs`.
        metric: As for `compare_runs`.
        command: The command that the report says it was made by.
        versions: Name of a library → its version.
        data: Facts of the purchases.
        seed: As for `compare_runs`; also named in the report, as that of the protocol.
        budget: What each model was given for tuning.
        names: Names of items for the examples, as a mapping or a function from the id.
        comparison: What `compare_runs` gave for the same arguments, so that nothing is measured twice.
        products: As for `compare_runs`.

    Returns:
        The report.

    Raises:
        ConfigError: As `compare_runs`.
        DataError: As `compare_runs`.
    """
    if comparison is None:
        comparison = compare_runs(tasks, runs, ks=ks, metric=metric, seed=seed, products=products)
    measured = Report(
        FORMAT_VERSION,
        command,
        dict(versions),
        data,
        _protocol(tasks, seed, {} if products is None else products.counts(tasks)),
        budget,
        comparison.ks,
        metric,
        tuple(_model(found, metric) for found in comparison.models),
        examples=(),
        verdict=None,
    )
    ranking = rank_models(measured)
    said = {found.name: model_text(ranking, found) for found in ranking.models}
    shown = [found.name for found in (ranking.best_model, ranking.best_baseline) if found is not None]
    listed = [run for name in shown for run in runs if run.name == name]
    looked_at = [found for name in shown[:1] for found in comparison.models if found.run.name == name]
    return replace(
        measured,
        models=tuple(replace(model, verdict=said[model.name]) for model in measured.models),
        examples=examples(tasks, listed, names),
        verdict=verdict_text(find_verdict(measured)),
        failures=failures(tasks, listed, looked_at[0], metric, names) if looked_at else None,
    )


def _protocol(tasks: Sequence[Task], seed: int, more: Mapping[str, int]) -> Protocol:
    first, folds = tasks[0], len(tasks)
    return Protocol(
        name=first.protocol,
        rule=first.rule if folds == 1 else f"{first.rule}; the other parts alike",
        seed=seed,
        folds=folds if folds > 1 else None,
        n_test_users=sum(len(task.test_users) for task in tasks),
        n_held_out=sum(task.held_out.nnz for task in tasks),
        lost=sum(task.lost for task in tasks),
        exclude_owned=first.exclude_owned,
        counts={name: sum(task.counts.get(name, 0) for task in tasks) for name in first.counts} | dict(more),
    )


def _model(found: Measured, metric: str) -> Model:
    run = found.run
    known = run.failed is None
    model = Model(
        name=run.name,
        kind=run.kind,
        baseline=run.baseline,
        config=plain(run.config),
        tuned=tuple(Trial.from_json(plain(trial)) for trial in run.tuned),
        seconds=run.seconds,
        peak_bytes=run.peak_bytes,
        metrics=None,
        sets=None,
        difference=None,
        verdict=None,
        curve=None,
        slices=None,
        epochs=tuple(Epoch.from_json(plain(epoch)) for epoch in run.epochs),
        failed=run.failed,
    )
    if not known:
        return model
    return replace(
        model,
        metrics={name: _estimate(mean) for name, mean in found.metrics.items()},
        sets={name: _known(value) for name, value in found.sets.items()},
        difference=_difference(found, metric),
        curve=Curve(tuple(found.curve), tuple(map(_estimate, found.curve.values()))),
        slices={kind: tuple(map(_slice, parts)) for kind, parts in found.slices.items()},
        worth=None if found.worth is None else _estimate(found.worth),
        diversified=tuple(
            Diversified(
                lists.diversity,
                _estimate(lists.interval),
                _estimate(lists.cost),
                {name: _known(value) for name, value in lists.sets.items()},
            )
            for lists in found.diversified
        ),
    )


def _difference(found: Measured, metric: str) -> Difference | None:
    if found.difference is None:
        return None
    paired = found.difference.paired
    numbers = (paired.mean, paired.low, paired.high, paired.p, found.difference.p_corrected)
    return Difference(found.difference.to, metric, *map(_known, numbers))


def _estimate(found: Interval | Paired) -> Estimate:
    return Estimate(_known(found.mean), _known(found.low), _known(found.high))


def _slice(part: SliceMean) -> Slice:
    found = _estimate(part.interval)
    return Slice(part.name, part.n_users, found.mean, found.low, found.high)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def examples(
    tasks: Sequence[Task], runs: Sequence[Run], names: Names = None, places: Sequence[float] = PLACES
) -> tuple[Example, ...]:
    """Show some test users, chosen by the length of their histories and never by how well they are served.

    The test users of all tasks are put in the order of the number of items in their histories (equal ones in their own
    order), and those at the fractions `places` of that order are taken, each once: the same tasks give the same users.

    Args:
        tasks: Whose test users to choose from.
        runs: Whose lists to show.
        names: Names of items, as a mapping or a function from the id.
        places: Fractions of the order from 0 to 1.

    Returns:
        The users, with histories and held-out items in the order of the items' ids, and the first 10 recommendations
        of each run; a score is None where the run did not store any.
    """
    lengths = np.concatenate([np.diff(task.histories.indptr) for task in tasks])
    order = np.argsort(lengths, kind="stable")
    rows = dict.fromkeys(int(order[int(fraction * (order.size - 1) + 0.5)]) for fraction in places)
    return _examples(tasks, runs, names, list(rows))


def failures(
    tasks: Sequence[Task], runs: Sequence[Run], found: Measured, metric: str, names: Names = None
) -> Failures:
    """Show the users for whom a model is worst, and how many find nothing.

    Args:
        tasks: Whose test users to choose from.
        runs: Whose lists to show.
        found: The model, with its figures.
        metric: By which users are in order, such as "ndcg@20", the lowest first; of equals those with most held-out
            items, and then in the order of the test users.
        names: As for `examples`.

    Returns:
        Five users, as `examples` shows them, and counts.
    """
    values, hits = found.values[metric], found.values[f"hit_rate@{metric.partition('@')[2]}"]
    held = np.concatenate([np.diff(task.held_out.indptr) for task in tasks])
    lengths = np.concatenate([np.diff(task.histories.indptr) for task in tasks])
    known = np.isfinite(values)
    order = np.lexsort((-held, values))  # NaN comes last
    worst = [int(row) for row in order[: min(WORST, int(known.sum()))]]
    without, having = known & (hits == 0), known & (hits > 0)
    return Failures(
        found.run.name,
        metric,
        int(known.sum()),
        int(without.sum()),
        float(np.median(lengths[without])) if without.any() else None,
        float(np.median(lengths[having])) if having.any() else None,
        _examples(tasks, runs, names, worst),
    )


def _examples(
    tasks: Sequence[Task], runs: Sequence[Run], names: Names, rows: Sequence[int]
) -> tuple[Example, ...]:
    """Show the users of some rows of the lists, in that order."""
    starts = np.cumsum([0, *(len(task.test_users) for task in tasks)])
    name_of = names if callable(names) else (names or {}).get
    found = []
    for row in rows:
        fold = int(np.searchsorted(starts, row, side="right")) - 1
        found.append(_example(tasks[fold], row - int(starts[fold]), row, runs, name_of))
    return tuple(found)


def _example(
    task: Task, row: int, place: int, runs: Sequence[Run], name_of: Callable[[str], str | None]
) -> Example:
    """Show row `row` of the task, which is row `place` of the runs' lists."""

    def named(columns: NDArray[np.integer]) -> tuple[Item, ...]:
        return tuple(Item(item, name_of(item) or None) for item in ids_of(task.items, columns))

    held = _row(task.held_out, row)
    recommended = {}
    for run in runs:
        listed = run.ranked[place, :SHOWN]
        scores = np.full(listed.shape, np.nan) if run.scores is None else run.scores[place, :SHOWN]
        filled = listed >= 0
        recommended[run.name] = tuple(
            Recommended(item.item, item.name, bool(hit), _known(score))
            for item, hit, score in zip(
                named(listed[filled]), np.isin(listed[filled], held), scores[filled], strict=True
            )
        )
    return Example(task.test_users[row], named(_row(task.histories, row)), named(held), recommended)


def ids_of(items: IdMap, columns: NDArray[np.integer]) -> list[str]:
    """Look up the ids of some columns."""
    ids: list[str] = items.ids(columns).to_pylist()
    return ids


def _row(matrix: sp.csr_matrix, row: int) -> NDArray[np.integer]:
    """Return the columns stored in a row, ascending."""
    return np.sort(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]])
