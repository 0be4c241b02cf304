"""Tests of training from purchases: who is held out, what reaches the model, what is measured and written down."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import tenth
from hypothesis import given
from hypothesis import strategies as st

from recae import machine
from recae.errors import ColumnError, ConfigError, SourceError
from recae.ids import IdMap
from recae.interactions import Interactions
from recae.modelfile import load, save
from recae.models.itemknn import Neighbours
from recae.pipeline import measure, train
from recae.reading import ReadOptions, read_interactions
from recae.recommender import LEARNED, TEST, VALIDATION, Recommender
from recae.selection.fit import make_settings
from recae.selection.progress import Progress
from recae.splits import parts
from recae.splits.held_out import HeldOut, hold_out
from recae.training.kinds import sigmoid

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "purchases.csv"
SMALL: dict[str, Any] = {"factors": 8, "epochs": 3, "seed": 1}
EXTRA = 12  # items that anybody may own, beside the one of each user


def shop(sizes: list[int], seed: int = 0) -> Interactions:
    """User u owns item u, which nobody else does, and `sizes[u] - 1` of the last `EXTRA` items.

    So a history tells whose it is, as long as item u stays in one of its parts.
    """
    rng = np.random.default_rng(seed)
    rows = [[u, *(len(sizes) + rng.permutation(EXTRA)[: size - 1])] for u, size in enumerate(sizes)]
    return interactions(rows, len(sizes) + EXTRA)


def interactions(rows: list[list[int]], n_items: int) -> Interactions:
    owned = [(user, item) for user, items in enumerate(rows) for item in sorted(items)]
    users, items = (np.array(part, dtype=np.int32) for part in zip(*owned, strict=True))
    matrix = sp.csr_matrix(
        (np.ones(len(owned), np.float32), (users, items)), shape=(len(rows), n_items), dtype=np.float32
    )
    return Interactions(
        matrix,
        IdMap(f"u{n:03d}" for n in range(len(rows))),
        IdMap(f"i{n:03d}" for n in range(n_items)),
        None,
        np.ones(matrix.nnz, np.int32),
    )


def owner(history: sp.csr_matrix, row: int, n_users: int) -> int:
    return int(next(item for item in history[row].indices if item < n_users))


def test_neighbours_are_chosen_once_in_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blend's part of item-kNN is the baseline of the table: nothing is compared again for it."""
    real, compared = Neighbours.of, []

    def of(matrix: Any, k: int, weighting: Any = "tfidf", weights: Any = None) -> Neighbours:
        compared.append(weighting)
        return real(matrix, k, weighting, weights)

    monkeypatch.setattr(Neighbours, "of", of)
    data, baselines = shop([8] * 40), []
    for asked in (
        {"kind": "itemknn"},
        SMALL,
        {**SMALL, "itemknn.k": 7},
        {"kind": "auto", "candidates": "ease"},
    ):
        recommender = train(data, refit=False, **{"seed": 1, **asked})
        assert compared == ["tfidf"]
        compared.clear()
        baselines.append(recommender.metadata["metrics"]["rows"][-1])
    assert baselines[1:] == baselines[:1] * 3
    train(data, refit=False, **SMALL, **{"itemknn.weighting": "bm25"})  # another model than the baseline
    assert compared == ["bm25", "tfidf"]
    compared.clear()
    train(data, kind="itemknn")
    assert compared == ["tfidf", "tfidf"]  # once more, on everybody


def sets(matrix: sp.csr_matrix) -> list[set[int]]:
    return [set(matrix[row].indices.tolist()) for row in range(matrix.shape[0])]


# holding users out


