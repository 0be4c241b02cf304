"""Training by blocks in one process and in several: users a second, memory of each, and what is sent between them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import scipy.sparse as sp
import torch
import torch.distributed as dist
from common import gowalla, peak_mib, report, synthetic

from recae.training.config import SigmoidSettings
from recae.training.distributed.torchrun import RankZeroTrainer, follow, rank_zero
from recae.training.exact.blocks import BlockTrainer
from recae.training.exact.group import Group


@click.command()
@click.option("--factors", default=256, show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--blocks", default=40, show_default=True, help="Blocks that are timed, after as many others.")
@click.option("--runs", default="1x1,1x2,2x1", show_default=True, help="Processes x threads of each.")
@click.option("--items", type=int, help="Made-up purchases of so many items, instead of Gowalla's.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the figures as JSON.")
def main(factors: int, batch_size: int, blocks: int, runs: str, items: int | None, out: Path | None) -> None:
    """Train on the Gowalla split ($RECAE_DATA) in each of RUNS, one after the other, all on this machine."""
    rows = []
    for run in runs.split(","):
        size, threads = (int(n) for n in run.split("x"))
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        arguments = [factors, batch_size, blocks, items or 0, size, store.port]
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--member", str(rank), *map(str, arguments)],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)},
            )
            for rank in range(size)
        ]
        said = [[float(word) for word in process.communicate()[0].split()] for process in processes]
        rows.append(
            {
                "processes": size,
                "threads of each": threads,
                "users/s": 1e6 / said[0][0],
                "µs a user": said[0][0],
                "fastest blocks, µs": said[0][1],
                "processor µs of each": max(words[2] for words in said),
                "peak MiB of process 0": said[0][3],
                "of the others": max((words[3] for words in said[1:]), default=0.0),
            }
        )
    report("distributed training", rows, out)


def member(rank: int, factors: int, batch_size: int, blocks: int, items: int, size: int, port: int) -> None:
    """One of the processes; prints µs a user (mean, fastest tenth of the blocks, of its processors) and MiB."""
    config = SigmoidSettings(factors=factors, batch_size=batch_size, encoder_start="random")
    wall = [0.0]
    clock = time.process_time
    if size == 1:
        trainer = BlockTrainer(matrix_of(items), config)
        begun = timed(trainer, blocks, wall, clock)
    else:
        store = dist.PrefixStore("run", dist.TCPStore("127.0.0.1", port, is_master=False))
        matrix = matrix_of(items) if rank == 0 else None
        group = Group(store, rank, size)
        if matrix is not None:
            with rank_zero(group):
                begun = timed(RankZeroTrainer(matrix, config, group), blocks, wall, clock)
        else:
            follow(group)
            begun = clock()
    per_user = 1e6 / (blocks * batch_size)
    fastest = sorted(wall)[: max(1, len(wall) // 10)]
    print(
        sum(wall) * per_user,
        sum(fastest) / len(fastest) * per_user * blocks,
        (clock() - begun) * per_user,
        peak_mib(),
    )


def matrix_of(items: int) -> sp.csr_matrix:
    """Gowalla's purchases, or made-up ones."""
    return synthetic(30_000, items, 30) if items else gowalla()


def timed(trainer: BlockTrainer, blocks: int, wall: list[float], clock: Callable[[], float]) -> float:
    """Trains on blocks, after as many that compile; fills `wall` with their seconds; the clock before them."""
    for _ in range(blocks):
        trainer.advance()
    begun = clock()
    wall.clear()
    for _ in range(blocks):
        started = time.perf_counter()
        trainer.advance()
        wall.append(time.perf_counter() - started)
    return begun


if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        member(*map(int, sys.argv[2:]))
    else:
        main()
