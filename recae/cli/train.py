"""`recae train`: a model file from a table of purchases, with a table of held-out metrics."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.cli.help import under
from recae.cli.options import (
    DEFAULT_MODEL,
    ENGINE,
    KindsCommand,
    check_engine,
    check_not_read,
    check_outputs,
    complete_kinds,
    device_option,
    engine_options,
    files_of_filters,
    filter_options,
    new_items_option,
    output_path,
    read_filters,
    read_weighting,
    stored_rules_option,
    training_engine,
    weighting_options,
)
from recae.cli.output import message, print_json, print_metrics, silence
from recae.cli.purchases import (
    column_options,
    files_read,
    inputs_option,
    read_options,
    reading_options,
    source_argument,
)
from recae.errors import ConfigError, OutputError
from recae.machine import launched, restarts
from recae.text import refit_words

if TYPE_CHECKING:
    from recae.recommender import Recommender
    from recae.training.checkpoint import Checkpoints

_Function = TypeVar("_Function", bound=Callable[..., Any])

SHORTCUTS = {
    "factors": ("N", "Size of the code."),
    "layers": ("N,N,…", "Sizes of the hidden layers, down to the code."),
    "epochs": ("N", "Passes over the users, at most."),
    "learning_rate": ("X", "Step of the decoder."),
    "encoder_learning_rate": ("X", "Step of the encoder, before AdaGrad."),
    "purchase_weight": ("X", "α: weight of a purchase's error, 1 or more."),
    "input_power": ("X", "p: a history of m items enters as x/m^p, 0 to 1."),
    "dropout": ("X", "Fraction of each history hidden from the encoder."),
    "fold_every": ("N", "Users after which the factors are consolidated, at most."),
    "patience": ("N", "Epochs without a better validation recall@20 before it stops."),
    "batch_size": (
        "N",
        "Users whose codes are computed together; sigmoid with 1: one after the other, the exact per-user step.",
    ),
    "seed": ("N", "Of everything random; the same seed gives the same model."),
    "budget": ("TIME", "With --kind auto: 90s, 10m, 1h; what does not fit is not tried.  [default: 10m]"),
}
"""Settings with an option of their own: what stands for the value, and the help."""


def settings_options(function: _Function) -> _Function:
    """Add an option for each of `SHORTCUTS`, and --kind, --set and --config."""
    shortcuts = (
        click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)
        for name, (metavar, text) in SHORTCUTS.items()
    )
    function = under("Settings", *shortcuts)(function)
    return under(
        "Model",
        click.option(
            "--kind",
            metavar="NAME",
            shell_complete=complete_kinds,
            help="The model, see below.  [default: {default}]",
        ),
        click.option(
            "--set",
            "assignments",
            metavar="KEY=VALUE",
            multiple=True,
            help="Any setting of the kind; `recae settings KIND` lists them.  [repeatable]",
        ),
        click.option(
            "--config",
            "config_path",
            metavar="PATH",
            type=click.Path(path_type=Path),
            help='TOML file: kind = "deep" and settings; options win over it.',
        ),
    )(function)


def read_settings(
    kind: str | None,
    config_path: Path | None,
    assignments: Sequence[str],
    options: dict[str, str | None],
) -> tuple[str, dict[str, Any]]:
    """Return the kind and its settings; ConfigError for what the kind does not have or what is no value of it."""
    from recae.kinds import DEFAULT, SETTINGS, find
    from recae.settings import build_settings, parse_settings
    from recae.settings_toml import read_toml, toml_kind

    if kind is None and config_path is not None:
        kind = toml_kind(config_path)
    kind = find(DEFAULT if kind is None else kind).name
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    explicit = parse_settings(SETTINGS[kind], kind, [*given, *assignments], kinds=SETTINGS)
    values = {} if config_path is None else read_toml(config_path, kind, SETTINGS[kind], kinds=SETTINGS)
    values |= explicit
    build_settings(kind, SETTINGS[kind], values, kinds=SETTINGS)
    return kind, values


class _Train(KindsCommand):
    """The command; of the processes that torchrun starts, only the first one prints anything."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments as click does; an error is printed by one process only."""
        if (place := launched()) is not None and place[0] > 0:
            silence(sys.stdout, sys.stderr)
        return super().parse_args(ctx, args)


