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
intervals (with --intervals: [low, high] of each metric), training_seconds (the time to fit), seconds_per_epoch
(median; null without epochs), peak_memory_bytes (of the whole process) and data (rule, users, items, interactions,
held_out). stderr carries a line an epoch and all messages. An error is one line on stderr, exit code 2.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for those who load this file by its path
from recall_data import FRACTION, Task, check_task, read_task, say

from recae.errors import ConfigError, RecaeError
from recae.evaluation import Evaluation, evaluate
from recae.evaluation.intervals import bootstrap_mean
from recae.kinds import SETTINGS, model_kinds
from recae.selection.fit import fit_settings
from recae.settings import build_settings, choose_kind, parse_settings
from recae.splits.parts import fold_in_split
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

KINDS = {kind: SETTINGS[kind] for kind in model_kinds()}


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
@click.option("--kind", default="sigmoid", show_default=True, help=f"Model: {', '.join(KINDS)}.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Setting of the model; repeatable."
)
@click.option("--factors", metavar="INTEGER", help="Same as --set factors=…")
@click.option("--epochs", metavar="INTEGER", help="Same as --set epochs=…")
@click.option("--seed", metavar="INTEGER", help="Same as --set seed=…")
@click.option(
    "-k", "ks", type=int, multiple=True, default=(10, 20, 50), show_default=True, help="Repeatable."
)
@click.option(
    "--intervals", is_flag=True, help="Add the 95 % interval of each mean over the users (bootstrap)."
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
    intervals: bool,
    as_json: bool,
    **data: Any,
) -> dict[str, Any]:
    """Reads, holds out, fits, evaluates; what it returns is what --json prints."""
    del as_json
    common = {"factors": factors, "epochs": epochs, "seed": seed}
    given = [f"{key}={value}" for key, value in common.items() if value is not None]
    settings_class = KINDS[choose_kind(kind, KINDS)]
    settings = parse_settings(settings_class, kind, [*given, *assignments], kinds=KINDS)
    config = build_settings(kind, settings_class, settings, kinds=KINDS)
    if "patience" in settings:
        say("note: patience has no effect here: all epochs are run, so that the last model is measured")
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
    fitted = fit_settings(kind, config, task.fit, hooks=Hooks(on_epoch=say_epoch, on_message=say))
    training_seconds = time.perf_counter() - started
    model = fitted.model
    evaluation = evaluate(model, task.histories, task.held_out, ks)
    seconds = [epoch.seconds for epoch in fitted.epochs]
    return {
        "kind": kind,
        "config": model.config(),
        "metrics": evaluation.means,
        **({"intervals": intervals_of(evaluation)} if intervals else {}),
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


def intervals_of(evaluation: Evaluation) -> dict[str, list[float]]:
    """The lower and upper end of the 95 % interval of each mean."""
    found = {name: bootstrap_mean(values) for name, values in evaluation.values.items()}
    return {name: [interval.low, interval.high] for name, interval in found.items()}


def say_epoch(epoch: Epoch) -> None:
    """One line on stderr."""
    say(
        f"epoch {epoch.epoch}: loss {epoch.loss:.5g}, {epoch.seconds:.2f} s, {epoch.users_per_second:,.0f} users/s"
    )


def peak_memory() -> int:
    """The most memory that the process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def table(results: Mapping[str, Any]) -> str:
    """The results as lines of name and value."""
    data, per_epoch = results["data"], results["seconds_per_epoch"]

    def bounds(name: str) -> str:
        low, high = results.get("intervals", {}).get(name, (None, None))
        return "" if low is None else f"  [{low:.5f}, {high:.5f}]"

    rows = {
        "model": results["kind"],
        "data": data["rule"],
        "fitted to": f"{data['users']:,} users × {data['items']:,} items, {data['interactions']:,} interactions",
        "held out": f"{data['held_out']:,} interactions",
        "users evaluated": f"{results['n_users']:,}",
        **{name: f"{value:.5f}{bounds(name)}" for name, value in results["metrics"].items()},
        "training": f"{results['training_seconds']:.2f} s",
        "an epoch": "-" if per_epoch is None else f"{per_epoch:.2f} s (median)",
        "peak memory": f"{results['peak_memory_bytes'] / 2**20:,.0f} MiB",
        **{f"config.{key}": str(value) for key, value in results["config"].items()},
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


if __name__ == "__main__":
    main()
