"""Items that nobody has bought: their scores against explicit regressions on vectors, their file, and their ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from commands import recae

import recae as package
from recae.errors import ConfigError, ModelFileError, UnknownIdError
from recae.ids import IdMap
from recae.item_features import WIDTH, features_of, groups_of
from recae.item_table import TEXT, ItemTable
from recae.modelfile import load, save
from recae.models import ItemKNN, SigmoidAutoencoder
from recae.models.new_items import NewItems, base_of
from recae.recommender import Recommender
from recae.selection.new_items import (
    NEW_ITEMS,
    as_before,
    judge,
    ndcg,
    popularity_of,
    with_new_items,
)
from recae.serving.answers import RankedList, rank
from recae.serving.problems import Problem
from recae.serving.schemas import RecommendRequest
from recae.serving.served import load_served
from recae.updating.forget import forget
from recae.updating.update import update

COLOURS, THINGS = (
    ("red", "blue", "green", "white"),
    ("mug", "lamp", "bag", "clock", "card", "box", "pen", "hat"),
)


def shop(seed: int = 0, users: int = 300) -> tuple[sp.csr_matrix, ItemTable]:
    """Users of one taste each, a thing in any colour; of the last colour and thing nothing was bought, yet."""
    rng = np.random.default_rng(seed)
    names = [f"{colour} {thing} no{n}" for n in range(3) for thing in THINGS for colour in COLOURS]
    taste = rng.integers(0, len(THINGS), users)
    thing = np.array([THINGS.index(name.split()[1]) for name in names])
    held = rng.random((users, len(names))) < np.where(thing[None] == taste[:, None], 0.4, 0.02)
    new = np.array([name.startswith("white") and name.endswith("2") for name in names])
    held[:, new] = False
    order = np.concatenate([np.flatnonzero(~new), np.flatnonzero(new)])
    ids = IdMap([names[place] for place in order])
    table = ItemTable(ids, pa.table({"name": pa.array([names[place] for place in order], TEXT)}))
    return sp.csr_matrix(held[:, np.flatnonzero(~new)].astype(np.float32)), table


def recommender_of(seed: int = 0, **changes: Any) -> Recommender:
    matrix, table = shop(seed)
    n = matrix.shape[1]
    parts: dict[str, Any] = {
        "model": ItemKNN.fit(matrix),
        "users": IdMap([f"u{n}" for n in range(matrix.shape[0])]),
        "items": IdMap(table.ids.ids(np.arange(n))),
        "histories": matrix,
        "item_table": table,
    }
    return Recommender(**(parts | changes))


@pytest.fixture(scope="module")
def extended() -> Recommender:
    return with_new_items(recommender_of()).recommender


def ridge_by_hand(targets: np.ndarray, features: np.ndarray, weights: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients (F, T) of a weighted ridge regression from stacked rows, the constant all but free."""
    penalty = np.full(features.shape[1], ridge)
    penalty[0] = 1e-3
    stacked = np.vstack([features * np.sqrt(weights)[:, None], np.diag(np.sqrt(penalty))])
    wanted = np.vstack([targets * np.sqrt(weights)[:, None], np.zeros((features.shape[1], targets.shape[1]))])
    return np.linalg.lstsq(stacked, wanted, rcond=None)[0]


def small_features(rows: int, seed: int = 1) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, 7)) * (rng.random((rows, 7)) < 0.5)
    dense[:, 0] = 1
    return sp.csr_matrix(dense.astype(np.float32))


