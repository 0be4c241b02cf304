"""Costs of a fit in seconds, by rules of thumb in the size of the data."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True)
class Size:
    """The data that is learned from, and the users that are validated on after each epoch.

    Attributes:
        users: Number of users.
        items: Number of items.
        interactions: Number of distinct user-item pairs.
        pairs: Σ m² over the histories of m items: what counting items bought together takes.
        validation_users: Number of users that each epoch is measured on.
        factors: Size of the code that the sigmoid autoencoder would take.
        epochs: Passes over the users that it would take.
    """

    users: int
    items: int
    interactions: int
    pairs: int
    validation_users: int
    factors: int
    epochs: int

    @classmethod
    def of(cls, matrix: sp.csr_matrix, validation_users: int) -> Size:
        """Return the size of (U, I) CSR purchases; code and epochs as the sigmoid autoencoder would choose them."""
        import numpy as np

        lengths = np.diff(matrix.indptr).astype(np.int64)
        training = import_module("recae.training.config")  # by name: this room is far below that one
        shallow = training.resolve(training.SigmoidSettings(), matrix)
        return cls(
            *matrix.shape,
            int(matrix.nnz),
            int((lengths**2).sum()),
            validation_users,
            shallow.factors,
            shallow.epochs,
        )


def counting(size: Size) -> float:
    """Return the seconds of counting which items were bought together."""
    return 2e-8 * size.pairs + 2e-5 * size.items


def inverse(size: Size) -> float:
    """Return the seconds of an inverse of items × items, or of users × users where that is less work."""
    by_users = size.users**3 + 10 * size.interactions * (size.users + size.items)
    return counting(size) + 7e-12 * min(size.items**3, by_users) + 3e-9 * size.items**2


def validating(size: Size, factors: int) -> float:
    """Return the seconds of measuring one epoch on the validation users."""
    return size.validation_users * size.items * (1e-10 * factors + 5e-9)  # of an epoch


def exact(size: Size) -> float:
    """Return the seconds of exact steps, one user at a time."""
    step = 3e-4 * (size.factors / 512) ** 2 + 2e-5
    return size.epochs * (size.users * step + validating(size, size.factors))


def dense(size: Size) -> float:
    """Return the seconds of training by mini-batches with logits of all items."""
    # logits of a hidden layer of 600, forwards and backwards
    epoch = size.users * size.items * 600 * 6 / 5e10
    return 40 * (epoch + validating(size, 600))
