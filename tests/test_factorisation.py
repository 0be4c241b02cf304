"""ALS and BPR: their fold-in against dense solutions, plain loops and implicit's own, and their files."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp

from recae.errors import ModelFileError, TrainingError
from recae.models import ALS, BPR
from recae.sparse import pattern
from recae.training.callbacks import Hooks
from recae.training.kinds.baselines import AlsSettings, BprSettings, fit_als, fit_bpr, sample_by_popularity

N_USERS, N_ITEMS = 40, 30


@pytest.fixture(scope="module")
def purchases() -> sp.csr_matrix:
    """Users of 0 to 20 of 30 items; nobody owns the last."""
    rng = np.random.default_rng(4)
    dense = rng.random((N_USERS, N_ITEMS)) < rng.random((N_USERS, 1)) * 0.7
    dense[0] = False
    dense[:, -1] = False
    return sp.csr_matrix(dense.astype(np.float32))


def dense_als(Y: np.ndarray, row: np.ndarray, alpha: float, regularization: float) -> np.ndarray:
    """(YᵀCY + λ1)⁻¹YᵀCp with C and p written out, in float64."""
    Y = Y.astype(np.float64)
    C = np.diag(np.where(row, alpha, 1.0))
    return np.linalg.inv(Y.T @ C @ Y + regularization * np.eye(Y.shape[1])) @ Y.T @ C @ row


@pytest.mark.parametrize("alpha", [0.4, 1.0, 15.0])
@pytest.mark.parametrize(
    "factors", [3, 12, 50]
)  # histories longer and shorter than the vectors; more than items
def test_als_folds_in_by_the_dense_solution(purchases, factors, alpha):
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(N_ITEMS, factors)).astype(np.float32)
    model = ALS(Y, 0.3, alpha, {})
    codes = model.encode(purchases)
    expected = np.array([dense_als(Y, row, alpha, 0.3) for row in purchases.toarray()])
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.score(purchases), expected @ Y.T, rtol=1e-4, atol=1e-5)
    assert not codes[0].any()


def test_als_minimises_its_weighted_squared_error(purchases):
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(N_ITEMS, 5))
    row = purchases[3].toarray()[0]
    code = ALS(Y.astype(np.float32), 0.7, 6.0, {}).encode(purchases[3])[0]

    def loss(x):
        return (
            sum((6.0 if own else 1.0) * (own - x @ y) ** 2 for own, y in zip(row, Y, strict=True))
            + 0.7 * x @ x
        )

    found = scipy.optimize.minimize(loss, np.zeros(5), tol=1e-10)
    np.testing.assert_allclose(code, found.x, atol=1e-4)


@pytest.mark.parametrize("factors", [4, 16])
def test_als_folds_in_as_implicit_recalculates_users(purchases, factors):
    from implicit.cpu.als import AlternatingLeastSquares

    config = AlsSettings(factors=factors, regularization=0.5, alpha=8.0, iterations=5, seed=3)
    model, epochs = fit_als(purchases, config, Hooks())
    assert epochs == []
    theirs = AlternatingLeastSquares(
        factors=factors, regularization=0.5, alpha=8.0, iterations=5, random_state=3
    )
    theirs.fit(pattern(purchases), show_progress=False)
    np.testing.assert_array_equal(model.item_factors, theirs.item_factors)
    users = np.arange(N_USERS)
    np.testing.assert_allclose(
        model.encode(purchases), theirs.recalculate_user(users, purchases), rtol=1e-3, atol=1e-4
    )


def test_als_vectors_of_users_of_the_training_are_those_of_the_training(purchases):
    """Once it has converged, folding a user in changes nothing."""
    from implicit.cpu.als import AlternatingLeastSquares

    config = AlsSettings(factors=3, regularization=1.0, alpha=5.0, iterations=300, seed=0)
    model, _ = fit_als(purchases, config, Hooks())
    theirs = AlternatingLeastSquares(factors=3, regularization=1.0, alpha=5.0, iterations=300, random_state=0)
    theirs.fit(pattern(purchases), show_progress=False)
    np.testing.assert_allclose(model.encode(purchases), theirs.user_factors, atol=0.02)


def bpr_loss(p: np.ndarray, model: BPR, history: set[int]) -> float:
    """The mean over the pairs, in float64."""
    Y, c = model.item_factors.astype(np.float64), model.item_bias.astype(np.float64)
    losses = [
        np.logaddexp(0, -((Y[i] - Y[j]) @ p + c[i] - c[j]))
        for i in sorted(history)
        for j in [[j for j in model.others if j not in history]]
    ]
    return (np.mean(losses) if np.size(losses) else 0.0) + 0.5 * model.regularization * p @ p


@pytest.fixture(scope="module")
def ranking() -> BPR:
    rng = np.random.default_rng(2)
    return BPR(
        item_factors=rng.normal(size=(N_ITEMS, 6)).astype(np.float32),
        item_bias=rng.normal(size=N_ITEMS).astype(np.float32),
        others=np.sort(rng.integers(0, N_ITEMS, size=17)),
        regularization=0.02,
        settings={},
    )


def test_bpr_folds_in_by_minimising_its_objective(purchases, ranking):
    codes = ranking.encode(purchases)
    for user in range(0, N_USERS, 6):
        history = set(purchases[user].indices.tolist())
        found = scipy.optimize.minimize(bpr_loss, np.zeros(6), (ranking, history), tol=1e-12)
        np.testing.assert_allclose(codes[user], found.x, atol=2e-4)
        assert bpr_loss(codes[user].astype(float), ranking, history) <= found.fun + 1e-9


def test_the_gradient_of_bpr_vanishes_at_the_code(purchases, ranking):
    Y, c = ranking.item_factors.astype(float), ranking.item_bias.astype(float)
    codes = ranking.encode(purchases)
    for user in range(1, N_USERS, 5):
        history = set(purchases[user].indices.tolist())
        p = codes[user].astype(float)
        pairs = [(i, j) for i in history for j in ranking.others if j not in history]
        gradient = ranking.regularization * p
        for i, j in pairs:
            z = 1 / (1 + np.exp(p @ (Y[i] - Y[j]) + c[i] - c[j]))
            gradient = gradient - z * (Y[i] - Y[j]) / len(pairs)
        assert np.abs(gradient).max() < 1e-6  # the code is rounded to float32


@pytest.mark.parametrize("scale", [1e-3, 30.0])
@pytest.mark.parametrize("regularization", [1e-6, 10.0])
def test_bpr_folds_in_whatever_the_scale(purchases, ranking, scale, regularization):
    """Far from a quadratic, Newton's step has to be shortened; scores differ by hundreds."""
    model = BPR(
        ranking.item_factors * np.float32(scale),
        ranking.item_bias * np.float32(scale),
        ranking.others,
        regularization,
        {},
    )
    codes = model.encode(purchases).astype(np.float64)
    assert np.isfinite(codes).all()
    for user in range(1, N_USERS, 13):
        history = set(purchases[user].indices.tolist())
        least = bpr_loss(codes[user], model, history)
        assert least <= bpr_loss(np.zeros(6), model, history)
        for start in (np.zeros(6), codes[user]):
            found = scipy.optimize.minimize(bpr_loss, start, (model, history), method="BFGS")
            assert least <= found.fun + 1e-4 * (1 + abs(found.fun))


