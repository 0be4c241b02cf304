"""Kinds of model fitted to weighted purchases: each closed form against plain loops, and who cannot weigh."""

import re

import numpy as np
import pytest
import scipy.sparse as sp

from recae.confidence import Weighting
from recae.errors import ConfigError
from recae.kinds import find
from recae.models import ItemKNN, Popularity
from recae.selection.fit import check_weighting, fit_settings, fit_simple, make_settings, weighs
from recae.training.callbacks import Hooks
from recae.training.kinds.baselines import AlsSettings, ItemKNNSettings, PopularitySettings
from recae.training.kinds.linear import EdlaeSettings, SparseLinearSettings


def shop(n_users: int = 60, n_items: int = 25, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Purchases, some users without any, and what each weighs."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.25 * rng.random(n_items) + 0.05
    dense[3] = False
    matrix = sp.csr_matrix(dense.astype(np.float32))
    weights = rng.lognormal(0, 1, matrix.nnz).clip(0.01, 8).astype(np.float32)
    return matrix, weights


def gram(matrix: sp.csr_matrix, weights: np.ndarray, user_power: float) -> np.ndarray:
    """G_ij = Σ_u v_u √(w_ui w_uj), with v_u = m_u^−power scaled to a mean of 1 over the purchases."""
    n_users, n_items = matrix.shape
    W = sp.csr_matrix((weights.astype(float), matrix.indices, matrix.indptr), matrix.shape).toarray()
    sizes = np.diff(matrix.indptr)
    v = [max(m, 1) ** -user_power for m in sizes]
    scale = sizes.sum() / sum(a * m for a, m in zip(v, sizes, strict=True))
    G = np.zeros((n_items, n_items))
    for u in range(n_users):
        for i in range(n_items):
            for j in range(n_items):
                G[i, j] += scale * v[u] * (W[u, i] * W[u, j]) ** 0.5
    return G


@pytest.mark.parametrize("n_users", [60, 12], ids=["items by items", "users by users"])
def test_edlae_regresses_on_purchases_of_these_weights(n_users: int) -> None:
    matrix, weights = shop(n_users)
    config = EdlaeSettings(l2=3.0, dropout=0.2, user_power=0.4, item_power=0.0, owned_power=0.0)
    model, _ = fit_simple("edlae", matrix, config, Hooks(confidence=weights))
    G = gram(matrix, weights, 0.4)
    for j in range(matrix.shape[1]):
        others = np.delete(np.arange(matrix.shape[1]), j)
        A = G[np.ix_(others, others)] + np.diag(3.0 + 0.25 * np.diag(G)[others])
        expected = np.linalg.solve(A, G[others, j])
        np.testing.assert_allclose(model.weights[others, j], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("neighbours", [4, 24])
def test_sparse_linear_regresses_on_purchases_of_these_weights(neighbours: int) -> None:
    matrix, weights = shop()
    config = SparseLinearSettings(
        l2=2.0, dropout=0.3, user_power=0.5, item_power=0.0, owned_power=0.0, neighbours=neighbours
    )
    model, _ = fit_simple("sparse-linear", matrix, config, Hooks(confidence=weights))
    B, G = model.weights.toarray(), gram(matrix, weights, 0.5)
    penalty = 2.0 + 3 / 7 * np.diag(G)
    for j in range(matrix.shape[1]):
        gains = np.where(np.arange(len(G)) == j, -1, G[:, j] ** 2 / (np.diag(G) + penalty))
        S = np.sort(np.argsort(-gains)[:neighbours])
        expected = np.linalg.solve(G[np.ix_(S, S)] + np.diag(penalty[S]), G[S, j])
        np.testing.assert_allclose(B[S, j], expected, rtol=1e-5, atol=1e-7)
        assert not B[np.setdiff1d(np.arange(len(G)), S), j].any()


def test_popularity_adds_weights_up() -> None:
    matrix, weights = shop()
    model, _ = fit_simple("popularity", matrix, PopularitySettings(), Hooks(confidence=weights))
    expected = np.zeros(matrix.shape[1])
    for item, weight in zip(matrix.indices, weights, strict=True):
        expected[item] += weight
    np.testing.assert_allclose(model.counts, expected, rtol=1e-5)
    assert Popularity.fit(matrix).counts.sum() == matrix.nnz


def test_itemknn_compares_columns_of_weights() -> None:
    matrix, weights = shop()
    W = sp.csr_matrix((weights.astype(float), matrix.indices, matrix.indptr), matrix.shape).toarray()
    n = matrix.shape[1]
    cosine = ItemKNN.fit(matrix, k=n, weighting="cosine", confidence=weights).similarity.toarray()
    unit = W / np.linalg.norm(W, axis=0)
    np.testing.assert_allclose(cosine, unit.T @ unit, rtol=1e-4, atol=1e-6)
    config = ItemKNNSettings(k=n, weighting="tfidf")
    tfidf = fit_simple("itemknn", matrix, config, Hooks(confidence=weights))[0].similarity.toarray()
    owners = (W > 0).sum(
        axis=1
    )  # implicit compares rows, so that its documents are items and its terms users
    rooted = np.sqrt(W) * (np.log(n) - np.log1p(owners))[:, None]
    unit = rooted / np.maximum(np.linalg.norm(rooted, axis=0), 1e-12)
    np.testing.assert_allclose(tfidf, unit.T @ unit, rtol=1e-4, atol=1e-5)


def test_als_takes_weights_as_confidence() -> None:
    """At the optimum an item's vector solves (YᵀCY + λI) x = YᵀCp, with the confidence α w, and 1 elsewhere."""
    matrix, weights = shop(40, 12)
    config = AlsSettings(factors=3, iterations=300, regularization=0.5, alpha=2.0)
    model, _ = fit_simple("als", matrix, config, Hooks(confidence=weights))
    dense = sp.csr_matrix(
        (2.0 * weights.astype(float), matrix.indices, matrix.indptr), matrix.shape
    ).toarray()
    X = model.item_factors.astype(float)
    users = np.zeros((40, 3))
    for u in range(40):
        c = np.where(dense[u] > 0, dense[u], 1.0)
        users[u] = np.linalg.solve((X.T * c) @ X + 0.5 * np.eye(3), X.T @ (c * (dense[u] > 0)))
    for i in range(12):
        c = np.where(dense[:, i] > 0, dense[:, i], 1.0)
        expected = np.linalg.solve((users.T * c) @ users + 0.5 * np.eye(3), users.T @ (c * (dense[:, i] > 0)))
        np.testing.assert_allclose(X[i], expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sigmoid", {"factors": 6, "epochs": 2}),
        ("sigmoid", {"factors": 6, "epochs": 2, "batch_size": 8}),
        ("sigmoid", {"factors": 6, "epochs": 2, "tied": True}),
        ("deep", {"layers": "6", "epochs": 2}),
        ("deep", {"layers": "6", "epochs": 2, "loss": "logistic"}),
        ("multvae", {"layers": "8,4", "epochs": 2}),
        ("recvae", {"factors": 4, "hidden": 8, "hidden_layers": 1, "epochs": 4}),
        ("blend", {"components": "ease,itemknn"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_every_kind_learns_from_weights(kind: str, settings: dict[str, object]) -> None:
    """The weights reach the loss: other ones, another model; the same, the same bits."""
    matrix, weights = shop()
    config = make_settings(kind, settings)

    def arrays(each: np.ndarray | None) -> dict[str, np.ndarray]:
        return dict(fit_settings(kind, config, matrix, hooks=Hooks(confidence=each)).model.arrays())

    plain, found, again = arrays(None), arrays(weights), arrays(weights.copy())
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert any(not np.array_equal(plain[name], found[name]) for name in plain.keys() & found.keys())


def test_who_cannot_weigh_says_so() -> None:
    matrix, weights = shop()
    hooks = Hooks(confidence=weights)
    for kind in ("bpr", "frequency"):
        assert not weighs(kind)
        with pytest.raises(ConfigError, match=f"{kind} cannot weigh purchases, since .*--half-life"):
            fit_simple(kind, matrix, find(kind).settings_class()(), hooks)
        with pytest.raises(ConfigError, match=f"{kind} cannot weigh"):
            check_weighting(kind, make_settings(kind, {}), Weighting(3))
    blend = make_settings("blend", {"components": "ease,bpr"})
    with pytest.raises(ConfigError, match="bpr cannot weigh"):
        check_weighting("blend", blend, Weighting(3))
    repeats = make_settings("blend", {"components": "ease,frequency"})
    check_weighting("blend", repeats, Weighting(3), repeats=True)
    check_weighting("bpr", make_settings("bpr", {}), Weighting())
    assert fit_settings("blend", repeats, matrix, hooks=hooks).model.kind == "blend"
    with pytest.raises(ConfigError, match="bpr cannot weigh"):
        check_weighting("auto", make_settings("auto", {"candidates": "bpr"}), Weighting(3))


def test_the_step_of_an_exact_output_layer_is_small_enough() -> None:
    matrix, weights = shop()
    settings = {"layers": "6", "output_learning_rate": 0.1, "purchase_weight": 4.0, "epochs": 1}
    largest = f"{float(weights.max()):g}"
    with pytest.raises(
        ConfigError, match=rf"emphasis × the largest weight .* 0.1 × 4 × 1 × {re.escape(largest)}"
    ):
        fit_simple("deep", matrix, make_settings("deep", settings), Hooks(confidence=weights))
    fit_simple(
        "deep",
        matrix,
        make_settings("deep", settings | {"output_learning_rate": None}),
        Hooks(confidence=weights),
    )
