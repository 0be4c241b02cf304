"""The shallow autoencoder: one sigmoid bottleneck between a history and its reconstruction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ModelFileError
from recae.models import few
from recae.models.base import JSON, check_histories, check_items, take_array, take_number


@dataclass(frozen=True, eq=False)
class SigmoidAutoencoder:
    """h = 2σ(Eᵀx/m^p + b) − 1 for a history x of m items, reconstruction x̂ = W h + c.

    Scaling the code from (0, 1) to (−1, 1) leaves the model as it is, since the scale folds into W and the offset into
    c; it makes plain gradient descent converge far faster.

    encoder       (I, d) float32, E
    encoder_bias  (d,) float32, b
    decoder       (I, d) float32, W; the encoder itself where the weights are tied, which are then stored once
    decoder_bias  (I,) float32, c
    input_power   p
    settings      the configuration it was trained with, kept for the record
    """

    encoder: NDArray[np.floating[Any]]
    encoder_bias: NDArray[np.floating[Any]]
    decoder: NDArray[np.floating[Any]]
    decoder_bias: NDArray[np.floating[Any]]
    input_power: float
    settings: Mapping[str, JSON]

    kind: ClassVar[str] = "sigmoid"
    trained: ClassVar[bool] = True

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.encoder.shape[0])

    @property
    def factors(self) -> int:
        """Size of the code, d."""
        return int(self.encoder.shape[1])

    def encode(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Codes of histories: (B, I) CSR → (B, d) float32 in (−1, 1). Raises DataError on another number of items."""
        check_histories(histories, self.n_items)
        codes = np.empty((histories.shape[0], self.factors), dtype=np.float32)
        few.encode(
            histories.indptr, histories.indices, self.encoder, self.encoder_bias, self.input_power, codes
        )
        return codes

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Reconstructed rows: (B, I) CSR → (B, I) float32; higher is better, nothing masked."""
        codes = self.encode(histories)
        if len(codes) <= few.FEW:
            scores = np.empty((len(codes), self.n_items), dtype=np.float32)
            few.decode(codes, self.decoder, self.decoder_bias, scores)
            return scores
        scores = codes @ self.decoder.T
        scores += self.decoder_bias
        return np.asarray(scores, dtype=np.float32)

    def score_items(self, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Reconstruction of some items: (B, I) CSR, (n,) → (B, n) float32; only their decoder rows are read."""
        items = check_items(items, self.n_items)
        scores = self.encode(histories) @ self.decoder[items].T
        scores += self.decoder_bias[items]
        return np.asarray(scores, dtype=np.float32)

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """The decoder W, float32 (I, d)."""
        return np.asarray(self.decoder, dtype=np.float32)

    def user_factors(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """`encode`: what the decoder multiplies."""
        return self.encode(histories)

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """The decoder W again."""
        return self.item_vectors

    @property
    def item_bias(self) -> NDArray[np.float32]:
        """c, float32 (I,)."""
        return np.asarray(self.decoder_bias, dtype=np.float32)

    def config(self) -> dict[str, JSON]:
        """The settings it was trained with."""
        return dict(self.settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Parameters by name; no decoder where it is the encoder."""
        own = {} if self.decoder is self.encoder else {"decoder": self.decoder}
        return {
            "encoder": self.encoder,
            "encoder_bias": self.encoder_bias,
            **own,
            "decoder_bias": self.decoder_bias,
        }

    @classmethod
    def from_arrays(
        cls, config: Mapping[str, JSON], arrays: Mapping[str, NDArray[Any]], n_items: int
    ) -> Self:
        """The model with these parameters. Raises ModelFileError when one is missing or of another shape or type."""
        encoder = take_array(arrays, "encoder", np.float32, (n_items, None))
        factors = encoder.shape[1]
        tied = config.get("tied", False)
        if not isinstance(tied, bool):
            raise ModelFileError(
                f"the model file's configuration should give 'tied' as true or false, but gives {tied!r}; "
                "train the model again"
            )
        decoder = encoder if tied else take_array(arrays, "decoder", np.float32, (n_items, factors))
        return cls(
            encoder=encoder,
            encoder_bias=take_array(arrays, "encoder_bias", np.float32, (factors,)),
            decoder=decoder,
            decoder_bias=take_array(arrays, "decoder_bias", np.float32, (n_items,)),
            input_power=take_number(config, "input_power", 0, 1),
            settings=dict(config),
        )
