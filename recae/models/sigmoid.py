"""The shallow autoencoder: one sigmoid bottleneck between a history and its reconstruction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.loops import loop
from recae.models.base import JSON, check_histories, take_array, take_bool, take_number
from recae.models.factored import Autoencoder, take_decoder, take_encoder
from recae.models.paths import scaled_inputs, slopes


@dataclass(frozen=True, eq=False)
class SigmoidAutoencoder(Autoencoder):
    """h = 2σ(Eᵀx/m^p + b) − 1 for a history x of m items, reconstruction x̂ = W h + c.

    Scaling the code from (0, 1) to (−1, 1) leaves the model as it is, since the scale goes into W and the offset into
    c; it makes plain gradient descent converge far faster. The code has as many numbers as the first layer, d.
    """

    kind: ClassVar[str] = "sigmoid"

    @property
    def factors(self) -> int:
        """Size of the code, d."""
        return int(self.encoder.shape[1])

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the codes of histories: (B, I) CSR → (B, d) float32 in (−1, 1).

        Raises:
            DataError: the histories have another number of items.
        """
        check_histories(histories, self.n_items)
        codes = np.empty((histories.shape[0], self.factors), dtype=np.float32)
        _encode(histories.indptr, histories.indices, self.encoder, self.encoder_bias, self.input_power, codes)
        return codes

    def contributions(self, history: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what each item of a history adds to scores, (m, n): exact integrated gradients; see `models.paths`.

        A unit of the code is a function of one number, Eᵀx/m^p, so that the integral along the path has a closed form:
        the difference of the unit, parted in the proportions of what the items add to that number.
        """
        inputs = scaled_inputs(self.encoder, history.indices, self.input_power)  # (m, d)
        start = self.encoder_bias.astype(np.float64)
        ends = np.stack([start, start + inputs.sum(axis=0)])
        slope = slopes(_half_tanh, ends, _half_tanh(ends))  # (1, d)
        return np.asarray((inputs * slope) @ self.decoder[items].T.astype(np.float64))

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """Return the model with these parameters.

        Raises:
            ModelFileError: a parameter is missing or of another shape or type.
        """
        encoder, encoder_bias = take_encoder(arrays, n_items)
        if take_bool(config, "tied", default=False):
            decoder, decoder_bias = encoder, take_array(arrays, "decoder_bias", np.float32, (n_items,))
        else:
            decoder, decoder_bias = take_decoder(arrays, n_items, encoder.shape[1])
        return cls(
            encoder=encoder,
            encoder_bias=encoder_bias,
            decoder=decoder,
            decoder_bias=decoder_bias,
            input_power=take_number(config, "input_power", 0, 1),
            settings=dict(config),
        )


def _half_tanh(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tanh(z / 2)


@loop(fastmath=FAST)
def _encode(indptr: Ints, indices: Ints, E: Floats, bias: Floats, power: float, codes: Floats) -> None:
    """Write 2σ(bias + Σ E_j / m^power) − 1 to codes (B, d), the sum over the m items j of a history.

    It is computed as the tanh of half of the argument.
    """
    two = E.dtype.type(2)
    for b in range(codes.shape[0]):
        z = codes[b]
        for k in range(z.shape[0]):
            z[k] = bias[k]
        first, last = indptr[b], indptr[b + 1]
        scale = E.dtype.type(max(last - first, 1) ** -power)
        for p in range(first, last):
            row = E[indices[p]]
            for k in range(z.shape[0]):
                z[k] += scale * row[k]
        for k in range(z.shape[0]):
            z[k] = np.tanh(z[k] / two)
