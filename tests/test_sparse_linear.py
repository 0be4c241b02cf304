"""The sparse linear model against dense solves on the same pattern, and EDLAE where that is everything."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import lsq_linear

from recae.errors import TrainingError
from recae.models import SparseLinear
from recae.training.callbacks import Hooks
from recae.training.kinds import sparse_linear
from recae.training.kinds.linear import EdlaeSettings, SparseLinearSettings, fit_edlae
from recae.training.kinds.sparse_linear import fit_sparse_linear, solve_neighbours

PLAIN = {"item_power": 0.0, "owned_power": 0.0, "diagonal": 0.0}


def solved(matrix, config):
    return solve_neighbours(matrix, config, Hooks()).weights(config, matrix)


def purchases(n_users: int, n_items: int, share: float = 0.15, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    popularity = rng.random(n_items) ** 2 * 3 * share
    return sp.csr_matrix((rng.random((n_users, n_items)) < popularity).astype(np.float32))


def gram(matrix, user_power):
    X = matrix.toarray().astype(np.float64)
    weights = np.maximum(X.sum(axis=1), 1) ** -user_power
    weights *= X.sum() / (weights @ X.sum(axis=1))
    return (X * weights[:, None]).T @ X


@pytest.mark.parametrize("neighbours", [1, 5, 12])
@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 3.0, "dropout": 0.0, "user_power": 0.0},
        {"l2": 1.0, "dropout": 0.3, "user_power": 0.6, "item_power": 0.4},
        {"l2": 4.0, "dropout": 0.2, "user_power": 0.2, "item_power": 0.2, "owned_power": 0.3},
        {"l2": 9.0, "dropout": 0.2, "user_power": 0.2, "owned_power": -0.1, "diagonal": 0.4},
    ],
)
def test_each_column_solves_its_system_and_its_neighbours_tell_most(neighbours, settings):
    matrix = purchases(90, 40)
    B = solved(matrix, SparseLinearSettings(neighbours=neighbours, **PLAIN | settings)).toarray()
    G = gram(matrix, settings["user_power"])
    p = settings["dropout"]
    penalty = settings["l2"] + p / (1 - p) * np.diag(G)
    owners = np.maximum(matrix.toarray().sum(axis=0), 1).astype(np.float64)
    scales = owners[:, None] ** settings.get("owned_power", 0) / owners ** settings.get("item_power", 0)
    own, most = B.diagonal() / scales.diagonal(), settings.get("diagonal", 0)
    assert (own >= 0).all()
    assert (own <= most + 1e-6).all()
    np.fill_diagonal(B, 0)
    for j in range(40):
        S = np.flatnonzero(B[:, j])
        gains = np.where(np.arange(40) == j, 0, G[:, j] ** 2 / (np.diag(G) + penalty))
        assert j not in S
        assert len(S) == min(neighbours, np.count_nonzero(gains))
        if len(S) == 0:
            continue
        others = np.setdiff1d(np.arange(40), [*S, j])
        assert gains[S].min() >= gains[others].max() - 1e-9
        expected = np.linalg.solve(G[np.ix_(S, S)] + np.diag(penalty[S]), G[S, j])
        if most:  # least squares on S and the item itself, whose weight has a bound
            at = [*S, j]
            root = np.linalg.cholesky(G[np.ix_(at, at)] + np.diag(penalty[at]))
            upper = np.where(np.arange(len(at)) == len(S), most, np.inf)
            wanted = np.linalg.solve(root, G[at, j])
            expected = lsq_linear(root.T, wanted, (-np.inf, upper), tol=1e-14).x
            np.testing.assert_allclose(own[j], expected[-1], rtol=1e-5)
            expected = expected[:-1]
        expected = expected * scales[S, j]
        np.testing.assert_allclose(B[S, j], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("neighbours", [29, 30, 1000])
def test_with_all_other_items_as_neighbours_it_is_edlae(neighbours):
    matrix = purchases(50, 30)
    settings = {
        "l2": 4.0,
        "dropout": 0.25,
        "user_power": 0.5,
        "item_power": 0.2,
        "owned_power": 0.1,
        "diagonal": 0.4,
    }
    sparse, epochs = fit_sparse_linear(
        matrix, SparseLinearSettings(neighbours=neighbours, **settings), Hooks()
    )
    assert epochs == []
    assert isinstance(sparse, SparseLinear)
    dense = fit_edlae(matrix, EdlaeSettings(**settings), Hooks())[0].weights
    np.testing.assert_allclose(sparse.weights.toarray(), dense, atol=1e-6)


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch):
    matrix = purchases(200, 700, 0.03)
    config = SparseLinearSettings(l2=2.0, neighbours=20, **PLAIN)
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(sparse_linear, "processors", lambda threads=threads: threads)
        found.append(solved(matrix, config))
    assert found[0].data.tobytes() == found[1].data.tobytes()
    np.testing.assert_array_equal(found[0].indices, found[1].indices)


@pytest.mark.parametrize("weighted", [False, True])
def test_reading_the_systems_from_the_whole_product_changes_no_bit(weighted, monkeypatch):
    matrix = purchases(150, 120, 0.1, seed=4)
    confidence = np.random.default_rng(5).uniform(0.2, 3, matrix.nnz).astype(np.float32) if weighted else None
    config = SparseLinearSettings(l2=2.0, neighbours=15, **PLAIN)
    found = [solve_neighbours(matrix, config, Hooks(confidence=confidence))]
    monkeypatch.setattr(sparse_linear, "DENSE_BYTES_AT_MOST", 0)
    found.append(solve_neighbours(matrix, config, Hooks(confidence=confidence)))
    for name in ("neighbours", "values", "left"):
        assert getattr(found[0], name).tobytes() == getattr(found[1], name).tobytes()


def test_items_without_neighbours():
    matrix = sp.csr_matrix(np.array([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=np.float32))
    B = solved(
        matrix, SparseLinearSettings(l2=1.0, dropout=0.0, user_power=0.0, neighbours=2, **PLAIN)
    ).toarray()
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = 0.5  # G_01/(G_00 + λ)
    np.testing.assert_allclose(B, expected)


def test_one_item():
    matrix = sp.csr_matrix(np.ones((3, 1), dtype=np.float32))
    model, _ = fit_sparse_linear(matrix, SparseLinearSettings(), Hooks())
    np.testing.assert_array_equal(model.score(matrix), np.zeros((3, 1)))


def test_ties_fill_the_room_there_is():
    """One owner of all items: all others tell the same, and still no more than two are taken."""
    matrix = sp.csr_matrix(np.ones((1, 6), dtype=np.float32))
    B = solved(matrix, SparseLinearSettings(l2=1.0, dropout=0.0, user_power=0.0, neighbours=2, **PLAIN))
    np.testing.assert_array_equal((B.toarray() != 0).sum(axis=0), 2)
    np.testing.assert_allclose(B.data, 1 / 3)


def test_what_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(sparse_linear, "memory_left", lambda device: 2**20)
    with pytest.raises(TrainingError, match=r"200 neighbours of 1,000 items need .* lower neighbours"):
        fit_sparse_linear(purchases(50, 1000), SparseLinearSettings(), Hooks())
    monkeypatch.setattr(sparse_linear, "memory_left", lambda device: None)
    assert fit_sparse_linear(purchases(50, 100), SparseLinearSettings(), Hooks())[0].n_items == 100


def test_nothing_to_learn_from():
    with pytest.raises(TrainingError, match="every history is empty"):
        fit_sparse_linear(sp.csr_matrix((3, 4), dtype=np.float32), SparseLinearSettings(), Hooks())


def test_a_system_that_cannot_be_solved_stops_everything(monkeypatch):
    monkeypatch.setattr(sparse_linear, "penalties", lambda config, squares: -squares - 1)
    with pytest.raises(TrainingError, match="larger l2"):
        fit_sparse_linear(purchases(50, 30), SparseLinearSettings(neighbours=5), Hooks())


def test_long_solves_are_announced(monkeypatch):
    times = iter([0.0, 1.0, 0.0, 1000.0, 0.0, 0.0])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr(sparse_linear, "time", clock)
    said: list[str] = []
    matrix, config = purchases(60, 800, 0.05), SparseLinearSettings(neighbours=3)
    for _ in range(3):
        fit_sparse_linear(matrix, config, Hooks(on_message=said.append))
    assert len(said) == 2  # the third takes no time
    assert said[0].startswith("solving 800 items, each from 3 neighbours: about ")
    assert said[0].endswith(" s")
    assert said[1].endswith(" minutes")
