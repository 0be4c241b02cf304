"""From purchases to the answer whether a model is worth it: read, part, run models and baselines, compare, report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from recae.errors import ConfigError
from recae.evaluation.comparison import Comparison, compare_runs, split_metric
from recae.evaluation.protocols import ProtocolOptions, Task, check_protocol, make_tasks
from recae.evaluation.report import build_report
from recae.evaluation.runs import Run
from recae.evaluation.tasks import counted
from recae.filters import Filters
from recae.ingest import IngestReport
from recae.training.config import check_range
from recae.weighting import Weighting
from recae.workflow.auto_config import seconds_of
from recae.workflow.comparing import TRIALS, Tell, compare
from recae.workflow.evaluation_data import Columns, Source, check_source, filters_for, read_material
from recae.workflow.fitting import DEFAULT_KIND, check_weighting, make_config, weighs
from recae.workflow.kept import Kept
from recae.workflow.rivals import BASELINES, NAMES, Given, check_baselines, choose_baselines, choose_kinds

EVALUATED: Final = (DEFAULT_KIND, "sigmoid")
"""Kinds that are evaluated where none is named: what `train` trains, and the autoencoder in it alone."""

LONGEST: Final = 10_000
"""Longest list that is measured."""

_LIBRARIES = ("recae", "numpy", "scipy", "numba", "torch", "implicit")


@dataclass(frozen=True)
class EvaluationProgress:
    """What a caller may want to be told; each defaults to silence.

    on_report   what reading dropped
    on_message  what is parted and run, in words
    tell        how far each model is; see `comparing.Tell`
    """

    on_report: Callable[[IngestReport], None] = lambda report: None
    on_message: Callable[[str], None] = lambda text: None
    tell: Tell = lambda name, event: None


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What was measured: the report as `recae evaluate --json` prints it, and what it is made of."""

    report: dict[str, Any]
    comparison: Comparison
    tasks: list[Task]
    runs: list[Run]


def evaluate_purchases(
    source: Source,
    *,
    test: str | Path | None = None,
    protocol: str = "strong",
    options: ProtocolOptions | None = None,
    kinds: Sequence[str] = (),
    baselines: str | Sequence[str] | None = None,
    settings: Given | None = None,
    trials: int = TRIALS,
    ks: Sequence[int] = (10, 20, 50),
    metric: str | None = None,
    seed: int = 0,
    columns: Columns | None = None,
    filters: Filters | None = None,
    keep: Path | Kept | None = None,
    threads: int | None = None,
    budget: float | str | None = None,
    command: str = "recae.workflow.evaluate_purchases",
    progress: EvaluationProgress | None = None,
) -> Evaluated:
    """Compares kinds of model with tuned baselines on purchases that none of them has seen; as `recae evaluate`.

    Parameters
    ----------
    source
        A table of purchases as `recae.sources.open_source` takes it; for the protocol "pair" its training part, the
        path of a matrix (users, items) in an .npz file, or of a folder with train.npz and test.npz. Or what was read
        already.
    test
        The test part of the protocol "pair".
    protocol, options
        How the purchases are parted; see `recae.evaluation.protocols`.
    kinds
        Of model; none: `EVALUATED`.
    baselines
        Names, as a sequence or joined by commas, or "none"; None: all that suit the protocol and fit.
    settings
        {kind: {setting: value}} of what is not to be tuned.
    trials
        Settings that each model and baseline tries on the same validation users, the defaults first.
    ks
        List lengths that are measured, 1 to 10,000.
    metric
        What is judged by, a name of `METRICS` and one of `ks`; None: ndcg@20, or ndcg at the first of `ks`.
    seed
        Of who is held out, of the settings tried, of every model and of the bootstrap.
    columns
        Options of `recae.ingest.read_events`: names of columns, and what to read of a database.
    filters
        Which of the purchases of a table count. With the protocol "time" the minimums apply to what was bought before
        the cut; with the others, but not with "pair", to all purchases, before anything is held out.
    keep, threads, budget
        As for `comparing.compare`; the budget in seconds or such as "10m".
    command
        What the report says it was made by.

    Raises
    ------
    ConfigError
        Before anything is read, for what is unknown, out of range, or does not go together.
    DataError
        The purchases cannot be read, or the protocol leaves nothing to learn from or nobody to test.
    """
    progress = progress or EvaluationProgress()
    options = options or ProtocolOptions()
    check_protocol(protocol, options, seed)
    check_source(source, test, protocol)
    of_rows, options = filters_for(filters, source, protocol, options)
    ks, metric = check_lengths(ks, metric)
    check_range("trials", trials, 1, 10_000, whole=True)
    seconds = None if budget is None else seconds_of(budget)
    kinds = choose_kinds(kinds or EVALUATED, options.repeats)
    named = BASELINES if baselines is None else check_baselines(baselines, options.repeats)
    for kind, values in (settings or {}).items():
        if kind not in (*kinds, *named):
            raise ConfigError(
                f"settings are given for {kind}, which is not evaluated; name it in kinds, or leave them"
            )
        made = make_config(kind, values)
        if kind in ("blend", "auto"):
            check_weighting(kind, made, options.weighting, options.repeats)

    material = read_material(
        source,
        test=test,
        protocol=protocol,
        columns=columns or {},
        filters=of_rows,
        on_report=progress.on_report,
        on_message=progress.on_message,
        weighting=options.weighting,
    )
    material = replace(material, filters=filters)
    tasks = make_tasks(material.purchases, protocol, options, seed)
    progress.on_message(f"{tasks[0].rule}{'; the other parts alike' if len(tasks) > 1 else ''}")
    rivals, left_out = choose_baselines(baselines, kinds, tasks, trials)
    cuts: list[str] = []

    def tell(name: str, event: Mapping[str, Any]) -> None:
        if event["event"] == "cut":
            cuts.append(f"{name}: {event['text']}")
        progress.tell(name, event)

    said = budget_in_words(tasks, trials, budget)
    if options.weighting:
        left_out.append(weighting_sentence(options.weighting, [*rivals, *kinds]))
    for text in (said, *left_out):
        progress.on_message(text)
    runs = compare(
        tasks,
        kinds,
        rivals,
        trials=trials,
        ks=ks,
        seed=seed,
        settings=settings,
        keep=keep,
        threads=threads,
        budget=seconds,
        tell=tell,
    )
    progress.on_message(f"measuring the lists of {counted(len(runs), 'model')}")
    comparison = compare_runs(tasks, runs, ks=ks, metric=metric, seed=seed)
    report = build_report(
        tasks,
        runs,
        ks=ks,
        metric=metric,
        command=command,
        versions=versions(),
        data=material.facts,
        seed=seed,
        budget={
            "trials_per_model": trials if tasks[0].validation is not None else None,
            "text": " ".join(f"{text.rstrip('.')}." for text in (said, *left_out, *cuts)),
        },
        names=material.name_of,
        comparison=comparison,
    )
    return Evaluated(report, comparison, tasks, runs)


