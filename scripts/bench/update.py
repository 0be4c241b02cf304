#!/usr/bin/env python3
"""Updating a model by new purchases, beside a full training on all of them in the same run.

`retail`: Online Retail week by week. A model of what came before the last weeks is updated by each week in turn, and
measured on what the users of the week after bought for the first time. `gowalla`: of each user a part of the purchases
is held back as new, and the lists are measured on the test part of the split. Both models have the same histories,
which is checked. Differences are paired by user, with a 95 % interval; times are seconds of the processors, since the
machine may be shared, and of the clock.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from common import gowalla, report
from numpy.typing import NDArray
from pyarrow import csv

import recae
from recae import Recommender
from recae.evaluation import evaluate
from recae.interactions import Interactions
from recae.sparse import without

LAST_DAY = datetime(2011, 12, 10)  # after the last purchase of Online Retail


TEXTS = dict.fromkeys(
    (
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    ),
    pa.string(),
)


@dataclass(frozen=True)
class Timed:
    """A recommender and what it took."""

    recommender: Recommender
    processor: float
    clock: float


def timed(run: Callable[[], Recommender]) -> Timed:
    began, clock = time.process_time(), time.perf_counter()
    found = run()
    return Timed(found, time.process_time() - began, time.perf_counter() - clock)


def measured(recommender: Recommender, test: Interactions) -> dict[str, NDArray[np.float64]]:
    """Recall@20 and NDCG@20 of each user on purchases of known users and items that the history does not hold."""
    if recommender.users is None or recommender.histories is None:
        raise SystemExit("the models of this benchmark have histories")
    users, items = recommender.users, recommender.items
    rows, columns = (
        users.rows(test.users.ids(np.arange(test.n_users))),
        items.rows(test.items.ids(np.arange(test.n_items))),
    )
    found = test.matrix.tocoo()
    where = rows[found.row], columns[found.col]
    known = (where[0] >= 0) & (where[1] >= 0)
    shape = recommender.histories.shape
    ones = np.ones(int(known.sum()), np.float32)
    held_out = sp.csr_matrix((ones, (where[0][known], where[1][known])), shape=shape)
    held_out = without(held_out, recommender.histories)
    result = evaluate(recommender.model, recommender.histories, held_out, (20,))
    return {name: result.values[name] for name in ("recall@20", "ndcg@20")}


def fingerprint(recommender: Recommender) -> list[bytes]:
    """The arrays of the histories."""
    found = recommender.histories
    if found is None:
        return []
    return [np.ascontiguousarray(a, "<i8").tobytes() for a in (found.indptr, found.indices)]


def compared(name: str, updated: Timed, full: Timed, test: Interactions) -> dict[str, Any]:
    """The differences of an update from a full training, as a row of the table."""
    one, other = updated.recommender, full.recommender
    if one.users != other.users or one.items != other.items or fingerprint(one) != fingerprint(other):
        raise SystemExit("the histories of the update and of the full training differ")
    found, best = measured(one, test), measured(other, test)
    difference = found["recall@20"] - best["recall@20"]
    there = np.isfinite(difference)
    interval = 1.96 * difference[there].std() / np.sqrt(max(there.sum(), 1))
    return {
        "data": name,
        "users": int(there.sum()),
        "pairs": one.metadata["updates"]["pairs"],
        "updated recall@20": float(np.nanmean(found["recall@20"])),
        "full recall@20": float(np.nanmean(best["recall@20"])),
        "difference": float(difference[there].mean()),
        "±": float(interval),
        "ndcg@20 difference": float(np.nanmean(found["ndcg@20"] - best["ndcg@20"])),
        "update s (processor)": updated.processor,
        "full s (processor)": full.processor,
        "update s": updated.clock,
        "full s": full.clock,
        "fraction of the time": updated.processor / full.processor,
    }


def retail(weeks: int, kind: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Update by one week after the other, each a file of its own as a shop exports it, and train anew after each."""
    path = Path(os.environ.get("RECAE_DATA", ".")) / "online-retail.csv.gz"
    days = [LAST_DAY - timedelta(weeks=weeks + 1 - k) for k in range(weeks + 2)]
    every = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=TEXTS))
    model = recae.train(path, kind, until=days[0], progress=False, **settings)
    rows = []
    with TemporaryDirectory() as folder:
        for start, stop, after in zip(days, days[1:], days[2:], strict=False):
            week, until = Path(folder) / f"{stop:%Y-%m-%d}.csv", stop
            when = every.column("InvoiceDate")
            inside = pc.and_(pc.greater_equal(when, f"{start}"), pc.less(when, f"{stop}"))
            csv.write_csv(every.filter(inside), week)
            updated = timed(partial(model.update, week, take_back=False))
            full = timed(partial(recae.train, path, kind, until=until, progress=False, **settings))
            test = recae.read(path, since=stop, until=after).interactions
            rows.append(compared(f"week to {stop:%Y-%m-%d}", updated, full, test))
            click.echo(rows[-1], err=True)
            model = updated.recommender
    return rows


def split(users: int, part: float, kind: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Update by a part of the purchases of some users of Gowalla, and train on all of them."""
    matrix = gowalla()
    test = sp.csr_matrix(sp.load_npz(Path(os.environ["RECAE_DATA"]) / "gowalla" / "test.npz"))
    taken = np.arange(0, matrix.shape[0], max(matrix.shape[0] // users, 1))

    def table(entries: sp.csr_matrix, chosen: NDArray[np.bool_] | None = None) -> pa.Table:
        coo = sp.csr_matrix(entries[taken]).tocoo()
        chosen = np.ones(coo.nnz, np.bool_) if chosen is None else chosen
        return pa.table(
            {"user": [f"u{u}" for u in coo.row[chosen]], "item": [f"i{i}" for i in coo.col[chosen]]}
        )

    old = np.random.default_rng(0).random(sp.csr_matrix(matrix[taken]).nnz) >= part
    model = recae.train(table(matrix, old), kind, progress=False, **settings)
    updated = timed(lambda: model.update(table(matrix, ~old)))
    full = timed(lambda: recae.train(table(matrix), kind, progress=False, **settings))
    return [compared(f"Gowalla, {taken.size:,} users", updated, full, recae.read(table(test)).interactions)]


@click.command()
@click.argument("data", type=click.Choice(["retail", "gowalla"]))
@click.option("--kind", default="blend", show_default=True)
@click.option(
    "--weeks", default=4, show_default=True, help="Of Online Retail, the last but one being the last update."
)
@click.option("--users", default=30_000, show_default=True, help="Of Gowalla, at equal distances.")
@click.option("--part", default=0.05, show_default=True, help="Of Gowalla's purchases that are new.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=NUMBER", help="A setting of the kind.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(
    data: str, kind: str, weeks: int, users: int, part: float, assignments: tuple[str, ...], out: Path | None
) -> None:
    settings = {name: int(value) for name, _, value in (text.partition("=") for text in assignments)}
    rows = retail(weeks, kind, settings) if data == "retail" else split(users, part, kind, settings)
    report(f"update {data}, {kind}", rows, out)


if __name__ == "__main__":
    main()
