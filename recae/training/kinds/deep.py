"""Deep autoencoder: its settings, the rules that choose the open ones from the data, and the fit."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import model_validator

from recae.errors import ConfigError
from recae.models import Model
from recae.settings import LARGEST_SEED, Settings, setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.config import (
    SVD_ITEMS_AT_MOST,
    ResolvedSettings,
    batch_for,
    output_rate,
    weight_of_purchases,
)
from recae.training.loop import train

if TYPE_CHECKING:
    from torch import Generator

    from recae.training.minibatch.deep import DeepNetwork
    from recae.training.minibatch.trainer import MakeNetwork, MinibatchTrainer

SAMPLED_BEYOND = 300_000
"""Number of items from which those losses are taken on a sample unless the settings say otherwise."""

LAYERS = "a list of whole numbers from 1 to 16384 such as '600,200'"
"""What `DeepSettings.layers` is."""


class DeepSettings(Settings):
    """Settings of the deep autoencoder; None: chosen from the data by `resolve_deep`."""

    layers: str | None = setting(
        None,
        'sizes from the items to the code, each smaller than the one before, such as "600,200", which are mirrored '
        'back out; or all of them, "600,200,600"',
        wanted=LAYERS,
    )
    activation: Literal["sigmoid", "tanh", "relu", "selu", "silu"] = setting(
        "tanh", "of all hidden layers, the code included"
    )
    loss: Literal["squared", "logistic", "multinomial"] = setting("squared", "what is to be small")
    tied: bool = setting(False, "whether the decoder's weights are the transposes of the encoder's")
    epochs: int | None = setting(None, "passes over the users", ge=1, le=100_000)
    batch_size: int | None = setting(None, "users of one step", ge=1, le=1_000_000)
    learning_rate: float | None = setting(
        None,
        "step of Adam, for all but the first layer and the output layer of the squared loss",
        gt=0,
        le=1,
    )
    encoder_learning_rate: float = setting(
        0.04, "step of the first layer's row-wise AdaGrad; tied, the first layer moves by Adam", ge=0, le=100
    )
    output_learning_rate: float | None = setting(
        None,
        "step ‖h‖²η of the output layer of the squared loss, in (0, 1); tied, it moves by Adam",
        gt=0,
        lt=1,
    )
    purchase_weight: float | None = setting(
        None,
        "α ≥ 1, the weight of a purchase's error relative to a non-purchase's (not multinomial)",
        ge=1,
        le=1e6,
    )
    input_power: float = setting(0.5, "p in 0..1: a history of m items enters as x/m^p", ge=0, le=1)
    dropout: float = setting(0.5, "fraction of a history hidden from the network at each step", ge=0, lt=1)
    emphasis: float = setting(1.0, "weight ≥ 1 of the error of what is hidden", ge=1, le=1000)
    code_penalty: float = setting(0.0, "weight of the code's norm in a user's loss", ge=0, le=1e6)
    code_norm: Literal["l1", "l2"] = setting("l2", "l1, Σ|h|, or l2, Σh²")
    pretrain: Literal["none", "layerwise"] = setting(
        "none", "none, or layerwise: each layer first learns to reconstruct the one before it"
    )
    pretrain_epochs: int = setting(3, "epochs of that for each layer", ge=1, le=100_000)
    sampled: int | None = setting(
        None,
        "items drawn for a step's logistic or multinomial loss besides the batch's own; 0: all items",
        ge=0,
        le=10_000_000,
    )
    l2: float = setting(0.0, "weight decay a unit of learning rate", ge=0, le=1000)
    fold_every: int = setting(
        50_000, "users after which the output layer of the squared loss is consolidated", ge=1, le=1_000_000
    )
    encoder_start: Literal["svd", "random"] | None = setting(
        None,
        "svd: the first layer begins at the principal directions of the purchases, and the others by passing them on; "
        "random; None: svd for purchases up to 300,000 items, unless tied",
    )
    encoder_scale: float = setting(
        1.0,
        "standard deviation of a random first layer's first weights, times √n for a layer of n; with svd, that of the "
        "first pre-activations, times 4",
        gt=0,
        le=1000,
    )
    decoder_scale: float | None = setting(
        None, "standard deviation of the output layer's first weights, times √n", ge=0, le=1000
    )
    patience: int = setting(
        10, "epochs without a better validation recall@20 after which training stops", ge=1, le=100_000
    )
    dtype: Literal["float32", "float64"] = setting("float32", "float32 or float64")
    seed: int = setting(0, "of everything random", ge=0, le=LARGEST_SEED)

    @model_validator(mode="after")
    def _layers_suit(self) -> Self:
        if self.layers is not None:
            half_of(self.layers, self.tied)
        return self

    @property
    def sizes(self) -> list[int]:
        """The sizes of `layers` from the items to the code."""
        return half_of(self.layers or "", self.tied)


def half_of(layers: Any, tied: bool = False) -> list[int]:
    """Return the sizes to the code of "600,200", or of all layers, "600,200,600".

    Raises:
        ConfigError: they are no sizes, do not get smaller towards the code, or are not mirrored.
    """
    texts = [part.strip() for part in layers.split(",")] if isinstance(layers, str) else []
    if not texts or not all(text.isascii() and text.isdigit() and 1 <= int(text) <= 16_384 for text in texts):
        raise ConfigError(
            f"layers is {LAYERS}, found {layers!r}: give the sizes of the layers from the items to the code"
        )
    sizes = [int(text) for text in texts]
    half = sizes[: sizes.index(min(sizes)) + 1]
    back = sizes[len(half) :]
    if (back and len(half) == 1) or any(later >= earlier for earlier, later in pairwise(half)):
        raise ConfigError(
            f"layers get smaller towards the code, found '{layers}': give sizes such as "
            f"'{','.join(str(size) for size in sorted(set(sizes), reverse=True))}'"
        )
    if back and back != half[-2::-1]:
        mirrored = ",".join(str(size) for size in [*half, *half[-2::-1]])
        why = " with tied=true, whose decoder has the encoder's weights" if tied else ""
        raise ConfigError(
            f"layers are the same on the way in and on the way out{why}, found '{layers}': give '{mirrored}', or its "
            f"first half, '{','.join(map(str, half))}'"
        )
    return half


def resolve_deep(config: DeepSettings, matrix: sp.csr_matrix, largest: float = 1.0) -> DeepSettings:
    """Return `config` with every None filled in from the shape of the data ((U, I) CSR).

    `largest` is the largest confidence in a purchase; see `config.resolve`.

    Raises:
        ConfigError: output_learning_rate, purchase_weight and emphasis together make steps that enlarge errors.
    """
    n_users, n_items = matrix.shape
    weight = config.purchase_weight
    if weight is None:
        weight = 1.0 if config.loss == "multinomial" else weight_of_purchases(matrix)
    widest = max(8, n_items)
    principal = n_items <= SVD_ITEMS_AT_MOST and not config.tied and bool((matrix.data == 1).all())
    resolved = config.filled(
        encoder_start="svd" if principal else "random",
        layers=",".join(str(size) for size in (min(600, widest), min(200, widest * 2 // 3))),
        epochs=max(6, round(20 * (30_000 / max(n_users, 1)) ** 0.2)),
        batch_size=batch_for(matrix),
        learning_rate=1e-3,
        purchase_weight=weight,
        output_learning_rate=output_rate(weight * config.emphasis, largest),
        sampled=0 if n_items <= SAMPLED_BEYOND or config.loss == "squared" or config.tied else 20_000,
        # Adam leaves small first weights of an output layer for the mean of the data; exact steps do not
        decoder_scale=0.01 if config.loss == "squared" else 1.0,
    )
    if resolved.sampled and (config.loss == "squared" or config.tied):
        raise ConfigError(
            f"sampled is for the logistic and the multinomial loss without tied weights, found {resolved.sampled} with "
            f"loss '{config.loss}'{' and tied=true' if config.tied else ''}: leave it out"
        )
    check_output_step(resolved, largest)
    return resolved


def check_output_step(config: Any, largest: float = 1.0) -> None:
    """Check that a step of an exact output layer reduces the errors it should reduce.

    Raises:
        ConfigError: it would enlarge them.
    """
    if config.loss != "squared" or config.tied:
        return
    weight = config.purchase_weight * config.emphasis * largest
    further, factor = (" × the largest weight of a purchase", f" × {largest:g}") if largest != 1 else ("", "")
    step = config.output_learning_rate * weight
    if step >= 2:
        raise ConfigError(
            f"output_learning_rate × purchase_weight × emphasis{further} is below 2, or each step enlarges the error "
            f"it should reduce, found {config.output_learning_rate:g} × {config.purchase_weight:g} × "
            f"{config.emphasis:g}{factor} = {step:g}: choose an output_learning_rate below {2 / weight:.3g}, or "
            "smaller weights"
        )


def fit_deep(matrix: sp.csr_matrix, config: DeepSettings, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Train the deep autoencoder on the rows of `matrix` ((U, I) CSR, purchases or values in [0, 1]); see `train`."""
    resolved = resolve_deep(config, matrix, hooks.largest)
    return train(make_deep_trainer(matrix, resolved, hooks.device, hooks.confidence), hooks)


