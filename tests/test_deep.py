"""The deep autoencoder: its formula, its layers, what its options do, and what is refused."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recae.errors import ConfigError, DataError, ModelFileError
from recae.models import DeepAutoencoder, Encoder, Model
from recae.models.deep import ACTIVATIONS
from recae.training.batches import Batch, make_batch
from recae.training.callbacks import Hooks
from recae.training.config import ResolvedSettings
from recae.training.exact.parameters import first_encoder
from recae.training.kinds.deep import DeepSettings, fit_deep, make_deep_trainer, make_network, resolve_deep
from recae.training.minibatch import deep
from recae.training.minibatch.deep import DeepNetwork, activate
from recae.training.minibatch.trainer import MinibatchTrainer

SMALL = DeepSettings(
    layers="6,3", epochs=2, batch_size=8, output_learning_rate=0.1, purchase_weight=3.0, seed=5
)


def purchases(n_users: int = 40, n_items: int = 30, seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < 0.02 + 0.4 * np.linspace(1, 0, n_items) ** 3
    dense[:, 0] |= ~dense.any(axis=1)
    return sp.csr_matrix(dense.astype(np.float32))


def fit(matrix: sp.csr_matrix, config: DeepSettings) -> DeepAutoencoder:
    model = fit_deep(matrix, config, Hooks())[0]
    assert isinstance(model, DeepAutoencoder)
    return model


def batch_of(matrix: sp.csr_matrix, config: DeepSettings, epoch: int = 1) -> Batch:
    return make_batch(
        matrix,
        np.arange(matrix.shape[0]),
        dropout=0.0,
        input_power=config.input_power,
        emphasis=1.0,
        rng=np.random.default_rng(0),
        dtype=getattr(torch, config.dtype),
        device="cpu",
        epoch=epoch,
    )


def slow_activation(name: str, z: float) -> float:
    if name == "sigmoid":
        return 2 / (1 + np.exp(-z)) - 1
    if name == "tanh":
        return (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z))
    if name == "relu":
        return max(z, 0.0)
    if name == "selu":
        return 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * (np.exp(z) - 1))
    return z / (1 + np.exp(-z))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations(name: str) -> None:
    z = np.array([-3.0, -0.5, 0.0, 0.25, 4.0], dtype=np.float32)
    expected = [slow_activation(name, float(value)) for value in z]
    np.testing.assert_allclose(ACTIVATIONS[name](z), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(activate(name, torch.from_numpy(z)).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert ACTIVATIONS[name](z).dtype == np.float32
    with np.errstate(over="raise"):
        assert np.isfinite(ACTIVATIONS[name](np.array([-200, 200], dtype=np.float32))).all()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("tied", [False, True])
def test_scores_are_the_formula_item_by_item(activation: str, tied: bool) -> None:
    config = SMALL.updated(layers="6,4,3", activation=activation, tied=tied)
    matrix = purchases(5, 9)
    model = fit(matrix, config.updated(batch_size=2))
    arrays = model.arrays()
    for b in range(5):
        items = matrix[b].indices
        h = np.zeros(9)
        h[items] = 1 / len(items) ** 0.5
        for k in range(3):
            z = arrays[f"encoder_{k}_bias"] + sum(h[i] * arrays[f"encoder_{k}"][i] for i in range(len(h)))
            h = np.array([slow_activation(activation, float(value)) for value in z])
        np.testing.assert_allclose(model.encode(matrix)[b], h, rtol=1e-4, atol=1e-5)
        for k in (2, 1):
            weight = arrays[f"encoder_{k}"].T if tied else arrays[f"decoder_{k}"]
            z = arrays[f"decoder_{k}_bias"] + sum(h[i] * weight[i] for i in range(len(h)))
            h = np.array([slow_activation(activation, float(value)) for value in z])
        W = arrays["encoder_0" if tied else "output"]
        expected = [float(W[j] @ h + arrays["output_bias"][j]) for j in range(9)]
        np.testing.assert_allclose(model.score(matrix)[b], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layers", ["6", "6,3", "8,5,2"])
def test_the_network_and_its_model_agree(tied: bool, layers: str) -> None:
    matrix = purchases()
    config = resolve_deep(SMALL.updated(layers=layers, tied=tied), matrix)
    trainer = MinibatchTrainer(matrix, config, "cpu", make_network)
    trainer.advance()
    H, _ = trainer.network(batch_of(matrix, config))
    W, bias = trainer.output.weights()
    expected = H.detach().numpy() @ W.T + bias
    model = trainer.model()
    np.testing.assert_allclose(model.score(matrix), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.score(matrix[:3]), expected[:3], rtol=1e-4, atol=1e-5)
    assert not isinstance(model, Encoder), "its scores are no product with the code"


def test_tied_weights_are_stored_once() -> None:
    matrix = purchases()
    tied, free = fit(matrix, SMALL.updated(tied=True)), fit(matrix, SMALL)
    assert set(free.arrays()) - set(tied.arrays()) == {"output", "decoder_1"}
    assert tied.output is tied.encoder[0][0]
    assert tied.factors == free.factors == 3
    size = sum(array.size for array in tied.arrays().values())
    assert size == 30 * 6 + 6 * 3 + 6 + 3 + 6 + 30
    assert sum(array.size for array in free.arrays().values()) == size + 30 * 6 + 3 * 6
    again = DeepAutoencoder.from_arrays(tied.config(), tied.arrays(), 30)
    assert again.output is again.encoder[0][0]
    assert again.score(matrix).tobytes() == tied.score(matrix).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tied": "yes"}, "'tied' as true or false, but gives 'yes'"),
        ({"tied": None}, "'tied' as true or false"),
        ({"tied": False}, "no array 'decoder_1'"),
        ({"activation": "swish"}, "'activation' as one of sigmoid, .* gives 'swish'"),
        ({"loss": 3}, "'loss' as one of squared, .* gives 3"),
        ({"input_power": 2}, "'input_power' as a number from 0 to 1"),
    ],
)
def test_a_configuration_that_does_not_fit_the_arrays_is_refused(
    change: dict[str, Any], message: str
) -> None:
    model = fit(purchases(), SMALL.updated(tied=True))
    with pytest.raises(ModelFileError, match=message):
        DeepAutoencoder.from_arrays({**model.config(), **change}, model.arrays(), 30)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_the_penalty_is_the_norm_of_the_code(norm: str, power: int) -> None:
    matrix = purchases()
    config = resolve_deep(SMALL.updated(code_penalty=0.7, code_norm=norm), matrix)
    trainer = MinibatchTrainer(matrix, config, "cpu", make_network)
    model = trainer.model()
    assert isinstance(model, DeepAutoencoder)
    _, penalty = trainer.network(batch_of(matrix, config))
    expected = 0.7 * (np.abs(model.encode(matrix)) ** power).sum()
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-4)
    free = trainer.network.__class__(30, [6, 3], torch.Generator(), activation="tanh")
    assert float(free(batch_of(matrix, config))[1].detach()) == 0


def test_a_penalty_makes_codes_small() -> None:
    matrix = purchases()
    sizes = [
        np.abs(
            fit(matrix, SMALL.updated(epochs=12, learning_rate=0.05, code_penalty=p)).encode(matrix)
        ).mean()
        for p in (0.0, 3.0)
    ]
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("tied", [False, True])
def test_pre_training_goes_layer_by_layer(tied: bool) -> None:
    """What moves in each stage: a layer and its mirror, and the output layer in the first stage alone."""
    matrix = purchases()
    config = SMALL.updated(
        layers="6,4,2", tied=tied, pretrain="layerwise", pretrain_epochs=2, loss="logistic"
    )
    trainer = MinibatchTrainer(matrix, resolve_deep(config, matrix), "cpu", make_network)
    assert trainer.epochs == 2 + 3 * 2
    assert trainer.judged_from == 7
    first = {"network.first.rows.weight", "network.first.bias"}
    output = {"output.bias"} | (set() if tied else {"output.W"})
    inner = [
        {f"network.weights.{k}", f"network.biases.{k}", f"network.mirror_biases.{k}"}
        | (set() if tied else {f"network.mirrors.{k}"})
        for k in range(2)
    ]
    stages = [first | output, inner[0], inner[1], first | output | inner[0] | inner[1]]
    for epoch in range(1, 9):
        before = {name: array.copy() for name, array in trainer.state().items()}
        while trainer.done < trainer.n_users:
            trainer.advance()
        after = trainer.state()
        moved = {n for n in before if not n.startswith("optim") and (before[n] != after[n]).any()}
        assert moved == stages[(epoch - 1) // 2], epoch
        trainer.end_epoch()


def test_a_stage_of_pre_training_reconstructs_the_codes_of_the_layer_before() -> None:
    matrix = purchases()
    config = resolve_deep(
        SMALL.updated(layers="6,4,2", pretrain="layerwise", dropout=0.0, code_penalty=0.3, dtype="float64"),
        matrix,
    )
    network = make_network(30, config, torch.Generator().manual_seed(0))
    batch = batch_of(matrix, config, epoch=2 * config.pretrain_epochs + 1)  # the third layer's first epoch
    _, error = network(batch)
    x = matrix.toarray() / np.sqrt(matrix.toarray().sum(1, keepdims=True))
    p = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    h = np.tanh(x @ p["first.rows.weight"] + p["first.bias"])
    h = np.tanh(h @ p["weights.0"] + p["biases.0"])
    code = np.tanh(h @ p["weights.1"] + p["biases.1"])
    back = np.tanh(code @ p["mirrors.1"] + p["mirror_biases.1"])
    assert float(error.detach()) == pytest.approx(((back - h) ** 2).sum() + 0.3 * (code**2).sum())
    noisy = DeepNetwork(30, [6, 4, 2], torch.Generator().manual_seed(0), activation="tanh", dropout=0.5)
    noisy._pretrain_epochs, noisy.pretraining = 1, 3
    errors = {float(noisy(batch_of(matrix, SMALL, epoch=2))[1].detach()) for _ in range(2)}
    assert len(errors) == 2, "another part is hidden each time"


@pytest.mark.thorough
def test_dense_data_are_reconstructed() -> None:
    """Rows near a line in the cube: a code of one number is enough, and beats the mean by far."""
    rng = np.random.default_rng(0)
    t = rng.random((80, 1))
    dense = (0.1 + 0.8 * t * np.linspace(0, 1, 12) + 0.02 * rng.random((80, 12))).astype(np.float32)
    matrix = sp.csr_matrix(dense)
    spread = ((dense - dense.mean(axis=0)) ** 2).mean()
    for options in ({}, {"tied": True}, {"loss": "logistic"}):
        config = DeepSettings(
            layers="8,1",
            epochs=80,
            batch_size=20,
            learning_rate=0.03,
            output_learning_rate=0.1,
            purchase_weight=1.0,
            input_power=0.0,
            dropout=0.0,
            **options,
        )
        found = fit(matrix, config).reconstruct(matrix)
        assert found.shape == dense.shape
        assert found.dtype == np.float32
        assert ((found - dense) ** 2).mean() < 0.1 * spread, options


def test_reconstruct_reads_values_and_passes_the_loss_link() -> None:
    matrix = purchases()
    squared, logistic, multinomial = (
        fit(matrix, SMALL.updated(loss=loss)) for loss in ("squared", "logistic", "multinomial")
    )
    np.testing.assert_array_equal(squared.reconstruct(matrix), squared.score(matrix))
    assert np.abs(squared.reconstruct(matrix * 0.5) - squared.score(matrix * 0.5)).max() > 1e-4
    z = logistic.score(matrix).astype(np.float64)
    np.testing.assert_allclose(logistic.reconstruct(matrix), 1 / (1 + np.exp(-z)), rtol=1e-4)
    z = multinomial.score(matrix).astype(np.float64)
    np.testing.assert_allclose(
        multinomial.reconstruct(matrix), np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-4
    )
    assert multinomial.reconstruct(matrix[:0]).shape == (0, 30)
    with pytest.raises(DataError, match="31 columns"):
        squared.reconstruct(sp.csr_matrix((1, 31), dtype=np.float32))


def test_emphasis_weighs_what_is_hidden() -> None:
    """With nothing hidden it changes nothing; with noise it does."""
    matrix = purchases()

    def scores(**options: Any) -> Any:
        model: Model = fit(matrix, SMALL.updated(**options))
        return model.score(matrix)

    np.testing.assert_array_equal(scores(dropout=0.0), scores(dropout=0.0, emphasis=3.0))
    assert np.abs(scores(dropout=0.5) - scores(dropout=0.5, emphasis=3.0)).max() > 1e-3


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("tied", [False, True])
def test_it_begins_by_passing_principal_directions_on(
    activation: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small signals pass through the code as they are, as far as there is room in it."""
    matrix = purchases()
    config = SMALL.updated(layers="9,6,4", activation=activation, tied=tied)
    config = config.updated(encoder_start="svd", encoder_scale=1e-3)
    monkeypatch.setattr(deep, "OTHERS", 0.0)
    network = make_deep_trainer(matrix, resolve_deep(config, matrix), "cpu").network
    assert isinstance(network, DeepNetwork)
    start = ResolvedSettings(factors=9, input_power=0.5, encoder_scale=1e-3)
    encoder = first_encoder(matrix, start, np.random.default_rng([5, 0]))
    np.testing.assert_array_equal(network.tied_weight().detach().numpy(), encoder)
    with torch.no_grad():
        g, _ = network(batch_of(matrix, config))
        h = activate(activation, network.first(batch_of(matrix, config)))
    assert h.abs().max() > 1e-4
    np.testing.assert_allclose(g[:, :4], h[:, :4], rtol=1e-3, atol=1e-8)
    assert (g[:, 4:] == 0).all() == tied, "what is left is filled up, unless its weights are the encoder's"


