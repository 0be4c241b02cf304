"""Ranking against a slow oracle: ties, NaN, infinities, exclusion, padding, threads, blocks."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recae import ranking
from recae.errors import ConfigError, DataError
from recae.ranking import rank_histories, rows_per_block, top_k

# few different values, so that ties are the rule
VALUES = st.sampled_from([0.0, -0.0, 1.0, 1.0, 2.5, -3.0, math.inf, -math.inf, math.nan, 1e-42, 3e38])


def slow_top_k(scores, k, exclude=None, candidates=None):
    """Ranks every row by sorting Python tuples."""
    n_rows, n_items = scores.shape
    lengths = [k] * n_rows if isinstance(k, int) else [int(one) for one in k]
    longest = k if isinstance(k, int) else max(lengths, default=1)
    items, values = [], []
    for b in range(n_rows):
        may = None if candidates is None else candidates[b] if candidates.ndim == 2 else candidates
        allowed = [
            (-float(scores[b, i]), i)
            for i in range(n_items)
            if not math.isnan(scores[b, i])
            and (exclude is None or not exclude[b, i])
            and (may is None or may[i])
        ]
        best = sorted(allowed)[: lengths[b]]
        padding = longest - len(best)
        items.append([i for _, i in best] + [-1] * padding)
        values.append([-v for v, _ in best] + [-math.inf] * padding)
    shape = n_rows, longest
    return np.array(items, dtype=np.int32).reshape(shape), np.array(values, dtype=np.float32).reshape(shape)


@st.composite
def problems(draw):
    n_rows, n_items = draw(st.integers(0, 4)), draw(st.integers(0, 200))
    scores = draw(hnp.arrays(np.float32, (n_rows, n_items), elements=VALUES, fill=VALUES))
    exclude = draw(st.none() | hnp.arrays(np.bool_, (n_rows, n_items)))
    candidates = draw(st.none() | hnp.arrays(np.bool_, n_items) | hnp.arrays(np.bool_, (n_rows, n_items)))
    k = st.integers(1, 12) | st.integers(1, n_items + 5)
    return scores, draw(k | hnp.arrays(np.int64, n_rows, elements=k)), exclude, candidates


@pytest.mark.parametrize("in_numpy", [True, False])
@given(problems())
def test_agrees_with_sorting(in_numpy, problem):
    scores, k, exclude, candidates = problem
    before = scores.copy()
    owned = None if exclude is None else sp.csr_matrix(exclude)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "numpy_is_sooner", lambda numbers: in_numpy)
        items, values = top_k(scores, k, owned, candidates)
    wanted_items, wanted_values = slow_top_k(scores, k, exclude, candidates)
    np.testing.assert_array_equal(items, wanted_items)
    np.testing.assert_array_equal(values, wanted_values)
    assert items.dtype == np.int32
    assert values.dtype == np.float32
    np.testing.assert_array_equal(scores, before)


def test_an_empty_block_of_lists_of_their_own_lengths():
    items, values = top_k(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=np.int64))
    assert items.shape == values.shape == (0, 1)


def test_threads_do_not_change_lists_of_their_own_lengths_and_candidates():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 500, (9, 100_000)).astype(np.float32)  # enough for several threads
    lengths, candidates = rng.integers(1, 30, 9), rng.random(scores.shape) < 0.5
    one = top_k(scores, lengths, candidates=candidates, threads=1)
    several = top_k(scores, lengths, candidates=candidates, threads=3)
    for b in range(9):
        alone = top_k(scores[b : b + 1], int(lengths[b]), candidates=candidates[b])
        for first, second, third in zip(one, several, alone, strict=True):
            np.testing.assert_array_equal(first[b], second[b])
            np.testing.assert_array_equal(first[b, : lengths[b]], third[0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_agrees_with_sorting_over_many_chunks(seed, k):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 60, (3, 1000)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    exclude = rng.random(scores.shape) < 0.2
    items, values = top_k(scores, k, sp.csr_matrix(exclude))
    wanted_items, wanted_values = slow_top_k(scores, k, exclude)
    np.testing.assert_array_equal(items, wanted_items)
    np.testing.assert_array_equal(values, wanted_values)


@pytest.mark.parametrize("order", ["rising", "falling"])
def test_rows_in_order(order):
    # rising is the worst case: every entry beats the worst one kept
    row = np.arange(777, dtype=np.float32)
    scores = (row if order == "rising" else row[::-1])[None]
    items, values = top_k(scores, 5)
    assert items.tolist() == [[776, 775, 774, 773, 772] if order == "rising" else [0, 1, 2, 3, 4]]
    assert values.tolist() == [[776, 775, 774, 773, 772]]


def test_excluded_items_never_come_back():
    scores = np.array([[9, 8, 7, 6], [1, 2, 3, 4]], dtype=np.float32)
    exclude = sp.csr_matrix([[1, 1, 0, 0], [1, 1, 1, 1]])
    items, values = top_k(scores, 3, exclude)
    assert items.tolist() == [[2, 3, -1], [-1, -1, -1]]
    assert values.tolist() == [[7, 6, -math.inf], [-math.inf] * 3]


def test_minus_infinity_is_a_score_and_padding_is_not_an_item():
    items, values = top_k(np.array([[-math.inf, math.nan, -math.inf]], dtype=np.float32), 4)
    assert items.tolist() == [[0, 2, -1, -1]]
    assert values.tolist() == [[-math.inf] * 4]


def test_stored_zeros_and_unsorted_columns_exclude_too():
    exclude = sp.csr_matrix((np.array([0.0, 1.0]), np.array([3, 0]), np.array([0, 2])), shape=(1, 4))
    items, _ = top_k(np.array([[4, 3, 2, 5]], dtype=np.float32), 2, exclude)
    assert items.tolist() == [[1, 2]]


def test_threads_and_views_do_not_change_the_result():
    rng = np.random.default_rng(7)
    scores = rng.integers(0, 500, (50, 20_000)).astype(np.float32)
    exclude = sp.random(50, 20_000, density=0.05, format="csr", random_state=rng)
    items, values = top_k(scores, 20, exclude, threads=1)
    for threads in (2, 5):
        again = top_k(scores, 20, exclude, threads=threads)
        np.testing.assert_array_equal(again[0], items)
        np.testing.assert_array_equal(again[1], values)
    for b in (0, 49):
        allowed = np.setdiff1d(np.arange(20_000), exclude[b].indices)
        best = allowed[np.lexsort((allowed, -scores[b, allowed]))][:20]
        np.testing.assert_array_equal(items[b], best)
    frozen = np.asfortranarray(scores)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(top_k(frozen, 20, exclude)[0], items)


def test_bad_arguments_say_what_was_wanted():
    scores = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ConfigError, match="k must be at least 1, but is 0"):
        top_k(scores, 0)
    with pytest.raises(ConfigError, match="threads must be at least 1"):
        top_k(scores, 1, threads=0)
    with pytest.raises(DataError, match="float32 matrix"):
        top_k(scores.astype(np.float64), 1)  # type: ignore[arg-type]  # the wrong type is the point
    with pytest.raises(DataError, match=r"scores' shape \(2, 3\), but have \(2, 4\)"):
        top_k(scores, 1, sp.csr_matrix((2, 4)))
    with pytest.raises(DataError, match=r"candidates must be bool of shape \(3,\)"):
        top_k(scores, 1, candidates=np.ones(2, dtype=np.bool_))
    with pytest.raises(
        DataError, match=r"k must be a whole number, .*shape \(\d,\), but is int64 of shape \(9,\)"
    ):
        top_k(scores, np.ones(9, dtype=np.int64))
    with pytest.raises(DataError, match="but is float64 of shape"):
        top_k(scores, np.ones(len(scores)))
    with pytest.raises(ConfigError, match="k must be at least 1, but is 0"):
        top_k(scores, np.arange(len(scores)))


def test_rows_per_block():
    assert rows_per_block(1000, 4000 * 7 + 3999) == 7
    assert rows_per_block(1000, 1) == 1
    assert rows_per_block(0, 8) == 2
    with pytest.raises(ConfigError, match="block_bytes"):
        rows_per_block(1000, 0)


class Looked:
    """Scores that depend on the history, and how many users were scored at a time."""

    def __init__(self, weights):
        self.weights, self.n_items, self.sizes = weights, weights.shape[1], []

    def score(self, histories):
        self.sizes.append(histories.shape[0])
        return np.asarray(histories @ self.weights, dtype=np.float32)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 9),
    st.integers(1, 30) | st.none(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["all", "some", "own"]),
    st.integers(1, 10),
)
def test_histories_are_scored_and_ranked_block_by_block(
    seed, n_users, k, owned, further, candidates, at_once
):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (25, 25)).astype(np.float32)  # ties are the rule
    own, more = rng.random((n_users, 25)) < 0.3, rng.random((n_users, 25)) < 0.3
    histories = sp.csr_matrix(own.astype(np.float32))
    lengths = rng.integers(1, 31, n_users) if k is None else k
    marked = {"all": None, "some": rng.random(25) < 0.7, "own": rng.random((n_users, 25)) < 0.7}[candidates]
    model = Looked(weights)
    ranked = rank_histories(
        model,
        histories,
        lengths,
        exclude_owned=owned,
        exclude=sp.csr_matrix(more) if further else None,
        candidates=marked,
        block_bytes=at_once * 25 * 4,
    )
    left_out = (own & owned) | (more & further)
    wanted = slow_top_k((own @ weights).astype(np.float32), lengths, left_out, marked)
    np.testing.assert_array_equal(ranked.items, wanted[0])
    np.testing.assert_array_equal(ranked.scores, wanted[1])
    assert (ranked.items.dtype, ranked.scores.dtype) == (np.int32, np.float32)
    assert sum(model.sizes) == n_users
    assert max(model.sizes) <= at_once


def test_bad_arguments_of_histories_say_what_was_wanted():
    model, histories = Looked(np.eye(3, dtype=np.float32)), sp.csr_matrix((2, 3), dtype=np.float32)
    with pytest.raises(ConfigError, match="k must be at least 1, but is 0"):
        rank_histories(model, histories, 0)
    with pytest.raises(ConfigError, match="threads must be at least 1"):
        rank_histories(model, histories, 1, threads=0)
    with pytest.raises(ConfigError, match="block_bytes"):
        rank_histories(model, histories, 1, block_bytes=0)
    with pytest.raises(DataError, match=r"histories' shape \(2, 3\), but have \(1, 3\)"):
        rank_histories(model, histories, 1, exclude=sp.csr_matrix((1, 3)))
    with pytest.raises(DataError, match=r"candidates must be bool of shape \(3,\)"):
        rank_histories(model, histories, 1, candidates=np.ones(2, dtype=np.bool_))
    with pytest.raises(DataError, match=r"candidates must be bool of shape \(3,\) or \(2, 3\)"):
        rank_histories(model, histories, 1, candidates=np.ones((3, 3), dtype=np.bool_))
    with pytest.raises(DataError, match=r"or whole numbers of shape \(2,\), but is int64 of shape \(3,\)"):
        rank_histories(model, histories, np.ones(3, dtype=np.int64))
    assert model.sizes == []  # nothing was scored for it
