"""Where the sigmoid encoder begins: at random, or at the principal directions of the purchases."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.training.config import ResolvedConfig

USERS_AT_MOST = 100_000
"""Users from whom the principal directions are found; more would change them little."""

PASSES = 2
"""Multiplications with AᵀA after the first; each makes the randomised directions sharper."""

SPARE = 16
"""Directions found beyond those kept, which sharpens the last of them (Halko, Martinsson and Tropp 2011)."""

DEVIATION = 0.25
"""Standard deviation of the first pre-activations for an encoder_scale of 1: well within the linear part of σ."""


def first_encoder(
    matrix: sp.csr_matrix, config: ResolvedConfig, rng: np.random.Generator
) -> NDArray[np.floating[Any]]:
    """The encoder's first weights (I, d), in the configuration's dtype, for the pattern `matrix` (U, I).

    "random": independent and normal. "svd": with A = D_u^−½ X D_i^−½, where D_u and D_i hold the numbers of purchases
    of each user and item, and its leading right singular vectors v_k and values s_k, column k is D_i^−½ v_k / s_k up to
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
    kept = int((values > 1e-5 * values[:1].sum()).sum())
    found = directions[:, :kept] / values[:kept]
    found *= by_item[:, None]
    lengths = np.maximum(np.diff(sample.indptr), 1).astype(np.float64)
    scaled = sp.csr_matrix(sp.diags_array((lengths**-config.input_power).astype(np.float32)) @ sample)
    deviation = float((scaled @ found).std()) if kept else 0.0
    if deviation > 0:
        found *= config.encoder_scale * DEVIATION / deviation
    weights = np.empty((n_items, d), dtype=dtype)
    weights[:, :kept] = found
    size = float(np.sqrt(np.mean(found**2))) if kept else config.encoder_scale / np.sqrt(d)
    weights[:, kept:] = size * rng.standard_normal((n_items, d - kept), dtype=dtype)
    return weights


def start_memory(config: ResolvedConfig, n_users: int, n_items: int) -> int:
    """Bytes that `first_encoder` takes beside the encoder, about, while the decoder is not there yet."""
    if config.encoder_start == "random":
        return 0
    return 4 * (config.factors + SPARE) * (2 * n_items + 2 * min(n_users, USERS_AT_MOST))


def _directions(
    matrix: sp.csr_matrix, d: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """v (I, k) and s (k,) of the normalised matrix for the k ≤ d largest s, and D_i^−½ (I,), by randomised subspace
    iteration (Halko, Martinsson and Tropp 2011, arXiv:0909.4061)."""
    by_user = np.maximum(np.diff(matrix.indptr), 1).astype(np.float32) ** np.float32(-0.5)
    owners = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    by_item = owners.astype(np.float32) ** np.float32(-0.5)
    data = np.repeat(by_user, np.diff(matrix.indptr)) * by_item[matrix.indices]
    A = sp.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
    k = min(d + SPARE, *A.shape)
    basis = rng.standard_normal((A.shape[1], k), dtype=np.float32)
    for _ in range(PASSES + 1):
        basis, _ = np.linalg.qr(A.T @ (A @ basis))
    seen = A @ basis  # (U, k)
    squares, turn = np.linalg.eigh(seen.T @ seen)
    order = np.argsort(-squares)[:d]
    values = np.sqrt(np.maximum(squares[order], 0)).astype(np.float32)
    return basis @ turn[:, order], values, by_item
