"""Options that several commands share."""

from __future__ import annotations

import copy
import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from recae import kinds
from recae.cli.help import Command, under
from recae.errors import ConfigError, OutputError, SourceError

if TYPE_CHECKING:
    from recae.confidence import Weighting
    from recae.filters import Filters
    from recae.recommender import Recommender
    from recae.scoring.ray import Cluster
    from recae.training.callbacks import Engine

_Function = TypeVar("_Function", bound=Callable[..., Any])

count_option = partial(click.option, type=click.IntRange(min=1), show_default=True, metavar="N")
"""An option that takes a whole number from 1; the default is shown where there is one."""

device_option = click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, or such as cuda:1."
)

journal_option = partial(click.option, "--journal", type=click.Path(path_type=Path), metavar="PATH")
"""An option that names a journal; its help says what for."""

DEFAULT_MODEL = "model.recae"

SLASHES = tuple(filter(None, (os.sep, os.altsep)))
"""What a path that names a folder may end in; Windows has two."""


class KindsCommand(Command):
    """A command whose help lists the kinds of model, those of plugins included.

    A name in braces in a help text, such as {baselines}, stands for the kinds that `kinds_in_words` gives. With an
    option --kind the help ends with a list of all.
    """

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help with the kinds filled in."""
        filled = copy.copy(self)
        filled.params = [copy.copy(parameter) for parameter in self.params]
        options = [parameter for parameter in filled.params if isinstance(parameter, click.Option)]
        if any("--kind" in option.opts for option in options):
            filled.epilog = kinds_text()
        words = kinds_in_words()
        for name, text in words.items():
            filled.help = (filled.help or "").replace(f"{{{name}}}", text)
            for option in options:
                option.help = (option.help or "").replace(f"{{{name}}}", text)
        super(KindsCommand, filled).format_help(ctx, formatter)


def kinds_in_words() -> dict[str, str]:
    """Return the texts that stand in help texts for groups of kinds, by name."""
    rows = kinds.known().values()
    refusing = [row for row in rows if row.no_confidence]
    return {
        "default": kinds.DEFAULT,
        "evaluated": " and ".join(kinds.evaluated()),
        "baselines": ", ".join(kinds.baselines()),
        "no_confidence": " or ".join(row.name for row in refusing),
        "no_confidence_titles": " and ".join(row.title for row in refusing),
        "put_together": ", ".join(row.name for row in rows if row.parts),
    }


def complete_kinds(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the kinds of model that begin so, for the completion of a shell."""
    return [name for name in kinds.known() if name.startswith(incomplete)]


def kinds_text() -> str:
    """Return the kinds, one a line, as a paragraph that click leaves as it is."""
    rows = kinds.known().values()
    width = max(len(row.name) for row in rows)
    return "\n".join(["\b", "Kinds:", *(f"  {row.name:<{width}}  {row.about}" for row in rows)])


