"""Evaluation of kinds of model on purchases: read, split, run models and baselines, compare, report."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.evaluation.comparison import Comparison, Run, compare_runs, split_metric
from recae.evaluation.intervals import Interval, Paired
from recae.evaluation.products import Products
from recae.evaluation.report.build import build_report
from recae.evaluation.report.csv import COLUMNS, csv_rows
from recae.evaluation.report.schema import Budget, Data, Report
from recae.filters import Filters
from recae.interactions import Interactions
from recae.kinds import baselines as known_baselines
from recae.kinds import evaluated, find, title
from recae.machine import installed
from recae.messages import timed
from recae.reading import Reading, ReadOptions, ReadReport, read
from recae.reading.item_table import read_item_table
from recae.reading.matrix import read_matrix
from recae.reading.own_columns import read_own_columns
from recae.results import Table
from recae.selection.auto import seconds_of
from recae.selection.baselines import Given, check_baselines, choose_baselines, choose_kinds
from recae.selection.cache import ResultCache
from recae.selection.cold import cold_baselines
from recae.selection.compare import TRIALS, JobCut, Told, compare
from recae.selection.displays import EvaluationDisplay
from recae.selection.executor import Executor
from recae.selection.fit import check_inputs, check_weighting, make_settings, weighs
from recae.selection.progress import Progress, followed, told_by
from recae.settings import check_range
from recae.splits.protocols import (
    ProtocolOptions,
    Purchases,
    Task,
    check_no_inputs,
    check_protocol,
    make_tasks,
    pair_of_matrices,
    reading_options,
)
from recae.splits.rows import PROTOCOLS, in_words, taking
from recae.splits.tasks import counted
from recae.splits.time import check_times
from recae.summary import Summarised, Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Source = Any
"""Purchases, Interactions, or whatever `recae.reading.read` takes."""


@dataclass(frozen=True, eq=False)
class Material:
    """Purchases as a protocol needs them, with names and the lines that the report says of dropped rows.

    Attributes:
        filters: which of them count; None where the purchases carry those that they were read with.
    """

    purchases: Purchases
    source: str
    lines: list[str] = field(default_factory=list)
    filters: Filters | None = None

    @property
    def facts(self) -> Data:
        """Return the report's "data"."""
        own, test = self.purchases.interactions, self.purchases.test
        fingerprint = own.fingerprint
        if test is not None:
            fingerprint = hashlib.sha256((fingerprint + test.fingerprint).encode()).hexdigest()
        return Data(
            source=self.source,
            fingerprint=fingerprint,
            n_users=own.n_users,
            n_items=own.n_items,
            n_interactions=own.n_interactions + (0 if test is None else test.n_interactions),
            filters=(self.filters or own.filters or Filters()).as_dict(),
            report=tuple(self.lines),
        )

    def name_of(self, item: str) -> str | None:
        """Return the name of an item, if it has one, by the table of items or else by the purchases."""
        own, table = self.purchases.interactions, self.purchases.item_table
        if table is not None and "name" in table and item in table.ids:
            named: str | None = table.columns["name"][table.ids.row(item)].as_py()
            if named is not None:
                return named
        name: str | None = None if own.item_names is None else own.item_names[own.items.row(item)].as_py()
        return name


def check_source(source: Source, test: str | Path | None, protocol: str) -> None:
    """Raise ConfigError, before anything is read, for a source that the protocol cannot take."""
    paired, given = PROTOCOLS[protocol].takes("test"), taking("test")
    other = " or ".join(f"--protocol {name}" for name in given)
    if test is not None and not paired:
        raise ConfigError(
            f"a test part is for the {in_words(given)}, but the protocol is {protocol}; add {other}, or leave "
            "--test out"
        )
    if not isinstance(source, str | Path):
        return
    path = Path(source)
    if not is_matrix(path):
        if paired and test is None:
            raise ConfigError(
                f"the protocol {protocol} needs a test part beside the training part: give it with --test, or a folder "
                "with train.npz and test.npz"
            )
        if test is not None and is_matrix(Path(test)):
            raise ConfigError(f"'{source}' is a table and '{test}' a matrix; give two of a kind")
    elif not paired:
        raise ConfigError(
            f"'{source}' is {'a folder of matrices' if path.is_dir() else 'a matrix'}, which has neither ids nor "
            f"times, and the protocol is {protocol}; add {other}, or give a table of purchases"
        )
    elif path.is_dir() and test is not None:
        raise ConfigError(f"'{source}' is a folder that holds both parts; leave --test out")
    elif not path.is_dir() and test is None:
        raise ConfigError(f"'{source}' is the training part; give the test part with --test, another .npz")
    elif test is not None and not is_matrix(Path(test)):
        raise ConfigError(f"'{source}' is a matrix and '{test}' a table; give two of a kind")


