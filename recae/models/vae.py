"""Variational autoencoders: scores from the mean of the code's posterior; sampling is for training alone."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats
from recae.errors import ModelFileError
from recae.models import paths
from recae.models.base import JSON, check_histories, take_array, take_int, take_number
from recae.models.dots import dots
from recae.models.factored import Autoencoder, scale_by_length, take_decoder, take_encoder
from recae.sparse import pattern

Layers = tuple[tuple[Floats, Floats], ...]
"""Weights (in, out) and bias (out,) of dense layers, in the order in which they are passed."""

NORM_EPSILON = 0.1
"""What RecVAE's layer normalisation adds to the variance; so large in the authors' code, too."""


@dataclass(frozen=True, eq=False)
class _Variational(Autoencoder):
    """An autoencoder with dense layers between the first one and the mean of its code.

    Attributes:
        encoder_dense: further layers of the encoder, to the mean of the code.
    """

    encoder_dense: Layers

    @abstractmethod
    def _hidden(self, z: Floats) -> Floats:
        """Return the last hidden layer (B, D) of what the first layer gives (B, n)."""

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the last hidden layer, (B, I) CSR → (B, D) float32.

        It is the mean of the code itself where the decoder has no layer in between.

        Raises:
            DataError: the histories have another number of items.
        """
        check_histories(histories, self.n_items)
        inputs = scale_by_length(pattern(histories), self.input_power)
        return np.ascontiguousarray(self._hidden(inputs @ self.encoder + self.encoder_bias), dtype=np.float32)

    @abstractmethod
    def _pull(self, z: paths.Doubles) -> paths.Pull:
        """Return the pull of what follows the first layer, along a path of it."""

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each item of a history adds to scores, (m, n): integrated gradients; see `models.paths`."""
        inputs = paths.scaled_inputs(self.encoder, history.indices, self.input_power)
        return paths.contributions(inputs, self.encoder_bias, self._pull, self.decoder[items])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name."""
        return super().arrays() | named("encoder", self.encoder_dense)


@dataclass(frozen=True, eq=False)
class MultVAE(_Variational):
    """Mult-VAE (Liang et al., 2018, arXiv:1802.05814): tanh between the layers, none on the mean of the code.

    Attributes:
        decoder_dense: layers from the code to the last hidden layer, each followed by tanh; none: a linear decoder.
    """

    decoder_dense: Layers

    kind: ClassVar[str] = "multvae"

    def _hidden(self, z: Floats) -> Floats:
        for weight, bias in self.encoder_dense:
            z = dots(np.tanh(z), weight.T, bias)
        for weight, bias in self.decoder_dense:
            z = np.tanh(dots(z, weight.T, bias))
        return z

    def _pull(self, z: paths.Doubles) -> paths.Pull:
        pulls = []
        for weight, bias in self.encoder_dense:
            z, activated = paths.elementwise(np.tanh, z)
            z, pull = paths.linear(weight, bias, z)
            pulls += [activated, pull]
        for weight, bias in self.decoder_dense:
            z, pull = paths.linear(weight, bias, z)
            z, activated = paths.elementwise(np.tanh, z)
            pulls += [pull, activated]
        return paths.chain(pulls)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name."""
        return super().arrays() | named("decoder", self.decoder_dense)

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model with these parameters.

        Raises:
            ModelFileError: a parameter is missing or of another shape or type.
        """
        sizes = _sizes(config)
        encoder, encoder_bias = take_encoder(arrays, n_items, sizes[0])
        decoder, decoder_bias = take_decoder(arrays, n_items, sizes[0])
        return cls(
            encoder=encoder,
            encoder_bias=encoder_bias,
            encoder_dense=_take_dense(arrays, "encoder", sizes),
            decoder=decoder,
            decoder_bias=decoder_bias,
            input_power=take_number(config, "input_power", 0, 1),
            settings=dict(config),
            decoder_dense=_take_dense(arrays, "decoder", sizes[::-1]),
        )