def test_scores_are_those_of_predicted_vectors_and_biases() -> None:
    rng = np.random.default_rng(0)
    n, new, d = 30, 6, 4
    numbers = [rng.normal(size=shape).astype(np.float32) for shape in ((n, d), d, (n, d), n)]
    base = SigmoidAutoencoder(*numbers, input_power=0.5, settings={"factors": d, "input_power": 0.5})
    features, weights = small_features(n + new), rng.uniform(0.5, 2, n).astype(np.float32)
    model = NewItems.of(base, features, weights, 1.5)
    histories = sp.csr_matrix((rng.random((5, n + new)) < 0.3).astype(np.float32))
    found = model.score(histories)
    read = sp.csr_matrix(histories[:, :n])
    np.testing.assert_array_equal(found[:, :n], base.score(read))
    dense = features.toarray().astype(np.float64)
    vectors = np.hstack([numbers[2], numbers[3][:, None]]).astype(np.float64)
    predicted = dense[n:] @ ridge_by_hand(vectors, dense[:n], weights.astype(np.float64), 1.5)
    codes = np.hstack([base.encode(read), np.ones((5, 1))])
    np.testing.assert_allclose(found[:, n:], codes @ predicted.T, rtol=1e-3, atol=1e-4)
    some = np.array([n + 2, 3, n])
    np.testing.assert_allclose(model.score_items(histories, some), found[:, some], rtol=1e-5, atol=1e-6)


def test_it_is_the_regression_on_the_scores_whatever_the_model() -> None:
    matrix, _ = shop()
    base = ItemKNN.fit(matrix)
    n = matrix.shape[1]
    features, weights = small_features(n + 3), np.linspace(0.5, 2, n).astype(np.float32)
    model = NewItems.of(base, features, weights, 2.0)
    histories = sp.csr_matrix((matrix[:4].data, matrix[:4].indices, matrix[:4].indptr), shape=(4, n + 3))
    dense = features.toarray().astype(np.float64)
    scores = base.score(sp.csr_matrix(matrix[:4])).astype(np.float64)
    coefficients = ridge_by_hand(scores.T, dense[:n], weights.astype(np.float64), 2.0)
    np.testing.assert_allclose(
        model.score(histories)[:, n:], (dense[n:] @ coefficients).T, rtol=1e-3, atol=1e-3
    )


def test_features_are_words_weighed_by_how_rare_they_are() -> None:
    table = ItemTable(
        IdMap(["a", "b", "c", "new"]),
        pa.table(
            {
                "name": pa.array(["Red MUG", "red lamp", None, "mug unheard"], TEXT),
                "category": pa.array(["Home > Mugs", "Home", None, "Home > Mugs"], TEXT),
                "price": pa.array([1.0, 2.0, None, 1.0]),
            }
        ),
    )
    found = features_of(table, np.array([True, True, True, False])).toarray()
    assert found.shape == (4, WIDTH)
    assert (found[:, 0] == 1).all()
    np.testing.assert_allclose(np.linalg.norm(found[:, 1:], axis=1), [1, 1, 0, 1], rtol=1e-6)
    # of the new item: mug, both categories and the price band, those of "unheard" teach nothing
    assert (found[3, 1:] != 0).sum() == 4
    rare, usual = np.log(4 / 2), np.log(4 / 3)
    assert found[0, 1:] @ found[3, 1:] > found[1, 1:] @ found[3, 1:] > 0
    np.testing.assert_allclose(
        np.sort(np.abs(found[3][found[3] != 0]))[:-1],
        np.sort(np.array([usual, rare, rare, rare]) / np.sqrt(3 * rare**2 + usual**2)),
        rtol=1e-5,
    )


def test_groups_are_categories_or_telling_words() -> None:
    names = pa.array(["red mug", "blue mug", "the lamp", "the bag", None], TEXT)
    known = np.ones(5, np.bool_)
    plain = ItemTable(IdMap(list("abcde")), pa.table({"name": names}))
    assert groups_of(plain, known).tolist() == [-1] * 5  # no word is among a tenth of five names
    many = ItemTable(
        IdMap(map(str, range(40))), pa.table({"name": pa.array([f"w{n // 2} x" for n in range(40)], TEXT)})
    )
    assert groups_of(many, np.ones(40, np.bool_)).tolist() == [n // 2 for n in range(40)]


def test_ndcg_and_popularity_are_those_of_their_formulas() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]], dtype=np.float32)
    wanted = sp.csr_matrix(np.array([[1, 1, 0], [1, 0, 0]], dtype=np.float32))
    first = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    np.testing.assert_allclose(ndcg(scores, wanted), [first, 1 / np.log2(4)])
    found = popularity_of(
        np.array([4, 2, 9]), np.array([0, 0, 1], np.int32), np.array([0, 1, -1, 5], np.int32)
    )
    np.testing.assert_allclose(found, [3, 9, 5, 5])


