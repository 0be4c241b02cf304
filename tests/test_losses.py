"""Losses in blocks against their plain forms on dense matrices and autograd, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recae.training.batches import Batch, make_batch
from recae.training.minibatch import losses
from recae.training.minibatch.losses import logistic_loss, multinomial_loss, squared_loss

B, I, D = 9, 17, 4  # noqa: E741
ALPHA = 3.0


def make(dtype: torch.dtype = torch.float64, users: int = B, items: int = I) -> Batch:
    M = sp.random(users + 2, items, 0.3, format="csr", random_state=np.random.default_rng(0))
    M.data[M.indptr[3] : M.indptr[4]] = 0
    M.eliminate_zeros()
    return make_batch(
        M,
        np.arange(2, users + 2),
        dropout=0.4,
        input_power=0.5,
        emphasis=2.0,
        rng=np.random.default_rng(1),
        dtype=dtype,
        device="cpu",
    )


def layer(batch: Batch, items: int = I, size: int = D) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch.users, size), (items, size), (items,))
    dtype = batch.inputs.dtype
    H, W, c = (torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes)
    return H, W, c


def plain(name: str, H: Tensor, W: Tensor, c: Tensor, batch: Batch, columns: Tensor | None = None) -> Tensor:
    shape = (len(H), len(W))
    x, v = torch.zeros(shape, dtype=H.dtype), torch.ones(shape, dtype=H.dtype)
    if columns is not None:
        v = columns.repeat(len(H), 1)
    x[batch.rows, batch.items] = batch.targets
    if name == "multinomial":
        v[batch.rows, batch.items] = batch.weights
        return -(x * v * torch.log_softmax(H @ W.T + c, 1)).sum()
    v[batch.rows, batch.items] = ALPHA * batch.weights
    O = H @ W.T + c  # noqa: E741
    if name == "squared":
        return (v * (O - x) ** 2).sum()
    return (v * torch.nn.functional.binary_cross_entropy_with_logits(O, x, reduction="none")).sum()


FUSED: dict[str, Callable[..., Tensor]] = {
    "squared": lambda *a, block_bytes: squared_loss(*a, ALPHA),
    "multinomial": multinomial_loss,
    "logistic": lambda *a, **k: logistic_loss(*a, ALPHA, **k),
}


@pytest.mark.parametrize("block_bytes", [1, I * 8 * 2, I * 8 * 5, 10**9])
@pytest.mark.parametrize("name", FUSED)
def test_loss_and_gradients_equal_the_plain_form(name: str, block_bytes: int) -> None:
    batch = make()
    parameters = layer(batch)
    expected, found = (
        plain(name, *parameters, batch),
        FUSED[name](*parameters, batch, block_bytes=block_bytes),
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    pairs = zip(
        torch.autograd.grad(2.5 * expected, parameters),
        torch.autograd.grad(2.5 * found, parameters),
        strict=True,
    )
    for plainly, fused in pairs:
        torch.testing.assert_close(fused, plainly, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2), ()])
def test_only_the_gradients_that_are_needed_are_made(name: str, needed: tuple[int, ...]) -> None:
    batch = make()
    parameters = [p.detach().requires_grad_(i in needed) for i, p in enumerate(layer(batch))]
    wanted = [parameters[i] for i in needed]
    expected, found = (f(*parameters, batch) for f in (lambda *a: plain(name, *a), _with_blocks(name)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert found.requires_grad == bool(needed)
    if needed:
        for a, b in zip(
            torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def _with_blocks(name: str) -> Callable[..., Tensor]:
    return lambda *a: FUSED[name](*a, block_bytes=I * 8 * 3)


def test_column_weights_count_what_is_not_stored() -> None:
    batch = make()
    parameters = layer(batch)
    columns = torch.linspace(0.2, 3, I, dtype=torch.float64)
    expected = plain("logistic", *parameters, batch, columns)
    found = logistic_loss(*parameters, batch, ALPHA, column_weights=columns, block_bytes=I * 8 * 4)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    for a, b in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation makes, in bytes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, Tensor):
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return found


@pytest.mark.parametrize("name", FUSED)
def test_no_tensor_is_larger_than_a_block_and_the_precision_stays(name: str) -> None:
    batch = make(torch.float32, users=64, items=500)
    parameters = layer(batch, items=500, size=2)
    block = 16 * 500 * 4
    whole = 64 * 500 * 4
    with Largest() as recorded:
        loss = FUSED[name](*parameters, batch, block_bytes=block)
        loss.backward()
    entries = len(batch.items) * 8  # the batch's own indices
    assert recorded.bytes <= max(block, entries) < whole
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in parameters)
    expected = plain(name, *parameters, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", FUSED)
def test_large_outputs_stay_finite(name: str) -> None:
    batch = make(torch.float32)
    H, W, c = (p.detach().mul(60).requires_grad_() for p in layer(batch))
    loss = FUSED[name](H, W, c, batch, block_bytes=10**6)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(H.grad).all()  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(plain(name, H, W, c, batch).item(), rel=1e-4)


def test_what_a_device_does_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums over sorted segments that a GPU takes, on the CPU."""
    batch = make()
    parameters = layer(batch)
    expected = torch.autograd.grad(squared_loss(*parameters, batch, ALPHA), parameters)
    monkeypatch.setattr(losses, "_on_host", lambda tensor: False)
    found = torch.autograd.grad(squared_loss(*parameters, batch, ALPHA), parameters)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_outputs_of_stored_entries_do_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make()
    H, W, c = (p.detach() for p in layer(batch))
    expected = (H @ W.T + c)[batch.rows, batch.items]
    monkeypatch.setattr(losses, "GATHERED", 3 * D)
    torch.testing.assert_close(losses.stored_outputs(H, W, c, batch), expected)
