"""What training changes: the encoder, its AdaGrad norms and the factored decoder."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import CheckpointError
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import ResolvedConfig
from recae.training.decoder import FactoredDecoder
from recae.training.start import first_encoder


@dataclass
class Parameters:
    """Everything that training changes; `encoder_norms` are AdaGrad's accumulated squared gradient norms."""

    encoder: NDArray[np.floating[Any]]
    encoder_bias: NDArray[np.floating[Any]]
    encoder_norms: NDArray[np.floating[Any]]
    bias_norm: NDArray[np.floating[Any]]
    decoder: FactoredDecoder

    def model(self, config: ResolvedConfig) -> SigmoidAutoencoder:
        """The model with these parameters, copied, in float32."""
        weights = self.decoder.weights()
        return SigmoidAutoencoder(
            encoder=self.encoder.astype(np.float32),
            encoder_bias=self.encoder_bias.astype(np.float32),
            decoder=weights[:, :-1].astype(np.float32, order="C"),
            decoder_bias=weights[:, -1].astype(np.float32),
            input_power=config.input_power,
            settings=config.as_dict(),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, not copied, and the number of pending rescalings."""
        decoder = self.decoder
        return {
            "encoder": self.encoder,
            "encoder_bias": self.encoder_bias,
            "encoder_norms": self.encoder_norms,
            "bias_norm": self.bias_norm,
            "V": decoder.V,
            "U": decoder.U,
            "U_inv": decoder.U_inv,
            "Q": decoder.Q,
            "applied": decoder.applied,
            "directions": decoder.directions,
            "factors": decoder.factors,
            "overlaps": decoder.overlaps,
            "pending": np.array([decoder.pending]),
            "drift": np.array([decoder.drift]),
            "haste": np.array([decoder.haste]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Takes back what `state` gave. Raises CheckpointError when it counts rescalings that there are not."""
        pending, applied = int(state["pending"][0]), state["applied"]
        if (
            not 0 <= pending <= len(self.decoder.factors)
            or not 0 <= applied.min() <= applied.max() <= pending
        ):
            raise CheckpointError(
                f"it counts {pending:,} rescalings of the decoder, of which items have seen {applied.min():,} to "
                f"{applied.max():,}: the file is damaged; remove it and train without --resume"
            )
        for name, array in self.state().items():
            array[...] = state[name]
        self.decoder.pending = pending
        self.decoder.drift, self.decoder.haste = float(state["drift"][0]), int(state["haste"][0])

    def take_drift(self) -> float:
        """The largest drift of Q that a fold found since this was last asked."""
        drift, self.decoder.drift = self.decoder.drift, 0.0
        return drift


def first_parameters(matrix: sp.csr_matrix, config: ResolvedConfig) -> Parameters:
    """The encoder as `first_encoder` begins it, a small random decoder, zero biases."""
    rng = np.random.default_rng([config.seed, 0])
    n_items, d, dtype = matrix.shape[1], config.factors, np.dtype(config.dtype)
    encoder = first_encoder(matrix, config, rng)
    W = np.zeros((n_items, d + 1), dtype)
    W[:, :d] = rng.standard_normal((n_items, d), dtype=dtype)
    W *= config.decoder_scale / np.sqrt(d)
    return Parameters(
        encoder,
        np.zeros(d, dtype),
        np.zeros(n_items, dtype),
        np.zeros(1, dtype),
        FactoredDecoder.from_weights(W),
    )