def filters_for(
    filters: Filters | None, source: Source, protocol: str, options: ProtocolOptions
) -> tuple[Filters | None, ProtocolOptions]:
    """Return the filters to read with, and the options of the protocol.

    The options get the minimums where only the protocol may apply them: counting what a user or item has from the cut
    on would let the models know of it. The other protocols split what the filters leave of all purchases, as
    published ones do.

    Raises:
        ConfigError: there are minimums for a given pair, whose parts would not fit together any more, or filters for
            matrices or for purchases that were read already.
    """
    if not filters:
        return None, options
    if isinstance(source, str | Path) and is_matrix(Path(source)):
        raise ConfigError(
            f"filters ({filters}) are for tables of purchases, but matrices are given; leave them out"
        )
    reading_options(source, None, filters)
    if not filters.has_minimum:
        return filters, options
    row = PROTOCOLS[protocol]
    if row.takes("test"):
        raise ConfigError(
            "minimum purchases would leave other users and items of a given test part than of its training part: "
            "filter before they are parted, and leave --min-user-purchases and --min-item-purchases out"
        )
    if not row.takes("min_user_purchases"):
        return filters, options
    return filters.of_rows(), replace(
        options,
        min_user_purchases=filters.min_user_purchases,
        min_item_purchases=filters.min_item_purchases,
    )


def is_matrix(path: Path) -> bool:
    """Return whether a path is taken for a matrix: an .npz file, or a folder with train.npz in it."""
    return path.suffix.lower() == ".npz" or (path / "train.npz").is_file()


def read_material(
    source: Source,
    *,
    test: str | Path | None,
    protocol: str,
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    on_report: Callable[[ReadReport], None] = lambda report: None,
    on_message: Callable[[str], None] = lambda text: None,
    weighting: Weighting | None = None,
) -> Material:
    """Read what a protocol needs, and what confidence is computed from; call `check_source` before.

    Raises:
        SourceError, ColumnError: the source cannot be used.
        DataError: likewise, or the protocol is by time and there is no time column.
        ConfigError: a matrix does not have the columns, or the protocol does not look at baskets.
    """
    check_no_inputs(reading, "evaluate")
    options = reading or ReadOptions()
    if isinstance(source, Purchases):
        return _with_items(Material(source, "purchases"), options, on_message)
    if isinstance(source, Interactions):
        return _with_items(Material(Purchases(source), "interactions"), options, on_message)
    if isinstance(source, str | Path) and is_matrix(Path(source)):
        if weighting:
            raise ConfigError(
                f"{weighting.options()} needs times or quantities, which matrices do not hold; leave it out, or give "
                "tables of purchases"
            )
        if named := [name for name in options.names_given() if name not in ("items", "items_columns")]:
            raise ConfigError(
                f"--{named[0].replace('_', '-')} is for tables of purchases, but matrices are given; leave it out"
            )
        return _with_items(_read_matrices(Path(source), test, on_message), options, on_message)
    row = PROTOCOLS[protocol]
    if not row.by_basket and options.basket_column:
        known = in_words([other.name for other in PROTOCOLS.values() if other.by_basket])
        raise ConfigError(
            f"baskets are told apart with the {known}, but the protocol is {protocol}; leave --basket-column out"
        )
    lines: list[str] = []
    options = reading_options(source, options, filters)

    def report(found: ReadReport) -> None:
        lines.extend(found.lines())
        on_report(found)

    needed = (weighting or Weighting()).reading()
    with Reading(source, options.updated(**needed, baskets=row.by_basket)) as opened:
        if row.timed and opened.columns.time is None:
            check_times(None)
        found = opened.purchases()
        own = None
        if options.items is None:
            own = read_own_columns(opened.table, opened.columns, found.interactions.items)
    name = Path(opened.table.name).name or opened.table.name
    report(found.report)
    table = None
    if own is not None:
        table = own.table
        lines.append(own.measured_by())
        on_message(lines[-1])
    if test is None:
        bought = Purchases(found.interactions, found.events, item_table=table)
    else:
        # a single user or item can be measured on
        of_test = options.updated(query=None, table=None, fewest=1)
        if options.rejects is not None:
            of_test = of_test.updated(rejects=rejects_of_test(Path(options.rejects)))
        other = read(test, of_test)
        report(other.report)
        bought = Purchases(found.interactions, None, other.interactions, table)
        name = f"{name}, {Path(test).name}"
    return _with_items(Material(bought, name, lines), options, on_message)


