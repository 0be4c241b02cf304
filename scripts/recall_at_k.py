#!/usr/bin/env python3
"""Recall@k and NDCG@k of one configuration of a model, on a pair of sparse matrices or on a table of purchases.

\b
  recall_at_k.py --train train.npz --test test.npz -k 20
  recall_at_k.py $RECAE_DATA/gowalla --factors 512 --set learning_rate=0.03 --validate 0.2
  recall_at_k.py purchases.csv --split users --kind itemknn --set k=50 --json

DATA is a folder with train.npz and test.npz (users × items, written by scipy.sparse.save_npz; every stored value
other than zero is one interaction), or a CSV or Parquet file of purchases together with a rule, --split:

\b
  users  strong generalisation: a fifth of the users (--test-fraction) is kept from training altogether; of each
         of them a fifth of the items is held out, and the rest is folded in as the history.
  items  weak generalisation: a fifth (--test-fraction) of each user's items is held out, at random.
  last   each user's last item is held out.
  time   the model is fitted to the pairs last bought before --cut; those last bought from then on are held out.
         Users without a history before the cut are left out of the means.

Nothing held out reaches the model. Only users with something held out are evaluated, and a user of one item has
nothing held out, unless the matrices or the cut say so. Held-out items that nobody in the training part owns stay
in the denominators.

With --validate F the same configuration is fitted to the training part less a random share F of each user's items,
and evaluated on that share. The test part plays no role (test.npz is not even opened): this is the way to choose
hyper-parameters.

Definitions. For a user u, T_u is what is held out and L_u the list of the first k items by score, items of u's
history not ranked, equal scores by lower item number. Every figure is the mean over the users evaluated of

\b
  recall@k         |L_u ∩ T_u| / |T_u|             the denominator is the number held out, also where it exceeds k
  capped_recall@k  |L_u ∩ T_u| / min(k, |T_u|)
  ndcg@k           Σ_{i=1..k} [L_u(i) ∈ T_u] / log2(i+1)  divided by  Σ_{i=1..min(k, |T_u|)} 1 / log2(i+1)

stdout carries the results: one name and value a line, or with --json one object of kind, config, metrics, n_users,
training_seconds (the time to fit), seconds_per_epoch (median; null without epochs), peak_memory_bytes (of the whole
process) and data (rule, users, items, interactions, held_out). stderr carries a line an epoch and all messages. An
error is one line on stderr, exit code 2.
"""

import difflib
import json
import resource
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import click
import numpy as np
import scipy.sparse as sp

from recae.errors import ConfigError, DataError, RecaeError, SourceError
from recae.evaluation import evaluate
from recae.ingest import read_with_report
from recae.models import ItemKNN, Model, Popularity
from recae.splits import fold_in_split, hold_out_users, leave_last_out, split_by_time
from recae.training import Epoch, SigmoidConfig, train_sigmoid

FRACTION = 0.2  # of the users or of a user's items, held out for testing
SETTINGS: dict[str, dict[str, Any]] = {
    "sigmoid": get_type_hints(SigmoidConfig),
    "itemknn": {"k": int, "weighting": str},
    "popularity": {},
}
TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    int | None: "a whole number or 'none'",
    float | None: "a number or 'none'",
}


@dataclass(frozen=True)
class Task:
    """What the model is fitted to, (U, I), and what it is asked: histories and held-out items, (B, I) both."""

    fit: sp.csr_matrix
    histories: sp.csr_matrix
    held_out: sp.csr_matrix
    rule: str


@click.command(help=__doc__, context_settings={"max_content_width": 118})
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--train", type=click.Path(path_type=Path), help="Training matrix, .npz.")
@click.option("--test", type=click.Path(path_type=Path), help="Matrix of held-out items, .npz.")
@click.option("--split", type=click.Choice(["users", "items", "last", "time"]), help="Rule for a table.")
@click.option("--test-fraction", type=float, help=f"With --split users or items; default {FRACTION}.")
@click.option(
    "--cut", metavar="DATE", help="With --split time: ISO date or time, UTC unless it says otherwise."
)
@click.option("--user-column", help="Column of a table, where it is not recognised by its name.")
@click.option("--item-column", help="Likewise.")
@click.option("--time-column", help="Likewise.")
@click.option("--quantity-column", help="Likewise.")
@click.option("--validate", type=float, metavar="F", help="Evaluate on this share of the training items.")
@click.option(
    "--split-seed", type=click.IntRange(min=0), default=0, help="Of random splits; --seed is the model's."
)
@click.option("--kind", default="sigmoid", show_default=True, help=f"Model: {', '.join(SETTINGS)}.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Setting of the model; repeatable."
)
@click.option("--factors", metavar="INTEGER", help="Same as --set factors=…")
@click.option("--epochs", metavar="INTEGER", help="Same as --set epochs=…")
@click.option("--seed", metavar="INTEGER", help="Same as --set seed=…")
@click.option(
    "-k", "ks", type=int, multiple=True, default=(10, 20, 50), show_default=True, help="Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Results as one JSON object.")