@click.command(cls=_Train)
@source_argument
@settings_options
@under(
    "Model",
    click.option(
        "--repeats",
        is_flag=True,
        help="Repeat purchases: owned items stay recommendable and are measured, too.",
    ),
)
@under(
    "Model",
    click.option(
        "--refit/--no-refit",
        default=True,
        show_default=True,
        help="Fit the model once more on all users after it was measured.",
    ),
    new_items_option,
    stored_rules_option,
)
@column_options
@inputs_option
@filter_options
@reading_options
@weighting_options
@under(
    "Checkpoints",
    click.option(
        "--checkpoint-every",
        type=int,
        metavar="USERS",
        help="Write a checkpoint after so many users, at each epoch's end, and on Ctrl-C or SIGTERM.",
    ),
    click.option(
        "--checkpoint",
        metavar="PATH",
        help="The checkpoint; alone: at each epoch's end and on Ctrl-C or SIGTERM.  [default: <out>.checkpoint]",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue from the checkpoint; the result is bit for bit that of an uninterrupted training.",
    ),
)
@under("Computing", device_option)
@engine_options(", with --kind sigmoid and a --batch-size of 2 or more")
@under(
    "Output",
    click.option(
        "--out",
        metavar="PATH",
        callback=output_path,
        default=DEFAULT_MODEL,
        show_default=True,
        help="The model file to write.",
    ),
    click.option("--no-histories", is_flag=True, help="Leave users and their histories out of the file."),
    click.option("--json", "as_json", is_flag=True, help="Print the table as JSON."),
)
def train(
    source: str,
    out: Path,
    kind: str | None,
    assignments: tuple[str, ...],
    config_path: Path | None,
    repeats: bool,
    refit: bool,
    new_items: str,
    rules: Path | None,
    device: str,
    checkpoint_every: int | None,
    checkpoint: str | None,
    resume: bool,
    no_histories: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on PURCHASES.

    PURCHASES is a table: CSV, JSON, Parquet, Feather, ORC, Excel, .npz, Matrix Market, SQLite or DuckDB, also packed; a
    folder of such files, a pattern, the standard input (-), or the URL of a database.

    \b
      recae train purchases.csv
      recae train 'data/2024-*.csv.gz'
      zcat purchases.csv.gz | recae train -
      recae train postgresql://me@host/shop --table purchases
      SHOP_URL=postgresql://me:secret@host/shop recae train env:SHOP_URL --query "select …"
      recae train orders.parquet --user-column buyer --item-column sku --out orders.recae
      recae train lines.csv --orders orders.csv
      recae train . --query "select * from 'orders.csv' join 'lines.csv' using (order_id)"
      recae train events.csv --where "event = 'transaction' and price > 0"
      recae train events.csv --inputs cart,view
      recae train ratings.dat --min-rating 4
      recae train purchases.csv --kind auto --budget 10m
      recae train purchases.csv --kind deep --layers 600,200 --set dropout=0.5
      recae train purchases.csv --config settings.toml
      recae train purchases.csv --kind blend --set components=sigmoid,ease --set sigmoid.factors=256
      recae train purchases.csv --since 2023-01-01 --min-user-purchases 5 --min-item-purchases 5
      recae train purchases.csv --half-life 90
      recae train purchases.csv --checkpoint-every 50000
      recae train purchases.csv --resume
      torchrun --nproc-per-node 2 -m recae train purchases.csv --kind sigmoid --batch-size 256
      recae train purchases.csv --kind sigmoid --batch-size 256 --engine ray --address 10.0.0.1:6379

    No option is needed: columns are recognised by their names and values, and the default settings suit the size of
    the data. A tenth of the users choose when to stop; the table at the end is measured on another tenth, for the
    model, popularity and item-kNN. Then the model is fitted once more on all users, with what was chosen; the table
    is of the model before. --no-refit leaves that out, for comparisons. Ctrl-C leaves no partial file.

    Settings: --factors 256 is short for --set factors=256, and applies to every kind that has factors; `recae settings
    KIND` lists them. A TOML file holds settings as lines such as dropout = 0.4, at its top or in a table named after
    the kind; `recae inspect --toml` prints those of a trained model.

    Filters say which purchases count. They are stored with the model, and a TOML file may hold them in a table
    [filters]: since, until, min_user_purchases, min_item_purchases and exclude_items, a list.

    With --inputs, carts, views and other events of a table are held beside the purchases. A linear part learns what
    is bought from them, too, and uses an event only where that helps the validation users, which is said with its
    interval. The events of a held-out purchase itself are hidden, since they would give it away.

    --rules rules.toml stores rules for lists with the model: recommend, score and serve follow them where they are
    given no others. The rule bought_within_days needs the times of purchases, which are stored with it. The table at
    the end is without rules.

    With --half-life and --quantity-as-confidence some purchases count more than others in training, for the baselines
    as well: 1 on average, 10 at most. Neither changes the histories that a model recommends from, nor the metrics.
    Age is measured from the last purchase, or from --as-of; dates far later than all others are said and count as new.
    --kind {no_confidence} cannot use them; --repeats can be combined with them.

    With --checkpoint-every, --checkpoint or --resume, an interrupted training leaves a checkpoint; a second Ctrl-C
    stops at once. --resume continues with the same data and settings; if they differ, it stops and lists the
    differences. The checkpoint is removed once the model is written.
    """
    from recae.files import check_writable

    place = launched()
    if place is not None and place[0] > 0:
        from recae.training.distributed.torchrun import take_part

        raise click.exceptions.Exit(take_part(*place))
    where = {name: options.pop(name) for name in ENGINE}
    check_engine(**where)
    if place is not None and where["engine"] == "ray":
        raise ConfigError(
            "torchrun has started several processes, and --engine ray starts workers of its own: run it without "
            "torchrun, or leave --engine out"
        )
    rejects = options["rejects"]
    # before the training, not after it
    sources = [*files_read(source, options), *files_of_filters(options)]
    check_outputs(sources, {"--out": out, "--rejects": rejects})
    if config_path is not None:
        check_writable(out, config_path)
        if rejects is not None:
            check_writable(rejects, config_path)
    checkpoints = None
    if resume or checkpoint is not None or checkpoint_every is not None:
        checkpoints = _checkpoints(source, out, checkpoint, checkpoint_every, resume)
        check_outputs(sources, {"the checkpoint": checkpoints.path, "--rejects": rejects})

    from recae.modelfile import save
    from recae.pipeline import train as run
    from recae.settings_toml import toml_filters, toml_weighting

    filters = read_filters(options, None if config_path is None else toml_filters(config_path))
    weighting = read_weighting(options, None if config_path is None else toml_weighting(config_path))
    shortcuts = {name: options.pop(name) for name in SHORTCUTS}
    stored = None
    if rules is not None:
        from recae.list_rules import read_list_rules

        stored = read_list_rules(rules)
        check_outputs([*sources, str(rules)], {"--out": out, "--rejects": rejects})
    reading = read_options(options)
    kind, settings = read_settings(kind, config_path, assignments, shortcuts)
    started = time.perf_counter()
    with (
        training_engine(place, **where) as engine,
        _telling_how_to_go_on(checkpoints),
    ):
        recommender = run(
            source,
            kind=kind,
            device=device,
            reading=reading,
            filters=filters,
            checkpoints=checkpoints,
            repeats=repeats,
            confidence=weighting,
            engine=engine,
            refit=refit,
            new_items=new_items,
            rules=stored,
            **settings,
        )
        save(recommender, out, histories=not no_histories)
    if checkpoints is not None:
        checkpoints.remove()
    seconds = time.perf_counter() - started
    metadata = recommender.metadata
    if as_json:
        print_json(
            {
                "model": str(out),
                "kind": recommender.model.kind,
                "seconds": seconds,
                "fingerprint": metadata["fingerprint"],
                "n_users": None if recommender.users is None else len(recommender.users),
                "n_items": len(recommender.items),
                "metrics": metadata["metrics"],
                "refit": metadata.get("refit"),
            }
        )
    elif metadata["metrics"] is not None:
        print_metrics(metadata["metrics"], metadata.get("refit"))
    done = "read, trained and measured" if metadata["metrics"] is not None else "read and trained"
    if again := refit_words(metadata.get("refit")):
        done = f"read, trained, measured and {again}"
    message(f"{done} in {seconds:.1f} s; the model is in {out}")
    message(f"next: {_next_command(recommender, out, not no_histories)}")


def _next_command(recommender: Recommender, out: Path, with_users: bool) -> str:
    """Return a command that asks the model in a file for recommendations."""
    if with_users and recommender.users is not None and len(recommender.users):
        asked = ["--user", recommender.users.id(0)]
    else:
        asked = ["--item", recommender.items.id(0)]
    place = [] if out == Path(DEFAULT_MODEL) else ["--model", str(out)]
    return shlex.join(["recae", "recommend", *asked, *place])


def _checkpoints(source: str, out: Path, given: str | None, every: int | None, resume: bool) -> Checkpoints:
    """Return where checkpoints go; OutputError when they cannot be written there."""
    from recae.training.checkpoint import Checkpoints, refit_path

    path = out.with_name(f"{out.name}.checkpoint")
    if given is not None:
        path = output_path(click.get_current_context(), click.Option(["--checkpoint"]), given)
    resume = resume or (restarts() > 0 and path.exists())
    checkpoints = Checkpoints(path, every, resume)
    check_not_read(path, source)
    if path.resolve() == out.resolve():
        raise OutputError(f"cannot write a checkpoint to '{path}': the model goes there; choose another path")
    if not resume:
        if path.exists():
            message(f"'{path}' is there already and will be replaced; --resume would go on from it")
        refit_path(path).unlink(missing_ok=True)  # of the same training
    return checkpoints


@contextmanager
def _telling_how_to_go_on(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Add to the exception that stops a training a note on what it has left."""
    try:
        yield
    except BaseException as error:
        left = "" if checkpoints is None else checkpoints.describe()
        if left and isinstance(error, OutputError):
            message(left)  # the model could not be written; the training is not lost
        elif left:
            error.add_note(left)
        raise
