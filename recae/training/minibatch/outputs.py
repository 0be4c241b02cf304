"""Output layers of mini-batch training, each with its loss: W H + c from the last hidden layer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recae.training.batches import Batch
from recae.training.exact.head import ExactHead
from recae.training.minibatch.losses import (
    BLOCK_BYTES,
    Sample,
    Sampler,
    logistic_loss,
    multinomial_loss,
    sampled_logistic_loss,
    sampled_multinomial_loss,
    squared_loss,
)
from recae.training.minibatch.networks import to_numpy


class Output(nn.Module, ABC):
    """An output layer with its loss; `parameters` are what the trainer's optimiser moves."""

    @abstractmethod
    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Return the loss of codes H (B, D) summed over the users, and a number with the same gradient; both 0-d."""

    @abstractmethod
    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return W (I, D) and the constants c (I,), copied."""

    def begin_step(self, batch: Batch, rng: np.random.Generator) -> None:
        """Prepare for a step's loss; `rng` is the source of its random numbers."""

    def take_drift(self) -> float:
        """Return the drift as `Trainer.take_drift`."""
        return 0.0

    def more_state(self) -> dict[str, NDArray[Any]]:
        """Return what steps change besides the parameters, by name."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `more_state` gave."""


class ExactOutput(Output):
    """Squared error by exact steps, one a user, of a layer that no optimiser touches: see `ExactHead`."""

    def __init__(self, head: ExactHead) -> None:
        """Start with the factored layer `head`."""
        super().__init__()
        self._head = head

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Take the steps and return the loss as `Output.loss`."""
        value, gradient = self._head.step(H.detach(), batch, rate)
        return value, (H * gradient).sum()

    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return W (I, D) and c (I,)."""
        W, c = self._head.weights()
        return W.astype(np.float32), c.astype(np.float32)

    def take_drift(self) -> float:
        """Return the largest drift of Q since this was last asked."""
        return self._head.take_drift()

    def more_state(self) -> dict[str, NDArray[Any]]:
        """Return the factored layer by name."""
        return self._head.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `more_state` gave."""
        self._head.restore(dict(state))


class FullOutput(Output):
    """A layer whose loss is taken over the whole catalogue and whose weights the optimiser moves.

    With tied weights, W is the network's own first layer, and this one has no more than the constants.
    """

    def __init__(
        self,
        loss: str,
        purchase_weight: float,
        n_items: int,
        W: nn.Parameter | None,
        tied: nn.Parameter | None,
    ) -> None:
        """Set up the layer.

        Args:
            loss: "squared", "logistic" or "multinomial".
            purchase_weight: α.
            n_items: I.
            W: the layer's own weights (I, D), or None with `tied`.
            tied: the first layer's weights (I, D) that are shared, or None.
        """
        super().__init__()
        self._loss, self._purchase_weight = loss, purchase_weight
        self._tied = None if tied is None else [tied]  # in a list, so that it is not registered a second time
        if W is not None:
            self.W = W
        like = self._weight()
        self.bias = nn.Parameter(torch.zeros(n_items, dtype=like.dtype, device=like.device))

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Return the loss, twice."""
        W, c = self._weight(), self.bias
        if self._loss == "multinomial":
            value = multinomial_loss(H, W, c, batch)
        elif self._loss == "logistic":
            value = logistic_loss(H, W, c, batch, self._purchase_weight)
        elif _cheaper_with_outputs(len(H), W):
            value = plain_squared_loss(H, W, c, batch, self._purchase_weight)
        else:
            value = squared_loss(H, W, c, batch, self._purchase_weight)
        return value.detach(), value

    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return W (I, D) and c (I,)."""
        return to_numpy(self._weight()), to_numpy(self.bias)

    def _weight(self) -> nn.Parameter:
        return self.W if self._tied is None else self._tied[0]


def _cheaper_with_outputs(users: int, W: Tensor) -> bool:
    """Return whether all outputs of a batch are cheaper to compute than WᵀW.

    The outputs take 6 B I D operations, WᵀW takes 4 I D²; they must also fit in a block, with what their gradient
    needs.
    """
    n_items, size = W.shape
    return 3 * users < 2 * size and 4 * users * n_items * W.element_size() <= BLOCK_BYTES


def plain_squared_loss(H: Tensor, W: Tensor, bias: Tensor, batch: Batch, purchase_weight: float) -> Tensor:
    """Return `squared_loss` by way of all outputs (B, I); cheaper for small batches."""
    outputs = torch.addmm(bias, H, W.T)
    o = outputs[batch.rows, batch.items]
    alpha = purchase_weight * batch.weights
    every = (outputs * outputs).sum(dtype=torch.float64)
    at_stored = (alpha * (o - batch.targets) ** 2 - o * o).sum(dtype=torch.float64)
    return (every + at_stored).to(H.dtype)


class SampledOutput(Output):
    """A layer whose loss is taken on a sample of the catalogue; a step reads and moves the rows of the sample alone."""

    def __init__(self, loss: str, purchase_weight: float, W: Tensor, sampler: Sampler) -> None:
        """Set up the layer.

        Args:
            loss: "logistic" or "multinomial".
            purchase_weight: α.
            W: first weights (I, D).
            sampler: of the items of a step.
        """
        super().__init__()
        self._loss, self._purchase_weight, self._sampler = loss, purchase_weight, sampler
        self.rows = nn.Embedding.from_pretrained(W, freeze=False, sparse=True)
        self.constants = nn.Embedding.from_pretrained(W.new_zeros(len(W), 1), freeze=False, sparse=True)
        self._sample: Sample | None = None

    def begin_step(self, batch: Batch, rng: np.random.Generator) -> None:
        """Draw the sample."""
        self._sample = self._sampler.draw(batch, rng)

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Return the loss on the sample, twice."""
        sample = self._sample
        assert sample is not None  # noqa: S101 (begin_step comes first)
        W, c = self.rows(sample.items), self.constants(sample.items)[:, 0]
        if self._loss == "multinomial":
            value = sampled_multinomial_loss(H, W, c, sample)
        else:
            value = sampled_logistic_loss(H, W, c, sample, self._purchase_weight)
        return value.detach(), value

    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return W (I, D) and c (I,)."""
        return to_numpy(self.rows.weight), to_numpy(self.constants.weight[:, 0])
