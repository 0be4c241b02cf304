#!/usr/bin/env python3
"""Training on a GPU: users a second at the shape of ML-20M, the path of one user a step, and the largest problem.

Data are synthetic, with a popularity that falls as 1/rank. A tuned VAE trainer publishes 354,000 users/s on ML-20M on
an A100; that is the yardstick. Prints what the GPU is; without one it says so and ends with exit code 2.
"""

import sys
import time
from pathlib import Path
from typing import Any

import click
import torch
from common import report, synthetic

from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import make_trainer


def measure(
    what: str, n_users: int, n_items: int, per_user: int, config: SigmoidSettings, limit_s: float
) -> dict[str, Any]:
    """Users a second over an epoch, or over what of it `limit_s` seconds are enough for, and the peak of GPU memory."""
    matrix = synthetic(n_users, n_items, per_user)
    torch.cuda.reset_peak_memory_stats()
    trainer = make_trainer(matrix, config, "cuda")
    for _ in range(3):
        trainer.advance()
    torch.cuda.synchronize()
    first, started = trainer.done, time.perf_counter()
    while trainer.done < trainer.n_users and time.perf_counter() - started < limit_s:
        trainer.advance()
    torch.cuda.synchronize()
    took = time.perf_counter() - started
    return {
        "what": what,
        "users": n_users,
        "items": n_items,
        "interactions": int(matrix.nnz),
        "factors": trainer.config.factors,
        "batch size": trainer.config.batch_size,
        "users/s": (trainer.done - first) / took,
        "peak GPU GiB": torch.cuda.max_memory_allocated() / 2**30,
    }


@click.command()
@click.option(
    "--batch-size", "sizes", multiple=True, default=[1024, 4096, 16384], show_default=True, type=int
)
@click.option("--largest", is_flag=True, help="Also 10 M users × 1 M items × 500 M pairs.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(sizes: tuple[int, ...], largest: bool, out: Path | None) -> None:
    if not torch.cuda.is_available():
        print("gpu.py needs a GPU that torch can use, found none: run it where there is one", file=sys.stderr)
        sys.exit(2)
    shape = (136_677, 20_108, 73)
    rate = {"purchase_weight": 10.0}
    rows = [
        measure(
            "blocks", *shape, SigmoidSettings(factors=256, batch_size=b, learning_rate=0.5 / b, **rate), 30
        )
        for b in sizes
    ]
    one = SigmoidSettings(factors=256, batch_size=1, learning_rate=0.01, **rate)
    rows.append(measure("one user a step", *shape, one, 30))
    if largest:
        big = SigmoidSettings(factors=256, batch_size=max(sizes), learning_rate=0.5 / max(sizes), **rate)
        rows.append(measure("largest", 10_000_000, 1_000_000, 50, big, 60))
    report(torch.cuda.get_device_name(), rows, out)


if __name__ == "__main__":
    main()
