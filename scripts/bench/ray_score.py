#!/usr/bin/env python3
"""Batch scoring on a Ray cluster: users a second with one worker, two and so on, beside the local engine on one thread.

The cluster is one of this machine, a node of one processor for each worker. The model is an autoencoder of random
weights over made-up histories. Seconds are those of the whole job, the start of the workers included; users a second
are counted from the first finished shard to the last, which leaves it out. The local engine's are of processor time as
well, which other programs disturb less.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import report, synthetic
from ray.cluster_utils import Cluster as Nodes

from recae.cluster import connected
from recae.ids import IdMap
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender
from recae.scoring.audience import every_user
from recae.scoring.folder import Folder
from recae.scoring.manifest import settings_of
from recae.scoring.ray import Cluster, spread
from recae.scoring.work import Work, make_work


def job(users: int, items: int, factors: int, n: int) -> Work:
    """A job on one thread; the weights are random."""
    rng = np.random.default_rng(0)
    shapes = {"encoder": (items, factors), "decoder": (items, factors)} | {
        "encoder_bias": (factors,),
        "decoder_bias": (items,),
    }
    arrays = {name: rng.standard_normal(shape, np.float32) / 16 for name, shape in shapes.items()}
    model = SigmoidAutoencoder.from_arrays({"input_power": 0.5}, arrays, items)
    ids = (IdMap([f"{number:09d}" for number in range(count)]) for count in (users, items))
    recommender = Recommender(model, *ids, None, synthetic(users, items, 30))
    return replace(make_work(recommender, every_user(recommender), n), threads=1)


def timed(work: Work, target: Folder) -> dict[str, Any]:
    """Do a job; return its seconds, and its users a second between the first and the last finished shard."""
    told: list[tuple[float, int]] = []
    settings = settings_of(work, "", **target.settings(work))
    started = time.perf_counter()
    target.write(work, settings, lambda done: told.append((time.perf_counter(), done)))
    (first, some), (last, every) = told[0], told[-1]
    return {"seconds": last - started, "users/s": (every - some) / max(last - first, 1e-9)}


@click.command()
@click.option("--users", default=40_000, show_default=True)
@click.option("--items", default=40_000, show_default=True)
@click.option("--factors", default=256, show_default=True)
@click.option("-n", default=20, show_default=True)
@click.option(
    "--workers", default="1,2", show_default=True, help="Numbers of workers to try; empty for none."
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the figures to this file, too.")
def main(users: int, items: int, factors: int, n: int, workers: str, out: Path | None) -> None:
    """Print a row for the local engine and for each number of workers."""
    work = job(users, items, factors, n)
    work.batch(0, min(work.block_users, users))  # compiles
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        shard = work.block_users * max(1, users // (40 * work.block_users))
        target = Folder(Path(folder) / "local", shard_users=shard)
        used = time.process_time()
        row = timed(work, target)
        rows.append({"engine": "local", "users a block": work.block_users, **row})
        rows[0]["users/processor s"] = users / (time.process_time() - used)
        for many in map(int, filter(None, workers.split(","))):
            nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
            try:
                for _ in range(many):
                    nodes.add_node(num_cpus=1)
                nodes.wait_for_nodes()
                with connected(nodes.address) as ray:
                    there = replace(target, path=Path(folder) / str(many))
                    row = timed(*spread(work, there, Cluster.of(ray)))
            finally:
                nodes.shutdown()
            what = f"ray, {many} worker{'s' if many > 1 else ''}"
            rows.append({"engine": what, "users a block": work.block_users, **row, "users/processor s": ""})
    report(f"{users:,} users, {items:,} items, {factors} factors, n = {n}", rows, out)


if __name__ == "__main__":
    main()