def make_deep_trainer(
    matrix: sp.csr_matrix,
    config: DeepSettings,
    device: str,
    confidence: NDArray[np.float32] | None = None,
    *,
    network: MakeNetwork | None = None,
) -> MinibatchTrainer:
    """Return the trainer of (U, I) purchases for resolved settings, with `confidence` (nnz,) in each.

    `network` gives the network of a kind that differs in it alone.

    Raises:
        ConfigError, TrainingError: as `MinibatchTrainer`.
    """
    from recae.training.exact.parameters import first_encoder
    from recae.training.minibatch.deep import DeepNetwork
    from recae.training.minibatch.trainer import MinibatchSettings, MinibatchTrainer

    settings = MinibatchSettings.of(config, row_learning_rate=config.encoder_learning_rate)
    trainer = MinibatchTrainer(matrix, config, device, network or make_network, settings, confidence)
    if config.encoder_start == "svd":
        start = ResolvedSettings(
            factors=config.sizes[0],
            input_power=config.input_power,
            encoder_scale=config.encoder_scale,
            dtype=config.dtype,
        )
        cast(DeepNetwork, trainer.network).begin_at(
            first_encoder(matrix, start, np.random.default_rng([config.seed, 0]))
        )
    return trainer


def network_options(config: DeepSettings) -> dict[str, Any]:
    """Return the options of `DeepNetwork` that settings stand for."""
    import torch

    return {
        "activation": config.activation,
        "tied": config.tied,
        "code_penalty": config.code_penalty,
        "code_norm": config.code_norm,
        "pretrain_epochs": config.pretrain_epochs if config.pretrain == "layerwise" else 0,
        "dropout": config.dropout,
        "scale": config.encoder_scale,
        "dtype": getattr(torch, config.dtype),
    }


def make_network(n_items: int, config: DeepSettings, generator: Generator) -> DeepNetwork:
    """Return the network for a catalogue, its first weights drawn from the generator."""
    from recae.training.minibatch.deep import DeepNetwork

    return DeepNetwork(n_items, config.sizes, generator, **network_options(config))
