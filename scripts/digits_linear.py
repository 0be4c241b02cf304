"""What scripts/digits.py holds its networks against, PCA and the best linear map, and the error of them all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Pca:
    """The mean (64,) of digits and their first principal directions (d, 64)."""

    mean: Floats
    directions: Floats

    @classmethod
    def of(cls, digits: Floats, size: int) -> "Pca":
        """Of digits (n, 64); `size` directions, d."""
        mean = digits.mean(axis=0)
        return cls(mean, np.linalg.svd(digits - mean, full_matrices=False)[2][:size])

    def reconstruct(self, digits: Floats) -> Floats:
        """Digits (n, 64) after their projection onto the directions."""
        rebuilt = (digits - self.mean) @ self.directions.T @ self.directions + self.mean
        return np.asarray(rebuilt, dtype=np.float32)


@dataclass(frozen=True)
class Linear:
    """The map x → xᵀA + b with the least mean squared error from masked digits to whole ones."""

    weights: NDArray[np.float64]
    constant: NDArray[np.float64]

    @classmethod
    def of(cls, digits: Floats, noise: float) -> "Linear":
        """In closed form over all ways to hide each pixel of the digits (n, 64) with probability `noise`.

        With S = XᵀX for X with a column of ones, and q the probability that a column is seen: E[X̃ᵀX̃]_ij = S_ij q_i q_j,
        and S_ii q_i on the diagonal; E[X̃ᵀX]_ij = q_i S_ij (Chen et al., 2012, arXiv:1206.4683).
        """
        X = np.column_stack([digits, np.ones(len(digits))]).astype(np.float64)
        seen = np.append(np.full(digits.shape[1], 1 - noise), 1.0)
        S = X.T @ X
        noisy = S * np.outer(seen, seen)
        np.fill_diagonal(noisy, np.diag(S) * seen)
        # some pixels at the edge are never inked
        A = np.linalg.lstsq(noisy, seen[:, None] * S[:, :-1], rcond=None)[0]
        return cls(np.asarray(A[:-1], dtype=np.float64), np.asarray(A[-1], dtype=np.float64))

    def reconstruct(self, digits: Floats) -> Floats:
        """Guesses (n, 64) of the digits whose masked ones are given."""
        return np.asarray(digits @ self.weights + self.constant, dtype=np.float32)


def error_of(found: Floats, digits: Floats, where: Flags | None = None) -> float:
    """The squared error of reconstructions (n, 64), summed over the pixels (at `where`), a mean over the digits.

    Reconstructions are clipped to [0, 1], which a linear one leaves more often than a network's.
    """
    squares = (np.clip(found, 0, 1).astype(np.float64) - digits) ** 2
    return float((squares if where is None else squares * where).sum(axis=1).mean())
