"""RecVAE's network: densely connected encoder, composite prior, encoder and decoder in turn."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recae.models import Model, RecVAE
from recae.models.vae import NORM_EPSILON
from recae.training.batches import Batch
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.vae import dense_layers, first_columns, first_layer, layers_of, sample
from recae.training.kinds.vae_config import RecVaeConfig, resolve_recvae
from recae.training.minibatch.networks import Context, Network, Phase, to_numpy
from recae.training.minibatch.trainer import fit_minibatch

MIXTURE = (3 / 20, 3 / 4, 1 / 10)
"""Shares of RecVAE's prior: the standard normal, the posterior of the last encoder, the wide normal."""

WIDE = 10.0
"""Log-variance of the wide normal."""


def log_normal(z: Tensor, mean: Tensor | float, log_variance: Tensor) -> Tensor:
    """log N(z; mean, variance), element by element."""
    return -0.5 * (math.log(2 * math.pi) + log_variance + (z - mean) ** 2 / log_variance.exp())


def log_composite(z: Tensor, old_mean: Tensor, old_log_variance: Tensor) -> Tensor:
    """log density of RecVAE's prior, each dimension a mixture of its own: (B, d) three times → (B, d).

    MIXTURE of N(0, 1), N(old_mean, old variance) and N(0, e^WIDE) (Shenbin et al., 2020, section 3.3, and their code).
    """
    zero = torch.zeros_like(z)
    parts = (
        log_normal(z, 0.0, zero),
        log_normal(z, old_mean, old_log_variance),
        log_normal(z, 0.0, zero + WIDE),
    )
    weighted = [part + math.log(share) for part, share in zip(parts, MIXTURE, strict=True)]
    return torch.logsumexp(torch.stack(weighted), dim=0)


class RecEncoder(nn.Module):
    """RecVAE's encoder: h_k = norm_k(swish(z_k + h_1 + … + h_{k−1})), as `models.vae.RecVAE` has it."""

    def __init__(self, n_items: int, config: RecVaeConfig, generator: torch.Generator) -> None:
        super().__init__()
        hidden = [config.hidden] * config.hidden_layers
        self.first = first_layer(n_items, config.hidden, config, generator)
        dtype = self.first.bias.dtype
        self.dense = dense_layers([*hidden, 2 * config.factors], dtype, generator)
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=NORM_EPSILON, dtype=dtype) for size in hidden)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the codes, (B, d) each."""
        z = self.first(batch)
        before = torch.zeros_like(z)
        for layer, norm in zip(self.dense, self.norms, strict=True):
            h = norm(functional.silu(z + before))
            before = before + h
            z = layer(h)
        mean, log_variance = z.chunk(2, dim=1)
        return mean, log_variance


class RecVaeNetwork(Network):
    """RecVAE: the divergence from a composite prior, weighted by γ times a user's purchases; encoder and decoder learn
    in turn, and the prior takes the encoder over when its turn ends.
    """

    def __init__(self, n_items: int, config: RecVaeConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.generator, self.size = config, generator, config.factors
        self.encoder = RecEncoder(n_items, config, generator)
        self.old = copy.deepcopy(self.encoder).requires_grad_(False)
        self.old.first.rows.sparse = False  # no optimiser is to look after it

    def phase(self, epoch: int) -> Phase:
        """Epochs of the encoder with noise, then of the output without; of both, always, if the output has none."""
        if self.config.decoder_epochs == 0:
            return Phase()
        encoder = self._place(epoch) < self.config.encoder_epochs
        return Phase(network=encoder, output=not encoder, noise=encoder)

    def begin_epoch(self, epoch: int, context: Context) -> None:
        """The prior takes over the encoder at the end of its turn, also when both learn together."""
        if self._place(epoch) == self.config.encoder_epochs % self._cycle and epoch > 1:
            self.old.load_state_dict(self.encoder.state_dict())

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The code (B, d), and the penalty: 0 in the decoder's turn, which does not change what it depends on."""
        mean, log_variance = self.encoder(batch)
        z = sample(mean, log_variance, self.generator) if self.training else mean
        if not self.phase(batch.epoch).network:
            return z.detach(), z.new_zeros(())
        return z, self.penalty(batch, z, mean, log_variance)

    def penalty(self, batch: Batch, z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """γ Σ_b ‖x_b‖₁ Σ (log q − log p) of the sampled codes z, x_b weighted as the purchases are.

        The prior's encoder sees histories without noise.
        """
        sizes = torch.diff(batch.offsets).clamp(min=1).to(z.dtype)
        clean = batch.targets / sizes[batch.rows] ** self.config.input_power
        with torch.no_grad():
            old = self.old(replace(batch, inputs=clean))
        divergence = (log_normal(z, mean, log_variance) - log_composite(z, *old)).sum(1)
        mass = torch.zeros_like(sizes).index_add_(0, batch.rows, batch.targets * batch.own)
        return (self.config.gamma or 0.0) * (mass * divergence).sum()

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> RecVAE:
        """The model: of the encoder's last layer, the mean's half."""
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


def fit_recvae(matrix: sp.csr_matrix, config: RecVaeConfig, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Trains RecVAE on the rows of `matrix` ((U, I) CSR pattern); see `fit_minibatch`."""
    return fit_minibatch(matrix, resolve_recvae(config, matrix), hooks, RecVaeNetwork)
