"""Popularity and item-kNN against similarities worked out in plain Python, and against `implicit`."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError, ModelFileError
from recae.models import ItemKNN, Popularity
from recae.models.itemknn import Neighbours
from recae.ranking import top_k

WEIGHTINGS = ["bm25", "cosine", "tfidf"]


@pytest.fixture(scope="module")
def purchases() -> sp.csr_matrix:
    rng = np.random.default_rng(5)
    liked = rng.random((80, 40)) < rng.uniform(0.05, 0.4, 40)
    return sp.csr_matrix(liked.astype(np.float32))


def slow_similarity(matrix: sp.csr_matrix, weighting: str) -> np.ndarray:
    """All item similarities, each user and item by itself; the weightings as in implicit's documentation."""
    owned = matrix.toarray() > 0
    n_users, n_items = owned.shape
    idf = [math.log(n_items) - math.log1p(owned[u].sum()) for u in range(n_users)]
    average = owned.sum() / n_items
    rows = np.zeros((n_items, n_users))
    for i in range(n_items):
        for u in range(n_users):
            if not owned[u, i]:
                continue
            if weighting == "bm25":
                norm = (1 - 0.75) + 0.75 * owned[:, i].sum() / average
                rows[i, u] = (1.2 + 1) / (1.2 * norm + 1) * idf[u]
            else:
                rows[i, u] = idf[u] if weighting == "tfidf" else 1
        if weighting != "bm25":
            length = math.sqrt(sum(x * x for x in rows[i]))
            rows[i] /= length or 1
    return np.array([[sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for j in range(n_items)]
                     for i in range(n_items)])  # fmt: skip


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_similarity_by_hand(purchases, weighting):
    wanted = slow_similarity(purchases, weighting)
    whole = ItemKNN.fit(purchases, k=40, weighting=weighting).similarity.toarray()
    np.testing.assert_allclose(whole, wanted, rtol=1e-5, atol=1e-6)
    # of each item only the k largest stay
    nearest = ItemKNN.fit(purchases, k=5, weighting=weighting).similarity
    assert np.diff(nearest.indptr).max() <= 5
    for i in range(40):
        row = nearest[i].toarray()[0]
        kept = np.flatnonzero(row)
        np.testing.assert_allclose(row[kept], wanted[i, kept], rtol=1e-5)
        np.testing.assert_allclose(np.sort(row[kept]), np.sort(wanted[i])[::-1][:5][::-1], rtol=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.filterwarnings(
    "ignore:Method expects CSR input"
)  # implicit's recommenders warn of their own COO
def test_recommendations_are_those_of_implicit(purchases, weighting):
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    classes = {"bm25": BM25Recommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}
    theirs = classes[weighting](K=10)
    theirs.fit(purchases.astype(np.float64), show_progress=False)
    ours = ItemKNN.fit(purchases, k=10, weighting=weighting)
    scores = ours.score(purchases)
    items, values = top_k(scores, 5, exclude=purchases)
    for user in range(purchases.shape[0]):
        their_items, their_values = theirs.recommend(user, purchases[user].astype(np.float64), N=5)
        n = min(len(their_items), 5)
        np.testing.assert_allclose(values[user, :n], their_values[:n], rtol=1e-5)
        np.testing.assert_allclose(scores[user, their_items[:n]], their_values[:n], rtol=1e-5)
        if len(set(np.round(their_values[:n], 5))) == n:  # without ties the order is theirs too
            np.testing.assert_array_equal(items[user, :n], their_items[:n])


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_item_knn_on_odd_data(weighting):
    # an item nobody owns, a user who owns nothing, a user who owns everything else
    dense = np.array([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ItemKNN.fit(sp.csr_matrix(dense), k=3, weighting=weighting)
    scores = model.score(sp.csr_matrix(dense))
    assert np.isfinite(scores).all()
    assert (scores[:, 4] == 0).all()
    assert (scores[1] == 0).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_smaller_k_of_neighbours_found_once_is_that_k_alone(purchases, weighting, weighted):
    # items bought by the same users tie with each other; the second half repeats the first
    matrix = sp.csr_matrix(sp.hstack([purchases, purchases], format="csr"))
    weights = np.tile(np.float32([1, 2, 0.5]), matrix.nnz)[: matrix.nnz] if weighted else None
    once = Neighbours.of(matrix, 60, weighting, weights)
    for k in (1, 2, 3, 7, 20, 59, 60):
        alone, truncated = ItemKNN.fit(matrix, k=k, weighting=weighting, confidence=weights), once.model(k)
        assert (truncated.k, truncated.weighting) == (k, weighting)
        for name, array in alone.arrays().items():
            assert array.tobytes() == truncated.arrays()[name].tobytes()


def test_of_equally_similar_items_the_higher_numbers_stay():
    same = np.ones((3, 1)) * (np.arange(8) < 6)  # six items with the same owners
    same[0, 7] = 1
    once = Neighbours.of(sp.csr_matrix(np.vstack([same, np.zeros((20, 8))])), 8, "cosine")
    of_three = slice(once.starts[3], once.starts[3] + once.lengths[3])
    assert once.items[of_three].tolist() == [5, 4, 3, 2, 1, 0, 7]
    assert once.model(3).similarity[5].indices.tolist() == [3, 4, 5]
    assert once.model(3).similarity[6].nnz == 0  # nobody owns it
    assert once.model(20).similarity.nnz == once.model(8).similarity.nnz


def test_neighbours_of_no_items():
    assert Neighbours.of(sp.csr_matrix((3, 0), dtype=np.float32), 5).model(5).n_items == 0


def test_item_knn_is_the_same_each_time(purchases):
    one, two = (ItemKNN.fit(purchases).arrays() for _ in range(2))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_item_knn_prints_nothing(purchases, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ItemKNN.fit(purchases)
    assert capfd.readouterr() == ("", "")


def test_item_knn_bad_configuration(purchases):
    with pytest.raises(ConfigError, match="k must be at least 1, but is 0"):
        ItemKNN.fit(purchases, k=0)
    with pytest.raises(ConfigError, match="no weighting 'bm52'; choose one of bm25, tfidf, cosine"):
        ItemKNN.fit(purchases, weighting="bm52")  # type: ignore[arg-type]  # the wrong name is the point


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("indices", lambda array: array + 40),
        ("indices", lambda array: array - 40),
        ("indptr", lambda array: array[::-1].copy()),
        ("indptr", lambda array: array + 1),
        ("data", lambda array: array * np.float32(np.nan)),
    ],
)
def test_item_knn_with_a_broken_similarity(purchases, name, change):
    model = ItemKNN.fit(purchases)
    arrays = model.arrays()
    with pytest.raises(ModelFileError, match=name):
        ItemKNN.from_arrays(model.config(), arrays | {name: change(arrays[name])}, 40)


@pytest.mark.parametrize(
    "config", [{}, {"k": 0, "weighting": "bm25"}, {"k": True, "weighting": "bm25"}, {"k": 5, "weighting": []}]
)
def test_item_knn_with_a_broken_configuration(purchases, config):
    with pytest.raises(ModelFileError):
        ItemKNN.from_arrays(config, ItemKNN.fit(purchases).arrays(), 40)


def test_popularity_counts_owners():
    matrix = sp.csr_matrix(
        np.array([[5, 0, 1], [2, 0, 0]], dtype=np.float32)
    )  # values are no counts of owners
    scores = Popularity.fit(matrix).score(matrix)
    assert scores.tolist() == [[2, 0, 1], [2, 0, 1]]


def test_popularity_with_broken_counts():
    with pytest.raises(ModelFileError, match="not finite"):
        Popularity.from_arrays({}, {"counts": np.array([1, np.inf], dtype=np.float32)}, 2)
