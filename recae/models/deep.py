"""The deep autoencoder: ever smaller layers down to a code, mirrored back out to the reconstruction of a history."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ModelFileError
from recae.models import paths
from recae.models.base import JSON, check_histories, take_array, take_bool, take_name, take_number
from recae.models.dots import dots
from recae.models.factored import FactoredScores, scale_by_length
from recae.sparse import pattern

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]
"""Weights (in, out) and constants (out,)."""

SELU_SCALE, SELU_ALPHA = np.float32(1.0507009873554805), np.float32(1.6732632423543772)
"""From Klambauer et al., 2017, arXiv:1706.02515."""


def _selu(z: Floats) -> Floats:
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "sigmoid": lambda z: np.tanh(z / 2),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "selu": _selu,
    "silu": lambda z: z * (np.tanh(z / 2) + 1) / 2,
}
"""By name; "sigmoid" is 2σ(z) − 1, from −1 to 1, whose scale and offset the next layer takes up."""

LOSSES = ("squared", "logistic", "multinomial")


@dataclass(frozen=True, eq=False)
class DeepAutoencoder(FactoredScores):
    """h₁ = a(E₀ᵀx/m^p + b₀), h_k+1 = a(E_kᵀh_k + b_k) to the code; then out through layers of the same sizes, mirrored.

    A history x of m items; a is the activation, of the code too. The last hidden layer g, as large as the first, gives
    the scores W g + c.

    Attributes:
        encoder: layers (I, s₀), (s₀, s₁), … to the code.
        decoder: layers from the code, …, (s₁, s₀); with tied weights, the transposes of the encoder's, as views.
        output: W (I, s₀); with tied weights the first of the encoder itself.
        output_bias: c (I,).
        tied: whether the weights of decoder and output are the encoder's, and stored once.
        activation: a key of ACTIVATIONS.
        loss: what it was trained with, which says how `reconstruct` reads the scores: one of LOSSES.
        input_power: p.
        settings: the settings it was trained with, for the record.
    """

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    output: Floats
    output_bias: Floats
    tied: bool
    activation: str
    loss: str
    input_power: float
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "deep"
    trained: ClassVar[bool] = True

    @property
    def factors(self) -> int:
        """Size of the code, d."""
        return int(self.encoder[-1][0].shape[1])

    def encode(self, histories: sp.csr_matrix) -> Floats:
        """Return the codes of histories: (B, I) CSR → (B, d) float32.

        Raises:
            DataError: the histories have another number of items.
        """
        check_histories(histories, self.n_items)
        return self._encode(pattern(histories))

    def user_factors(self, histories: sp.csr_matrix) -> Floats:
        """Return the last hidden layer g: (B, I) CSR → (B, s₀) float32.

        Raises:
            DataError: the histories have another number of items.
        """
        return self._decode(self.encode(histories))

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each item of a history adds to scores, (m, n): integrated gradients; see `models.paths`."""
        weight, bias = self.encoder[0]
        inputs = paths.scaled_inputs(weight, history.indices, self.input_power)
        return paths.contributions(inputs, bias, self._pull, self.output[items])

    @property
    def item_factors(self) -> Floats:
        """W, float32 (I, s₀)."""
        return self.output

    @property
    def item_bias(self) -> Floats:
        """c, float32 (I,)."""
        return self.output_bias

    def reconstruct(self, matrix: sp.csr_matrix) -> Floats:
        """Reconstruct rows with values in [0, 1]: (B, I) CSR → (B, I) float32, on the scale of the data.

        Unlike `score` it reads the values, and it passes the scores through what the loss compares with the data: σ
        for the logistic loss, a row's softmax for the multinomial one, nothing for the squared one.

        Raises:
            DataError: the matrix has another number of items.
        """
        check_histories(matrix, self.n_items)
        hidden = self._decode(self._encode(matrix.astype(np.float32)))
        scores = dots(hidden, self.output, self.output_bias)
        if self.loss == "logistic":
            return np.asarray((np.tanh(scores / 2) + 1) / 2, dtype=np.float32)
        if self.loss == "multinomial":
            scores -= scores.max(axis=1, keepdims=True, initial=-np.inf)
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def config(self) -> dict[str, JSON]:
        """Return the settings it was trained with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters: encoder_k (in, out), decoder_k (out, in) as its mirror, output (I, s₀), and biases."""
        found: dict[str, NDArray[Any]] = {}
        for k, (weight, bias) in enumerate(self.encoder):
            found |= {f"encoder_{k}": weight, f"encoder_{k}_bias": bias}
        for k, (weight, bias) in zip(range(len(self.encoder) - 1, 0, -1), self.decoder, strict=True):
            found[f"decoder_{k}_bias"] = bias
            if not self.tied:
                found[f"decoder_{k}"] = weight
        if not self.tied:
            found["output"] = self.output
        return found | {"output_bias": self.output_bias}

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model with these parameters.

        Raises:
            ModelFileError: a parameter is missing or of another shape or type.
        """
        tied = take_bool(config, "tied")
        encoder: list[Layer] = []
        sizes = [n_items]
        while not encoder or f"encoder_{len(encoder)}" in arrays:
            k = len(encoder)
            weight = take_array(arrays, f"encoder_{k}", np.float32, (sizes[-1], None))
            sizes.append(weight.shape[1])
            encoder.append((weight, take_array(arrays, f"encoder_{k}_bias", np.float32, (sizes[-1],))))
        beyond = sorted(
            name for name in arrays if name.startswith("encoder_") and _layer(name) >= len(encoder)
        )
        if beyond:
            raise ModelFileError(
                f"the model file's layers do not go on from one to the next after encoder_{len(encoder) - 1}; "
                "train the model again"
            )
        decoder = []
        for k in range(len(encoder) - 1, 0, -1):
            shape = (sizes[k + 1], sizes[k])
            weight = encoder[k][0].T if tied else take_array(arrays, f"decoder_{k}", np.float32, shape)
            decoder.append((weight, take_array(arrays, f"decoder_{k}_bias", np.float32, (sizes[k],))))
        return cls(
            encoder=tuple(encoder),
            decoder=tuple(decoder),
            output=encoder[0][0] if tied else take_array(arrays, "output", np.float32, (n_items, sizes[1])),
            output_bias=take_array(arrays, "output_bias", np.float32, (n_items,)),
            tied=tied,
            activation=take_name(config, "activation", tuple(ACTIVATIONS)),
            loss=take_name(config, "loss", LOSSES),
            input_power=take_number(config, "input_power", 0, 1),
            settings=dict(config),
        )

    def _encode(self, matrix: sp.csr_matrix) -> Floats:
        """Return the codes of rows (B, I) with the values that are stored."""
        h = scale_by_length(matrix, self.input_power) @ self.encoder[0][0]
        activate = ACTIVATIONS[self.activation]
        h = activate(h + self.encoder[0][1])
        for weight, bias in self.encoder[1:]:
            h = activate(dots(h, weight.T, bias))
        return np.asarray(h, dtype=np.float32)

    def _pull(self, z: paths.Doubles) -> paths.Pull:
        """Return the pull of what follows the first layer, before its activation, along a path of it."""
        activate = ACTIVATIONS[self.activation]
        h, pull = paths.elementwise(activate, z)
        pulls = [pull]
        for weight, bias in (*self.encoder[1:], *self.decoder):
            h, pull = paths.linear(weight, bias, h)
            pulls.append(pull)
            h, pull = paths.elementwise(activate, h)
            pulls.append(pull)
        return paths.chain(pulls)

    def _decode(self, codes: Floats) -> Floats:
        """Return the last hidden layer (B, s₀) of codes (B, d)."""
        for weight, bias in self.decoder:
            codes = ACTIVATIONS[self.activation](dots(codes, weight.T, bias))
        return np.asarray(codes, dtype=np.float32)


def _layer(name: str) -> int:
    """Return the number in encoder_3 or encoder_3_bias; one that is too large in any other name."""
    number = name.split("_")[1]
    return int(number) if number.isdecimal() else 2**31
