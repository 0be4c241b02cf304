"""The adversarial autoencoder: its settings, its network with the discriminator, and the fit."""

from __future__ import annotations

import math
from typing import Literal

import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from recae.models import Model
from recae.models.aae import AdversarialAutoencoder
from recae.settings import redefined, setting
from recae.training.callbacks import Hooks
from recae.training.checkpoint import Epoch
from recae.training.kinds.deep import DeepSettings, make_deep_trainer, network_options, resolve_deep
from recae.training.loop import train
from recae.training.minibatch.deep import DeepNetwork, activate

CODE = 256
"""Size of the code where no layers are given; at most the number of items."""

LEAK = 0.2
"""Slope of the discriminator's hidden units below 0, so that none stops learning (Radford et al. 2015)."""


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


class Discriminator(nn.Module):
    """Tells draws from the prior from codes: one hidden layer of leaky rectified units, and a logit."""

    def __init__(self, size: int, units: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        """Draw the first weights.

        Args:
            size: Numbers in a code, d.
            units: Hidden units.
            generator: What the first weights are drawn from.
            dtype: Of the parameters.
        """
        super().__init__()

        def drawn(n_in: int, n_out: int) -> nn.Parameter:
            weight = torch.empty(n_in, n_out, dtype=dtype)
            return nn.Parameter(weight.normal_(0, math.sqrt(2 / n_in), generator=generator))

        self.hidden, self.hidden_bias = drawn(size, units), nn.Parameter(torch.zeros(units, dtype=dtype))
        self.logit, self.logit_bias = drawn(units, 1), nn.Parameter(torch.zeros(1, dtype=dtype))

    def forward(self, codes: Tensor, *, learning: bool) -> Tensor:
        """Return the log-odds (B,) that each of the codes (B, d) is a draw from the prior.

        With `learning` off the parameters are constants: a gradient reaches the codes alone.
        """
        layers = (self.hidden_bias, self.hidden, self.logit_bias, self.logit)
        b, W, c, v = layers if learning else (p.detach() for p in layers)
        h = functional.leaky_relu(torch.addmm(b, codes, W), LEAK)
        return torch.addmm(c, h, v)[:, 0]


class AaeNetwork(DeepNetwork):
    """The deep network, whose penalty is a game between its code and a discriminator.

    With D the discriminator's probability that a vector is a draw from the prior, z a draw and h a user's code, the
    penalty of a user is (Makhzani et al. 2015, section 2, with the non-saturating loss of Goodfellow et al. 2014)

        −log D(a(z)) − log(1 − D(h))        which moves the discriminator alone, and
        − weight · log D(h)                 which moves the encoder alone.
    """

    model_class = AdversarialAutoencoder

    def __init__(self, n_items: int, settings: AaeSettings, generator: torch.Generator) -> None:
        """Draw the first weights of autoencoder and discriminator."""
        super().__init__(n_items, settings.sizes, generator, **network_options(settings))
        self._weight, self._deviation = settings.adversarial_weight, settings.prior_deviation
        self._code_size = settings.sizes[-1]
        self.discriminator = Discriminator(
            self._code_size, settings.discriminator_units, generator, getattr(torch, settings.dtype)
        )

    def _penalty(self, code: Tensor) -> Tensor:
        penalty = super()._penalty(code)
        if not self._weight or code.shape[1] != self._code_size:  # a wider layer that is being pre-trained
            return penalty
        prior = self.discriminator(self._draw_codes(code), learning=True)
        codes = self.discriminator(code.detach(), learning=True)
        against = self.discriminator(code, learning=False)
        told = functional.softplus(-prior).sum() + functional.softplus(codes).sum()
        return penalty + told + self._weight * functional.softplus(-against).sum()

    def _draw_codes(self, like: Tensor) -> Tensor:
        """Codes (B, d) as the prior has them."""
        z = torch.empty_like(like).normal_(0, self._deviation, generator=self.generator)
        return activate(self.activation, z)


def fit_aae(matrix: sp.csr_matrix, settings: AaeSettings, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Train the adversarial autoencoder on the rows of `matrix` ((U, I) CSR, purchases or values in [0, 1]).

    Raises:
        ConfigError: The settings make steps that enlarge errors.
        TrainingError: There is nothing to learn from, memory is short, or the loss becomes non-finite.
    """
    settings = settings.filled(layers=str(min(CODE, max(1, matrix.shape[1]))))
    resolved = resolve_deep(settings, matrix, hooks.largest)
    trainer = make_deep_trainer(matrix, resolved, hooks.device, hooks.weights, network=AaeNetwork)
    return train(trainer, hooks)
