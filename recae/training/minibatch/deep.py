"""Networks of the deep autoencoder, and of the sigmoid one where it is trained by mini-batches."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recae.models import DeepAutoencoder, Model, SigmoidAutoencoder
from recae.training.batches import Batch
from recae.training.config import ResolvedSettings
from recae.training.minibatch.networks import FirstLayer, Network, Phase, drawn, to_numpy

GAIN = {"sigmoid": 4.0, "tanh": 1.0, "relu": 2.0, "selu": 1.0, "silu": 2.0}
"""Variance of a layer's first weights times its inputs, by which the signal keeps its size (arXiv:1502.01852)."""

OTHERS = 0.1
"""Factor on a layer's first weights where it begins by passing on some of its inputs."""


def activate(name: str, z: Tensor) -> Tensor:
    """Return the activation of z, as `models.deep.ACTIVATIONS`."""
    if name == "sigmoid":
        return torch.tanh(z / 2)
    if name == "tanh":
        return torch.tanh(z)
    found: Tensor = {"relu": functional.relu, "selu": functional.selu, "silu": functional.silu}[name](z)
    return found


class DeepNetwork(Network):
    """Layers to the code and mirrored back out; the output layer is as large as the first one.

    Layer-wise pre-training (Bengio et al., 2007; Vincent et al., 2010, "stacked denoising autoencoders"): for
    `pretrain_epochs` each, first the first layer with the output layer as a shallow autoencoder of the histories, then
    each further layer with its mirror as one of the codes of the layer before, a fraction `dropout` of which is hidden.
    """

    model_class: ClassVar[type[DeepAutoencoder]] = DeepAutoencoder

    def __init__(
        self,
        n_items: int,
        sizes: Sequence[int],
        generator: torch.Generator,
        *,
        activation: str,
        tied: bool = False,
        code_penalty: float = 0.0,
        code_norm: str = "l2",
        pretrain_epochs: int = 0,
        dropout: float = 0.0,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draw the first weights.

        Args:
            n_items: I.
            sizes: of the layers, from the first one to the code.
            generator: of the random numbers.
            activation: of all hidden layers.
            tied: whether decoder and output layer have the encoder's weights.
            code_penalty: weight of the code's norm.
            code_norm: "l1" or "l2".
            pretrain_epochs: of each layer; 0: none.
            dropout: in pre-training.
            scale: standard deviation of the first layer's first weights, times √size.
            dtype: of the parameters.
        """
        super().__init__()
        self.size, self.generator = sizes[0], generator
        self.activation, self.tied = activation, tied
        self._code_penalty, self._code_norm = code_penalty, code_norm
        self._stages, self._dropout, self._pretrain_epochs = len(sizes), dropout, pretrain_epochs
        self.pretraining = pretrain_epochs * self._stages
        self.first = FirstLayer(
            n_items, sizes[0], generator, deviation=scale / math.sqrt(sizes[0]), sparse=not tied, dtype=dtype
        )
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.mirrors, self.mirror_biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            self.weights.append(_drawn(n_in, n_out, activation, generator, dtype))
            self.biases.append(nn.Parameter(torch.zeros(n_out, dtype=dtype)))
            if not tied:
                self.mirrors.append(_drawn(n_out, n_in, activation, generator, dtype))
            self.mirror_biases.append(nn.Parameter(torch.zeros(n_in, dtype=dtype)))

    def stage(self, epoch: int) -> int:
        """Return the layer that an epoch (from 1) pre-trains, from 0; their number when it trains everything."""
        return self._stages if epoch > self.pretraining else (epoch - 1) // self._pretrain_epochs

    def phase(self, epoch: int) -> Phase:
        """Return what an epoch trains: beyond the first layer, pre-training is about codes, partly hidden here."""
        stage = self.stage(epoch)
        inner = 0 < stage < self._stages
        return Phase(output=not inner, dropout=not inner, loss=not inner)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the last hidden layer (B, D), and the penalty on the code or the error of the pre-trained layer."""
        stage = self.stage(batch.epoch)
        h = activate(self.activation, self.first(batch))
        if stage == 0:
            return h, self._penalty(h)
        if stage < self._stages:
            return h, self._layer_error(stage - 1, h)
        for k in range(len(self.weights)):
            h = self._in(k, h)
        penalty = self._penalty(h)
        for k in reversed(range(len(self.weights))):
            h = self._out(k, h)
        return h, penalty

    def tied_weight(self) -> nn.Parameter:
        """Return the weight of the first layer."""
        return cast(nn.Parameter, self.first.rows.weight)

    def begin_at(self, encoder: NDArray[np.floating[Any]]) -> None:
        """Begin with these weights (I, s₀) of the first layer, whose columns come in order of their importance.

        What lies behind it then begins by passing them on: each layer in gives the first of its inputs, as many as it
        has room for, and a little of the others; its mirror gives them back and fills up with mixtures of them.
        """
        gain = 2.0 if self.activation == "sigmoid" else 1.0  # tanh(z/2) halves what is small
        with torch.no_grad():
            self.tied_weight().copy_(torch.from_numpy(encoder))
            for weight in self.weights:
                weight *= OTHERS
                weight[: weight.shape[1]].fill_diagonal_(gain)
            for mirror in self.mirrors:
                code = len(mirror)
                mirror[:, :code] = gain * torch.eye(code, dtype=mirror.dtype, device=mirror.device)

    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> Model:
        """Return the model; tied, its output and decoder are views of its encoder, whatever W is."""
        first = to_numpy(self.first.rows.weight)
        pairs = list(zip(self.weights, self.biases, strict=True))
        encoder = [(first, to_numpy(self.first.bias)), *((to_numpy(w), to_numpy(b)) for w, b in pairs)]
        decoder = []
        for k in reversed(range(len(self.weights))):
            weight = encoder[k + 1][0].T if self.tied else to_numpy(self.mirrors[k])
            decoder.append((weight, to_numpy(self.mirror_biases[k])))
        return self.model_class(
            encoder=tuple(encoder),
            decoder=tuple(decoder),
            output=first if self.tied else W,
            output_bias=bias,
            tied=self.tied,
            activation=self.activation,
            loss=settings["loss"],
            input_power=settings["input_power"],
            settings=dict(settings),
        )

    def _in(self, k: int, h: Tensor) -> Tensor:
        return activate(self.activation, torch.addmm(self.biases[k], h, self.weights[k]))

    def _out(self, k: int, h: Tensor) -> Tensor:
        weight = self.weights[k].T if self.tied else self.mirrors[k]
        return activate(self.activation, torch.addmm(self.mirror_biases[k], h, weight))

    def _layer_error(self, k: int, h: Tensor) -> Tensor:
        """Return Σ ‖h' − h‖² of layer k's inputs h, reconstructed from a part of them; layers before it stay."""
        with torch.no_grad():
            for before in range(k):
                h = self._in(before, h)
        h = h.detach()
        mask = torch.rand(h.shape, generator=self.generator, dtype=h.dtype, device=h.device) >= self._dropout
        code = self._in(k, h * mask / (1 - self._dropout))
        return ((self._out(k, code) - h) ** 2).sum() + self._penalty(code)

    def _penalty(self, code: Tensor) -> Tensor:
        if not self._code_penalty:
            return code.new_zeros(())
        return self._code_penalty * (code.abs().sum() if self._code_norm == "l1" else (code * code).sum())


def _drawn(
    n_in: int, n_out: int, activation: str, generator: torch.Generator, dtype: torch.dtype
) -> nn.Parameter:
    weight = torch.empty(n_in, n_out, dtype=dtype)
    return nn.Parameter(drawn(weight, math.sqrt(GAIN[activation] / n_in), generator))


class SigmoidNetwork(DeepNetwork):
    """One layer, 2σ(z) − 1, between a history and the output layer."""

    def __init__(self, n_items: int, config: ResolvedSettings, generator: torch.Generator) -> None:
        """Draw the first weights of a single layer; arguments as for `DeepNetwork`."""
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
        """Return the model; tied, its decoder is its encoder, whatever W is."""
        encoder = to_numpy(self.first.rows.weight)
        return SigmoidAutoencoder(
            encoder=encoder,
            encoder_bias=to_numpy(self.first.bias),
            decoder=encoder if self.tied else W,
            decoder_bias=bias,
            input_power=settings["input_power"],
            settings=dict(settings),
        )
