"""Items that were new a short while ago: their scores, shrunk by purchases; and embeddings as features of items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from test_new_items import recommender_of, small_features

from recae.errors import ColumnError, ConfigError, ModelFileError
from recae.ids import IdMap
from recae.item_features import MOST_NUMBERS, WIDTH, features_of
from recae.item_table import TEXT, ItemTable
from recae.modelfile import describe, load, save
from recae.models import ItemKNN
from recae.models.new_items import ARRIVAL, NewItems, own_fractions, predicted
from recae.reading.item_table import read_item_table
from recae.recommender import Recommender
from recae.selection.new_items import judge, with_new_items
from recae.updating.forget import forget
from recae.updating.update import update


@pytest.fixture(scope="module")
def extended() -> Recommender:
    return with_new_items(recommender_of(), "on").recommender


def arrived(model: Recommender, *pairs: tuple[str, str]) -> Recommender:
    return update(model, list(pairs), progress=False).recommender


def new_ids(model: Recommender) -> list[str]:
    return list(model.items)[model.n_bought :]


def test_scores_are_shrunk_by_the_number_of_users() -> None:
    rng = np.random.default_rng(0)
    histories = sp.csr_matrix((rng.random((20, 8)) < 0.4).astype(np.float32))
    features = small_features(10)
    coming = np.zeros(8, np.bool_)
    coming[[2, 5]] = True
    owners = np.array([9, 9, 1, 9, 9, 30, 9, 9])
    fractions = own_fractions(owners, coming)
    assert fractions is not None
    np.testing.assert_allclose(fractions[[2, 5, 0]], [1 / (1 + ARRIVAL), 30 / (30 + ARRIVAL), 1], rtol=1e-6)
    base = ItemKNN.fit(histories)
    weights = np.ones(8, np.float32)
    plain, shrunk = (NewItems.of(base, features, weights, 2.0, own) for own in (None, fractions))
    wider = sp.csr_matrix((histories.data, histories.indices, histories.indptr), shape=(20, 10))
    before, after = plain.score(wider), shrunk.score(wider)
    own = base.score(histories)
    for item in range(10):
        by_features = predicted(own, features[:8], features[item], weights, plain.solver)[:, 0]
        expected = by_features if item >= 8 else own[:, item]
        if item in (2, 5):
            n = owners[item]
            expected = (n * own[:, item] + ARRIVAL * by_features) / (n + ARRIVAL)
        np.testing.assert_allclose(after[:, item], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(before[:, 8:], after[:, 8:])
    for some in ([2], [0, 1], [5, 9, 0]):
        np.testing.assert_allclose(shrunk.score_items(wider, np.array(some)), after[:, some], rtol=1e-6)
    assert own_fractions(owners, np.zeros(8, np.bool_)) is None


def test_an_item_that_is_bought_for_the_first_time_is_on_its_way(extended: Recommender) -> None:
    first, second, *_ = new_ids(extended)
    after = arrived(extended, ("u0", first), ("u1", first), ("u0", second))
    assert isinstance(after.model, NewItems)
    fractions = dict(zip(after.items, after.model.own, strict=False))  # type: ignore[arg-type]
    assert fractions[first] == pytest.approx(2 / (2 + ARRIVAL))
    assert fractions[second] == pytest.approx(1 / (1 + ARRIVAL))
    assert {fraction for item, fraction in fractions.items() if item not in (first, second)} == {1.0}
    # with every further purchase its own scores count more, and the next to arrive joins them
    later = arrived(after, *((f"u{n}", first) for n in range(2, 40)), ("u9", new_ids(after)[0]))
    assert isinstance(later.model, NewItems)
    fractions = dict(zip(later.items, later.model.own, strict=False))  # type: ignore[arg-type]
    assert fractions[first] == pytest.approx(40 / (40 + ARRIVAL))
    assert fractions[new_ids(after)[0]] == pytest.approx(1 / (1 + ARRIVAL))
    left, _ = forget(later, ["u0"])
    assert isinstance(left.model, NewItems)
    # forgotten with the only customer who had bought it, it is new again
    assert second in new_ids(left) or second not in left.items


def test_it_suits_those_whom_its_like_suits(extended: Recommender) -> None:
    """One purchase by somebody of another taste does not make a white mug a thing for lovers of lamps."""
    mug = next(item for item in new_ids(extended) if " mug " in item)
    assert extended.histories is not None
    rows = {}
    for taste in ("mug", "lamp"):
        of_taste = [column for column, item in enumerate(extended.items) if f" {taste} " in item]
        rows[taste] = np.flatnonzero(np.asarray(extended.histories[:, of_taste].sum(axis=1)).ravel() >= 4)
    after = arrived(extended, (str(extended.users.id(int(rows["lamp"][0]))), mug))  # type: ignore[union-attr]
    column = after.items.row(mug)

    def gap(model: Any) -> float:
        scores = model.score(after.histories)[:, [column]]
        return float(scores[rows["mug"]].mean() - scores[rows["lamp"][1:]].mean())

    assert isinstance(after.model, NewItems)
    assert gap(after.model) > 0
    unshrunk = NewItems.of(after.model.base, after.model.features, after.model.weights, after.model.ridge)
    assert gap(unshrunk) <= 0 < gap(after.model)


def test_the_file_holds_the_shares_also_where_no_item_is_new_any_more(
    extended: Recommender, tmp_path: Path
) -> None:
    after = arrived(extended, *(("u0", item) for item in new_ids(extended)))
    assert isinstance(after.model, NewItems)
    assert after.model.known == after.model.n_items
    save(after, tmp_path / "m.recae")
    again = load(tmp_path / "m.recae")
    np.testing.assert_array_equal(again.model.score(again.histories), after.model.score(after.histories))
    assert describe(tmp_path / "m.recae")["metadata"]["format_version"] == 5
    save(again, tmp_path / "again.recae")
    assert (tmp_path / "again.recae").read_bytes() == (tmp_path / "m.recae").read_bytes()
    arrays = after.model.own_arrays()
    for wrong in (arrays["own"] * 2, arrays["own"] * 0, arrays["own"][:-1]):
        with pytest.raises(ModelFileError):
            NewItems.extending(after.model.base, {**arrays, "own": wrong}, after.model.n_items)


# embeddings


def with_embeddings(numbers: np.ndarray, form: str) -> pd.DataFrame:
    ids = [f"p{n}" for n in range(len(numbers))]
    if form == "columns":
        # the tenth column comes before the second by text
        order = sorted(range(numbers.shape[1]), key=str)
        return pd.DataFrame({"id": ids} | {f"emb_{n}": numbers[:, n] for n in order})
    texts: list[Any] = {
        "lists": numbers.tolist(),
        "blanks": [" ".join(map(str, row)) for row in numbers],
        "json": [str(row.tolist()) for row in numbers],
        "semicolons": [";".join(map(str, row)) for row in numbers],
    }[form]
    return pd.DataFrame({"id": ids, "embedding": texts})


@pytest.mark.parametrize("form", ["lists", "blanks", "json", "semicolons", "columns"])
def test_embeddings_are_read_in_any_form_and_become_features(form: str) -> None:
    numbers = np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32) + 3
    table, report = read_item_table(with_embeddings(numbers, form))
    assert table.names == ["embedding"]
    assert len(report.columns["embedding"]) == (12 if form == "columns" else 1)
    rows = table.ids.rows([f"p{n}" for n in range(30)])
    known = np.arange(30) < 25
    found = features_of(table, known).toarray()[rows]
    assert found.shape == (30, WIDTH + 12)
    centred = numbers - numbers[np.argsort(rows)][known].mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(found[:, WIDTH:], expected, atol=2e-4)
    np.testing.assert_array_equal(found[:, 0], 1)


def test_what_is_no_embedding_is_left_as_it_is_or_counted() -> None:
    ids = [f"p{n}" for n in range(20)]
    table, _ = read_item_table(pd.DataFrame({"id": ids, "vector": ["north by west"] * 20}))
    assert table.names == ["vector"]
    mixed = ["1 2 x 4", "1 nan 3 4", "1 2 3"] + ["1 2 3 4"] * 17
    table, report = read_item_table(pd.DataFrame({"id": ids, "vector": mixed}), {"embedding": ["vector"]})
    assert report.dropped == {"embeddings that are no numbers": 2}
    found = features_of(table, np.ones(20, np.bool_)).toarray()[:, WIDTH:]
    assert found.shape == (20, 4)
    assert (
        not found.any()
    )  # all alike: less their mean nothing is left, and those of another length have none
    named = pd.DataFrame({"id": ids, "a": range(20), "b": range(20)})
    table, _ = read_item_table(named, {"embedding": ["b", "a"]})
    assert table.column("embedding")[table.ids.row("p3")].as_py() == "3 3"
    with pytest.raises(ConfigError, match="a path of categories or an embedding alone"):
        read_item_table(named, {"price": ["a", "b"]})
    with pytest.raises(ColumnError, match="is not in the table"):
        read_item_table(named, {"embedding": ["a", "c"]})
    wide = ItemTable(IdMap(["a", "b"]), pa.table({"embedding": pa.array([" ".join(["1"] * 1500)] * 2, TEXT)}))
    assert features_of(wide, np.ones(2, np.bool_)).shape == (2, WIDTH + MOST_NUMBERS)


def test_items_are_found_by_their_embeddings_alone() -> None:
    rng = np.random.default_rng(3)
    taste, place = rng.standard_normal((400, 6)), rng.standard_normal((120, 6))
    held = sp.csr_matrix((taste @ place.T + rng.gumbel(size=(400, 120)) > 4).astype(np.float32))
    table, _ = read_item_table(with_embeddings(place.astype(np.float32), "lists"))
    table = table.of(IdMap([f"p{n}" for n in range(120)]))
    nobody = np.full(120, -1, np.int32)
    found = judge(ItemKNN.fit(held), held, features_of(table, np.ones(120, np.bool_)), nobody)
    assert found is not None
    assert found.helps
    assert found.ndcg > 1.5 * found.popularity
