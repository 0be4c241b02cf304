"""Items held out whole: what the protocol hides, its lists against an explicit regression, and the baselines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from click.testing import CliRunner
from commands import recae
from numpy.typing import NDArray
from shops import purchases_of, random_shop

from recae.cli import main
from recae.errors import DataError
from recae.evaluation.comparison import Run
from recae.item_features import groups_of
from recae.item_table import ItemTable
from recae.models import ItemKNN, Popularity
from recae.ranking import PADDING
from recae.selection.cold import CATEGORY, RANDOM, cold_baselines, rank_cold
from recae.selection.executor import InProcess
from recae.selection.jobs import Inputs, Job, do_job
from recae.selection.new_items import weights_of
from recae.splits.protocols import ProtocolOptions, Task, make_tasks

THINGS = ("mug", "lamp", "bag", "clock", "card", "box", "pen", "hat")


def shop(seed: int = 0, users: int = 120) -> list[tuple[str, str, int]]:
    """Users of one thing each, in any colour; the id is the name's, behind "name of"."""
    rng = np.random.default_rng(seed)
    items = [f"{colour} {thing}" for thing in THINGS for colour in ("red", "blue", "green", "white", "black")]
    thing = np.array([THINGS.index(item.split()[1]) for item in items])
    taste = rng.integers(0, len(THINGS), users)
    held = rng.random((users, len(items))) < np.where(thing[None] == taste[:, None], 0.6, 0.05)
    return [(f"u{u:03}", items[i], 0) for u, i in zip(*held.nonzero(), strict=True)]


def task_of(rows: list[tuple[str, str, int]], seed: int = 0, **options: float) -> Task:
    (task,) = make_tasks(purchases_of(rows), "cold-items", ProtocolOptions(**options), seed)  # type: ignore[arg-type]
    return task


def new_of(task: Task) -> set[str]:
    assert task.cold is not None
    return set(task.items.ids(np.flatnonzero(task.cold.new)).to_pylist())


@pytest.mark.parametrize("seed", [0, 4])
def test_nobody_who_learns_has_an_item_that_is_held_out(seed: int) -> None:
    rows = random_shop(seed)
    task = task_of(rows, seed, held_out=0.25)
    assert task.cold is not None
    new, items = new_of(task), list(task.items)
    assert len(new) == int(0.25 * len({i for _, i, _ in rows})) == task.counts["cold_items"]
    places = np.flatnonzero(task.cold.new)
    for matrix in (task.fit, task.train, task.histories, *(task.validation or ())):
        assert matrix[:, places].nnz == 0
    assert task.held_out[:, np.flatnonzero(~task.cold.new)].nnz == 0
    for u, user in enumerate(task.test_users):
        owned = {i for v, i, _ in rows if v == user}
        assert {items[i] for i in task.held_out[u].indices} == owned & new
        assert {items[i] for i in task.histories[u].indices} == owned - new
    # by seed and id: one user less changes nothing of what is held out, but for the items that only they had
    fewer = [row for row in rows if row[0] != "u00" or row[1].startswith("~")]
    assert {i for _, i, _ in fewer} == {i for _, i, _ in rows}
    assert new_of(task_of(fewer, seed, held_out=0.25)) == new
    assert new_of(task_of(rows, seed + 1, held_out=0.25)) != new


def test_what_is_held_out_does_not_reach_the_models() -> None:
    rows = shop()
    task = task_of(rows)
    new = new_of(task)
    # other users buy the new items: everything that a job sees of those who are asked in both stays
    moved = [(f"u{(int(u[1:]) * 7 + 3) % 120:03}", i, t) if i in new else (u, i, t) for u, i, t in rows]
    other = task_of(moved)
    assert new_of(other) == new
    for name in ("fit", "train"):
        assert abs(getattr(task, name) - getattr(other, name)).nnz == 0
    assert task.cold is not None
    assert other.cold is not None
    assert abs(task.cold.features - other.cold.features).nnz == 0
    np.testing.assert_array_equal(task.cold.groups, other.cold.groups)


