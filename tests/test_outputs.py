"""Output layers of mini-batches: the losses over all outputs and over samples, against dense matrices."""

from typing import Any

import numpy as np
import pytest
import torch
from test_minibatch import SMALL, purchases, trainer_of

from recae.training.batches import make_batch
from recae.training.callbacks import Hooks
from recae.training.kinds.deep import fit_deep
from recae.training.minibatch import outputs
from recae.training.minibatch.outputs import (
    BLOCK_BYTES,
    SampledOutput,
    _cheaper_with_outputs,
    plain_squared_loss,
)


@pytest.mark.some(1)
@pytest.mark.parametrize("loss", ["multinomial", "logistic"])
def test_a_sample_of_the_catalogue_is_enough_to_learn_and_moves_its_rows_alone(loss: str) -> None:
    matrix = purchases(40, 200)
    config = SMALL.updated(loss=loss, sampled=100, epochs=40, dropout=0.0)
    trainer = trainer_of(config, matrix)
    before = trainer.state()["output.rows.weight"].copy()
    trainer.advance()
    assert isinstance(trainer.output, SampledOutput)
    sample = trainer.output._sample
    assert sample is not None
    moved = np.flatnonzero((trainer.state()["output.rows.weight"] != before).any(axis=1))
    assert set(moved) == set(sample.items.tolist())
    model, history = fit_deep(matrix, config, Hooks())
    again, _ = fit_deep(matrix, config, Hooks())
    assert history[-1].loss < 0.98 * history[0].loss
    assert model.score(matrix).tobytes() == again.score(matrix).tobytes()


@pytest.mark.parametrize("users", [1, 5, 40])
def test_the_squared_loss_by_way_of_all_outputs_is_that_of_dense_matrices(users: int) -> None:
    matrix, rng = purchases(), np.random.default_rng(1)
    options: dict[str, Any] = {"dropout": 0.5, "input_power": 0.5, "emphasis": 3.0, "device": "cpu"}
    batch = make_batch(matrix, np.arange(users), rng=rng, dtype=torch.float64, **options)
    H, W, bias = (torch.tensor(rng.normal(size=n), requires_grad=True) for n in ((users, 7), (30, 7), 30))
    x = torch.tensor(matrix[:users].toarray(), dtype=torch.float64)
    weights = torch.ones_like(x)
    for n in range(len(batch.items)):
        weights[batch.rows[n], batch.items[n]] = 2.5 * (3.0 if batch.inputs[n] == 0 else 1.0)
    expected = (weights * (H @ W.T + bias - x) ** 2).sum()
    found = plain_squared_loss(H, W, bias, batch, 2.5)
    torch.testing.assert_close(found, expected)
    for gradient, other in zip(
        torch.autograd.grad(found, (H, W, bias)), torch.autograd.grad(expected, (H, W, bias)), strict=True
    ):
        torch.testing.assert_close(gradient, other)


def test_all_outputs_are_for_few_users_of_wide_layers() -> None:
    W = torch.empty(2**14, 90, device="meta")
    assert [_cheaper_with_outputs(users, W) for users in (1, 59, 60)] == [True, True, False]
    large = torch.empty(2**20, 90, device="meta")  # four times 4 MiB a user
    assert [_cheaper_with_outputs(users, large) for users in (4, 5)] == [True, False]


def test_a_tied_layer_moves_alike_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SMALL.updated(tied=True, batch_size=3, dtype="float64", emphasis=2.0)
    found = []
    for block_bytes in (BLOCK_BYTES, 0):  # with 0, the way of few users is never taken
        monkeypatch.setattr(outputs, "BLOCK_BYTES", block_bytes)
        found.append(fit_deep(purchases(), config, Hooks())[0].arrays())
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=1e-4, atol=1e-6, err_msg=name)
