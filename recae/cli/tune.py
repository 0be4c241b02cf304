"""`recae tune`: a search for the settings that are best on validation users, as a file for `recae train`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recae.cli.help import under
from recae.cli.options import (
    KindsCommand,
    check_outputs,
    complete_kinds,
    device_option,
    files_of_filters,
    filter_options,
    output_path,
    read_filters,
    read_weighting,
    weighting_options,
)
from recae.cli.output import message, print_json, print_table, write
from recae.cli.purchases import (
    column_options,
    files_read,
    read_options,
    reading_options,
    refused_inputs,
    source_argument,
)
from recae.cli.settings import text_of

if TYPE_CHECKING:
    from recae.selection.space import Tuned


def _path(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else output_path(ctx, parameter, value)


@click.command(cls=KindsCommand)
@source_argument
@under(
    "Search",
    click.option(
        "--kind",
        metavar="NAME",
        shell_complete=complete_kinds,
        help="The model, see below.  [default: {default}]",
    ),
    click.option(
        "--trials", type=int, default=30, show_default=True, metavar="N", help="Settings to try, at most."
    ),
    click.option(
        "--budget",
        default="20m",
        show_default=True,
        metavar="TIME",
        help="Time for them, at most: 90s, 20m, 1h.",
    ),
    click.option(
        "--metric",
        default="ndcg@20",
        show_default=True,
        metavar="NAME@K",
        help="The metric to maximise, such as recall@10.",
    ),
    click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="A setting that is not searched; `recae settings KIND` lists them.  [repeatable]",
    ),
    click.option(
        "--seed", metavar="N", help="Of who is held out, of the search and of training.  [default: 0]"
    ),
    click.option("--repeats", is_flag=True, help="Repeat purchases: as for `recae train`."),
    device_option,
)
@column_options
@filter_options
@refused_inputs
@reading_options
@weighting_options
@under(
    "Output",
    click.option(
        "--out", metavar="PATH", callback=_path, help="Where to write the TOML; stdout gets a table then."
    ),
    click.option(
        "--study",
        metavar="PATH",
        callback=_path,
        help="Where trials are stored as they end.  [default: <out>.study, else tune.<kind>.study; removed at the "
        "end]",
    ),
    click.option("--resume", is_flag=True, help="Go on with the trials of the study."),
    click.option(
        "--plot", metavar="PATH", callback=_path, help="Draw the trials: .png, .svg or .pdf (recae[plot])."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print all trials as JSON."),
)
def tune(
    source: str,
    kind: str | None,
    trials: int,
    budget: str,
    metric: str,
    assignments: tuple[str, ...],
    seed: str | None,
    repeats: bool,
    device: str,
    out: Path | None,
    study: Path | None,
    resume: bool,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search the settings of a model that are best on PURCHASES, and print them as a file for `recae train`.

    \b
      recae tune purchases.csv --kind sigmoid --trials 30 --budget 20m --out best.toml
      recae train purchases.csv --config best.toml
      recae tune purchases.csv --kind ease > best.toml
      recae tune purchases.csv --set factors=256 --metric recall@10 --plot trials.png
      recae tune purchases.csv --resume

    Needs Optuna: pip install 'recae[tune]'. The first trial is the defaults; the others are searched around
    them. All are measured on the users that `recae train` chooses its epochs on; those whose figures it prints
    in the end are set aside, and the TOML holds the seed, filters and weighting by which it finds the same. The
    search ends with --trials or --budget, whichever comes first. A trial that lags behind the others is pruned;
    one that cannot be fitted counts as failed.

    --half-life, --as-of and --quantity-as-confidence weigh purchases in training as for `recae train`; the TOML holds
    them as a table [weights], which it reads.

    An interrupted tuning leaves its study; the same command with --resume goes on, to the same result, and may
    be given more --trials or another --budget. It is refused, with the list of what differs, for other data or
    settings. The study is removed once the result is written, unless --study names it.
    """
    from recae.kinds import DEFAULT, SETTINGS, find
    from recae.selection.study import check_study
    from recae.selection.tune import tune as run
    from recae.settings import parse_settings

    kind = find(kind or DEFAULT).name
    given = [] if seed is None else [f"seed={seed}"]
    settings = parse_settings(SETTINGS[kind], kind, [*given, *assignments], kinds=SETTINGS)
    file = study or (out.with_name(f"{out.name}.study") if out else Path(f"tune.{kind}.study"))
    if plot is not None:
        from recae.plots import check_plot

        check_plot(plot)
    written = {"--out": out, "--plot": plot, "--study": file, "--rejects": options["rejects"]}
    check_outputs([*files_read(source, options), *files_of_filters(options)], written)
    check_study(file, resume)
    filters, weighting = read_filters(options), read_weighting(options)
    reading = read_options(options)
    tuned = run(
        source,
        kind=kind,
        trials=trials,
        budget=budget,
        metric=metric,
        device=device,
        reading=reading,
        filters=filters,
        repeats=repeats,
        confidence=weighting,
        study=file,
        resume=resume,
        **settings,
    )
    _write(tuned, out, plot)
    if as_json:
        print_json({**tuned.as_dict(), "out": _text(out), "study": _text(study)})
    elif out is None:
        write(tuned.toml(), sys.stdout)
    else:
        _print_settings(tuned)
    if study is None:
        file.unlink(missing_ok=True)
    _say_at_the_end(tuned, out)


def _write(tuned: Tuned, out: Path | None, plot: Path | None) -> None:
    from recae.files import atomic_path

    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(tuned.toml(), encoding="utf-8")
    if plot is not None:
        from recae.plots import plot_trials

        trials = [trial.as_dict() for trial in tuned.trials]
        plot_trials(trials, tuned.importance, tuned.metric, plot, f"recae tune, {tuned.kind}")


def _print_settings(tuned: Tuned) -> None:
    """Print the settings that were searched, of the defaults and of the best trial."""
    first, best = tuned.trials[0], tuned.best
    rows = [[tuned.metric, *("-" if t.value is None else f"{t.value:.4f}" for t in (first, best))]]
    rows += [
        [name, *(text_of(t.settings[name]) if name in t.settings else "-" for t in (first, best))]
        for name in dict.fromkeys([*first.settings, *best.settings])
    ]
    print_table(
        ["setting", "defaults", "best"],
        rows,
        title=f"{tuned.validation_users:,} validation users",
        right=["defaults", "best"],
    )


def _say_at_the_end(tuned: Tuned, out: Path | None) -> None:
    best, counts = tuned.best, [trial.state for trial in tuned.trials]
    states = ", ".join(f"{counts.count(s)} {s}" for s in ("complete", "pruned", "failed") if s in counts)
    by = "the budget ended" if tuned.ended == "budget" else "done"
    command = f"recae train{' --repeats' * tuned.repeats} --config {out or 'with this'}"
    message(
        f"{by} after {len(counts)} trials ({states}) of {tuned.seconds:.1f} s in all: {tuned.metric} {best.value:.4f} "
        f"in trial {best.number}; {command} trains it and measures it on the users that were set aside"
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