@given(
    sizes=st.lists(st.integers(1, EXTRA), min_size=1, max_size=60),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_held_out_users_and_the_learners_share_nobody(sizes: list[int], seed: int) -> None:
    purchases = shop(sizes, seed)
    before = purchases.matrix.copy()
    held_out = hold_out(purchases, seed)
    divisible = sum(size >= 2 for size in sizes)
    assert (purchases.matrix != before).nnz == 0
    if divisible < 3:
        assert held_out.validation is held_out.test is None
        assert held_out.learners.tolist() == list(range(len(sizes)))
        return

    number = min(max(1, round(0.1 * len(sizes))), divisible // 3)
    seen = set(held_out.learners.tolist())
    assert len(seen) == len(held_out.learners)
    assert held_out.validation is not None
    assert held_out.test is not None
    for history, found in (held_out.validation, held_out.test):
        assert history.shape == found.shape == (number, purchases.n_items)
        for row, (kept, hidden) in enumerate(zip(sets(history), sets(found), strict=True)):
            user = owner(history + found, row, len(sizes))
            assert user not in seen
            seen.add(user)
            assert kept.isdisjoint(hidden)
            assert kept | hidden == set(before[user].indices.tolist())
            assert len(hidden) == min(max(1, round(0.2 * sizes[user])), sizes[user] - 1)
    assert seen == set(range(len(sizes)))
    assert all(size >= 2 or user in held_out.learners for user, size in enumerate(sizes))


def test_the_number_held_out_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    purchases = shop([4] * 100)
    usual = hold_out(purchases, 0)
    assert (usual.learners.size, usual.test and usual.test[0].shape[0]) == (80, 10)
    monkeypatch.setattr(parts, "HELD_OUT_AT_MOST", 3)
    few = hold_out(purchases, 0)
    assert (few.learners.size, few.test and few.test[0].shape[0]) == (94, 3)


def test_the_held_out_users_follow_from_the_seed() -> None:
    purchases = shop([5] * 40)
    first, again, other = (hold_out(purchases, seed) for seed in (1, 1, 2))
    assert first.learners.tolist() == again.learners.tolist() != other.learners.tolist()
    assert first.test is not None
    assert again.test is not None
    assert (first.test[1] != again.test[1]).nnz == 0


def test_the_model_sees_the_learners_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    purchases = shop([6] * 50)
    seen: list[sp.csr_matrix] = []
    real = sigmoid.fit_sigmoid

    def spy(matrix: sp.csr_matrix, *arguments: Any, **options: Any) -> Any:
        seen.append(matrix)
        return real(matrix, *arguments, **options)

    monkeypatch.setattr(sigmoid, "fit_sigmoid", spy)
    recommender = train(purchases, **SMALL, refit=False)
    assert recommender.metadata["metrics"]["n_users"] == 5
    assert recommender.metadata["metrics"]["validation_users"] == 5
    learners = {owner(seen[0], row, 50) for row in range(seen[0].shape[0])}
    assert len(learners) == seen[0].shape[0] == 40
    # nothing of anybody else: the items of their own have no buyer
    assert set(np.flatnonzero(seen[0].getnnz(axis=0)[:50]).tolist()) == learners


def test_too_few_users_to_hold_any_out() -> None:
    messages: list[str] = []
    progress = Progress(on_message=messages.append)
    recommender = train(shop([1, 1, 4, 1, 4]), kind="sigmoid", progress=progress, **SMALL)
    assert recommender.metadata["metrics"] is None
    assert [entry["recall@20"] for entry in recommender.metadata["history"]] == [None] * 3
    assert sum("too few users" in message for message in messages) == 1
    assert not any("measuring" in message for message in messages)
    assert recommender.recommend("u002", n=3)
    with pytest.raises(ConfigError, match="no user can be held out"):
        measure({}, HeldOut(np.zeros(5, np.uint8), None, None))


# what is measured and written down


def test_metrics_are_those_of_a_slow_count() -> None:
    """Popularity's row of the table, counted by hand from the learners and the test users."""
    rng = np.random.default_rng(3)
    # a few items are bought by many, so that popularity is worth something
    weights = 1 / np.arange(1, 61)
    rows = [rng.choice(60, 9, replace=False, p=weights / weights.sum()).tolist() for _ in range(80)]
    purchases = interactions(rows, 60)
    metrics = train(purchases, **SMALL).metadata["metrics"]

    held_out = hold_out(purchases, SMALL["seed"])
    assert held_out.test is not None
    counts = [sum(item in rows[user] for user in held_out.learners) for item in range(60)]
    recalls: dict[int, list[float]] = {10: [], 20: [], 50: []}
    gains: list[float] = []
    for kept, hidden in zip(*map(sets, held_out.test), strict=True):
        ranked = sorted(set(range(60)) - kept, key=lambda item: (-counts[item], item))
        for k, values in recalls.items():
            values.append(len(hidden.intersection(ranked[:k])) / len(hidden))
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked[:20]) if item in hidden)
        gains.append(gain / sum(1 / math.log2(place + 2) for place in range(min(20, len(hidden)))))
    row = next(row for row in metrics["rows"] if row["model"] == "popularity")
    for k, values in recalls.items():
        assert row[f"recall@{k}"] == pytest.approx(np.mean(values), abs=1e-12)
    assert row["ndcg@20"] == pytest.approx(np.mean(gains), abs=1e-12)
    assert 0 < row["recall@10"] < 1


