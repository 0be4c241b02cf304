"""Losses over samples of the catalogue: exact where everything is known, unbiased over many draws."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from recae.errors import ConfigError
from recae.training.batches import Batch, make_batch
from recae.training.minibatch.losses import (
    Sampler,
    logistic_loss,
    multinomial_loss,
    sampled_logistic_loss,
    sampled_multinomial_loss,
)

B, I, D = 3, 40, 3  # noqa: E741
POPULARITY = np.linspace(30, 0, I).round()


def make() -> Batch:
    M = sp.csr_matrix((np.random.default_rng(5).random((B, I)) < 0.1).astype(np.float64))
    options = {"dropout": 0.5, "input_power": 0.5, "emphasis": 2.0, "dtype": torch.float64, "device": "cpu"}
    return make_batch(M, np.arange(B), rng=np.random.default_rng(1), **options)  # type: ignore[arg-type]


def layer() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    H, W, c = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((B, D), (I, D), (I,)))
    return H.requires_grad_(), W.requires_grad_(), c.requires_grad_()


def test_a_sample_holds_the_own_items_and_what_the_others_stand_for() -> None:
    batch, rng = make(), np.random.default_rng(0)
    own = set(batch.items.tolist())
    q = np.maximum(POPULARITY, 1) ** 0.75
    q /= q.sum()
    sampler = Sampler(POPULARITY, 25)
    total, drawn_of_own = np.zeros(I), 0
    for _ in range(1500):
        sample = sampler.draw(batch, rng)
        items = sample.items.tolist()
        assert len(set(items)) == len(items)
        assert own <= set(items)
        assert torch.equal(sample.items[sample.batch.items], batch.items)
        stands = sample.stands.numpy()
        drawn_of_own += sum(stands[k] != 1 for k, j in enumerate(items) if j in own)
        times = [s * 25 * q[j] for j, s in zip(items, stands, strict=True) if j not in own]
        np.testing.assert_allclose(times, np.round(times), atol=1e-6)  # whole numbers of draws
        total[items] += stands
    assert drawn_of_own == 0
    np.testing.assert_allclose(total / 1500, 1, atol=0.25)  # five standard deviations of the rarest item


@pytest.mark.some(1)
@pytest.mark.parametrize("power", [0.75, 0.0])
def test_logistic_loss_and_gradients_are_unbiased(power: float) -> None:
    batch, rng = make(), np.random.default_rng(2)
    H, W, c = layer()
    full = logistic_loss(H, W, c, batch, 3.0)
    expected = [full.detach(), *torch.autograd.grad(full, (H, W, c))]
    sampler, draws = Sampler(POPULARITY, 20, power), 1000
    found: list[list[Tensor]] = []
    for _ in range(draws):
        sample = sampler.draw(batch, rng)
        loss = sampled_logistic_loss(H, W[sample.items], c[sample.items], sample, 3.0, block_bytes=800)
        found.append([loss.detach(), *torch.autograd.grad(loss, (H, W, c))])
    for k, value in enumerate(expected):
        each = torch.stack([draw[k] for draw in found])
        error = each.std(0) / draws**0.5
        assert ((each.mean(0) - value).abs() <= 5 * error + 1e-9).all()


def test_multinomial_loss_and_gradients_approach_the_full_ones() -> None:
    batch, rng = make(), np.random.default_rng(3)
    H, W, c = layer()
    full = multinomial_loss(H, W, c, batch)
    expected = [full.detach(), *torch.autograd.grad(full, (H, W, c))]
    bias = []
    for count, draws in ((5, 400), (20, 400), (50_000, 40)):
        sampler = Sampler(POPULARITY, count)
        total = [torch.zeros_like(value) for value in expected]
        for _ in range(draws):
            sample = sampler.draw(batch, rng)
            loss = sampled_multinomial_loss(H, W[sample.items], c[sample.items], sample)
            for at, value in zip(total, (loss.detach(), *torch.autograd.grad(loss, (H, W, c))), strict=True):
                at += value / draws
        bias.append(
            [float((at - value).norm() / value.norm()) for at, value in zip(total, expected, strict=True)]
        )
    few, more, many = bias
    assert many[0] < more[0] < few[0]
    assert max(many) < 0.01


def test_the_estimated_partition_function_is_unbiased() -> None:
    """A user with one purchase: loss + output of the purchase = log Z."""
    batch, rng = make(), np.random.default_rng(4)
    H, W, c = (p.detach() for p in layer())
    sampler = Sampler(POPULARITY, 10)
    O = H @ W.T + c  # noqa: E741
    found = []
    for _ in range(2000):
        sample = sampler.draw(batch, rng)
        shifted = O[:, sample.items] + sample.stands.log()
        found.append(shifted.exp().sum(1))
    each = torch.stack(found)
    assert ((each.mean(0) - O.exp().sum(1)).abs() < 5 * each.std(0) / 2000**0.5).all()


def test_only_touched_rows_have_gradients() -> None:
    batch = make()
    H, W, c = layer()
    sample = Sampler(POPULARITY, 4).draw(batch, np.random.default_rng(0))
    rows = torch.nn.functional.embedding(sample.items, W, sparse=True)
    sampled_multinomial_loss(H, rows, c[sample.items], sample).backward()
    assert W.grad is not None
    assert W.grad.is_sparse
    touched = W.grad.coalesce().indices()[0]
    assert sorted(sample.items.tolist()) == touched.tolist()
    assert len(touched) < I


def test_the_same_generator_draws_the_same() -> None:
    draws = [Sampler(POPULARITY, 9).draw(make(), np.random.default_rng(seed)).items for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_nothing_to_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="sampled items is at least 1, found 0"):
        Sampler(POPULARITY, 0)