def main(**options: Any) -> None:
    """Runs `measure` and prints the results, or the error in one line."""
    try:
        results = measure(**options)
    except RecaeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(json.dumps(results, indent=2) if options["as_json"] else table(results))


def measure(
    *,
    kind: str,
    assignments: Sequence[str],
    factors: str | None,
    epochs: str | None,
    seed: str | None,
    ks: Sequence[int],
    validate: float | None,
    split_seed: int,
    as_json: bool,
    **data: Any,
) -> dict[str, Any]:
    """Reads, holds out, fits, evaluates; what it returns is what --json prints."""
    del as_json
    common = {"factors": factors, "epochs": epochs, "seed": seed}
    given = [f"{key}={value}" for key, value in common.items() if value is not None]
    fit = fitter(kind, parse_settings(kind, [*given, *assignments]))
    if min(ks) < 1:
        raise ConfigError(f"-k is the length of a list and at least 1, but is {min(ks)}: give 1 or more")

    # three words: training draws from [seed, 0], [seed, 1], ..., and no split should repeat one of those
    rng = np.random.default_rng([split_seed, 0, 1])
    task = read_task(rng=rng, need_test=validate is None, **data)
    if validate is not None:
        history, held_out = fold_in_split(task.fit, validate, rng=rng)
        task = Task(history, history, held_out, f"validate {validate:g} of the training part of {task.rule}")
    check_task(task)

    started = time.perf_counter()
    model, history_of_epochs = fit(task.fit)
    training_seconds = time.perf_counter() - started
    evaluation = evaluate(model, task.histories, task.held_out, ks)
    seconds = [epoch.seconds for epoch in history_of_epochs]
    return {
        "kind": kind,
        "config": model.config(),
        "metrics": evaluation.means,
        "n_users": evaluation.n_users,
        "training_seconds": training_seconds,
        "seconds_per_epoch": statistics.median(seconds) if seconds else None,
        "peak_memory_bytes": peak_memory(),
        "data": {
            "rule": task.rule,
            "users": task.fit.shape[0],
            "items": task.fit.shape[1],
            "interactions": int(task.fit.nnz),
            "held_out": int(task.held_out.nnz),
        },
    }


def parse_settings(kind: str, assignments: Sequence[str]) -> dict[str, Any]:
    """{key: value} of "key=value" texts, read by the types in SETTINGS[kind]; ConfigError on any doubt."""
    if kind not in SETTINGS:
        raise ConfigError(f"there is no model of kind '{kind}' here; {choose(kind, SETTINGS)}")
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, as in --set dropout=0.4, but got '{assignment}'")
        if not SETTINGS[kind]:
            raise ConfigError(f"{kind} has no settings, but '{key}' was given; leave it out")
        if key not in SETTINGS[kind]:
            raise ConfigError(f"{kind} has no setting '{key}'; {choose(key, SETTINGS[kind])}")
        if key in settings:
            raise ConfigError(f"'{key}' is given twice; give it once")
        settings[key] = parse_value(key, text, SETTINGS[kind][key])
    return settings


def parse_value(key: str, text: str, kind: Any) -> Any:
    """`text` as a value of a setting's type, one of TYPE_NAMES."""
    choices = get_args(kind) or (kind,)  # of int | None: int and NoneType
    if NoneType in choices and text.lower() == "none":
        return None
    read = choices[0]
    try:
        return read(text)
    except ValueError:
        raise ConfigError(f"{key} is {TYPE_NAMES[kind]}, but '{text}' is given; give one") from None


