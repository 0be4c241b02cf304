"""A real comparison on a small made shop, for the tests of what is made of it: tasks, runs, and one that failed."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa
from shops import purchases_of, random_shop

from recae.evaluation.comparison import Run
from recae.ids import IdMap
from recae.item_table import TEXT, ItemTable
from recae.ranking import rank_histories
from recae.selection.fit import fit_kind
from recae.splits.protocols import ProtocolOptions, make_tasks
from recae.splits.tasks import Task

LENGTH = 25
KINDS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "sigmoid": ("sigmoid", False, {"factors": 8, "epochs": 3, "seed": 0}),
    "popularity": ("popularity", True, {}),
    "item-kNN": ("itemknn", True, {"k": 20}),
}
FAILED = Run(
    "BPR", "bpr", True, seconds=0.5, failed='the factors are not finite; choose "smaller", slower steps'
)


@functools.cache
def comparison(protocol: str = "strong", repeats: bool = False) -> tuple[list[Task], list[Run]]:
    """The tasks of a protocol, three models measured on them, and one that failed; not to be changed."""
    options = ProtocolOptions(test_users=20, folds=3, repeats=repeats, held_out=0.3, validation_users=6)
    if protocol == "k-fold":
        options = ProtocolOptions(folds=3, held_out=0.3, validation_users=6)
    tasks = make_tasks(purchases_of(random_shop(1, 60)), protocol, options, 3)
    return tasks, [*(run(name, tasks) for name in KINDS), FAILED]


def run(name: str, tasks: list[Task]) -> Run:
    kind, baseline, settings = KINDS[name]
    lists, scores, epochs = [], [], []
    for task in tasks:
        model, epochs = fit_kind(kind, settings, task.fit, task.validation, exclude_owned=task.exclude_owned)
        ranked = rank_histories(model, task.histories, LENGTH, exclude_owned=task.exclude_owned)
        lists.append(ranked.items)
        scores.append(ranked.scores)
    tuned = [{"settings": {}, "ndcg@20": np.float64(0.25)}, {"settings": settings, "ndcg@20": float("nan")}]
    return Run(
        name,
        kind,
        baseline,
        config=settings,
        tuned=tuned if settings else [],
        seconds=1.25,
        peak_bytes=200_000_000,
        epochs=[{"epoch": e.epoch, "loss": e.loss, "recall@20": e.recall} for e in epochs],
        ranked=np.vstack(lists),
        scores=np.vstack(scores),
    )


def table_of(tasks: list[Task], seed: int = 4) -> ItemTable:
    """A table of the tasks' items, and of one that nobody bought: paths of categories and prices, some not known."""
    rng = np.random.default_rng(seed)
    ids = sorted({item for task in tasks for item in task.items} | {"unbought"})
    paths = [None, "All > Bags", "All > Bags > Red", "All > Mugs", "All > Toys > Wood", "All"]
    categories = [paths[n] for n in rng.integers(0, len(paths), len(ids))]
    prices = [None if rng.random() < 0.2 else round(float(p), 2) for p in rng.gamma(2.0, 3.0, len(ids))]
    columns = pa.table({"category": pa.array(categories, TEXT), "price": pa.array(prices, pa.float64())})
    return ItemTable(IdMap(ids), columns)
