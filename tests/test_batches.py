"""Batches against plain loops over the rows."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recae.training.batches import Batch, make_batch


def matrix() -> sp.csr_matrix:
    found = sp.random(12, 9, 0.4, format="csr", random_state=np.random.default_rng(3))
    found.data[found.indptr[4] : found.indptr[5]] = 0
    found.eliminate_zeros()
    return found


def batch(
    input_power: "float | str" = 0.5, dropout: float = 0.0, seed: int = 0, emphasis: float = 1.0
) -> Batch:
    return make_batch(
        matrix(),
        np.array([7, 4, 2, 11]),
        dropout=dropout,
        input_power=input_power,
        emphasis=emphasis,
        rng=np.random.default_rng(seed),
        dtype=torch.float64,
        device="cpu",
        epoch=2,
        step=5,
    )


def test_entries_weigh_what_is_given_times_the_emphasis_of_what_is_hidden() -> None:
    M = matrix()
    each = np.arange(1, M.nnz + 1, dtype=np.float32)
    users = [7, 4, 2, 11]
    found = make_batch(
        M, np.array(users), dropout=0.5, input_power=0.5, emphasis=3.0, entry_weights=each,
        rng=np.random.default_rng(0), dtype=torch.float64, device="cpu",
    )  # fmt: skip
    own = [each[p] for user in users for p in range(M.indptr[user], M.indptr[user + 1])]
    hidden = found.inputs.numpy() == 0
    assert hidden.any()
    assert not hidden.all()
    assert found.own.tolist() == own
    assert found.weights.tolist() == [w * 3 if h else w for w, h in zip(own, hidden, strict=True)]
    np.testing.assert_array_equal(found.targets, batch().targets)


@pytest.mark.parametrize("power", [0.0, 0.35, 1.0, "l2"])
def test_entries_are_those_of_the_rows_normalised(power: "float | str") -> None:
    found, M = batch(power), matrix()
    assert (found.users, found.epoch, found.step) == (4, 2, 5)
    for b, user in enumerate([7, 4, 2, 11]):
        part = slice(int(found.offsets[b]), int(found.offsets[b + 1]))
        values, row = found.targets[part].numpy(), M[user]
        assert found.items[part].tolist() == row.indices.tolist()
        assert found.rows[part].tolist() == [b] * row.nnz
        np.testing.assert_array_equal(values, row.data)
        size = np.sqrt((row.data**2).sum()) if power == "l2" else row.nnz ** float(power)
        np.testing.assert_allclose(found.inputs[part].numpy(), row.data / size if row.nnz else [])
    assert found.offsets[1] == found.offsets[2]  # the empty row
    assert (found.weights == 1).all()


def test_noise_hides_its_share_and_keeps_the_mean() -> None:
    plain = batch()
    draws = [batch(dropout=0.3, emphasis=2.5, seed=seed) for seed in range(1000)]
    inputs = torch.stack([draw.inputs for draw in draws])
    hidden = inputs == 0
    assert float(hidden.double().mean()) == pytest.approx(0.3, abs=0.01)
    shown = plain.inputs.expand_as(inputs)[~hidden] / 0.7
    torch.testing.assert_close(inputs[~hidden], shown)
    torch.testing.assert_close(inputs.mean(0), plain.inputs, rtol=0.1, atol=0)
    weights = torch.stack([draw.weights for draw in draws])
    assert (weights[hidden] == 2.5).all()
    assert (weights[~hidden] == 1).all()
    assert torch.equal(draws[0].targets, plain.targets)


def test_the_same_generator_hides_the_same_and_none_is_drawn_without_noise() -> None:
    assert torch.equal(batch(dropout=0.5, seed=1).inputs, batch(dropout=0.5, seed=1).inputs)
    assert not torch.equal(batch(dropout=0.5, seed=1).inputs, batch(dropout=0.5, seed=2).inputs)
    rng = np.random.default_rng(0)
    options = {"input_power": 0.5, "emphasis": 1.0, "dtype": torch.float32, "device": "cpu"}
    make_batch(matrix(), np.arange(3), dropout=0.0, rng=rng, **options)  # type: ignore[arg-type]
    assert rng.random() == np.random.default_rng(0).random()


def test_a_row_of_stored_zeros_enters_as_zeros() -> None:
    zeros = sp.csr_matrix((np.zeros(2), [0, 2], [0, 2]), shape=(1, 3))
    options = {"dropout": 0.0, "emphasis": 1.0, "dtype": torch.float32, "device": "cpu"}
    found = make_batch(zeros, np.arange(1), input_power="l2", rng=np.random.default_rng(0), **options)  # type: ignore[arg-type]
    assert found.inputs.tolist() == [0, 0]
    assert found.inputs.dtype == torch.float32
