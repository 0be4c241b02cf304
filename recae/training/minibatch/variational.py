"""Networks of the variational autoencoders: Mult-VAE, and RecVAE with its composite prior."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recae.models import MultVAE, RecVAE
from recae.models.vae import NORM_EPSILON, Layers
from recae.training.batches import Batch
from recae.training.exact.block_kernels import sums
from recae.training.minibatch.networks import Context, FirstLayer, Network, Phase, drawn, to_numpy


class VaeSettings(Protocol):
    """Settings that all networks here read."""

    @property
    def input_power(self) -> float:
        """p: a history of m items enters as x/m^p."""

    @property
    def encoder_scale(self) -> float:
        """Standard deviation of the first layer's first weights, times √n."""

    @property
    def sampled(self) -> int | None:
        """Number of sampled items of a step; 0: all items."""

    @property
    def dtype(self) -> str:
        """Of the parameters."""


class MultVaeSettings(VaeSettings, Protocol):
    """Settings that Mult-VAE's network reads."""

    @property
    def sizes(self) -> list[int]:
        """Of the layers, from the items to the code."""

    @property
    def beta(self) -> float | None:
        """Largest weight of the divergence."""


class RecVaeSettings(VaeSettings, Protocol):
    """Settings that RecVAE's network reads."""

    @property
    def factors(self) -> int:
        """Size of the code."""

    @property
    def hidden(self) -> int:
        """Size of the hidden layers."""

    @property
    def hidden_layers(self) -> int:
        """Number of hidden layers."""

    @property
    def gamma(self) -> float | None:
        """Weight of the divergence a purchase."""

    @property
    def encoder_epochs(self) -> int:
        """Epochs of the encoder in a turn."""

    @property
    def decoder_epochs(self) -> int:
        """Epochs of the decoder in a turn."""


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) ‖ N(0, 1)) summed over the code: (B, d), (B, d) → (B,).

    ½ Σ (mean² + variance − log variance − 1) (Kingma and Welling, 2013, arXiv:1312.6114, appendix B).
    """
    return 0.5 * (mean * mean + log_variance.exp() - log_variance - 1).sum(1)


def sample(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Return mean + e^(½ log_variance) ε with ε ~ N(0, 1) from the generator: (B, d)."""
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + noise * (0.5 * log_variance).exp()


