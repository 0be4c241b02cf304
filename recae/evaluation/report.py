"""The evaluation report as one JSON object: what `--json` prints, and what the page, pictures and tables show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from recae.evaluation.comparison import Comparison, Measured, Run, SliceMean, compare_runs
from recae.evaluation.examples import examples
from recae.evaluation.html_view import make_view
from recae.evaluation.intervals import Interval
from recae.evaluation.verdict import verdict, verdict_on
from recae.splits.tasks import Task

FORMAT_VERSION: Final = 1

Names: TypeAlias = Mapping[str, str] | Callable[[str], str | None] | None
"""Item id → its name; items without a name are missing, or None."""


def build_report(
    tasks: Sequence[Task],
    runs: Sequence[Run],
    *,
    ks: Sequence[int] = (10, 20, 50),
    metric: str = "ndcg@20",
    command: str,
    versions: Mapping[str, str],
    data: Mapping[str, Any],
    seed: int,
    budget: Mapping[str, Any],
    names: Names = None,
    comparison: Comparison | None = None,
) -> dict[str, Any]:
    """Measures, compares and says what it means. The same arguments give the same report.

    Parameters
    ----------
    tasks, runs, ks, metric, seed
        As for `compare_runs`; `seed` is also named in the report, as that of the protocol.
    command, versions, data, budget
        Are taken over as they are given: see below.
    names
        Names of items for the examples, as a mapping or a function from the id.
    comparison
        What `compare_runs` gave for the same arguments, so that nothing is measured twice.

    Returns
    -------
    dict of JSON values, in this order; what is not known is null (None), and so is every NaN:

        format_version  1
        command         the exact command
        versions        name → version
        data            source, fingerprint, n_users, n_items, n_interactions, filters (what was set of them), report
                        (lines of what reading dropped)
        protocol        name, rule (a sentence with counts), seed, folds (of "k-fold", else null), n_test_users,
                        n_held_out, lost (held-out interactions of items that nobody learned from), exclude_owned
        budget          trials_per_model, text (a sentence)
        ks              the list lengths measured
        metric          what the models are judged by, such as "ndcg@20"
        models          in the order of the runs, each
          name, kind, baseline, config, tuned, seconds, peak_bytes, epochs, failed: as in `Run`
          metrics       metric@k → {mean, low, high}: 95 % bootstrap intervals over the users
          sets          coverage@k (share of items), novelty@k (bits), popularity_bias@k (share of users), diversity@k
          difference    {to, metric, mean, low, high, p, p_corrected} to the best baseline, or null
          verdict       a sentence
          curve         {k: [1, 2, …], recall: [{mean, low, high}, …]}
          slices        "history", "popularity" and, with repeats, "repeat" → [{name, n_users, mean, low, high}]
                        of a model that failed metrics, sets, difference, curve and slices are null
        examples        a few users: {user, history, held_out, recommended}, see `examples`
        verdict         some sentences; the first answers whether an autoencoder is worth it

    Raises
    ------
    ConfigError, DataError
        As `compare_runs`.
    """
    if comparison is None:
        comparison = compare_runs(tasks, runs, ks=ks, metric=metric, seed=seed)
    report: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "command": command,
        "versions": dict(versions),
        "data": dict(data),
        "protocol": _protocol(tasks, seed),
        "budget": dict(budget),
        "ks": list(comparison.ks),
        "metric": metric,
        "models": [_model(found, metric) for found in comparison.models],
        "examples": [],
        "verdict": None,
    }
    report = plain(report)
    view = make_view(report)
    by_name = {model["name"]: model for model in report["models"]}
    for entry in view.entries:
        by_name[entry.name]["verdict"] = verdict_on(view, entry)
    shown = [entry.name for entry in (view.leader, view.rival) if entry is not None]
    report["examples"] = plain(
        examples(tasks, [run for name in shown for run in runs if run.name == name], names)
    )
    report["verdict"] = verdict(view)
    return report


def _protocol(tasks: Sequence[Task], seed: int) -> dict[str, Any]:
    first, folds = tasks[0], len(tasks)
    return {
        "name": first.protocol,
        "rule": first.rule if folds == 1 else f"{first.rule}; the other parts alike",
        "seed": seed,
        "folds": folds if first.protocol == "k-fold" else None,
        "n_test_users": sum(len(task.test_users) for task in tasks),
        "n_held_out": sum(task.held_out.nnz for task in tasks),
        "lost": sum(task.lost for task in tasks),
        "exclude_owned": first.exclude_owned,
    }


def _model(found: Measured, metric: str) -> dict[str, Any]:
    run, gap = found.run, found.difference
    known = run.failed is None
    return {
        "name": run.name,
        "kind": run.kind,
        "baseline": run.baseline,
        "config": run.config,
        "tuned": run.tuned,
        "seconds": run.seconds,
        "peak_bytes": run.peak_bytes,
        "metrics": {name: _interval(mean) for name, mean in found.metrics.items()} if known else None,
        "sets": found.sets if known else None,
        "difference": gap
        and {
            "to": gap.to,
            "metric": metric,
            "mean": gap.paired.mean,
            "low": gap.paired.low,
            "high": gap.paired.high,
            "p": gap.paired.p,
            "p_corrected": gap.p_corrected,
        },
        "verdict": None,
        "curve": {"k": list(found.curve), "recall": [_interval(mean) for mean in found.curve.values()]}
        if known
        else None,
        "slices": {kind: [_slice(part) for part in parts] for kind, parts in found.slices.items()}
        if known
        else None,
        "epochs": run.epochs,
        "failed": run.failed,
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _slice(part: SliceMean) -> dict[str, Any]:
    return {"name": part.name, "n_users": part.n_users, **_interval(part.interval)}


def plain(value: Any) -> Any:
    """The value as JSON has it: numbers of NumPy as Python's, tuples as lists, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
