"""`recae score`: recommendations for many users, as a file, a folder of files or a table of a database."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recae.cli.help import Command, under
from recae.cli.options import (
    ENGINE,
    SLASHES,
    approximate_option,
    check_not_read,
    count_option,
    counting,
    diversity_option,
    engine_options,
    fallback_option,
    item_ids,
    list_rules_option,
    model_option,
    output_path,
    owned_option,
    scoring_cluster,
    split,
    top_option,
)
from recae.cli.output import human_bytes, message, progress
from recae.cli.purchases import item_source, items_options, warn_of_password
from recae.errors import ConfigError, DataError, ModelFileError, OutputError

if TYPE_CHECKING:
    import pyarrow as pa

    from recae.models import JSON
    from recae.recommender import Recommender
    from recae.scoring.audience import Audience
    from recae.scoring.database import ResultTable
    from recae.scoring.folder import Folder, OneFile
    from recae.scoring.ray import Cluster
    from recae.scoring.work import Work

_Function = TypeVar("_Function", bound=Callable[..., Any])

WHO = {
    "users": (
        "FILE",
        "Score these users of the model only: one id a line (.txt), or a table with a user column.",
    ),
    "histories": (
        "SOURCE",
        "Score the users of this table with the histories there: what recae train reads.",
    ),
    "histories_table": ("NAME", "With --histories URL: the table or view to read."),
    "histories_query": ("SQL", "With --histories URL: a SELECT to read instead."),
    "journal": (
        "PATH",
        "Count the purchases of the journal of recae serve that the model does not have, too.",
    ),
    "user_column": ("NAME", "The column of users in --users or --histories.  [default: by its name]"),
    "item_column": ("NAME", "The column of items in --histories.  [default: by its name]"),
    "inputs": (
        "EVENT,…",
        "With --histories: other events of the table that the model reads, such as cart,view.",
    ),
}
RULES = {
    "exclude_items": ("ITEMS", "Nobody gets these: a file as for --users, or ids separated by commas."),
    "only_items": ("ITEMS", "Nobody gets anything else: a file, or ids separated by commas."),
    "categories": (
        "FILE",
        "A table with an item and a category column, for the next two.  [default: the model's table of products]",
    ),
    "exclude_categories": ("NAME,...", "Nobody gets items of these categories."),
    "only_categories": ("NAME,...", "Nobody gets items of other categories, or of none."),
}
_REPEATABLE = ("exclude_items", "only_items", "exclude_categories", "only_categories")


def who_options(function: _Function) -> _Function:
    """Add --users, --histories and what goes with them, as texts or None."""
    return under("For whom", *_options(WHO))(function)


def rules_options(function: _Function) -> _Function:
    """Add --exclude-items and the other rules, as texts, tuples of them or None."""
    return under("Rules", *_options(RULES))(function)


def where_options(function: _Function) -> _Function:
    """Add --out and what goes with it: what `destination` takes."""
    return under(
        "Output",
        click.option(
            "--out",
            metavar="PATH",
            required=True,
            help="A file, a folder or the URL of a database (see above).",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(["parquet", "csv", "jsonl"]),
            help="With a folder: the format of its files.  [default: parquet]",
        ),
        count_option("--shard-users", help="With a folder: users a file."),
        click.option("--table", metavar="NAME", help="With a database: the table to write, or to replace."),
        click.option(
            "--run-id", metavar="ID", help="With a database: do nothing where the table holds this run."
        ),
        click.option(
            "--resume", is_flag=True, help="With a folder: go on with this run where a killed job stopped."
        ),
    )(function)


def destination(
    out: str, form: str | None, shard_users: int | None, table: str | None, run_id: str | None, resume: bool
) -> OneFile | Folder | ResultTable:
    """Return what --out stands for.

    Raises:
        ConfigError: an option goes with another kind of destination.
        OutputError: --out is empty, or the database cannot be used.
        SourceError: --out is env:NAME, and there is no such variable.
    """
    from recae.reading import is_url, resolved
    from recae.scoring.folder import Folder, OneFile
    from recae.tables import ENDINGS

    place = resolved(out)
    if not place:
        raise OutputError("cannot write '': it names no file; give the path of a file or a folder")
    of_database = {"--table": table, "--run-id": run_id}
    of_folder = {"--format": form, "--shard-users": shard_users, "--resume": resume or None}
    if is_url(place):
        _none_of(of_folder, "a folder")
        if table is None:
            raise ConfigError("--out is a database; name the table to write with --table")
        from recae.scoring.database import ResultTable

        return ResultTable(place, table, run_id)
    _none_of(of_database, "a database")
    path = Path(place)
    ending = path.suffix.lower()
    there = os.path.isdir(place)  # noqa: PTH112  # never raises
    if place.endswith(SLASHES) or (there and ending not in ENDINGS) or form or not ending:
        return Folder(path, form or "parquet", shard_users, resume)
    _none_of(of_folder, "a folder (its name ends in / or has no ending)")
    return OneFile(path)


def barred(
    recommender: Recommender,
    categories: str | None,
    exclude_items: Sequence[str],
    only_items: Sequence[str],
    exclude_categories: Sequence[str],
    only_categories: Sequence[str],
) -> tuple[Any, list[str]]:
    """Return which items nobody gets by the options, and the ids in them that are unknown.

    Categories are those of a table, or else of the model's table of items.

    Raises:
        ConfigError: rules by category without categories, a table of them without rules, and as
            `recae.scoring.rules.barred_items`.
        SourceError, ColumnError, DataError: a file cannot be used.
    """
    from recae.insight.categories import categories_of, read_categories
    from recae.scoring.rules import barred_items

    by_category, items = bool(exclude_categories or only_categories), recommender.items
    kinds = None
    if categories is not None:
        kinds = read_categories(categories, items) if by_category else None
    elif by_category:
        kinds = categories_of(recommender)
    if by_category != (kinds is not None) or (categories is not None and not by_category):
        raise ConfigError(
            "--exclude-categories and --only-categories go with --categories, a table of items and categories; "
            "give both or neither, or give the model a table of products with 'recae items'"
        )
    return barred_items(
        items,
        exclude=item_ids("--exclude-items", exclude_items),
        only=item_ids("--only-items", only_items),
        categories=kinds,
        exclude_categories=split("--exclude-categories", exclude_categories) if exclude_categories else None,
        only_categories=split("--only-categories", only_categories) if only_categories else None,
    )


def _options(options: dict[str, tuple[str, str]]) -> Iterator[Callable[[Any], Any]]:
    for name, (metavar, text) in options.items():
        repeatable = name in _REPEATABLE
        yield click.option(
            f"--{name.replace('_', '-')}",
            metavar=metavar,
            multiple=repeatable,
            help=text + ("  [repeatable]" if repeatable else ""),
        )


def _none_of(options: Mapping[str, object], what: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option} goes with --out {what}, which this is not; leave it out")


_NAMED = 3  # ids that a message spells out


@click.command(cls=Command)
@model_option
@where_options
@under(
    "Output",
    click.option(
        "--rejects",
        metavar="FILE",
        callback=lambda ctx, parameter, value: value and output_path(ctx, parameter, value),
        help="Write unknown ids to this table: id, reason (.csv, .parquet, .jsonl).",
    ),
)
@under(
    "Output",
    click.option(
        "--columns",
        metavar="NAME,…",
        help="What else to say of each item: name, category, price, or any column of the model's table of items.",
    ),
)
@items_options
@who_options
@under(
    "Rules",
    top_option("How many items a user.", 20),
    owned_option,
    fallback_option,
    approximate_option,
    list_rules_option,
    diversity_option,
)
@rules_options
@engine_options()
def score(
    out: str,
    form: str | None,
    shard_users: int | None,
    table: str | None,
    run_id: str | None,
    resume: bool,
    n: int,
    rejects: Path | None,
    exclude_owned: bool | None,
    fallback: str | None,
    approximate: bool,
    columns: str | None,
    items_table: str | None,
    items_columns: str | None,
    rules: Path | None,
    diversity: float,
    model_path: Path,
    **given: Any,
) -> None:
    """Write recommendations for every user of the model, for some, or for new histories.

    \b
      recae score --out recs.parquet -n 20
      recae score --out recs/ --shard-users 50000 --resume
      recae score --out recs.csv --columns name,category,price
      recae score --out new.csv --histories this-week.csv --exclude-items sold-out.txt
      recae score --out env:SHOP --table recommendations --run-id 2024-11-27

    The columns are user_id, item_id (text), rank (from 1) and score. Users are scored block by block, so that
    memory does not grow with their number; a line on stderr says beforehand how much it is, and about how long
    it takes. Ids that the model does not know are counted, and written to --rejects. With --fallback popular, users
    of whom the model knows no item get the items that most users own, and a fifth column, source, says "model" or
    "popular". With --columns, what the model knows of each item follows, such as its name, category and price; a
    table of products is given to a model with `recae items`.

    \b
    --out is one of
      a file      .parquet or .pq, .csv, .jsonl or .ndjson. It appears when it is complete: an error, Ctrl-C or
                  a kill leaves an older file as it was.
      a folder    a name without an ending, or one that ends in /: part-00000.parquet and so on, each whole or not
                  there, and at the end _manifest.json with the settings, counts and SHA-256 of each. After a
                  kill, the same command with --resume goes on, to the same bytes. A folder that holds another run
                  is refused.
      a database  postgresql://..., sqlite:///... or env:NAME, with --table: a new table is written beside the
                  old one and takes its place in one transaction. What it is stands in the table recae_runs.

    \b
    --engine ray spreads the work over the machines of a Ray cluster (pip install 'recae[ray]'), to the same bytes.
      recae score --out /shared/recs/ --engine ray --address auto --resume
    The model and the users are read here and sent to the workers, which write the files of a folder themselves:
    all machines must see it under the same path. A worker or a machine that dies is done without.

    --rules and --diversity score all items of each user, which the fast path need not where rules only leave items out.

    With --approximate a model whose scores are products of vectors, or a blend of such, is asked through an index
    over its items. The index is made anew for each job, measured on some of its users, and refused where it finds
    less than 99 % of their exact lists; the manifest holds what was found. Rules, owned items and scores are exact.

    The exit code is 0 on success, and where --resume or --run-id find that all is done; 2 when something is
    wrong; 130 after Ctrl-C; 143 after SIGTERM.
    """
    who = {name: given[name] for name in WHO}
    _check_who(**who)
    for text in filter(None, (out, who["histories"])):
        warn_of_password(text)
    # first of all, so that nobody waits for a model only to hear that the path is wrong
    if approximate and given["engine"] == "ray":
        raise ConfigError(
            "--approximate is for one machine, and --engine ray for many: leave one of them out"
        )
    products = item_source(items_table, items_columns)
    target = destination(out, form, shard_users, table, run_id, resume)
    target.check(model_path)
    _check_files(
        out,
        rejects,
        model_path,
        [
            items_table,
            given["categories"],
            who["users"],
            who["histories"],
            None if rules is None else str(rules),
        ],
    )

    from recae.insight.listings import listing_of
    from recae.scoring.columns import table_digest
    from recae.scoring.work import make_work

    with scoring_cluster(**{name: given[name] for name in ENGINE}) as cluster:
        recommender, model_sha256 = _loaded(model_path)
        recommender = counting(recommender, who.pop("journal"))
        if products is not None:
            described = products.given_to(recommender)
            recommender = described.recommender
            for line in described.sentences():
                message(line)
        barred_items, unknown = barred(recommender, **{name: given[name] for name in RULES})
        listing = listing_of(recommender, rules, diversity)
        times = listing is not None and listing.recent_from is not None
        audience = _audience(recommender, fallback is not None, times, **who)
        _report(audience.rejected, unknown, rejects)
        if not len(audience) and (who["users"] or who["histories"]):
            source = _shown(who["users"] or who["histories"])
            raise DataError(
                f"the model knows none of the users in '{source}'; check that it belongs to this model"
            )
        work = make_work(
            recommender,
            audience,
            n,
            exclude_owned=exclude_owned,
            barred=barred_items,
            fallback=fallback,
            approximate=approximate,
            details=None if columns is None else split("--columns", [columns]),
            listing=listing,
        )
        more = {} if products is None else {"items_table": table_digest(recommender)}
        _write(work, target, cluster, model_sha256, _shown(out), more)


def _write(
    work: Work,
    target: OneFile | Folder | ResultTable,
    cluster: Cluster | None,
    model_sha256: str,
    out: str,
    more: Mapping[str, JSON],
) -> None:
    """Say what will be done, do it, and say what was done; `more` settings tell runs apart."""
    from recae.scoring.folder import preflight
    from recae.scoring.manifest import settings_of
    from recae.scoring.ray import spread

    settings = settings_of(work, model_sha256, **target.settings(work), **more)
    if (complete := target.complete(work, settings)) is not None:
        message(complete)
        return
    what, many = target.describe(work), 1
    if cluster is not None:
        work, target = spread(work, target, cluster)
        many = cluster.workers
        what += f", {cluster.describe()}"
    estimate = preflight(work)
    message(
        f"{estimate.users:,} users, {estimate.items:,} items, {what}; "
        f"at most about {human_bytes(estimate.memory)} of memory"
        f"{' each' if cluster else ''}, about {estimate.seconds / many:,.1f} s"
        f"{' once the workers have started' if cluster else ''}"
    )
    started = time.perf_counter()
    with progress("scoring users", estimate.users) as on_users:
        rows = target.write(work, settings, on_users)
    seconds = time.perf_counter() - started
    message(f"wrote {rows:,} rows for {estimate.users:,} users to {out} in {seconds:.1f} s")


def _check_who(
    users: str | None,
    histories: str | None,
    histories_table: str | None,
    histories_query: str | None,
    inputs: str | None,
    journal: str | None,
    **columns: Any,
) -> None:
    """Raise ConfigError where options contradict each other."""
    if users is not None and histories is not None:
        raise ConfigError(
            "--users and --histories are both given; leave out --users, and the users of the table are scored"
        )
    if histories is not None and journal is not None:
        raise ConfigError(
            "--histories gives the histories, and --journal adds to those of the model: leave one of them out"
        )
    if histories is None and (histories_table or histories_query):
        raise ConfigError(
            "--histories-table and --histories-query say what to read of --histories; give that, too"
        )
    if histories is None and inputs is not None:
        raise ConfigError(
            "--inputs names events of --histories, and those of the model's own users are in its file: leave it out"
        )


def _loaded(path: Path) -> tuple[Recommender, str]:
    """Return a model and its file's SHA-256; ModelFileError where the file was replaced meanwhile.

    A folder's shards would be of two models if the checksum that tells runs apart were not that of the model in memory.
    """
    from recae.modelfile import load
    from recae.scoring.manifest import sha256_of

    before = _state(path)
    recommender = load(path)
    sha256 = sha256_of(path)
    if _state(path) != before:
        raise ModelFileError(f"the model file '{path}' was replaced while it was read; run it again")
    return recommender, sha256


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what identifies the file under a name, until it is replaced; None without a file."""
    if not path.is_file():
        return None
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _check_files(out: str, rejects: Path | None, model: Path, read: Sequence[str | None]) -> None:
    """Raise OutputError where a result cannot be written, or would replace what is read or another result."""
    from recae.tables import ENDINGS, check_output

    if rejects is not None:
        check_output(rejects, model)
        if rejects == Path(out):
            raise OutputError(f"--out and --rejects are both '{out}'; choose another path for one of them")
    written = [path for path in (Path(out), rejects) if path is not None and path.suffix.lower() in ENDINGS]
    for path in written:
        for source in filter(None, read):
            if path.is_file():
                check_not_read(path, source)