def weighting_sentence(weighting: Weighting, kinds: Sequence[str]) -> str:
    """What purchases weigh and for whom not, in a sentence without a full stop."""
    others = [NAMES.get(kind, kind) for kind in kinds if not weighs(kind)]
    but = f", but for {' and '.join(others)}, which cannot weigh them" if others else ""
    return (
        f"purchases that are learned from are weighted ({weighting.in_words()}){but}; what is measured is not"
    )


def check_lengths(ks: Sequence[int], metric: str | None) -> tuple[tuple[int, ...], str]:
    """The list lengths, ascending, and what is judged by; ConfigError for one out of range, or not measured."""
    if not ks:
        raise ConfigError("no list length k is given, and something has to be measured: give one, such as 20")
    for k in ks:
        check_range("k", k, 1, LONGEST, whole=True)
    if metric is None:
        return tuple(sorted(set(ks))), f"ndcg@{20 if 20 in ks else ks[0]}"
    _, k = split_metric(metric)
    if k not in ks:
        raise ConfigError(
            f"'{metric}' is not measured, since the list lengths are {', '.join(map(str, ks))}; add {k} to -k, or "
            "judge by another metric"
        )
    return tuple(sorted(set(ks))), metric


def budget_in_words(tasks: Sequence[Task], trials: int, budget: float | str | None) -> str:
    """What each model is given, in a sentence without a full stop."""
    total = (
        "" if budget is None else f", within {budget}{' s' if isinstance(budget, int | float) else ''} in all"
    )
    pair = tasks[0].validation
    if pair is None:
        return f"nobody is held out to choose on, so that every model has its default settings{total}"
    return (
        f"every model and baseline tries up to {counted(trials, 'setting')}, the defaults first, and is chosen by "
        f"NDCG@20 on the same {counted(pair[0].shape[0], 'validation user')}"
        f"{' of each fold' if len(tasks) > 1 else ''}{total}"
    )


def versions() -> dict[str, str]:
    """Of recae, Python, and the libraries that decide about the figures."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"recae": found.pop("recae", "not installed"), **found}
