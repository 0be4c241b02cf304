#!/usr/bin/env python3
"""What a step costs against the size of the catalogue, or of the code, and what memory training takes.

`items`: constant purchases a user over catalogues of growing size; time a user without folds, and the time of a fold,
which is the only work that touches the whole catalogue. `factors`: the same against d. Each row stands beside its peak
memory and the bound that it is held against: three times the parameters, the interactions, and 300 MB.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
from common import peak_mib, report, seconds, synthetic

from recae.training.config import SigmoidSettings
from recae.training.kinds.sigmoid import make_trainer


def measure(
    n_items: int, factors: int, batch_size: int, n_users: int = 20_000, per_user: int = 27
) -> dict[str, float]:
    """Microseconds a user (median of blocks), milliseconds a fold, peak MiB and what the data need."""
    start = peak_mib()
    # uniform popularity: every row that a step touches is a cold one, the hardest case for a large catalogue
    matrix = synthetic(n_users, n_items, per_user, skew=0.0)
    config = SigmoidSettings(
        factors=factors, batch_size=batch_size, purchase_weight=20.0, learning_rate=0.01, fold_every=10**6
    )
    trainer = make_trainer(matrix, config, "cpu")
    times = []
    while trainer.done < trainer.n_users:
        before = trainer.done
        took = seconds(trainer.advance)
        times.append(took / (trainer.done - before))
    parameters = sum(array.nbytes for array in trainer.state().values()) / 2**20
    interactions = (matrix.indices.nbytes + matrix.indptr.nbytes + matrix.data.nbytes) / 2**20
    peak = peak_mib()
    fold = seconds(trainer.parameters.decoder.consolidate)
    return {
        "items": n_items,
        "factors": factors,
        "µs a user": float(np.median(times) * 1e6),
        "s a fold": fold,
        "peak MiB": peak,
        "bound MiB": 3 * parameters + interactions + 300,
        "imports MiB": start,
    }


def apart(*arguments: int) -> dict[str, float]:
    """`measure` in a process of its own, so that the peak of one size is not that of the one before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


@click.command()
@click.argument("against", type=click.Choice(["items", "factors"]))
@click.option("--batch-size", default=1, show_default=True)
@click.option("--factors", default=128, show_default=True, help="With items.")
@click.option("--most", default=3_000_000, show_default=True, help="The largest catalogue.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it here (PNG; needs matplotlib).")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(against: str, batch_size: int, factors: int, most: int, plot: Path | None, out: Path | None) -> None:
    if against == "items":
        sizes = [n for n in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000) if n <= most]
        rows = [apart(n, factors, batch_size) for n in sizes]
    else:
        rows = [apart(100_000, d, batch_size) for d in (64, 128, 256, 512)]
    report(f"cost against {against}, batch size {batch_size}", rows, out)
    if plot is not None:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        axes.plot([row[against] for row in rows], [row["µs a user"] for row in rows], marker="o")
        axes.set(xscale="log", xlabel=against, ylabel="µs a user", ylim=(0, None))
        axes.grid(alpha=0.3)
        figure.savefig(plot, dpi=120)


if __name__ == "__main__":
    main()