def test_metadata(tmp_path: Path) -> None:
    purchases = shop([5] * 60)
    recommender = train(purchases, kind="sigmoid", **SMALL)
    metadata = recommender.metadata
    assert set(metadata) == {
        "fingerprint",
        "held_out",
        "metrics",
        "history",
        "best_epochs",
        "refit",
        "versions",
    }
    assert metadata["refit"] == {"users": 60}
    recalls = [entry["recall@20"] for entry in metadata["history"]]
    assert metadata["best_epochs"] == {"sigmoid": 1 + recalls.index(max(recalls))}
    assert metadata["fingerprint"] == purchases.fingerprint
    assert set(metadata["metrics"]) == {"n_users", "validation_users", "ks", "rows", "intervals"}
    assert metadata["metrics"]["ks"] == [10, 20, 50]
    names = [row["model"] for row in metadata["metrics"]["rows"]]
    assert names[:2] == ["sigmoid", "popularity"]
    assert names[2].startswith("item-kNN (tf-idf, k=")
    for row in metadata["metrics"]["rows"]:
        assert list(row) == ["model", "recall@10", "recall@20", "recall@50", "ndcg@20"]
        assert all(0 <= value <= 1 for name, value in row.items() if name != "model")
    assert [entry["epoch"] for entry in metadata["history"]] == [1, 2, 3]
    assert all({"epoch", "loss", "recall@20"} <= set(entry) for entry in metadata["history"])
    assert set(metadata["versions"]) == {"recae", "numpy", "scipy", "numba", "torch"}
    save(recommender, tmp_path / "m.recae")
    assert load(tmp_path / "m.recae").metadata == json.loads(json.dumps(metadata))


@pytest.mark.parametrize(("sizes", "numbers"), [([5] * 60, [48, 6, 6]), ([1, 1, 4, 1, 4], [5, 0, 0])])
def test_the_model_file_says_who_was_held_out(tmp_path: Path, sizes: list[int], numbers: list[int]) -> None:
    purchases = shop(sizes)
    save(train(purchases, kind="popularity", seed=7), tmp_path / "m.recae")
    held_out = load(tmp_path / "m.recae").held_out
    assert held_out is not None
    assert held_out.tolist() == hold_out(purchases, 7).codes.tolist()
    assert [int((held_out == code).sum()) for code in (LEARNED, VALIDATION, TEST)] == numbers


