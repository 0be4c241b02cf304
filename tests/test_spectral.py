"""The graph filter against dense eigenvectors and matrix functions, its choice of settings, and odd data."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ConfigError, ModelFileError, TrainingError
from recae.models import Spectral
from recae.models.attribution import attribute
from recae.models.blend import summands
from recae.training.callbacks import Hooks
from recae.training.kinds import spectral
from recae.training.kinds.spectral import DEFAULTS, SpectralSettings, fit_spectral
from recae.training.kinds.subspace import largest_eigenvectors

ALL = 10_000  # neighbours: more than there are items


def purchases(n_users: int = 70, n_items: int = 30, seed: int = 0) -> sp.csr_matrix:
    """Purchases of unequal popularity; user 3 bought nothing, and nobody item 4."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.35 * rng.random(n_items) + 0.05
    dense[3] = False
    dense[:, 4] = False
    return sp.csr_matrix(dense.astype(np.float32))


def groups(n_groups: int = 10, users_each: int = 30, items_each: int = 20) -> sp.csr_matrix:
    """Users who mostly buy from one of several groups of items: as many eigenvalues as groups are large."""
    rng = np.random.default_rng(1)
    same = np.kron(np.eye(n_groups), np.ones((users_each, items_each)))
    return sp.csr_matrix((rng.random(same.shape) < 0.01 + 0.4 * same).astype(np.float32))


def graph(matrix: sp.csr_matrix, weights: NDArray[Any] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """S, dense, and the degrees of the items, one entry after the other."""
    R = np.zeros(matrix.shape)
    places = matrix.tocoo()
    R[places.row, places.col] = 1 if weights is None else weights
    users, items = R.sum(axis=1), R.sum(axis=0)
    users[users == 0], items[items == 0] = 1, 1
    scaled = R / np.sqrt(users)[:, None] / np.sqrt(items)
    return scaled.T @ scaled, items


def dense_scores(matrix: sp.csr_matrix, config: SpectralSettings, weights: Any = None) -> NDArray[Any]:
    """All scores of the histories `matrix`, by NumPy's eigenvectors of the dense S."""
    S, degrees = graph(matrix, weights)
    values, vectors = np.linalg.eigh(S)
    first = np.flatnonzero(values > 1e-6)[::-1][: config.factors]
    V = vectors[:, first]
    if config.filter == "one-step":
        filtered = S
    elif config.filter == "two-step":
        filtered = 1.5 * S - S @ S
    else:
        filtered = chebyshev(S)
    beta, alpha = config.beta or 0.0, config.alpha or 0.0
    inner = filtered + alpha * V @ V.T
    x = (matrix.toarray() != 0).astype(float)
    return x @ (degrees[:, None] ** -beta * inner * degrees**beta)


def chebyshev(S: NDArray[Any]) -> NDArray[Any]:
    """The interpolant of order 8 as a polynomial of the matrix, by the recurrence of Chebyshev's polynomials."""
    k = np.arange(9)
    nodes = np.cos(np.pi * (k + 0.5) / 9)
    heights = 0.5 - 0.5 * np.sign(nodes) * np.abs(nodes) ** 1.5
    Z = np.eye(len(S)) - 2 * S
    before, now = np.eye(len(S)), Z
    total = heights.mean() * before
    for order in range(1, 9):
        total += 2 / 9 * (heights @ np.cos(order * np.pi * (k + 0.5) / 9)) * now
        before, now = now, 2 * Z @ now - before
    return total


def fit(matrix: sp.csr_matrix, hooks: Hooks | None = None, **settings: Any) -> Spectral:
    return fit_spectral(matrix, SpectralSettings(**settings), hooks or Hooks())[0]


FILTERS = ("one-step", "two-step", "chebyshev")


@pytest.mark.parametrize("shape", [(70, 30), (25, 60)], ids=["more users", "more items"])
@pytest.mark.parametrize("name", FILTERS)
def test_with_all_directions_every_filter_is_the_matrix_function(name: str, shape: tuple[int, int]) -> None:
    matrix = purchases(*shape)
    config = SpectralSettings(filter=name, beta=0.3, alpha=0.25, neighbours=ALL)
    expected = dense_scores(matrix, config)
    scores = fit_spectral(matrix, config, Hooks())[0].score(matrix)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_one_step_is_exact_with_few_directions_too(beta: float) -> None:
    matrix = purchases()
    config = SpectralSettings(filter="one-step", beta=beta, alpha=0.7, factors=5, neighbours=ALL)
    expected = dense_scores(matrix, config)
    scores = fit_spectral(matrix, config, Hooks())[0].score(matrix)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["two-step", "chebyshev"])
