#!/usr/bin/env python3
"""Every model on one data set, side by side: accuracy with intervals, seconds and memory.

\b
  compare.py purchases.csv
  compare.py purchases.csv --protocol time --cut 2011-11-09 --markdown
  compare.py purchases.csv --kinds popularity,itemknn,als,sigmoid --set sigmoid.factors=256 --cache rows

DATA is a table of purchases, or with --protocol matrices a folder with train.npz and test.npz (users × items).

\b
  users        10 % of the users are kept to measure on and 10 % to choose on, the same as by `recae train`; of each of
               them a fifth of the items is to be found from the rest.
  time         what was bought from --cut on (default: in the last 30 days), of users with earlier purchases.
  last-basket  the last baskets of 10 % of the users; what they own may be in the lists.
  matrices     test.npz, from the rows of train.npz.

With time and matrices, a fifth of the items of 10 % of the users is taken out of the training part to choose on.
Baselines (popularity, frequency, itemknn, als, bpr) are tuned on these validation users, over the grids in this file;
the other kinds run at their defaults, or as --set says, and use the validation users for early stopping. The table says
how many settings each kind tried. The best baseline is the one with the best validation NDCG@20.

Intervals are percentile bootstrap intervals of the mean over test users; the difference to the best baseline is paired,
user by user, with a two-sided p-value. Each kind runs in a process of its own: its peak memory is its own, with Python
and the libraries; seconds are those of fitting the chosen settings once. A kind that fails leaves a line with the
reason.

stdout carries the table (--markdown, --json), stderr messages. With --cache FOLDER each finished row is kept in a file
by kind, settings, data and version, and an interrupted run goes on where it was. Exit codes: 0 done, 2 an error or a
kind that failed, 130 interrupted.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for those who load this file by its path
from compare_data import PROTOCOLS, Task, read_task
from compare_table import METRICS, add_statistics, table
from recall_at_k import peak_memory
from recall_data import say

from recae.errors import ConfigError, RecaeError
from recae.evaluation import evaluate
from recae.training.hooks import Hooks
from recae.training.settings import choose_kind, parse_settings
from recae.workflow.fitting import CONFIGS, fit_kind, make_config

BASELINES = ("popularity", "frequency", "itemknn", "als", "bpr")
GRIDS: dict[str, dict[str, Sequence[Any]]] = {
    "itemknn": {"k": (5, 10, 20, 50, 100, 200)},
    "als": {"factors": (128, 256), "regularization": (10.0, 50.0), "alpha": (3.0, 10.0)},
    "bpr": {"factors": (64, 128), "regularization": (0.01, 0.03)},
}


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--protocol", type=click.Choice(PROTOCOLS), default="users", show_default=True)
@click.option(
    "--cut", metavar="DATE", help="With --protocol time: ISO date or time, UTC unless it says otherwise."
)
@click.option("--kinds", metavar="A,B", help="Kinds to compare; default all.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KIND.KEY=VALUE", help="Setting of a kind; repeatable."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of who is held out and of the models.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), help="Folder for finished rows.")
@click.option("--user-column", help="Column of a table, where it is not recognised by its name.")
@click.option("--item-column", help="Likewise.")
@click.option("--time-column", help="Likewise.")
@click.option("--quantity-column", help="Likewise.")
@click.option("--markdown", is_flag=True, help="The table as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="The table as one JSON object.")
@click.option("--worker", type=click.Path(path_type=Path), hidden=True, help="One row, as a job file says.")
def main(*, worker: Path | None, markdown: bool, as_json: bool, **options: Any) -> None:
    """Runs `compare` and prints the table, or the error in one line."""
    try:
        if worker is not None:
            work(worker)
            return
        results = compare(**options)
    except RecaeError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    click.echo(json.dumps(results, indent=2) if as_json else table(results, markdown))
    if any("error" in row for row in results["rows"]):
        sys.exit(2)


def compare(
    *,
    data: Path | None,
    protocol: str,
    kinds: str | None,
    assignments: Sequence[str],
    seed: int,
    cache: Path | None,
    **options: str | None,
) -> dict[str, Any]:
    """Holds out, runs each kind in a process of its own, compares; what it returns is what --json prints."""
    if data is None:
        raise ConfigError(
            "nothing to compare on: give a table of purchases, or a folder with --protocol matrices"
        )
    names = choose_kinds(kinds, protocol)
    given = parse_sets(assignments, names)
    task = read_task(data, protocol, seed=seed, **options)
    trials = {kind: make_trials(kind, given[kind], seed, task.decay) for kind in names}
    with tempfile.TemporaryDirectory() as folder:
        task.save(Path(folder))
        rows = [cached_row(kind, trials[kind], task, Path(folder), cache) for kind in names]
    add_statistics(rows, BASELINES)
    return {
        "data": data.name,
        "protocol": task.rule,
        "users": task.fit.shape[0],
        "items": task.fit.shape[1],
        "interactions": int(task.fit.nnz),
        "test_users": task.test[0].shape[0],
        "rows": rows,
    }


def choose_kinds(kinds: str | None, protocol: str) -> list[str]:
    """The kinds named, or all that suit the protocol, baselines first; ConfigError for an unknown one."""
    if kinds is None:
        others = [kind for kind in CONFIGS if kind not in (*BASELINES, "auto")]
        return [
            k for k in BASELINES if k in CONFIGS and (k != "frequency" or protocol == "last-basket")
        ] + others
    return list(dict.fromkeys(choose_kind(kind.strip(), CONFIGS) for kind in kinds.split(",")))


def parse_sets(assignments: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """{kind: {key: value}} of texts "kind.key=value"; ConfigError on any doubt."""
    texts: dict[str, list[str]] = {kind: [] for kind in names}
    for assignment in assignments:
        kind, dot, rest = assignment.partition(".")
        if not dot or "=" in kind:
            raise ConfigError(f"--set takes kind.key=value, as in sigmoid.factors=256, found '{assignment}'")
        texts[choose_kind(kind, names)].append(rest)
    return {kind: parse_settings(CONFIGS[kind], kind, found, kinds=CONFIGS) for kind, found in texts.items()}


def make_trials(kind: str, given: Mapping[str, Any], seed: int, decay: float | None) -> list[dict[str, Any]]:
    """The settings that a kind tries, each checked; a setting that is given is not searched."""
    grid = {key: values for key, values in GRIDS.get(kind, {}).items() if key not in given}
    fixed: dict[str, Any] = {"seed": seed}
    if decay is not None and kind == "frequency":
        fixed["decay"] = decay
    elif decay is not None and kind == "blend" and "frequency" in given.get("components", "frequency"):
        fixed["frequency.decay"] = decay
    fixed |= given
    trials = [{**fixed, **dict(zip(grid, point, strict=True))} for point in product(*grid.values())]
    for trial in trials:
        make_config(kind, trial)
    return trials


def cached_row(
    kind: str, trials: list[dict[str, Any]], task: Task, folder: Path, cache: Path | None
) -> dict[str, Any]:
    """The row of a kind: kept from an earlier run, or fitted and measured now; one with "error" if that failed."""
    job = {
        "kind": kind,
        "trials": trials,
        "exclude_owned": task.exclude_owned,
        "decay": task.decay,
        "rule": task.rule,
    }
    identity = {**job, "data": task.fingerprint, "recae": version("recae")}
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    kept = None if cache is None else cache / f"{kind}-{name}.json"
    if kept is not None and kept.is_file():
        try:
            row: dict[str, Any] = json.loads(kept.read_text())
        except ValueError:
            say(f"'{kept}' cannot be read; {kind} is fitted again")
        else:
            say(f"{kind}: kept from an earlier run")
            return row
    say(f"{kind}: {len(trials)} settings to try" if len(trials) > 1 else kind)
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, __file__, "--worker", str(path)], stderr=subprocess.PIPE, text=True
    )
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        reason = (
            lines[-1].removeprefix("error: ")
            if lines and done.returncode > 0
            else f"signal {-done.returncode}"
        )
        say(f"{kind} failed: {reason}")
        return {"kind": kind, "trials": len(trials), "error": reason}
    row = json.loads(path.with_suffix(".row").read_text())
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(row))
        part.replace(kept)
    return row


def work(path: Path) -> None:
    """Fits the best of a job's trials, measures it, and writes the row beside the job file."""
    job = json.loads(path.read_text())
    task = Task.load(path.parent, job["exclude_owned"], job["decay"], job["rule"])
    best: tuple[float, Any, float] | None = None
    for values in job["trials"]:
        started = time.perf_counter()
        model, _ = fit_kind(
            job["kind"], values, task.fit, task.validation, Hooks(), exclude_owned=task.exclude_owned
        )
        seconds = time.perf_counter() - started
        chosen = evaluate(model, *task.validation, (20,), exclude_owned=task.exclude_owned).mean("ndcg@20")
        if best is None or chosen > best[0]:
            best = chosen, model, seconds
    if best is None:
        raise ConfigError("there is no setting to try")
    found = evaluate(best[1], *task.test, (20,), exclude_owned=task.exclude_owned)
    row = {
        "kind": job["kind"],
        "config": best[1].config(),
        "trials": len(job["trials"]),
        "validation_ndcg@20": best[0],
        "seconds": best[2],
        "peak_memory_bytes": own_peak_memory(),
        "by_user": {
            name: [None if np.isnan(v) else float(v) for v in found.values[name]] for name in METRICS
        },
    }
    path.with_suffix(".row").write_text(json.dumps(row))


def own_peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path(
        "/proc/self/status"
    )  # Linux counts what the starting process held into ru_maxrss, but not here
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else peak_memory()


if __name__ == "__main__":
    main()
