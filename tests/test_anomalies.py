"""Tests of anomalies: ranks of hidden items, calibration by popularity and length, and the bots of the sample data."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import ROOT, SAMPLE
from hypothesis import given
from hypothesis import strategies as st
from modelfiles import recommender
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from recae import read_interactions
from recae.errors import ConfigError, DataError
from recae.ids import IdMap
from recae.insight.anomalies import PurchaseAnomalies, UserAnomalies, purchase_anomalies, user_anomalies
from recae.insight.calibrate import heldout_ranks, standardised, upper_tails
from recae.models import ItemKNN, Popularity
from recae.pipeline import train
from recae.recommender import Recommender

sys.path.insert(0, str(ROOT / "scripts"))
from make_sample import bots

BOTS = bots()


def one_process(lengths: NDArray[np.int64], n_items: int, seed: int) -> sp.csr_matrix:
    """Users of one kind: four items in five from a taste of their own, the others from all, by a Zipf law."""
    rng = np.random.default_rng(seed)
    tastes = rng.permuted(np.arange(n_items)).reshape(10, -1)
    weights = 1 / np.arange(1, n_items + 1) ** 0.7
    dense = np.zeros((lengths.size, n_items), dtype=np.float32)
    for user, length in enumerate(lengths):
        chance = 0.2 * weights / weights.sum()
        taste = tastes[rng.integers(10)]
        chance[taste] += 0.8 * weights[taste] / weights[taste].sum()
        dense[user, rng.choice(n_items, length, replace=False, p=chance)] = 1
    return sp.csr_matrix(dense)


def knn(matrix: sp.csr_matrix) -> Recommender:
    users, items = (
        IdMap([f"{kind}{n}" for n in range(size)]) for kind, size in zip("ui", matrix.shape, strict=True)
    )
    return Recommender(ItemKNN.fit(matrix, k=matrix.shape[1]), users, items, None, matrix)


# --- ranks of hidden items ---


def leave_one_out(model: Any, matrix: sp.csr_matrix) -> list[float]:
    """The definition, an item at a time."""
    shares = []
    for row in matrix.toarray():
        for item in np.flatnonzero(row):
            if row.sum() < 2:
                shares.append(float("nan"))
                continue
            rest = row.copy()
            rest[item] = 0
            score = model.score(sp.csr_matrix(rest))[0]
            rivals = score[row == 0]
            beaten_by = [1.0 if s > score[item] else 0.5 if s == score[item] else 0.0 for s in rivals]
            shares.append(float(np.mean(beaten_by)) if beaten_by else 0.5)
    return shares


@pytest.mark.parametrize("fit", [lambda m: ItemKNN.fit(m, k=12), Popularity.fit])
@pytest.mark.parametrize("block_bytes", [1, 64 * 12 * 4 * 5, 2**26])
def test_leave_one_out_is_as_defined_in_any_blocks(fit: Any, block_bytes: int) -> None:
    lengths = np.array([3, 1, 5, 0, 12, 2, 4, 1, 11])
    matrix = sp.vstack([one_process(lengths[lengths > 0], 20, 3)[:, :12], sp.csr_matrix((1, 12))]).tocsr()
    matrix = sp.vstack([matrix, sp.csr_matrix(np.ones((1, 12), np.float32))]).tocsr()  # who owns everything
    model = fit(matrix)
    found = heldout_ranks(model, matrix, folds=12, block_bytes=block_bytes)
    np.testing.assert_allclose(found, leave_one_out(model, matrix))
    assert np.isnan(found).any()
    assert np.nanmax(found) > np.nanmin(found)


class Recording(Popularity):
    """Popularity, which remembers the histories that it was asked about."""

    seen: list[NDArray[np.float32]]

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        self.seen.append(histories.toarray())
        return super().score(histories)


def test_each_item_is_hidden_once_in_folds_of_nearly_the_same_size() -> None:
    matrix = one_process(np.full(30, 13), 40, 0)
    model = Recording(np.ones(40, np.float32))
    object.__setattr__(model, "seen", [])
    heldout_ranks(model, matrix, folds=5)
    rest = np.concatenate(model.seen).reshape(30, 5, 40)
    hidden = matrix.toarray()[:, None] - rest
    assert hidden.min() == 0
    assert (hidden.sum(axis=1) == matrix.toarray()).all()
    assert set(hidden.sum(axis=2).ravel()) == {2, 3}


def test_the_seed_parts_the_histories_and_blocks_do_not() -> None:
    matrix = one_process(np.full(40, 15), 40, 0)
    model = ItemKNN.fit(matrix, k=40)
    first, again, other = (
        heldout_ranks(model, matrix, seed=seed, block_bytes=b) for seed, b in ((0, 1), (0, 2**26), (1, 1))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_items_hidden_together_do_not_push_each_other_down() -> None:
    """The model knows exactly what the user owns; half of it hidden at once is found without a fault."""
    matrix = one_process(np.full(3, 30), 40, 0)
    for row in range(3):
        model = Popularity(matrix[[row]].toarray()[0] * np.arange(1, 41, dtype=np.float32))
        assert heldout_ranks(model, matrix[[row]], folds=2).tolist() == [0.0] * 30


def test_progress_ends_at_the_number_of_users() -> None:
    told: list[int] = []
    matrix = one_process(np.array([3, 4, 1, 5, 1]), 20, 0)
    heldout_ranks(Popularity.fit(matrix), matrix, block_bytes=1, on_users=told.append)
    assert told == sorted(told)
    assert len(told) > 2
    assert told[-1] == 5


def test_ranks_refuse_what_cannot_be() -> None:
    matrix = one_process(np.array([3, 4]), 20, 0)
    with pytest.raises(ConfigError, match="folds must be at least 2, but is 1"):
        heldout_ranks(Popularity.fit(matrix), matrix, folds=1)
    with pytest.raises(DataError, match="20 columns"):
        heldout_ranks(Popularity(np.ones(19, np.float32)), matrix)
    with pytest.raises(ConfigError, match="block_bytes"):
        heldout_ranks(Popularity.fit(matrix), matrix, block_bytes=0)


# --- calibration ---


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=30))
def test_tails_within_one_stratum_are_as_defined(entries: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column, dtype=np.float64) for column in zip(*entries, strict=True))
    found = upper_tails(values, np.zeros(values.size), weights)
    ordinary = weights.mean()
    for at, (value, weight) in enumerate(zip(values, weights, strict=True)):
        others = [(v, w) for other, (v, w) in enumerate(zip(values, weights, strict=True)) if other != at]
        above = sum(w for v, w in others if v > value)
        same = sum(w for v, w in others if v == value)
        expected = (above + same / 2 + ordinary / 2) / (sum(w for _, w in others) + ordinary)
        assert found[at] == pytest.approx(expected)
        assert weight > 0


def test_tails_between_strata_are_interpolated_and_beyond_them_constant() -> None:
    """Two strata whose medians are 1 and 3, with values from two scales."""
    covariate = np.repeat([0.0, 1.0, 2.0, 3.0, 4.0], [20, 81, 19, 91, 29])
    values = np.arange(240.0)
    tails = upper_tails(values, covariate, np.ones(240))
    within = (120 - np.arange(120) - 0.5) / 120  # both strata have 120 members in rising order
    np.testing.assert_allclose(tails[:101], within[:101])
    below_all = (120 + 0.5) / 121  # of the upper stratum, to which those of 2 do not belong
    np.testing.assert_allclose(tails[101:120], (within[101:] + below_all) / 2)
    np.testing.assert_allclose(tails[120:], within)


def test_tails_are_uniform_whatever_the_covariate() -> None:
    rng = np.random.default_rng(0)
    covariate = rng.gamma(2, size=40_000)
    values = rng.normal(size=40_000) * (1 + covariate) + covariate
    tails = upper_tails(values, covariate, np.ones(40_000))
    assert abs(spearmanr(tails, covariate).statistic) < 0.02
    for share in np.array_split(np.argsort(covariate), 8):
        assert np.mean(tails[share] < 0.05) == pytest.approx(0.05, abs=0.015)
        assert np.mean(tails[share] < 0.5) == pytest.approx(0.5, abs=0.04)


def test_nothing_has_no_tails_and_no_scores() -> None:
    nothing = np.empty(0)
    assert upper_tails(nothing, nothing, nothing).size == 0
    assert standardised(nothing, np.empty(0, dtype=np.int64)).size == 0


def drawn(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Means whose location bends in log m and whose variance is τ² + σ²/(m − 1), lengths over two decades."""
    rng = np.random.default_rng(seed)
    counts = np.round(np.exp(rng.uniform(np.log(2), np.log(200), n))).astype(np.int64)
    location = 0.5 * np.log(counts) + 0.2 * np.sin(np.log(counts))
    return location + rng.normal(size=n) * np.sqrt(0.04 + 1.5 / (counts - 1)), counts


