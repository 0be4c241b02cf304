"""Where the encoder begins: the principal directions against a dense singular value decomposition."""

import numpy as np
import pytest
import scipy.sparse as sp

from recae.training.config import SVD_ITEMS_AT_MOST, ResolvedSettings, SigmoidSettings, resolve
from recae.training.exact import parameters as start
from recae.training.exact.parameters import DEVIATION, first_encoder, start_memory
from recae.training.kinds.sigmoid import memory_needed


def purchases(n_users: int = 90, n_items: int = 50) -> sp.csr_matrix:
    """Users with an empty history among them, tastes of falling strength, so that directions are told apart."""
    rng = np.random.default_rng(4)
    tastes, likes = rng.random((n_users, 6)) ** 3, rng.random((6, n_items)) ** 4
    owned = rng.random((n_users, n_items)) < tastes * np.array([1, 0.8, 0.6, 0.5, 0.4, 0.3]) @ likes
    owned[0] = False
    return sp.csr_matrix(owned.astype(np.float32))


def settings(matrix: sp.csr_matrix, **more: object) -> ResolvedSettings:
    return resolve(SigmoidSettings(factors=5).updated(**more), matrix)  # type: ignore[arg-type]


def drawn(matrix: sp.csr_matrix, config: ResolvedSettings, seed: int = 1) -> np.ndarray:
    return first_encoder(matrix, config, np.random.default_rng(seed))


def test_the_columns_are_the_scaled_principal_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "PASSES", 60)  # randomised directions become the exact ones
    matrix = purchases()
    config = settings(matrix, input_power=0.35)
    X = matrix.toarray().astype(np.float64)
    users, items = np.maximum(X.sum(1), 1), np.maximum(X.sum(0), 1)
    _, values, directions = np.linalg.svd(X / np.sqrt(users)[:, None] / np.sqrt(items))
    expected = directions[:5].T / values[:5] / np.sqrt(items)[:, None]
    found = drawn(matrix, config)
    assert found.shape == (50, 5)
    assert found.dtype == np.float32
    for k in range(5):  # up to sign and one factor
        cosine = found[:, k] @ expected[:, k] / np.linalg.norm(found[:, k]) / np.linalg.norm(expected[:, k])
        assert abs(cosine) > 0.999, k
    ratios = np.linalg.norm(found, axis=0) / np.linalg.norm(expected, axis=0)
    np.testing.assert_allclose(ratios, ratios[0], rtol=2e-3)
    first = X / users[:, None] ** 0.35 @ found
    assert first.std() == pytest.approx(DEVIATION, rel=1e-3)
    twice = drawn(matrix, settings(matrix, input_power=0.35, encoder_scale=2.0))
    np.testing.assert_allclose(twice, 2 * found, rtol=1e-3, atol=1e-6)


def test_what_a_low_rank_lacks_is_random() -> None:
    rows = np.zeros((12, 8), dtype=np.float32)
    rows[::2, :4], rows[1::2, 4:] = 1, 1  # rank 2
    config = settings(sp.csr_matrix(rows))
    found, other = (drawn(sp.csr_matrix(rows), config, seed) for seed in (1, 2))
    same = np.isclose(np.abs(found / other), 1, rtol=1e-2).all(axis=0)
    assert same.sum() <= 2 < 5 == found.shape[1]
    assert np.isfinite(found).all()
    assert found[:, 2:].std() > 0


def test_without_any_structure_it_is_random() -> None:
    one = sp.csr_matrix((np.ones(1, np.float32), ([0], [0])), shape=(3, 4))
    assert np.isfinite(drawn(one, settings(one, factors=4))).all()


def test_random_weights_are_those_of_the_generator() -> None:
    matrix = purchases()
    config = settings(matrix, encoder_start="random", encoder_scale=3.0)
    expected = np.random.default_rng(1).standard_normal((50, 5), dtype=np.float32) * np.float32(
        3 / np.sqrt(5)
    )
    np.testing.assert_allclose(drawn(matrix, config), expected, rtol=1e-6)
    assert start_memory(config, 90, 50) == 0


def test_the_same_seed_gives_the_same_bits() -> None:
    matrix = purchases()
    assert drawn(matrix, settings(matrix)).tobytes() == drawn(matrix, settings(matrix)).tobytes()


def test_some_users_stand_for_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "USERS_AT_MOST", 60)
    seen = []
    original = start._directions
    monkeypatch.setattr(start, "_directions", lambda m, *rest: seen.append(m.shape) or original(m, *rest))
    assert np.isfinite(drawn(purchases(), settings(purchases()))).all()
    assert seen == [(60, 50)]


def test_a_huge_catalogue_begins_at_random() -> None:
    huge = sp.csr_matrix((2, SVD_ITEMS_AT_MOST + 1), dtype=np.float32)
    assert resolve(SigmoidSettings(), huge).encoder_start == "random"
    assert resolve(SigmoidSettings(), purchases()).encoder_start == "svd"
    assert resolve(SigmoidSettings(encoder_start="svd"), huge).encoder_start == "svd"


def test_its_memory_is_counted() -> None:
    config = settings(purchases())
    more = memory_needed(config, 10**6, 1000, 10**7, "cpu") - memory_needed(
        config.updated(encoder_start="random"), 10**6, 1000, 10**7, "cpu"
    )
    assert more > 4 * start.USERS_AT_MOST * 5
