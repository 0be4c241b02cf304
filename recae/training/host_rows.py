"""The rows of an exact output layer on the CPU: compiled gathers and scatters, each entry with its own weight."""

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import FAST, Floats, Ints, fetch_row
from recae.errors import CheckpointError
from recae.training import block_kernels as kernels
from recae.training.block_math import MAX_SHRINK, Dense, Sparse
from recae.training.decoder import FactoredDecoder
from recae.training.kernels import add_scaled, catch_up, dot
from recae.training.rows import Rows, Steps


class HostRows(Rows):
    """On the CPU: the factored decoder of per-user training, with compiled gathers and scatters."""

    def __init__(self, W: Floats, fold_every: int, device: torch.device) -> None:
        super().__init__(W, fold_every, device)
        self._decoder = FactoredDecoder.from_weights(W)
        self.dense = Dense(*(torch.from_numpy(getattr(self._decoder, name)) for name in ("U", "U_inv", "Q")))

    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        decoder = self._decoder
        order, distinct, starts = kernels.sort_by_item(items.numpy())
        by_item, a, x = who.numpy()[order], weights.numpy()[order], targets.numpy()[order]
        r = np.empty_like(a)

        def residuals(P: Tensor, C: Tensor) -> Sparse:
            n, D = P.shape
            RV, RR, squares = np.zeros((n, D), r.dtype), np.zeros((n, n), r.dtype), np.zeros(n, r.dtype)
            pending = (decoder.directions, decoder.factors, decoder.overlaps, decoder.pending)
            solve_residuals(
                *(0, len(distinct), distinct, starts, by_item, decoder.V, decoder.applied, *pending),
                *(P.numpy(), C.numpy(), a, x, r, RV, RR, squares),
            )
            both = RR + np.tril(RR, -1).T
            return Sparse(*(torch.from_numpy(M) for M in (RV, both, squares)))

        def update_rows(Z: Tensor) -> None:
            kernels.update_decoder(0, len(distinct), distinct, starts, by_item, r, Z.numpy(), decoder.V)

        return residuals, update_rows

    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        shrink = -np.log1p(-learning_rate) * users
        self._shrunk += shrink
        if self._since_fold * self._decoder.haste >= self._fold_every:
            self._decoder.fold()
            self._since_fold, self._shrunk = 0, shrink
        elif self._shrunk > MAX_SHRINK:
            self._decoder.condition()
            self._shrunk = shrink
        self._since_fold += users

    def weights(self) -> Floats:
        return self._decoder.weights()

    def take_drift(self) -> float:
        drift, self._decoder.drift = self._decoder.drift, 0.0
        return drift

    def state(self) -> dict[str, NDArray[Any]]:
        names = ("V", "U", "U_inv", "Q", "applied", "directions", "factors", "overlaps")
        decoder = self._decoder
        return {
            **{name: getattr(decoder, name) for name in names},
            "counts": np.array([decoder.pending, decoder.haste, self._since_fold]),
            "reals": np.array([decoder.drift, self._shrunk]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        decoder = self._decoder
        pending, haste, since_fold = (int(n) for n in state["counts"])
        applied = state["applied"]
        if not 0 <= pending <= len(decoder.factors) or not 0 <= applied.min() <= applied.max() <= pending:
            raise CheckpointError(
                f"it counts {pending:,} rescalings of the decoder, of which items have seen {applied.min():,} to "
                f"{applied.max():,}: the file is damaged; remove it and train without --resume"
            )
        for name, array in self.state().items():
            array[...] = state[name]
        decoder.pending, decoder.haste, self._since_fold = pending, haste, since_fold
        decoder.drift, self._shrunk = (float(value) for value in state["reals"])


@njit(nogil=True, cache=True, fastmath=FAST)
def solve_residuals(
    first: int,
    last: int,
    distinct: Ints,
    starts: Ints,
    who: Ints,
    V: Floats,
    applied: Ints,
    directions: Floats,
    factors: Floats,
    overlaps: Floats,
    pending: int,
    P: Floats,
    C: Floats,
    a: Floats,
    x: Floats,
    r: Floats,
    RV: Floats,
    RR: Floats,
    squares: Floats,
) -> None:
    """`block_kernels.decode` of items `first` to `last` with a weight a and a target x for each entry, sorted by item.

    r = (a − 1)(o − x) − x.

    Adds to RV, RR (its lower triangle) and, half of a(a − 1)(o − x)², to squares.
    """
    one = V.dtype.type(1)
    half = V.dtype.type(0.5)
    missed = np.empty(len(factors), V.dtype)
    for g in range(first, last):
        j = distinct[g]
        row = V[j]
        if g + 1 < last:
            fetch_row(V, distinct[g + 1])
        if applied[j] < pending:
            catch_up(row, applied[j], pending, directions, factors, overlaps, missed)
            applied[j] = pending
        for p in range(starts[g], starts[g + 1]):
            b = who[p]
            error = dot(row, P[b]) - x[p]
            for q in range(starts[g], p):
                error -= C[b, who[q]] * r[q]
            r[p] = (a[p] - one) * error - x[p]
            squares[b] += half * a[p] * (a[p] - one) * error * error
            for q in range(starts[g], p + 1):
                RR[b, who[q]] += r[p] * r[q]
            add_scaled(RV[b], r[p], row)