def test_standardised_means_are_normal_at_every_length() -> None:
    z = standardised(*drawn(20_000))
    counts = drawn(20_000)[1]
    assert abs(spearmanr(z, counts).statistic) < 0.03
    for group in np.array_split(np.argsort(counts), 10):
        assert np.median(z[group]) == pytest.approx(0, abs=0.12)
        assert 1.4826 * np.median(np.abs(z[group])) == pytest.approx(1, abs=0.12)


def test_anomalies_at_the_end_of_the_lengths_do_not_hide_themselves() -> None:
    means, counts = drawn(2000)
    odd = np.argsort(counts)[-40:]  # a fifth of the last stratum
    plain = standardised(means, counts)
    means[odd] += 2
    z = standardised(means, counts)
    assert z[odd].min() > np.delete(z, odd).max()
    np.testing.assert_allclose(np.delete(z, odd), np.delete(plain, odd), atol=0.5)


def test_means_without_spread_are_ordinary_and_what_differs_is_not() -> None:
    means = np.full(500, 0.25)
    means[7] = 0.5
    z = standardised(means, np.arange(2, 502))
    assert np.abs(np.delete(z, 7)).max() < 1e-3
    assert z[7] > 1e3


# --- users and purchases ---


def test_the_score_has_nothing_to_do_with_length_for_users_of_one_kind() -> None:
    rng = np.random.default_rng(1)
    lengths = np.round(np.exp(rng.uniform(np.log(3), np.log(80), 2000))).astype(np.int64)
    found = user_anomalies(knn(one_process(lengths, 400, 2)))
    assert (found.n_items == lengths).all()
    assert abs(spearmanr(found.score, lengths).statistic) < 0.06
    top = found.score >= np.quantile(found.score, 0.95)
    for group in np.array_split(np.argsort(lengths), 5):
        assert 0.01 < top[group].mean() < 0.10  # 0.05 each
    # uncalibrated it would have: mean share by length
    mean = np.bincount(found.purchases.users, found.purchases.above) / lengths
    assert abs(spearmanr(mean, lengths).statistic) > 0.2


