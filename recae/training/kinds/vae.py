"""Mult-VAE's network, in PyTorch, and what variational networks share: layers, sampling, divergence from the prior."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recae.models import Model, MultVAE
from recae.models.vae import Layers
from recae.training.batches import Batch
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.vae_config import MultVaeConfig, VaeConfig, resolve_multvae
from recae.training.minibatch.networks import FirstLayer, Network, to_numpy
from recae.training.minibatch.trainer import fit_minibatch


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) summed over the code: (B, d), (B, d) → (B,).

    ½ Σ (mean² + variance − log variance − 1) (Kingma and Welling, 2013, arXiv:1312.6114, appendix B).
    """
    return 0.5 * (mean * mean + log_variance.exp() - log_variance - 1).sum(1)


def sample(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """mean + e^(½ log_variance) ε with ε ~ N(0, 1) from the generator: (B, d)."""
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + noise * (0.5 * log_variance).exp()


def dense_layers(sizes: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> nn.ModuleList:
    """Linear layers from each size to the next; weights of variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    layers = nn.ModuleList()
    for n_in, n_out in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, n_in, n_out, dtype=dtype)
        with torch.no_grad():
            layer.weight.normal_(0, math.sqrt(2 / (n_in + n_out)), generator=generator)
            layer.bias.zero_()
        layers.append(layer)
    return layers


def first_layer(n_items: int, size: int, config: VaeConfig, generator: torch.Generator) -> FirstLayer:
    """The layer (n_items, size) that a history enters; where items are sampled, no step should touch them all here."""
    deviation, dtype = config.encoder_scale / math.sqrt(size), getattr(torch, config.dtype)
    sparse = bool(config.sampled)
    return FirstLayer(n_items, size, generator, deviation=deviation, sparse=sparse, dtype=dtype)


class MultVaeNetwork(Network):
    """Mult-VAE: a Gaussian code between tanh layers, its divergence from N(0, 1) weighted by an annealed β."""

    def __init__(
        self, n_items: int, config: MultVaeConfig, generator: torch.Generator, annealing: float
    ) -> None:
        """`annealing` is the number of steps over which β rises from 0 to its cap."""
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
        """Mean and log-variance of the codes, (B, d) each."""
        z = self.first(batch)
        for layer in self.encoder:
            z = layer(torch.tanh(z))
        return z[:, : self._code], z[:, self._code :]

    def beta(self, step: int) -> float:
        """Weight of the divergence at a step of the training, from 0."""
        return self._cap * (min(1.0, step / self._annealing) if self._annealing else 1.0)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Last hidden layer (B, D) and β Σ KL."""
        mean, log_variance = self.posterior(batch)
        h = sample(mean, log_variance, self.generator) if self.training else mean
        for layer in self.decoder:
            h = torch.tanh(layer(h))
        return h, self.beta(batch.step) * normal_divergence(mean, log_variance).sum()

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> MultVAE:
        """The model: of the layer that gives mean and log-variance, the mean's half."""
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
    """Weights (in, out) and bias (out,) of linear layers."""
    return tuple((to_numpy(layer.weight.T), to_numpy(layer.bias)) for layer in layers)


def first_columns(layer: tuple[Any, Any], number: int) -> tuple[Any, Any]:
    """A dense layer less its later outputs."""
    return np.ascontiguousarray(layer[0][:, :number]), layer[1][:number].copy()


def fit_multvae(matrix: sp.csr_matrix, config: MultVaeConfig, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Trains Mult-VAE on the rows of `matrix` ((U, I) CSR pattern); see `fit_minibatch`."""
    resolved = resolve_multvae(config, matrix)
    users = int((np.diff(matrix.indptr) > 0).sum())
    steps = int(resolved.epochs or 0) * -(-users // int(resolved.batch_size or 1))
    annealing = resolved.anneal * steps
    return fit_minibatch(
        matrix,
        resolved,
        hooks,
        lambda n_items, config, generator: MultVaeNetwork(n_items, config, generator, annealing),
    )
