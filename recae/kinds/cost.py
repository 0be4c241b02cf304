"""Costs of a fit in seconds, by rules of thumb in the size of the data."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from recae.machine import processors

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


BLOCK: Final = 512
"""Rows of a dense matrix that are filled or rescaled at once."""

GROUP: Final = 8
"""Items whose rows the dual form computes together: one vector register."""

MEMORY_SHARE: Final = 0.25
"""Part of the memory left that an exact solve may take where nobody asked for it by name."""

SECONDS_AT_MOST: Final = 30.0
"""Time that it may take likewise."""


@dataclass(frozen=True)
class ExactSolve:
    """What the exact solve of EASE or EDLAE takes: a dense matrix of items × items.

    Attributes:
        by_users: Whether a matrix of users × users is inverted, and not one of items × items.
        bytes: Of memory while it is solved; the model itself takes 4 · items².
        seconds: By a rule of thumb, within a small factor; the same for the same size and number of processors.
        why_not: Why it is not feasible within the limits asked for, a clause that says the need; empty: it is.
    """

    by_users: bool
    bytes: int
    seconds: float
    why_not: str = ""

    @property
    def feasible(self) -> bool:
        """Whether it fits into the memory and the time."""
        return not self.why_not


def exact_solve(
    users: int,
    items: int,
    interactions: int,
    left: int | None,
    threads: int,
    *,
    memory_share: float = MEMORY_SHARE,
    seconds_at_most: float = SECONDS_AT_MOST,
) -> ExactSolve:
    """Return what an exact solve takes, and whether that is feasible.

    Args:
        users: Number of users with purchases.
        items: Number of items.
        interactions: Number of distinct user-item pairs.
        left: Bytes of memory left, as `recae.training.device.memory_left("cpu")` says; None: unknown, so it fits.
        threads: Processors that solve it.
        memory_share: Part of `left` that it may take.
        seconds_at_most: Time that it may take.
    """
    allowed = None if left is None else left * memory_share
    small = 64 * interactions + 8 * BLOCK * max(users, items) + threads * GROUP * 8 * users
    primal, dual = 4 * items**2 + small, 4 * items**2 + 4 * users**2 + small
    # multiplications, those of the sparse products ten times as dear as those of dense ones
    cheaper = users**3 + 10 * interactions * (users + items) < items**3
    by_users = cheaper and (allowed is None or dual <= allowed)
    need = dual if by_users else primal
    n = users if by_users else items
    # 10 and 40 ns a pair of purchases of one user, or of one item; popular items and long histories make them more
    pairs = 4e-8 * interactions**2 / max(items, 1) if by_users else 1e-8 * interactions**2 / max(users, 1)
    products = 7e-10 * interactions * (users + items) if by_users else 0.0
    seconds = pairs + (3e-11 * n**3 + products) / max(threads, 1) + 3e-9 * items**2
    why_not = ""
    if allowed is not None and need > allowed:
        why_not = (
            f"a weight for each pair of {items:,} items needs {need / 2**30:,.1f} GiB of memory, and "
            f"{allowed / 2**30:,.1f} GiB may be taken"
        )
    elif seconds > seconds_at_most:
        why_not = (
            f"a weight for each pair of {items:,} items takes about {seconds:,.0f} s to solve, and "
            f"{seconds_at_most:,.0f} s may be taken"
        )
    return ExactSolve(by_users, need, seconds, why_not)


def inverse(size: Size) -> float:
    """Return the seconds of an inverse of items × items, or of users × users where that is less work."""
    return counting(size) + exact_solve(size.users, size.items, size.interactions, None, processors()).seconds


def validating(size: Size, factors: int) -> float:
    """Return the seconds of measuring one epoch on the validation users."""
    return size.validation_users * size.items * (1e-10 * factors + 5e-9)  # of an epoch


def filtering(size: Size) -> float:
    """Return the seconds of a graph filter of 512 directions, ten settings of which are validated."""
    width = min(576, size.users, size.items)
    directions = 2e-10 * width * 30 * size.interactions + 4e-11 * 16 * width**2 * size.items
    return counting(size) + directions + 10 * validating(size, width)


def exact(size: Size) -> float:
    """Return the seconds of exact steps, one user at a time."""
    step = 3e-4 * (size.factors / 512) ** 2 + 2e-5
    return size.epochs * (size.users * step + validating(size, size.factors))


def dense(size: Size) -> float:
    """Return the seconds of training by mini-batches with logits of all items."""
    # logits of a hidden layer of 600, forwards and backwards
    epoch = size.users * size.items * 600 * 6 / 5e10
    return 40 * (epoch + validating(size, 600))
