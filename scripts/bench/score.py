#!/usr/bin/env python3
"""The best 20 items of every user of Gowalla, side by side in one run: recae's blocked pass and implicit's `recommend`.

Both get the same factors, fitted by implicit's ALS, and both use all processors: implicit with BLAS on one thread, as
it asks for, and a thread a batch of users. recae runs up to four times: with bfloat16 tiles where the processor has
units for them, with tiles of 16-bit integers where it adds up pairs of these, with float32 tiles, and the way models
without item vectors are scored (all scores of some users, then top-k).
Each is the shortest of some turns, one after the other in each turn, since the machine may be shared; processor seconds
are given beside. With `--blend model.recae` a model is scored as well, once by the pass and once as just said.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp
from common import gowalla, report
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

import recae
from recae.ranking import top_k
from recae.scoring import block
from recae.scoring.block import best_items
from recae.scoring.integers import has_pair_sums
from recae.scoring.tiles import has_bfloat16_units

N = 20


class Given:
    """ALS whose user factors are given, as implicit has them; a history's first value says whose it is."""

    kind, trained, item_bias = "given", False, None

    def __init__(self, users: Any, items: Any) -> None:
        self.users, self.item_factors, self.n_items = users, items, len(items)

    def user_factors(self, histories: sp.csr_matrix) -> Any:
        return self.users[histories.data[histories.indptr[:-1]].astype(np.int64)]

    def score(self, histories: sp.csr_matrix) -> Any:
        return self.user_factors(histories) @ self.item_factors.T


def by(path: str, model: Any, histories: sp.csr_matrix) -> Callable[[], Any]:
    """A run of `best_items` over all users on one of its paths."""

    def run() -> Any:
        units, pairs, tiled = block.has_bfloat16_units, block.has_pair_sums, block._tiled
        if path in ("float32", "int16"):
            block.has_bfloat16_units = lambda: False
            block.has_pair_sums = lambda: path == "int16"
        elif path == "plain":
            block._tiled = lambda model, n: None
        try:
            return best_items(model, histories, N, exclude_owned=True)
        finally:
            block.has_bfloat16_units, block.has_pair_sums, block._tiled = units, pairs, tiled

    return run


def differing(found: Any, model: Any, histories: sp.csr_matrix) -> tuple[int, int]:
    """Users whose list is not that of plain float32 scores: in all, and where more than rounding makes a difference."""
    items, _ = found
    other = beyond = 0
    for start in range(0, histories.shape[0], 512):
        history, mine = histories[start : start + 512], items[start : start + 512]
        scores = model.score(history)
        ranked, values = top_k(scores, N, exclude=history)
        of_mine = np.take_along_axis(scores, np.maximum(mine, 0), axis=1)
        near = 1e-6 * np.abs(values[np.isfinite(values)]).max(initial=0)
        other += int((mine != ranked).any(axis=1).sum())
        beyond += int(((np.abs(of_mine - values) > near) & (ranked >= 0)).any(axis=1).sum())
    return other, beyond


def measure(runs: dict[str, Callable[[], Any]], turns: int) -> dict[str, tuple[float, float]]:
    """Shortest wall-clock time and processor time of each, after one turn that compiles and prepares."""
    best = dict.fromkeys(runs, (np.inf, np.inf))
    for turn in range(turns + 1):
        for name, run in runs.items():
            wall, busy = time.perf_counter(), time.process_time()
            run()
            found = time.perf_counter() - wall, time.process_time() - busy
            if turn:
                best[name] = min(best[name][0], found[0]), min(best[name][1], found[1])
    return best


@click.command()
@click.option("--factors", default=256, show_default=True)
@click.option("--iterations", default=3, show_default=True, help="Of ALS.")
@click.option("--turns", default=5, show_default=True)
@click.option("--users", default=None, type=int, help="Only the first so many, for a quick look.")
@click.option("--blend", type=click.Path(exists=True), help="A model file of Gowalla to score as well.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(
    factors: int, iterations: int, turns: int, users: int | None, blend: str | None, out: Path | None
) -> None:
    matrix = gowalla()[:users]
    n_users = matrix.shape[0]
    with threadpool_limits(1, user_api="blas"):
        rival = AlternatingLeastSquares(
            factors=factors, iterations=iterations, regularization=10.0, alpha=10.0, random_state=0
        )
        rival.fit(matrix, show_progress=False)
    model = Given(rival.user_factors, rival.item_factors)
    whose = np.repeat(np.arange(n_users, dtype=np.float32), np.diff(matrix.indptr))
    histories = sp.csr_matrix((whose, matrix.indices, matrix.indptr), shape=matrix.shape)

    def implicit() -> None:
        with threadpool_limits(1, user_api="blas"):
            rival.recommend(np.arange(n_users), matrix, N=N, filter_already_liked_items=True)

    paths = ["bfloat16"] * has_bfloat16_units() + ["int16"] * has_pair_sums() + ["float32", "plain"]
    runs = {"implicit, recommend": implicit} | {
        f"recae, {path}": by(path, model, histories) for path in paths
    }
    found = measure(runs, turns)
    rows = []
    for name, (wall, busy) in found.items():
        row = {"what": name, "s": wall, "users/s": n_users / wall, "processor s": busy}
        row["times implicit"] = found["implicit, recommend"][0] / wall
        if name in ("recae, bfloat16", "recae, int16", "recae, float32"):
            row["other lists"], row["beyond rounding"] = differing(runs[name](), model, histories)
        else:
            row["other lists"] = row["beyond rounding"] = ""
        rows.append(row)
    report(f"{n_users:,} × {matrix.shape[1]:,}, d={factors}, n={N}", rows, out)
    if blend is not None:
        own = recae.load(blend).model
        found = measure({path: by(path, own, matrix) for path in paths}, turns)
        rows = [
            {
                "what": path,
                "s": wall,
                "users/s": n_users / wall,
                "processor s": busy,
                "times plain": found["plain"][0] / wall,
            }
            for path, (wall, busy) in found.items()
        ]
        print()
        report(f"a {own.kind}", rows, None)


if __name__ == "__main__":
    main()