def choose(name: str, known: Mapping[str, Any]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, and all of them."""
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean '{near[0]}'? " if near else "") + f"choose one of {', '.join(known)}"


def fitter(kind: str, settings: Mapping[str, Any]) -> Callable[[sp.csr_matrix], tuple[Model, list[Epoch]]]:
    """The function that fits a model to a (U, I) pattern; settings out of range are a ConfigError already here."""
    if kind == "sigmoid":
        config = SigmoidConfig(**settings)
        if "patience" in settings:
            say("note: patience has no effect here: all epochs are run, so that the last model is measured")
        return lambda matrix: train_sigmoid(matrix, config, on_epoch=say_epoch)
    if kind == "itemknn":
        return lambda matrix: (ItemKNN.fit(matrix, **settings), [])
    return lambda matrix: (Popularity.fit(matrix), [])


def read_task(
    *,
    data: Path | None,
    train: Path | None,
    test: Path | None,
    need_test: bool,
    rng: np.random.Generator,
    **table: Any,
) -> Task:
    """The task of the options: a pair of matrices, the pair in a folder, or a table with a rule."""
    if data is not None and (train is not None or test is not None):
        raise ConfigError(f"'{data}' is given beside --train or --test; give one or the other")
    if data is not None and not data.is_dir():
        if data.suffix == ".npz":
            raise ConfigError(
                f"'{data}' is one matrix; give two, as --train and --test, or the folder of both"
            )
        return read_table(data, rng=rng, **table)
    if data is not None:
        train, test = data / "train.npz", data / "test.npz"
    elif train is None:
        raise ConfigError("nothing to evaluate: give a folder, a table with --split, or --train and --test")
    if foreign := [f"--{name.replace('_', '-')}" for name, value in table.items() if value is not None]:
        raise ConfigError(f"{foreign[0]} is for tables, but matrices are given; leave it out")
    return read_pair(train, test, need_test)


def read_pair(train: Path, test: Path | None, need_test: bool) -> Task:
    """Training and test matrix of the same users and items; the test file is opened only if it is needed."""
    fit = read_matrix(train)
    if not need_test:
        return Task(fit, fit, fit[:0], "train matrix")
    if test is None:
        raise ConfigError("--train is given without --test; give --test, or --validate to do without")
    held_out = read_matrix(test)
    if fit.shape != held_out.shape:
        raise DataError(
            f"'{train}' is {fit.shape[0]:,} users × {fit.shape[1]:,} items, but '{test}' is {held_out.shape[0]:,} "
            f"× {held_out.shape[1]:,}; number users and items alike in both"
        )
    if shared := fit.multiply(held_out).nnz:
        raise DataError(
            f"{shared:,} of the {held_out.nnz:,} pairs in '{test}' are in '{train}' too, where the model would "
            "see them; take them out of one of the two"
        )
    return Task(fit, fit, held_out, "train and test matrices")


def read_matrix(path: Path) -> sp.csr_matrix:
    """The pattern of an .npz matrix: float32 ones, sorted indices, no duplicates. Never unpickles anything."""
    if not path.is_file():
        raise SourceError(
            f"there is no file '{path}'; give a sparse matrix as scipy.sparse.save_npz writes it"
        )
    if not zipfile.is_zipfile(path):
        raise SourceError(f"'{path}' is not an npz file, or cut short; write it with scipy.sparse.save_npz")
    try:
        matrix: Any = sp.load_npz(path)  # any of five formats; allow_pickle stays False
        if matrix.format != "dia" and matrix.format != "coo":  # those two are checked when they are made
            matrix.check_format(full_check=True)
        if matrix.ndim != 2 or matrix.data.dtype.kind not in "biuf":
            raise ValueError(f"{matrix.ndim} dimensions of {matrix.data.dtype}")
        if not np.isfinite(matrix.data).all():
            raise ValueError("it holds values that are not finite")
        binary = bool((matrix.data == 1).all())
        matrix.data = (matrix.data != 0).astype(np.float32)  # before duplicates are added up and might cancel
        pattern = sp.csr_matrix(matrix)
    except Exception as error:  # a broken archive, member or index raises almost anything
        if "allow_pickle" in str(error):
            raise SourceError(
                f"'{path}' holds pickled objects, which are never loaded since they can run code; "
                "write it with scipy.sparse.save_npz"
            ) from error
        reason = str(error).strip("'\"") or type(error).__name__
        raise SourceError(
            f"'{path}' is not a sparse users × items matrix of numbers ({reason}); "
            "write it with scipy.sparse.save_npz"
        ) from error
    pattern.sum_duplicates()
    pattern.eliminate_zeros()
    pattern.sort_indices()
    pattern.data[:] = 1
    if not binary:
        say(f"note: '{path}' holds values other than 1; each that is not 0 is taken as one interaction")
    return pattern


def read_table(
    path: Path,
    *,
    split: str | None,
    test_fraction: float | None,
    cut: str | None,
    rng: np.random.Generator,
    **columns: str | None,
) -> Task:
    """A table of purchases, parted by a rule."""
    if split is None:
        raise ConfigError(f"'{path}' is a table and needs a rule; give --split users, items, last or time")
    if (split == "time") != (cut is not None):
        raise ConfigError("--split time and --cut go together, as in --split time --cut 2011-11-09")
    if test_fraction is not None and split not in ("users", "items"):
        raise ConfigError(f"--test-fraction does not go with --split {split}; leave it out")
    fraction = FRACTION if test_fraction is None else test_fraction
    moment = None if cut is None else seconds_of(cut)
    interactions, report = read_with_report(path, name_column="", **columns)
    for line in report.lines():
        say(line)
    matrix = interactions.matrix
    if split == "users":
        chosen = hold_out_users(matrix.shape[0], fraction, at_most=matrix.shape[0], rng=rng)
        histories, held_out = fold_in_split(matrix[chosen], FRACTION, rng=rng)
        others = np.setdiff1d(np.arange(matrix.shape[0]), chosen)
        return Task(matrix[others], histories, held_out, f"split users {fraction:g}")
    if split == "items":
        history, held_out = fold_in_split(matrix, fraction, rng=rng)
        return Task(history, history, held_out, f"split items {fraction:g}")
    if moment is None:
        history, held_out = leave_last_out(interactions)
        return Task(history, history, held_out, "split last")
    history, held_out = split_by_time(interactions, moment)
    known = np.flatnonzero(np.diff(history.indptr))
    if new := np.count_nonzero(np.diff(held_out.indptr)) - np.count_nonzero(np.diff(held_out[known].indptr)):
        say(f"{new:,} users have no history before {cut} and are not evaluated")
    return Task(history, history[known], held_out[known], f"split time {cut}")


def seconds_of(cut: str) -> int:
    """An ISO date or time as seconds since 1970 UTC."""
    try:
        moment = datetime.fromisoformat(cut)
    except ValueError:
        raise ConfigError(f"--cut is an ISO date or time such as 2011-11-09, but '{cut}' is given") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def check_task(task: Task) -> None:
    """DataError, before any training, if there is nothing to fit or to measure; says what cannot be found."""
    if not task.fit.nnz:
        raise DataError(f"the training part has no interaction at all ({task.rule}); give one with purchases")
    if not task.held_out.nnz:
        raise DataError(f"nothing is held out ({task.rule}), so nothing can be measured; hold out more")
    owners = np.bincount(task.fit.indices, minlength=task.fit.shape[1])
    if cold := int((owners[task.held_out.indices] == 0).sum()):
        say(
            f"{cold:,} of {task.held_out.nnz:,} held-out interactions are of items that nobody in the training "
            "part owns"
        )


def say_epoch(epoch: Epoch) -> None:
    """One line on stderr."""
    say(
        f"epoch {epoch.epoch}: loss {epoch.loss:.5g}, {epoch.seconds:.2f} s, {epoch.users_per_second:,.0f} users/s"
    )


def say(line: str) -> None:
    """A line on stderr."""
    click.echo(line, err=True)


def peak_memory() -> int:
    """The most memory that the process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def table(results: Mapping[str, Any]) -> str:
    """The results as lines of name and value."""
    data, per_epoch = results["data"], results["seconds_per_epoch"]
    rows = {
        "model": results["kind"],
        "data": data["rule"],
        "fitted to": f"{data['users']:,} users × {data['items']:,} items, {data['interactions']:,} interactions",
        "held out": f"{data['held_out']:,} interactions",
        "users evaluated": f"{results['n_users']:,}",
        **{name: f"{value:.5f}" for name, value in results["metrics"].items()},
        "training": f"{results['training_seconds']:.2f} s",
        "an epoch": "-" if per_epoch is None else f"{per_epoch:.2f} s (median)",
        "peak memory": f"{results['peak_memory_bytes'] / 2**20:,.0f} MiB",
        **{f"config.{key}": str(value) for key, value in results["config"].items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


if __name__ == "__main__":
    main()
