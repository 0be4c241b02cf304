"""The sigmoid autoencoder by mini-batches: tied weights, emphasis, penalties on the code, and pre-training."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recae.models import SigmoidAutoencoder
from recae.training.config import ResolvedConfig
from recae.training.exact.parameters import first_encoder
from recae.training.kinds.deep import DeepNetwork
from recae.training.minibatch.networks import to_numpy
from recae.training.minibatch.trainer import MinibatchTrainer, Settings

ADAM_RATE = 1e-3


class SigmoidNetwork(DeepNetwork):
    """One layer, 2σ(z) − 1, between a history and the output layer."""

    def __init__(self, n_items: int, config: ResolvedConfig, generator: torch.Generator) -> None:
        super().__init__(
            n_items,
            [config.factors],
            generator,
            activation="sigmoid",
            tied=config.tied,
            code_penalty=config.code_penalty,
            code_norm=config.code_norm,
            pretrain_epochs=config.pretrain_epochs if config.pretrain == "layerwise" else 0,
            scale=config.encoder_scale,
            dtype=getattr(torch, config.dtype),
        )

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> SigmoidAutoencoder:
        """The model; tied, its decoder is its encoder, whatever W is."""
        encoder = to_numpy(self.first.rows.weight)
        return SigmoidAutoencoder(
            encoder=encoder,
            encoder_bias=to_numpy(self.first.bias),
            decoder=encoder if self.tied else W,
            decoder_bias=bias,
            input_power=settings["input_power"],
            settings=dict(settings),
        )


def make_minibatch_trainer(
    matrix: sp.csr_matrix,
    config: ResolvedConfig,
    device: str,
    weights: NDArray[np.float32] | None = None,
) -> MinibatchTrainer:
    """The trainer for (U, I) purchases, `weights` (nnz,) what each weighs; raises what `MinibatchTrainer` does."""
    settings = Settings(
        loss="squared",
        # tied, Adam moves everything; otherwise the bias of the code alone
        learning_rate=config.learning_rate if config.tied else ADAM_RATE,
        row_learning_rate=config.encoder_learning_rate,
        output_learning_rate=config.learning_rate,
        purchase_weight=config.purchase_weight,
        noise=config.dropout,
        emphasis=config.emphasis,
        input_norm=config.input_power,
        tied=config.tied,
        fold_every=config.fold_every,
        decoder_scale=config.decoder_scale,
        dtype=config.dtype,
    )
    trainer = MinibatchTrainer(matrix, config, device, SigmoidNetwork, settings, weights)
    if config.encoder_start == "svd":
        network = cast(SigmoidNetwork, trainer.network)
        network.begin_at(first_encoder(matrix, config, np.random.default_rng([config.seed, 0])))
    return trainer
