"""The rows of an exact output layer on any torch device: the way a GPU keeps them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import Floats
from recae.training.block_math import MAX_SHRINK, Dense, Sparse
from recae.training.decoder import BLOCK_ROWS, MAX_DRIFT, MAX_HASTE
from recae.training.device_blocks import _gram as spread_gram
from recae.training.rows import Rows, Steps
from recae.training.segments import solve_in_order, sort_by_item, sums


class DeviceRows(Rows):
    """On any torch device, with plain torch operations; U is folded into V instead of being rescaled."""

    def __init__(self, W: Floats, fold_every: int, device: torch.device) -> None:
        super().__init__(W, fold_every, device)
        self._V = torch.from_numpy(W).to(device)
        D = W.shape[1]
        self.dense = Dense(*(torch.eye(D, dtype=self._V.dtype, device=device) for _ in range(3)))
        self._drift = torch.zeros((), dtype=torch.float64, device=device)
        self._haste = 1
        self._fold()
        self._drift.zero_()  # there was no Q before
        self._haste = 1

    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        (segments,) = sort_by_item(torch.zeros_like(items), items, len(self._V), 1)
        order = segments.order
        by_item, a, x, j = who[order], weights[order], targets[order], items[order]
        r = torch.empty_like(a)

        def residuals(P: Tensor, C: Tensor) -> Sparse:
            o = (self._V[j] * P[by_item]).sum(1)
            o, r[:] = solve_in_order(o, by_item, C, a, x, segments)
            by_user, squares = torch.empty_like(r), torch.empty_like(r)
            by_user[order], squares[order] = r, a * (a - 1) / 2 * (o - x) ** 2
            RV = sums(by_user[:, None] * self._V[items], offsets)
            return Sparse(RV, spread_gram(by_item, r, segments, len(P)), sums(squares, offsets))

        def update_rows(Z: Tensor) -> None:
            change = sums(r[:, None] * Z[by_item], segments.starts)
            self._V[segments.distinct] = self._V[segments.distinct] - change

        return residuals, update_rows

    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        shrink = -np.log1p(-learning_rate) * users
        self._shrunk += shrink
        if self._since_fold * self._haste >= self._fold_every or self._shrunk > MAX_SHRINK:
            self._fold()
            self._shrunk = shrink
        self._since_fold += users

    def _fold(self) -> None:
        """V ← V U, U ← I, U⁻¹ ← I, Q ← VᵀV."""
        dense = self.dense
        before = dense.Q.clone()
        dense.Q.zero_()
        for rows in torch.split(self._V, BLOCK_ROWS):
            rows.copy_(rows @ dense.U)
            dense.Q.addmm_(rows.T, rows)
        largest = dense.Q.abs().max().clamp(min=torch.finfo(dense.Q.dtype).tiny)
        drift = (dense.Q - before).abs().max() / largest
        self._drift = torch.maximum(self._drift, drift.double())
        if float(drift) > MAX_DRIFT and self._haste < MAX_HASTE:
            self._haste *= 2
        for M in (dense.U, dense.U_inv):
            M.zero_().fill_diagonal_(1)
        self._since_fold = 0

    def weights(self) -> Floats:
        self._fold()
        return np.asarray(self._V.cpu().numpy())

    def take_drift(self) -> float:
        drift = float(self._drift)
        self._drift = torch.zeros_like(self._drift)
        return drift

    def _tensors(self) -> dict[str, Tensor]:
        return {"V": self._V, "U": self.dense.U, "U_inv": self.dense.U_inv, "Q": self.dense.Q}

    def state(self) -> dict[str, NDArray[Any]]:
        return {
            **{name: tensor.cpu().numpy().copy() for name, tensor in self._tensors().items()},
            "counts": np.array([self._haste, self._since_fold]),
            "reals": np.array([float(self._drift), self._shrunk]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(np.asarray(state[name])))
        self._haste, self._since_fold = (int(n) for n in state["counts"])
        self._drift = self._drift.new_tensor(float(state["reals"][0]))
        self._shrunk = float(state["reals"][1])