def output_path(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """Return the path of a file to write; a `Path` itself loses the slash at the end that says "a folder"."""
    if not value or value.endswith(SLASHES):
        raise OutputError(f"cannot write '{value}': it names no file; give the path of a file")
    return Path(value)


def read_basket(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[str] | None:
    """Return the ids in the values of --items, in their order; None without any. Empty fields stand for nothing.

    Raises:
        ConfigError: a quotation mark is not closed, or is followed by something else than a comma.
    """
    items: list[str] = []
    for text in texts:
        try:
            for fields in csv.reader(io.StringIO(text, newline=""), strict=True):
                items += filter(None, fields)
        except csv.Error as error:
            raise ConfigError(
                f"--items {text!r:.80} cannot be read as CSV ({error}); close every quotation mark that an id "
                "begins with, and double those inside it"
            ) from error
    return items if texts else None


def basket_option(function: _Function) -> _Function:
    """Add ``--items``: a basket, as a list of ids, or None where it is not given."""
    return click.option(
        "--items",
        metavar="ID,ID,…",
        multiple=True,
        callback=read_basket,
        help="A basket instead of a user: item ids separated by commas, without spaces.  [repeatable]",
    )(function)


def top_option(what: str, default: int | None = 10) -> Callable[[_Function], _Function]:
    """Return a decorator that adds ``-n`` and ``--top``; `what` says what they count."""
    return count_option("-n", "--top", "n", default=default, help=what)


def model_option(function: _Function) -> _Function:
    """Add ``--model``, which falls back on $RECAE_MODEL and then on model.recae in the working folder."""
    return under(
        "Model",
        click.option(
            "--model",
            "model_path",
            metavar="PATH",
            type=click.Path(path_type=Path),
            envvar="RECAE_MODEL",
            default=DEFAULT_MODEL,
            help=f"The model file.  [default: $RECAE_MODEL, else {DEFAULT_MODEL}]",
        ),
    )(function)


def positional_model(positional: Path | None, model_path: Path) -> Path:
    """Return the model of a command that takes it as an argument and as --model; ConfigError where the two differ."""
    if positional is None:
        return model_path
    source = click.get_current_context().get_parameter_source("model_path")
    if source is ParameterSource.COMMANDLINE and positional != model_path:
        raise ConfigError(
            f"the model is '{positional}' and, by --model, '{model_path}'; leave one of them out"
        )
    return positional


def owned_option(function: _Function) -> _Function:
    """Add ``--exclude-owned/--include-owned``; None where neither is given, since the model decides then."""
    return click.option(
        "--exclude-owned/--include-owned",
        default=None,
        help="Leave out what the user or basket has already, or keep it in.  "
        "[default: --exclude-owned, unless the model was trained with --repeats]",
    )(function)


def fallback_option(function: _Function) -> _Function:
    """Add ``--fallback``; None where it is not given."""
    return click.option(
        "--fallback",
        type=click.Choice(["popular"]),
        help="For whom the model knows nothing: the items that most users own. A column source then says which list "
        "is which.  [default: none]",
    )(function)


def stored_rules_option(function: _Function) -> _Function:
    """Add ``--rules`` of a training, a path or None."""
    return click.option(
        "--rules",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A TOML file of what lists may hold and in which order, stored with the model.",
    )(function)


def new_items_option(function: _Function) -> _Function:
    """Add ``--new-items``, auto by default."""
    return click.option(
        "--new-items",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Score products of the table that nobody has bought, by what is known of them: where it helps, always, or "
        "never.",
    )(function)


def list_rules_option(function: _Function) -> _Function:
    """Add ``--rules``; None where it is not given."""
    return click.option(
        "--rules",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A TOML file of what lists may hold and in which order: by id, category, brand, price, availability and "
        "age, caps, pins and boosts; or none.  [default: the rules that the model was trained with]",
    )(function)


def diversity_option(function: _Function) -> _Function:
    """Add ``--diversity``, 0 by default."""
    return click.option(
        "--diversity",
        type=click.FloatRange(0, 1),
        default=0.0,
        metavar="X",
        help="From 0, the best items by score, to 1, those least like each other.  [default: 0]",
    )(function)


def approximate_option(function: _Function) -> _Function:
    """Add ``--approximate``, False by default."""
    return click.option(
        "--approximate",
        is_flag=True,
        help="For catalogues of a million items: find candidates by an index over the items and score only these; "
        "its recall is measured and said first. Needs pip install 'recae[approximate]'.",
    )(function)


def weighting_options(function: _Function) -> _Function:
    """Add --half-life, --as-of and --quantity-as-confidence; `read_weighting` takes them."""
    return under(
        "Confidence",
        click.option(
            "--half-life",
            metavar="DAYS",
            help="Purchases count half in training when they are so many days older.  [default: age does not matter]",
        ),
        click.option(
            "--as-of",
            metavar="DATE",
            help="With --half-life: when age is 0; what is later counts as bought then.  [default: the last purchase "
            "that is no outlier]",
        ),
        click.option(
            "--quantity-as-confidence",
            is_flag=True,
            help="Purchases count more in training the more of an item was bought: 1 + log(1 + quantity).",
        ),
    )(function)


def read_weighting(options: dict[str, Any], base: Weighting | None = None) -> Weighting:
    """Return the weighting that the options ask for; take what `weighting_options` added out of `options`.

    Args:
        options: of the command, changed in place.
        base: what holds where an option is not given.

    Raises:
        ConfigError: the half-life is no number of days above 0, or the moment is no date, or without a half-life.
    """
    from recae.confidence import Weighting

    text, quantity = options.pop("half_life"), options.pop("quantity_as_confidence")
    days = None
    if text is not None:
        try:
            days = float(text)
        except ValueError as error:
            raise ConfigError(
                f"--half-life is a number of days above 0, such as 90, found '{text}': give one"
            ) from error
    moment = options.pop("as_of")
    if moment is not None and days is None and (base is None or base.half_life is None):
        raise ConfigError("--as-of says when age is 0, which matters with --half-life only: give that, too")
    asked = {"half_life": days, "quantity_as_confidence": quantity or None, "as_of": moment}
    given = {name: value for name, value in asked.items() if value is not None}
    return Weighting.of({**({} if base is None else base.as_dict()), **given})


_NAMES = ("since", "until", "min_user_purchases", "min_item_purchases", "exclude_items")


def filter_options(function: _Function) -> _Function:
    """Add --since and the others, each as the text, number or tuple of texts that `read_filters` takes."""
    return under(
        "Filters",
        click.option(
            "--since",
            metavar="DATE",
            help="Leave out purchases before this time, such as 2010-12-01 or 2010-12-01T12:00; UTC unless it "
            "says otherwise.",
        ),
        click.option(
            "--until",
            metavar="DATE",
            help="Leave out purchases from this time on: 2011-12-01 leaves out that day, too.",
        ),
        click.option(
            "--min-user-purchases",
            type=int,
            metavar="N",
            help="Leave out users with fewer items; repeat purchases of an item count once.",
        ),
        click.option(
            "--min-item-purchases",
            type=int,
            metavar="N",
            help="Leave out items with fewer users. Both minimums apply repeatedly until nothing more is left out.",
        ),
        click.option(
            "--exclude-items",
            metavar="ITEMS",
            multiple=True,
            help="Leave out these items: a file as for recae score, or ids separated by commas.  [repeatable]",
        ),
    )(function)


def read_filters(options: dict[str, Any], base: Filters | None = None) -> Filters:
    """Return the filters that were asked for; take what `filter_options` added out of `options`.

    Args:
        options: of the command, changed in place.
        base: what holds where an option is not given.

    Raises:
        ConfigError: a value is none, or two do not go together.
        SourceError, ColumnError: a file of ids cannot be used.
    """
    from recae.filters import Filters

    given = {name: options.pop(name) for name in _NAMES}
    given["exclude_items"] = item_ids("--exclude-items", given["exclude_items"])
    asked = {name: value for name, value in given.items() if value is not None}
    return Filters.of({**({} if base is None else base.as_dict()), **asked})


def files_of_filters(options: dict[str, Any]) -> list[str]:
    """Return the files that --exclude-items names, which no result may replace."""
    return [value for value in options["exclude_items"] if os.path.isfile(value)]  # noqa: PTH113  # never raises


def check_outputs(sources: Sequence[str], paths: Mapping[str, Path | None]) -> None:
    """Raise OutputError, before any work, for what cannot be written and for two results in one file.

    Args:
        sources: what is read, which no result may replace.
        paths: option to where it writes; None where it is not given.
    """
    seen: dict[Path, str] = {}
    for option, path in paths.items():
        if path is None:
            continue
        for source in sources:
            check_not_read(path, source)
        if other := seen.get(path.resolve()):
            raise OutputError(f"{other} and {option} are both '{path}': give each a path of its own")
        seen[path.resolve()] = option


def check_not_read(path: Path, source: str) -> None:
    """Raise OutputError where a result would replace a file that is read, and as `recae.files.check_writable`."""
    from recae.files import check_writable
    from recae.reading import local_files

    check_writable(path)
    if path.exists():
        for file in filter(os.path.exists, local_files(source)):  # which, unlike Path's, never raises
            if path.samefile(file):
                check_writable(path, file)


ENGINE = ("engine", "address", "workers", "cpus_per_worker")
"""Names of the options' values."""


def engine_options(needs: str = "") -> Callable[[_Function], _Function]:
    """Add --engine and what goes with it; `needs` says what else has to be given with ray."""
    return under(
        "Computing",
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help=f"Compute in this process, or on a Ray cluster{needs}.",
        ),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="With ray: the cluster's head node, or auto.  [default: RAY_ADDRESS, else this machine alone]",
        ),
        count_option(
            "--workers",
            help="With ray: workers at most.  [default: as many as the cluster has processors for]",
        ),
        count_option(
            "--cpus-per-worker",
            help="With ray: processors, and threads, of each worker.  [default: 1]",
        ),
    )