def test_few_directions_leave_out_no_more_than_the_line_does(name: str) -> None:
    matrix = purchases()
    config = SpectralSettings(filter=name, beta=0.0, alpha=0.2, factors=12, neighbours=ALL)
    error = fit_spectral(matrix, config, Hooks())[0].score(matrix) - dense_scores(matrix, config)
    end = np.sort(np.linalg.eigvalsh(graph(matrix)[0]))[-12]
    at = np.linspace(0, end, 1000)
    heights = 1.5 * at - at**2 if name == "two-step" else np.diag(chebyshev(np.diag(at)))
    constant, slope = spectral.line(name, end)
    # a symmetric matrix of that norm turns a history of m items into one of length √m times it at most
    bound = np.abs(heights - constant - slope * at).max() + 1e-5
    lengths = np.sqrt(np.diff(matrix.indptr))
    assert (np.linalg.norm(error, axis=1) <= bound * lengths + 1e-4).all()
    assert bound < 0.05


def test_iterating_on_a_block_finds_the_eigenvectors() -> None:
    matrix = groups()
    scaled = spectral.normalised(matrix, None)[0].astype(np.float32)
    values, vectors = largest_eigenvectors(scaled, 10, 0)
    expected, directions = np.linalg.eigh(graph(matrix)[0])
    np.testing.assert_allclose(values, expected[::-1][:10], rtol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(10), atol=1e-5)
    overlap = np.linalg.svd(vectors.T @ directions[:, -10:], compute_uv=False)
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


def test_a_block_of_lower_rank_than_it_is_wide() -> None:
    """Each user is there three times: the Gram matrices of the block are singular."""
    matrix = sp.vstack([purchases(30, 140, seed=2)] * 4, "csr")
    scaled = spectral.normalised(matrix, None)[0].astype(np.float32)
    values, vectors = largest_eigenvectors(scaled, 40, 0)  # of 29, in a block of 104
    expected = np.linalg.eigvalsh(graph(matrix)[0])[::-1]
    assert values.size == np.count_nonzero(expected > 1e-6) == 29
    np.testing.assert_allclose(values, expected[:29], atol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(29), atol=1e-4)


def test_confidence_takes_the_place_of_ones() -> None:
    matrix = purchases()
    weights = np.random.default_rng(0).lognormal(0, 1, matrix.nnz).astype(np.float32)
    config = SpectralSettings(filter="two-step", beta=0.4, alpha=0.2, neighbours=ALL)
    expected = dense_scores(matrix, config, weights)
    model, _ = fit_spectral(matrix, config, Hooks(confidence=weights))
    np.testing.assert_allclose(model.score(matrix), expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())
    plain, _ = fit_spectral(matrix, config, Hooks())
    ones, _ = fit_spectral(matrix, config, Hooks(confidence=np.ones(matrix.nnz, np.float32)))
    assert plain.score(matrix).tobytes() == ones.score(matrix).tobytes()


def test_the_sparse_part_holds_the_largest_products() -> None:
    matrix = purchases()
    S, degrees = graph(matrix)
    model = fit(matrix, filter="one-step", beta=0.5, alpha=0.2, neighbours=4)
    places = np.zeros(S.shape)
    for i in range(len(S)):
        places[i, np.argsort(-S[i])[:4]] = 0.5
    expected = (places + places.T) * S * degrees[:, None] ** -0.5 * degrees**0.5
    np.testing.assert_allclose(model.product.weights.toarray(), expected, rtol=1e-5, atol=1e-7)


def test_fewer_neighbours_are_those_of_a_fit_with_fewer() -> None:
    matrix = purchases()
    few = SpectralSettings(filter="two-step", beta=0.3, alpha=0.1, neighbours=3)
    parts = spectral.Parts.of(matrix, few.updated(neighbours=20), Hooks())
    alone, _ = fit_spectral(matrix, few, Hooks())
    for name, array in parts.model(few).arrays().items():
        assert array.tobytes() == alone.arrays()[name].tobytes()


def test_the_same_seed_gives_the_same_bits() -> None:
    matrix = groups()
    first, second, other = (fit(matrix, factors=20, neighbours=30, seed=seed).arrays() for seed in (0, 0, 1))
    assert all(array.tobytes() == second[name].tobytes() for name, array in first.items())
    assert first["vectors"].tobytes() != other["vectors"].tobytes()


