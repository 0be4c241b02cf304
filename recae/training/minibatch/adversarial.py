"""The network of the adversarial autoencoder: the deep one, and a discriminator of its code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recae.models.aae import AdversarialAutoencoder
from recae.training.minibatch.deep import DeepNetwork, activate
from recae.training.minibatch.networks import drawn

LEAK = 0.2
"""Slope of the discriminator's hidden units below 0, so that none stops learning (Radford et al. 2015)."""


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

        def first(n_in: int, n_out: int) -> nn.Parameter:
            return nn.Parameter(drawn(torch.empty(n_in, n_out, dtype=dtype), math.sqrt(2 / n_in), generator))

        self.hidden, self.hidden_bias = first(size, units), nn.Parameter(torch.zeros(units, dtype=dtype))
        self.logit, self.logit_bias = first(units, 1), nn.Parameter(torch.zeros(1, dtype=dtype))

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

    def __init__(
        self,
        n_items: int,
        sizes: Sequence[int],
        generator: torch.Generator,
        *,
        adversarial_weight: float,
        prior_deviation: float,
        discriminator_units: int,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> None:
        """Draw the first weights of autoencoder and discriminator.

        Args:
            n_items: I.
            sizes: From the first layer to the code.
            generator: What first weights are drawn from.
            adversarial_weight: Of the code's loss against the discriminator.
            prior_deviation: σ of the prior.
            discriminator_units: Hidden units of the discriminator.
            dtype: Of all parameters.
            options: Of `DeepNetwork`.
        """
        super().__init__(n_items, sizes, generator, dtype=dtype, **options)
        self._weight, self._deviation, self._code_size = adversarial_weight, prior_deviation, sizes[-1]
        self.discriminator = Discriminator(sizes[-1], discriminator_units, generator, dtype)

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
