#!/usr/bin/env python3
"""One epoch of training, side by side in one run: plain PyTorch, dense mini-batches, per user, blocks.

The plain loop is what a textbook shows: a dense row in, two nn.Linear with a sigmoid between, squared error, SGD, one
user a step. It is timed over a few users, dense mini-batches over a few batches, recae over whole blocks of users; each
is given as microseconds a user, the smallest of three turns (the machine may be shared), and as a ratio.
"""

from pathlib import Path

import click
import numpy as np
import torch
from common import gowalla, report, seconds, synthetic

from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import make_trainer


def dense_loop(matrix, factors: int, batch: int, batches: int) -> float:
    """Seconds a user of the plain PyTorch loop with `batch` users a step."""
    n_items = matrix.shape[1]
    model = torch.nn.Sequential(
        torch.nn.Linear(n_items, factors), torch.nn.Sigmoid(), torch.nn.Linear(factors, n_items)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def run(first: int) -> None:
        for step in range(first, first + batches):
            rows = torch.from_numpy(matrix[step * batch : (step + 1) * batch].toarray())
            optimizer.zero_grad(set_to_none=True)
            ((model(rows) - rows) ** 2).sum().backward()
            optimizer.step()

    run(0)
    return min(seconds(lambda turn=turn: run(turn * batches)) for turn in (1, 2, 3)) / (batches * batch)


def ours(matrix, config: SigmoidSettings, users: int) -> float:
    """Seconds a user of recae's trainer."""
    trainer = make_trainer(matrix, config, "cpu")
    trainer.advance()
    best = np.inf
    for _ in range(3):
        if trainer.done + users > trainer.n_users:
            trainer.end_epoch()
        before = trainer.done

        def run(until: int = before + users) -> None:
            while trainer.done < min(until, trainer.n_users):
                trainer.advance()

        best = min(best, seconds(run) / (trainer.done - before))
    return best


@click.command()
@click.option("--factors", default=256, show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--threads", default=1, show_default=True, help="For PyTorch; the per-user step uses one.")
@click.option("--items", type=int, help="Synthetic purchases over so many items instead of Gowalla.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(factors: int, batch_size: int, threads: int, items: int | None, out: Path | None) -> None:
    torch.set_num_threads(threads)
    matrix = gowalla() if items is None else synthetic(20_000, items, 27)
    weight = {"purchase_weight": 20.0, "learning_rate": 0.01}
    figures = {
        "plain PyTorch, one user a step": dense_loop(matrix, factors, 1, 20),
        f"plain PyTorch, dense mini-batches of {batch_size}": dense_loop(matrix, factors, batch_size, 3),
        "recae, one user a step": ours(matrix, SigmoidSettings(factors=factors, **weight), 4000),
        f"recae, blocks of {batch_size}": ours(
            matrix, SigmoidSettings(factors=factors, batch_size=batch_size, **weight), 8000
        ),
    }
    plain = next(iter(figures.values()))
    rows = [
        {
            "what": what,
            "µs a user": figure * 1e6,
            "users/s": 1 / figure,
            "times the plain loop": plain / figure,
        }
        for what, figure in figures.items()
    ]
    report(f"{matrix.shape[0]:,} × {matrix.shape[1]:,}, d={factors}, {threads} thread(s)", rows, out)


if __name__ == "__main__":
    main()