def test_bpr_without_a_pair_to_compare(ranking):
    everything = sp.csr_matrix(np.ones((1, N_ITEMS), dtype=np.float32))
    nothing = sp.csr_matrix((1, N_ITEMS), dtype=np.float32)
    for history in (everything, nothing):
        assert not ranking.encode(history).any()
        np.testing.assert_array_equal(ranking.score(history)[0], ranking.item_bias)


def test_bpr_keeps_what_implicit_trained(purchases):
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    config = BprSettings(factors=5, iterations=7, learning_rate=0.03, regularization=0.02, others=50, seed=9)
    model, epochs = fit_bpr(purchases, config, Hooks())
    theirs = BayesianPersonalizedRanking(
        factors=5, iterations=7, learning_rate=0.03, regularization=0.02, num_threads=1, random_state=9
    )
    theirs.fit(pattern(purchases), show_progress=False)
    assert epochs == []
    np.testing.assert_array_equal(model.item_factors, theirs.item_factors[:, :-1])
    np.testing.assert_array_equal(model.item_bias, theirs.item_factors[:, -1])
    assert model.item_factors[0].any()


def test_bpr_ranks_users_of_the_training_as_training_does(purchases):
    """The fold-in minimises what training descends on: their scores agree in the main."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    config = BprSettings(
        factors=6, iterations=2000, learning_rate=0.05, regularization=0.01, others=500, seed=0
    )
    model, _ = fit_bpr(purchases, config, Hooks())
    theirs = BayesianPersonalizedRanking(
        factors=6, iterations=2000, learning_rate=0.05, regularization=0.01, num_threads=1, random_state=0
    )
    theirs.fit(pattern(purchases), show_progress=False)
    scores, trained = model.score(purchases), theirs.user_factors @ theirs.item_factors.T
    sizes = np.diff(purchases.indptr)
    agreement = [np.corrcoef(scores[u], trained[u])[0, 1] for u in np.flatnonzero(sizes >= 3)]
    assert np.median(agreement) > 0.9


def test_the_sample_follows_popularity():
    counts = np.array([50, 0, 30, 15, 5])
    matrix = sp.csr_matrix((np.arange(50)[:, None] < counts).astype(np.float32))
    np.testing.assert_array_equal(np.bincount(sample_by_popularity(matrix, 20), minlength=5), counts / 5)
    for number in (1, 7, 333):
        sample = sample_by_popularity(matrix, number)
        assert sample.dtype == np.int64
        assert len(sample) == number
        assert (np.diff(sample) >= 0).all()
        assert np.abs(np.bincount(sample, minlength=5) - number * counts / 100).max() <= 1


def fit(kind: str, matrix: sp.csr_matrix, seed: int = 0):
    if kind == "als":
        return fit_als(matrix, AlsSettings(factors=4, iterations=3, seed=seed), Hooks())[0]
    return fit_bpr(matrix, BprSettings(factors=4, iterations=3, others=9, seed=seed), Hooks())[0]


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_the_seed_decides_about_the_bits(purchases, kind):
    first, again, other = fit(kind, purchases), fit(kind, purchases), fit(kind, purchases, seed=1)
    assert first.item_factors.tobytes() == again.item_factors.tobytes()
    assert first.item_factors.tobytes() != other.item_factors.tobytes()
    assert first.score(purchases).tobytes() == again.score(purchases).tobytes()


def test_als_has_the_same_bits_whatever_the_number_of_threads(monkeypatch):
    """`implicit` parts the users among its threads; each user's solution is one thread's."""
    from implicit.cpu import als

    matrix = sp.random(2000, 150, density=0.05, random_state=0, format="csr", dtype=np.float32)
    whole = fit_als(matrix, AlsSettings(factors=16, iterations=3), Hooks())[0]
    original = als.AlternatingLeastSquares
    monkeypatch.setattr(als, "AlternatingLeastSquares", lambda **given: original(**given, num_threads=1))
    alone = fit_als(matrix, AlsSettings(factors=16, iterations=3), Hooks())[0]
    assert whole.item_factors.tobytes() == alone.item_factors.tobytes()


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_fitting_leaves_the_purchases_and_takes_unsorted_ones(purchases, kind):
    order = np.concatenate(
        [np.arange(a, b)[::-1] for a, b in zip(purchases.indptr, purchases.indptr[1:], strict=False)]
    )
    unsorted = sp.csr_matrix(
        (np.full(purchases.nnz, 3, dtype=np.float64), purchases.indices[order], purchases.indptr),
        purchases.shape,
    )
    for array in (unsorted.data, unsorted.indices, unsorted.indptr):
        array.flags.writeable = False
    np.testing.assert_allclose(
        fit(kind, unsorted).score(purchases), fit(kind, purchases).score(purchases), rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_nothing_to_learn_from(kind):
    with pytest.raises(TrainingError, match="2 users × 5 items hold no purchase"):
        fit(kind, sp.csr_matrix((2, 5), dtype=np.float32))


def test_a_training_that_blows_up(purchases):
    with pytest.raises(TrainingError, match="no longer finite: lower learning_rate"):
        fit_bpr(
            purchases, BprSettings(factors=4, learning_rate=10.0, regularization=10.0, iterations=50), Hooks()
        )


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_read_only_arrays_score_alike(purchases, kind):
    model = fit(kind, purchases)
    arrays = {name: array.copy() for name, array in model.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False
    again = type(model).from_arrays(model.config(), arrays, N_ITEMS)
    assert again.score(purchases).tobytes() == model.score(purchases).tobytes()


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("als", {"regularization": 0}, "'regularization' as a number"),
        ("als", {"alpha": None}, "'alpha' as a number"),
        ("als", {"alpha": float("nan")}, "'alpha' as a number"),
        ("bpr", {"regularization": -1.0}, "'regularization' as a number"),
        ("bpr", {"others": 8}, r"'others' should be int64 of shape \(8\)"),
        ("bpr", {"others": 0}, "'others' as a whole number"),
    ],
)
def test_a_configuration_that_does_not_fit(purchases, kind, config, message):
    model = fit(kind, purchases)
    with pytest.raises(ModelFileError, match=message):
        type(model).from_arrays(model.config() | config, model.arrays(), N_ITEMS)


@pytest.mark.parametrize("wrong", [-1, N_ITEMS])
def test_a_sample_of_items_that_there_are_not(purchases, wrong):
    model = fit("bpr", purchases)
    others = model.others.copy()
    others[4] = wrong
    with pytest.raises(ModelFileError, match=r"'others' holds items outside 0 \.\. 29"):
        BPR.from_arrays(model.config(), model.arrays() | {"others": others}, N_ITEMS)


@pytest.mark.parametrize("kind", ["als", "bpr"])
def test_vectors_that_are_not_finite(purchases, kind):
    model = fit(kind, purchases)
    broken = model.item_factors.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ModelFileError, match="not finite"):
        type(model).from_arrays(model.config(), model.arrays() | {"item_factors": broken}, N_ITEMS)
