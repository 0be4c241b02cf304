"""Blocks of users against their oracle: plain steps on dense weights, one user after the other."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recae.errors import ConfigError, TrainingError
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact.blocks import BlockTrainer
from recae.training.exact.cuda import DeviceBlockTrainer
from recae.training.exact.parameters import first_parameters
from recae.training.exact.per_user import PerUserTrainer
from recae.training.exact.steps import users_together
from recae.training.kinds.sigmoid import train_sigmoid
from recae.training.trainer import Trainer


def purchases(n_users: int, n_items: int, seed: int = 0) -> sp.csr_matrix:
    """Random purchases with a skew in popularity; some histories of one item and one of none."""
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.3 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    dense[3] = False
    return sp.csr_matrix(dense.astype(np.float32))


Draw = Callable[[int, int], tuple[np.ndarray, np.ndarray]]

SMALL = SigmoidSettings(
    factors=12,
    epochs=6,
    batch_size=16,
    learning_rate=0.05,
    decoder_scale=0.3,
    input_power=0.35,
    encoder_start="random",
    encoder_scale=1.0,
    purchase_weight=4.0,
    dropout=0.4,
    seed=3,
)


def run_epoch(trainer: Trainer) -> float:
    while trainer.done < trainer.n_users:
        trainer.advance()
    return trainer.end_epoch()


def arrays(trainer: Trainer) -> dict[str, np.ndarray]:
    if isinstance(trainer, DeviceBlockTrainer):
        trainer._consolidate()
        found = {"encoder": trainer.E, "bias": trainer.bias, "decoder": trainer.V}
        return {name: tensor.numpy().copy() for name, tensor in found.items()}
    p = trainer.parameters
    return {"encoder": p.encoder, "bias": p.encoder_bias, "decoder": p.decoder.weights()}


def drawn_by_numpy(matrix: sp.csr_matrix, config: SigmoidSettings) -> Draw:
    """Order and dropout as `BlockTrainer` draws them."""
    users_all = np.flatnonzero(np.diff(matrix.indptr))

    def draw(epoch: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        users = np.random.default_rng([config.seed, epoch]).permutation(users_all)
        users = users[first : first + config.batch_size]
        rng = np.random.default_rng([config.seed, epoch, first])
        n = np.diff(matrix.indptr)[users].sum()
        return users, rng.random(n, dtype=np.float32) >= config.dropout

    return draw


def first_weights(matrix: sp.csr_matrix, config: SigmoidSettings) -> tuple[np.ndarray, np.ndarray]:
    """Encoder and decoder before training."""
    start = first_parameters(matrix, resolve(config, matrix))
    return start.encoder, start.decoder.weights()


def oracle(
    matrix: sp.csr_matrix,
    config: SigmoidSettings,
    epochs: int,
    draw: Draw,
    start: tuple[np.ndarray, np.ndarray],
    each: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], float]:
    """The same training without any trick: dense rows, autograd, every weight updated. And its last mean loss.

    `each` (nnz,) is what each purchase weighs beside α.
    """
    own = np.ones(matrix.nnz) if each is None else each
    E = torch.tensor(start[0], requires_grad=True)
    b = torch.zeros(E.shape[1], dtype=E.dtype, requires_grad=True)
    W = torch.tensor(start[1], requires_grad=True)
    dtype, q = E.dtype, 1 - config.dropout
    norms, bias_norm = torch.zeros(len(E), dtype=dtype), torch.zeros((), dtype=dtype)
    n = np.count_nonzero(np.diff(matrix.indptr))
    for epoch in range(1, epochs + 1):
        total = 0.0
        for first in range(0, n, config.batch_size):
            users, all_kept = draw(epoch, first)
            rate = min(1.0, 2 * (1 - ((epoch - 1) * n + first) / (config.epochs * n)))
            lengths = np.diff(matrix.indptr)[users]
            kept = np.split(all_kept, np.cumsum(lengths))
            gradients = []  # of each user for the encoder as it was before the block
            for user, keep in zip(users, kept[:-1], strict=True):
                owned = matrix[user].indices
                x, noisy = torch.zeros(len(E), dtype=dtype), torch.zeros(len(E), dtype=dtype)
                x[owned] = 1
                noisy[owned[keep]] = 1 / (q * (max(keep.sum(), 1) / q) ** config.input_power)
                h = torch.cat([2 * torch.sigmoid(noisy @ E + b) - 1, torch.ones(1, dtype=dtype)])
                weight = torch.ones(len(E), dtype=dtype)
                of_user = own[matrix.indptr[user] : matrix.indptr[user + 1]]
                weight[owned] = torch.tensor(config.purchase_weight * of_user, dtype=dtype)
                loss = (weight * (W @ h - x) ** 2).sum() / 2
                gE, gb, gW = torch.autograd.grad(loss, (E, b, W))
                gradients.append((gE, gb))
                total += 2 * loss.item()
                with torch.no_grad():
                    W -= config.learning_rate * rate / (h @ h) * gW
            with torch.no_grad():
                norms += sum((gE**2).mean(dim=1) for gE, _ in gradients)
                bias_norm += sum((gb**2).mean() for _, gb in gradients)
                step = config.encoder_learning_rate * rate
                E -= step * sum(gE for gE, _ in gradients) / (norms.sqrt() + 1e-8)[:, None]
                b -= step * sum(gb for _, gb in gradients) / (bias_norm.sqrt() + 1e-8)
    weights = {"encoder": E, "bias": b, "decoder": W}
    return {name: tensor.detach().numpy() for name, tensor in weights.items()}, total / n


CHANGES = [
    {},
    {"purchase_weight": 1.0},
    {"dropout": 0.0},
    {"dropout": 0.9},
    {"input_power": 0.0},
    {"fold_every": 40},
    {"batch_size": 1},
    {"batch_size": 89},
    {"batch_size": 64, "learning_rate": 0.4},
    {"factors": 2},
    {"epochs": 40, "learning_rate": 0.2},
]


@pytest.mark.some(6)
@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()) or "plain"
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_weights_and_loss_agree_with_autograd(change: dict[str, float], dtype: str, tolerance: float) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype=dtype, **change)
    expected, expected_loss = oracle(
        matrix, config, 2, drawn_by_numpy(matrix, config), first_weights(matrix, config)
    )
    trainer = BlockTrainer(matrix, config)
    for _ in range(2):
        loss = run_epoch(trainer)
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    for name, weights in expected.items():
        error = np.abs(arrays(trainer)[name] - weights).max() / np.abs(weights).max()
        assert error < tolerance, f"{name}: {error:.2g} relative"


def drawn_by_device(trainer: DeviceBlockTrainer) -> Draw:
    """Order and dropout as the trainer draws them, to the host."""

    def draw(epoch: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        trainer.move_to({"epoch": epoch, "done": first, "loss": 0.0})
        users, kept = trainer._draw()
        return users.numpy(), kept.numpy()

    return draw


@pytest.mark.some(6)
@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()) or "plain"
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_the_device_path_agrees_with_autograd(change: dict[str, float], dtype: str, tolerance: float) -> None:
    """What a GPU runs, on the CPU."""
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype=dtype, **change)
    trainer = DeviceBlockTrainer(matrix, config, "cpu")
    draw = drawn_by_device(DeviceBlockTrainer(matrix, config, "cpu"))
    start = (trainer.E.numpy().copy(), trainer.V.numpy().copy())
    expected, expected_loss = oracle(matrix, config, 2, draw, start)
    for _ in range(2):
        loss = run_epoch(trainer)
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    for name, weights in expected.items():
        error = np.abs(arrays(trainer)[name] - weights).max() / np.abs(weights).max()
        assert error < tolerance, f"{name}: {error:.2g} relative"


@pytest.mark.parametrize(
    "change",
    [{}, {"batch_size": 89}, {"batch_size": 64, "learning_rate": 0.1}, {"purchase_weight": 1.0}],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()) or "plain",
)
@pytest.mark.parametrize("place", ["host", "device"])
def test_weighted_purchases_agree_with_autograd(place: str, change: dict[str, float]) -> None:
    matrix = purchases(90, 60)
    each = np.random.default_rng(5).lognormal(0, 0.9, matrix.nnz).clip(0.02, 4).astype(np.float32)
    config = SMALL.updated(dtype="float64", **change)
    trainer: BlockTrainer | DeviceBlockTrainer
    if place == "host":
        trainer = BlockTrainer(matrix, config, each)
        draw, start = drawn_by_numpy(matrix, config), first_weights(matrix, config)
    else:
        trainer = DeviceBlockTrainer(matrix, config, "cpu", each)
        draw = drawn_by_device(DeviceBlockTrainer(matrix, config, "cpu"))
        start = (trainer.E.numpy().copy(), trainer.V.numpy().copy())
    expected, expected_loss = oracle(matrix, config, 2, draw, start, each)
    for _ in range(2):
        loss = run_epoch(trainer)
    assert loss == pytest.approx(expected_loss, rel=1e-9)
    for name, weights in expected.items():
        error = np.abs(arrays(trainer)[name] - weights).max() / np.abs(weights).max()
        assert error < 1e-9, f"{name}: {error:.2g} relative"


def test_blocks_of_one_user_are_per_user_sgd() -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(dtype="float64", batch_size=1)
    one, other = BlockTrainer(matrix, config), PerUserTrainer(matrix, config)
    other._block = 1  # dropout is drawn for a block
    assert run_epoch(one) == pytest.approx(run_epoch(other), rel=1e-10)
    for name, weights in arrays(other).items():
        np.testing.assert_allclose(arrays(one)[name], weights, rtol=0, atol=1e-10)


TRAINERS: dict[str, Callable[[sp.csr_matrix, SigmoidSettings], Trainer]] = {
    "cpu": BlockTrainer,
    "device": lambda matrix, config: DeviceBlockTrainer(matrix, config, "cpu"),
}


@pytest.mark.parametrize("kind", TRAINERS)
def test_same_seed_same_bits_and_another_seed_other_bits(kind: str) -> None:
    matrix = purchases(200, 80)
    found = []
    for seed in (3, 3, 4):
        trainer = TRAINERS[kind](matrix, SMALL.updated(seed=seed))
        run_epoch(trainer)
        found.append(trainer.model().arrays())
    for name, array in found[0].items():
        assert array.tobytes() == found[1][name].tobytes(), name
        assert array.tobytes() != found[2][name].tobytes(), name


@pytest.mark.parametrize("kind", TRAINERS)
@pytest.mark.parametrize("blocks", [0, 1, 3, 5])
@pytest.mark.parametrize("change", [{"fold_every": 40}, {"learning_rate": 0.4}], ids=["fold", "rescale"])
def test_restored_state_goes_on_with_the_same_bits(kind: str, blocks: int, change: dict[str, float]) -> None:
    matrix = purchases(90, 60)
    config = SMALL.updated(**change)
    straight, first = (TRAINERS[kind](matrix, config) for _ in range(2))
    run_epoch(straight)
    run_epoch(first)
    for _ in range(blocks):
        first.advance()
    state = {name: array.copy() for name, array in first.state().items()}
    second = TRAINERS[kind](matrix, config)
    second.restore(state)
    second.move_to(first.position())
    assert run_epoch(second) == run_epoch(straight)
    for name, array in straight.state().items():
        assert array.tobytes() == second.state()[name].tobytes(), name


def test_a_batch_larger_than_the_number_of_users_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 90, and only 89 users"):
        BlockTrainer(purchases(90, 60), SMALL.updated(batch_size=90))


@pytest.mark.parametrize("batch_size", [0, 1.5, True])
def test_a_batch_size_is_a_whole_number(batch_size: float) -> None:
    with pytest.raises(ConfigError, match="batch_size is a whole number from 1"):
        SigmoidSettings(batch_size=batch_size)


def test_users_together_keep_u_from_shrinking_too_far() -> None:
    assert users_together(0.01, 64) == 64
    assert users_together(0.3, 64) == 16
    assert users_together(0.99, 64) == 1


@pytest.mark.parametrize("kind", TRAINERS)
def test_identical_histories_at_the_largest_rate_stay_stable(kind: str) -> None:
    """All codes are one and the same, so that U shrinks as fast as it can."""
    matrix = sp.csr_matrix(np.tile(np.arange(40) % 3 == 0, (300, 1)).astype(np.float32))
    config = SMALL.updated(batch_size=100, learning_rate=0.45, dropout=0.0)
    trainer = TRAINERS[kind](matrix, config)
    losses = [run_epoch(trainer) for _ in range(3)]
    assert losses[-1] < 1e-3
    scores = trainer.model().score(matrix[:1])
    np.testing.assert_allclose(scores, matrix[:1].toarray(), atol=1e-2)


@pytest.mark.parametrize("kind", TRAINERS)
def test_a_loss_that_is_not_finite_is_an_error(kind: str) -> None:
    trainer = TRAINERS[kind](purchases(90, 60), SMALL)
    encoder = trainer.E if isinstance(trainer, DeviceBlockTrainer) else trainer.parameters.encoder
    encoder[:] = float("nan")
    with pytest.raises(TrainingError, match="the loss became nan"):
        run_epoch(trainer)


def test_the_batch_size_chooses_the_trainer() -> None:
    model, history = train_sigmoid(purchases(90, 60), SMALL.updated(epochs=8))
    assert model.settings["batch_size"] == 16
    assert history[-1].loss < history[0].loss