def _with_items(material: Material, options: ReadOptions, on_message: Callable[[str], None]) -> Material:
    """Return the purchases with the table of items that the options name, if any, and say how it was read."""
    if options.items is None:
        return material
    items = material.purchases.interactions.items
    table, report = read_item_table(
        options.items, dict(options.items_columns or ()), known=items, bad_lines=options.bad_lines
    )
    lines = report.sentences()
    for line in lines:
        on_message(line)
    purchases = replace(material.purchases, item_table=table)
    return replace(material, purchases=purchases, lines=[*material.lines, *lines])


def rejects_of_test(path: Path) -> Path:
    """Return the path for dropped rows of the test part, beside those of the training part."""
    return path.with_name(f"{path.stem}.test{path.suffix}")


def _read_matrices(source: Path, test: str | Path | None, on_message: Callable[[str], None]) -> Material:
    paths = (source / "train.npz", source / "test.npz") if test is None else (source, Path(test))
    matrices = []
    for path in paths:
        matrix, notes = read_matrix(path)
        matrices.append(matrix)
        for note in notes:
            on_message(f"'{path}': {note}")
    lines = [
        f"read {m.nnz:,} interactions of {m.shape[0]:,} users × {m.shape[1]:,} items from {path}"
        for path, m in zip(paths, matrices, strict=True)
    ]
    for line in lines:
        on_message(line)
    name = source.name if test is None else f"{source.name}, {Path(test).name}"
    return Material(pair_of_matrices(*matrices), name, lines)


LONGEST: Final = 10_000
"""Length of the longest list that is measured."""

_LIBRARIES = ("recae", "numpy", "scipy", "numba", "torch", "implicit")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluated(Summarised):
    """The result of an evaluation: the report, whose JSON form `recae evaluate --json` prints, and its parts."""

    report: Report
    comparison: Comparison
    tasks: list[Task]
    runs: list[Run]

    def summary(self) -> Summary:
        """Return that of the report."""
        return self.report.summary()

    def plot(self, what: str = "metrics") -> Figure:
        """Draw a plot of the report, which a notebook shows.

        Args:
            what: "metrics" (each with its interval), "recall-curves" or "training".

        Raises:
            ConfigError: there is no such plot, or matplotlib is missing.
            DataError: the report has nothing for it.
        """
        return self.report.plot(what)

    def save(self, path: str | Path) -> None:
        """Write the report to a file, as one page of HTML.

        Raises:
            OutputError: the file cannot be written.
        """
        self.report.save(path)

    @property
    def table(self) -> Table[Any]:
        """A model a row, in the order of the report: the mean of each metric, and what sets it apart from the best.

        The columns are ``model``, ``kind``, ``baseline``, the metric that models are judged by, ``difference`` (in it,
        to the best baseline), ``p_corrected``, ``seconds``, the other metrics such as ``recall@20``, and ``failed``,
        why a model was not measured. Nulls stand for what is not there.
        """
        models, judged = self.comparison.models, self.comparison.metric
        names = list(dict.fromkeys(name for found in models for name in found.metrics))
        gaps = [found.difference for found in models]
        columns: dict[str, list[Any]] = {
            "model": [found.run.name for found in models],
            "kind": [found.run.kind for found in models],
            "baseline": [found.run.baseline for found in models],
            judged: [_mean(found.metrics.get(judged)) for found in models],
            "difference": [None if gap is None else _mean(gap.paired) for gap in gaps],
            "p_corrected": [None if gap is None else gap.p_corrected for gap in gaps],
            "seconds": [found.run.seconds for found in models],
            **{
                name: [_mean(found.metrics.get(name)) for found in models] for name in names if name != judged
            },
            "failed": [found.run.failed for found in models],
        }
        return Table.of(columns)

    @property
    def figures(self) -> Table[Any]:
        """Every figure a row, with its 95 % interval; the columns are `recae.evaluation.report.csv.COLUMNS`."""
        rows = list(csv_rows(self.comparison))
        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        columns["baseline"] = [value == "true" for value in columns["baseline"]]
        return Table.of(columns)


