"""Figures by category and price, and in money, against loops over users and items."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from comparisons import comparison, table_of
from test_slices import make

from recae.evaluation.comparison import compare_runs, parted
from recae.evaluation.intervals import bootstrap_mean, paired_difference
from recae.evaluation.products import NO_CATEGORY, NO_PRICE, OTHERS, Products, money
from recae.ids import IdMap
from recae.item_table import TEXT, ItemTable
from recae.metrics import METRICS, compute
from recae.splits.tasks import Task


def table(categories: list[str | None], prices: list[float | None]) -> ItemTable:
    columns = pa.table({"category": pa.array(categories, TEXT), "price": pa.array(prices, pa.float64())})
    return ItemTable(IdMap([str(n) for n in range(len(categories))]), columns)


def products(task: Task, categories: list[str | None], prices: list[float | None]) -> Products:
    found = Products.of([task], table(categories, prices))
    assert found is not None
    return found


def ndcg(ranked: np.ndarray, held: set[int], k: int) -> float:
    if not held:
        return math.nan
    gain = sum(1 / math.log2(n + 2) for n, item in enumerate(ranked[:k]) if int(item) in held)
    return gain / sum(1 / math.log2(n + 2) for n in range(min(k, len(held))))


@pytest.mark.parametrize(("protocol", "k"), [("strong", 5), ("strong", 20), ("k-fold", 10)])
def test_slices_against_loops(protocol: str, k: int) -> None:
    tasks, runs = comparison(protocol)
    of_items = table_of(tasks)
    found = Products.of(tasks, of_items)
    assert found is not None
    known = {item: n for n, item in enumerate(of_items.ids)}
    paths, prices = of_items.columns["category"].to_pylist(), of_items.columns["price"].to_pylist()
    # the first level, "All", is the same for all
    category = {
        item: None if paths[n] is None else " > ".join(paths[n].split(" > ")[:2]) for item, n in known.items()
    }
    price = {item: prices[n] for item, n in known.items()}
    lists = parted(tasks, runs[0].ranked)
    slices = found.slices(lists, tasks, "ndcg", k)

    held = [
        (row, task, task.items.id(int(c)))
        for task in tasks
        for row in range(task.held_out.shape[0])
        for c in task.held_out[row].indices
    ]
    counts: dict[str, int] = {}
    for _, _, item in held:
        if (name := category[item]) is not None:
            counts[name] = counts.get(name, 0) + 1
    in_order = sorted(counts, key=lambda name: (-counts[name], name))
    assert [part.name for part in slices["category"]] == [*in_order, NO_CATEGORY]
    paid = sorted(price[item] for _, _, item in held if price[item] is not None)
    edges = [paid[math.ceil(len(paid) * part / 4) - 1] for part in (1, 2, 3)]

    def band(item: str) -> str:
        value = price[item]
        if value is None:
            return NO_PRICE
        if value <= edges[0]:
            return f"up to {edges[0]:,.2f}"
        if value > edges[2]:
            return f"above {edges[2]:,.2f}"
        return next(f"{low:,.2f} to {high:,.2f}" for low, high in itertools.pairwise(edges) if value <= high)

    assert len(slices["price"]) == 5
    for kind, name_of in (("category", lambda item: category[item] or NO_CATEGORY), ("price", band)):
        for part in slices[kind]:
            expected = []
            for task, ranked in zip(tasks, lists, strict=True):
                for row in range(task.held_out.shape[0]):
                    ids = {
                        int(c)
                        for c in task.held_out[row].indices
                        if name_of(task.items.id(int(c))) == part.name
                    }
                    expected.append(ndcg(ranked[row], ids, k))
            np.testing.assert_allclose(part.values, expected, rtol=1e-12)


def test_more_categories_than_are_shown_and_names_like_ours() -> None:
    task = make([[0]] * 3, [range(1, 11), range(1, 11), [1, 11]], n_items=14)
    names: list[str | None] = [OTHERS, *(f"c{n:02d}" for n in range(1, 11)), None, OTHERS, "never held out"]
    found = products(task, names, [None] * 14)
    assert not found.priced
    slices = found.slices([np.full((3, 1), 1, np.int32)], [task], "recall", 1)
    assert list(slices) == ["category"]
    parts = {part.name: part.n_users for part in slices["category"]}
    assert parts == {
        "c01": 3,
        **dict.fromkeys([f"c{n:02d}" for n in range(2, 9)], 2),
        OTHERS: 2,
        NO_CATEGORY: 1,
    }
    few = products(make([[0]], [[1, 2]], n_items=3), [None, OTHERS, NO_CATEGORY], [None] * 3)
    shown = few.slices([np.full((1, 1), 1, np.int32)], [make([[0]], [[1, 2]], n_items=3)], "recall", 1)
    assert [part.name for part in shown["category"]] == [f"category {NO_CATEGORY!r}", f"category {OTHERS!r}"]


def test_equal_prices_are_in_one_band() -> None:
    task = make([[0]] * 2, [[1, 2, 3], [1, 4]], n_items=5)
    names = [
        part.name
        for part in products(task, [None] * 5, [9.0, 2.0, 2.0, 2.0, 2.0]).slices(
            [np.zeros((2, 1), np.int32)], [task], "recall", 1
        )["price"]
    ]
    assert names == ["any price"]
    names = [
        part.name
        for part in products(task, [None] * 5, [9.0, 2.0, 2.0, 2.0, 5.0]).slices(
            [np.zeros((2, 1), np.int32)], [task], "recall", 1
        )["price"]
    ]
    assert names == ["up to 2.00", "above 2.00"]


def test_nothing_known() -> None:
    task = make([[0]], [[1]], n_items=2)
    assert Products.of([task], table([None, None], [None, None])) is None
    assert Products.of([task], ItemTable(IdMap(["7"]), pa.table({"category": pa.array(["a"], TEXT)}))) is None
    assert Products.of([task], table([None, None], [None, 1e300])) is None  # a mistake, no price


def test_money_against_loops() -> None:
    rng = np.random.default_rng(0)
    n_users, n_items = 40, 30
    prices = np.where(rng.random(n_items) < 0.2, np.nan, rng.gamma(2, 5, n_items))
    held = sp.csr_matrix((rng.random((n_users, n_items)) < 0.1).astype(np.float32))
    ranked = np.argsort(rng.random((n_users, n_items)), axis=1).astype(np.int32)[:, :12]
    ranked[3, 4:] = -1
    found = money(ranked, held, prices, (1, 5, 12))
    for k in (1, 5, 12):
        for user in range(n_users):
            wanted = set(held[user].indices.tolist())
            worth = [0.0 if math.isnan(prices[item]) else prices[item] for item in range(n_items)]
            hits = sum(worth[item] for item in ranked[user, :k] if item >= 0 and int(item) in wanted)
            total = sum(worth[item] for item in wanted)
            assert found[f"value@{k}"][user] == pytest.approx(1000 * hits / k)
            if total:
                assert found[f"value_recall@{k}"][user] == pytest.approx(hits / total)
            else:
                assert math.isnan(found[f"value_recall@{k}"][user])


def test_with_one_price_money_is_precision_and_recall() -> None:
    tasks, runs = comparison()
    ranked, held = parted(tasks, runs[0].ranked)[0], tasks[0].held_out
    found = money(ranked, held, np.full(held.shape[1], 3.0), (5, 20))
    known = compute(ranked, held, ("precision", "recall"), (5, 20))
    for k in (5, 20):
        np.testing.assert_allclose(found[f"value@{k}"], 3000 * known[f"precision@{k}"])
        np.testing.assert_allclose(found[f"value_recall@{k}"], known[f"recall@{k}"])


def test_the_comparison_has_money_with_its_intervals() -> None:
    tasks, runs = comparison("k-fold")
    found = Products.of(tasks, table_of(tasks))
    assert found is not None
    compared = compare_runs(tasks, runs, ks=(5, 20), metric="ndcg@20", seed=3, products=found)
    values = {
        run.name: np.concatenate(
            [
                money(ranked, task.held_out, prices, (20,))["value@20"]
                for task, ranked, prices in zip(tasks, parted(tasks, run.ranked), found.prices, strict=True)
            ]
        )
        for run in runs[:3]
    }
    for measured in compared.models[:3]:
        assert [name for name in measured.metrics if name.partition("@")[0] not in METRICS][-4:] == [
            "value@5",
            "value@20",
            "value_recall@5",
            "value_recall@20",
        ]
        mean = bootstrap_mean(values[measured.run.name], seed=3)
        assert measured.metrics["value@20"].mean == pytest.approx(mean.mean)
        assert measured.metrics["value@20"].low == pytest.approx(mean.low)
        if measured.run.name == compared.best_baseline:
            assert measured.worth is None
        else:
            assert measured.worth is not None
            other = paired_difference(values[measured.run.name], values[str(compared.best_baseline)], seed=3)
            assert measured.worth.mean == pytest.approx(other.mean)
            assert measured.worth.high == pytest.approx(other.high)
    assert compared.models[3].worth is None  # it failed