def test_purchases_of_rare_items_are_no_more_often_anomalies() -> None:
    found = purchase_anomalies(knn(one_process(np.full(1500, 12), 400, 0)))
    top = found.tail <= np.quantile(found.tail, 0.05)
    by_owners = np.array_split(np.argsort(found.owners, kind="stable"), 5)
    for group in by_owners:
        assert 0.03 < top[group].mean() < 0.07
    rare, popular = found.above[by_owners[0]], found.above[by_owners[-1]]
    assert rare.mean() > 1.4 * popular.mean()  # uncalibrated they would be
    np.testing.assert_allclose(found.score, norm.isf(found.tail))


def test_a_purchase_of_another_taste_surprises() -> None:
    """Two tastes of ten items, and one user of the first who owns one item of the second."""
    rng = np.random.default_rng(0)
    dense = np.zeros((400, 20), dtype=np.float32)
    for user in range(400):
        dense[user, rng.choice(10, 6, replace=False) + 10 * (user % 2)] = 1
    dense[0, 10:] = 0
    dense[0, 15] = 1
    found = purchase_anomalies(knn(sp.csr_matrix(dense)))
    (first,) = np.flatnonzero((found.users == 0) & (found.items == 15))
    assert first in found.ranked()[:20]  # each stratum of popularity has a first
    assert found.above[first] == pytest.approx(4 / 13)  # below all four items of the taste that are left
    assert found.owners[first] == dense[:, 15].sum()
    of_users = user_anomalies(knn(sp.csr_matrix(dense)))
    worst = of_users.worst(9)
    assert worst.shape == (400, 9)
    assert of_users.purchases.items[worst[0, 0]] == 15
    assert (worst[0, 7:] == -1).all()
    for user, places in enumerate(worst[:5]):
        assert (of_users.purchases.users[places[places >= 0]] == user).all()
        assert (np.diff(of_users.purchases.score[places[places >= 0]]) <= 0).all()