@dataclass(frozen=True, eq=False)
class RecVAE(_Variational):
    """RecVAE (Shenbin et al., 2020, arXiv:1912.11160): a densely connected encoder and a linear decoder.

    Hidden layer k is h_k = norm_k(swish(z_k + h_1 + … + h_{k−1})) with z_k = h_{k−1} A_k + a_k, and z_1 the first
    layer; swish(z) = z σ(z), and norm is layer normalisation (Ba et al., 2016, arXiv:1607.06450). The code's mean is
    h_n A + a, the last of `encoder_dense`.

    Attributes:
        norms: gain and shift (n,) of each hidden layer's normalisation.
    """

    norms: Layers

    kind: ClassVar[str] = "recvae"

    def _hidden(self, z: Floats) -> Floats:
        before = np.zeros_like(z)
        for (weight, bias), (gain, shift) in zip(self.encoder_dense, self.norms, strict=True):
            h = _normalised(_swish(z + before)) * gain + shift
            before += h
            z = dots(h.astype(np.float32, copy=False), weight.T, bias)
        return z

    def _pull(self, z: paths.Doubles) -> paths.Pull:
        before = np.zeros_like(z)
        layers = []
        for (weight, bias), (gain, shift) in zip(self.encoder_dense, self.norms, strict=True):
            u, activated = paths.elementwise(_swish, z + before)
            u, levelled = paths.normalised(u, NORM_EPSILON)
            h = u * gain + shift
            before = before + h
            z, pull = paths.linear(weight, bias, h)
            layers.append((pull, gain, paths.chain([activated, levelled])))

        def pulled(of_z: paths.Doubles) -> paths.Doubles:
            of_before = np.zeros(())  # what the later layers are given of the sum of those before them
            for pull, gain, inner in reversed(layers):
                of_z = inner((pull(of_z) + of_before) * gain)
                of_before = of_before + of_z
            return of_z

        return pulled

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name."""
        gains = {f"gain_{k}": gain for k, (gain, _) in enumerate(self.norms, 1)}
        shifts = {f"shift_{k}": shift for k, (_, shift) in enumerate(self.norms, 1)}
        return super().arrays() | gains | shifts

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model with these parameters.

        Raises:
            ModelFileError: a parameter is missing or of another shape or type.
        """
        hidden, depth = take_int(config, "hidden", 1), take_int(config, "hidden_layers", 1)
        factors = take_int(config, "factors", 1)
        of_norms = [
            tuple(take_array(arrays, f"{what}_{k}", np.float32, (hidden,)) for what in ("gain", "shift"))
            for k in range(1, depth + 1)
        ]
        encoder, encoder_bias = take_encoder(arrays, n_items, hidden)
        decoder, decoder_bias = take_decoder(arrays, n_items, factors)
        return cls(
            encoder=encoder,
            encoder_bias=encoder_bias,
            encoder_dense=_take_dense(arrays, "encoder", [hidden] * depth + [factors]),
            decoder=decoder,
            decoder_bias=decoder_bias,
            input_power=take_number(config, "input_power", 0, 1),
            settings=dict(config),
            norms=tuple((gain, shift) for gain, shift in of_norms),
        )


def parse_layers(text: object) -> list[int] | None:
    """Return the sizes in a text such as "600,200", from the items to the code; None unless they get smaller."""
    if not isinstance(text, str):
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        return None
    sizes = [int(part) for part in parts]
    falling = all(a > b for a, b in zip(sizes, [*sizes[1:], 0], strict=True))
    return sizes if falling else None


def named(prefix: str, layers: Layers) -> dict[str, NDArray[Any]]:
    """Return dense layers by name: `prefix_1`, `prefix_1_bias` and so on."""
    weights = {f"{prefix}_{k}": weight for k, (weight, _) in enumerate(layers, 1)}
    return weights | {f"{prefix}_{k}_bias": bias for k, (_, bias) in enumerate(layers, 1)}


def _take_dense(arrays: Mapping[str, NDArray[Any]], prefix: str, sizes: list[int]) -> Layers:
    return tuple(
        (
            take_array(arrays, f"{prefix}_{k}", np.float32, (sizes[k - 1], sizes[k])),
            take_array(arrays, f"{prefix}_{k}_bias", np.float32, (sizes[k],)),
        )
        for k in range(1, len(sizes))
    )


def _sizes(config: Mapping[str, JSON]) -> list[int]:
    sizes = parse_layers(config.get("layers"))
    if sizes is None:
        raise ModelFileError(
            "the model file's configuration should give 'layers' as narrowing sizes such as '600,200', but gives "
            f"{config.get('layers')!r}; train the model again"
        )
    return sizes


def _swish(z: Floats) -> Floats:
    # σ by tanh, which does not overflow
    return np.asarray(z * (0.5 + 0.5 * np.tanh(0.5 * z)))


def _normalised(z: Floats) -> Floats:
    centred = z - z.mean(1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred * centred).mean(1, keepdims=True) + NORM_EPSILON))
