"""The exact steps of a block of users as matrix products, on any torch device.

The codes of a block are computed together; its users then take their steps one after the other, as in per-user SGD:

    e_b = W h_b + r_b,    W ← W − s_b e_b h_bᵀ,    s_b = lr/‖h_b‖²,    b = 1 … B

with r_b the sparse part of the residual (arXiv:1412.7091). With rows h_b, r_b, e_b in H (B, D), R (B, I) and E (B, I),
S = diag(s), G = HHᵀ and its strictly lower part L, forward substitution over the users reads

    S E = T (HWᵀ + R),    T = (S⁻¹ + L)⁻¹    (B×B, lower triangular; the compact WY form of the product of the steps)

so that the weights after the block, their Gram matrix Q = WᵀW and the factors of W = V U are

    W ← W A − RᵀTᵀH,                         A = I − HᵀTᵀH
    U ← U A,      U⁻¹ ← U⁻¹ + HᵀZ,           Z = M H U⁻¹,  M = (S⁻¹ − G + strictly upper part of G)⁻¹
    V ← V − RᵀZ                              (rows of the block's purchases alone)
    Q ← Q − X − Xᵀ,                          X = Hᵀ(F − L_N H − ½D_N H),   F = T(HQ + RW)
    N = S E Eᵀ S = T(HQHᵀ + HWᵀRᵀ + RWHᵀ + RRᵀ)Tᵀ,   L_N, D_N its strictly lower part and its diagonal

and the gradient at the code of user b, before the user's own step, is row b of S⁻¹(F − L_N H). All of it is the
product of contractions for every lr < 2, however large B; what limits B is U: (1 − lr)^B ≤ ‖A x‖/‖x‖ for all x, with
equality when all codes are one and the same.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor

from recae.compiled import Floats

A = TypeVar("A")
B = TypeVar("B")

MAX_TOGETHER = 128
"""Users whose steps are taken together, at most: the work of the B×B matrices grows with B² and is small beside that of
the D×D matrices up to here, and larger products gain little."""

MAX_TOGETHER_ON_GPU = 512
"""Likewise on a GPU, where calls are what costs: so many users take as many of them as one does."""

MAX_SHRINK = 6.0
"""−B log(1 − lr) of the users whose steps are taken together, at most: U shrinks by e⁻⁶ = 1/400 in the worst case."""


@dataclass
class Dense:
    """The small matrices of the factored decoder: U, U_inv, Q, (D, D) each; updated in place.

    Of several processes each has some rows of U, (w, D), and columns of U_inv and Q, (D, w): see `Split`.
    """

    U: Tensor
    U_inv: Tensor
    Q: Tensor


class Split:
    """How several processes divide the columns of the small matrices among them; here one has them all.

    Attributes:
        columns: of U_inv and Q, and rows of U, that this process has.
        alone: whether that is all of them.
    """

    columns: slice = slice(None)
    alone: bool = True

    def join(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return all columns (B, D) of matrices of which this process has its own."""
        return parts

    def products(self, RV: Tensor, UH: Tensor, HQ: Tensor, H: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
        """Return RW and HQHᵀ + 2 RWHᵀ, of RV and H (B, D) in full and UH, HQ, RW in this process's columns."""
        RW = RV @ U
        return RW, (HQ + 2 * RW) @ H.T


WHOLE = Split()


@dataclass
class Sparse:
    """What the purchases of a block come to.

    Attributes:
        RV: (B, D) R V.
        RR: (B, B) RRᵀ.
        squares: (B,) Σ_{j∈S_b} (o_bj − 1)², o_b = W h_b before the step of b.
    """

    RV: Tensor
    RR: Tensor
    squares: Tensor


class Both(Protocol):
    """Callable that runs two independent functions, at the same time where that helps."""

    def __call__(self, first: Callable[[], A], second: Callable[[], B], /) -> tuple[A, B]:
        """Return the results of the two."""
        ...


def in_turn(first: Callable[[], A], second: Callable[[], B], /) -> tuple[A, B]:
    """Call one function after the other, and return their results."""
    return first(), second()


def users_together(learning_rate: float, batch_size: int, device: str = "cpu") -> int:
    """Return how many users can take their steps in one product: (1 − lr)^B ≥ e^−MAX_SHRINK, at least one."""
    most = MAX_TOGETHER if device == "cpu" else MAX_TOGETHER_ON_GPU
    return max(1, min(batch_size, most, int(MAX_SHRINK / -math.log1p(-learning_rate))))


def take_steps(
    H: Tensor,
    learning_rate: float,
    purchase_weight: float,
    dense: Dense,
    residuals: Callable[[Tensor, Tensor], Sparse],
    update_rows: Callable[[Tensor], None],
    both: "Both",
    split: Split = WHOLE,
) -> tuple[Tensor, Tensor]:
    """Take the steps of the users with codes H (B, D), in order; return the gradients at H, (B, D), and the loss, 0-d.

    Args:
        H: codes (B, D).
        learning_rate: lr, the step normalised by ‖h‖².
        purchase_weight: α.
        dense: the small matrices, updated in place.
        residuals: (P (B, D), C (B, B)) → Sparse. The output of user b for item j is V_j·P_b − Σ_c C_bc r_cj over the
            earlier users c with this purchase; r = (α − 1)(o − 1) − 1.
        update_rows: Z (B, D): V_j ← V_j − Σ_b r_bj Z_b for the block's purchases.
        both: calls two functions that do not depend on one another, at the same time where that helps.
        split: which part of the small matrices `dense` holds, and how to put parts together.

    The gradient is that of half the loss. The loss is the sum over the users of the weighted squared errors.
    """
    U, U_inv, Q = dense.U, dense.U_inv, dense.Q
    norms = (H * H).sum(1)
    s = (learning_rate / norms)[:, None]
    own = H[:, split.columns]

    def towards_outputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # T = (I + S L)⁻¹ S;  M = (I − S (diag G + L))⁻¹ S, and S diag G = lr
        SL = ((H @ H.T) * s).tril_(-1)
        shrink = 1 / (1 - learning_rate)
        T, M = _inverse(SL) * s.T, _inverse(SL * -shrink) * (shrink * s.T)
        # S⁻¹T = I − (what earlier residuals change): E = S⁻¹T(HWᵀ + R) and O = E − R
        UH = H @ U.T
        return T, M, UH, (T @ UH).div_(s)

    (T, M, UH, P), (Y, HQ) = both(towards_outputs, lambda: (H @ U_inv, H @ Q))
    (P,) = split.join(P)
    sparse = residuals(P, (-T / s).tril_(-1))

    def find_gradient() -> tuple[Tensor, Tensor]:
        RW, N = split.products(sparse.RV, UH, HQ, H, U)
        N = T @ ((N + N.T) / 2 + sparse.RR) @ T.T
        return torch.addmm(T @ (HQ + RW), N.tril(-1), own, alpha=-1), N.diagonal()

    def update_rest() -> Tensor:
        Z = M @ Y
        U_inv.addmm_(H.T, Z)
        if split.alone:  # at once; else it takes all columns of Z
            update_rows(Z)
        return Z

    (gradient, N_diagonal), Z = both(find_gradient, update_rest)
    if not split.alone:
        gradient, Z = split.join(gradient, Z)
        update_rows(Z)

    def update_gram() -> None:
        G = gradient - (N_diagonal / 2)[:, None] * H
        X = H.T @ G[:, split.columns]
        Q.sub_(X).sub_(X.T if split.alone else G.T @ own)

    both(lambda: U.addmm_(UH.T, T.T @ H, alpha=-1), update_gram)

    # ‖e_b‖² counts a purchase's error α² times, the loss α times
    errors = N_diagonal / (s[:, 0] * s[:, 0])
    excess = purchase_weight * (purchase_weight - 1)
    loss = (errors - excess * sparse.squares).double().sum()
    return gradient / s, loss


def _inverse(strictly_lower: Tensor) -> Tensor:
    """Return (I + L)⁻¹ of a strictly lower triangular L (B, B)."""
    if (
        strictly_lower.device.type == "cpu"
    ):  # LAPACK's trtri is far faster than torch's solve on one or two threads
        L = strictly_lower.numpy()
        trtri = lapack.strtri if L.dtype == np.float32 else lapack.dtrtri
        inverse, _ = trtri(L.T, lower=0, unitdiag=1)  # (Lᵀ in Fortran's order is L in C's)
        found = torch.from_numpy(inverse.T)
        found.diagonal().fill_(1)
        return found
    identity = torch.eye(len(strictly_lower), dtype=strictly_lower.dtype, device=strictly_lower.device)
    solved: Tensor = torch.linalg.solve_triangular(strictly_lower, identity, upper=False, unitriangular=True)
    return solved


WEIGHT = 2.0
"""The purchase weight that `take_steps` is told. It takes WEIGHT (WEIGHT − 1) = 2 times `squares` from the loss, so
that `squares` with half of Σ a(a − 1)(o − x)² gives each entry its own weight a."""

Steps = tuple[Callable[[Tensor, Tensor], Sparse], Callable[[Tensor], None]]


class Rows(ABC):
    """The factors of W with the bias as its last column: the small ones in `dense`, and the row of each item."""

    dense: Dense

    def __init__(self, W: Floats, consolidate_every: int, device: torch.device) -> None:
        """Take W (I, D + 1) and the most users between two consolidations."""
        self._consolidate_every = consolidate_every
        self._since_consolidation, self._shrunk = 0, 0.0

    @abstractmethod
    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        """Return the residuals of the entries (n,) of some users and the update of their rows, for `take_steps`."""

    @abstractmethod
    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        """Consolidate or rescale U before the steps of some users, where it would shrink or Q drift too far."""

    @abstractmethod
    def weights(self) -> Floats:
        """Return W (I, D + 1) on the host."""

    @abstractmethod
    def take_drift(self) -> float:
        """Return the largest relative error of Q found since the last call."""

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that steps change, by name."""

    @abstractmethod
    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned."""
