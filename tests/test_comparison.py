"""Several models on the same users: every figure against a plain loop over the users, folds, ties, refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from comparisons import FAILED, LENGTH, comparison

from recae.errors import ConfigError, DataError
from recae.evaluation import bootstrap_mean, paired_difference
from recae.evaluation.comparison import CURVE_KS, Comparison, Measured, Run, compare_runs, split_metric
from recae.evaluation.intervals import holm
from recae.evaluation.sets import set_figures
from recae.splits.tasks import Task


def of(found: Comparison, name: str) -> Measured:
    return next(m for m in found.models if m.run.name == name)


def users_of(tasks: Sequence[Task], run: Run) -> list[tuple[list[str], set[str], set[str]]]:
    """(list, held out, history) of every user by the ids of the items: no columns, no folds."""
    users, row = [], 0
    for task in tasks:
        for u in range(len(task.test_users)):
            listed = [task.items.id(int(i)) for i in run.ranked[row] if i >= 0]
            held, owned = (
                {task.items.id(int(i)) for i in m[u].indices} for m in (task.held_out, task.histories)
            )
            users.append((listed, held, owned))
            row += 1
    return users


def recalls(users: list[tuple[list[str], set[str], set[str]]], k: int) -> list[float]:
    return [len(set(listed[:k]) & held) / len(held) for listed, held, _ in users]


def ndcgs(users: list[tuple[list[str], set[str], set[str]]], k: int) -> list[float]:
    found = []
    for listed, held, _ in users:
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(listed[:k]) if item in held)
        found.append(gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(held)))))
    return found


@pytest.mark.some(2)
@pytest.mark.parametrize("protocol", ["strong", "k-fold", "time", "next-basket"])
def test_every_figure_is_that_of_a_loop_over_the_users(protocol: str) -> None:
    tasks, runs = comparison(protocol, repeats=protocol == "next-basket")
    found = compare_runs(tasks, runs, ks=(20, 5), metric="ndcg@10", seed=4)
    assert found.ks == (5, 10, 20)
    assert found.test_users == [user for task in tasks for user in task.test_users]
    assert len(set(found.test_users)) == len(found.test_users) > 3
    for run in runs[:3]:
        model, users = of(found, run.name), users_of(tasks, run)
        for k in found.ks:
            assert model.values[f"recall@{k}"] == pytest.approx(recalls(users, k))
            assert model.values[f"ndcg@{k}"] == pytest.approx(ndcgs(users, k))
        names = {name.partition("@")[0] for name in model.metrics}
        again = {"recall_repeat", "recall_new"} if protocol == "next-basket" else set()
        assert names == {
            "recall",
            "capped_recall",
            "precision",
            "hit_rate",
            "ndcg",
            "map",
            "mrr",
            *again,
        }
        for name, mean in model.metrics.items():
            alone = bootstrap_mean(model.values[name], seed=4)
            assert astuple(mean) == pytest.approx(astuple(alone), abs=1e-12, nan_ok=True)
        assert list(model.curve) == [1, 2, 3, 5, 10, 20]
        for k, mean in model.curve.items():
            alone = bootstrap_mean(recalls(users, k), seed=4)
            assert astuple(mean) == pytest.approx(astuple(alone), abs=1e-12)


def test_differences_are_to_the_best_baseline() -> None:
    tasks, runs = comparison()
    for metric in ("ndcg@10", "recall@20"):
        found = compare_runs(tasks, runs, metric=metric, ks=(10,), seed=2)
        means = {m.run.name: m.values[metric].mean() for m in found.models if m.run.failed is None}
        assert found.best_baseline == max(("popularity", "item-kNN"), key=means.__getitem__)
        assert of(found, found.best_baseline).difference is None
        others = [m for m in found.models if m.run.name in means and m.run.name != found.best_baseline]
        alone = [
            paired_difference(m.values[metric], of(found, found.best_baseline).values[metric], seed=2)
            for m in others
        ]
        for model, paired, corrected in zip(others, alone, holm([a.p for a in alone]), strict=True):
            assert model.difference is not None
            assert model.difference.to == found.best_baseline
            assert astuple(model.difference.paired) == pytest.approx(astuple(paired), abs=1e-12)
            assert model.difference.p_corrected == pytest.approx(corrected)
            assert model.difference.paired.mean == pytest.approx(
                means[model.run.name] - means[found.best_baseline]
            )


def test_slices_part_the_users() -> None:
    tasks, runs = comparison("k-fold")
    found = of(compare_runs(tasks, runs, metric="recall@10", ks=(10,)), "item-kNN")
    users = users_of(tasks, runs[2])
    by_history = found.slices["history"]
    assert sum(part.n_users for part in by_history) == len(users)
    for part in by_history:
        low, _, high = part.name.removesuffix(" items").partition("–")
        chosen = [u for u in users if int(low) <= len(u[2]) <= int(high or low)]
        assert part.n_users == len(chosen)
        assert part.interval.mean == pytest.approx(np.mean(recalls(chosen, 10)))
    assert [part.name for part in found.slices["popularity"]] == ["head", "torso", "tail"]
    assert "repeat" not in found.slices
    repeats = compare_runs(*comparison("next-basket", repeats=True), ks=(10,), metric="ndcg@10")
    assert [part.name for part in of(repeats, "sigmoid").slices["repeat"]] == ["new items", "bought before"]


def test_figures_of_the_lists_are_means_over_the_folds() -> None:
    tasks, runs = comparison("k-fold")
    found = of(compare_runs(tasks, runs, ks=(10,), metric="ndcg@10"), "popularity")
    total, row = 0.0, 0
    for task in tasks:
        n = len(task.test_users)
        total += n * set_figures(runs[1].ranked[row : row + n], task.train, [10])["novelty@10"]
        row += n
    assert found.sets["novelty@10"] == pytest.approx(total / row)
    assert set(found.sets) == {"coverage@10", "novelty@10", "popularity_bias@10", "diversity@10"}


def test_a_run_that_failed_has_nothing() -> None:
    failed = of(compare_runs(*comparison(), ks=(10,), metric="ndcg@10"), "BPR")
    assert failed.run is FAILED
    assert (failed.values, failed.metrics, failed.curve, failed.sets, failed.slices) == ({}, {}, {}, {}, {})
    assert failed.difference is None


def test_without_a_baseline_nothing_is_compared() -> None:
    tasks, runs = comparison()
    for chosen in ([runs[0]], [runs[0], FAILED]):
        found = compare_runs(tasks, chosen, ks=(10,), metric="ndcg@10")
        assert found.best_baseline is None
        assert all(m.difference is None for m in found.models)
    found = compare_runs(tasks, [FAILED], ks=(10,), metric="ndcg@10")
    assert found.best_baseline is None


def test_of_equal_baselines_the_first_is_the_best() -> None:
    tasks, runs = comparison()
    twin = replace(runs[2], name="twin")
    for first, second in ((runs[2], twin), (twin, runs[2])):
        found = compare_runs(tasks, [runs[0], first, second], ks=(10,), metric="ndcg@10")
        assert found.best_baseline == first.name
        difference = of(found, second.name).difference
        assert difference is not None
        assert astuple(difference.paired) == (0, 0, 0, 1)


def test_the_same_again() -> None:
    first, second = (compare_runs(*comparison(), ks=(10, 20), seed=5) for _ in range(2))
    other = compare_runs(*comparison(), ks=(10, 20), seed=6)
    for a, b, c in zip(first.models[:3], second.models, other.models, strict=False):
        assert a.metrics == b.metrics
        assert a.curve == b.curve
        assert a.difference == b.difference
        assert a.metrics != c.metrics


def test_lists_with_nothing_in_them_count_as_misses() -> None:
    tasks, runs = comparison()
    empty = replace(runs[2], name="empty", ranked=np.full_like(runs[2].ranked, -1))
    found = of(compare_runs(tasks, [empty], ks=(10,), metric="ndcg@10"), "empty")
    assert {found.metrics[f"{name}@10"].mean for name in ("recall", "ndcg", "map", "mrr")} == {0.0}
    assert found.sets["coverage@10"] == 0


def test_curves_end_with_the_lists() -> None:
    tasks, runs = comparison()
    short = [replace(runs[0], ranked=runs[0].ranked[:, :7])]
    assert list(compare_runs(tasks, short, ks=(7,), metric="mrr@7").models[0].curve) == [1, 2, 3, 5, 7]
    assert max(k for k in CURVE_KS if k <= LENGTH) == 20


@pytest.mark.parametrize(
    "metric", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@²", "auc@20", "@20", "ndcg@2.5"]
)
def test_what_is_no_metric_at_a_length(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"such as ndcg@20, but .*choose one of recall, .*mrr"):
        split_metric(metric)


def test_refusals() -> None:
    tasks, runs = comparison()
    with pytest.raises(DataError, match="two are named 'sigmoid'; rename"):
        compare_runs(tasks, [runs[0], runs[0]])
    with pytest.raises(DataError, match="there are 1 and 0"):
        compare_runs(tasks, [])
    with pytest.raises(DataError, match="there are 0 and 4"):
        compare_runs([], runs)
    with pytest.raises(DataError, match=r"'sigmoid' have the shape \(19, 25\), but there are 20 test users"):
        compare_runs(tasks, [replace(runs[0], ranked=runs[0].ranked[1:])])
    with pytest.raises(ConfigError, match="50"):
        compare_runs(tasks, runs, ks=(50,))
    with pytest.raises(ConfigError, match="k"):
        compare_runs(tasks, runs, ks=(0,))
