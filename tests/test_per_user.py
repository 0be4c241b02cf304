"""Per-user SGD against its oracle: plain autograd on the dense autoencoder, one user a step."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recae.errors import ConfigError, TrainingError
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact.kernels import train_users
from recae.training.exact.parameters import first_parameters
from recae.training.exact.per_user import PerUserTrainer
from recae.training.kinds.sigmoid import train_sigmoid


def purchases(n_users: int, n_items: int, seed: int = 0) -> sp.csr_matrix:
    """Random purchases with a skew in popularity; some histories of one item and one of none."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.3 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    dense[3] = False
    return sp.csr_matrix(dense.astype(np.float32))


def oracle(
    matrix: sp.csr_matrix, config: SigmoidSettings, epochs: int, each: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The same training, written down without any trick: dense rows, torch autograd, every weight updated.

    `each` (nnz,) is what each purchase weighs beside α.
    """
    own = np.ones(matrix.nnz) if each is None else each
    config = resolve(config, matrix)
    start = first_parameters(matrix, config)
    E = torch.tensor(start.encoder, requires_grad=True)
    b = torch.tensor(start.encoder_bias, requires_grad=True)
    W = torch.tensor(start.decoder.weights().copy(), requires_grad=True)
    row_norms = torch.zeros(matrix.shape[1], dtype=E.dtype)
    bias_norm = torch.zeros((), dtype=E.dtype)
    trainer = PerUserTrainer(matrix, config)  # for its order of users and its dropout alone
    n = trainer.n_users
    for epoch in range(epochs):
        order = np.random.default_rng([config.seed, epoch + 1]).permutation(trainer._users)
        for first in range(0, n, trainer._block):
            users = order[first : first + trainer._block]
            rate = min(1.0, 2 * (1 - (epoch * n + first) / (config.epochs * n)))
            lengths = np.diff(matrix.indptr)[users]
            rng = np.random.default_rng([config.seed, epoch + 1, first])
            kept = np.split(
                rng.random(lengths.sum(), dtype=np.float32) >= config.dropout, np.cumsum(lengths)[:-1]
            )
            for user, keep in zip(users, kept, strict=True):
                owned = matrix[user].indices
                x = torch.zeros(matrix.shape[1], dtype=E.dtype)
                x[owned] = 1
                noisy = torch.zeros_like(x)
                q = 1 - config.dropout
                noisy[owned[keep]] = 1 / (q * (max(keep.sum(), 1) / q) ** config.input_power)
                code = 2 * torch.sigmoid(noisy @ E + b) - 1
                h = torch.cat([code, torch.ones(1, dtype=E.dtype)])
                weight = torch.ones_like(x)
                of_user = own[matrix.indptr[user] : matrix.indptr[user + 1]]
                weight[owned] = torch.tensor(config.purchase_weight * of_user, dtype=E.dtype)
                loss = (weight * (W @ h - x) ** 2).sum() / 2  # halved, as in the engine
                gE, gb, gW = torch.autograd.grad(loss, (E, b, W))
                with torch.no_grad():
                    W -= config.learning_rate * rate / (h @ h) * gW
                    step = config.encoder_learning_rate * rate
                    touched = torch.tensor(owned[keep])
                    row_norms[touched] += (gE[touched] ** 2).mean(dim=1)
                    E[touched] -= step * gE[touched] / (row_norms[touched].sqrt() + 1e-8)[:, None]
                    bias_norm += (gb**2).mean()
                    b -= step * gb / (bias_norm.sqrt() + 1e-8)
    return {"encoder": E.detach().numpy(), "bias": b.detach().numpy(), "decoder": W.detach().numpy()}


def run_epoch(trainer: PerUserTrainer) -> float:
    while trainer.done < trainer.n_users:
        trainer.advance()
    return trainer.end_epoch()


def trained(
    matrix: sp.csr_matrix, config: SigmoidSettings, epochs: int, each: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    trainer = PerUserTrainer(matrix, config, each)
    for _ in range(epochs):
        run_epoch(trainer)
    p = trainer.parameters
    return {"encoder": p.encoder, "bias": p.encoder_bias, "decoder": p.decoder.weights()}


SMALL = SigmoidSettings(
    factors=12,
    epochs=6,
    learning_rate=0.05,
    decoder_scale=0.3,
    encoder_scale=1.0,
    input_power=0.35,
    purchase_weight=4.0,
    dropout=0.4,
    seed=3,
)


EPOCHS = 2
"""Of training beside the oracle, which takes a millisecond for each user; the second begins with what was learned."""


@pytest.mark.some(8)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"purchase_weight": 1.0},
        {"dropout": 0.0},
        {"input_power": 0.0},
        {"fold_every": 37},
        {"learning_rate": 0.4},
        {"factors": 2},
        {"epochs": 40, "learning_rate": 0.2},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()) or "plain",
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_weights_agree_with_autograd(change: dict[str, float], dtype: str, tolerance: float) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype=dtype, **change)
    expected = oracle(matrix, config, epochs=EPOCHS)
    found = trained(matrix, config, epochs=EPOCHS)
    for name, weights in expected.items():
        error = np.abs(found[name] - weights).max() / np.abs(weights).max()
        assert error < tolerance, f"{name}: {error:.2g} relative"


@pytest.mark.parametrize("change", [{}, {"dropout": 0.0, "fold_every": 37}, {"purchase_weight": 1.0}])
def test_weighted_purchases_agree_with_autograd(change: dict[str, float]) -> None:
    """With weights on both sides of 1, so that α times some of them is below 1, too."""
    matrix = purchases(90, 60)
    each = np.random.default_rng(5).lognormal(0, 0.9, matrix.nnz).clip(0.02, 4).astype(np.float32)
    config = SMALL.updated(dtype="float64", **change)
    expected, plain = oracle(matrix, config, EPOCHS, each), oracle(matrix, config, EPOCHS)
    found = trained(matrix, config, EPOCHS, each)
    for name, weights in expected.items():
        assert np.abs(found[name] - weights).max() / np.abs(weights).max() < 1e-9, name
        assert np.abs(plain[name] - weights).max() / np.abs(weights).max() > 1e-3, name


def test_weights_of_one_change_nothing() -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype="float64")
    plain = trained(matrix, config, 2)
    weighted = trained(matrix, config, 2, np.ones(matrix.nnz, np.float32))
    for name, weights in plain.items():
        np.testing.assert_allclose(weighted[name], weights, rtol=1e-12, atol=1e-14)


def test_the_rate_is_small_enough_for_the_purchase_that_weighs_most() -> None:
    matrix = purchases(90, 60)
    config = SigmoidSettings(purchase_weight=40.0)
    assert resolve(config, matrix).learning_rate == 0.01
    assert resolve(config, matrix, largest=10.0).learning_rate == 1 / 400
    with pytest.raises(
        ConfigError, match=r"the largest weight of a purchase is below 2.* = 4: .* below 0.005"
    ):
        resolve(config.updated(learning_rate=0.01), matrix, largest=10.0)


def test_training_moves_the_weights() -> None:
    """So that agreement with the oracle is not an agreement to do nothing."""
    matrix = purchases(90, 60)
    start = first_parameters(matrix, resolve(SMALL, matrix))
    found = trained(matrix, SMALL, epochs=4)
    assert np.abs(found["decoder"] - start.decoder.weights()).max() > 0.1
    assert np.abs(found["encoder"] - start.encoder).max() > 0.01


def test_loss_is_the_mean_weighted_squared_error() -> None:
    matrix = purchases(50, 40)
    config = SMALL.updated(dtype="float64", learning_rate=1e-12, encoder_learning_rate=0.0, dropout=0.0)
    trainer = PerUserTrainer(matrix, config)
    p = trainer.parameters
    W = p.decoder.weights().copy()
    expected = 0.0
    for row in matrix.toarray()[trainer._users]:
        code = 2 / (1 + np.exp(-(row / row.sum() ** config.input_power @ p.encoder + p.encoder_bias))) - 1
        out = W @ np.append(code, 1)
        expected += (np.where(row > 0, config.purchase_weight, 1) * (out - row) ** 2).sum()
    assert run_epoch(trainer) == pytest.approx(expected / trainer.n_users, rel=1e-8)


def test_same_seed_same_bits_and_another_seed_other_bits() -> None:
    matrix = purchases(200, 80)
    first, _ = train_sigmoid(matrix, SMALL)
    second, _ = train_sigmoid(matrix, SMALL)
    other, _ = train_sigmoid(matrix, SMALL.updated(seed=4))
    for name, array in first.arrays().items():
        assert array.tobytes() == second.arrays()[name].tobytes()
    assert not np.array_equal(first.decoder, other.decoder)


def test_stops_early_and_returns_the_best_epoch() -> None:
    matrix = purchases(60, 40)
    seen = []

    def validate(model):
        seen.append(model)
        return [0.1, 0.5, 0.3, 0.2, 0.1, 0.4][len(seen) - 1]

    model, history = train_sigmoid(matrix, SMALL.updated(patience=3), validate=validate)
    assert [e.recall for e in history] == [0.1, 0.5, 0.3, 0.2, 0.1]
    assert model is seen[1]


def test_progress_is_told() -> None:
    users, epochs = [], []
    train_sigmoid(purchases(60, 40), SMALL, on_users=users.append, on_epoch=epochs.append)
    assert [e.epoch for e in epochs] == [1, 2, 3, 4, 5, 6]
    assert max(users) == 59  # one history is empty
    assert epochs[-1].loss < epochs[0].loss


def test_nothing_to_learn_from() -> None:
    with pytest.raises(TrainingError, match="every history is empty"):
        train_sigmoid(sp.csr_matrix((5, 4), dtype=np.float32), SMALL)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    trainer = PerUserTrainer(purchases(90, 60), SMALL)
    trainer.parameters.decoder.V[0, 0] = np.inf
    with pytest.raises(TrainingError, match=r"epoch 1 .*lower learning_rate"):
        run_epoch(trainer)


@pytest.mark.parametrize("blocks", [0, 1, 5])
def test_restored_state_goes_on_with_the_same_bits(blocks: int) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(fold_every=20, learning_rate=0.4)
    straight, first = PerUserTrainer(matrix, config), PerUserTrainer(matrix, config)
    run_epoch(straight)
    run_epoch(first)
    for _ in range(blocks):
        first.advance()
    state = {name: array.copy() for name, array in first.state().items()}
    second = PerUserTrainer(matrix, config)
    second.restore(state)
    second.move_to(first.position())
    assert run_epoch(second) == run_epoch(straight)
    for name, array in straight.state().items():
        assert array.tobytes() == second.state()[name].tobytes(), name


def test_the_same_bits_wherever_the_arrays_lie() -> None:
    """The compiler may order a sum by how near to each other two arrays are; no sum of a step may depend on it."""
    trainer = PerUserTrainer(purchases(120, 40), SigmoidSettings(factors=8, epochs=4, seed=1))
    rng, matrix, start = np.random.default_rng(0), trainer.matrix, trainer.parameters
    decoder, users, single = start.decoder, np.arange(4), np.float32
    kept = np.random.default_rng(1).random(int(np.diff(matrix.indptr)[users].sum())) < 0.5

    def placed(array: NDArray[Any]) -> NDArray[Any]:
        offset = 4 * int(rng.integers(16))
        buffer = np.empty(array.nbytes + offset + int(rng.integers(4096)), np.uint8)
        copy = buffer[offset : offset + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def step() -> bytes:
        ours = [
            placed(a)
            for a in (decoder.V, decoder.applied, decoder.directions, decoder.factors, decoder.overlaps)
        ]
        ours += [placed(a) for a in (decoder.U, decoder.U_inv, decoder.Q)]
        theirs = [
            placed(a) for a in (start.encoder, start.encoder_bias, start.encoder_norms, start.bias_norm)
        ]
        rates = (single(0.02), single(0.04), single(2), single(0.5), single(0.35), single(1e-8))
        indptr, indices = matrix.indptr, matrix.indices
        train_users(users, indptr, indices, placed(kept), None, *ours[:5], 0, *ours[5:], *theirs, 8, *rates)
        return b"".join(array.tobytes() for array in (*ours, *theirs))

    assert len({step() for _ in range(300)}) == 1
