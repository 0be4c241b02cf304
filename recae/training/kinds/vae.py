"""Mult-VAE: its settings, the rules that choose the open ones from the data, and the fit."""

from __future__ import annotations

from typing import Literal, Self, TypeVar

import numpy as np
import scipy.sparse as sp
from pydantic import model_validator

from recae.errors import ConfigError
from recae.models import Model
from recae.models.vae import parse_layers
from recae.settings import LARGEST_SEED, Settings, setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch

SAMPLED_BEYOND = 300_000
"""Number of items from which the loss is taken on a sample unless the settings say otherwise."""

LAYERS = "a list of whole numbers from 16384 to 1, each smaller than the one before, such as '600,200'"
"""What `MultVaeSettings.layers` is."""


class VaeSettings(Settings):
    """Settings that all variational autoencoders have; None: chosen from the data."""

    epochs: int | None = setting(None, "passes over the users", ge=1, le=100_000)
    batch_size: int | None = setting(None, "users of one step", ge=1, le=1_000_000)
    learning_rate: float | None = setting(
        None, "step of Adam (Kingma and Ba, 2014, arXiv:1412.6980)", gt=0, le=1
    )
    row_learning_rate: float = setting(
        0.04,
        "step of row-wise AdaGrad, which moves the first layer where items are sampled",
        ge=0,
        le=100,
    )
    dropout: float = setting(0.5, "fraction of a history hidden from the encoder at each step", ge=0, lt=1)
    emphasis: float = setting(1.0, "factor on the loss of what is hidden", ge=0, le=1000)
    input_power: float = setting(
        0.5,
        "p in 0..1: a history of m items enters the encoder as x/m^p; 0.5 gives it length 1, as published",
        ge=0,
        le=1,
    )
    sampled: int | None = setting(
        None,
        "items drawn for the softmax of a step besides the batch's own; 0: all items",
        ge=0,
        le=10_000_000,
    )
    l2: float = setting(0.0, "weight decay", ge=0, le=1000)
    encoder_scale: float = setting(
        1.0,
        "standard deviation of the first layer's first weights, times √n for a layer of n",
        gt=0,
        le=1000,
    )
    decoder_scale: float = setting(
        0.1,
        "standard deviation of the output's first weights, times √D for D of them an item",
        ge=0,
        le=1000,
    )
    patience: int = setting(
        10, "epochs without a better validation recall@20 after which training stops", ge=1, le=100_000
    )
    dtype: Literal["float32", "float64"] = setting("float32", "float32 or float64")
    seed: int = setting(0, "of everything random", ge=0, le=LARGEST_SEED)


class MultVaeSettings(VaeSettings):
    """Settings of Mult-VAE (Liang et al., 2018, arXiv:1802.05814); None: chosen by `resolve_multvae`."""

    layers: str = setting(
        "200",
        'sizes from the items to the code, each smaller than the one before, such as "600,200"; the decoder has them '
        "in reverse",
        wanted=LAYERS,
    )
    beta: float | None = setting(
        None, "largest weight of the divergence of the code's posterior from its prior", ge=0, le=1000
    )
    anneal: float = setting(
        0.5,
        "fraction of the training's steps over which that weight rises from 0, in a straight line",
        ge=0,
        le=1,
    )

    @model_validator(mode="after")
    def _layers_suit(self) -> Self:
        sizes = parse_layers(self.layers)
        if sizes is None or sizes[0] > 16_384:
            raise ConfigError(
                f"layers is {LAYERS}, found {self.layers!r}: give sizes that get smaller towards the code"
            )
        return self

    @property
    def sizes(self) -> list[int]:
        """`layers` as numbers."""
        return parse_layers(self.layers) or []


def resolve_multvae(config: MultVaeSettings, matrix: sp.csr_matrix) -> MultVaeSettings:
    """Return `config` with every None filled in from the shape of the data ((U, I) CSR pattern).

    The rules fit what was best on validation users of two data sets, 3,500 users × 3,700 items and 30,000 × 41,000:
    with fewer users, more passes and less weight on the divergence.
    """
    users = max(matrix.shape[0], 1)
    epochs = max(5, round(12 * (30_000 / users) ** 0.2))
    beta = round(min(max(0.2 * (users / 30_000) ** 0.9, 0.01), 0.2), 3)
    return filled_by_data(config, matrix).filled(epochs=epochs, learning_rate=4e-3, beta=beta)


_Config = TypeVar("_Config", bound=VaeSettings)


def filled_by_data(config: _Config, matrix: sp.csr_matrix) -> _Config:
    """Return `config` with batch size and sample size filled in from the shape of the data ((U, I) CSR pattern)."""
    users = int((matrix.indptr[1:] > matrix.indptr[:-1]).sum())
    return config.filled(
        # some sixty steps an epoch or more: what small data lacks in steps, epochs alone would not bring
        batch_size=min(max(users, 1), max(16, min(256, users // 60))),
        sampled=0 if matrix.shape[1] <= SAMPLED_BEYOND else 20_000,
    )


def fit_multvae(matrix: sp.csr_matrix, config: MultVaeSettings, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Train Mult-VAE on the rows of `matrix` ((U, I) CSR pattern); see `fit_minibatch`."""
    from recae.training.minibatch.trainer import fit_minibatch
    from recae.training.minibatch.variational import MultVaeNetwork

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
