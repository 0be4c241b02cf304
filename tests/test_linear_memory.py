"""The dense linear models hold their I×I matrix once: solved in place, read without a copy, scored without a mask."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from recae.errors import ModelFileError
from recae.models import Ease, SparseLinear

N = 3000
MATRIX = 4 * N * N

SOLVE = """
import resource, sys
import numpy as np
import scipy.sparse as sp
from recae.training.kinds.linear import EaseSettings, fit_ease
from recae.training.callbacks import Hooks

def matrix(n_users, n_items):
    rng = np.random.default_rng(0)
    items = rng.integers(0, n_items, 10 * n_users)
    rows = np.repeat(np.arange(n_users), 10)
    m = sp.csr_matrix((np.ones(rows.size, dtype=np.float32), (rows, items)), shape=(n_users, n_items))
    m.sum_duplicates()
    return m

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

shape = int(sys.argv[1]), int(sys.argv[2])
fit_ease(matrix(500, 500), EaseSettings(), Hooks())  # threads, workspaces and compiled loops
fit_ease(matrix(100, 500), EaseSettings(), Hooks())
before = peak()
fit_ease(matrix(*shape), EaseSettings(), Hooks())
print(peak() - before)
"""


@pytest.mark.some(1)
@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage")
@pytest.mark.parametrize(("users", "more"), [(4000, 0), (1000, 4 * 1000**2)])
def test_solving_holds_one_matrix_of_items(users, more):
    done = subprocess.run(
        [sys.executable, "-c", SOLVE, str(users), str(N)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1.6 * MATRIX + more  # a second matrix of items would be beyond


@pytest.fixture(scope="module")
def model() -> Ease:
    weights = np.random.default_rng(0).normal(0, 1, (N, N)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return Ease(weights, {"l2": 1.0})


def test_reading_makes_neither_copy_nor_mask(model):
    import tracemalloc

    tracemalloc.start()
    again = Ease.from_arrays(model.config(), model.arrays(), N)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert again.weights is model.weights
    assert peak < 0.15 * MATRIX  # a mask of all weights would be a quarter


def test_scoring_holds_the_scores_alone(model):
    import tracemalloc

    histories = sp.random(3, N, 0.01, format="csr", dtype=np.float32, random_state=0)
    model.score(histories), model.score_items(histories, np.array([1]))  # compiles
    tracemalloc.start()
    model.score(histories)
    model.score_items(histories, np.arange(5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.05 * MATRIX


def test_scores_are_sums_of_rows(model):
    histories = sp.random(9, N, 0.003, format="csr", dtype=np.float32, random_state=1)
    histories.data[:] = 1
    expected = histories.toarray().astype(np.float64) @ model.weights.astype(np.float64)
    np.testing.assert_allclose(model.score(histories), expected, rtol=1e-5, atol=1e-5)
    sparse = SparseLinear(sp.csr_matrix(np.where(model.weights > 2, model.weights, 0)), {})
    expected = histories.toarray().astype(np.float64) @ sparse.weights.toarray().astype(np.float64)
    np.testing.assert_allclose(sparse.score(histories), expected, rtol=1e-5, atol=1e-5)
    items = np.array([5, 2999, 5])
    np.testing.assert_array_equal(sparse.score_items(histories, items), sparse.score(histories)[:, items])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused_wherever_it_is(model, value):
    for place in ((0, 1), (N - 1, N - 2)):
        weights = model.weights.copy()
        weights[place] = value
        with pytest.raises(ModelFileError, match="not finite"):
            Ease.from_arrays({}, {"weights": weights}, N)


def test_an_item_that_speaks_for_itself_is_refused(model):
    weights = model.weights.copy()
    weights[7, 7] = 0.1
    with pytest.raises(ModelFileError, match="diagonal"):
        Ease.from_arrays({}, {"weights": weights}, N)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": np.array([0, 2, 1, 3], dtype=np.int64)}, "part"),
        ({"indptr": np.array([1, 2, 3, 3], dtype=np.int64)}, "part"),
        ({"indptr": np.array([0, 1, 2, 2], dtype=np.int64)}, "part"),
        ({"indices": np.array([1, 3, 0], dtype=np.int32)}, "outside 0 .. 2"),
        ({"indices": np.array([1, -1, 0], dtype=np.int32)}, "outside 0 .. 2"),
        ({"data": np.array([1, np.nan, 0], dtype=np.float32)}, "not finite"),
    ],
)
def test_sparse_weights_that_do_not_fit_are_refused(change, message):
    B = sp.csr_matrix(np.array([[0, 1, 2], [3, 0, 0], [0, 0, 0]], dtype=np.float32))
    arrays = SparseLinear(B, {}).arrays()
    assert SparseLinear.from_arrays({}, arrays, 3).weights.nnz == 3
    with pytest.raises(ModelFileError, match=message):
        SparseLinear.from_arrays({}, arrays | change, 3)
