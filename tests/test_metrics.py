"""Each metric against its definition written as loops over Python sets, and against sums done by hand."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recae import metrics
from recae.errors import ConfigError, DataError

ALL = {
    "recall": metrics.recall,
    "capped_recall": metrics.capped_recall,
    "precision": metrics.precision,
    "hit_rate": metrics.hit_rate,
    "ndcg": metrics.ndcg,
    "map": metrics.average_precision,
    "mrr": metrics.reciprocal_rank,
}


def slow(name, ranked, held, k):
    """One user's metric, from a list and a set."""
    if not held:
        return math.nan
    hits = 0
    gain = precisions = reciprocal = 0.0
    for place, item in enumerate(ranked[:k]):
        if item != -1 and item in held:
            hits += 1
            gain += 1 / math.log2(place + 2)
            precisions += len(held & set(ranked[: place + 1])) / (place + 1)
            reciprocal = max(reciprocal, 1 / (place + 1))
    ideal = 0.0
    for place in range(min(k, len(held))):
        ideal += 1 / math.log2(place + 2)
    return {
        "recall": hits / len(held),
        "capped_recall": hits / min(k, len(held)),
        "precision": hits / k,
        "hit_rate": 1.0 if hits else 0.0,
        "ndcg": gain / ideal,
        "map": precisions / min(k, len(held)),
        "mrr": reciprocal,
    }[name]


@st.composite
def rankings(draw):
    n_users, n_items, n = draw(st.integers(1, 5)), draw(st.integers(1, 15)), draw(st.integers(1, 10))
    held = [draw(st.sets(st.integers(0, n_items - 1))) for _ in range(n_users)]
    ranked = np.full((n_users, n), -1, dtype=np.int32)
    for u in range(n_users):
        order = draw(st.permutations(range(n_items)))[: draw(st.integers(0, n))]
        ranked[u, : len(order)] = order
    return ranked, held, n_items, draw(st.integers(1, n))


def as_matrix(held, n_items):
    matrix = sp.lil_matrix((len(held), n_items), dtype=np.float32)
    for u, items in enumerate(held):
        for i in items:
            matrix[u, i] = 1
    return matrix.tocsr()


@given(rankings())
def test_every_metric_agrees_with_its_definition(problem):
    ranked, held, n_items, k = problem
    for name, metric in ALL.items():
        values = metric(ranked, as_matrix(held, n_items), k)
        assert values.dtype == np.float64
        wanted = [slow(name, ranked[u].tolist(), held[u], k) for u in range(len(held))]
        np.testing.assert_allclose(values, wanted, rtol=1e-12)


@given(rankings())
def test_an_entry_measures_as_its_function(problem):
    ranked, held, n_items, k = problem
    assert list(metrics.METRICS) == list(ALL)
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        matrix = as_matrix(held, n_items)
        np.testing.assert_array_equal(metric(ranked, matrix, k), ALL[name](ranked, matrix, k))


@given(rankings(), st.data())
def test_several_at_once_are_the_same_as_one_at_a_time(problem, data):
    ranked, held, n_items, _ = problem
    held_out = as_matrix(held, n_items)
    names = data.draw(st.lists(st.sampled_from(sorted(ALL)), unique=True))
    ks = data.draw(st.lists(st.integers(1, ranked.shape[1]), unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            metrics, "_PLACES_PER_BLOCK", data.draw(st.integers(1, 30))
        )  # one user and more at a time
        found = metrics.compute(ranked, held_out, names, ks)
    assert list(found) == [f"{name}@{k}" for name in names for k in ks]
    for name in names:
        for k in ks:
            np.testing.assert_array_equal(found[f"{name}@{k}"], ALL[name](ranked, held_out, k))


def test_a_perfect_ndcg_is_exactly_one_at_every_length():
    ranked = np.arange(100)[None]
    found = metrics.compute(ranked, as_matrix([set(range(100))], 100), ("ndcg",), range(1, 101))
    assert {values[0] for values in found.values()} == {1.0}


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64])
def test_lists_of_any_integers(dtype):
    ranked = np.array([[999, 1], [5, -1]], dtype=dtype)
    held_out = as_matrix([{999}, {5, 7}], 1000)
    assert metrics.recall(ranked, held_out, 2).tolist() == [1.0, 0.5]