def dense_layers(sizes: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> nn.ModuleList:
    """Return linear layers from each size to the next; weights of variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    layers = nn.ModuleList()
    for n_in, n_out in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, n_in, n_out, dtype=dtype)
        with torch.no_grad():
            drawn(layer.weight, math.sqrt(2 / (n_in + n_out)), generator)
            layer.bias.zero_()
        layers.append(layer)
    return layers


def first_layer(n_items: int, size: int, config: VaeSettings, generator: torch.Generator) -> FirstLayer:
    """Return the layer (n_items, size) that a history enters; sparse where items are sampled."""
    deviation, dtype = config.encoder_scale / math.sqrt(size), getattr(torch, config.dtype)
    sparse = bool(config.sampled)
    return FirstLayer(n_items, size, generator, deviation=deviation, sparse=sparse, dtype=dtype)


class MultVaeNetwork(Network):
    """Mult-VAE: a Gaussian code between tanh layers, its divergence from N(0, 1) weighted by an annealed β."""

    def __init__(
        self, n_items: int, config: MultVaeSettings, generator: torch.Generator, annealing: float
    ) -> None:
        """Draw the first weights.

        Args:
            n_items: I.
            config: settings of the kind.
            generator: of the random numbers.
            annealing: number of steps over which β rises from 0 to its cap.
        """
        sizes = config.sizes
        wide = [*sizes[:-1], 2 * sizes[-1]]  # mean and log-variance come out of one layer
        super().__init__()
        self._code, self.size = sizes[-1], sizes[0]
        self.config, self.generator = config, generator
        self.first = first_layer(n_items, wide[0], config, generator)
        self.encoder = dense_layers(wide, self.first.bias.dtype, generator)
        self.decoder = dense_layers(sizes[::-1], self.first.bias.dtype, generator)
        self._cap, self._annealing = float(config.beta or 0), annealing

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the codes, (B, d) each."""
        z = self.first(batch)
        for layer in self.encoder:
            z = layer(torch.tanh(z))
        return z[:, : self._code], z[:, self._code :]

    def beta(self, step: int) -> float:
        """Return the weight of the divergence at a step of the training, from 0."""
        return self._cap * (min(1.0, step / self._annealing) if self._annealing else 1.0)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the last hidden layer (B, D) and β Σ KL."""
        mean, log_variance = self.posterior(batch)
        h = sample(mean, log_variance, self.generator) if self.training else mean
        for layer in self.decoder:
            h = torch.tanh(layer(h))
        return h, self.beta(batch.step) * normal_divergence(mean, log_variance).sum()

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> MultVAE:
        """Return the model: of the layer that gives mean and log-variance, the mean's half."""
        layers = ((to_numpy(self.first.rows.weight), to_numpy(self.first.bias)), *layers_of(self.encoder))
        (weight, first_bias), *dense = *layers[:-1], first_columns(layers[-1], self._code)
        return MultVAE(
            encoder=weight,
            encoder_bias=first_bias,
            encoder_dense=tuple(dense),
            decoder=W,
            decoder_bias=bias,
            input_power=self.config.input_power,
            settings=dict(settings),
            decoder_dense=layers_of(self.decoder),
        )


def layers_of(layers: Iterable[Any]) -> Layers:
    """Return the weights (in, out) and bias (out,) of linear layers."""
    return tuple((to_numpy(layer.weight.T), to_numpy(layer.bias)) for layer in layers)


def first_columns(layer: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    """Return a dense layer less its later outputs."""
    return np.ascontiguousarray(layer[0][:, :number]), layer[1][:number].copy()


MIXTURE = (3 / 20, 3 / 4, 1 / 10)
"""Weights of the parts of RecVAE's prior: the standard normal, the posterior of the last encoder, the wide normal."""

WIDE = 10.0
"""Log-variance of the wide normal."""


def log_normal(z: Tensor, mean: Tensor | float, log_variance: Tensor) -> Tensor:
    """Return log N(z; mean, variance), element by element."""
    return -0.5 * (math.log(2 * math.pi) + log_variance + (z - mean) ** 2 / log_variance.exp())


def log_composite(z: Tensor, old_mean: Tensor, old_log_variance: Tensor) -> Tensor:
    """Return the log density of RecVAE's prior, each dimension a mixture of its own: (B, d) three times → (B, d).

    MIXTURE of N(0, 1), N(old_mean, old variance) and N(0, e^WIDE) (Shenbin et al., 2020, section 3.3, and their
    code).
    """
    zero = torch.zeros_like(z)
    parts = (
        log_normal(z, 0.0, zero),
        log_normal(z, old_mean, old_log_variance),
        log_normal(z, 0.0, zero + WIDE),
    )
    weighted = [part + math.log(weight) for part, weight in zip(parts, MIXTURE, strict=True)]
    return torch.logsumexp(torch.stack(weighted), dim=0)


class RecEncoder(nn.Module):
    """RecVAE's encoder: h_k = norm_k(swish(z_k + h_1 + … + h_{k−1})), as `models.vae.RecVAE` has it."""

    def __init__(self, n_items: int, config: RecVaeSettings, generator: torch.Generator) -> None:
        """Draw the first weights."""
        super().__init__()
        hidden = [config.hidden] * config.hidden_layers
        self.first = first_layer(n_items, config.hidden, config, generator)
        dtype = self.first.bias.dtype
        self.dense = dense_layers([*hidden, 2 * config.factors], dtype, generator)
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=NORM_EPSILON, dtype=dtype) for size in hidden)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the codes, (B, d) each."""
        z = self.first(batch)
        before = torch.zeros_like(z)
        for layer, norm in zip(self.dense, self.norms, strict=True):
            h = norm(functional.silu(z + before))
            before = before + h
            z = layer(h)
        mean, log_variance = z.chunk(2, dim=1)
        return mean, log_variance


class RecVaeNetwork(Network):
    """RecVAE: the divergence from a composite prior, weighted by γ times a user's purchases.

    Encoder and decoder learn in turn, and the prior takes the encoder over when its turn ends.
    """

    def __init__(self, n_items: int, config: RecVaeSettings, generator: torch.Generator) -> None:
        """Draw the first weights; the prior's encoder begins as a copy of the encoder."""
        super().__init__()
        self.config, self.generator, self.size = config, generator, config.factors
        self.encoder = RecEncoder(n_items, config, generator)
        self.old = copy.deepcopy(self.encoder).requires_grad_(False)
        self.old.first.rows.sparse = False  # no optimiser is to look after it

    def phase(self, epoch: int) -> Phase:
        """Return what an epoch trains: the encoder with dropout, then the output without; both if it has no turn."""
        if self.config.decoder_epochs == 0:
            return Phase()
        encoder = self._place(epoch) < self.config.encoder_epochs
        return Phase(network=encoder, output=not encoder, dropout=encoder)

    def begin_epoch(self, epoch: int, context: Context) -> None:
        """Let the prior take over the encoder at the end of its turn, also when both learn together."""
        if self._place(epoch) == self.config.encoder_epochs % self._cycle and epoch > 1:
            self.old.load_state_dict(self.encoder.state_dict())

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the code (B, d) and the penalty: 0 in the decoder's turn, whose parameters do not change it."""
        mean, log_variance = self.encoder(batch)
        z = sample(mean, log_variance, self.generator) if self.training else mean
        if not self.phase(batch.epoch).network:
            return z.detach(), z.new_zeros(())
        return z, self.penalty(batch, z, mean, log_variance)

    def penalty(self, batch: Batch, z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return γ Σ_b ‖x_b‖₁ Σ (log q − log p) of the sampled codes z, x_b with confidence.

        The prior's encoder sees histories without dropout.
        """
        sizes = torch.diff(batch.offsets).clamp(min=1).to(z.dtype)
        clean = batch.targets / sizes[batch.rows] ** self.config.input_power
        with torch.no_grad():
            old = self.old(replace(batch, inputs=clean))
        divergence = (log_normal(z, mean, log_variance) - log_composite(z, *old)).sum(1)
        mass = sums(batch.targets * batch.own, batch.offsets)
        return (self.config.gamma or 0.0) * (mass * divergence).sum()

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> RecVAE:
        """Return the model: of the encoder's last layer, the mean's half."""
        dense = layers_of(self.encoder.dense)
        norms = [norm for norm in self.encoder.norms if isinstance(norm, nn.LayerNorm)]
        return RecVAE(
            encoder=to_numpy(self.encoder.first.rows.weight),
            encoder_bias=to_numpy(self.encoder.first.bias),
            encoder_dense=(*dense[:-1], first_columns(dense[-1], self.size)),
            decoder=W,
            decoder_bias=bias,
            input_power=self.config.input_power,
            settings=dict(settings),
            norms=tuple((to_numpy(norm.weight), to_numpy(norm.bias)) for norm in norms),
        )

    @property
    def _cycle(self) -> int:
        return self.config.encoder_epochs + self.config.decoder_epochs

    def _place(self, epoch: int) -> int:
        return (epoch - 1) % self._cycle
