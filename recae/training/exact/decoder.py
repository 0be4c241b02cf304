"""The factored decoder W = V U that per-user SGD updates at a cost without the number of items in it."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from recae.compiled import FAST, Floats, Ints
from recae.loops import loop
from recae.training.exact.kernels import catch_up
from recae.training.exact.ranks import ALONE, Ranks

BLOCK_ROWS = 8192

SMALLEST_SINGULAR_VALUE = 0.1
"""U is rescaled along a direction once it has shrunk to this; well above float32's resolution of 1e-7."""

POWER_ITERATIONS = 8

MAX_DRIFT = 1e-3
"""Drift of Q above which it is recomputed twice as often; float32 gives 1e-6 to 1e-4 in 10,000 users."""

MAX_HASTE = 1024

MAX_PENDING = 64
"""Rescalings held before U is consolidated: what the row of an item bought for the first time has to catch up with."""


@dataclass
class FactoredDecoder:
    """W = V U with Q = WᵀW beside it (arXiv:1412.7091); the last column of W is the output bias.

    V (I, D), U (D, D), U_inv (D, D), Q (D, D), all of one floating type.

    Each step shrinks U along the user's code. Codes have directions in common, above all their mean, along which U
    would be numerically singular after some thousand steps. Consolidating U into V repairs that, but touches the whole
    catalogue. Rescaling one direction x does too,

        U ← M⁻¹U,  U⁻¹ ← U⁻¹M,  V ← V M   with M = I + c x xᵀ,

    and V ← V M is applied to an item's row only when the item is next bought: `applied` counts, for each item, how many
    of the `pending` rescalings its row has seen.

    `drift` is the largest max|Q − WᵀW| / max|WᵀW| that a consolidation has found since it was last set to zero: what
    rounding has added to Q. `haste` is how many times as often as configured U is to be consolidated; a consolidation
    that finds more drift than MAX_DRIFT doubles it.

    Of several processes (`ranks`) each has the rows of its own items in V and `applied`. Of U it keeps some rows and of
    U_inv and Q some columns up to date, those of `ranks.range`; `consolidate` and `join` do so for the rest.
    """

    V: Floats
    U: Floats
    U_inv: Floats
    Q: Floats
    applied: NDArray[np.int32]
    directions: Floats  # (MAX_PENDING, D), unit rows x
    factors: Floats  # (MAX_PENDING,), c
    overlaps: Floats  # (MAX_PENDING, MAX_PENDING), directions directionsᵀ below the diagonal
    pending: int = field(default=0)
    drift: float = field(default=0.0)
    haste: int = field(default=1)
    ranks: Ranks = field(default=ALONE)

    @classmethod
    def from_weights(cls, W: Floats, ranks: Ranks = ALONE) -> Self:
        """Return the decoder of W (I, D), the rows of this process's items, which is taken over, not copied."""
        n_items, D = W.shape
        identity = np.eye(D, dtype=W.dtype)
        decoder = cls(
            V=W,
            U=identity,
            U_inv=identity.copy(),
            Q=np.zeros_like(identity),
            applied=np.zeros(n_items, np.int32),
            directions=np.zeros((MAX_PENDING, D), W.dtype),
            factors=np.zeros(MAX_PENDING, W.dtype),
            overlaps=np.zeros((MAX_PENDING, MAX_PENDING), W.dtype),
            ranks=ranks,
        )
        decoder.consolidate()
        decoder.drift, decoder.haste = 0.0, 1  # there was no Q before
        return decoder

    def consolidate(self) -> None:
        """Set V ← V U, U ← I, U⁻¹ ← I, Q ← VᵀV: the same W, with U well conditioned and Q free of drift."""
        self._catch_up()
        self.join()
        before = self.Q.copy()
        self.Q[:] = 0
        for first in range(0, len(self.V), BLOCK_ROWS):
            block = self.V[first : first + BLOCK_ROWS]
            block[:] = block @ self.U
            self.Q += block.T @ block
        self.ranks.sum(self.Q)
        largest = max(np.abs(self.Q).max(), np.finfo(self.Q.dtype).tiny)
        found = np.array([np.abs(self.Q - before).max() / largest])
        self.ranks.agree(found)
        drift = float(found[0])
        self.drift = float(np.maximum(self.drift, drift))  # which keeps a NaN
        if drift > MAX_DRIFT and self.haste < MAX_HASTE:
            self.haste *= 2
        self.U[:] = 0
        np.fill_diagonal(self.U, 1)
        self.U_inv[:] = self.U

    def join(self) -> None:
        """Bring U, U_inv and Q up to date, of which each process has a part."""
        self.ranks.join_rows(self.U)
        for matrix in (self.U_inv, self.Q):
            self.ranks.join_rows(matrix.T)

    def weights(self) -> Floats:
        """Return W (I, D), which is V after consolidation and no copy; of several processes, this one's rows."""
        self.consolidate()
        return self.V

    def condition(self) -> None:
        """Rescale the directions along which U has become small; consolidate where too many rescalings are pending."""
        self.join()
        while True:
            x, smallest = self._smallest_direction()
            if not smallest <= SMALLEST_SINGULAR_VALUE:  # NaN too: the next loss will tell
                return
            if self.pending == MAX_PENDING:
                self.consolidate()
                return
            c = smallest - 1
            self.U += np.outer(x, (1 / smallest - 1) * (x @ self.U))
            self.U_inv += np.outer(c * (self.U_inv @ x), x)
            # M⁻¹(U U⁻¹)M enlarges what rounding has left of xᵀ(I − U U⁻¹); a Newton step for this row squares it away
            self.U_inv += np.outer(self.U_inv @ x, x - (x @ self.U) @ self.U_inv)
            self.overlaps[self.pending, : self.pending] = self.directions[: self.pending] @ x
            self.directions[self.pending] = x
            self.factors[self.pending] = c
            self.pending += 1

    def _smallest_direction(self) -> tuple[Floats, np.floating[Any]]:
        """Return `smallest_direction`, the same in all processes."""
        found = np.append(*smallest_direction(self.U_inv))
        self.ranks.agree(found)
        return found[:-1], found[-1]

    def _catch_up(self) -> None:
        catch_up_rows(self.V, self.applied, self.directions, self.factors, self.overlaps, self.pending)
        self.applied[:] = 0
        self.pending = 0


def smallest_direction(
    U_inv: Floats,
) -> tuple[Floats, np.floating[Any]]:
    """Return an estimate of the left singular vector of U of the smallest singular value, and that value.

    By power iteration: U_inv (D, D) → ((D,) unit vector x, ‖x U‖ ≈ 1/‖U⁻¹x‖). An inexact x is still a valid
    direction to rescale.
    """
    x = np.zeros(len(U_inv), U_inv.dtype)
    x[np.argmax(np.einsum("ij,ij->j", U_inv, U_inv))] = 1
    with np.errstate(all="ignore"):  # a diverging training is reported by its loss
        for _ in range(POWER_ITERATIONS):
            x = (U_inv @ x) @ U_inv
            x /= np.linalg.norm(x)
        return x, 1 / np.linalg.norm(U_inv @ x).astype(U_inv.dtype)


@loop(fastmath=FAST)
def catch_up_rows(
    V: Floats, applied: Ints, directions: Floats, factors: Floats, overlaps: Floats, pending: int
) -> None:
    """Apply to each row of V the rescalings it has not seen."""
    missed = np.empty(len(factors), V.dtype)
    for j in range(V.shape[0]):
        if applied[j] < pending:
            catch_up(V[j], applied[j], pending, directions, factors, overlaps, missed)
