"""Mult-VAE: configuration, network and model, each against a plain form of the same formula."""

import numpy as np
import pytest
import scipy.integrate
import scipy.sparse as sp
import scipy.stats
import torch

from recae.errors import ConfigError, ModelFileError
from recae.kinds import model_class
from recae.models import MultVAE
from recae.models.vae import parse_layers
from recae.training.batches import make_batch
from recae.training.callbacks import Hooks
from recae.training.kinds.recvae import RecVaeSettings, resolve_recvae
from recae.training.kinds.vae import MultVaeSettings, fit_multvae, resolve_multvae
from recae.training.minibatch.losses import multinomial_loss
from recae.training.minibatch.variational import MultVaeNetwork, normal_divergence, sample

N_ITEMS = 11
MATRIX = sp.random(7, N_ITEMS, 0.4, format="csr", random_state=1, dtype=np.float32)
MATRIX.data[:] = 1
USERS = np.array([4, 0, 6, 2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_network(layers: str = "5,3", **settings: object) -> MultVaeNetwork:
    config = MultVaeSettings(layers=layers, beta=0.7, dtype="float64", **settings)
    network = MultVaeNetwork(N_ITEMS, config, generator(1), annealing=10)
    with torch.no_grad():  # no bias should be 0 in a test
        for parameter in network.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator(2)))
    return network


def make_noisy(dropout: float = 0.5, input_power: float = 0.5, epoch: int = 1):
    rng = np.random.default_rng(3)
    return make_batch(
        MATRIX,
        USERS,
        dropout=dropout,
        input_power=input_power,
        emphasis=1,
        rng=rng,
        dtype=torch.float64,
        device="cpu",
        epoch=epoch,
        step=4,
    )


def dense_inputs(batch) -> np.ndarray:
    x = np.zeros((batch.users, N_ITEMS))
    x[batch.rows.numpy(), batch.items.numpy()] = batch.inputs.numpy()
    return x


