"""The exact output layer against plain steps by autograd on dense weights, in float64, on both places of its rows."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from recae.errors import CheckpointError
from recae.training.batches import Batch, make_batch
from recae.training.exact.cuda import DeviceRows
from recae.training.exact.head import ExactHead

B, I, D = 40, 17, 5  # noqa: E741


def make_head(
    place: str,
    learning_rate: float = 0.3,
    purchase_weight: float = 2.0,
    fold_every: int = 50_000,
    dtype: str = "float64",
    decoder_scale: float = 1.0,
) -> ExactHead:
    rates = {
        "learning_rate": learning_rate,
        "purchase_weight": purchase_weight,
        "decoder_scale": decoder_scale,
    }
    rng = np.random.default_rng(1)
    head = ExactHead(I, D, **rates, fold_every=fold_every, dtype=dtype, rng=rng)  # type: ignore[arg-type]
    if place == "device":  # what a GPU runs, on the CPU
        W, bias = head.weights()
        head._rows = DeviceRows(np.c_[W, bias], fold_every, torch.device("cpu"))
    return head


def batches(values: bool, emphasis: float = 1.5, dtype: torch.dtype = torch.float64) -> list[Batch]:
    M = sp.random(60, I, 0.3, format="csr", random_state=np.random.default_rng(0))
    if not values:
        M.data[:] = 1
    rng = np.random.default_rng(2)
    options = {"dropout": 0.4, "input_power": 0.5, "emphasis": emphasis, "dtype": dtype, "device": "cpu"}
    return [make_batch(M, np.arange(B) + 5 * step, rng=rng, **options) for step in range(4)]  # type: ignore[arg-type]


def codes(step: int, same: bool = False, dtype: torch.dtype = torch.float64) -> Tensor:
    H = torch.randn(B, D, generator=torch.Generator().manual_seed(step), dtype=dtype)
    return H[:1].repeat(B, 1) if same else H


def plain_steps(
    W: Tensor, bias: Tensor, H: Tensor, batch: Batch, alpha: float, lr: float
) -> tuple[float, Tensor]:
    """One step of each user, W and bias in place; the sum of the losses and its gradients at the codes."""
    x, a = torch.zeros(B, I, dtype=H.dtype), torch.ones(B, I, dtype=H.dtype)
    x[batch.rows, batch.items], a[batch.rows, batch.items] = batch.targets, alpha * batch.weights
    total, gradients = 0.0, []
    for b in range(len(H)):
        h = H[b].clone().requires_grad_()
        loss = (a[b] * (W @ h + bias - x[b]) ** 2).sum()
        total += loss.item()
        at_h, at_W, at_bias = torch.autograd.grad(loss, (h, W, bias))
        gradients.append(at_h)
        with torch.no_grad():
            step = lr / (h @ h + 1) / 2
            W -= step * at_W
            bias -= step * at_bias
    return total, torch.stack(gradients)


CASES = [
    {},
    {"purchase_weight": 1.0},
    {"learning_rate": 0.02, "purchase_weight": 10.0},
    {"fold_every": 30},
    {"same": True},
    {"values": True},
    {"emphasis": 0.0},
]


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-3)])
def test_steps_agree_with_autograd(place: str, case: dict[str, float], dtype: str, tolerance: float) -> None:
    options = {k: v for k, v in case.items() if k not in ("same", "values", "emphasis")}
    head = make_head(place, dtype=dtype, **options)  # type: ignore[arg-type]
    W, bias = (torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in head.weights())
    kind = torch.float64 if dtype == "float64" else torch.float32
    emphasis = case.get("emphasis", 1.5)
    exact = batches(bool(case.get("values")), emphasis)
    for step, batch in enumerate(batches(bool(case.get("values")), emphasis, kind)):
        H = codes(step, bool(case.get("same")))
        loss, gradient = head.step(H.to(kind), batch, 0.7)
        expected, at_H = plain_steps(W, bias, H, exact[step], head.purchase_weight, 0.7 * head.learning_rate)
        assert loss.shape == ()
        assert loss.item() == pytest.approx(expected, rel=tolerance)
        assert (gradient - at_H).abs().max() <= tolerance * at_H.abs().max()
    for found, weights in zip(head.weights(), (W, bias), strict=True):
        assert found.dtype == np.dtype(dtype)
        assert found.flags.c_contiguous
        assert np.abs(found - weights.detach().numpy()).max() <= tolerance * weights.abs().max().item()
    assert 0 <= head.take_drift() < 1e-3
    assert head.take_drift() == 0


@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("fold_every", [30, 50_000])
def test_restored_state_goes_on_with_the_same_bits(place: str, fold_every: int) -> None:
    straight, first, second = (make_head(place, fold_every=fold_every) for _ in range(3))
    made = batches(False)
    for step in (0, 1):
        straight.step(codes(step), made[step])
        first.step(codes(step), made[step])
    second.restore({name: array.copy() for name, array in first.state().items()})
    for step in (2, 3):
        one, other = (head.step(codes(step), made[step]) for head in (straight, second))
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    for name, array in straight.state().items():
        assert array.tobytes() == second.state()[name].tobytes(), name


def test_a_state_with_more_rescalings_than_there_are_is_refused() -> None:
    head = make_head("host")
    state = {name: array.copy() for name, array in head.state().items()}
    state["applied"][3] = 5
    with pytest.raises(
        CheckpointError, match="counts 0 rescalings of the decoder, of which items have seen 0 to 5"
    ):
        head.restore(state)


def test_drift_is_found_and_folds_hasten() -> None:
    for place in ("host", "device"):
        head = make_head(place, fold_every=30)
        head._rows.dense.Q[0, 0] += 1.0  # as rounding would
        made = batches(False)
        for step in (0, 1):
            head.step(codes(step), made[step])
        assert head.take_drift() > 1e-3
        haste = head.state()["counts"]
        assert haste[1 if place == "host" else 0] >= 2


def test_first_weights_have_the_scale_and_no_bias() -> None:
    W, bias = ExactHead(20_000, 4, learning_rate=0.02, rng=np.random.default_rng(0)).weights()
    assert W.shape == (20_000, 4)
    assert float(W.std()) == pytest.approx(0.005, rel=0.02)
    assert not bias.any()


def test_a_batch_of_empty_histories_moves_towards_nothing() -> None:
    for place in ("host", "device"):
        head = make_head(place)
        empty = batches(False)[0]
        nothing = {
            name: getattr(empty, name)[:0] for name in ("items", "rows", "inputs", "targets", "weights")
        }
        loss, _ = head.step(
            codes(0), replace(empty, offsets=torch.zeros(B + 1, dtype=torch.int64), **nothing)
        )
        again, _ = head.step(
            codes(0), replace(empty, offsets=torch.zeros(B + 1, dtype=torch.int64), **nothing)
        )
        assert 0 < again < loss
