"""Training by mini-batches: each step against plain formulas, interruptions, phases, and what is refused."""

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recae.errors import ConfigError, TrainingError
from recae.models import DeepAutoencoder, Model
from recae.settings import Settings
from recae.training.batches import Batch, make_batch
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Checkpoints, Epoch
from recae.training.kinds.deep import DeepSettings, fit_deep, make_network, resolve_deep
from recae.training.loop import train
from recae.training.minibatch.networks import Context, FirstLayer, Network, Phase, to_numpy
from recae.training.minibatch.optimisers import EPSILON
from recae.training.minibatch.trainer import MinibatchSettings, MinibatchTrainer

SMALL = DeepSettings(
    layers="6,3",
    epochs=3,
    batch_size=8,
    learning_rate=0.02,
    output_learning_rate=0.1,
    purchase_weight=3.0,
    seed=5,
)


def purchases(n_users: int = 40, n_items: int = 30, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.4 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    return sp.csr_matrix(dense.astype(np.float32))


def trainer_of(config: DeepSettings, matrix: sp.csr_matrix | None = None) -> MinibatchTrainer:
    matrix = purchases() if matrix is None else matrix
    return MinibatchTrainer(matrix, resolve_deep(config, matrix), "cpu", make_network)


def dense_forward(state: Mapping[str, torch.Tensor], x: torch.Tensor, config: DeepSettings) -> torch.Tensor:
    """Outputs (B, I) of dense inputs, spelled out for layers "6,3" and tanh."""
    h1 = torch.tanh(x @ state["network.first.rows.weight"] + state["network.first.bias"])
    code = torch.tanh(h1 @ state["network.weights.0"] + state["network.biases.0"])
    back = state["network.weights.0"].T if config.tied else state["network.mirrors.0"]
    g = torch.tanh(code @ back + state["network.mirror_biases.0"])
    W = state["network.first.rows.weight"] if config.tied else state["output.W"]
    return g @ W.T + state["output.bias"]


def dense_loss(outputs: torch.Tensor, x: torch.Tensor, config: DeepSettings) -> torch.Tensor:
    alpha = config.purchase_weight
    if config.loss == "squared":
        return ((1 + (alpha - 1) * x) * (outputs - x) ** 2).sum()
    if config.loss == "multinomial":
        return -(x * torch.log_softmax(outputs, dim=1)).sum()
    cross = torch.nn.functional.binary_cross_entropy_with_logits(outputs, x, reduction="none")
    return ((1 + (alpha - 1) * x) * cross).sum()


@pytest.mark.parametrize(
    ("tied", "loss"),
    [(True, "squared"), (True, "multinomial"), (False, "multinomial"), (False, "logistic")],
)
def test_steps_are_adam_and_row_wise_adagrad_on_the_plain_gradients(tied: bool, loss: str) -> None:
    """Against dense matrices, autograd in float64 and the formulas of both optimisers, for a whole epoch."""
    config = SMALL.updated(tied=tied, loss=loss, dropout=0.0, dtype="float64", epochs=2, l2=0.01)
    matrix = purchases()
    trainer = trainer_of(config, matrix)
    state = {
        name: torch.tensor(array)
        for name, array in trainer.state().items()
        if not name.startswith("optimiser.")
    }
    m = {name: torch.zeros_like(p) for name, p in state.items()}
    v = {name: torch.zeros_like(p) for name, p in state.items()}
    norms = torch.zeros(matrix.shape[1], dtype=torch.float64)
    total, step = 0.0, 0
    while trainer.done < trainer.n_users:
        users = trainer._order[trainer.done : trainer.done + 8]
        rate = min(1.0, 2 * (1 - trainer.done / (2 * trainer.n_users)))
        x = torch.tensor(matrix[users].toarray(), dtype=torch.float64)
        for p in state.values():
            p.requires_grad_(True)
        inputs = x / x.sum(1, keepdim=True) ** config.input_power
        value = dense_loss(dense_forward(state, inputs, config), x, config)
        grads = dict(zip(state, torch.autograd.grad(value / len(users), list(state.values())), strict=True))
        total, step = total + float(value.detach()), step + 1
        with torch.no_grad():
            for name, p in state.items():
                g = grads[name]
                if name == "network.first.rows.weight" and not tied:
                    for j in range(len(p)):
                        if x[:, j].any():
                            norms[j] += (g[j] ** 2).sum() / p.shape[1]
                            eta = rate * config.encoder_learning_rate
                            p[j] = p[j] * (1 - eta * 0.01) - eta / (norms[j].sqrt() + EPSILON) * g[j]
                    continue
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.999 * v[name] + 0.001 * g * g
                p -= rate * 0.02 * 0.01 * p
                p -= (
                    rate
                    * 0.02
                    * (m[name] / (1 - 0.9**step))
                    / ((v[name] / (1 - 0.999**step)).sqrt() + EPSILON)
                )
        trainer.advance()
        found = trainer.state()
        for name, p in state.items():
            np.testing.assert_allclose(found[name], p.detach().numpy(), rtol=1e-6, atol=1e-9, err_msg=name)
    assert trainer.end_epoch() == pytest.approx(total / trainer.n_users, rel=1e-9)


def test_the_exact_output_layer_gives_the_network_its_gradient() -> None:
    """One batch: the layer's steps are the head's own, and the network moves along the gradient it returns."""
    config = SMALL.updated(dropout=0.0, dtype="float64", epochs=9)
    matrix = purchases()
    trainer, twin = trainer_of(config, matrix), trainer_of(config, matrix)
    users = trainer._order[:8]
    options: dict[str, Any] = {"dropout": 0.0, "input_power": 0.5, "emphasis": 1.0, "device": "cpu"}
    batch = make_batch(matrix, users, rng=np.random.default_rng(0), dtype=torch.float64, **options)
    H, _ = twin.network(replace(batch, epoch=1))
    loss, gradient = twin.output._head.step(H.detach(), batch, 1.0)
    weight = twin.network.weights[0]
    (g,) = torch.autograd.grad(H, weight, gradient / 8)
    trainer.advance()
    moved = trainer.network.weights[0].detach() - weight.detach()
    np.testing.assert_allclose(moved, -0.02 * g / (g.abs() + EPSILON), rtol=1e-6, atol=1e-9)
    assert trainer.position()["loss"] == pytest.approx(float(loss))
    np.testing.assert_array_equal(trainer.output.weights()[0], twin.output.weights()[0])


def test_training_does_not_import_what_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of PyTorch, torch._dynamo: some two seconds before the first step, for nothing."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)  # whoever imports it fails
    trainer = trainer_of(SMALL)
    trainer.advance()
    assert trainer.done


def interrupt_after(blocks: int) -> Callable[[int], None]:
    calls = iter(range(blocks))

    def tell(done: int) -> None:
        if next(calls, 0) == blocks - 1:
            signal.raise_signal(signal.SIGINT)

    return tell


def quality(model: Model) -> float:
    assert isinstance(model, DeepAutoencoder)
    return float(np.abs(model.output).sum() * 1e3 % 1)


@pytest.mark.some(3)
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SMALL.updated(tied=True, pretrain="layerwise", pretrain_epochs=1, emphasis=2.0),
        SMALL.updated(loss="multinomial", code_penalty=0.1, l2=0.1),
    ],
    ids=["exact", "tied-pretrained", "multinomial"],
)
@pytest.mark.parametrize("validate", [None, quality], ids=["", "validated"])
def test_interrupted_anywhere_and_resumed_gives_the_same_bits(
    config: DeepSettings, validate: Any, tmp_path: Path
) -> None:
    blocks: list[int] = []
    expected = fit_deep(purchases(), config, Hooks(validate=validate, on_users=blocks.append))
    for n in range(1, len(blocks) + 1, 3):
        path = tmp_path / f"{n}.checkpoint"
        hooks = Hooks(validate=validate, checkpoints=Checkpoints(path), on_users=interrupt_after(n))
        with pytest.raises(KeyboardInterrupt):
            fit_deep(purchases(), config, hooks)
        rest: list[int] = []
        hooks = Hooks(validate=validate, checkpoints=Checkpoints(path, resume=True), on_users=rest.append)
        found = fit_deep(purchases(), config, hooks)
        assert rest == blocks[n:], "work was lost, or done twice"
        for name, array in expected[0].arrays().items():
            assert array.tobytes() == found[0].arrays()[name].tobytes(), name
        timeless = [
            [replace(e, seconds=0.0, users_per_second=0.0) for e in run[1]] for run in (found, expected)
        ]
        assert timeless[0] == timeless[1]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, second, other = (
        fit_deep(purchases(), SMALL.updated(seed=seed), Hooks())[0].arrays() for seed in (5, 5, 6)
    )
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes()
        assert array.tobytes() != other[name].tobytes()


