"""What training changes: the encoder, its AdaGrad norms and the factored decoder."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import CheckpointError
from recae.machine import blas_libraries
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import ResolvedSettings
from recae.training.exact.decoder import FactoredDecoder
from recae.training.exact.ranks import ALONE, Ranks

USERS_AT_MOST = 100_000
"""Users from whom the principal directions are found; more would change them little."""

PASSES = 2
"""Multiplications with AᵀA after the first; each makes the randomised directions sharper."""

SPARE = 16
"""Directions found beyond those used, which sharpens the last of them (Halko, Martinsson and Tropp 2011)."""

DEVIATION = 0.25
"""Standard deviation of the first pre-activations for an encoder_scale of 1: well within the linear part of σ."""


def first_encoder(
    matrix: sp.csr_matrix, config: ResolvedSettings, rng: np.random.Generator
) -> NDArray[np.floating[Any]]:
    """Return the encoder's first weights (I, d), in the configuration's dtype, for the pattern `matrix` (U, I).

    "random": independent and normal. "svd": with A = D_u^−½ X D_i^−½, where D_u and D_i hold the numbers of purchases
    of each user and item, and its first right singular vectors v_k and values s_k, column k is D_i^−½ v_k / s_k up to
    one factor for all, so that the pre-activations begin uncorrelated and of one deviation over the users. What a
    matrix of low rank lacks in directions is random.
    """
    d, dtype = config.factors, np.dtype(config.dtype)
    n_items = matrix.shape[1]
    if config.encoder_start == "random":
        weights: NDArray[np.floating[Any]] = rng.standard_normal((n_items, d), dtype=dtype)
        weights *= config.encoder_scale / np.sqrt(d)
        return weights
    sample = matrix
    users = np.flatnonzero(np.diff(matrix.indptr))
    if len(users) > USERS_AT_MOST:
        sample = sp.csr_matrix(matrix[np.sort(rng.permutation(users)[:USERS_AT_MOST])])
    directions, values, by_item = _directions(sample, d, rng)
    rank = int((values > 1e-5 * values[:1].sum()).sum())
    found = directions[:, :rank] / values[:rank]
    found *= by_item[:, None]
    lengths = np.maximum(np.diff(sample.indptr), 1).astype(np.float64)
    scaled = sp.csr_matrix(sp.diags_array((lengths**-config.input_power).astype(np.float32)) @ sample)
    deviation = float((scaled @ found).std()) if rank else 0.0
    if deviation > 0:
        found *= config.encoder_scale * DEVIATION / deviation
    weights = np.empty((n_items, d), dtype=dtype)
    weights[:, :rank] = found
    size = float(np.sqrt(np.mean(found**2))) if rank else config.encoder_scale / np.sqrt(d)
    weights[:, rank:] = size * rng.standard_normal((n_items, d - rank), dtype=dtype)
    return weights


def start_memory(config: ResolvedSettings, n_users: int, n_items: int) -> int:
    """Return about how many bytes `first_encoder` takes beside the encoder, before there is a decoder."""
    if config.encoder_start == "random":
        return 0
    return 4 * (config.factors + SPARE) * (2 * n_items + 2 * min(n_users, USERS_AT_MOST))


def _directions(
    matrix: sp.csr_matrix, d: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return v (I, k) and s (k,) of the normalised matrix for the k ≤ d largest s, and D_i^−½ (I,).

    By randomised subspace iteration (Halko, Martinsson and Tropp 2011, arXiv:0909.4061).
    """
    by_user = np.maximum(np.diff(matrix.indptr), 1).astype(np.float32) ** np.float32(-0.5)
    owners = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    by_item = owners.astype(np.float32) ** np.float32(-0.5)
    data = np.repeat(by_user, np.diff(matrix.indptr)) * by_item[matrix.indices]
    A = sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    k = min(d + SPARE, *A.shape)
    basis = rng.standard_normal((A.shape[1], k), dtype=np.float32)
    with blas_libraries().limit(limits=1):  # two threads take fifty times as long for the decomposition
        for _ in range(PASSES + 1):
            basis, _ = np.linalg.qr(A.T @ (A @ basis))
        seen = A @ basis  # (U, k)
        squares, turn = np.linalg.eigh(seen.T @ seen)
    order = np.argsort(-squares)[:d]
    values = np.sqrt(np.maximum(squares[order], 0)).astype(np.float32)
    return basis @ turn[:, order], values, by_item