def _audience(
    recommender: Recommender,
    everybody: bool,
    times: bool,
    users: str | None,
    histories: str | None,
    histories_table: str | None,
    histories_query: str | None,
    user_column: str | None,
    item_column: str | None,
    inputs: str | None,
) -> Audience:
    from recae.scoring.audience import every_user, new_histories, some_users

    if users is not None:
        return some_users(recommender, users, user_column, everybody)
    if histories is None:
        return every_user(recommender)
    from recae.reading import ReadOptions
    from recae.reading.options import split_inputs

    options = ReadOptions(
        query=histories_query,
        table=histories_table,
        user_column=user_column,
        item_column=item_column,
        inputs=None if inputs is None else split_inputs(inputs),
    )
    return new_histories(recommender, histories, options, everybody, times)


def _report(rejected: pa.Table, unknown: list[str], path: Path | None) -> None:
    """Say what is unknown, by reason, and keep it where that is asked for."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from recae.ids import shown
    from recae.scoring.audience import NO_ITEM, REJECTS, rejects
    from recae.tables import write_table

    if unknown:
        named = rejects((pa.array(unknown, pa.string()), f"{NO_ITEM}, named by a rule"))
        rejected = pa.concat_tables([rejected, named])
    for reason in pc.unique(rejected["reason"]).to_pylist():
        ids = rejected.filter(pc.equal(rejected["reason"], reason))["id"]
        examples = ", ".join(map(shown, ids[:_NAMED].to_pylist()))
        message(f"{len(ids):,} left out ({reason}): {examples}{', …' if len(ids) > _NAMED else ''}")
    if path is not None:
        write_table(path, REJECTS, rejected.to_batches())


def _shown(out: str) -> str:
    from recae.reading import hide_password

    return hide_password(out)
