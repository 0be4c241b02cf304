"""RecVAE: its settings, the rules that choose the open ones from the data, and the fit."""

from __future__ import annotations

import scipy.sparse as sp

from recae.models import Model
from recae.settings import setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.vae import VaeSettings, filled_by_data


class RecVaeSettings(VaeSettings):
    """Settings of RecVAE (Shenbin et al., 2020, arXiv:1912.11160); None: chosen by `resolve_recvae`."""

    factors: int = setting(200, "size of the code", ge=1, le=16_384)
    hidden: int = setting(600, "size of the encoder's hidden layers", ge=1, le=16_384)
    hidden_layers: int = setting(5, "number of the encoder's hidden layers", ge=1, le=100)
    gamma: float | None = setting(
        None,
        "a user of m purchases weighs the divergence from the prior by gamma · m",
        ge=0,
        le=1000,
    )
    encoder_epochs: int = setting(
        3, "epochs of the encoder, with dropout, between two turns of the decoder", ge=1, le=1000
    )
    decoder_epochs: int = setting(
        1,
        "epochs of the decoder, without dropout, that follow them; 0: both learn together",
        ge=0,
        le=1000,
    )


def resolve_recvae(config: RecVaeSettings, matrix: sp.csr_matrix) -> RecVaeSettings:
    """Return `config` with every None filled in from the shape of the data ((U, I) CSR pattern)."""
    cycle = config.encoder_epochs + config.decoder_epochs
    turns = max(4, round(12 * (30_000 / max(matrix.shape[0], 1)) ** 0.2))
    return filled_by_data(config, matrix).filled(epochs=cycle * turns, learning_rate=1e-3, gamma=0.005)


def fit_recvae(matrix: sp.csr_matrix, config: RecVaeSettings, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Train RecVAE on the rows of `matrix` ((U, I) CSR pattern); see `fit_minibatch`."""
    from recae.training.minibatch.trainer import fit_minibatch
    from recae.training.minibatch.variational import RecVaeNetwork

    return fit_minibatch(matrix, resolve_recvae(config, matrix), hooks, RecVaeNetwork)