def test_no_users_and_no_items():
    assert metrics.ndcg(np.empty((0, 3), dtype=np.int32), as_matrix([], 4), 3).shape == (0,)
    assert np.isnan(metrics.ndcg(np.array([[-1, -1]]), as_matrix([set()], 0), 2)).all()


def test_by_hand():
    ranked = np.array([[4, 0, 2], [3, 1, -1], [0, 1, 2]])
    held_out = as_matrix([{0, 1, 2, 3}, {1}, set()], 5)
    np.testing.assert_allclose(metrics.recall(ranked, held_out, 3), [2 / 4, 1, np.nan])
    np.testing.assert_allclose(metrics.capped_recall(ranked, held_out, 3), [2 / 3, 1, np.nan])
    np.testing.assert_allclose(metrics.precision(ranked, held_out, 3), [2 / 3, 1 / 3, np.nan])
    np.testing.assert_allclose(metrics.hit_rate(ranked, held_out, 1), [0, 0, np.nan])
    dcg, ideal = 1 / math.log2(3) + 1 / 2, 1 + 1 / math.log2(3) + 1 / 2
    np.testing.assert_allclose(metrics.ndcg(ranked, held_out, 3), [dcg / ideal, 1 / math.log2(3), np.nan])
    # hits in the places 2 and 3; in place 2
    expected = [(1 / 2 + 2 / 3) / 3, 1 / 2, np.nan]
    np.testing.assert_allclose(metrics.average_precision(ranked, held_out, 3), expected)
    np.testing.assert_allclose(metrics.reciprocal_rank(ranked, held_out, 3), [1 / 2, 1 / 2, np.nan])
    np.testing.assert_allclose(metrics.reciprocal_rank(ranked, held_out, 1), [0, 0, np.nan])


def test_a_perfect_list_reaches_one_where_the_denominator_allows():
    ranked = np.array([[0, 1]])
    held_out = as_matrix([{0, 1, 2, 3}], 4)
    assert metrics.ndcg(ranked, held_out, 2)[0] == 1
    assert metrics.capped_recall(ranked, held_out, 2)[0] == 1
    assert metrics.average_precision(ranked, held_out, 2)[0] == 1
    assert metrics.reciprocal_rank(ranked, held_out, 2)[0] == 1
    assert metrics.recall(ranked, held_out, 2)[0] == 0.5


def test_held_out_is_a_pattern():
    # stored twice, or stored with the value 0, is held out once
    twice = sp.csr_matrix((np.array([1.0, 1.0, 0.0]), np.array([1, 1, 2]), np.array([0, 3])), shape=(1, 4))
    assert metrics.recall(np.array([[1, 3]]), twice, 2).tolist() == [0.5]


@pytest.mark.parametrize("metric", ALL.values(), ids=ALL)
def test_bad_arguments(metric):
    ranked, held_out = np.array([[0, 1], [1, 2]]), as_matrix([{0}, {1}], 3)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        metric(ranked, held_out, 0)
    with pytest.raises(ConfigError, match="metrics at 3 need lists of 3 items, but they have 2"):
        metric(ranked, held_out, 3)
    with pytest.raises(DataError, match="one list for each user"):
        metric(ranked[:1], held_out, 1)
    with pytest.raises(DataError, match=r"outside -1 \.\. 2"):
        metric(np.array([[0, 3], [1, 2]]), held_out, 2)
    with pytest.raises(DataError, match="same item twice"):
        metric(np.array([[1, 1], [1, 2]]), held_out, 2)


def test_a_metric_that_there_is_not():
    with pytest.raises(ConfigError, match="no metric 'auc'; choose from recall, capped_recall, precision"):
        metrics.compute(np.array([[0]]), as_matrix([{0}], 1), ("recall", "auc"), (1,))
