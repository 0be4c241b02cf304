"""The factored decoder: folding and rescaling change the factors and never the weights."""

import numpy as np
import pytest

from recae.training.exact.decoder import MAX_PENDING, FactoredDecoder, smallest_direction


def shrunk(dtype: str, directions: int, seed: int = 0) -> tuple[FactoredDecoder, np.ndarray]:
    """A decoder whose U has shrunk a hundredfold along a few directions, and its weights in float64."""
    rng = np.random.default_rng(seed)
    D = 20
    decoder = FactoredDecoder.from_weights(rng.standard_normal((300, D)).astype(dtype))
    basis, _ = np.linalg.qr(rng.standard_normal((D, D)))
    scale = np.ones(D)
    scale[:directions] = np.geomspace(0.004, 0.03, directions)
    U = rng.permutation(basis) @ np.diag(scale) @ basis.T
    decoder.U[:] = U
    decoder.U_inv[:] = np.linalg.inv(U)
    W = decoder.V.astype(np.float64) @ U
    decoder.Q[:] = W.T @ W
    return decoder, W


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("directions", [1, 3])
def test_rescaling_keeps_the_weights_and_repairs_u(dtype: str, tolerance: float, directions: int) -> None:
    decoder, W = shrunk(dtype, directions)
    assert np.linalg.cond(decoder.U) > 100
    decoder.condition()
    assert decoder.pending >= directions
    assert np.linalg.svd(decoder.U, compute_uv=False)[-1] > 0.09
    identity = np.eye(20)
    assert np.abs(decoder.U @ decoder.U_inv - identity).max() < 100 * tolerance
    assert np.abs(decoder.weights() - W).max() < tolerance * np.abs(W).max()
    assert decoder.pending == 0
    assert np.allclose(decoder.Q, W.T @ W, rtol=0, atol=10 * tolerance * np.abs(W.T @ W).max())


def test_smallest_direction_finds_the_smallest_singular_value() -> None:
    decoder, _ = shrunk("float64", 1)
    x, value = smallest_direction(decoder.U_inv)
    assert np.linalg.norm(x) == pytest.approx(1)
    assert value == pytest.approx(np.linalg.svd(decoder.U, compute_uv=False)[-1], rel=1e-6)


def test_folds_when_too_many_rescalings_are_pending() -> None:
    decoder, W = shrunk("float64", 1)
    decoder.pending = MAX_PENDING  # directions of zero: rescalings that change nothing
    decoder.condition()
    assert decoder.pending == 0
    assert np.array_equal(decoder.U, np.eye(20))
    assert np.abs(decoder.weights() - W).max() < 1e-12
