"""The compiled products of few and of many histories against the formula, in float64 and dense."""

import numpy as np
import pytest
import scipy.sparse as sp

from recae.models import SigmoidAutoencoder
from recae.models import dots as dots_module
from recae.models.dots import as_operand, dots, write_dots_at


def model(n_items: int, factors: int, power: float) -> SigmoidAutoencoder:
    rng = np.random.default_rng(n_items)
    draw = [rng.standard_normal(shape).astype(np.float32) for shape in ((n_items, factors), factors)]
    more = [rng.standard_normal(shape).astype(np.float32) for shape in ((n_items, factors), n_items)]
    return SigmoidAutoencoder(*draw, *more, input_power=power, settings={})


def formula(m: SigmoidAutoencoder, histories: sp.csr_matrix) -> np.ndarray:
    x = (histories.toarray() != 0).astype(float)
    z = x @ m.encoder / np.maximum(x.sum(axis=1), 1)[:, None] ** m.input_power + m.encoder_bias
    h = 2 / (1 + np.exp(-z)) - 1
    return h @ m.decoder.T.astype(float) + m.decoder_bias


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 13, 150])
@pytest.mark.parametrize(("n_items", "factors"), [(1, 1), (3, 7), (4, 8), (30, 17), (101, 33)])
def test_small_and_large_batches_agree_with_the_formula(rows: int, n_items: int, factors: int) -> None:
    m = model(n_items, factors, 0.35)
    histories = sp.random(rows, n_items, density=0.2, format="csr", dtype=np.float32, rng=1)
    found = m.score(sp.csr_matrix(histories))
    assert found.shape == (rows, n_items)
    assert found.dtype == np.float32
    assert np.allclose(found, formula(m, histories), rtol=0, atol=2e-5)


def test_a_row_does_not_depend_on_the_others() -> None:
    m = model(50, 16, 0.5)
    histories = sp.csr_matrix(sp.random(9, 50, density=0.3, format="csr", dtype=np.float32, rng=2))
    together = m.score(histories)
    for row in range(9):
        assert np.array_equal(m.score(histories[row]), together[row : row + 1])


def test_chosen_items_threads_and_all_items_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    users, items, bias = (rng.standard_normal(s).astype(np.float32) for s in ((700, 37), (90, 37), 90))
    together = dots(users, items, bias)
    chosen = np.array([rng.permutation(90)[:11] for _ in users], dtype=np.int32)
    count = rng.integers(-1, 12, len(users))
    found = np.full(chosen.shape, np.nan, dtype=np.float32)
    write_dots_at(as_operand(users), as_operand(items), as_operand(bias), chosen, count, found)
    for b, n in enumerate(count):
        n = max(n, 0)
        assert found[b, :n].tobytes() == together[b, chosen[b, :n]].tobytes()
        assert np.isnan(found[b, n:]).all()
    monkeypatch.setattr(dots_module, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(dots_module, "blas_threads", lambda: 3)
    assert dots(users, items, bias).tobytes() == together.tobytes()
    exact = users.astype(np.float64) @ items.T.astype(np.float64) + bias
    np.testing.assert_allclose(together, exact, rtol=0, atol=1e-5)


def test_parameters_that_may_not_be_written_to() -> None:
    m = model(12, 5, 0.0)
    for array in m.arrays().values():
        array.flags.writeable = False
    histories = sp.csr_matrix(np.eye(2, 12, dtype=np.float32))
    assert np.allclose(m.score(histories), formula(m, histories), rtol=0, atol=1e-5)
