"""`Batch`: histories as tensors, with a part of their inputs hidden, for networks and losses."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """The n stored entries of B rows of the matrix, in the order of the rows, on the device.

    Attributes:
        users: B.
        items: int64 (n,) columns.
        rows: int64 (n,) 0 … B − 1, ascending.
        offsets: int64 (B + 1,) first entries of the rows; row b lies at offsets[b] to offsets[b + 1].
        on_host: the same as a list, for which nobody waits.
        inputs: float (n,) with what each entry enters the network, 0 for one that dropout hides.
        targets: float (n,) the values to reconstruct: 1 for a purchase, in [0, 1] for other data.
        weights: float (n,) factors on the loss of the entries: the entry's own weight, times `emphasis` for one that
            dropout hides.
        own: float (n,) the entries' own weights, without emphasis.
        epoch: of the training, from 1.
        step: of the training, from 0.
    """

    users: int
    items: Tensor
    rows: Tensor
    offsets: Tensor
    on_host: list[int]
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    own: Tensor
    epoch: int = 0
    step: int = 0


def make_batch(
    matrix: sp.csr_matrix,
    users: NDArray[np.int64],
    *,
    dropout: float,
    input_power: "float | str",
    emphasis: float,
    entry_weights: NDArray[np.float32] | None = None,
    rng: np.random.Generator,
    dtype: torch.dtype,
    device: "str | torch.device",
    epoch: int = 0,
    step: int = 0,
) -> Batch:
    """Return the rows `users` (B,) of `matrix` ((U, I) CSR, no item twice in a row) as a batch.

    Args:
        matrix: targets by user and item.
        users: rows of the matrix, (B,).
        dropout: fraction of the entries that the network does not see; those it sees enter times 1/(1 − dropout), so
            that the sum of a row is the same on average (Srivastava et al., 2014).
        input_power: p in 0..1: an entry of a row with m entries enters as value/m^p; "l2": as value/‖row‖₂ (Liang et
            al., 2018, arXiv:1802.05814).
        emphasis: factor on the loss of the entries that dropout hides (Vincent et al., 2010, section 4.2).
        entry_weights: (nnz,) what each entry of `matrix` weighs in the loss; None: 1.
        rng: draws n float32 numbers when there is dropout, none otherwise.
        dtype: of the floats.
        device: of the tensors.
        epoch: of the training, from 1.
        step: of the training, from 0.
    """
    first, last = matrix.indptr[users].astype(np.int64), matrix.indptr[users + 1].astype(np.int64)
    lengths = last - first
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    n = int(offsets[-1])
    rows = np.repeat(np.arange(len(users)), lengths)
    places = np.arange(n) + (first - offsets[:-1])[rows]
    targets = matrix.data[places].astype(np.float64)
    if input_power == "l2":
        size = np.sqrt(np.bincount(rows, weights=targets * targets, minlength=len(users)))
    else:
        size = lengths.astype(np.float64) ** float(input_power)
    size[size == 0] = 1
    inputs = targets / (size * (1 - dropout))[rows]
    own = np.ones(n) if entry_weights is None else entry_weights[places].astype(np.float64)
    weights = own
    if dropout > 0:
        hidden = rng.random(n, dtype=np.float32) < dropout
        inputs[hidden] = 0
        weights = np.where(hidden, emphasis * own, own)

    def move(array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(array).to(device=device, dtype=dtype)

    return Batch(
        users=len(users),
        items=torch.from_numpy(matrix.indices[places].astype(np.int64)).to(device),
        rows=torch.from_numpy(rows).to(device),
        offsets=torch.from_numpy(offsets).to(device),
        on_host=offsets.tolist(),
        inputs=move(inputs),
        targets=move(targets),
        weights=move(weights),
        own=move(own),
        epoch=epoch,
        step=step,
    )
