#!/usr/bin/env python3
"""New items: a tenth of the items held out whole, models fitted without them, users asked for these alone by history.

Each kind is fitted to the purchases of the other items; their names and what else is known choose the ridge (on items
held out of these in turn) and score the held-out ones. Beside it stand popularity in the category, or the telling word
of the name, and a random order. All users with purchases on both sides are asked.
"""

import time

import click
import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from common import machine

from recae.evaluation.intervals import bootstrap_mean, paired_difference
from recae.ids import IdMap
from recae.item_features import features_of, groups_of
from recae.item_table import ItemTable
from recae.models.new_items import predicted, solver_of
from recae.ranking import top_k
from recae.reading import read
from recae.selection.fit import fit_settings, make_settings
from recae.selection.new_items import judge, ndcg, popularity_of, weights_of
from recae.training.callbacks import Hooks


def recall(scores, wanted) -> np.ndarray:
    items = top_k(np.ascontiguousarray(scores), 20).items
    hits = np.take_along_axis(wanted.toarray() > 0, np.maximum(items, 0), axis=1)
    return hits.sum(axis=1) / np.diff(wanted.indptr)


@click.command()
@click.argument("source")
@click.option("--kinds", default="sparse-linear,itemknn,sigmoid", show_default=True)
@click.option("--fraction", default=0.1, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(source: str, kinds: str, fraction: float, seed: int) -> None:
    """Hold out items of the purchases in SOURCE, whose names are read with them."""
    read_ = read(source).interactions
    matrix, n = read_.matrix, read_.n_items
    out = np.zeros(n, np.bool_)
    out[np.random.default_rng([seed, 7]).permutation(n)[: int(fraction * n)]] = True
    left, held = np.flatnonzero(~out), np.flatnonzero(out)
    learn, wanted = sp.csr_matrix(matrix[:, left]), sp.csr_matrix(matrix[:, held])
    users = np.flatnonzero((np.diff(learn.indptr) > 0) & (np.diff(wanted.indptr) > 0))
    asked, histories = sp.csr_matrix(wanted[users]), sp.csr_matrix(learn[users])
    order = np.concatenate([left, held])
    ids, names = IdMap(read_.items.ids(order)), read_.item_names.take(pa.array(order))
    table = ItemTable(ids, pa.table({"name": names}))
    known = np.arange(n) < left.size
    features, groups = features_of(table, known), groups_of(table, known)
    owners = np.bincount(learn.indices, minlength=left.size)
    popular = popularity_of(owners, groups[: left.size], groups[left.size :])
    lists = {
        "random": np.random.default_rng(seed).random((users.size, held.size)).astype(np.float32),
        "popularity in the category": np.tile(popular, (users.size, 1)),
    }
    notes = {}
    for kind in kinds.split(","):
        since = time.perf_counter()
        model = fit_settings(kind, make_settings(kind, {"seed": seed}), learn, None, Hooks()).model
        fitted = time.perf_counter()
        found = judge(model, learn, features[: left.size], groups[: left.size], seed)
        weights = weights_of(owners, found.power)
        solver = solver_of(features[: left.size], weights, found.ridge)
        scores = model.score(histories)
        lists[kind] = predicted(scores, features[: left.size], features[left.size :], weights, solver)
        notes[kind] = (
            f"ridge {found.ridge:g}, power {found.power:g}; fit {fitted - since:.1f} s, "
            f"new items {time.perf_counter() - fitted:.1f} s"
        )
    print(
        f"{users.size:,} users, {held.size:,} of {n:,} items held out whole, {asked.nnz:,} purchases of them"
    )
    base = ndcg(lists["popularity in the category"], asked)
    for name, scores in lists.items():
        values = ndcg(scores, asked)
        mean, gain = bootstrap_mean(values), paired_difference(values, base)
        print(
            f"{name:28} NDCG@20 {mean.mean:.4f} [{mean.low:.4f}, {mean.high:.4f}]  Recall@20 "
            f"{recall(scores, asked).mean():.4f}  difference {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]  "
            f"{notes.get(name, '')}"
        )
    print(machine())


if __name__ == "__main__":
    main()
