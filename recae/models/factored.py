"""Models whose scores are products of a history's factors with an item's: what they share beyond their parameters.

The score of item j is w_j·g + c_j, with g the factors of a history, by the products of `recae.models.dots`: a score is
the same number whatever other histories or items are scored with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.compiled import Floats
from recae.models.base import JSON, Factored, check_items, take_array
from recae.models.dots import dots
from recae.sparse import row_lengths, with_values

SMALL_BATCH: Final = 32
"""Histories up to which all scores of some at a time are faster than tiles of items."""


class FactoredScores:
    """Scores of a model that is `Factored`, and its number of items."""

    @property
    def n_items(self: Factored) -> int:
        """Number of items, I."""
        return int(self.item_factors.shape[0])

    def score(self: Factored, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the products with all items, (B, I) CSR → (B, I) float32; higher is better, nothing masked."""
        return dots(self.user_factors(histories), self.item_factors, self.item_bias)

    def score_items(
        self: Factored, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the products with some items, (B, I) CSR, (n,) → (B, n) float32; only their rows of W are read."""
        W, bias = self.item_factors, self.item_bias
        items = check_items(items, len(W))
        return dots(self.user_factors(histories), W[items], None if bias is None else bias[items])


@dataclass(frozen=True, eq=False)
class Autoencoder(FactoredScores, ABC):
    """An encoder whose first layer is z = Eᵀx/m^p + b for a history x of m items, and a decoder x̂ = W h + c.

    What lies between z and the code h is the kind's own.

    Attributes:
        encoder: E, float32 (I, n).
        encoder_bias: b, float32 (n,).
        decoder: W, float32 (I, D); the encoder itself where the two are tied, and then stored once.
        decoder_bias: c, float32 (I,).
        input_power: p.
        settings: the settings it was trained with, for the record.
    """

    encoder: Floats
    encoder_bias: Floats
    decoder: Floats
    decoder_bias: Floats
    input_power: float
    settings: Mapping[str, JSON]

    kind: ClassVar[str]
    trained: ClassVar[bool] = True

    @abstractmethod
    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the codes h of histories: (B, I) CSR → (B, D) float32."""

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return `encode`: what the decoder multiplies."""
        return self.encode(histories)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """The decoder W, float32 (I, D)."""
        return np.asarray(self.decoder, dtype=np.float32)

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """The decoder W again."""
        return self.item_vectors

    @property
    def item_bias(self) -> NDArray[np.float32]:
        """The decoder's bias c, float32 (I,)."""
        return np.asarray(self.decoder_bias, dtype=np.float32)

    def config(self) -> dict[str, JSON]:
        """Return the settings it was trained with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the parameters by name; no decoder where it is the encoder."""
        own = {} if self.decoder is self.encoder else {"decoder": self.decoder}
        return {
            "encoder": self.encoder,
            "encoder_bias": self.encoder_bias,
            **own,
            "decoder_bias": self.decoder_bias,
        }


def take_encoder(
    arrays: Mapping[str, NDArray[Any]], n_items: int, size: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first layer of a model file, (I, n) and (n,); n is `size`, or whatever the file has.

    Raises:
        ModelFileError: an array is missing or does not fit.
    """
    encoder = take_array(arrays, "encoder", np.float32, (n_items, size))
    return encoder, take_array(arrays, "encoder_bias", np.float32, (encoder.shape[1],))


def take_decoder(
    arrays: Mapping[str, NDArray[Any]], n_items: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the decoder of a model file and its bias, (I, D) and (I,); D is `size`.

    Raises:
        ModelFileError: an array is missing or does not fit.
    """
    decoder = take_array(arrays, "decoder", np.float32, (n_items, size))
    return decoder, take_array(arrays, "decoder_bias", np.float32, (n_items,))


def scale_by_length(histories: sp.csr_matrix, power: float) -> sp.csr_matrix:
    """Return the histories with each value divided by m^power, m the number of items of its row, in float32."""
    lengths = row_lengths(histories)
    scale = np.maximum(lengths, 1).astype(np.float64) ** -power
    return with_values(histories, histories.data * np.repeat(scale.astype(np.float32), lengths))
