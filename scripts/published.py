#!/usr/bin/env python3
"""Repeats published tables: recae's figures beside the published ones, on the published data and splits.

\b
  published.py lightgcn --data gowalla --kind popularity --kind ease
  published.py mult-vae --data ml-20m --from ml-20m.zip --json
  published.py mult-vae --data netflix --from training_set

\b
mult-vae  Liang et al. 2018: ML-20M and Netflix (ratings of 4 and 5, users of 5 items or more) and MSD (songs of
          200 users or more, then users of 20 songs or more). 10,000, 40,000 and 50,000 users are tested, as many
          are to choose on; a fifth of the items of each is to be found from the rest. The model has learned from
          neither, and only items of the users that it learned from count. The draws are those of the authors' code,
          made again with its generator and seed. Recall@20 and Recall@50, divided by min(k, held out), and NDCG@100.
lightgcn  He et al. 2020: Gowalla, Yelp2018 and Amazon-Book, parted as published in train.txt and test.txt.
          Recall@20, divided by the number held out, and NDCG@20, among all items that the user has not in
          train.txt. There are no users to choose on: all epochs are run, and the test part chooses nothing.

Each kind runs once, with the published settings where they are known and recae has them, else at its defaults, or as
--set says. The interval is the 95 % percentile bootstrap interval of the mean over the test users; "covered" says
whether the published figure lies in it. It tells how far other users of the same kind might change a mean, not how
far another implementation might: ItemKNN and MF-BPR of the LightGCN tables have another formula and another training
than recae's, and spectral takes a straight line for ChebyCF's filter beyond the main directions. A figure with * was
not compared with another copy of the table when this script was written.

Data are downloaded from their publisher into --cache and checked, where the terms allow it, else taken from --from:
the published file, a folder or archive that holds it, or for the LightGCN splits a folder with train.npz and
test.npz. An interrupted download goes on where it was. Archives are read where they lie, and nothing is unpacked.

stdout carries the table, one line a kind and metric, or with --json one object of table, data, source, terms, users,
items, interactions, counts_as_published (whether their numbers are the published ones), test_users, rows (kind, name,
settings, seconds, peak_bytes, which is the most memory held until then, and figures of metric, mean, low, high,
published, difference, covered, source, compared; or error) and others (published figures of models that recae does
not have). stderr carries messages. Exit codes: 0 done, 2 an error or a kind that failed, 130
interrupted.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for those who load this file by its path
from published_data import READERS, Lists
from published_download import default_cache, fetch
from published_split import Pair, Split, strong_split
from published_tables import CHOICE, DATASETS, KINDS, METRICS, Dataset, Figure
from recall_at_k import say_epoch
from recall_data import say

from recae.cli.output import print_table
from recae.errors import ConfigError, RecaeError
from recae.evaluation import bootstrap_mean, evaluate
from recae.kinds import known
from recae.machine import peak_memory
from recae.models import Model
from recae.selection.baselines import parse_assignments
from recae.selection.fit import fit_settings, make_settings
from recae.settings import choose_kind
from recae.training.callbacks import Hooks

HEAD = ["model", "published as", "metric", "ours", "95 %", "published", "difference", "covered", "source"]
FITTABLE = [row.name for row in known().values() if row.model and not row.needs_repeats]


@click.command(help=__doc__, context_settings={"max_content_width": 124})
@click.argument("table", type=click.Choice(list(KINDS)))
@click.option("--data", required=True, type=click.Choice(list(DATASETS)), help="The data set.")
@click.option(
    "--from", "local", type=click.Path(path_type=Path), metavar="PATH", help="A local copy of the data."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="For downloads; default $XDG_CACHE_HOME/recae or ~/.cache/recae.",
)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Kind of model to run; repeatable.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KIND.KEY=VALUE", help="Setting of a kind; repeatable."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the models.")
@click.option("--json", "as_json", is_flag=True, help="The table as one JSON object.")
def main(*, as_json: bool, **options: Any) -> None:
    """Runs `repeat` and prints the table, or the error in one line."""
    try:
        results = repeat(**options)
    except RecaeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        print_table(HEAD, lines(results), title=f"{results['table']}, {results['data']}", right=HEAD[3:7])
    if any("error" in row for row in results["rows"]):
        sys.exit(2)


def repeat(
    *,
    table: str,
    data: str,
    local: Path | None,
    cache: Path | None,
    kinds: Sequence[str],
    assignments: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Reads, parts, fits and measures; what it returns is what --json prints."""
    dataset = DATASETS[data]
    if dataset.table != table:
        others = ", ".join(name for name, other in DATASETS.items() if other.table == table)
        raise ConfigError(f"the table {table} has no data set '{data}'; choose one of {others}")
    names = list(dict.fromkeys(choose_kind(kind, FITTABLE) for kind in kinds or KINDS[table]))
    given = parse_assignments(assignments, names)
    settings = {
        kind: {"seed": seed, **dataset.settings.get(kind, {}), **given.get(kind, {})} for kind in names
    }
    configs = {kind: make_settings(kind, values) for kind, values in settings.items()}
    paths = [local] if local is not None else download(data, dataset, cache or default_cache())
    read = READERS[dataset.layout](*paths)
    split = (
        of_lists(read) if isinstance(read, Lists) else strong_split(read, dataset.held_out, dataset.at_least)
    )
    as_published = compare_counts(dataset, split.counts)
    rows = [run(kind, configs[kind], settings[kind], split, dataset) for kind in names]
    return {
        "table": table,
        "data": data,
        "source": [str(path) for path in paths],
        "terms": dataset.terms,
        "users": split.counts[0],
        "items": split.counts[1],
        "interactions": split.counts[2],
        "counts_as_published": as_published,
        "test_users": split.test[0].shape[0],
        "rows": rows,
        "others": [published(figure, table) for figure in dataset.others],
    }


