"""Losses over the whole catalogue or a sample of it, with their gradients, one block of logits at a time.

With codes H (B, D), weights W (I, D) and bias (I,) the outputs are O = HWᵀ + bias; x are the targets of a batch, w
its weights, and "stored" its entries. Each loss is the sum over the batch's users. The gradients are computed
together with the loss, in the precision of H and W, since the blocks of outputs are gone afterwards.

A sample is for catalogues of more than a hundred thousand items or so. A step compares a batch's own items, all of
them, with n others drawn from a distribution q over the catalogue. An item j that is drawn c_j times and is none of
the batch's own stands for c_j/(n q_j) items, one on average: sums over the catalogue are unbiased (Bengio and
Senécal, 2008). The logistic loss and its gradients are such sums; of the multinomial loss it is the partition
function, so that the loss itself comes out too small by an amount that falls as 1/n. Only the rows of the items in
the sample are read, and only they have gradients.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from recae.errors import ConfigError
from recae.training.batches import Batch
from recae.training.exact.block_kernels import sums

BLOCK_BYTES = 64 * 2**20
"""Logits held at once, in bytes, at most; but at least those of one user."""

GATHERED = 2**22
"""Numbers gathered from the weights at once, about."""


def squared_loss(H: Tensor, W: Tensor, bias: Tensor, batch: Batch, purchase_weight: float = 1.0) -> Tensor:
    """Return Σ_b [Σ_j (o_bj − x_bj)² + Σ_{j stored} (α w_bj − 1)(o_bj − x_bj)²], 0-d, with α = purchase_weight.

    No outputs are made but those of the stored entries: with G = WᵀW, Σ_j o_bj² = h_bᵀ G h_b (arXiv:1412.7091).
    H (B, D), W (I, D), bias (I,): of one dtype, on the batch's device.
    """
    loss: Tensor = _Squared.apply(H, W, bias, batch, purchase_weight)
    return loss


def multinomial_loss(
    H: Tensor, W: Tensor, bias: Tensor, batch: Batch, *, block_bytes: int = BLOCK_BYTES
) -> Tensor:
    """Return −Σ_b Σ_{j stored} x_bj w_bj log softmax(o_b)_j, 0-d (Liang et al., 2018, arXiv:1802.05814).

    H (B, D), W (I, D), bias (I,): of one dtype, on the batch's device.
    """
    loss: Tensor = _Multinomial.apply(H, W, bias, batch, block_bytes)
    return loss


def logistic_loss(
    H: Tensor,
    W: Tensor,
    bias: Tensor,
    batch: Batch,
    purchase_weight: float = 1.0,
    *,
    column_weights: Tensor | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    """Return Σ_b Σ_j v_bj [log(1 + e^o_bj) − x_bj o_bj], 0-d: the binary cross-entropy of σ(o).

    v_bj = α w_bj with α = purchase_weight where something is stored; elsewhere column_weights[j] ((I,)), or 1.
    H (B, D), W (I, D), bias (I,): of one dtype, on the batch's device.
    """
    loss: Tensor = _Logistic.apply(H, W, bias, batch, purchase_weight, column_weights, block_bytes)
    return loss


class _Fused(torch.autograd.Function):
    """A function whose forward pass has left its gradients for H, W and bias (None where none is needed)."""

    @staticmethod
    def keep(ctx: Any, grads: tuple[Tensor | None, ...], others: int) -> None:
        ctx.others = others
        ctx.save_for_backward(*grads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = (None if g is None else g * grad for g in ctx.saved_tensors)
        return (*saved, *[None] * ctx.others)


class _Squared(_Fused):
    @staticmethod
    def forward(ctx: Any, H: Tensor, W: Tensor, bias: Tensor, batch: Batch, purchase_weight: float) -> Tensor:
        need_H, need_W, need_bias = ctx.needs_input_grad[:3]
        o = stored_outputs(H, W, bias, batch)
        alpha = purchase_weight * batch.weights
        error = o - batch.targets
        # ‖o_b‖² = h_bᵀ WᵀW h_b + 2 h_bᵀ Wᵀbias + ‖bias‖²
        HG, Wb = H @ (W.T @ W), bias @ W
        every = (H * (HG + 2 * Wb)).sum(dtype=torch.float64) + len(H) * (bias @ bias)
        loss = every + (alpha * error * error - o * o).sum(dtype=torch.float64)
        r = alpha * error - o  # half the gradient at the stored outputs, beyond that of Σ o²
        of_H = of_W = of_bias = None
        if need_H:
            of_H = 2 * (HG + Wb + _times_rows(r, batch, W))
        if need_W:
            of_W = _columns_times(r, batch, H, len(W))
            of_W.addmm_(W, H.T @ H).addr_(bias, H.sum(0)).mul_(2)
        if need_bias:
            per_item = _columns_times(r, batch, H.new_ones(len(H), 1), len(W))[:, 0]
            of_bias = 2 * (W @ H.sum(0) + len(H) * bias + per_item)
        _Fused.keep(ctx, (of_H, of_W, of_bias), 2)
        return loss.to(H.dtype)


class _Multinomial(_Fused):
    @staticmethod
    def forward(ctx: Any, H: Tensor, W: Tensor, bias: Tensor, batch: Batch, block_bytes: int) -> Tensor:
        mass = batch.targets * batch.weights
        loss = H.new_zeros((), dtype=torch.float64)
        grads = _Gradients(ctx, H, W, bias)
        for rows, stored in _blocks(batch, H, len(W), block_bytes):
            O = torch.addmm(bias, H[rows], W.T)  # noqa: E741 (the formulas' name)
            at, j, xw = batch.rows[stored] - rows.start, batch.items[stored], mass[stored]
            totals = sums(xw, batch.offsets[rows.start : rows.stop + 1] - stored.start)
            loss -= (xw * O[at, j]).sum(dtype=torch.float64)
            largest = O.amax(1, keepdim=True)
            partition = O.sub_(largest).exp_().sum(1)
            loss += (totals * (partition.log() + largest[:, 0])).sum(dtype=torch.float64)
            if grads.any:
                O.mul_((totals / partition)[:, None])
                O[at, j] -= xw
                grads.add(rows, O)
        _Fused.keep(ctx, grads.all(), 2)
        return loss.to(H.dtype)


class _Logistic(_Fused):
    @staticmethod
    def forward(
        ctx: Any,
        H: Tensor,
        W: Tensor,
        bias: Tensor,
        batch: Batch,
        purchase_weight: float,
        column_weights: Tensor | None,
        block_bytes: int,
    ) -> Tensor:
        alpha = purchase_weight * batch.weights
        loss = H.new_zeros((), dtype=torch.float64)
        grads = _Gradients(ctx, H, W, bias)
        for rows, stored in _blocks(
            batch, H, len(W), block_bytes // 2
        ):  # the logarithms are as large as the logits
            O = torch.addmm(bias, H[rows], W.T)  # noqa: E741 (likewise)
            at, j = batch.rows[stored] - rows.start, batch.items[stored]
            x, a, o = batch.targets[stored], alpha[stored], O[at, j]
            each = torch.nn.functional.softplus(O)
            softplus = each[at, j]
            if column_weights is not None:
                each.mul_(column_weights)
            loss += each.sum(dtype=torch.float64) - each[at, j].sum(dtype=torch.float64)
            del each
            loss += (a * (softplus - x * o)).sum(dtype=torch.float64)
            if grads.any:
                O.sigmoid_()
                r = a * (O[at, j] - x)
                if column_weights is not None:
                    O.mul_(column_weights)
                O[at, j] = r
                grads.add(rows, O)
        _Fused.keep(ctx, grads.all(), 4)
        return loss.to(H.dtype)


class _Gradients:
    """The gradients for H, W and bias, as far as they are needed, summed over blocks of the gradient at the outputs."""

    def __init__(self, ctx: Any, H: Tensor, W: Tensor, bias: Tensor) -> None:
        self._inputs = (H, W)
        self._need = ctx.needs_input_grad[:3]
        self.any = any(self._need)
        self._of = [
            torch.zeros_like(M) if need else None for M, need in zip((H, W, bias), self._need, strict=True)
        ]

    def add(self, rows: slice, G: Tensor) -> None:
        """Add the part of the gradient G (rows, I) at the outputs of the users `rows`."""
        H, W = self._inputs
        of_H, of_W, of_bias = self._of
        if of_H is not None:
            torch.mm(G, W, out=of_H[rows])
        if of_W is not None:
            of_W.addmm_(G.T, H[rows])
        if of_bias is not None:
            of_bias += G.sum(0)

    def all(self) -> tuple[Tensor | None, ...]:
        return tuple(self._of)


def _blocks(batch: Batch, H: Tensor, n_items: int, block_bytes: int) -> "list[tuple[slice, slice]]":
    """Return blocks of users whose logits take at most `block_bytes`, but at least one user each, and their entries."""
    size = max(1, block_bytes // (n_items * H.element_size()))
    cuts = [*range(0, batch.users, size), batch.users]
    at = [batch.on_host[cut] for cut in cuts]
    return [(slice(*cuts[i : i + 2]), slice(*at[i : i + 2])) for i in range(len(cuts) - 1)]


def stored_outputs(H: Tensor, W: Tensor, bias: Tensor, batch: Batch) -> Tensor:
    """Return the outputs of the stored entries alone, (n,)."""
    found = bias[batch.items]
    size = max(1, GATHERED // H.shape[1])
    for first in range(0, len(found), size):
        part = slice(first, first + size)
        found[part] += torch.einsum("nd,nd->n", H[batch.rows[part]], W[batch.items[part]])
    return found


def _times_rows(values: Tensor, batch: Batch, W: Tensor) -> Tensor:
    """Return R W (B, D) of the matrix R (B, I) with `values` (n,) at the stored entries."""
    if _on_host(W):
        return torch.from_numpy(_csr(values, batch, len(W)) @ W.detach().numpy())
    return sums(values[:, None] * W[batch.items], batch.offsets)


def _columns_times(values: Tensor, batch: Batch, H: Tensor, n_items: int) -> Tensor:
    """Return RᵀH (I, D) of the matrix R (B, I) with `values` (n,) at the stored entries."""
    if _on_host(H):
        return torch.from_numpy(_csr(values, batch, n_items).T @ H.detach().numpy())
    items, order = torch.sort(
        batch.items, stable=True
    )  # the same order of the sums, and so the same bits, each time
    starts = torch.searchsorted(items, torch.arange(n_items + 1, device=items.device))
    return sums(values[order, None] * H[batch.rows[order]], starts)


def _on_host(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _csr(values: Tensor, batch: Batch, n_items: int) -> sp.csr_matrix:
    arrays = (values.numpy(), batch.items.numpy(), batch.offsets.numpy())
    return sp.csr_matrix(arrays, shape=(batch.users, n_items))


POWER = 0.75
"""q ∝ popularity^0.75 (Mikolov et al., 2013, arXiv:1310.4546); 0 draws all items alike."""


@dataclass(frozen=True)
class Sample:
    """The items that a step looks at: the batch's own and those drawn.

    Attributes:
        items: int64 (K,) distinct; their rows of W and their biases are what the losses take.
        stands: float (K,) how many items of the catalogue each stands for: 1 for the batch's own, c_j/(n q_j) for
            others.
        batch: the batch with places in `items` instead of items.
    """

    items: Tensor
    stands: Tensor
    batch: Batch


class Sampler:
    """Draws items by their popularity."""

    def __init__(self, popularity: NDArray[Any], count: int, power: float = POWER) -> None:
        """Make the distribution q ∝ popularity^power.

        Args:
            popularity: (I,) purchases of each item; 0 counts as 1, so that any item can be drawn.
            count: n items drawn with replacement for each batch.
            power: of the popularity.

        Raises:
            ConfigError: n is less than 1.
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
        """Return a sample: the items of a batch and `count` draws from `rng`; items of the batch count as its own."""
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
    """Return `multinomial_loss` with the partition function estimated from a sample, 0-d; too small in the mean.

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
    """Return an unbiased estimate of `logistic_loss`, 0-d, and of its gradients.

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
