#!/usr/bin/env python3
"""Reading a large CSV into interactions, beside pandas.read_csv + factorize + coo -> csr: seconds and peak memory.

The table is made once, in the folder given: users and items with a popularity that falls as rank^-skew, ids that look
like integers and, with --full, a time and a quantity. Each run is a process of its own; recae and the rival take turns;
the first runs of both are compared entry by entry.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from common import report

BATCH = 1_000_000  # rows made at a time


def batches(rows: int, users: int, items: int, breadth: float, full: bool) -> Iterator[pa.RecordBatch]:
    """Yield the purchases, the columns as integers."""
    rng = np.random.default_rng(0)
    ids = [rng.permutation(10 * n)[:n] + 1 for n in (users, items)]
    edges = [np.cumsum(np.arange(1, n + 1) ** -skew) for n, skew in ((users, 0.4), (items, 0.8))]
    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        user = np.searchsorted(edges[0], rng.random(n) * edges[0][-1])
        # What a user buys again and again are the first of an endless list of the user's own.
        own = np.floor(rng.exponential(breadth, n)).astype(np.uint64) + user.astype(np.uint64) * np.uint64(
            2**20
        )
        item = np.searchsorted(edges[1], even(own) * edges[1][-1])
        columns = {"user_id": ids[0][user], "item_id": ids[1][item]}
        if full:
            columns["timestamp"] = rng.integers(1_500_000_000, 1_560_000_000, n)
            columns["quantity"] = rng.geometric(0.7, n)
        yield pa.RecordBatch.from_pydict(columns)


def even(numbers: np.ndarray) -> np.ndarray:
    """One number of [0, 1) for each of uint64, the same each time, as if drawn (splitmix64)."""
    z = numbers * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) / 2.0**64


def write(path: Path, rows: int, users: int, items: int, breadth: float, full: bool) -> None:
    """Write the table as CSV, whole or not at all."""
    from pyarrow import csv

    begun = path.with_suffix(".part")
    parts = batches(rows, users, items, breadth, full)
    first = next(parts)
    with csv.CSVWriter(begun, first.schema) as writer:
        writer.write_batch(first)
        for part in parts:
            writer.write_batch(part)
    begun.rename(path)


def with_pandas(path: str) -> tuple[Any, Any, Any]:
    """The rival: users, items and matrix by pandas and scipy."""
    table = pd.read_csv(path)
    user_codes, users = pd.factorize(table["user_id"])
    item_codes, items = pd.factorize(table["item_id"])
    ones = np.ones(len(table), dtype=np.float32)
    return users, items, sp.coo_matrix((ones, (user_codes, item_codes))).tocsr()


def with_recae(path: str) -> tuple[Any, Any, Any]:
    """recae: users, items and matrix."""
    shop = read_interactions(path)
    return shop.users, shop.items, shop.matrix


def child(what: str, path: str, out: str) -> None:
    """Run one of the two, print seconds and peak MiB as JSON, and write the matrix where `out` is a path."""
    started, busy = time.perf_counter(), time.process_time()
    users, items, matrix = (with_pandas if what == "pandas" else with_recae)(path)
    took, busy = time.perf_counter() - started, time.process_time() - busy
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": took, "CPU seconds": busy, "peak MiB": peak, "pairs": int(matrix.nnz)}))
    if out:
        parts = {
            "users": np.array(list(users)).astype(np.int64),
            "items": np.array(list(items)).astype(np.int64),
        }
        np.savez(out, indptr=matrix.indptr, indices=matrix.indices, **parts)


def canonical(path: Path) -> sp.csr_matrix:
    """A child's matrix with rows and columns in the order of the ids as numbers."""
    with np.load(path) as parts:
        users, items = np.argsort(parts["users"]), np.argsort(parts["items"])
        shape = (users.size, items.size)
        ones = np.ones(parts["indices"].size, np.int8)
        matrix = sp.csr_matrix((ones, parts["indices"], parts["indptr"]), shape=shape)[users]
    place = np.empty(items.size, np.int32)
    place[items] = np.arange(items.size, dtype=np.int32)
    matrix.indices = place[matrix.indices]
    matrix.has_sorted_indices = False
    matrix.sort_indices()
    return matrix


def run(what: str, path: Path, out: Path | None) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--child", what, "--path", str(path), "--out", str(out or "")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"what": what, **json.loads(done.stdout)}


@click.command()
@click.option("--rows", default=20_000_000, show_default=True)
@click.option("--users", default=200_000, show_default=True)
@click.option("--items", default=50_000, show_default=True)
@click.option(
    "--breadth", default=30.0, show_default=True, help="About how many items a user buys most of the time."
)
@click.option("--full", is_flag=True, help="With a time and a quantity.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(tempfile.gettempdir()), show_default=True
)
@click.option("--runs", default=3, show_default=True, help="Of each, taking turns.")
@click.option("--alone", is_flag=True, help="recae without the rival, for tables that the rival cannot hold.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
@click.option("--child", hidden=True, default="")
@click.option("--path", hidden=True, default="")
@click.option("--out", "dump", hidden=True, default="")
def main(
    rows: int,
    users: int,
    items: int,
    breadth: float,
    full: bool,
    folder: Path,
    runs: int,
    alone: bool,
    out: Path | None,
    child: str,
    path: str,
    dump: str,
) -> None:
    file = folder / f"purchases-{rows}-{users}-{items}-{breadth:g}{'-full' if full else ''}.csv"
    if not file.exists():
        write(file, rows, users, items, breadth, full)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        kinds = ["recae"] if alone else ["recae", "pandas"]
        dumps = {kind: Path(scratch) / f"{kind}.npz" for kind in kinds}
        found = [
            run(kind, file, dumps[kind] if turn == 0 and not alone else None)
            for turn in range(runs)
            for kind in kinds
        ]
        if not alone:
            same = (canonical(dumps["recae"]) != canonical(dumps["pandas"])).nnz == 0
            print("the same matrix" if same else "NOT the same matrix")
    best = {
        kind: {
            k: min(r[k] for r in found if r["what"] == kind) for k in ("seconds", "CPU seconds", "peak MiB")
        }
        for kind in kinds
    }
    for row in found:
        if not alone:
            row["times faster"] = best["pandas"]["seconds"] / row["seconds"]
            row["of its peak"] = row["peak MiB"] / best["pandas"]["peak MiB"]
    report(f"ingest of {rows:,} rows{' with time and quantity' if full else ''}", found, out)
    if not alone:
        ours, theirs = best["recae"], best["pandas"]
        print(f"\nrecae is {theirs['seconds'] / ours['seconds']:.2f} times as fast", end="")
        print(f" at {ours['peak MiB'] / theirs['peak MiB']:.2f} of the peak (best of {runs} runs each)")


if __name__ == "__main__":
    if "--child" in sys.argv:  # each imports its own, so that neither pays for the other
        what, path, dump = (sys.argv[sys.argv.index(o) + 1] for o in ("--child", "--path", "--out"))
        if what == "pandas":
            import pandas as pd
        else:
            from recae.reading import read_interactions
        child(what, path, dump)
    else:
        main()
