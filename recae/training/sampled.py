"""Losses over a sample of the catalogue, for catalogues of more than a few hundred thousand items.

A step compares a batch's own items, all of them, with n others drawn from a distribution q over the catalogue. An item
j that is drawn c_j times and is none of the batch's own stands for c_j/(n q_j) items, one on average: sums over
the catalogue are unbiased (Bengio and Senécal, 2008). The logistic loss and its gradients are such sums; of the
multinomial loss it is the partition function, so that the loss itself comes out too small by an amount that falls as
1/n. Only the rows of the items in the sample are read, and only they have gradients.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.errors import ConfigError
from recae.training.batches import Batch
from recae.training.losses import BLOCK_BYTES, logistic_loss, multinomial_loss

POWER = 0.75
"""q ∝ popularity^0.75 (Mikolov et al., 2013, arXiv:1310.4546); 0 draws all items alike."""


@dataclass(frozen=True)
class Sample:
    """The items that a step looks at: the batch's own and those drawn.

    items    int64 (K,) distinct; their rows of W and their biases are what the losses take
    stands   float (K,) how many items of the catalogue each stands for: 1 for the batch's own, c_j/(n q_j) for others
    batch    the batch with places in `items` instead of items
    """

    items: Tensor
    stands: Tensor
    batch: Batch


class Sampler:
    """Draws items by their popularity."""

    def __init__(self, popularity: NDArray[Any], count: int, power: float = POWER) -> None:
        """`popularity` (I,) counts the purchases of each item, of which 0 count as 1 so that any item can be drawn.

        `count` (n) items are drawn with replacement for each batch, with q ∝ popularity^power. Raises ConfigError
        unless n is at least 1.
        """
        if count < 1:
            raise ConfigError(
                f"the number of sampled items is at least 1, found {count}: give more, or sample none"
            )
        weights = np.maximum(popularity, 1).astype(np.float64) ** power
        self._ends = np.cumsum(weights / weights.sum())
        self._ends /= self._ends[-1]
        self._share = np.diff(self._ends, prepend=0)  # q exactly as it is drawn
        self.count = count

    def draw(self, batch: Batch, rng: np.random.Generator) -> Sample:
        """The items of a batch and `count` draws from `rng`; those of the draws that the batch has count as its own."""
        device, dtype = batch.items.device, batch.inputs.dtype
        drawn = np.searchsorted(self._ends, rng.random(self.count), side="right")
        others, times = np.unique(drawn, return_counts=True)
        stands = times / (self.count * self._share[others])
        own, places = torch.unique(batch.items, return_inverse=True)
        new = np.isin(others, own.cpu().numpy(), assume_unique=True, invert=True)
        items = torch.cat([own, torch.from_numpy(others[new]).to(device)])
        found = torch.ones(len(items), dtype=dtype, device=device)
        found[len(own) :] = torch.from_numpy(stands[new]).to(device=device, dtype=dtype)
        return Sample(items, found, replace(batch, items=places))


def sampled_multinomial_loss(
    H: Tensor, W: Tensor, bias: Tensor, sample: Sample, *, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """`multinomial_loss` with the partition function estimated from a sample, 0-d; too small in the mean.

    H (B, D); W (K, D) and bias (K,) of the items of the sample alone. The outputs of drawn items enter with the
    logarithm of what they stand for added (the correction of Jean et al., 2015, arXiv:1412.2007).
    """
    return multinomial_loss(H, W, bias + sample.stands.log(), sample.batch, block_bytes=block_bytes)


def sampled_logistic_loss(
    H: Tensor,
    W: Tensor,
    bias: Tensor,
    sample: Sample,
    purchase_weight: float = 1.0,
    *,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """An unbiased estimate of `logistic_loss`, 0-d, and of its gradients.

    H (B, D); W (K, D) and bias (K,) of the items of the sample alone. What drawn items add counts as many times as the
    items they stand for.
    """
    return logistic_loss(
        H,
        W,
        bias,
        sample.batch,
        purchase_weight,
        column_weights=sample.stands,
        block_bytes=block_bytes,
    )
