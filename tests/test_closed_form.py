"""EASE and EDLAE against a dense inverse in float64, and the two ways to get it against each other."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import lsq_linear

from recae.errors import ConfigError, TrainingError
from recae.kinds import exact_solve
from recae.models import Ease, Edlae
from recae.training.callbacks import Hooks
from recae.training.kinds import linear as closed_form
from recae.training.kinds.linear import (
    EaseSettings,
    EdlaeSettings,
    SparseLinearSettings,
    fit_ease,
    fit_edlae,
    from_items,
    from_users,
    plan,
    resolve,
)
from recae.training.kinds.sparse_linear import fit_sparse_linear


def purchases(n_users: int, n_items: int, share: float = 0.2, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.csr_matrix((rng.random((n_users, n_items)) < share).astype(np.float32))


def dense_edlae(matrix, l2, dropout=0.0, user_power=0.0, item_power=0.0, owned_power=0.0, diagonal=0.0):
    """B of the weighted purchases, column by column: the regression of each item on all others.

    With a diagonal it is that on all items, where a bound keeps the item's own weight small: solved as bounded least
    squares, without any inverse.
    """
    X = matrix.toarray().astype(np.float64)
    n_items = X.shape[1]
    weights = np.array([max(row.sum(), 1) ** -user_power for row in X])
    weights *= X.sum() / sum(w * row.sum() for w, row in zip(weights, X, strict=True))
    G = sum(w * np.outer(row, row) for w, row in zip(weights, X, strict=True))
    B = np.zeros((n_items, n_items))
    owners = np.maximum(X.sum(axis=0), 1)
    for j in range(n_items):
        if diagonal:
            A = np.vstack(
                [np.sqrt(weights)[:, None] * X, np.diag(np.sqrt(l2 + dropout / (1 - dropout) * np.diag(G)))]
            )
            wanted = np.concatenate([np.sqrt(weights) * X[:, j], np.zeros(n_items)])
            upper = np.where(np.arange(n_items) == j, diagonal, np.inf)
            B[:, j] = lsq_linear(A, wanted, (-np.inf, upper), tol=1e-14).x * owners**owned_power
            B[:, j] /= owners[j] ** item_power
            continue
        others = np.array([i for i in range(n_items) if i != j])
        penalty = np.diag([l2 + dropout / (1 - dropout) * G[i, i] for i in others])
        B[others, j] = np.linalg.solve(G[np.ix_(others, others)] + penalty, G[others, j])
        B[:, j] *= owners**owned_power / owners[j] ** item_power
    return B


PLAIN = {"user_power": 0.0, "item_power": 0.0, "owned_power": 0.0, "diagonal": 0.0}

SETTINGS = [
    {"l2": 2.0},
    {"l2": 20.0, "dropout": 0.4},
    {"l2": 5.0, "dropout": 0.2, "user_power": 0.7, "item_power": 0.3},
    {"l2": 5.0, "dropout": 0.2, "user_power": 0.7, "item_power": 0.2, "owned_power": 0.3},
    {"l2": 8.0, "dropout": 0.3, "diagonal": 0.3},  # the bound holds for some items, and others stay below it
    {"l2": 3.0, "user_power": 0.5, "owned_power": -0.2, "item_power": 0.1, "diagonal": 0.6},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("shape", [(80, 21), (17, 41)])  # by way of items, and of users
def test_weights_are_those_of_the_regression_of_each_item_on_the_others(settings, shape):
    matrix = purchases(*shape)
    model, epochs = fit_edlae(matrix, EdlaeSettings(**{"dropout": 0.0, **PLAIN, **settings}), Hooks())
    assert epochs == []
    assert isinstance(model, Edlae)
    assert model.weights.dtype == np.float32
    assert model.weights.flags.c_contiguous
    expected = dense_edlae(matrix, **settings)
    np.testing.assert_allclose(model.weights, expected, atol=2e-6 * np.abs(expected).max())
    if "diagonal" not in settings:
        assert (model.weights.diagonal() == 0).all()
    again = Edlae.from_arrays(model.config(), model.arrays(), shape[1])
    np.testing.assert_array_equal(again.weights, model.weights)


def test_ease_is_edlae_without_dropout():
    matrix = purchases(60, 20)
    ease, _ = fit_ease(matrix, EaseSettings(l2=7.0), Hooks())
    assert isinstance(ease, Ease)
    np.testing.assert_allclose(ease.weights, dense_edlae(matrix, 7.0), atol=1e-6)
    edlae, _ = fit_edlae(matrix, EdlaeSettings(l2=7.0, dropout=0.0, **PLAIN), Hooks())
    np.testing.assert_array_equal(ease.weights, edlae.weights)
    assert ease.config() == {
        "l2": 7.0,
        "user_power": 0.0,
        "item_power": 0.0,
        "owned_power": 0.0,
        "diagonal": 0.0,
        "seed": 0,
    }


def test_scores_minimise_the_penalised_error():
    """No small change of the weights off the diagonal makes ‖X − XB‖² + λ‖B‖² smaller."""
    matrix, l2 = purchases(50, 12, 0.3), 3.0
    X, B = matrix.toarray().astype(float), fit_ease(matrix, EaseSettings(l2=l2), Hooks())[0].weights
    rng = np.random.default_rng(1)

    def loss(weights):
        return ((X - X @ weights) ** 2).sum() + l2 * (weights**2).sum()

    for _ in range(10):
        change = rng.normal(0, 1e-2, B.shape)
        np.fill_diagonal(change, 0)
        assert loss(B + change) > loss(B)


def test_both_inverses_agree_beyond_one_group_and_block(monkeypatch):
    monkeypatch.setattr(closed_form, "BLOCK", 7)
    Z = sp.csr_matrix(purchases(90, 301, 0.05, seed=3) * 0.4).astype(np.float32)
    expected = np.linalg.inv(np.eye(301) + (Z.T @ Z).toarray().astype(np.float64))
    np.testing.assert_allclose(from_items(Z), expected, atol=2e-6)
    np.testing.assert_allclose(from_users(Z), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(70, 24), (20, 30)])
def test_what_is_left_open_is_chosen_on_the_validation_users_with_the_weights_of_its_settings(shape):
    matrix = purchases(*shape)
    for kind, fit, more in (
        (EdlaeSettings, fit_edlae, {}),
        (SparseLinearSettings, fit_sparse_linear, {"neighbours": 8}),
    ):
        asked = [0.1, 0.4, 0.3, 0.2]  # the second one is the best
        said: list[str] = []
        tried = []

        def validate(model, tried=tried, asked=asked):
            tried.append(model.config())
            return asked[len(tried) - 1]

        config = kind(l2=3.0, **more)
        found, _ = fit(matrix, config, Hooks(validate=validate, on_message=said.append))
        names = ("item_power", "owned_power", "diagonal")
        assert tuple(tuple(each[name] for name in names) for each in tried) == closed_form.FACTORS
        assert tuple(found.config()[name] for name in names) == closed_form.FACTORS[1]
        assert "diagonal 0.3 are the best of 4" in said[-1]
        # alone, with the settings that were chosen, it is the same model
        same, _ = fit(matrix, kind(**found.config()), Hooks())
        histories = purchases(9, shape[1], seed=5)
        np.testing.assert_allclose(found.score(histories), same.score(histories), rtol=1e-4, atol=1e-6)
        # nothing is tried where nothing is open, and without validation users it is the plain form
        fit(matrix, kind(**found.config()), Hooks(validate=lambda model: 1 / 0))
        plain = fit(matrix, config, Hooks())[0].config()
        assert tuple(plain[name] for name in names) == closed_form.FACTORS[0]
        # what is given stays
        tried.clear()
        fit(matrix, config.updated(diagonal=0.5), Hooks(validate=validate))
        assert [each["diagonal"] for each in tried] == [0.5] * 3


def test_the_diagonal_is_bounded_and_reached():
    """Frequent items would explain themselves beyond any bound below 1; of rare ones the penalty is stronger."""
    rng = np.random.default_rng(4)
    popularity = np.linspace(0.02, 0.6, 25)
    matrix = sp.csr_matrix((rng.random((120, 25)) < popularity).astype(np.float32))
    own = fit_edlae(matrix, EdlaeSettings(**PLAIN | {"l2": 6.0, "diagonal": 0.5}), Hooks())[
        0
    ].weights.diagonal()
    assert 0 <= own.min() < 0.45
    assert own.max() == 0.5
    free = fit_edlae(matrix, EdlaeSettings(**PLAIN | {"l2": 6.0, "diagonal": 1.0, "dropout": 0.0}), Hooks())[
        0
    ].weights
    X = matrix.toarray().astype(np.float64)
    np.testing.assert_allclose(free, np.linalg.solve(X.T @ X + 6 * np.eye(25), X.T @ X), atol=1e-6)


def test_an_item_that_nobody_owns_and_a_user_without_purchases():
    matrix = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]], dtype=np.float32))
    B = fit_edlae(matrix, EdlaeSettings(l2=1.0, **PLAIN | {"item_power": 0.5}), Hooks())[0].weights
    assert not B[2].any()
    assert not B[:, 2].any()
    np.testing.assert_allclose(
        B, dense_edlae(matrix, 1.0, EdlaeSettings().dropout, item_power=0.5), atol=1e-6
    )


def test_the_same_bits_each_time():
    for matrix in (purchases(70, 30), purchases(20, 60)):
        first, second = (fit_edlae(matrix, EdlaeSettings(), Hooks())[0] for _ in range(2))
        assert first.weights.tobytes() == second.weights.tobytes()


def test_values_other_than_one_count_as_purchases():
    matrix = purchases(40, 15)
    counted = matrix.copy()
    counted.data[:] = 1 + np.arange(counted.nnz) % 5
    first, second = (fit_ease(m, EaseSettings(l2=4.0), Hooks())[0].weights for m in (matrix, counted))
    np.testing.assert_array_equal(first, second)


def test_the_cheaper_inverse_is_chosen_if_it_fits():
    assert plan(100, 50, 1000, None)[0] is False
    dual, need = plan(30_000, 41_000, 810_000, None)
    assert dual
    assert need > 4 * (30_000**2 + 41_000**2)
    dual, less = plan(30_000, 41_000, 810_000, need - 1)
    assert not dual
    assert less < need


def test_feasible_is_what_fits_into_the_share_of_memory_and_the_time():
    shop = exact_solve(4_000, 3_700, 270_000, 8 * 2**30, 2)
    assert shop.feasible
    assert shop.why_not == ""
    assert 4 * 3_700**2 < shop.bytes < 2**30
    assert 0.1 < shop.seconds < 5
    assert exact_solve(4_000, 3_700, 270_000, None, 2).feasible  # memory unknown
    short = exact_solve(4_000, 3_700, 270_000, 4 * (shop.bytes - 1), 2)
    assert not short.feasible
    assert "each pair of 3,700 items needs 0.1 GiB of memory" in short.why_not
    assert exact_solve(4_000, 3_700, 270_000, shop.bytes, 2, memory_share=1).feasible
    large = exact_solve(30_000, 41_000, 810_000, None, 2)
    assert not large.feasible
    assert large.by_users
    assert "30 s may be taken" in large.why_not
    assert exact_solve(30_000, 41_000, 810_000, None, 2, seconds_at_most=3600).feasible
    assert exact_solve(30_000, 41_000, 810_000, None, 64).seconds < large.seconds / 16
    # where users × users does not fit beside items × items, the latter is inverted
    by_items = exact_solve(30_000, 41_000, 810_000, large.bytes - 1, 2, memory_share=1, seconds_at_most=1e9)
    assert not by_items.by_users
    assert by_items.feasible
    assert by_items.seconds > large.seconds


def test_what_does_not_fit_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(closed_form, "memory_left", lambda device: 2**30)
    said: list[str] = []
    matrix = sp.csr_matrix(([1.0], ([0], [0])), shape=(3, 200_000), dtype=np.float32)
    with pytest.raises(
        TrainingError, match=r"200,000 items needs 149\.\d GiB .* has 1\.0 GiB .*'sparse-linear'"
    ):
        fit_ease(matrix, EaseSettings(), Hooks(on_message=said.append))
    assert said == []


def test_nothing_to_learn_from():
    with pytest.raises(TrainingError, match="every history is empty"):
        fit_ease(sp.csr_matrix((3, 4), dtype=np.float32), EaseSettings(), Hooks())


def test_a_matrix_that_cannot_be_inverted():
    with pytest.raises(TrainingError, match="larger l2"):
        closed_form._inverse(np.array([[1, 2], [2, 1]], dtype=np.float32))
    roots = np.ones(2)
    plain = closed_form.Scales(roots, roots, 0 * roots)
    with pytest.raises(TrainingError, match="larger l2"):
        closed_form._to_weights(np.array([[1, 2], [2, -1]], dtype=np.float32), roots, plain)
    with pytest.raises(TrainingError, match="not finite"):
        closed_form._to_weights(np.array([[1, np.inf], [2, 1]], dtype=np.float32), roots, plain)


def test_long_solves_are_announced():
    said: list[str] = []
    closed_form.announce(4000, "items", 4000, 2**26, Hooks(on_message=said.append))
    assert said == []
    closed_form.announce(5000, "users", 8000, 2**30, Hooks(on_message=said.append))
    assert len(said) == 1
    assert "5,000 × 5,000 users for the weights of 8,000 items" in said[0]
    assert said[0].endswith("1.0 GiB")
    assert closed_form._duration(40) == "40 s"
    assert closed_form._duration(600) == "10 minutes"


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (EaseSettings, {"l2": 0}, "l2 is a number"),
        (EaseSettings, {"l2": float("nan")}, "l2"),
        (EaseSettings, {"l2": "1"}, "l2"),
        (EaseSettings, {"user_power": 1.1}, "user_power"),
        (EaseSettings, {"item_power": -0.1}, "item_power"),
        (EaseSettings, {"owned_power": -1.1}, "owned_power"),
        (EaseSettings, {"diagonal": 1.1}, "diagonal"),
        (EaseSettings, {"seed": -1}, "seed"),
        (EdlaeSettings, {"dropout": 1}, "dropout"),
        (EdlaeSettings, {"l2": -1}, "l2"),
        (SparseLinearSettings, {"neighbours": 0}, "neighbours"),
        (SparseLinearSettings, {"neighbours": 2.5}, "whole number"),
        (SparseLinearSettings, {"dropout": True}, "dropout"),
    ],
)
def test_settings_out_of_range(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_resolve_chooses_what_is_left_open():
    matrix = purchases(300, 40)
    for config in (EaseSettings(), EdlaeSettings(dropout=0.1), SparseLinearSettings(neighbours=7)):
        chosen = resolve(config, matrix)
        assert type(chosen) is type(config)
        assert chosen.l2 > 0
        assert chosen.as_dict() | {"l2": None} == config.as_dict()
    assert resolve(EaseSettings(l2=3.0), matrix).l2 == 3.0
    # the more purchases of an item there are to learn from, the less the penalty has to be relative to them
    more = sp.vstack([matrix] * 16).tocsr()
    assert 1 < resolve(EaseSettings(), more).l2 / resolve(EaseSettings(), matrix).l2 < 16