def check_engine(engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None) -> None:
    """Raise ConfigError for an option that goes with --engine ray where that is not given."""
    given = {"--address": address, "--workers": workers, "--cpus-per-worker": cpus_per_worker}
    for option, value in given.items():
        if engine != "ray" and value is not None:
            raise ConfigError(f"{option} goes with --engine ray; give that, too, or leave it out")


@contextmanager
def scoring_cluster(
    engine: str, address: str | None, workers: int | None, cpus_per_worker: int | None
) -> Iterator[Cluster | None]:
    """Connect to the cluster that the options name, and return its workers; None for --engine local.

    Raises:
        ConfigError: as `check_engine`.
        ClusterError: the cluster cannot be used.
    """
    check_engine(engine, address, workers, cpus_per_worker)
    if engine != "ray":
        yield None
        return
    from recae.cluster import connected
    from recae.scoring.ray import Cluster

    with connected(address) as ray:
        yield Cluster.of(ray, workers, cpus_per_worker or 1)


@contextmanager
def training_engine(
    place: tuple[int, int] | None,
    engine: str,
    address: str | None,
    workers: int | None,
    cpus_per_worker: int | None,
) -> Iterator[Engine | None]:
    """Yield the processes that train together; None where this one trains by itself.

    Args:
        place: number of this process and of the processes that torchrun has started; None without it.
        engine: "local" or "ray".
        address: of the cluster's head node; None for the default.
        workers: at most.
        cpus_per_worker: processors of each worker.

    Raises:
        ClusterError: the cluster cannot be used.
    """
    if engine == "ray":
        from recae.cluster import connected
        from recae.training.distributed.ray import OnRay

        with connected(address) as ray:
            yield OnRay(ray, workers, cpus_per_worker or 1)
    elif place is not None:
        from recae.training.distributed.torchrun import launched

        with launched(place[1]) as others:
            yield others
    else:
        yield None


