"""`recae evaluate`: models compared with tuned baselines on held-out purchases, with confidence intervals."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.cli.evaluate_display import print_report
from recae.cli.help import under
from recae.cli.options import (
    KindsCommand,
    check_outputs,
    complete_kinds,
    files_of_filters,
    filter_options,
    output_path,
    read_filters,
    read_weighting,
    weighting_options,
)
from recae.cli.output import message, print_json
from recae.cli.purchases import (
    column_options,
    files_read,
    read_options,
    reading_options,
    refused_inputs,
    source_argument,
)
from recae.errors import ConfigError, OutputError
from recae.splits.rows import PROTOCOLS, in_words, listed, taking

if TYPE_CHECKING:
    from recae.selection.cache import ResultCache
    from recae.selection.evaluate import Evaluated
    from recae.splits.protocols import ProtocolOptions

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PROTOCOL = "Protocol"

_OPTIONS: dict[str, tuple[str, str]] = {
    # name: what stands for the value, and the help
    "test_users": (
        "N",
        "Users to test, a fraction such as 0.1 or a number.  [default: 0.1, at most 10,000]",
    ),
    "held_out": (
        "FRACTION",
        "Fraction of each history to be found; with time, of all purchases; with cold-items, of the items; with pair, "
        "to choose on.  [default: 0.2]",
    ),
    "folds": ("N", "Parts of the users.  [default: 5]"),
    "cut": (
        "DATE",
        "First time held out, such as 2011-11-09; UTC unless it says otherwise.  [default: by --held-out]",
    ),
    "min_items": ("N", "Items that a user needs to be tested.  [default: 2]"),
    "validation_users": (
        "N",
        "Users to choose settings on, a fraction or a number; 0: none, all have their defaults.  [default: as many as "
        "are tested, or 0.1]",
    ),
    "ties": (
        "random|moment",
        "With last-out, of several items bought at the last moment: hold out one that the seed chooses, or all.  "
        "[default: random]",
    ),
    "decay": (
        "X",
        "With --repeats: what a purchase still weighs one basket later.  [default: the best on validation users]",
    ),
}


def protocol_options(function: _Function) -> _Function:
    """Add an option for each of the fields of `ProtocolOptions`, as texts; and --repeats."""
    repeats = click.option(
        "--repeats",
        is_flag=True,
        help=f"With {' or '.join(taking('repeats'))}: repeat purchases; owned items stay in the lists and count.",
    )
    options = (click.option(_flag(name), name, metavar=m, help=text) for name, (m, text) in _OPTIONS.items())
    return under(_PROTOCOL, *options, repeats)(function)


def read_protocol_options(protocol: str, texts: dict[str, Any]) -> ProtocolOptions:
    """Return the options of a protocol; take what `protocol_options` added out of `texts`.

    Args:
        protocol: name of the protocol.
        texts: options of the command, changed in place.

    Raises:
        ConfigError: a text is no value, a value is out of range, or the protocol does not look at an option.
    """
    from recae.splits.tasks import ProtocolOptions

    row = PROTOCOLS.get(protocol)
    given: dict[str, Any] = {"repeats": texts.pop("repeats")}
    for name in _OPTIONS:
        text = texts.pop(name)
        if text is None:
            continue
        if row is not None and not row.takes(name):
            raise ConfigError(
                f"{_flag(name)} is for the {in_words(taking(name))}, but the protocol is {protocol}; leave it out"
            )
        if name == "ties":
            given[name] = text
        else:
            given[name] = seconds_of(text) if name == "cut" else number(_flag(name), text)
    if "cut" in given and "held_out" in given:
        raise ConfigError("--cut and --held-out both say where the held-out period begins; give one of them")
    return ProtocolOptions(**given)


def number(flag: str, text: str) -> int | float:
    """Return the number in a text, whole or decimal; ConfigError for anything else."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ConfigError(f"{flag} is a number, found '{text}': give one")


def seconds_of(text: str) -> int:
    """Return an ISO date or time as seconds since 1970 UTC; ConfigError for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--cut is an ISO date or time such as 2011-11-09 or 2011-11-09T12:00, found '{text}': give one"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def read_lengths(ctx: click.Context, parameter: click.Parameter, text: str) -> list[int]:
    """Return the list lengths in "10,20,50", in their order; ConfigError for anything else."""
    try:
        found = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found:
        raise ConfigError(
            f"-k takes whole numbers joined by commas, such as 10,20,50, found '{text}': give some"
        )
    return found


def read_diversities(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[float]:
    """Return the diversities in "0.1,0.3", in their order; ConfigError for anything else."""
    if text is None:
        return []
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        found = []
    if not found or not all(0 < value <= 1 for value in found):
        raise ConfigError(
            f"--diversity takes numbers above 0 up to 1 joined by commas, such as 0.1,0.3, found '{text}': give some"
        )
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


_GIVEN = "recae.arguments"


class _Recorded(KindsCommand):
    """A command that remembers its arguments as they were given, for the report; its help lists the protocols."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        filled = copy.copy(self)
        filled.help = cleandoc(self.help or "").replace("{protocols}", listed())
        super(_Recorded, filled).format_help(ctx, formatter)