def test_an_import_without_an_installation_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed", lambda name: None if name == "recae" else "1.0")
    versions = train(shop([2] * 5), **SMALL).metadata["versions"]
    assert versions == dict.fromkeys(("numpy", "scipy", "numba", "torch"), "1.0") | {"recae": None}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth customer of the sample."""
    path = tmp_path_factory.mktemp("few") / "purchases.csv"
    path.write_text(tenth(), encoding="utf-8")
    return path


def test_the_same_seed_gives_the_same_model_file(few: Path, tmp_path: Path) -> None:
    def file(name: str, **changes: Any) -> bytes:
        save(train(few, **(SMALL | changes)), tmp_path / name)
        return (tmp_path / name).read_bytes()

    first = file("a.recae")
    assert first == file("b.recae")
    assert first != file("c.recae", seed=2)


def test_interactions_and_their_file_give_the_same_model(few: Path) -> None:
    from_file, from_memory = train(few, **SMALL), train(read_interactions(few), **SMALL)
    assert from_file.metadata == from_memory.metadata
    for name, array in from_file.model.arrays().items():
        assert np.array_equal(array, from_memory.model.arrays()[name]), name


def test_progress_is_told_in_order(few: Path) -> None:
    told: list[tuple[str, Any]] = []
    progress = Progress(
        on_report=lambda report: told.append(("report", report.users)),
        on_start=lambda epochs, users: told.append(("start", (epochs, users))),
        on_users=lambda done: told.append(("users", done)),
        on_epoch=lambda epoch: told.append(("epoch", epoch.epoch)),
        on_message=lambda text: told.append(("message", text)),
    )
    train(few, kind="sigmoid", progress=progress, **SMALL)
    assert [kind for kind, _ in told if kind != "message"][:3] == ["report", "start", "users"]
    assert told[0] == ("report", 200)
    measuring = told.index(("message", "measuring it beside popularity and item-kNN on 20 held-out users"))
    before, again = told[:measuring], told[measuring:]
    assert ("start", (3, 180)) in before
    assert [value for kind, value in before if kind == "epoch"] == [1, 2, 3]
    done = [value for kind, value in before if kind == "users"]
    assert max(done) == 180
    assert done.count(180) == 3
    assert "fitting once more on all 200 users: about " in str(again[1])
    epochs = [value for kind, value in again if kind == "epoch"]
    assert ("start", (len(epochs), 200)) in again
    assert epochs == [1, 2, 3][: len(epochs)]
    told.clear()
    train(few, kind="sigmoid", progress=progress, refit=False, **SMALL)
    assert ("start", (3, 160)) in told  # nobody who is held out teaches it
    assert told.index(again[0]) == len(told) - 1


# what is refused


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("sigmod", {}, r"no model of kind 'sigmod'; did you mean 'sigmoid'\?"),
        ("Sigmoid", {}, "did you mean 'sigmoid'"),
        ("forest", {}, "no model of kind 'forest'; choose one of"),
        ("sigmoid", {"factor": 3}, "no setting 'factor'; did you mean 'factors'"),
        ("sigmoid", {"learningrate": 0.1}, "no setting 'learningrate'; did you mean 'learning_rate'"),
        ("sigmoid", {"zzz": 3}, "no setting 'zzz'; choose one of .*factors"),
        ("sigmoid", {"factors": 0}, "factors is a .*number from 1 .*found 0"),
        ("sigmoid", {"factors": 2.5}, r"factors is a .*number .*found 2\.5"),
        ("sigmoid", {"dropout": float("nan")}, "dropout is a number .*found nan"),
        ("sigmoid", {"dropout": "0.5"}, "dropout is a number .*found '0.5'"),
        ("sigmoid", {"dtype": "float16"}, "dtype is one of float32, float64, found 'float16'"),
    ],
)
def test_configurations_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(kind, settings)


def test_a_configuration_is_checked_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="kind"):
        train("missing.csv", kind="sigmod")
    with pytest.raises(ConfigError, match="factors"):
        train("missing.csv", factors=-1)
    with pytest.raises(ConfigError, match="device"):
        train("missing.csv", device="tpu")
    with pytest.raises(SourceError, match="there is no file"):
        train("missing.csv")
    with pytest.raises(ColumnError, match="'buyer'"):
        train(SAMPLE, reading=ReadOptions(user_column="buyer"))


# planted tastes


@pytest.fixture(scope="module")
def make_sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", ROOT / "scripts" / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sample"] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sample_model() -> Recommender:
    return train(SAMPLE, factors=32, epochs=8, seed=1)


def test_planted_tastes_are_found(make_sample: ModuleType, sample_model: Recommender) -> None:
    """Two of the twelve categories make a taste: chance would put a sixth of the recommendations there."""
    taste = {item.item_id: make_sample.taste_of(item.category) for item in make_sample.catalogue()}
    single = {c.user_id: set(c.tastes) for c in make_sample.customers() if len(c.tastes) == 1}
    inside = {
        user: np.mean([taste[r.item] in single[user] for r in sample_model.recommend(user, n=10)])
        for user in ["42", *list(single)[:200]]
    }
    assert inside["42"] > 0.5
    assert np.mean([share > 0.5 for share in inside.values()]) > 0.9
    assert np.mean(list(inside.values())) > 0.8


def test_a_planted_basket_is_answered_in_its_taste(
    make_sample: ModuleType, sample_model: Recommender
) -> None:
    """Nobody in particular, who has bought three things of one taste, is offered more of it."""
    catalogue = make_sample.catalogue()
    taste = {item.item_id: make_sample.taste_of(item.category) for item in catalogue}
    shares = []
    for name, (first, second) in make_sample.TASTES.items():
        best = [item.item_id for item in catalogue if item.rank == 0 and item.category in (first, second)]
        found = sample_model.recommend(items=best[:2] + best[-2:], n=10)
        shares.append(np.mean([taste[r.item] == name for r in found]))
    assert min(shares) > 1 / 3
    assert np.mean(shares) > 0.7


def test_the_sample_model_beats_popularity(sample_model: Recommender) -> None:
    rows = {row["model"]: row for row in sample_model.metadata["metrics"]["rows"]}
    assert rows["blend"]["recall@20"] > 1.5 * rows["popularity"]["recall@20"]