def test_it_is_judged_on_items_held_out_whole() -> None:
    one = recommender_of()
    n = len(one.items)
    features = features_of(one.item_table.of(one.items), np.ones(n, np.bool_))  # type: ignore[union-attr]
    found = judge(one.model, one.histories, features, np.full(n, -1, np.int32))
    assert found is not None
    assert found.helps
    assert found.ndcg > found.popularity + 0.1
    noise = features[np.random.default_rng(0).permutation(n)]
    by_noise = judge(one.model, one.histories, noise, np.full(n, -1, np.int32))
    assert by_noise is not None
    assert not by_noise.helps or by_noise.ndcg < found.ndcg - 0.1
    assert judge(one.model, sp.csr_matrix(one.histories[:20]), features, np.full(n, -1, np.int32)) is None


def test_new_items_are_recommended_to_whom_they_suit(extended: Recommender) -> None:
    assert extended.items.id(len(extended.items) - 1).startswith("white")
    assert extended.metadata[NEW_ITEMS]["difference"][1] > 0
    mugs = [item for item in recommender_of().items if " mug " in item and item.startswith("red")]
    new = [item for item in extended.items if item.startswith("white") and item.endswith("2")]
    found = extended.recommend(items=mugs, n=8, only=new)
    assert found[0].item_id == "white mug no2"
    assert found[0].name == "white mug no2"


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
def test_modes(mode: str) -> None:
    noise = recommender_of()
    table = noise.item_table
    assert table is not None
    shuffled = np.random.default_rng(1).permutation(len(table.ids))
    columns = pa.table({"name": pa.array([f"n{n}" for n in shuffled], TEXT)})
    found = with_new_items(replace(noise, item_table=ItemTable(table.ids, columns)), mode)
    assert isinstance(found.recommender.model, NewItems) == (mode == "on")
    assert len(found.sentences) == (mode != "off")
    if mode == "auto":
        assert "not scored, since that is not distinguishably better" in found.sentences[0]
    with pytest.raises(ConfigError, match="new_items is one of auto, on, off, found 'x'"):
        with_new_items(noise, "x")


def test_the_file_holds_it(extended: Recommender, tmp_path: Path) -> None:
    save(extended, tmp_path / "m.recae")
    again = load(tmp_path / "m.recae")
    assert isinstance(again.model, NewItems)
    np.testing.assert_array_equal(
        again.model.score(again.histories[:9]), extended.model.score(extended.histories[:9])
    )
    save(again, tmp_path / "n.recae")
    assert (tmp_path / "m.recae").read_bytes() == (tmp_path / "n.recae").read_bytes()
    printed = recae("inspect", tmp_path / "m.recae").stdout
    assert "new items\tscored; NDCG@20 0." in printed
    described = json.loads(recae("inspect", tmp_path / "m.recae", "--json").stdout)
    assert described["kind"] == "itemknn"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indptr", lambda a: a[::-1].copy()),
        ("indices", lambda a: a + 10_000_000),
        ("weights", lambda a: -a),
        ("weights", lambda a: np.zeros(0, np.float32)),
        ("ridge", lambda a: np.array([0.0, 9.0])),
        ("ridge", lambda a: np.array([1.0, 1e30])),
        ("data", lambda a: a * np.float32("nan")),
        ("data", lambda a: a[:-1]),
    ],
)
def test_what_does_not_fit_in_a_file_is_refused(extended: Recommender, name: str, change: Any) -> None:
    model = extended.model
    assert isinstance(model, NewItems)
    arrays = model.own_arrays()
    with pytest.raises(ModelFileError):
        NewItems.extending(model.base, {**arrays, name: change(arrays[name])}, model.n_items)


