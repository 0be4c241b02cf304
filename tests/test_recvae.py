"""RecVAE: prior, network, alternation and model, each against a plain form of the same formula."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
import scipy.stats
import torch
from test_vae import MATRIX, N_ITEMS, USERS, dense_inputs, generator, groups, loop_layer, make_noisy

from recae.errors import ConfigError, ModelFileError
from recae.models import RecVAE
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.recvae import RecVaeSettings, fit_recvae, resolve_recvae
from recae.training.minibatch.losses import multinomial_loss
from recae.training.minibatch.networks import Context
from recae.training.minibatch.variational import RecVaeNetwork, log_composite, log_normal

CONTEXT = Context(epochs=8, steps=2, n_users=7)


def make_network(depth: int = 3, **settings: object) -> RecVaeNetwork:
    config = RecVaeSettings(factors=3, hidden=5, hidden_layers=depth, gamma=0.2, dtype="float64", **settings)
    network = RecVaeNetwork(N_ITEMS, config, generator(1))
    with torch.no_grad():  # nothing should be 0 or 1 in a test, nor the old encoder the new
        for parameter in network.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=network.generator))
    network.generator = generator(7)
    return network


def loop_encoder(encoder, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance, from sums written out."""
    weight, bias = encoder.first.rows.weight.detach().numpy(), encoder.first.bias.detach().numpy()
    z, hidden = loop_layer(x, weight, bias), []
    for layer, norm in zip(encoder.dense, encoder.norms, strict=True):
        h = np.empty_like(z)
        for b in range(len(z)):
            row = [z[b, k] + sum(before[b, k] for before in hidden) for k in range(z.shape[1])]
            row = [value / (1 + np.exp(-value)) for value in row]
            mean = sum(row) / len(row)
            variance = sum((value - mean) ** 2 for value in row) / len(row)
            for k, value in enumerate(row):
                gain, shift = norm.weight[k].item(), norm.bias[k].item()
                h[b, k] = gain * (value - mean) / np.sqrt(variance + 0.1) + shift
        hidden.append(h)
        z = loop_layer(h, layer.weight.detach().numpy().T, layer.bias.detach().numpy())
    return z[:, :3], z[:, 3:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": 0}, "factors"),
        ({"hidden": 0}, "hidden"),
        ({"hidden_layers": 0}, "hidden_layers"),
        ({"gamma": -0.1}, "gamma"),
        ({"encoder_epochs": 0}, "encoder_epochs"),
        ({"decoder_epochs": -1}, "decoder_epochs"),
        ({"dropout": 1}, "dropout"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        RecVaeSettings(**settings)


def test_composite_prior_is_the_mixture():
    rng = np.random.default_rng(0)
    z, mean, log_variance = rng.normal(0, 3, (3, 4, 5))
    normals = [
        scipy.stats.norm.logpdf(z),
        scipy.stats.norm.logpdf(z, mean, np.exp(log_variance / 2)),
        scipy.stats.norm.logpdf(z, 0, np.exp(5)),
    ]
    shares = np.array([0.15, 0.75, 0.1])[:, None, None]
    expected = scipy.special.logsumexp(normals, axis=0, b=shares)
    found = log_composite(*(torch.from_numpy(array) for array in (z, mean, log_variance)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    one = log_normal(*(torch.from_numpy(array) for array in (z, mean, log_variance)))
    np.testing.assert_allclose(one, normals[1], rtol=1e-12)


def test_composite_prior_holds_far_from_every_component():
    far = torch.full((1, 1), 1e4, dtype=torch.float64)
    assert torch.isfinite(log_composite(far, torch.zeros_like(far), torch.full_like(far, -30.0))).all()


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_encoder_is_the_plain_loop(depth):
    network, batch = make_network(depth), make_noisy()
    found = network.encoder(batch)
    for part, expected in zip(found, loop_encoder(network.encoder, dense_inputs(batch)), strict=True):
        np.testing.assert_allclose(part.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [0.5, 0.2])
def test_penalty_weighs_each_users_divergence_by_their_purchases(power):
    network, batch = make_network(input_power=power), make_noisy(input_power=power)
    mean, log_variance = loop_encoder(network.encoder, dense_inputs(batch))
    noise = torch.empty(len(USERS), 3, dtype=torch.float64).normal_(generator=generator(7)).numpy()
    z = mean + np.exp(log_variance / 2) * noise
    x = MATRIX[USERS].toarray().astype(np.float64)
    old_mean, old_log_variance = loop_encoder(
        network.old, x / x.sum(1, keepdims=True) ** power
    )  # without noise
    expected = 0.0
    for b in range(len(z)):
        for k in range(3):
            prior = sum(
                share * scipy.stats.norm.pdf(z[b, k], m, np.exp(v / 2))
                for share, m, v in (
                    (0.15, 0, 0),
                    (0.75, old_mean[b, k], old_log_variance[b, k]),
                    (0.1, 0, 10),
                )
            )
            q = scipy.stats.norm.logpdf(z[b, k], mean[b, k], np.exp(log_variance[b, k] / 2))
            expected += 0.2 * x[b].sum() * (q - np.log(prior))
    H, penalty = network(batch)
    np.testing.assert_allclose(H.detach(), z, rtol=1e-9)
    assert penalty.item() == pytest.approx(expected)
    penalty.backward()
    assert all(parameter.grad is None for parameter in network.old.parameters())
    assert any(parameter.grad.abs().max() > 0 for parameter in network.encoder.parameters())


def test_penalty_weighs_each_users_divergence_by_their_weighted_purchases():
    network, batch = make_network(), make_noisy()
    _, plain = network(replace(batch, own=torch.ones_like(batch.own)))
    network.generator = generator(7)
    _, doubled = network(replace(batch, own=2 * torch.ones_like(batch.own)))
    assert doubled.item() == pytest.approx(2 * plain.item())


def test_gradient_is_that_of_the_plain_bound():
    network, batch = make_network(), make_noisy()
    W = torch.empty(N_ITEMS, 3, dtype=torch.float64).normal_(generator=generator(5)).requires_grad_()
    bias = torch.empty(N_ITEMS, dtype=torch.float64).normal_(generator=generator(6)).requires_grad_()
    parameters = [W, bias, *network.encoder.parameters()]
    H, penalty = network(batch)
    found = multinomial_loss(H, W, bias, batch) + penalty
    gradients = torch.autograd.grad(found, parameters)

    def plain_encoder(encoder, inputs):
        z, hidden = inputs @ encoder.first.rows.weight + encoder.first.bias, []
        for layer, norm in zip(encoder.dense, encoder.norms, strict=True):
            s = torch.stack([z, *hidden]).sum(0)
            s = s * torch.sigmoid(s)
            spread = torch.sqrt(s.var(1, unbiased=False, keepdim=True) + 0.1)
            hidden.append(norm.weight * (s - s.mean(1, keepdim=True)) / spread + norm.bias)
            z = hidden[-1] @ layer.weight.T + layer.bias
        return torch.distributions.Normal(z[:, :3], torch.exp(z[:, 3:] / 2))

    x = torch.from_numpy(MATRIX[USERS].toarray().astype(np.float64))
    posterior = plain_encoder(network.encoder, torch.from_numpy(dense_inputs(batch)))
    old = plain_encoder(network.old, x / x.norm(dim=1, keepdim=True))
    z = posterior.mean + posterior.stddev * torch.empty(len(USERS), 3, dtype=torch.float64).normal_(
        generator=generator(7)
    )
    means = torch.stack([torch.zeros_like(z), old.mean.detach(), torch.zeros_like(z)], -1)
    spreads = torch.stack([torch.ones_like(z), old.stddev.detach(), torch.full_like(z, np.exp(5))], -1)
    prior = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.15, 0.75, 0.1], dtype=torch.float64)),
        torch.distributions.Normal(means, spreads),
    )
    divergence = (posterior.log_prob(z) - prior.log_prob(z)).sum(1)
    likelihood = (x * torch.log_softmax(z @ W.T + bias, dim=1)).sum()
    plain = 0.2 * (x.sum(1) * divergence).sum() - likelihood
    assert found.item() == pytest.approx(plain.item())
    for gradient, expected in zip(gradients, torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_phases_alternate():
    network = make_network(encoder_epochs=2, decoder_epochs=1)
    turns = [network.phase(epoch) for epoch in range(1, 8)]
    encoder = [True, True, False, True, True, False, True]
    assert [turn.network for turn in turns] == [turn.dropout for turn in turns] == encoder
    assert [turn.output for turn in turns] == [not of_encoder for of_encoder in encoder]
    together = make_network(encoder_epochs=2, decoder_epochs=0).phase(3)
    assert (together.network, together.output, together.dropout) == (True, True, True)


@pytest.mark.parametrize(
    ("encoder_epochs", "decoder_epochs", "taken"),
    [(2, 1, [3, 6]), (1, 2, [2, 5, 8]), (3, 0, [4, 7]), (1, 0, [*range(2, 9)])],
)
def test_prior_takes_the_encoder_over_at_the_end_of_its_turn(encoder_epochs, decoder_epochs, taken):
    network = make_network(encoder_epochs=encoder_epochs, decoder_epochs=decoder_epochs)
    found = []
    for epoch in range(1, 9):
        with torch.no_grad():
            network.encoder.first.bias.fill_(epoch)
        before = network.old.first.bias.clone()
        network.begin_epoch(epoch, CONTEXT)
        if not torch.equal(before, network.old.first.bias):
            found.append(epoch)
            for old, new in zip(network.old.parameters(), network.encoder.parameters(), strict=True):
                assert torch.equal(old, new)
                assert old.data_ptr() != new.data_ptr()
    assert found == taken


def test_the_decoders_turn_has_no_penalty_and_no_gradient_for_the_encoder():
    network, batch = make_network(encoder_epochs=1, decoder_epochs=1), make_noisy(dropout=0, epoch=2)
    H, penalty = network(batch)
    assert penalty.item() == 0
    assert not H.requires_grad
    assert not torch.equal(H, network.encoder(batch)[0])  # the code is sampled there, too
    first = network(make_noisy(dropout=0, epoch=1))
    assert first[0].requires_grad
    assert first[1].item() != 0
    network.eval()
    torch.testing.assert_close(network(batch)[0], network.encoder(batch)[0])


def test_model_scores_by_the_mean_of_the_code():
    network = make_network(input_power=0.3)
    rng = np.random.default_rng(8)
    W, bias = rng.normal(size=(N_ITEMS, 3)).astype(np.float32), rng.normal(size=N_ITEMS).astype(np.float32)
    model = network.to_model(W, bias, network.config.as_dict())
    x = MATRIX[USERS].toarray().astype(np.float64)
    mean, _ = loop_encoder(network.encoder, x / x.sum(1, keepdims=True) ** 0.3)
    np.testing.assert_allclose(model.encode(MATRIX[USERS]), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.score(MATRIX[USERS]), mean @ W.T + bias, rtol=1e-4, atol=1e-5)
    many = sp.csr_matrix(sp.vstack([MATRIX[USERS]] * 10))
    np.testing.assert_allclose(model.score(many), np.tile(mean @ W.T + bias, (10, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.item_vectors, W)
    before = model.score(MATRIX)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    np.testing.assert_array_equal(model.score(MATRIX), before)
    for change, message in (
        ({"hidden": 6}, "gain_1"),
        ({"hidden_layers": 4}, "gain_4"),
        ({"hidden_layers": 2}, "encoder_2"),
        ({"hidden_layers": 10**9}, "gain_4"),
        ({"factors": 2}, "encoder_3|decoder"),
        ({"factors": None}, "factors"),
        ({"input_power": -1}, "input_power"),
    ):
        with pytest.raises(ModelFileError, match=message):
            RecVAE.from_arrays(model.config() | change, model.arrays(), N_ITEMS)


SMALL = RecVaeSettings(
    factors=8, hidden=16, hidden_layers=2, learning_rate=0.02, batch_size=16, encoder_epochs=2, seed=3
)


def test_training_moves_only_whose_turn_it_is():
    models: list[RecVAE] = []

    def validate(model: object) -> float:
        models.append(model)  # type: ignore[arg-type]
        return float(len(models))

    fit_recvae(groups(), RecVaeSettings(**{**SMALL.as_dict(), "epochs": 6}), Hooks(validate=validate))
    assert len(models) == 6
    for before, after, encoder in zip(models, models[1:], [True, False, True, True, False], strict=False):
        for name, array in before.arrays().items():
            moved = array.tobytes() != after.arrays()[name].tobytes()
            assert moved == (encoder != name.startswith("decoder")), name


def test_training_finds_the_groups():
    config = RecVaeSettings(**{**SMALL.as_dict(), "epochs": 45})
    seen: list[Epoch] = []
    model, epochs = fit_recvae(groups(), config, Hooks(on_epoch=seen.append))
    assert seen == epochs
    assert model.config() == resolve_recvae(config, groups()).as_dict()
    best = np.argsort(-model.score(groups()), axis=1)[:, :6]
    assert (best // 6 == np.arange(80)[:, None] // 20).mean() > 0.95
    again, _ = fit_recvae(groups(), config, Hooks())
    assert all(array.tobytes() == again.arrays()[name].tobytes() for name, array in model.arrays().items())


def test_training_on_a_sample_of_the_items():
    model, epochs = fit_recvae(
        groups(), RecVaeSettings(**{**SMALL.as_dict(), "epochs": 6, "sampled": 6}), Hooks()
    )
    assert np.isfinite(model.score(groups())).all()
    assert len(epochs) == 6