def test_users_of_one_item_are_left_out_and_so_are_those_of_none() -> None:
    lengths = np.array([5, 1, 2, 4, 1, 3])
    matrix = sp.vstack([sp.csr_matrix((1, 20)), one_process(lengths, 20, 0)]).tocsr()
    found = user_anomalies(knn(matrix))
    assert found.users.tolist() == [1, 3, 4, 6]
    assert found.n_items.tolist() == [5, 2, 4, 3]
    assert np.isfinite(found.score).all()
    assert ((found.tail > 0) & (found.tail < 1)).all()
    np.testing.assert_allclose(found.tail, norm.sf(found.score))
    assert found.purchases.users.tolist() == np.repeat(found.users, found.n_items).tolist()


def test_learners_and_others_are_compared_apart() -> None:
    """Apart, each group has its own zero; together, the group that the model knows worse seems anomalous."""
    matrix = one_process(np.full(1000, 10), 200, 0)
    learners = np.arange(1000) < 800
    strange = matrix.toarray()
    strange[~learners] = np.random.default_rng(5).permuted(strange[~learners], axis=1)
    shop = knn(sp.csr_matrix(strange))
    together, apart = user_anomalies(shop), user_anomalies(shop, learners=learners)
    assert np.median(together.score[~learners]) > 1
    assert np.median(together.purchases.score[~learners[together.purchases.users]]) > 0.5
    for group in (learners, ~learners):
        assert np.median(apart.score[group]) == pytest.approx(0, abs=0.1)
        assert np.median(apart.purchases.score[group[apart.purchases.users]]) == pytest.approx(0, abs=0.2)
    alone = user_anomalies(shop, learners=np.ones(1000, dtype=np.bool_))
    np.testing.assert_array_equal(alone.score, together.score)


def test_what_cannot_be_judged_is_refused() -> None:
    shop = recommender()
    for judge in (user_anomalies, purchase_anomalies):
        with pytest.raises(DataError, match="saved without"):
            judge(recommender(histories=None))
        with pytest.raises(DataError, match="no user of the model owns two items"):
            judge(recommender(histories=sp.csr_matrix((4, 5), dtype=np.float32)))
        with pytest.raises(DataError, match=r"bool of shape \(4,\), but are bool of shape \(3,\)"):
            judge(shop, learners=np.ones(3, dtype=np.bool_))
        with pytest.raises(DataError, match="but are int64"):
            judge(shop, learners=np.ones(4, dtype=np.int64))  # type: ignore[arg-type]


def test_equal_scores_are_ordered_by_place_and_then_by_row() -> None:
    zeros = np.zeros(3)
    purchases = PurchaseAnomalies(
        np.array([0, 0, 1]),
        np.array([2, 1, 0]),
        np.ones(3, np.int64),
        np.array([0.5, 0.5, 0.75]),
        zeros,
        zeros,
    )
    assert purchases.ranked().tolist() == [2, 1, 0]
    users = UserAnomalies(np.array([3, 4, 5]), np.full(3, 2), np.array([1.0, 2.0, 1.0]), zeros, purchases)
    assert users.ranked().tolist() == [1, 0, 2]


# --- the sample data ---


def precision(found: UserAnomalies, users: IdMap) -> float:
    top = users.ids(found.users[found.ranked()[:20]]).to_pylist()
    return sum(user in BOTS for user in top) / 20


def test_the_planted_bots_are_found_by_item_knn(shop: Recommender) -> None:
    found = user_anomalies(shop)
    assert shop.users is not None
    assert precision(found, shop.users) >= 0.9
    people = np.array([user not in BOTS for user in shop.users.ids(found.users).to_pylist()])
    assert abs(spearmanr(found.score[people], found.n_items[people]).statistic) < 0.06


@pytest.mark.thorough
def test_the_planted_bots_are_found_by_what_train_makes_by_default() -> None:
    model = train(read_interactions(SAMPLE))
    assert model.users is not None
    assert precision(user_anomalies(model, learners=model.learners), model.users) >= 0.9