def download(data: str, dataset: Dataset, cache: Path) -> list[Path]:
    """The files of a data set in the cache; ConfigError for one that may not be downloaded."""
    if not dataset.remotes:
        raise ConfigError(f"{data} cannot be downloaded: {dataset.terms}; give your own copy with --from")
    say(f"note: {dataset.terms}")
    return [fetch(remote, cache, say) for remote in dataset.remotes]


def of_lists(lists: Lists) -> Split:
    """The given parts as a split without users to choose on."""
    nobody: Pair = lists.train[:0], lists.train[:0]
    counts = *lists.train.shape, int(lists.train.nnz + lists.test.nnz)
    return Split(lists.train, nobody, (lists.train, lists.test), counts)


def compare_counts(dataset: Dataset, counts: tuple[int, int, int]) -> bool:
    """Whether the data have the published numbers of users, items and interactions; says so where they have not.

    Where no checksum is published, this is what tells that the data are the published ones.
    """
    unit = dataset.rounded or 1
    found = *counts[:2], round(counts[2] / unit) * unit
    if found != dataset.counts:
        said = [
            "{:,} users, {:,} items and {:,} interactions".format(*each) for each in (counts, dataset.counts)
        ]
        say(f"warning: these are {said[0]}, but published are {said[1]}; the figures cannot be compared")
    return found == dataset.counts


def run(
    kind: str, config: Any, settings: Mapping[str, Any], split: Split, dataset: Dataset
) -> dict[str, Any]:
    """The row of a kind: fitted and measured, with the published figures beside; with "error" if it failed."""
    say(f"{kind}: {', '.join(f'{key}={value}' for key, value in settings.items())}")
    figure = dataset.figures.get(kind)
    row = {"kind": kind, "name": None if figure is None else figure.name, "settings": dict(settings)}
    started = time.perf_counter()
    try:
        model = fit(kind, config, split, CHOICE[dataset.table])
    except RecaeError as error:
        say(f"{kind} failed: {error}")
        return {**row, "error": str(error)}
    seconds = time.perf_counter() - started
    metrics = METRICS[dataset.table]
    found = evaluate(model, *split.test, lengths(metrics.values()))
    values = [None] * len(metrics) if figure is None else figure.values
    figures = []
    for (metric, name), value in zip(metrics.items(), values, strict=True):
        interval = bootstrap_mean(found.values[name])
        figures.append(
            {
                "metric": metric,
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "published": value,
                "difference": None if value is None else interval.mean - value,
                "covered": None if value is None else bool(interval.low <= value <= interval.high),
                "source": None if figure is None else figure.source,
                "compared": None if figure is None else figure.compared,
            }
        )
    said, peak = ", ".join(f"{each['metric']} {each['mean']:.4f}" for each in figures), peak_memory()
    say(f"{kind}: {said} after {seconds:.0f} s, {peak / 2**30:.1f} GiB at most")
    return {**row, "seconds": seconds, "peak_bytes": peak, "figures": figures}


def fit(kind: str, config: Any, split: Split, choice: str) -> Model:
    """A model of what is learned from, its epochs chosen by `choice` where there are users to choose on."""
    if not split.validation[0].shape[0]:
        return fit_settings(kind, config, split.train, hooks=Hooks(on_epoch=say_epoch, on_message=say)).model

    def quality(model: Model) -> float:
        return evaluate(model, *split.validation, lengths([choice])).mean(choice)

    hooks = Hooks(validate=quality, on_epoch=say_epoch, on_message=say)
    return fit_settings(kind, config, split.train, split.validation, hooks).model


def lengths(names: Any) -> tuple[int, ...]:
    """The k of names such as ndcg@100."""
    return tuple(sorted({int(name.partition("@")[2]) for name in names}))


def published(figure: Figure, table: str) -> dict[str, Any]:
    """A published figure of a model that recae does not have."""
    values = dict(zip(METRICS[table], figure.values, strict=True))
    return {"name": figure.name, "figures": values, "source": figure.source, "compared": figure.compared}


def lines(results: Mapping[str, Any]) -> list[list[str]]:
    """The table, one line a model and metric; what recae does not have comes last."""

    def digits(value: float | None, form: str = ".4f") -> str:
        return "–" if value is None else f"{value:{form}}"

    table = []
    for row in results["rows"]:
        if "error" in row:
            table.append([row["kind"], row["name"] or "–", *["–"] * 6, f"failed: {row['error']}"])
            continue
        for each in row["figures"]:
            star = "" if each["compared"] in (True, None) else "*"
            table.append(
                [
                    row["kind"],
                    row["name"] or "–",
                    each["metric"],
                    digits(each["mean"]),
                    f"[{digits(each['low'])}, {digits(each['high'])}]",
                    digits(each["published"]) + star,
                    digits(each["difference"], "+z.4f"),
                    {True: "yes", False: "no", None: "–"}[each["covered"]],
                    each["source"] or "–",
                ]
            )
    for other in results["others"]:
        table += [
            ["–", other["name"], metric, "–", "–", digits(value), "–", "–", other["source"]]
            for metric, value in other["figures"].items()
        ]
    return table


if __name__ == "__main__":
    main()