def _file(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=_Recorded)
@source_argument
@under(
    _PROTOCOL,
    click.option(
        "--protocol",
        default="strong",
        show_default=True,
        metavar="NAME",
        help="How purchases are divided, see above.",
    ),
    click.option(
        "--test",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="With the protocol pair: the test part; PURCHASES is the training part then.",
    ),
)
@protocol_options
@under(
    "Models",
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_kinds,
        help="A model.  [repeatable; default: {evaluated}]",
    ),
    click.option(
        "--baselines",
        metavar="NAME,…",
        help="Of {baselines}; or none.  [default: all that suit and fit]",
    ),
    click.option(
        "--set",
        "assignments",
        metavar="KIND.KEY=VALUE",
        multiple=True,
        help="A setting that is not tuned; `recae settings KIND` lists them.  [repeatable]",
    ),
    click.option(
        "--trials",
        type=int,
        default=5,
        show_default=True,
        metavar="N",
        help="Settings that each model and each baseline tries, the defaults first.",
    ),
    click.option("--budget", metavar="TIME", help="Time for everything: 90s, 10m, 1h.  [default: no limit]"),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of everything random."),
    click.option("--threads", type=int, metavar="N", help="Processors used, at most.  [default: all]"),
)
@under(
    "Metrics",
    click.option(
        "-k",
        "ks",
        default="10,20,50",
        show_default=True,
        metavar="N,…",
        callback=read_lengths,
        help="List lengths that are measured.",
    ),
    click.option(
        "--metric",
        metavar="NAME@K",
        help="What is judged by, such as recall@10.  [default: ndcg@20, else at the first of -k]",
    ),
    click.option(
        "--diversity",
        "diversities",
        metavar="X,…",
        callback=read_diversities,
        help="Make lists with --diversity, too, such as 0.1,0.3, and show how it changes the metric.",
    ),
)
@column_options
@filter_options
@refused_inputs
@reading_options
@weighting_options
@under(
    "Output",
    click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON."),
    click.option(
        "--csv", "csv_path", metavar="PATH", callback=_file, help="Write every figure to a CSV file."
    ),
    click.option(
        "--users-out",
        metavar="PATH",
        callback=_file,
        help="Write the figures of each test user: .parquet, .pq or .csv.",
    ),
    click.option("--report", metavar="PATH", callback=_file, help="Write the report as one HTML file."),
    click.option(
        "--plots",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Draw PNG files into a folder (recae[plot]).",
    ),
    click.option(
        "--keep",
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Where results of finished models are stored.  [default: recae/evaluate in the user's cache, for 30 "
        "days]",
    ),
    click.option("--fresh", is_flag=True, help="Do everything anew, whatever is stored."),
)
def evaluate(
    source: str,
    protocol: str,
    test: Path | None,
    kinds: tuple[str, ...],
    baselines: str | None,
    assignments: tuple[str, ...],
    trials: int,
    budget: str | None,
    ks: list[int],
    metric: str | None,
    diversities: list[float],
    seed: int,
    threads: int | None,
    as_json: bool,
    csv_path: Path | None,
    users_out: Path | None,
    report: Path | None,
    plots: Path | None,
    keep: Path | None,
    fresh: bool,
    **options: Any,
) -> None:
    """Compare a model with tuned baselines that learn from the same PURCHASES, and say whether it is worth it.

    \b
      recae evaluate purchases.csv
      recae evaluate purchases.csv --protocol time --cut 2011-11-09 --report report.html
      recae evaluate baskets.csv --protocol next-basket --repeats
      recae evaluate purchases.csv --kind sigmoid --kind edlae --baselines itemknn,ease --trials 10
      recae evaluate train.csv --protocol pair --test test.csv
      recae evaluate folder --protocol pair          a folder with train.npz and test.npz
      recae evaluate purchases.csv --protocol cold-items --items products.csv

    \b
    Protocols:
    {protocols}

    No model sees anything that is held out. Each model and baseline is fitted in a process of its own and tries the
    same number of settings, chosen by NDCG@20 on the same validation users. Each model is compared with the best
    baseline, user by user, with 95 % intervals and p-values corrected for all comparisons.

    --min-user-purchases and --min-item-purchases apply to all purchases before anything is held out, as in published
    protocols; with the protocol time, to the purchases before the cut. They cannot be combined with pair.

    --half-life, --as-of and --quantity-as-confidence apply to the purchases that are learned from, for models and
    baselines alike. {no_confidence_titles} cannot use them.

    With --test, the rejects of the test part go to a file beside --rejects, such as rejects.test.csv.

    Finished models are stored: after Ctrl-C the same command continues from there. A model that fails has a line
    with the reason, the others go on, and the exit code is 2.
    """
    ctx = click.get_current_context()
    rejects = options["rejects"]
    paths = {"--csv": csv_path, "--users-out": users_out, "--report": report, "--rejects": rejects}
    if test is not None and rejects is not None:
        from recae.selection.evaluate import rejects_of_test

        paths["the rejects of the test part"] = rejects_of_test(rejects)
    sources = [
        *files_read(source, options),
        *([] if test is None else [str(test)]),
        *files_of_filters(options),
    ]
    _check_outputs(sources, paths, plots)
    protocol_of = replace(read_protocol_options(protocol, options), weighting=read_weighting(options))
    filters = read_filters(options)
    reading = read_options(options)

    from recae.kinds import baselines as known_baselines
    from recae.kinds import evaluated as evaluated_kinds
    from recae.reading import hide_password
    from recae.selection.baselines import parse_assignments
    from recae.selection.evaluate import evaluate_purchases
    from recae.selection.executor import Executor

    named = known_baselines() if baselines is None else [name.strip() for name in baselines.split(",")]
    settings = parse_assignments(assignments, [*(kinds or evaluated_kinds()), *named])
    evaluated = evaluate_purchases(
        source,
        test=test,
        protocol=protocol,
        options=protocol_of,
        kinds=kinds,
        baselines=baselines,
        settings=settings,
        trials=trials,
        ks=ks,
        metric=metric,
        seed=seed,
        reading=reading,
        filters=filters,
        keep=_result_cache(keep, fresh),
        threads=threads,
        budget=budget,
        command=shlex.join(["recae", "evaluate", *map(hide_password, ctx.meta[_GIVEN])]),
        executor=ctx.obj if isinstance(ctx.obj, Executor) else None,  # of a program that calls this command
        diversities=diversities,
    )
    _write(evaluated, paths, plots)
    if as_json:
        print_json(evaluated.report.to_json())
    else:
        print_report(evaluated.report)
    if any(run.failed is not None for run in evaluated.runs):
        ctx.exit(2)


def _check_outputs(sources: list[str], paths: dict[str, Path | None], plots: Path | None) -> None:
    """Raise OutputError, before anything is read, for what cannot be written and for two results in one file."""
    from recae.files import check_writable
    from recae.tables import check_output

    if path := paths["--users-out"]:
        check_output(path)
    check_outputs(sources, paths)
    if plots is not None:
        from recae.evaluation.report.png import CURVES
        from recae.plots import check_plot

        check_plot(plots / CURVES)
        if plots.exists() and not plots.is_dir():
            raise OutputError(f"cannot draw into '{plots}': it is a file; give the path of a folder")
        check_writable(plots / CURVES if plots.exists() else plots)


def _result_cache(folder: Path | None, fresh: bool) -> ResultCache | None:
    """Return the cache of results, with a message where the user's own folder cannot be used; None then."""
    from recae.selection.cache import ResultCache, default_folder

    if folder is not None:
        return ResultCache(folder, fresh=fresh)
    try:
        cache = ResultCache(default_folder(), fresh=fresh)
    except OutputError as error:
        message(f"nothing is stored for another run: {error}")
        return None
    cache.forget_old()
    return cache


def _write(evaluated: Evaluated, paths: dict[str, Path | None], plots: Path | None) -> None:
    """Write the files that were asked for."""
    from recae.evaluation.report.csv import write_csv, write_users

    if path := paths["--csv"]:
        write_csv(path, evaluated.comparison)
        message(f"wrote every figure to {path}")
    if path := paths["--users-out"]:
        rows = write_users(path, evaluated.comparison)
        message(f"wrote {rows:,} figures of single users to {path}")
    if path := paths["--report"]:
        from recae.evaluation.report.html import report_html
        from recae.files import atomic_path

        with atomic_path(path) as temporary:
            temporary.write_text(report_html(evaluated.report), encoding="utf-8")
        message(f"wrote the report to {path}")
    if plots is not None:
        from recae.evaluation.report.png import write_plots

        drawn = write_plots(evaluated.report, plots)
        message(f"drew {', '.join(path.name for path in drawn) or 'nothing'} into {plots}")
