#!/usr/bin/env python3
"""Items that have just arrived: a tenth of the items with 1 to 20 purchases left, models fitted with these alone.

Users are asked for their other purchases of these items, among all that they do not own and among the arriving ones
alone: by the model's own scores, by those that features predict, and by both shrunk to each other as `NewItems` does.
The number of users that the prediction counts like is chosen on every second item and looked at on the others.
"""

from __future__ import annotations

import click
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from common import machine

from recae.evaluation.intervals import bootstrap_mean, paired_difference
from recae.item_features import features_of
from recae.item_table import ItemTable
from recae.metrics import compute
from recae.models.new_items import ARRIVAL, predicted, solver_of
from recae.ranking import top_k
from recae.reading import read
from recae.selection.fit import fit_settings, make_settings
from recae.sparse import take_entries
from recae.training.callbacks import Hooks

RIDGE = 3.0
COUNTS_LIKE = (0.0, 1.0, 3.0, 10.0, 30.0, 1e9)


def ndcg(scores, histories, wanted) -> np.ndarray:
    ranked = top_k(np.ascontiguousarray(scores), 20, histories).items
    return compute(ranked, wanted, ("ndcg",), (20,))["ndcg@20"]


@click.command()
@click.argument("source")
@click.option("--kinds", default="sparse-linear,itemknn,sigmoid", show_default=True)
@click.option("--left", default="1,2,5,10,20", show_default=True, help="Purchases of each arriving item.")
@click.option("--users", "most", default=1500, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(source: str, kinds: str, left: str, most: int, seed: int) -> None:
    """Take most purchases of some items out of SOURCE, whose names are read with them."""
    found = read(source).interactions
    matrix, n_items = found.matrix, found.n_items
    rng = np.random.default_rng([seed, 23])
    counts = np.bincount(matrix.indices, minlength=n_items)
    bought = np.flatnonzero(counts >= 40)
    chosen = rng.permutation(bought)[: n_items // 10]
    halves = {"chosen on": chosen[::2], "looked at": chosen[1::2]}
    new = np.zeros(n_items, np.bool_)
    new[chosen] = True
    table = ItemTable(found.items, pa.table({"name": pa.chunked_array([found.item_names])}))
    of_new = new[matrix.indices]
    for kind in kinds.split(","):
        for number in map(int, left.split(",")):
            stays = ~of_new
            for item in chosen:
                places = np.flatnonzero(matrix.indices == item)
                stays[rng.permutation(places)[:number]] = True
            learn, others = take_entries(matrix, stays), take_entries(matrix, ~stays)
            some = np.flatnonzero((np.diff(others.indptr) > 0) & (np.diff(learn.indptr) > 0))
            some = some[rng.permutation(some.size)[:most]]
            histories = sp.csr_matrix(learn[some])
            model = fit_settings(kind, make_settings(kind, {"seed": seed}), learn, None, Hooks()).model
            owners = np.bincount(learn.indices, minlength=n_items)
            features, weights = features_of(table, owners > 0), np.ones(n_items, np.float32)
            own = model.score(histories)
            by_features = predicted(own, features, features, weights, solver_of(features, weights, RIDGE))
            for half, items in halves.items():
                is_of = np.zeros(n_items, np.bool_)
                is_of[items] = True
                wanted = sp.csr_matrix(take_entries(others, is_of[others.indices])[some])
                values = {}
                for like in COUNTS_LIKE:
                    fraction = np.where(new, owners / np.maximum(owners + like, 1e-9), 1).astype(np.float32)
                    scores = fraction * own + (1 - fraction) * by_features
                    alone = np.where(new, scores, np.float32(-np.inf))
                    values[like] = ndcg(scores, histories, wanted), ndcg(alone, histories, wanted)
                for like, (among_all, among_new) in values.items():
                    if half == "looked at" and like not in (0.0, ARRIVAL, 1e9):
                        continue
                    two = [bootstrap_mean(v[np.isfinite(v)]) for v in (among_all, among_new)]
                    gains = [
                        paired_difference(mine, base)
                        for mine, base in zip((among_all, among_new), values[0.0], strict=True)
                    ]
                    print(
                        f"{kind:14} {number:3d} left  {half:9}  counts like {like:12g}  NDCG@20 among all "
                        f"{two[0].mean:.4f} ({gains[0].mean:+.4f} [{gains[0].low:+.4f}, {gains[0].high:+.4f}])  among "
                        f"the arriving {two[1].mean:.4f} ({gains[1].mean:+.4f} [{gains[1].low:+.4f}, "
                        f"{gains[1].high:+.4f}])",
                        flush=True,
                    )
    print(machine())


if __name__ == "__main__":
    main()