@dataclass
class Parameters:
    """Everything that training changes; `encoder_norms` are AdaGrad's accumulated squared gradient norms.

    Of several processes (`ranks`) each has the rows of its own items, of `n_items`; what is asked for in full is right
    in process 0 alone, and all have to ask.
    """

    encoder: NDArray[np.floating[Any]]
    encoder_bias: NDArray[np.floating[Any]]
    encoder_norms: NDArray[np.floating[Any]]
    bias_norm: NDArray[np.floating[Any]]
    decoder: FactoredDecoder
    n_items: int
    ranks: Ranks = ALONE

    def collect(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Return encoder (I, d) and decoder (I, D) with its bias as the last column, in full."""
        encoder = self.ranks.gather(self.encoder, self.n_items)
        return encoder, self.ranks.gather(self.decoder.weights(), self.n_items)

    def model(self, config: ResolvedSettings) -> SigmoidAutoencoder:
        """Return the model with these parameters, copied, in float32."""
        encoder, weights = self.collect()
        return SigmoidAutoencoder(
            encoder=encoder.astype(np.float32),
            encoder_bias=self.encoder_bias.astype(np.float32),
            decoder=weights[:, :-1].astype(np.float32, order="C"),
            decoder_bias=weights[:, -1].astype(np.float32),
            input_power=config.input_power,
            settings=config.as_dict(),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, of one process not copied, and the number of pending rescalings."""
        self.decoder.join()
        rows = {name: self.ranks.gather(array, self.n_items) for name, array in self._rows().items()}
        return {**rows, **self._dense(), **self._counts()}

    def check(self, state: dict[str, NDArray[Any]]) -> None:
        """Raise CheckpointError where a state counts rescalings that do not exist."""
        pending, applied = int(state["pending"][0]), state["applied"]
        if (
            not 0 <= pending <= len(self.decoder.factors)
            or not 0 <= applied.min() <= applied.max() <= pending
        ):
            raise CheckpointError(
                f"it counts {pending:,} rescalings of the decoder, of which items have seen {applied.min():,} to "
                f"{applied.max():,}: the file is damaged; remove it and train without --resume"
            )

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned, which process 0 alone needs to have; CheckpointError as `check`."""
        if state:
            self.check(state)
        for name, rows in self._rows().items():
            self.ranks.scatter(state.get(name), rows)
        counts = self._counts()
        for name, array in {**self._dense(), **counts}.items():
            if state:
                array[...] = state[name]
            self.ranks.agree(array)
        self.decoder.pending, self.decoder.haste = int(counts["pending"][0]), int(counts["haste"][0])
        self.decoder.drift = float(counts["drift"][0])

    def _rows(self) -> dict[str, NDArray[Any]]:
        """Return what there is for each item."""
        decoder = self.decoder
        return {
            "encoder": self.encoder,
            "encoder_norms": self.encoder_norms,
            "V": decoder.V,
            "applied": decoder.applied,
        }

    def _dense(self) -> dict[str, NDArray[Any]]:
        decoder = self.decoder
        return {
            "encoder_bias": self.encoder_bias,
            "bias_norm": self.bias_norm,
            "U": decoder.U,
            "U_inv": decoder.U_inv,
            "Q": decoder.Q,
            "directions": decoder.directions,
            "factors": decoder.factors,
            "overlaps": decoder.overlaps,
        }

    def _counts(self) -> dict[str, NDArray[Any]]:
        decoder = self.decoder
        return {
            "pending": np.array([decoder.pending]),
            "drift": np.array([decoder.drift]),
            "haste": np.array([decoder.haste]),
        }

    def take_drift(self) -> float:
        """Return the largest drift of Q found since the last call."""
        drift, self.decoder.drift = self.decoder.drift, 0.0
        return drift


def first_parameters(matrix: sp.csr_matrix, config: ResolvedSettings, ranks: Ranks = ALONE) -> Parameters:
    """Return the encoder as `first_encoder` begins it, a small random decoder, zero biases.

    Of several processes each makes the rows of its own items, the same ones as a process by itself would; `matrix`
    (U, I) has to hold the purchases in process 0 alone, whose shape is enough elsewhere.
    """
    rng = np.random.default_rng([config.seed, 0])
    n_items, d, dtype = matrix.shape[1], config.factors, np.dtype(config.dtype)
    n = ranks.count(n_items)
    if config.encoder_start == "random":
        encoder = ranks.normal_rows(rng, n_items, d, dtype)
        encoder *= config.encoder_scale / np.sqrt(d)
    elif ranks.size == 1:
        encoder = first_encoder(matrix, config, rng)
    else:
        encoder = np.empty((n, d), dtype)
        ranks.scatter(first_encoder(matrix, config, rng) if ranks.rank == 0 else None, encoder)
        rng = _agreed(rng, ranks)
    W = np.zeros((n, d + 1), dtype)
    W[:, :d] = ranks.normal_rows(rng, n_items, d, dtype)
    W *= config.decoder_scale / np.sqrt(d)
    return Parameters(
        encoder,
        np.zeros(d, dtype),
        np.zeros(n, dtype),
        np.zeros(1, dtype),
        FactoredDecoder.from_weights(W, ranks),
        n_items,
        ranks,
    )


def _agreed(rng: np.random.Generator, ranks: Ranks) -> np.random.Generator:
    """Return a generator that goes on where process 0's stands."""
    state: dict[str, Any] = dict(rng.bit_generator.state)
    mask = 2**64 - 1
    inner = state["state"]
    words = [inner["state"] >> 64, inner["state"] & mask, inner["inc"] >> 64, inner["inc"] & mask]
    numbers = np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64).view(np.int64)
    ranks.agree(numbers)
    high, low, inc_high, inc_low, has, left = (int(n) for n in numbers.view(np.uint64))
    state["state"] = {"state": high << 64 | low, "inc": inc_high << 64 | inc_low}
    state["has_uint32"], state["uinteger"] = has, left
    rng.bit_generator.state = state
    return rng