def _mean(found: Interval | Paired | None) -> float | None:
    return None if found is None or math.isnan(found.mean) else found.mean


@followed(EvaluationDisplay)
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
    reading: ReadOptions | None = None,
    filters: Filters | None = None,
    keep: Path | ResultCache | None = None,
    threads: int | None = None,
    budget: float | str | None = None,
    command: str = "recae.selection.evaluate.evaluate_purchases",
    progress: Progress | bool | None = None,
    executor: Executor | None = None,
    diversities: Sequence[float] = (),
) -> Evaluated:
    """Compare kinds of model with tuned baselines on held-out purchases, as `recae evaluate` does.

    Args:
        source: a table of purchases as `recae.reading.read` takes it; for the protocol "pair" its training
            part, the path of a matrix (users, items) in an .npz file, or of a folder with train.npz and test.npz. Or
            purchases that were read already.
        test: the test part of the protocol "pair".
        protocol: see `recae.splits.protocols`.
        options: of the protocol.
        kinds: of model; none: `recae.kinds.evaluated`.
        baselines: names, as a sequence or joined by commas, or "none"; None: all that suit the protocol and fit.
        settings: {kind: {setting: value}} that are not tuned.
        trials: settings that each model and baseline tries on the same validation users, the defaults first.
        ks: list lengths that are measured, 1 to 10,000.
        metric: by which models are compared, a name of `METRICS` and one of `ks`; None: ndcg@20, or ndcg at the first
            of `ks`.
        seed: of who is held out, of the settings tried, of every model and of the bootstrap.
        reading: how to read the table; None: by its names and values.
        filters: which of the purchases of a table count. With the protocol "time" the minimums apply to what was
            bought before the cut; with the others, but not with "pair", to all purchases, before anything is held
            out.
        keep: as for `compare`.
        threads: as for `compare`.
        budget: as for `compare`, in seconds or such as "10m".
        command: the command line that the report names.
        progress: as for `train`.
        executor: where models are fitted; None: each in a process of its own. See `recae.selection.executor`.
        diversities: numbers above 0 up to 1: the lists of the models, but not those of baselines, are also made with
            each of these, to show what diversity costs.

    Raises:
        ConfigError: something is unknown, out of range, or does not go together; before anything is read.
        DataError: the purchases cannot be read, or the protocol leaves nothing to learn from or nobody to test.
    """
    listener = told_by(progress)
    options = options or ProtocolOptions()
    check_protocol(protocol, options, seed)
    check_source(source, test, protocol)
    of_rows, options = filters_for(filters, source, protocol, options)
    ks, metric = check_lengths(ks, metric)
    check_range("trials", trials, 1, 10_000, whole=True)
    for diversity in diversities:
        check_range("diversity", diversity, 0, 1, open_low=True)
    if diversities and protocol == "cold-items":
        raise ConfigError(
            "diversity compares items by what a model scores them, and cold-items holds items out whole; leave one "
            "of them out"
        )
    seconds = None if budget is None else seconds_of(budget)
    kinds = choose_kinds(kinds or evaluated(), options.repeats)
    named = known_baselines() if baselines is None else check_baselines(baselines, options.repeats)
    for kind, values in (settings or {}).items():
        if kind not in (*kinds, *named):
            raise ConfigError(
                f"settings are given for {kind}, which is not evaluated; name it in kinds, or leave them"
            )
        made = make_settings(kind, values)
        if find(kind).parts:
            check_weighting(kind, made, options.weighting, options.repeats)
    of_purchases = "evaluate learns from purchases alone, so leave it out, or train it with --inputs"
    for kind in kinds:
        made = make_settings(kind, (settings or {}).get(kind, {}))
        check_inputs(kind, made, None, options.repeats, otherwise=of_purchases)

    material = read_material(
        source,
        test=test,
        protocol=protocol,
        reading=reading,
        filters=of_rows,
        on_report=listener.on_report,
        on_message=listener.on_message,
        weighting=options.weighting,
    )
    material = replace(material, filters=filters)
    tasks = make_tasks(material.purchases, protocol, options, seed)
    listener.on_message(f"{tasks[0].rule}{'; the other parts alike' if len(tasks) > 1 else ''}")
    compared, left_out = choose_baselines(baselines, kinds, tasks, trials)
    cuts: list[str] = []

    def tell(told: Told) -> None:
        if isinstance(told.event, JobCut):
            cuts.append(f"{told.model}: {told.event.text}")
        listener.on_model(told)

    said = budget_in_words(tasks, trials, budget)
    if options.weighting:
        left_out.append(weighting_sentence(options.weighting, [*compared, *kinds]))
    for text in (said, *left_out):
        listener.on_message(text)
    runs = compare(
        tasks,
        kinds,
        compared,
        trials=trials,
        ks=ks,
        seed=seed,
        settings=settings,
        keep=keep,
        threads=threads,
        budget=seconds,
        tell=tell,
        executor=executor,
        diversities=sorted(set(map(float, diversities))),
        diverse_length=split_metric(metric)[1],
    )
    runs = [*cold_baselines(tasks, runs, seed), *runs]
    listener.on_message(f"measuring the lists of {counted(len(runs), 'model')}")
    table = material.purchases.item_table
    products = None if table is None else Products.of(tasks, table)
    with timed("measuring"):
        comparison = compare_runs(tasks, runs, ks=ks, metric=metric, seed=seed, products=products)
    report = build_report(
        tasks,
        runs,
        ks=ks,
        metric=metric,
        command=command,
        versions=versions(),
        data=material.facts,
        seed=seed,
        budget=Budget(
            trials_per_model=trials if tasks[0].validation is not None else None,
            text=" ".join(f"{text.rstrip('.')}." for text in (said, *left_out, *cuts)),
        ),
        names=material.name_of,
        comparison=comparison,
        products=products,
    )
    return Evaluated(report, comparison, tasks, runs)


def weighting_sentence(weighting: Weighting, kinds: Sequence[str]) -> str:
    """Return which purchases are weighted how and for whom not, as a sentence without a full stop."""
    others = [title(kind) for kind in kinds if not weighs(kind)]
    but = f", but for {' and '.join(others)}, which cannot weigh them" if others else ""
    return (
        f"purchases that are learned from are weighted ({weighting.in_words()}){but}; what is measured is not"
    )


def check_lengths(ks: Sequence[int], metric: str | None) -> tuple[tuple[int, ...], str]:
    """Return the list lengths, ascending, and the metric; ConfigError for one out of range or not measured."""
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
    """Return what each model is given, as a sentence without a full stop."""
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
    """Return the versions of recae, Python, and the libraries that decide about the figures."""
    found = {name: number for name in _LIBRARIES if (number := installed(name)) is not None}
    return {"recae": found.pop("recae", "not installed"), "python": platform.python_version(), **found}