def test_other_inputs_of_a_layer_begin_with_little_weight() -> None:
    matrix = purchases()
    config = resolve_deep(SMALL.updated(layers="9,6,4", activation="sigmoid"), matrix)
    drawn = MinibatchTrainer(matrix, config, "cpu", make_network).network.state_dict()
    found = make_deep_trainer(matrix, config, "cpu").network.state_dict()
    for k, (n_in, n_out) in enumerate([(9, 6), (6, 4)]):
        weight, mirror = 0.1 * drawn[f"weights.{k}"], drawn[f"mirrors.{k}"].clone()
        for i in range(n_out):
            weight[i, i] = 2
            mirror[:, i] = 0
            mirror[i, i] = 2
        torch.testing.assert_close(found[f"weights.{k}"], weight)
        torch.testing.assert_close(found[f"mirrors.{k}"], mirror)
        assert weight.shape == (n_in, n_out)


def test_where_it_begins_is_up_to_encoder_start() -> None:
    matrix = purchases()
    scores = [fit(matrix, SMALL.updated(encoder_start=start)).score(matrix) for start in ("svd", "random")]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    np.testing.assert_array_equal(scores[0], fit(matrix, SMALL).score(matrix))
    with pytest.raises(ConfigError, match="encoder_start is one of svd, random, found"):
        DeepSettings(encoder_start="pca")
