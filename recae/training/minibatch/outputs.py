"""The output layers that mini-batches are trained with, each with its loss: W H + c from the last hidden layer."""

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
        """The loss of the codes H (B, D) summed over the users, and a number with the same gradient; both 0-d."""

    @abstractmethod
    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """W (I, D) and the constants c (I,), copied."""

    def begin_step(self, batch: Batch, rng: np.random.Generator) -> None:
        """Is called before a step's loss with what random numbers come from."""

    def take_drift(self) -> float:
        """See `Trainer.take_drift`."""
        return 0.0

    def more_state(self) -> dict[str, NDArray[Any]]:
        """What steps change besides the parameters, by name."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes back what `more_state` gave."""


class ExactOutput(Output):
    """Squared error by exact steps, one a user, of a layer that no optimiser touches: see `ExactHead`."""

    def __init__(self, head: ExactHead) -> None:
        super().__init__()
        self._head = head

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """Takes the steps, too."""
        value, gradient = self._head.step(H.detach(), batch, rate)
        return value, (H * gradient).sum()

    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """W (I, D) and c (I,)."""
        W, c = self._head.weights()
        return W.astype(np.float32), c.astype(np.float32)

    def take_drift(self) -> float:
        """The largest drift of Q since this was last asked."""
        return self._head.take_drift()

    def more_state(self) -> dict[str, NDArray[Any]]:
        """The factored layer."""
        return self._head.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Takes back what `more_state` gave."""
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
        """`loss` is "squared", "logistic" or "multinomial"; W (I, D) the layer's own weights, or None with `tied`."""
        super().__init__()
        self._loss, self._purchase_weight = loss, purchase_weight
        self._tied = None if tied is None else [tied]  # in a list, so that it is not registered a second time
        if W is not None:
            self.W = W
        like = self._weight()
        self.bias = nn.Parameter(torch.zeros(n_items, dtype=like.dtype, device=like.device))

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """The loss, twice."""
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
        """W (I, D) and c (I,)."""
        return to_numpy(self._weight()), to_numpy(self.bias)

    def _weight(self) -> nn.Parameter:
        return self.W if self._tied is None else self._tied[0]


def _cheaper_with_outputs(users: int, W: Tensor) -> bool:
    """Whether the outputs of a batch, which take 6 B I D operations, cost less than WᵀW, which takes 4 I D², and fit in
    a block, with what their gradient needs.
    """
    n_items, size = W.shape
    return 3 * users < 2 * size and 4 * users * n_items * W.element_size() <= BLOCK_BYTES


def plain_squared_loss(H: Tensor, W: Tensor, bias: Tensor, batch: Batch, purchase_weight: float) -> Tensor:
    """`squared_loss` by way of all outputs (B, I), and so for few users."""
    outputs = torch.addmm(bias, H, W.T)
    o = outputs[batch.rows, batch.items]
    alpha = purchase_weight * batch.weights
    every = (outputs * outputs).sum(dtype=torch.float64)
    at_stored = (alpha * (o - batch.targets) ** 2 - o * o).sum(dtype=torch.float64)
    return (every + at_stored).to(H.dtype)


class SampledOutput(Output):
    """A layer whose loss is taken on a sample of the catalogue; a step reads and moves the rows of the sample alone."""

    def __init__(self, loss: str, purchase_weight: float, W: Tensor, sampler: Sampler) -> None:
        """`loss` is "logistic" or "multinomial"; W (I, D) are the first weights."""
        super().__init__()
        self._loss, self._purchase_weight, self._sampler = loss, purchase_weight, sampler
        self.rows = nn.Embedding.from_pretrained(W, freeze=False, sparse=True)
        self.constants = nn.Embedding.from_pretrained(W.new_zeros(len(W), 1), freeze=False, sparse=True)
        self._sample: Sample | None = None

    def begin_step(self, batch: Batch, rng: np.random.Generator) -> None:
        """Draws the sample."""
        self._sample = self._sampler.draw(batch, rng)

    def loss(self, H: Tensor, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """The loss on the sample, twice."""
        sample = self._sample
        assert sample is not None  # noqa: S101 (begin_step comes first)
        W, c = self.rows(sample.items), self.constants(sample.items)[:, 0]
        if self._loss == "multinomial":
            value = sampled_multinomial_loss(H, W, c, sample)
        else:
            value = sampled_logistic_loss(H, W, c, sample, self._purchase_weight)
        return value.detach(), value

    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """W (I, D) and c (I,)."""
        return to_numpy(self.rows.weight), to_numpy(self.constants.weight[:, 0])