def test_it_goes_on_with_new_purchases_and_forgotten_users(extended: Recommender) -> None:
    new = [item for item in extended.items if item.startswith("white") and item.endswith("2")]
    found = update(extended, [("u0", new[0]), ("u1", new[0]), ("fresh", new[0])])
    after = found.recommender
    assert found.new_items == 1
    assert isinstance(after.model, NewItems)
    assert after.model.n_items == extended.model.n_items
    assert base_of(after.model).n_items == base_of(extended.model).n_items + 1
    assert after.model.ridge == extended.model.ridge  # type: ignore[attr-defined]
    same = update(extended, [("u0", extended.items.id(int(extended.histories[0].indices[0])))])  # type: ignore[index]
    assert same.recommender is extended
    left, _ = forget(extended, ["u3"])
    assert isinstance(left.model, NewItems)
    assert len(left.items) == len(extended.items)
    assert as_before(recommender_of(), recommender_of()).model.n_items == recommender_of().model.n_items


def test_scored_alike_in_batches_and_with_rules(extended: Recommender, tmp_path: Path) -> None:
    table = package.score(extended, n=5, only_items=list(extended.items)[-4:]).to_arrow()
    first = table["item_id"][:1].to_pylist()
    assert first[0] in list(extended.items)[-4:]
    assert first == [extended.recommend("u0", 1, only=list(extended.items)[-4:])[0].item_id]


def test_a_basket_of_new_items_alone_says_nothing(extended: Recommender, tmp_path: Path) -> None:
    new = [item for item in extended.items if item.startswith("white") and item.endswith("2")]
    with pytest.raises(
        UnknownIdError, match=r"nobody has bought .* yet, so that a basket of it says nothing"
    ):
        extended.recommend(items=new)
    assert new[0] not in [row.item_id for row in extended.recommend(items=[new[0], "red mug no0"], n=100)]
    save(extended, tmp_path / "m.recae")
    alone, both = rank(
        load_served(tmp_path / "m.recae"),
        [RecommendRequest(items=new, n=3), RecommendRequest(items=[new[0], "red mug no0"], n=3)],
    )
    assert isinstance(alone, Problem)
    assert isinstance(both, RankedList)
    assert both.unknown == [new[0]]


def test_the_commands(tmp_path: Path) -> None:
    matrix, table = shop(users=200)
    ids = list(table.ids)
    rows = "".join(f"u{u},{ids[i]}\n" for u, i in zip(*matrix.nonzero(), strict=True))
    (tmp_path / "purchases.csv").write_text(f"user_id,item_id\n{rows}", encoding="utf-8")
    lines = "".join(f"{item},{item}\n" for item in ids)
    (tmp_path / "products.csv").write_text(f"item_id,name\n{lines}", encoding="utf-8")
    model = tmp_path / "m.recae"
    trained = recae("train", tmp_path / "purchases.csv", "--kind", "itemknn", "--items", tmp_path / "products.csv",
                    "--out", model)  # fmt: skip
    assert trained.exit_code == 0, trained.stderr
    assert "new items are scored by what is known of them: NDCG@20" in trained.stderr
    assert len(load(model).items) == len(ids)
    off = recae(
        "items", model, tmp_path / "products.csv", "--new-items", "off", "--out", tmp_path / "off.recae"
    )
    assert off.exit_code == 0, off.stderr
    assert len(load(tmp_path / "off.recae").items) == matrix.shape[1]
    on = recae("items", tmp_path / "off.recae", tmp_path / "products.csv")
    assert on.exit_code == 0, on.stderr
    assert (tmp_path / "off.recae").read_bytes() != b""
    assert len(load(tmp_path / "off.recae").items) == len(ids)
