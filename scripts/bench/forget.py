#!/usr/bin/env python3
"""Forgetting customers, beside a training of the same model without them in the same run.

`retail` is Online Retail, `gowalla` the training part of the Gowalla split, and `large` made-up purchases of a million
customers. A model file is written, and one customer, then a hundred, are taken out of it, as `recae forget` does: with
reading, solving again and writing. That the parts in closed form are then those of a training without the customers
is shown in tests/test_forget.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import scipy.sparse as sp
from common import gowalla, machine, peak_mib, report, synthetic

import recae
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.modelfile import save
from recae.updating.removal import remove


def purchases_of(data: str) -> Interactions:
    if data == "retail":
        return recae.read(Path(os.environ["RECAE_DATA"]) / "online-retail.csv.gz").interactions
    matrix = gowalla() if data == "gowalla" else synthetic(1_000_000, 20_000, 20)
    users = IdMap([f"u{row:07d}" for row in range(matrix.shape[0])])
    items = IdMap([f"i{column:05d}" for column in range(matrix.shape[1])])
    counts = np.ones(matrix.nnz, np.int32)
    return Interactions(sp.csr_matrix(matrix), users, items, times=None, counts=counts)


def without(purchases: Interactions, users: list[str]) -> Interactions:
    gone = purchases.users.rows(users)
    others = np.setdiff1d(np.arange(purchases.n_users), gone)
    items = np.unique(sp.csr_matrix(purchases.matrix[others]).indices)
    return purchases.subset(others, items)


@click.command()
@click.argument("data", type=click.Choice(["retail", "gowalla", "large"]))
@click.option("--kind", default="blend", show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(data: str, kind: str, out: Path | None) -> None:
    """Forget customers of DATA and train without them."""
    purchases = purchases_of(data)
    rows = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.recae"
        since = time.perf_counter()
        save(recae.train(purchases, kind, progress=False), path)
        trained = time.perf_counter() - since
        every = purchases.users.ids(np.arange(purchases.n_users)).to_pylist()
        for number in (1, 100):
            gone = [every[row] for row in np.linspace(0, len(every) - 1, number + 2, dtype=int)[1:-1]]
            clock, processor = time.perf_counter(), time.process_time()
            found = remove(path, gone, out=Path(folder) / "left.recae")
            took, used = time.perf_counter() - clock, time.process_time() - processor
            clock = time.perf_counter()
            recae.train(without(purchases, gone), kind, progress=False)
            anew = time.perf_counter() - clock
            rows.append(
                {
                    "data": f"{data}, {kind}",
                    "customers": number,
                    "forget s": took,
                    "forget s (processor)": used,
                    "training without s": anew,
                    "times as fast": anew / took,
                    "solved again": ", ".join(found.model.solved) if found.model else "",
                    "stays": ", ".join(found.model.remembering) if found.model else "",
                    "file MiB": (Path(folder) / "left.recae").stat().st_size / 2**20,
                    "peak MiB": peak_mib(),
                }
            )
            click.echo(rows[-1], err=True)
    click.echo(f"the first training took {trained:.1f} s; {machine()}", err=True)
    report(f"forget {data}, {kind}", rows, out)


if __name__ == "__main__":
    main()
