"""The sigmoid autoencoder with tied weights, emphasis, penalties and pre-training, which go by mini-batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from test_models import HELD_OUT, HISTORIES

from recae.errors import ConfigError, ModelFileError, TrainingError
from recae.models import Encoder, SigmoidAutoencoder
from recae.ranking import top_k
from recae.training.batches import make_batch
from recae.training.checkpoint import Checkpoints
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact.per_user import PerUserTrainer
from recae.training.kinds.sigmoid import make_trainer, train_sigmoid
from recae.training.minibatch.trainer import MinibatchTrainer

SMALL = SigmoidSettings(factors=16, epochs=40, batch_size=8, dropout=0.2, seed=1)
VARIANTS: list[dict[str, Any]] = [
    {"tied": True, "learning_rate": 0.01},
    {"emphasis": 1.5},
    {"code_penalty": 0.01},
    {"code_penalty": 0.01, "code_norm": "l1", "tied": True, "learning_rate": 0.01},
    {"pretrain": "layerwise"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_each_variant_finds_what_is_missing(options: dict[str, Any]) -> None:
    model, history = train_sigmoid(HISTORIES, SMALL.updated(**options))
    assert isinstance(model, SigmoidAutoencoder)
    assert history[-1].loss < 0.7 * history[0].loss
    assert len(history) == 40 + 3 * (options.get("pretrain") == "layerwise")
    ranked, _ = top_k(model.score(HISTORIES), 1, exclude=HISTORIES)
    assert (ranked[:, 0] == HELD_OUT.indices).all()
    again = SigmoidAutoencoder.from_arrays(model.config(), model.arrays(), model.n_items)
    assert again.score(HISTORIES).tobytes() == model.score(HISTORIES).tobytes()
    assert again.config() == model.config() == {**model.config(), **options}


def test_everything_else_stays_with_the_exact_engine() -> None:
    for options in ({}, {"dropout": 0.3}, {"code_norm": "l1"}, {"pretrain_epochs": 9}):
        assert isinstance(make_trainer(HISTORIES, SigmoidSettings(**options), "cpu"), PerUserTrainer)
    for options in VARIANTS:
        assert isinstance(make_trainer(HISTORIES, SMALL.updated(**options), "cpu"), MinibatchTrainer)


def test_tied_weights_are_stored_once() -> None:
    model, _ = train_sigmoid(HISTORIES, SMALL.updated(tied=True, epochs=2))
    assert set(model.arrays()) == {"encoder", "encoder_bias", "decoder_bias"}
    assert model.decoder is model.encoder
    again = SigmoidAutoencoder.from_arrays(model.config(), model.arrays(), 24)
    assert again.decoder is again.encoder
    assert isinstance(again, Encoder)
    np.testing.assert_array_equal(again.item_vectors, again.encoder)
    free, _ = train_sigmoid(HISTORIES, SMALL.updated(epochs=2))
    arrays = {name: array for name, array in free.arrays().items() if name != "decoder"}
    with pytest.raises(ModelFileError, match="no array 'decoder'"):
        SigmoidAutoencoder.from_arrays(free.config(), arrays, 24)
    with pytest.raises(ModelFileError, match="'tied' as true or false, but gives 1"):
        SigmoidAutoencoder.from_arrays({**model.config(), "tied": 1}, model.arrays(), 24)
    older = {name: value for name, value in free.config().items() if name != "tied"}
    SigmoidAutoencoder.from_arrays(older, free.arrays(), 24)


@pytest.mark.parametrize("tied", [False, True])
def test_the_network_is_the_model(tied: bool) -> None:
    config = resolve(SMALL.updated(tied=tied, emphasis=2.0, input_power=0.35), HISTORIES)
    trainer = make_trainer(HISTORIES, config, "cpu")
    assert isinstance(trainer, MinibatchTrainer)
    trainer.advance()
    batch = make_batch(
        HISTORIES,
        np.arange(80),
        dropout=0,
        input_power=0.35,
        emphasis=1,
        rng=np.random.default_rng(0),
        dtype=torch.float32,
        device="cpu",
        epoch=1,
    )
    H, penalty = trainer.network(batch)
    model = trainer.model()
    assert isinstance(model, SigmoidAutoencoder)
    np.testing.assert_allclose(model.encode(HISTORIES), H.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert float(penalty.detach()) == 0


def test_a_size_of_batches_is_chosen_unless_one_is_given() -> None:
    matrix = sp.csr_matrix(np.ones((1920, 3), dtype=np.float32))
    assert resolve(SigmoidSettings(tied=True), matrix).batch_size == 32
    assert resolve(SigmoidSettings(tied=True, batch_size=7), matrix).batch_size == 7
    assert resolve(SigmoidSettings(), matrix).batch_size == 1
    for config in (SigmoidSettings(tied=True), SigmoidSettings(emphasis=2.0), SigmoidSettings(dropout=0.1)):
        resolved = resolve(config, matrix)
        assert resolve(resolved, matrix) == resolved


def test_steps_that_enlarge_errors_are_refused() -> None:
    config = SigmoidSettings(learning_rate=0.25, purchase_weight=4.0, emphasis=2.0)
    message = r"purchase_weight × learning_rate × emphasis is below 2, .* 4 × 0.25 × 2 = 2: .* below 0.25,"
    with pytest.raises(ConfigError, match=message):
        resolve(config, HISTORIES)
    resolve(config.updated(emphasis=1.9), HISTORIES)
    resolve(config.updated(tied=True), HISTORIES)
    chosen = resolve(SigmoidSettings(emphasis=50.0, purchase_weight=30.0), HISTORIES)
    assert chosen.learning_rate * 50 * 30 <= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tied", "true"),
        ("tied", 0),
        ("emphasis", 0.5),
        ("code_penalty", -1),
        ("code_norm", "l0"),
        ("pretrain", "greedy"),
        ("pretrain_epochs", 0),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{name} is (one of|true or false|a (whole )?number)( .*)?, found"
    ):
        SigmoidSettings(**{name: value})


def test_a_loss_that_is_no_longer_finite_names_what_to_lower() -> None:
    """The step of Adam is the largest there is, and weights are squared in a tied output."""
    config = SigmoidSettings(
        factors=4, epochs=400, tied=True, learning_rate=0.99, purchase_weight=1e6, seed=1
    )
    config = config.updated(encoder_scale=1000.0)
    matrix = HISTORIES * np.float32(1)
    trainer = make_trainer(matrix, config, "cpu")
    assert isinstance(trainer, MinibatchTrainer)
    with torch.no_grad():
        trainer.network.first.rows.weight.mul_(1e30)  # type: ignore[operator, union-attr]
    with pytest.raises(TrainingError, match=r"lower learning_rate \(0.99\) or purchase_weight \(1e\+06\)$"):
        trainer.advance()


def test_a_tied_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    config = SMALL.updated(tied=True, epochs=3)
    expected, _ = train_sigmoid(HISTORIES, config)
    path = tmp_path / "c"

    class StopError(Exception):
        pass

    def stop(done: int) -> None:
        if stop_at.pop():
            raise StopError

    stop_at = [True] + [False] * 13
    with pytest.raises(StopError):
        train_sigmoid(HISTORIES, config, checkpoints=Checkpoints(path, every=16), on_users=stop)
    found, _ = train_sigmoid(HISTORIES, config, checkpoints=Checkpoints(path, resume=True))
    for name, array in expected.arrays().items():
        assert array.tobytes() == found.arrays()[name].tobytes()
