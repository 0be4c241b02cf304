"""Tests of explanations against an oracle that scores each left-out history on its own, all items at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from fitting import FIT
from numpy.typing import NDArray

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap
from recae.insight import explain as module
from recae.insight.explain import Explanation, explain
from recae.models import ItemKNN, Model, Popularity, SigmoidAutoencoder
from recae.recommender import Recommender

N_USERS, N_ITEMS = 40, 24


def purchases() -> sp.csr_matrix:
    """Two groups of users who prefer one half of the items each; user 0 owns nothing, user 1 one item."""
    rng = np.random.default_rng(5)
    likes = np.where(np.add.outer(np.arange(N_USERS), np.arange(N_ITEMS) // 12) % 2 == 0, 0.5, 0.1)
    dense = (rng.random((N_USERS, N_ITEMS)) < likes).astype(np.float32)
    dense[0] = 0
    dense[1] = 0
    dense[1, 7] = 1
    return sp.csr_matrix(dense)


MATRIX = purchases()


def shop(model: Model, **parts: Any) -> Recommender:
    ids = IdMap([f"i{n}" for n in range(model.n_items)])
    return Recommender(**({"model": model, "users": None, "items": ids} | parts))


@pytest.fixture(scope="module", params=sorted(FIT))
def fitted(request: pytest.FixtureRequest) -> Recommender:
    return shop(FIT[request.param](MATRIX))


def history(*items: int, n_items: int = N_ITEMS) -> sp.csr_matrix:
    dense = np.zeros((1, n_items), dtype=np.float32)
    dense[0, list(items)] = 1
    return sp.csr_matrix(dense)


def oracle(model: Model, owned: list[int], item: int) -> tuple[float, float, NDArray[np.float64]]:
    """Score, base and contributions of one item, a history at a time."""

    def score(items: list[int]) -> float:
        return float(model.score(history(*items, n_items=model.n_items))[0, item])

    contributions = [score(owned) - score([other for other in owned if other != left]) for left in owned]
    return score(owned), score([]), np.array(contributions)


def check(found: Explanation, model: Model, owned: list[int], item: int) -> None:
    score, base, contributions = oracle(model, owned, item)
    tolerance = 4e-6 * max(1.0, abs(score), abs(base))  # some roundings of float32
    assert found.item == item
    assert found.owned.dtype == np.int64
    assert found.owned.tolist() == owned
    assert found.contributions.dtype == np.float64
    assert found.contributions.shape == (len(owned),)
    np.testing.assert_allclose(found.contributions, contributions, rtol=0, atol=tolerance)
    assert found.score == pytest.approx(score, abs=tolerance)
    assert found.base == pytest.approx(base, abs=tolerance)
    assert found.joint == pytest.approx(score - base - contributions.sum(), abs=tolerance * (len(owned) + 1))
    assert found.base + found.contributions.sum() + found.joint == pytest.approx(score, abs=tolerance)


@pytest.mark.parametrize("user", [0, 1, 2, 3, 20])
def test_leave_one_out_history_by_history(fitted: Recommender, user: int) -> None:
    row = sp.csr_matrix(MATRIX[user])
    owned = sorted(row.indices.tolist())
    items = [0, 23, 7, 12]  # in no order, owned ones among them
    for item, found in zip(items, explain(fitted, row, items), strict=True):
        check(found, fitted.model, owned, item)


def test_an_owned_item_as_the_target_has_its_own_part(fitted: Recommender) -> None:
    (found,) = explain(fitted, history(2, 4, 7), np.array([4]))
    check(found, fitted.model, [2, 4, 7], 4)


def test_blocks_do_not_change_the_result(fitted: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = [1, 2, 5, 8, 13, 21, 22]
    (whole,) = explain(fitted, history(*owned), [3])
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * (3 * 7 + 1) * 2)  # two histories a block
    (parts,) = explain(fitted, history(*owned), [3])
    np.testing.assert_allclose(parts.contributions, whole.contributions, rtol=0, atol=4e-6)
    check(parts, fitted.model, owned, 3)


def test_item_knn_is_a_sum_over_the_items() -> None:
    model = ItemKNN.fit(MATRIX, k=8, weighting="cosine")
    owned = [1, 5, 6, 14, 20]
    for found in explain(shop(model), history(*owned), range(N_ITEMS)):
        similarities = model.similarity[owned, found.item].toarray().ravel()
        np.testing.assert_allclose(found.contributions, similarities, rtol=0, atol=1e-6)
        assert found.base == 0
        assert found.joint == pytest.approx(0, abs=1e-6)


def test_popularity_does_not_look_at_the_history() -> None:
    (found,) = explain(shop(Popularity.fit(MATRIX)), history(1, 2), [3])
    assert found.base == found.score > 0
    assert found.contributions.tolist() == [0, 0]
    assert found.joint == 0
    assert found.reasons() == []


def linear(power: float, n_items: int = 4, scale: float = 1e-3) -> SigmoidAutoencoder:
    """So small a code that tanh is a straight line: the score of item 0 is Σ weights / m^power, times scale / 2."""
    weights = np.arange(1, n_items + 1, dtype=np.float32)[:, None]
    decoder = np.zeros((n_items, 1), dtype=np.float32)
    decoder[0] = 1
    zero = np.zeros(n_items, dtype=np.float32)
    return SigmoidAutoencoder(weights * np.float32(scale), zero[:1], decoder, zero, power, {})


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_division_by_the_length_of_the_history_is_joint(power: float) -> None:
    (found,) = explain(shop(linear(power)), history(0, 1, 2, 3, n_items=4), [0])
    weights = np.array([1.0, 2, 3, 4])
    total = weights.sum()
    expected = total / 4**power - (total - weights) / 3**power
    np.testing.assert_allclose(found.contributions / 5e-4, expected, rtol=0, atol=1e-3)
    # Σ contributions by hand: 4·total/4^p − 3·total/3^p
    assert found.joint / 5e-4 == pytest.approx(total * (4**-power - 4 * 4**-power + 3 * 3**-power), abs=2e-3)
    if power == 0:
        assert found.joint / found.score == pytest.approx(0, abs=1e-4)
    if (
        power == 1
    ):  # the score is the mean of the weights: leaving each out in turn changes nothing in the mean
        assert found.joint / found.score == pytest.approx(1, abs=1e-4)


def test_empty_history() -> None:
    model = FIT["sigmoid"](MATRIX)
    (found,) = explain(shop(model), history(), [3])
    assert found.owned.size == found.contributions.size == 0
    assert found.score == found.base
    assert found.joint == 0
    assert found.reasons() == []


def test_one_item_explains_everything(fitted: Recommender) -> None:
    (found,) = explain(fitted, history(7), [3])
    assert found.contributions[0] == pytest.approx(found.score - found.base, abs=1e-5)
    assert found.joint == pytest.approx(0, abs=1e-5)


def test_no_items_to_explain(fitted: Recommender) -> None:
    assert explain(fitted, history(1, 2), []) == []


def test_only_the_pattern_of_the_history_counts() -> None:
    model = FIT["itemknn"](MATRIX)
    # unsorted, one item twice, odd values
    odd = sp.csr_matrix((np.array([0.0, 5, -1, 2], np.float32), [9, 1, 9, 4], [0, 4]), shape=(1, N_ITEMS))
    kept = odd.indices.copy()
    (found,) = explain(shop(model), odd, [3])
    check(found, model, [1, 4, 9], 3)
    np.testing.assert_array_equal(odd.indices, kept)


class Watched:
    """A model that remembers how much it was given at once."""

    def __init__(self, model: Model) -> None:
        self.model, self.n_items, self.most, self.rows = model, model.n_items, 0, 0

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.int64]) -> NDArray[np.float32]:
        self.most = max(self.most, histories.nnz)
        self.rows += histories.shape[0]
        return self.model.score_items(histories, items)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        raise AssertionError("explanations must not score all items")


def test_two_thousand_items_are_held_in_blocks() -> None:
    n_items = 2_500
    model = linear(0.5, n_items, scale=1e-6)
    watched = Watched(model)
    owned = list(range(2_000))
    (found,) = explain(shop(watched), history(*owned, n_items=n_items), [0])  # type: ignore[arg-type]
    assert watched.rows == 2 + 2_000
    assert 0 < watched.most * 8 <= 16 * 2**20  # a value and an index each
    assert found.contributions.shape == (2_000,)
    for at in (0, 999, 1_999):
        less = history(*owned[:at], *owned[at + 1 :], n_items=n_items)
        expected = found.score - float(model.score(less)[0, 0])
        assert found.contributions[at] == pytest.approx(expected, abs=1e-6 * abs(found.score))


def test_reasons_are_the_largest_positive_ones() -> None:
    values = np.array([0.1, -0.5, 0.3, 0.0, 0.3, 0.2])
    found = Explanation(9, 1.0, 0.0, np.array([2, 3, 5, 7, 11, 13]), values, 0.6)
    assert found.reasons(3) == [(5, 0.3), (11, 0.3), (13, 0.2)]  # equal ones by their rows
    assert found.reasons() == [(5, 0.3), (11, 0.3), (13, 0.2), (2, 0.1)]


@pytest.mark.parametrize(
    ("given", "items", "message"),
    [
        (sp.csr_matrix((2, N_ITEMS)), [0], "but 2 were given"),
        (sp.csr_matrix((0, N_ITEMS)), [0], "but 0 were given"),
        (sp.csr_matrix((1, N_ITEMS + 1)), [0], f"{N_ITEMS + 1} columns"),
        (history(1), [N_ITEMS], f"but {N_ITEMS} was"),
        (history(1), [-1], "but -1 was"),
        (history(1), ["i1"], "whole numbers"),
    ],
)
def test_what_cannot_be_explained(given: sp.csr_matrix, items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        explain(shop(Popularity.fit(MATRIX)), given, items)


def test_history_of_a_user_or_a_basket() -> None:
    users = IdMap([f"u{n}" for n in range(N_USERS)])
    known = shop(Popularity.fit(MATRIX), users=users, histories=MATRIX)
    np.testing.assert_array_equal(known.history_of("u3").toarray(), MATRIX[3].toarray())
    np.testing.assert_array_equal(
        known.history_of(items=["i4", "x", "i2", "i4"]).toarray(), history(2, 4).toarray()
    )
    for user, items in ((None, None), ("u3", ["i4"])):
        with pytest.raises(ConfigError, match="exactly one"):
            known.history_of(user, items=items)
    with pytest.raises(UnknownIdError, match="no user 'u99'"):
        known.history_of("u99")


def test_id_and_name() -> None:
    names = pa.array(["Mug", None, *["x"] * (N_ITEMS - 2)], pa.large_string())
    named = shop(Popularity.fit(MATRIX), item_names=names)
    assert named.id_and_name(0) == ("i0", "Mug")
    assert named.id_and_name(1) == ("i1", None)
    assert shop(Popularity.fit(MATRIX)).id_and_name(0) == ("i0", None)