def item_ids(option: str, values: Sequence[str]) -> Any:
    """Return the ids that the values of an option name, files among them read; None without values.

    Raises:
        SourceError, ColumnError: a file cannot be used; so, too, where what is named as files are is not there.
        ConfigError: ids are not CSV.
    """
    from recae.reading import is_file_name
    from recae.scoring.audience import read_ids

    ids: list[str] = []
    for value in values:
        if os.path.isfile(value):  # noqa: PTH113  # which, unlike Path's, never raises
            ids += read_ids(value, "item").to_pylist()
        elif is_file_name(value):
            raise SourceError(
                f"there is no file '{value}' for {option}; check the path, or, if it is the id of an item, put it into "
                "a file with one id a line"
            )
        else:
            ids += split(option, [value])
    return ids if values else None


def split(option: str, texts: Sequence[str]) -> list[str]:
    """Return the fields of texts as CSV, those between quotes with their commas; ConfigError if one is not closed."""
    try:
        return [
            field
            for text in texts
            for fields in csv.reader(io.StringIO(text, newline=""), strict=True)
            for field in fields
            if field
        ]
    except csv.Error as error:
        raise ConfigError(
            f"{option} {', '.join(texts)!r:.80} cannot be read as CSV ({error}); close every quotation mark that an id "
            "begins with, and double those inside it"
        ) from error


def counting(recommender: Recommender, journal: str | Path | None) -> Recommender:
    """Return the recommender with the purchases of a journal beside its histories; the same without a journal.

    Raises:
        JournalError: there is none, or it cannot be read.
        DataError: the model was saved without histories.
    """
    if journal is None:
        return recommender
    from recae.cli.output import message
    from recae.journal import Journal
    from recae.updating.orders import without_ordered
    from recae.updating.pending import pending, with_pending

    with Journal.open(journal, create=False) as opened:
        found = pending(recommender, opened)
        recommender = without_ordered(recommender, opened)
    message(f"{len(found):,} purchases of the journal that the model does not have count, too")
    return with_pending(recommender, found)