class TurnsSettings(Settings):
    epochs: int = 5
    batch_size: int = 8
    patience: int = 2
    seed: int = 1
    learning_rate: float = 0.01
    dropout: float = 0.5


class Turns(Network):
    """Trains network and output in turn, and keeps a copy of its weights at the start of each epoch."""

    def __init__(self, n_items: int, config: TurnsSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.size = 4
        self.first = FirstLayer(n_items, 4, generator, deviation=0.5)
        self.old = torch.nn.Parameter(torch.zeros(n_items, 4), requires_grad=False)
        self.begun: list[tuple[int, Context]] = []
        self.seen: list[tuple[int, int, float, bool]] = []

    def phase(self, epoch: int) -> Phase:
        return Phase(network=epoch % 2 == 1, output=epoch % 2 == 0, dropout=epoch % 2 == 1)

    def begin_epoch(self, epoch: int, context: Context) -> None:
        self.begun.append((epoch, context))
        with torch.no_grad():
            self.old.copy_(self.first.rows.weight)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        draw = float(torch.rand((), generator=self.generator))
        self.seen.append((batch.epoch, batch.step, draw, bool((batch.inputs == 0).any())))
        h = torch.tanh(self.first(batch))
        return h, 0.1 * (h * h).sum() + draw

    def to_model(self, W: Any, bias: Any, settings: Mapping[str, Any]) -> Model:
        from recae.models import SigmoidAutoencoder

        first = to_numpy(self.first.rows.weight)
        return SigmoidAutoencoder(first, to_numpy(self.first.bias), W, bias, 0.5, dict(settings))


def test_a_networks_phases_say_what_moves() -> None:
    matrix = purchases()
    trainer = MinibatchTrainer(matrix, TurnsSettings(), "cpu", Turns)
    network = trainer.network
    assert isinstance(network, Turns)
    for epoch in range(1, 6):
        before = {name: array.copy() for name, array in trainer.state().items()}
        np.testing.assert_array_equal(before["network.old"], before["network.first.rows.weight"])
        while trainer.done < trainer.n_users:
            trainer.advance()
        after = trainer.state()
        moved = {name for name in before if not np.array_equal(before[name], after[name])}
        of_network = {"network.first.rows.weight", "network.first.bias"}
        of_output = {"output.W", "output.bias"}
        assert of_network <= moved if epoch % 2 else not of_network & moved
        assert of_output <= moved if not epoch % 2 else not of_output & moved
        assert "network.old" not in moved
        trainer.end_epoch()
    assert [epoch for epoch, _ in network.begun] == [1, 2, 3, 4, 5], "no epoch comes after the last"
    assert network.begun[0][1] == Context(epochs=5, steps=5, n_users=40)
    assert [seen[:2] for seen in network.seen] == [(1 + s // 5, s) for s in range(25)]
    assert len({seen[2] for seen in network.seen}) == 25, "the same number was drawn twice"
    assert all(hidden == bool(epoch % 2) for epoch, _, _, hidden in network.seen)
    with pytest.raises(TypeError, match="Turns has no weight"):
        network.tied_weight()


def test_a_resumed_network_keeps_its_buffers_and_draws(tmp_path: Path) -> None:
    def run(hooks: Hooks) -> tuple[Model, list[Epoch]]:
        return train(MinibatchTrainer(purchases(), TurnsSettings(), "cpu", Turns), hooks)

    expected, _ = run(Hooks())
    for n in (3, 5, 12):
        path = tmp_path / str(n)
        with pytest.raises(KeyboardInterrupt):
            run(Hooks(checkpoints=Checkpoints(path), on_users=interrupt_after(n)))
        found, _ = run(Hooks(checkpoints=Checkpoints(path, resume=True)))
        for name, array in expected.arrays().items():
            assert array.tobytes() == found.arrays()[name].tobytes(), (n, name)


def test_early_stopping_counts_from_the_first_epoch_that_is_judged() -> None:
    judged: list[float] = []

    def validate(model: Model) -> float:
        judged.append(1.0 / (1 + len(judged)))  # ever worse
        return judged[-1]

    config = SMALL.updated(epochs=50, patience=3, pretrain="layerwise", pretrain_epochs=4)
    starts: list[tuple[int, int]] = []
    _, history = fit_deep(
        purchases(), config, Hooks(validate=validate, on_start=lambda *told: starts.append(told))
    )
    assert starts == [(58, 40)]
    assert [e.recall is None for e in history] == [True] * 8 + [False] * 4
    assert history[8].recall == 1.0


def test_a_loss_that_is_no_longer_finite_names_what_to_lower() -> None:
    for config, names in (
        (
            SMALL.updated(activation="relu", learning_rate=1.0, l2=1000.0),
            "learning_rate .1. or output_learning",
        ),
        (
            SMALL.updated(activation="relu", learning_rate=1.0, l2=1000.0, tied=True),
            "learning_rate .1. or purch",
        ),
    ):
        with (
            np.errstate(all="ignore"),
            pytest.raises(TrainingError, match=rf"(loss became|no longer finite).* lower {names}"),
        ):
            fit_deep(purchases(), config.updated(epochs=60), Hooks())


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(TrainingError, match="every history is empty"):
        fit_deep(sp.csr_matrix((5, 4), dtype=np.float32), SMALL, Hooks())
    with pytest.raises(ConfigError, match=r"batch_size is 41, and only 40 users"):
        fit_deep(purchases(), SMALL.updated(batch_size=41), Hooks())


def test_a_catalogue_that_does_not_fit_is_refused_before_anything_is_allocated() -> None:
    matrix = sp.csr_matrix(([1.0], ([0], [0])), shape=(2, 2_000_000_000))
    with pytest.raises(TrainingError, match=r"2,000,000,000 items needs [\d,.]+ GiB .*lower its layers"):
        fit_deep(matrix, SMALL.updated(batch_size=1), Hooks())


def test_the_estimate_covers_what_is_held() -> None:
    matrix = sp.csr_matrix(sp.random(60, 4000, density=0.01, format="csr", rng=np.random.default_rng(0)))
    matrix.data[:] = 1
    for config in (SMALL.updated(layers="64,32"), SMALL.updated(layers="64,32", loss="multinomial")):
        trainer = trainer_of(config, matrix)
        held = sum(array.nbytes for array in trainer.state().values())
        held += sum(p.numel() * 4 for p in trainer.network.parameters())
        assert held <= trainer._memory_needed(make_network) < 8 * held + 2**28


def test_settings_of_a_kind_are_taken_by_their_names() -> None:
    found = MinibatchSettings.of(resolve_deep(SMALL, purchases()), row_learning_rate=0.3)
    assert (found.loss, found.learning_rate, found.row_learning_rate) == ("squared", 0.02, 0.3)
    assert found.input_power == SMALL.input_power
    assert MinibatchSettings.of(TurnsSettings()) == MinibatchSettings(learning_rate=0.01, dropout=0.5)
    with pytest.raises(ConfigError, match="learning_rate is a number, found None"):
        MinibatchSettings.of(DeepSettings())
