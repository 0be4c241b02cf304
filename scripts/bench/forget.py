#!/usr/bin/env python3
"""Forgetting customers, beside a training of the same model without them in the same run: seconds and MiB.

`retail` is Online Retail, `gowalla` the training part of the Gowalla split, `ml20m` made-up purchases in the shape of
MovieLens 20M, and `large` such of a million customers. A model file is written, and one customer, then a hundred, are
taken out of it, as `recae forget` does: with reading, solving again and writing. Each runs in a process of its own,
whose peak memory is that of this work alone. That the parts in closed form are then those of a training without the
customers is shown in tests/test_forget.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from common import gowalla, machine, peak_mib, report, synthetic

import recae
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.modelfile import load, save
from recae.updating.removal import remove

SHAPES = {
    "ml20m": (138_493, 26_744, 144),
    "large": (1_000_000, 20_000, 20),
}  # users, items, purchases of each


def purchases_of(data: str) -> Interactions:
    if data == "retail":
        return recae.read(Path(os.environ["RECAE_DATA"]) / "online-retail.csv.gz").interactions
    matrix = gowalla() if data == "gowalla" else synthetic(*SHAPES[data])
    users = IdMap([f"u{row:07d}" for row in range(matrix.shape[0])])
    items = IdMap([f"i{column:05d}" for column in range(matrix.shape[1])])
    counts = np.ones(matrix.nnz, np.int32)
    return Interactions(sp.csr_matrix(matrix), users, items, times=None, counts=counts)


def without(purchases: Interactions, users: list[str]) -> Interactions:
    gone = purchases.users.rows(users)
    others = np.setdiff1d(np.arange(purchases.n_users), gone)
    items = np.unique(sp.csr_matrix(purchases.matrix[others]).indices)
    return purchases.subset(others, items)


def train(data: str, kind: str, path: Path, gone: list[str]) -> dict[str, Any]:
    purchases = purchases_of(data)
    if gone:
        purchases = without(purchases, gone)
    since = time.perf_counter()
    save(recae.train(purchases, kind, progress=False), path)
    return {"seconds": time.perf_counter() - since, "pairs": int(purchases.matrix.nnz)}


def forget(path: Path, gone: list[str]) -> dict[str, Any]:
    since = time.perf_counter()
    found = remove(path, gone, out=path.with_name("left.recae")).model
    seconds = time.perf_counter() - since
    if found is None:
        raise SystemExit("the model did not know the customers")
    return {"seconds": seconds, "solved": list(found.solved), "stays": list(found.remembering)}


def in_a_process(*work: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--work", *work], stdout=subprocess.PIPE, check=True
    )  # itself
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@click.command()
@click.argument("data", type=click.Choice(["retail", "gowalla", *SHAPES]))
@click.option("--kind", default="blend", show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(data: str, kind: str, out: Path | None) -> None:
    """Forget customers of DATA and train without them."""
    rows = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.recae"
        first = in_a_process("train", data, kind, str(path), "[]")
        known = load(path).users
        if known is None:
            raise SystemExit("the model holds no customers")
        places = np.linspace(0, len(known) - 1, 102, dtype=int)[1:-1]
        for number in (1, 100):
            chosen = places[50:51] if number == 1 else places
            gone = json.dumps(known.ids(chosen).to_pylist())
            found = in_a_process("forget", str(path), gone)
            anew = in_a_process("train", data, kind, str(Path(folder) / "anew.recae"), gone)
            rows.append(
                {
                    "data": f"{data}, {first['pairs']:,} pairs, {kind}",
                    "customers": number,
                    "forget s": found["seconds"],
                    "forget MiB": round(found["MiB"]),
                    "training s": anew["seconds"],
                    "training MiB": round(anew["MiB"]),
                    "times as fast": anew["seconds"] / found["seconds"],
                    "solved again": ", ".join(found["solved"]),
                    "stays": ", ".join(found["stays"]),
                    "file MiB": path.stat().st_size / 2**20,
                }
            )
            click.echo(rows[-1], err=True)
    click.echo(f"the first training took {first['seconds']:.1f} s; {machine()}", err=True)
    report(f"forget {data}, {kind}", rows, out)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        what, *given = sys.argv[2:]
        *words, customers = given
        if what == "train":
            result = train(words[0], words[1], Path(words[2]), json.loads(customers))
        else:
            result = forget(Path(words[0]), json.loads(customers))
        print(json.dumps({**result, "MiB": peak_mib()}))
    else:
        main()