def test_lists_are_those_of_an_explicit_regression() -> None:
    task = task_of(shop())
    assert task.cold is not None
    inputs = Inputs.of(task)
    learned = inputs.learned
    model = ItemKNN.fit(learned.fit)
    ranked, chosen = rank_cold(model, learned.fit, learned.histories, task.cold, 5)
    assert set(chosen["new_items"]) == {"ridge", "power"}
    features = task.cold.features.toarray().astype(np.float64)
    known = ~task.cold.new
    owners = np.bincount(learned.fit.indices, minlength=learned.fit.shape[1])
    weights = weights_of(owners, chosen["new_items"]["power"]).astype(np.float64)
    used = np.flatnonzero(features[known].any(axis=0))
    penalty = np.full(used.size, chosen["new_items"]["ridge"])
    penalty[used == 0] = 1e-3
    rooted = np.sqrt(weights)[:, None]
    stacked = np.vstack([features[known][:, used] * rooted, np.diag(np.sqrt(penalty))])
    targets = model.score(learned.histories).T.astype(np.float64)
    wanted = np.vstack([targets * rooted, np.zeros((used.size, targets.shape[1]))])
    by_hand = features[~known][:, used] @ np.linalg.lstsq(stacked, wanted, rcond=None)[0]
    places = np.flatnonzero(task.cold.new)
    for u in range(20):
        row = ranked.items[u]
        assert len(set(row)) == 5
        found = by_hand[np.searchsorted(places, row), u]
        np.testing.assert_allclose(found, np.sort(by_hand[:, u])[::-1][:5], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(ranked.scores[u], found, rtol=1e-3, atol=1e-4)


def test_baselines_are_by_category_and_by_chance() -> None:
    task = task_of(shop())
    assert task.cold is not None
    table = ItemTable(task.items, purchases_table(task))
    categories = table.path().to_pylist()
    with_categories = replace(task, cold=replace(task.cold, groups=groups_of(table, ~task.cold.new)))
    job = do_job(Job("popularity", ({},), True, 8), Inputs.of(task))
    runs = cold_baselines([with_categories], [_run(job.ranked)], 0)
    assert [run.name for run in runs] == [RANDOM, CATEGORY]
    new = set(np.flatnonzero(task.cold.new).tolist())
    for run in runs:
        assert run.baseline
        assert run.ranked.shape == (len(task.test_users), 8)
        assert all(set(row[row != PADDING].tolist()) <= new for row in run.ranked)
    owners = np.bincount(task.train.indices, minlength=len(task.items))
    mean = {
        thing: np.mean([owners[i] for i, c in enumerate(categories) if c == thing and i not in new])
        for thing in THINGS
    }
    row = [categories[i] for i in runs[1].ranked[0] if i != PADDING]
    assert row == sorted(row, key=lambda thing: -mean[thing])
    assert (runs[1].ranked == runs[1].ranked[0]).all()
    assert not (runs[0].ranked == runs[0].ranked[0]).all()
    assert cold_baselines([replace(task, cold=None)], [_run(job.ranked)], 0) == []


def purchases_table(task: Task) -> pa.Table:
    return pa.table({"category": pa.array([item.split()[1] for item in task.items], pa.large_string())})


def _run(ranked: NDArray[np.int32]) -> Run:
    return Run("popularity", "popularity", True, ranked=ranked)


def test_inputs_are_the_same_in_another_process(tmp_path: Path) -> None:
    inputs = Inputs.of(task_of(shop()))
    inputs.save(tmp_path)
    again = Inputs.load(tmp_path)
    assert again.fingerprint == inputs.fingerprint
    assert again.cold is not None
    assert inputs.cold is not None
    np.testing.assert_array_equal(again.cold.new, inputs.cold.new)
    changed = replace(inputs, cold=replace(inputs.cold, groups=inputs.cold.groups + 1))
    assert changed.fingerprint != inputs.fingerprint
    without = replace(inputs, cold=None)
    assert without.fingerprint != inputs.fingerprint
    assert without.learned is without
    assert Popularity.fit(inputs.learned.fit).n_items == int((~inputs.cold.new).sum())
    assert sp.issparse(inputs.learned.histories)


def test_evaluate_finds_new_items_by_their_names(tmp_path: Path) -> None:
    rows = shop()
    path, page = tmp_path / "shop.csv", tmp_path / "report.html"
    lines = "".join(f"{u},{THINGS.index(i.split()[1])}-{i.split()[0]},{i}\n" for u, i, _ in rows)
    path.write_text(f"user_id,item_id,item_name\n{lines}", encoding="utf-8")
    arguments = [
        "evaluate",
        path,
        "--protocol",
        "cold-items",
        "--kind",
        "itemknn",
        "--baselines",
        "popularity",
    ]
    arguments += ["--trials", "1", "--report", page, "--json", "--keep", tmp_path / "stored"]
    result = CliRunner().invoke(main, list(map(str, arguments)), obj=InProcess())
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    means = {model["name"]: model["metrics"]["ndcg@20"]["mean"] for model in report["models"]}
    assert set(means) == {RANDOM, CATEGORY, "popularity", "item-kNN"}
    assert means["item-kNN"] > max(means[RANDOM], means[CATEGORY]) + 0.05
    assert "held out whole" in report["protocol"]["rule"]
    assert "as if they were new" in page.read_text(encoding="utf-8")


def test_without_names_it_is_refused(tmp_path: Path) -> None:
    purchases = purchases_of(shop())
    bare = replace(purchases, interactions=replace(purchases.interactions, item_names=None))
    with pytest.raises(
        DataError, match="neither names nor categories: give a table of products with --items"
    ):
        make_tasks(bare, "cold-items")
    with pytest.raises(DataError, match="one at least to find and one to learn from"):
        make_tasks(purchases_of(shop()[:2]), "cold-items")
    path = tmp_path / "shop.csv"
    path.write_text("user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i, _ in shop()), encoding="utf-8")
    result = recae(
        "evaluate", path, "--protocol", "cold-items", "--kind", "itemknn", "--keep", tmp_path / "s"
    )
    assert result.exit_code == 2
    assert "give a table of products with --items" in result.stderr.splitlines()[-1]
