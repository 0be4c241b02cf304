"""Models whose scores are products of a history's factors with an item's: what they share beyond their parameters.

The score of item j is w_j·g + c_j, with g the factors of a history. For a small batch the products are compiled: for
less than some thirty histories that beats BLAS, which first rearranges all of W, and it runs without the interpreter's
lock from end to end.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, fetch_row
from recae.models.base import JSON, Factored, check_items, take_array
from recae.sparse import row_lengths, with_values

SMALL_BATCH: Final = 32
"""Histories up to which the compiled products are faster than BLAS."""

_FETCHED_BEFORE: Final = 8  # rows of W between the one that is used and the one that is fetched from memory


def products(factors: NDArray[np.float32], W: Floats, bias: Floats | None) -> NDArray[np.float32]:
    """Return factors (B, D) · Wᵀ + bias, float32 (B, I), the caller's own.

    Args:
        factors: (B, D).
        W: (I, D).
        bias: (I,) or None.
    """
    scores: NDArray[np.float32]
    if len(factors) <= SMALL_BATCH:
        scores = np.empty((len(factors), len(W)), dtype=np.float32)
        constants = np.zeros(len(W), dtype=W.dtype) if bias is None else bias
        _small_batch(np.ascontiguousarray(factors), W, constants, scores)
        return scores
    scores = np.asarray(factors @ W.T, dtype=np.float32)
    if bias is not None:
        scores += bias
    return scores


class FactoredScores:
    """Scores of a model that is `Factored`, and its number of items."""

    @property
    def n_items(self: Factored) -> int:
        """Number of items, I."""
        return int(self.item_factors.shape[0])

    def score(self: Factored, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return the products with all items, (B, I) CSR → (B, I) float32; higher is better, nothing masked."""
        return products(self.user_factors(histories), self.item_factors, self.item_bias)

    def score_items(
        self: Factored, histories: sp.csr_matrix, items: NDArray[np.integer[Any]]
    ) -> NDArray[np.float32]:
        """Return the products with some items, (B, I) CSR, (n,) → (B, n) float32; only their rows of W are read."""
        W, bias = self.item_factors, self.item_bias
        items = check_items(items, len(W))
        scores = self.user_factors(histories) @ W[items].T
        if bias is not None:
            scores += bias[items]
        return np.asarray(scores, dtype=np.float32)


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


@njit(nogil=True, cache=True, fastmath=FAST)
def _small_batch(factors: Floats, W: Floats, bias: Floats, scores: Floats) -> None:
    """Write factors Wᵀ + bias to scores (B, I); a row's sums are the same whatever the other rows."""
    n_rows, n_items = scores.shape
    whole = n_items - n_items % 4
    for j in range(0, whole, 4):
        if j + _FETCHED_BEFORE + 4 <= n_items:
            for i in range(j + _FETCHED_BEFORE, j + _FETCHED_BEFORE + 4):
                fetch_row(W, i)
        for b in range(0, n_rows, 2):
            # one place in the code for odd and even numbers of rows, so that all sums are made in the same order
            other = b + 1 if b + 1 < n_rows else b
            _two_by_four(factors[b], factors[other], W, j, bias, scores[b], scores[other])
    for j in range(whole, n_items):
        for b in range(n_rows):
            total = W[j, 0] - W[j, 0]
            for k in range(factors.shape[1]):
                total += W[j, k] * factors[b, k]
            scores[b, j] = total + bias[j]


@njit(nogil=True, cache=True, fastmath=FAST, inline="always")
def _two_by_four(x: Floats, y: Floats, W: Floats, j: int, bias: Floats, out_x: Floats, out_y: Floats) -> Any:
    v, w, s, t = W[j], W[j + 1], W[j + 2], W[j + 3]
    zero = v[0] - v[0]
    xv, xw, xs, xt = zero, zero, zero, zero
    yv, yw, ys, yt = zero, zero, zero, zero
    for k in range(x.shape[0]):
        xv += v[k] * x[k]
        xw += w[k] * x[k]
        xs += s[k] * x[k]
        xt += t[k] * x[k]
        yv += v[k] * y[k]
        yw += w[k] * y[k]
        ys += s[k] * y[k]
        yt += t[k] * y[k]
    out_x[j], out_x[j + 1] = xv + bias[j], xw + bias[j + 1]
    out_x[j + 2], out_x[j + 3] = xs + bias[j + 2], xt + bias[j + 3]
    out_y[j], out_y[j + 1] = yv + bias[j], yw + bias[j + 1]
    out_y[j + 2], out_y[j + 3] = ys + bias[j + 2], yt + bias[j + 3]
