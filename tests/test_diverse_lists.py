"""What diversity costs: the lists of a job against a slow greedy choice, and what the comparison says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import comparison
from jobs import task

from recae import evaluate as recae_evaluate
from recae.evaluation.comparison import compare_runs, parted
from recae.evaluation.intervals import paired_difference
from recae.evaluation.sets import set_figures
from recae.metrics import compute
from recae.selection.compare import compare
from recae.selection.executor import InProcess
from recae.selection.fit import fit_kind
from recae.selection.jobs import Inputs, Job, JobEvent, Outcome, do_job
from recae.selection.trial import Message


def test_lists_of_a_job_against_a_slow_greedy_choice(tmp_path: Path) -> None:
    inputs = Inputs.of(task())
    wanted = Job("itemknn", ({},), True, 10, (0.2, 0.7), 5)
    outcome = do_job(wanted, inputs)
    model, _ = fit_kind("itemknn", {}, inputs.fit, inputs.validation, exclude_owned=True)
    with np.errstate(invalid="ignore"):  # of items that all users score alike
        alike = np.nan_to_num(
            np.corrcoef(model.score(inputs.fit).astype(np.float64).T)
        )  # fewer users than are drawn
    assert outcome.diverse is not None
    assert outcome.diverse.shape == (2, inputs.histories.shape[0], 5)
    scores = model.score(inputs.histories).astype(np.float64)
    for place, x in enumerate(wanted.diversities):
        for row, found in enumerate(outcome.diverse[place].tolist()):
            owned = set(inputs.histories[row].indices.tolist())
            may = sorted(
                (i for i in range(model.n_items) if i not in owned), key=lambda i: (-scores[row, i], i)
            )[:100]
            low, high = scores[row, may].min(), scores[row, may].max()
            for n, item in enumerate(found):
                value = {
                    i: (1 - x) * (scores[row, i] - low) / (high - low)
                    - x * max((alike[i, other] for other in found[:n]), default=0.0)
                    for i in may
                    if i not in found[:n]
                }
                assert value[item] >= max(value.values()) - 1e-5
    with (tmp_path / "o.npz").open("wb") as file:
        outcome.write(file)
    np.testing.assert_array_equal(Outcome.read(tmp_path / "o.npz").diverse, outcome.diverse)


def test_without_diversity_there_are_no_lists_and_with_hardly_any_they_are_the_plain_ones() -> None:
    inputs = Inputs.of(task())
    assert do_job(Job("itemknn", ({},), True, 10), inputs).diverse is None
    outcome = do_job(Job("itemknn", ({},), True, 10, (1e-9,), 5), inputs)
    assert outcome.diverse is not None
    gaps = np.diff(outcome.scores[:, :6], axis=1)
    told_apart = (gaps < -1e-6).all(axis=1)  # where no scores are equal
    assert told_apart.any()
    np.testing.assert_array_equal(outcome.diverse[0][told_apart], outcome.ranked[told_apart, :5])


def test_a_model_that_scores_all_alike_has_none_and_says_so() -> None:
    told: list[JobEvent] = []
    outcome = do_job(Job("popularity", ({},), True, 10, (0.2,), 5), Inputs.of(task()), told.append)
    assert outcome.diverse is not None
    assert outcome.diverse.shape[0] == 0
    (said,) = [event.text for event in told if isinstance(event, Message)]
    assert said.startswith("lists with diversity are left out: items are compared by their scores")


def test_only_models_have_them_in_a_comparison() -> None:
    tasks = [task()]
    runs = compare(
        tasks,
        ["itemknn"],
        ["popularity"],
        trials=1,
        executor=InProcess(),
        diversities=(0.2, 0.7),
        diverse_length=5,
    )
    assert {run.name: list(run.diverse) for run in runs} == {"popularity": [], "item-kNN": [0.2, 0.7]}


@pytest.mark.parametrize("protocol", ["strong", "k-fold"])
def test_the_cost_is_the_paired_difference_to_the_plain_lists(protocol: str) -> None:
    tasks, runs = comparison(protocol)
    rng = np.random.default_rng(0)
    lists = runs[0].ranked[:, rng.permutation(20)]  # other lists of the same items
    runs = [replace(runs[0], diverse={0.4: lists, 0.1: runs[0].ranked[:, :20]}), *runs[1:]]
    found = compare_runs(tasks, runs, ks=(5, 20), metric="ndcg@20", seed=3).models[0]
    same, other = found.diversified
    assert (same.diversity, other.diversity) == (0.1, 0.4)
    assert (same.cost.mean, same.cost.low, same.cost.high) == (0, 0, 0)
    assert same.sets == pytest.approx({name: found.sets[name] for name in same.sets})
    values = np.concatenate(
        [
            compute(part, of_task.held_out, ("ndcg",), (20,))["ndcg@20"]
            for of_task, part in zip(tasks, parted(tasks, lists), strict=True)
        ]
    )
    assert other.interval.mean == pytest.approx(np.nanmean(values))
    expected = paired_difference(values, found.values["ndcg@20"], seed=3)
    assert (other.cost.mean, other.cost.high) == pytest.approx((expected.mean, expected.high))
    users = [len(of_task.test_users) for of_task in tasks]
    coverage = [
        set_figures(part, of_task.train, (20,))["coverage@20"]
        for of_task, part in zip(tasks, parted(tasks, lists), strict=True)
    ]
    assert other.sets["coverage@20"] == pytest.approx(np.average(coverage, weights=users))


def test_from_python_and_in_the_report() -> None:
    rng = np.random.default_rng(1)
    bought = {
        "user": [f"u{n}" for n in rng.integers(0, 80, 1500)],
        "item": [f"i{n}" for n in rng.integers(0, 60, 1500)],
    }
    found = recae_evaluate(bought, kind="itemknn", baselines="popularity", trials=1, diversity=[0.5, 0.2])
    (model,) = [one for one in found.report.models if one.name == "item-kNN"]
    assert [lists.diversity for lists in model.diversified] == [0.2, 0.5]
    before = (model.sets or {})["diversity@20"]
    assert before is not None
    assert all((lists.sets["diversity@20"] or 0) >= before - 1e-9 for lists in model.diversified)
    again = json.loads(json.dumps(found.report.to_json()))
    (stored,) = [one for one in again["models"] if one["name"] == "item-kNN"]
    assert stored["diversified"][1]["cost"]["mean"] == pytest.approx(model.diversified[1].cost.mean)