def wants(**best: Any) -> Hooks:
    """Hooks whose validation is the better, the nearer the settings are to these."""

    def quality(model: Any) -> float:
        config = model.config()
        filtered = float(config["filter"] == best["filter"])
        neighbours = abs(np.log(config["neighbours"] / best["neighbours"]))
        return (
            filtered - neighbours - abs(config["beta"] - best["beta"]) - abs(config["alpha"] - best["alpha"])
        )

    return Hooks(validate=quality)


@pytest.mark.parametrize(
    "best",
    [
        {"filter": "two-step", "beta": 0.2, "alpha": 0.05, "neighbours": 5},
        {"filter": "one-step", "beta": 0.6, "alpha": 1.0, "neighbours": 50},
        {"filter": "chebyshev", "beta": 0.4, "alpha": 0.2, "neighbours": 200},
    ],
)
def test_settings_are_chosen_on_validation_users(best: dict[str, Any]) -> None:
    said: list[str] = []
    hooks = replace(wants(**best), on_message=said.append)
    config = fit(purchases(), hooks).config()
    assert {name: config[name] for name in best} == best
    assert "on the validation users" in said[0]
    assert best["filter"] in said[0]


def test_settings_that_are_given_stay() -> None:
    hooks = wants(filter="two-step", beta=0.2, alpha=0.5, neighbours=20)
    config = fit(purchases(), hooks, filter="one-step", beta=0.37).config()
    assert (config["filter"], config["beta"]) == ("one-step", 0.37)
    assert (config["alpha"], config["neighbours"]) == (0.5, 20)
    config = fit(purchases()).config()  # nobody to validate on
    assert {name: config[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    "dense",
    [
        np.ones((50, 1)),
        np.hstack([np.ones((50, 1)), np.zeros((50, 4))]),
        np.eye(50),
        np.eye(50)[:, :7],
        np.ones((2, 3)),
        np.random.default_rng(0).random((50, 400)) < 0.02,
        np.random.default_rng(0).random((400, 90)) < 0.004,
    ],
    ids=["one item", "one item of five", "one each", "most empty", "two users", "random", "random, sparse"],
)
def test_odd_data(dense: NDArray[Any]) -> None:
    matrix = sp.csr_matrix(dense.astype(np.float32))
    for name in FILTERS:
        model = fit(matrix, filter=name)
        scores = model.score(sp.vstack([matrix, sp.csr_matrix((1, matrix.shape[1]))], "csr"))
        assert np.isfinite(scores).all()
        assert not scores[-1].any()
        assert all(np.isfinite(array).all() for array in model.arrays().values())
        again = Spectral.from_arrays(model.config(), model.arrays(), model.n_items)
        assert again.score(matrix).tobytes() == model.score(matrix).tobytes()


def test_no_purchase_is_refused() -> None:
    with pytest.raises(TrainingError, match="no purchase to learn from"):
        fit(sp.csr_matrix((5, 4), dtype=np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filter": "three-step"}, "filter is one of one-step, two-step, chebyshev, found 'three-step'"),
        ({"beta": -0.1}, "beta is a number from 0 to 2, found -0.1"),
        ({"alpha": 101.0}, "alpha is a number from 0 to 100, found 101.0"),
        ({"factors": 0}, "factors is a whole number from 1 to 16384, found 0"),
        ({"neighbours": 0}, "neighbours is a whole number from 1 to 100000, found 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpectralSettings(**settings)


def test_memory_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "memory_left", lambda device: 2**20)
    monkeypatch.setattr(spectral, "normalised", None)
    with pytest.raises(
        TrainingError, match=r"10 directions of 200 items .* GiB left: lower factors or neighbours"
    ):
        fit(groups(), factors=10)


def test_scores_are_taken_apart_by_items() -> None:
    matrix = purchases()
    model = fit(matrix, filter="chebyshev", factors=8, neighbours=6)
    items = np.array([0, 7, 7, 29])
    found = attribute(model, matrix[0], items, seed=0)
    assert not found.base.any()
    np.testing.assert_allclose(
        found.contributions.sum(axis=0), model.score_items(matrix[0], items)[0], rtol=1e-4, atol=1e-6
    )
    assert not found.error.any()
    assert len(summands(model)) == 2


def test_numbers_that_are_not_finite_are_refused() -> None:
    model = fit(purchases(), factors=8)
    for name in ("vectors", "scales", "weights", "data"):
        arrays = {key: array.copy() for key, array in model.arrays().items()}
        arrays[name].flat[0] = np.nan
        with pytest.raises(ModelFileError, match=f"'{name}' holds values that are not finite"):
            Spectral.from_arrays(model.config(), arrays, model.n_items)