def loop_layer(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A dense layer one number at a time; weight (in, out)."""
    out = np.empty((len(x), len(bias)))
    for b in range(len(x)):
        for k in range(len(bias)):
            out[b, k] = bias[k] + sum(x[b, i] * weight[i, k] for i in range(len(weight)))
    return out


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        *[("600,200", [600, 200]), (" 5 , 2 ", [5, 2]), ("7", [7])],
        *[(text, None) for text in ("2,5", "5,5", "0", "", "5,", "a", "-3", "2.5", 5, None, "²", "9" * 5000)],
    ],
)
def test_layers(text, sizes):
    assert parse_layers(text) == sizes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "200,600"}, "layers is a list of whole numbers .* found '200,600'"),
        ({"layers": "20000"}, "layers"),
        ({"layers": ""}, "layers"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"dropout": 1.0}, "dropout"),
        ({"emphasis": -1}, "emphasis"),
        ({"input_power": 1.5}, "input_power"),
        ({"sampled": -1}, "sampled"),
        ({"l2": -0.1}, "l2"),
        ({"encoder_scale": 0}, "encoder_scale"),
        ({"decoder_scale": -1}, "decoder_scale"),
        ({"patience": 0}, "patience"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"dtype": "float16"}, "dtype is one of float32, float64, found 'float16'"),
        ({"beta": -1}, "beta"),
        ({"anneal": 1.1}, "anneal"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        MultVaeSettings(**settings)


def matrix_of(n_users: int, n_items: int) -> sp.csr_matrix:
    rows = np.arange(n_users)
    return sp.csr_matrix((np.ones(n_users, np.float32), (rows, rows % n_items)), shape=(n_users, n_items))


@pytest.mark.parametrize("n_users", [1, 30, 1000, 30_000, 1_000_000])
@pytest.mark.parametrize(
    ("resolve", "config"), [(resolve_multvae, MultVaeSettings), (resolve_recvae, RecVaeSettings)]
)
def test_presets_leave_nothing_open(n_users, resolve, config):
    resolved = resolve(config(), matrix_of(n_users, 500))
    assert None not in resolved.as_dict().values()
    assert 1 <= resolved.batch_size <= n_users
    assert resolved.sampled == 0
    assert resolve(resolved, matrix_of(5, 5)) == resolved


def test_presets_follow_the_data():
    small, large = (resolve_multvae(MultVaeSettings(), matrix_of(n, 500)) for n in (1000, 1_000_000))
    assert small.epochs > large.epochs
    assert small.batch_size < large.batch_size
    assert (small.beta, large.beta) == (0.01, 0.2)
    assert resolve_multvae(MultVaeSettings(), matrix_of(100, 300_001)).sampled > 0
    assert resolve_multvae(MultVaeSettings(sampled=0), matrix_of(100, 300_001)).sampled == 0
    recvae = resolve_recvae(RecVaeSettings(encoder_epochs=4, decoder_epochs=3), matrix_of(1000, 500))
    assert recvae.epochs % 7 == 0  # whole turns
    assert resolve_multvae(MultVaeSettings(epochs=3, beta=0.0), matrix_of(100, 50)).as_dict()["epochs"] == 3
    assert resolve_multvae(MultVaeSettings(beta=0.0), matrix_of(100, 50)).beta == 0


def test_divergence_is_the_integral():
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    expected = np.zeros(3)
    for b in range(3):
        for k in range(2):
            q = scipy.stats.norm(mean[b, k], np.exp(log_variance[b, k] / 2))

            def integrand(z: float, q=q) -> float:
                return q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z))

            expected[b] += scipy.integrate.quad(integrand, -30, 30, points=[q.mean()], limit=200)[0]
    found = normal_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance))
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_samples_have_the_posteriors_moments():
    mean = torch.tensor([[1.0, -2.0]], dtype=torch.float64).repeat(40_000, 1)
    log_variance = torch.tensor([[0.0, -2.0]], dtype=torch.float64).repeat(40_000, 1)
    drawn = sample(mean, log_variance, generator())
    np.testing.assert_allclose(drawn.mean(0), [1, -2], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), [1, np.exp(-1)], rtol=0.02)
    assert torch.equal(drawn, sample(mean, log_variance, generator()))


@pytest.mark.parametrize(
    ("step", "beta"), [(0, 0.0), (1, 0.07), (5, 0.35), (10, 0.7), (11, 0.7), (1000, 0.7)]
)
def test_beta_rises_in_a_straight_line_to_its_cap(step, beta):
    assert make_network().beta(step) == pytest.approx(beta)


def test_without_annealing_beta_is_at_its_cap_from_the_start():
    network = MultVaeNetwork(N_ITEMS, MultVaeSettings(layers="3", beta=0.4), generator(), annealing=0)
    assert network.beta(0) == 0.4


@pytest.mark.parametrize("layers", ["3", "5,3", "6,4,2"])
def test_network_is_the_plain_loop(layers):
    network, batch = make_network(layers), make_noisy()
    size = int(layers.split(",")[-1])
    z = loop_layer(
        dense_inputs(batch), network.first.rows.weight.detach().numpy(), network.first.bias.detach().numpy()
    )
    for layer in network.encoder:
        z = loop_layer(np.tanh(z), layer.weight.detach().numpy().T, layer.bias.detach().numpy())
    mean, log_variance = z[:, :size], z[:, size:]
    noise = torch.empty(len(z), size, dtype=torch.float64).normal_(generator=generator(7)).numpy()
    for training in (True, False):
        network.train(training)
        network.generator = generator(7)
        h = mean + np.exp(log_variance / 2) * noise if training else mean
        for layer in network.decoder:
            h = np.tanh(loop_layer(h, layer.weight.detach().numpy().T, layer.bias.detach().numpy()))
        found, penalty = network(batch)
        np.testing.assert_allclose(found.detach(), h, rtol=1e-10)
        assert found.shape == (len(USERS), network.size)
        terms = mean**2 + np.exp(log_variance) - log_variance - 1
        assert penalty.item() == pytest.approx(0.28 * terms.sum() / 2)


@pytest.mark.parametrize("layers", ["3", "5,3"])
def test_gradient_is_that_of_the_plain_bound(layers):
    network, batch = make_network(layers), make_noisy()
    network.generator = generator(7)
    W = (
        torch.empty(N_ITEMS, network.size, dtype=torch.float64)
        .normal_(generator=generator(5))
        .requires_grad_()
    )
    bias = torch.empty(N_ITEMS, dtype=torch.float64).normal_(generator=generator(6)).requires_grad_()
    parameters = [W, bias, *network.parameters()]
    H, penalty = network(batch)
    found = multinomial_loss(H, W, bias, batch) + penalty
    gradients = torch.autograd.grad(found, parameters)

    z = torch.from_numpy(dense_inputs(batch)) @ network.first.rows.weight + network.first.bias
    for layer in network.encoder:
        z = torch.tanh(z) @ layer.weight.T + layer.bias
    mean, log_variance = torch.tensor_split(z, 2, dim=1)
    posterior = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    noise = torch.empty_like(mean).normal_(generator=generator(7))
    h = mean + posterior.stddev * noise
    for layer in network.decoder:
        h = torch.tanh(h @ layer.weight.T + layer.bias)
    x = torch.from_numpy(MATRIX[USERS].toarray().astype(np.float64))
    likelihood = (x * torch.log_softmax(h @ W.T + bias, dim=1)).sum()
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
    plain = 0.7 * 4 / 10 * divergence - likelihood  # step 4 of 10 to β = .7
    assert found.item() == pytest.approx(plain.item())
    for gradient, expected in zip(gradients, torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(gradient, expected)


def make_model(layers: str = "5,3", power: float = 0.3) -> tuple[MultVaeNetwork, MultVAE]:
    network = make_network(layers, input_power=power)
    rng = np.random.default_rng(8)
    W = rng.normal(size=(N_ITEMS, network.size)).astype(np.float32)
    bias = rng.normal(size=N_ITEMS).astype(np.float32)
    return network, network.to_model(W, bias, network.config.as_dict())


@pytest.mark.parametrize("layers", ["3", "5,3", "6,4,2"])
@pytest.mark.parametrize("copies", [1, 20])  # few rows are decoded by another kernel than many
def test_model_scores_by_the_mean_of_the_code(layers, copies):
    network, model = make_model(layers)
    batch = make_noisy(dropout=0, input_power=0.3)
    network.eval()
    with torch.no_grad():
        H, _ = network(batch)
    histories = sp.csr_matrix(sp.vstack([MATRIX[USERS]] * copies))
    expected = np.tile(H.numpy() @ model.decoder.T + model.decoder_bias, (copies, 1))
    np.testing.assert_allclose(model.score(histories), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.encode(MATRIX[USERS]), H, rtol=1e-4, atol=1e-6)
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in model.arrays().values())
    # the layers that only give the variance are not kept
    sizes = [int(size) for size in layers.split(",")]
    assert model.encoder.shape == (N_ITEMS, sizes[0])
    assert [weight.shape[1] for weight, _ in model.encoder_dense] == sizes[1:]


def test_a_model_does_not_change_with_its_network():
    network, model = make_model()
    before = model.score(MATRIX).copy()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    np.testing.assert_array_equal(model.score(MATRIX), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "3,5"}, "'layers' as narrowing sizes"),
        ({"layers": None}, "'layers'"),
        ({"layers": "5,2"}, "encoder_1"),
        ({"layers": "5"}, "decoder|encoder"),
        ({"input_power": 2}, "input_power"),
        ({"input_power": "half"}, "input_power"),
    ],
)
def test_a_configuration_that_does_not_fit_its_arrays(change, message):
    _, model = make_model()
    config = model.config() | change
    arrays = model.arrays()
    if change.get("layers") == "5":  # arrays that nobody asks for are no error by themselves
        arrays["encoder"] = arrays["encoder"][:, :4].copy()
    with pytest.raises(ModelFileError, match=message):
        MultVAE.from_arrays(config, arrays, N_ITEMS)


@pytest.mark.parametrize("name", ["encoder", "encoder_1", "decoder_1_bias", "decoder_bias"])
def test_weights_that_are_not_finite(name):
    _, model = make_model()
    arrays = {key: array.copy() for key, array in model.arrays().items()}
    arrays[name].flat[0] = np.nan
    with pytest.raises(ModelFileError, match=f"'{name}' holds values that are not finite"):
        MultVAE.from_arrays(model.config(), arrays, N_ITEMS)


def groups() -> sp.csr_matrix:
    """Twenty users of each of four groups, who own five of their group's six items."""
    of_user = np.arange(80) // 20
    owned = of_user[:, None] == np.arange(24) // 6
    owned[np.arange(80), of_user * 6 + np.arange(80) % 6] = False
    return sp.csr_matrix(owned.astype(np.float32))


@pytest.mark.parametrize("layers", [pytest.param("8", marks=pytest.mark.thorough), "12,6"])
def test_training_finds_the_groups(layers):
    config = MultVaeSettings(layers=layers, epochs=25, learning_rate=0.03, batch_size=16, seed=3)
    model, epochs = fit_multvae(groups(), config, Hooks())
    assert isinstance(model, model_class("multvae"))
    assert model.config() == resolve_multvae(config, groups()).as_dict()
    assert len(epochs) == 25
    assert epochs[-1].loss < 0.8 * epochs[0].loss
    best = np.argsort(-model.score(groups()), axis=1)[:, :6]
    assert (best // 6 == np.arange(80)[:, None] // 20).mean() > 0.95
    again, _ = fit_multvae(groups(), config, Hooks())
    assert all(array.tobytes() == again.arrays()[name].tobytes() for name, array in model.arrays().items())
    other, _ = fit_multvae(groups(), MultVaeSettings(**{**config.as_dict(), "seed": 4}), Hooks())
    assert other.score(groups()).tobytes() != model.score(groups()).tobytes()


def test_training_on_a_sample_of_the_items():
    config = MultVaeSettings(layers="8", epochs=30, learning_rate=0.03, batch_size=16, sampled=12, seed=3)
    model, _ = fit_multvae(groups(), config, Hooks())
    best = np.argsort(-model.score(groups()), axis=1)[:, :6]
    assert (best // 6 == np.arange(80)[:, None] // 20).mean() > 0.9
