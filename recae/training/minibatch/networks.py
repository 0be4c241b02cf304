"""Base of the networks that are trained by mini-batches: from a batch to the last hidden layer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recae.models import Model
from recae.training.batches import Batch


@dataclass(frozen=True)
class Phase:
    """The parts that an epoch trains.

    Attributes:
        network: whether the network's own parameters move.
        output: whether the output layer moves.
        dropout: whether a part of the inputs is hidden.
        loss: whether the loss of the reconstruction counts; without it the penalty alone is trained.
    """

    network: bool = True
    output: bool = True
    dropout: bool = True
    loss: bool = True


@dataclass(frozen=True)
class Context:
    """The length of a training: `epochs` in all, of `steps` each, over `n_users` users with a purchase."""

    epochs: int
    steps: int
    n_users: int


class Network(nn.Module, ABC):
    """From a batch to the last hidden layer H (B, D); the output layer, W H + c, belongs to the trainer.

    Parameters that require no gradient when the network has been made are never trained, but checkpoints hold
    them like all of its parameters and buffers.

    Attributes:
        size: D.
        generator: what sampling draws from; the trainer sets it before each step, so that a resumed training draws the
            same numbers.
        pretraining: epochs that come before those of the configuration, and after which models are first judged.
    """

    size: int
    generator: torch.Generator
    pretraining: int = 0

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return H (B, D), and the penalty summed over the users of the batch, 0-d and weighted: 0 when there is none.

        `self.training` says whether to sample.
        """

    @abstractmethod
    def to_model(
        self, W: NDArray[np.float32], bias: NDArray[np.float32], settings: Mapping[str, Any]
    ) -> Model:
        """Return the model with this network, copied, and the output layer W (I, D), bias (I,)."""

    def phase(self, epoch: int) -> Phase:
        """Return what an epoch (from 1) trains; everything unless a network says otherwise."""
        return Phase()

    def begin_epoch(self, epoch: int, context: Context) -> None:
        """Prepare for an epoch (from 1), before its first step; not called when one is resumed in its middle."""

    def tied_weight(self) -> nn.Parameter:
        """Return the weight (I, D) of a tied output layer. Only networks that can be tied have one."""
        raise TypeError(f"{type(self).__name__} has no weight to share with the output layer")


class FirstLayer(nn.Module):
    """z = Σ_j x_j E_j + b over the items j of a history: reads the rows of the purchases, never a row of the catalogue.

    With `sparse`, a step's gradient, too, holds these rows alone, and row-wise AdaGrad moves them.
    """

    def __init__(
        self,
        n_items: int,
        size: int,
        generator: torch.Generator,
        *,
        deviation: float,
        sparse: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draw E (n_items, size) from N(0, deviation²); the bias (size,) is zero."""
        super().__init__()
        weight = drawn(torch.empty(n_items, size, dtype=dtype), deviation, generator)
        self.rows = nn.EmbeddingBag.from_pretrained(weight, freeze=False, mode="sum", sparse=sparse)
        self.bias = nn.Parameter(torch.zeros(size, dtype=dtype))

    def forward(self, batch: Batch) -> Tensor:
        """Return z (B, size)."""
        z: Tensor = self.rows(batch.items, batch.offsets[:-1], per_sample_weights=batch.inputs)
        return z + self.bias


def drawn(weight: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return the weight, filled with draws from N(0, deviation²).

    A weight without memory, made to count the bytes of a network, stays as it is: PyTorch imports the whole of
    torch.compile to draw nothing, which takes some two seconds.
    """
    if not weight.is_meta:
        weight.normal_(0, deviation, generator=generator)
    return weight


def to_numpy(tensor: Tensor, dtype: Any = np.float32) -> NDArray[Any]:
    """Return a copy of a tensor in a NumPy type, C-contiguous."""
    return np.array(tensor.detach().cpu().numpy(), dtype=dtype, order="C")
