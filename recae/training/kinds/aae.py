"""The adversarial autoencoder: its settings and the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import scipy.sparse as sp

from recae.models import Model
from recae.settings import redefined, setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.deep import DeepSettings, make_deep_trainer, network_options, resolve_deep
from recae.training.loop import train

if TYPE_CHECKING:
    from torch import Generator

    from recae.training.minibatch.adversarial import AaeNetwork

CODE = 256
"""Size of the code where no layers are given; at most the number of items."""


class AaeSettings(DeepSettings):
    """How the adversarial autoencoder is trained: as a deep one, with a discriminator of its code."""

    layers: str | None = redefined(DeepSettings, "layers", None)
    activation: Literal["sigmoid", "relu"] = setting("sigmoid", "of all hidden layers, the code included")
    adversarial_weight: float = setting(
        1.0, "weight of the code's loss against the discriminator; 0: no discriminator", ge=0, le=1e6
    )
    prior_deviation: float = setting(
        1.0, "σ of the prior: a code should look like a(z), z ~ N(0, σ²), a the activation", gt=0, le=100
    )
    discriminator_units: int = setting(100, "hidden units of the discriminator", ge=1, le=16_384)


def fit_aae(matrix: sp.csr_matrix, settings: AaeSettings, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Train the adversarial autoencoder on the rows of `matrix` ((U, I) CSR, purchases or values in [0, 1]).

    Raises:
        ConfigError: The settings make steps that enlarge errors.
        TrainingError: There is nothing to learn from, memory is short, or the loss becomes non-finite.
    """
    settings = settings.filled(layers=str(min(CODE, max(1, matrix.shape[1]))))
    resolved = resolve_deep(settings, matrix, hooks.largest)
    trainer = make_deep_trainer(matrix, resolved, hooks.device, hooks.confidence, network=make_network)
    return train(trainer, hooks)


def make_network(n_items: int, settings: AaeSettings, generator: Generator) -> AaeNetwork:
    """Return the network for a catalogue, its first weights drawn from the generator."""
    from recae.training.minibatch.adversarial import AaeNetwork

    return AaeNetwork(
        n_items,
        settings.sizes,
        generator,
        adversarial_weight=settings.adversarial_weight,
        prior_deviation=settings.prior_deviation,
        discriminator_units=settings.discriminator_units,
        **network_options(settings),
    )
