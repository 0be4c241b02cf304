"""Tests of the adversarial autoencoder: its penalty, what each of its parts moves, and what its codes come to."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recae.errors import ConfigError
from recae.models.aae import AdversarialAutoencoder
from recae.training.callbacks import Hooks
from recae.training.kinds.aae import CODE, AaeSettings, fit_aae, make_network
from recae.training.kinds.deep import DeepSettings, fit_deep
from recae.training.minibatch.adversarial import AaeNetwork

N_ITEMS = 40


@pytest.fixture(scope="module")
def purchases() -> sp.csr_matrix:
    """Two tastes: each of 300 users buys from one half of the catalogue."""
    rng = np.random.default_rng(5)
    dense = np.zeros((300, N_ITEMS), dtype=np.float32)
    for user in range(300):
        first = 0 if user % 2 else N_ITEMS // 2
        dense[user, first + rng.choice(N_ITEMS // 2, size=6, replace=False)] = 1
    return sp.csr_matrix(dense)


def _settings(**values: object) -> AaeSettings:
    return AaeSettings(**({"layers": "8", "epochs": 2, "seed": 3, "dtype": "float64"} | values))


def _network(settings: AaeSettings) -> AaeNetwork:
    network = make_network(N_ITEMS, settings, torch.Generator().manual_seed(1))
    network.generator = torch.Generator().manual_seed(2)
    return network


def _probability(network: AaeNetwork, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The discriminator written out in NumPy."""
    d = {name: p.detach().numpy() for name, p in network.discriminator.named_parameters()}
    z = vectors @ d["hidden"] + d["hidden_bias"]
    h = np.where(z > 0, z, 0.2 * z)
    return 1 / (1 + np.exp(-(h @ d["logit"] + d["logit_bias"])[:, 0]))


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_the_penalty_is_the_formula_of_the_paper(activation: str) -> None:
    network = _network(_settings(activation=activation, adversarial_weight=1.7, prior_deviation=2.0))
    codes = torch.randn(5, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    z = torch.randn(5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64).numpy() * 2
    prior = np.tanh(z / 2) if activation == "sigmoid" else np.maximum(z, 0)
    real, fake = _probability(network, prior), _probability(network, codes.numpy())
    wanted = -np.log(real).sum() - np.log(1 - fake).sum() - 1.7 * np.log(fake).sum()
    assert float(network._penalty(codes).detach()) == pytest.approx(wanted, rel=1e-12)


def test_telling_moves_the_discriminator_alone_and_fooling_it_the_code_alone() -> None:
    """Against central differences of each player's own loss."""
    network = _network(_settings(adversarial_weight=0.5))
    codes = torch.randn(
        4, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    ).requires_grad_()
    network._penalty(codes).backward()
    start = codes.detach().numpy()

    def fooling(values: NDArray[np.float64]) -> float:
        return float(-0.5 * np.log(_probability(network, values)).sum())

    step = np.zeros_like(start)
    step[1, 3] = 1e-6
    slope = (fooling(start + step) - fooling(start - step)) / 2e-6
    assert codes.grad is not None
    assert float(codes.grad[1, 3]) == pytest.approx(slope, rel=1e-6)

    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64).numpy()

    def telling() -> float:
        real, fake = _probability(network, np.tanh(z / 2)), _probability(network, start)
        return float(-np.log(real).sum() - np.log(1 - fake).sum())

    weight = network.discriminator.hidden
    found = float(weight.grad[2, 7]) if weight.grad is not None else 0.0
    with torch.no_grad():
        weight[2, 7] += 1e-6
        up = telling()
        weight[2, 7] -= 2e-6
        down = telling()
    assert found == pytest.approx((up - down) / 2e-6, rel=1e-5)


def test_without_its_weight_it_is_the_deep_autoencoder_to_the_bit(purchases: sp.csr_matrix) -> None:
    model, _ = fit_aae(purchases, _settings(adversarial_weight=0.0), Hooks())
    deep, _ = fit_deep(
        purchases, DeepSettings(layers="8", activation="sigmoid", epochs=2, seed=3, dtype="float64"), Hooks()
    )
    for name, array in deep.arrays().items():
        np.testing.assert_array_equal(model.arrays()[name], array)


def test_its_codes_come_closer_to_the_prior_than_those_of_the_deep_autoencoder(
    purchases: sp.csr_matrix,
) -> None:
    def distance(weight: float) -> float:
        """Mean over the dimensions of the distance between sorted codes and quantiles of the prior (Wasserstein-1)."""
        settings = _settings(
            adversarial_weight=weight,
            prior_deviation=3.0,
            dropout=0.0,
            epochs=60,
            batch_size=64,
            learning_rate=0.01,
            encoder_learning_rate=0.3,
        )
        model, _ = fit_aae(purchases, settings, Hooks())
        assert isinstance(model, AdversarialAutoencoder)
        codes = np.sort(model.encode(purchases), axis=0)
        z = np.sort(np.random.default_rng(0).normal(0, 3.0, len(codes)))
        return float(np.abs(codes - np.tanh(z / 2)[:, None]).mean())

    assert distance(1.0) < 0.8 * distance(0.0)


def test_the_same_seed_gives_the_same_model_and_another_seed_another(purchases: sp.csr_matrix) -> None:
    first, second, other = (fit_aae(purchases, _settings(seed=seed), Hooks())[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.arrays()["output"], second.arrays()["output"])
    assert not np.array_equal(first.arrays()["output"], other.arrays()["output"])


def test_layers_that_are_pretrained_have_no_discriminator_of_another_size(purchases: sp.csr_matrix) -> None:
    settings = _settings(layers="12,4", pretrain="layerwise", pretrain_epochs=1)
    model, epochs = fit_aae(purchases, settings, Hooks())
    assert len(epochs) == 4
    assert model.config()["layers"] == "12,4"


def test_the_code_is_no_larger_than_the_catalogue(purchases: sp.csr_matrix) -> None:
    model, _ = fit_aae(purchases, AaeSettings(epochs=1), Hooks())
    assert model.config()["layers"] == str(min(CODE, N_ITEMS))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"activation": "tanh"}, "activation is one of sigmoid, relu, found 'tanh'"),
        ({"adversarial_weight": -1.0}, "adversarial_weight is a number from 0 to 1000000, found -1"),
        ({"prior_deviation": 0.0}, "prior_deviation is a number above 0 .*found 0"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        _settings(**values)
