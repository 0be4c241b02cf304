#!/usr/bin/env python3
"""Evaluating a model on a large catalogue, side by side in one run: recae, plain NumPy, and ir_measures.

`whole`: histories in, means of the metrics out, with a sigmoid autoencoder of random weights. Plain NumPy does what a
notebook does, in the same blocks: scores, owned items to −inf, argpartition, hits by looking up a dense block of what
is held out. It is timed over a part of the users. `metrics`: all metrics from the same ranked lists, where ir_measures
(pytrec_eval) is the rival; the dictionaries that it reads are made beforehand and not timed. Each figure is the
smallest of three turns (the machine may be shared), and a ratio to the rival of its part.
"""

from pathlib import Path
from typing import Any

import click
import ir_measures
import numpy as np
import scipy.sparse as sp
from common import gowalla, peak_mib, report, seconds, synthetic
from ir_measures import AP, RR, P, R, Success, nDCG
from numpy.typing import NDArray

from recae.evaluation import METRICS, evaluate, measure, set_figures
from recae.models import SigmoidAutoencoder
from recae.ranking import rank_histories, rows_per_block, top_k
from recae.splits.parts import fold_in_split

KS = (10, 20, 50)


def random_model(n_items: int, factors: int) -> SigmoidAutoencoder:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, dtype=np.float32)

    encoder, decoder = normal(n_items, factors), normal(n_items, factors)
    return SigmoidAutoencoder(encoder, normal(factors), decoder, normal(n_items), 0.5, {})


def plain(model: SigmoidAutoencoder, histories: sp.csr_matrix, held_out: sp.csr_matrix) -> dict[str, float]:
    """Recall, capped recall and NDCG at `KS`, as a notebook has them."""
    sums: dict[str, float] = {}
    step = rows_per_block(model.n_items)
    gains = 1 / np.log2(np.arange(2, max(KS) + 2))
    for start in range(0, histories.shape[0], step):
        history, wanted = histories[start : start + step], held_out[start : start + step].toarray() > 0
        scores = model.score(history)
        scores[history.nonzero()] = -np.inf
        best = np.argpartition(-scores, max(KS), axis=1)[:, : max(KS)]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        hits = np.take_along_axis(wanted, np.take_along_axis(best, order, axis=1), axis=1)
        n_held = wanted.sum(axis=1)
        some = n_held > 0
        for k in KS:
            found, capped = hits[some, :k].sum(axis=1), np.minimum(k, n_held[some])
            ideal = np.cumsum(gains)[capped - 1]
            values = found / n_held[some], found / capped, hits[some, :k] @ gains[:k] / ideal
            for name, value in zip(("recall", "capped_recall", "ndcg"), values, strict=True):
                sums[f"{name}@{k}"] = sums.get(f"{name}@{k}", 0.0) + float(value.sum())
    n_users = int((np.diff(held_out.indptr) > 0).sum())
    return {name: value / n_users for name, value in sums.items()}


def best_of_three(run: Any) -> float:
    return min(seconds(run) for _ in range(3))


@click.command()
@click.option("--factors", default=256, show_default=True)
@click.option(
    "--items", type=int, help="Synthetic purchases of 30,000 users over so many items instead of Gowalla."
)
@click.option("--rival-users", default=3000, show_default=True, help="Users that the rivals are timed over.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(factors: int, items: int | None, rival_users: int, out: Path | None) -> None:
    matrix = gowalla() if items is None else synthetic(30_000, items, 27)
    histories, held_out = fold_in_split(matrix, rng=np.random.default_rng(0))
    n_users, n_items = matrix.shape
    model = random_model(n_items, factors)
    few = slice(min(rival_users, n_users))
    n_few = histories[few].shape[0]
    every = tuple(METRICS)
    evaluate(model, histories[few], held_out[few], KS, metrics=every)  # compiles

    step = rows_per_block(n_items)
    blocks = [histories[start : start + step] for start in range(0, n_users, step)]
    scores = model.score(blocks[0])
    before = peak_mib()
    figures: dict[tuple[str, str], float] = {
        ("whole", "recae"): best_of_three(lambda: evaluate(model, histories, held_out, KS)) / n_users
    }
    peak = peak_mib()
    figures["whole", "recae, all metrics"] = (
        best_of_three(lambda: evaluate(model, histories, held_out, KS, metrics=every)) / n_users
    )
    figures["whole", "of it the scores"] = (
        best_of_three(lambda: [model.score(block) for block in blocks]) / n_users
    )
    figures["whole", "of it ranking them"] = (
        best_of_three(lambda: top_k(scores, max(KS), exclude=blocks[0])) / scores.shape[0]
    )
    figures["whole", "plain NumPy"] = (
        best_of_three(lambda: plain(model, histories[few], held_out[few])) / n_few
    )

    ranked = rank_histories(model, histories, max(KS)).items
    figures["metrics", "recae"] = (
        best_of_three(lambda: measure(ranked, held_out, KS, metrics=every)) / n_users
    )
    figures["metrics", "recae, figures of the lists"] = (
        best_of_three(lambda: set_figures(ranked, histories, KS)) / n_users
    )
    qrels = {str(u): {str(i): 1 for i in held_out[u].indices} for u in range(n_few) if held_out[u].nnz}
    run = {u: {str(i): -float(place) for place, i in enumerate(ranked[int(u)])} for u in qrels}
    theirs = [m @ k for m in (R, P, Success, nDCG, AP, RR) for k in KS]
    figures["metrics", "ir_measures"] = (
        best_of_three(lambda: ir_measures.calc_aggregate(theirs, qrels, run)) / n_few
    )

    agree = plain(model, histories[few], held_out[few])
    ours = evaluate(model, histories[few], held_out[few], KS).means
    worst = max(abs(agree[name] - value) for name, value in ours.items())
    rivals = {"whole": figures["whole", "plain NumPy"], "metrics": figures["metrics", "ir_measures"]}
    rows = [
        {
            "part": part,
            "what": what,
            "µs a user": figure * 1e6,
            f"s for {n_users:,} users": figure * n_users,
            "times the rival": rivals[part] / figure,
        }
        for (part, what), figure in figures.items()
    ]
    report(f"evaluating {n_users:,} × {n_items:,}, d={factors}", rows, out)
    print(
        f"\npeak memory {before:,.0f} MiB before, {peak:,.0f} after; largest difference to plain {worst:.1g}"
    )


if __name__ == "__main__":
    main()
