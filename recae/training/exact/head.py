"""The exact output layer for any encoder: per-user steps of the squared error at a cost without the number of items."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import Floats
from recae.training.batches import Batch
from recae.training.exact.blocks import HostRows
from recae.training.exact.cuda import DeviceRows
from recae.training.exact.steps import WEIGHT, Rows, in_turn, take_steps, users_together


class ExactHead:
    """The output layer O = HWᵀ + bias, trained by one exact step a user on the users' codes.

    For a user with code h (a constant 1 for the bias appended), targets x and outputs o the loss is

        ℓ = Σ_j (o_j − x_j)² + Σ_{j stored} (a_j − 1)(o_j − x_j)²,     a_j = purchase_weight · batch.weights_j,

    and the step W ← W − lr/‖h‖² · ½ ∂ℓ/∂W, which changes all I rows, is made on the factors of W = V U (see
    `steps` and `decoder`; arXiv:1412.7091). lr · a below 2 for all entries, or steps enlarge the errors.
    """

    def __init__(
        self,
        n_items: int,
        size: int,
        *,
        learning_rate: float,
        purchase_weight: float = 1.0,
        fold_every: int = 50_000,
        decoder_scale: float = 0.01,
        dtype: str = "float32",
        device: "str | torch.device" = "cpu",
        rng: np.random.Generator,
    ) -> None:
        """Begin with small random weights.

        Args:
            n_items: outputs, I.
            size: numbers in a code, D.
            learning_rate: lr in (0, 1), the step normalised by ‖h‖².
            purchase_weight: α ≥ 1.
            fold_every: most users between two consolidations of U into V.
            decoder_scale: standard deviation of the first weights, times √D; the first bias is 0.
            dtype: "float32" or "float64".
            device: of torch.
            rng: of the first weights, drawn on the host whatever the device.
        """
        self.learning_rate, self.purchase_weight = learning_rate, purchase_weight
        W = np.zeros((n_items, size + 1), np.dtype(dtype))
        W[:, :size] = rng.standard_normal((n_items, size), dtype=W.dtype.type)
        W *= decoder_scale / np.sqrt(size)
        device = torch.device(device)
        rows: type[Rows] = HostRows if device.type == "cpu" else DeviceRows
        self._rows = rows(W, fold_every, device)

    def step(self, H: Tensor, batch: Batch, rate: float = 1.0) -> tuple[Tensor, Tensor]:
        """Take one step for each of the users with codes H (B, D), in order, with the learning rate times `rate`.

        H holds no constant and no graph. Returns the sum of their losses, 0-d, and its gradient at H, (B, D): a user's
        loss and gradient are those of the layer after the steps of the users before.
        """
        lr = self.learning_rate * rate
        codes = torch.cat([H, H.new_ones(len(H), 1)], dim=1)
        gradient = torch.empty_like(codes)
        loss = torch.zeros((), dtype=torch.float64, device=H.device)
        weights = self.purchase_weight * batch.weights
        together = users_together(self.learning_rate, max(1, len(H)), H.device.type)
        offsets = batch.on_host
        for first in range(0, len(H), together):
            last = min(first + together, len(H))
            self._rows.keep_conditioned(last - first, self.learning_rate)
            part = slice(offsets[first], offsets[last])
            steps = self._rows.of_purchases(
                batch.items[part],
                batch.rows[part] - first,
                batch.offsets[first : last + 1] - offsets[first],
                weights[part],
                batch.targets[part],
            )
            gradient[first:last], more = take_steps(
                codes[first:last], lr, WEIGHT, self._rows.dense, *steps, in_turn
            )
            loss = loss + more
        return loss, 2 * gradient[:, :-1]

    def weights(self) -> tuple[Floats, Floats]:
        """Return W (I, D) and the bias (I,), copied to the host, in the dtype of the layer."""
        W = self._rows.weights()
        return W[:, :-1].copy(), W[:, -1].copy()

    def take_drift(self) -> float:
        """Return the largest relative error of Q = WᵀW found since the last call."""
        return self._rows.take_drift()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that steps change, by name; `restore` of it goes on with the same bits."""
        return self._rows.state()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned.

        Raises:
            CheckpointError: it counts rescalings that do not exist.
        """
        self._rows.restore(state)
