"""Training by blocks of users with everything on one torch device: the way a GPU does it."""

from collections import deque
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import Floats
from recae.models.sigmoid import SigmoidAutoencoder
from recae.training.config import SigmoidSettings, resolve
from recae.training.device import GROUP
from recae.training.exact.block_kernels import Segments, solve_in_order, sums
from recae.training.exact.block_kernels import sort_segments_by_item as sort_by_item
from recae.training.exact.decoder import BLOCK_ROWS, MAX_DRIFT, MAX_HASTE
from recae.training.exact.parameters import first_encoder
from recae.training.exact.per_user import ADAGRAD_EPSILON
from recae.training.exact.steps import (
    MAX_SHRINK,
    WEIGHT,
    Dense,
    Rows,
    Sparse,
    Steps,
    in_turn,
    take_steps,
    users_together,
)
from recae.training.trainer import SigmoidTrainer, largest_of

MAX_LAG = 2
"""Steps of blocks after which the condition of U is looked at, at most: by then it need not be waited for."""

MAX_INVERSE = 100.0
"""Growth of ‖U⁻¹‖² (Frobenius) over ‖I‖² above which U is consolidated into V: until then no singular value of U
is far below 0.1."""

LOOK_EVERY = 50

TILE = 4096
"""Items whose residuals are spread out at once to form RRᵀ."""


class DeviceBlockTrainer(SigmoidTrainer):
    """`BlockTrainer` in torch alone: purchases, parameters, order and dropout stay on the device.

    For the same order and dropout it ends with the parameters of `BlockTrainer`; it draws both from torch's generators.
    Purchases are sorted on the device, for some blocks at once; sums by item and by user are taken over sorted
    segments, so that the same seed gives the same bits. U is consolidated into V instead of being rescaled.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: SigmoidSettings,
        device: str,
        confidence: NDArray[np.float32] | None = None,
    ) -> None:
        """Begin with fresh parameters.

        Args:
            matrix: CSR pattern (U, I) of purchases.
            config: the settings.
            device: of torch.
            confidence: (nnz,) how much each purchase counts, in the matrix's order; None: 1.

        Raises:
            TrainingError: there is no purchase.
        """
        config = resolve(config, matrix, largest_of(confidence))
        self._device = torch.device(device)
        self._indptr = torch.from_numpy(matrix.indptr.astype(np.int64)).to(self._device)
        self._indices = torch.from_numpy(matrix.indices.astype(np.int32)).to(self._device)
        self._alphas = None
        if confidence is not None:
            alphas = np.dtype(config.dtype).type(config.purchase_weight) * confidence.astype(config.dtype)
            self._alphas = torch.from_numpy(alphas).to(self._device)
        super().__init__(matrix, config, config.batch_size)
        self._look_every = LOOK_EVERY
        self._together = users_together(config.learning_rate, config.batch_size, self._device.type)
        # so that U cannot become singular, even if all codes were one and the same, before it is looked at
        shrink = -np.log1p(-config.learning_rate) * self._together
        self._lag = int(np.clip(MAX_SHRINK / shrink - 1, 0, MAX_LAG))
        self._group = -1
        self._since_consolidation, self._haste = 0, 1
        self._drift = torch.zeros((), dtype=torch.float64, device=self._device)
        self._inverses: deque[tuple[Tensor, Any]] = deque()
        n_items, d = matrix.shape[1], config.factors
        dtype = torch.float32 if config.dtype == "float32" else torch.float64
        generator = self._generator(0)
        if config.encoder_start == "random":
            self.E = torch.randn(n_items, d, generator=generator, device=self._device, dtype=dtype)
            self.E *= config.encoder_scale / d**0.5
        else:
            rng = np.random.default_rng([config.seed, 0])
            self.E = torch.from_numpy(first_encoder(matrix, config, rng)).to(self._device)
        self.V = torch.randn(n_items, d + 1, generator=generator, device=self._device, dtype=dtype)
        self.V *= config.decoder_scale / d**0.5
        self.V[:, d] = 0
        self.bias, self.norms, self.bias_norm = (self.E.new_zeros(n) for n in (d, n_items, 1))
        self.dense = Dense(*(torch.eye(d + 1, dtype=dtype, device=self._device) for _ in range(3)))
        self._consolidate()
        self._drift.zero_()  # there was no Q before
        self._haste = 1

    def model(self) -> SigmoidAutoencoder:
        """Return the model as trained so far."""
        self._consolidate()
        arrays = [M.to(torch.float32).cpu().numpy() for M in (self.E, self.bias, self.V)]
        return SigmoidAutoencoder(
            encoder=arrays[0].copy(),
            encoder_bias=arrays[1].copy(),
            decoder=arrays[2][:, :-1].copy(),
            decoder_bias=arrays[2][:, -1].copy(),
            input_power=self.config.input_power,
            settings=self.config.as_dict(),
        )

    def take_drift(self) -> float:
        """Return the largest drift of Q found since the last call."""
        drift = float(self._drift)
        self._drift.zero_()
        return drift

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything that training changes, by name, copied to the host."""
        arrays = {name: tensor.cpu().numpy().copy() for name, tensor in self._tensors().items()}
        inverses = [float(value) for value, _ in self._inverses]
        arrays["inverses"] = np.array(inverses + [np.nan] * (MAX_LAG + 1 - len(inverses)))
        arrays["since_fold"], arrays["haste"] = np.array([self._since_consolidation]), np.array([self._haste])
        return arrays

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned."""
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(np.asarray(state[name])))
        self._inverses = deque((torch.tensor(v), None) for v in state["inverses"] if not np.isnan(v))
        self._since_consolidation, self._haste = int(state["since_fold"][0]), int(state["haste"][0])

    def _tensors(self) -> dict[str, Tensor]:
        dense = {"U": self.dense.U, "U_inv": self.dense.U_inv, "Q": self.dense.Q}
        encoder = {"encoder": self.E, "encoder_bias": self.bias}
        norms = {"encoder_norms": self.norms, "bias_norm": self.bias_norm, "drift": self._drift}
        return {**encoder, **norms, "V": self.V, **dense}

    def _generator(self, *words: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.config.seed, *words]).generate_state(1, np.uint64)[0]
        return torch.Generator(self._device).manual_seed(int(seed >> np.uint64(1)))

    def _shuffled(self) -> Tensor:
        self._group = -1
        users = torch.from_numpy(self._users).to(self._device)
        order = torch.randperm(len(users), generator=self._generator(self.epoch), device=self._device)
        return users[order]

    def _draw(self) -> tuple[Tensor, Tensor]:
        block = self.done // self._block
        if block // GROUP != self._group:
            self._sort_group(block // GROUP)
        users = self._order[self.done : self.done + self._block]
        generator = self._generator(self.epoch, self.done)
        n = self._purchases[block % GROUP]
        return users, torch.rand(n, generator=generator, device=self._device) >= self.config.dropout

    def _sort_group(self, group: int) -> None:
        """Gather and sorts the purchases of the next blocks; waits for the host."""
        size, n_items = self._block, self.matrix.shape[1]
        users = self._order[group * GROUP * size : (group + 1) * GROUP * size]
        first = self._indptr[users]
        lengths = self._indptr[users + 1] - first
        n_blocks = -(-len(users) // size)
        pieces = -(-size // self._together)
        position = torch.arange(len(users), device=self._device)
        block, within = position // size, position % size
        piece = block * pieces + within // self._together
        of_piece = torch.zeros(n_blocks * pieces, dtype=torch.int64, device=self._device)
        of_piece.index_add_(0, piece, lengths)  # whole numbers: any order gives the same
        counts = of_piece.tolist()
        n = sum(counts)
        ends = lengths.cumsum(0)
        user = torch.repeat_interleave(position, lengths, output_size=n)
        places = first[user] + torch.arange(n, device=self._device) - (ends - lengths)[user]
        self._items = self._indices[places].long()
        self._own_alphas = None if self._alphas is None else self._alphas[places]
        self._who = within[user]
        self._in_blocks = sort_by_item(block[user], self._items, n_items, n_blocks)
        self._in_pieces = (
            self._in_blocks
            if pieces == 1
            else sort_by_item(piece[user], self._items, n_items, n_blocks * pieces)
        )
        self._piece_counts = counts
        self._purchases = [sum(counts[i : i + pieces]) for i in range(0, len(counts), pieces)]
        self._ends = torch.cat([ends.new_zeros(1), ends])
        self._group, self._pieces = group, pieces

    def _steps(self, users: Tensor, visible: Tensor, rate: float) -> Tensor:
        config, d, block = self.config, self.config.factors, self.done // self._block % GROUP
        begin = sum(self._purchases[:block])
        n, B, user0 = self._purchases[block], len(users), block * self._block
        items, who = self._items[begin : begin + n], self._who[begin : begin + n]
        alphas = None if self._own_alphas is None else self._own_alphas[begin : begin + n]
        starts = self._ends[user0 : user0 + B + 1] - begin
        lengths = starts[1:] - starts[:-1]

        keep = 1 - config.dropout
        m = sums(visible.to(self.E.dtype), starts).clamp(min=1)
        scale = (1 / (keep * (m / keep) ** config.input_power))[who] * visible
        z = sums(scale[:, None] * self.E[items], starts) + self.bias
        H = torch.cat([2 * torch.sigmoid(z) - 1, z.new_ones(B, 1)], dim=1)

        gradient = torch.empty_like(H)
        loss = torch.zeros((), dtype=torch.float64, device=self._device)
        at = 0
        for k, first in enumerate(range(0, B, self._together)):
            last = min(first + self._together, B)
            count = self._piece_counts[block * self._pieces + k]
            part = slice(at, at + count)
            segments = self._in_pieces[block * self._pieces + k]
            gradient[first:last], more = self._decode(
                H[first:last],
                items[part],
                who[part] - first,
                lengths[first:last],
                None if alphas is None else alphas[part],
                segments,
                rate,
            )
            loss, at = loss + more, at + count

        g = gradient[:, :d] * (1 - H[:, :d] ** 2) / 2
        g2 = (g * g).mean(1)
        segments = self._in_blocks[block]
        order, distinct = segments.order, segments.distinct
        who, scale = who[order], scale[order]
        norms = self.norms[distinct] + sums(scale * scale * g2[who], segments.starts)
        self.norms[distinct] = norms
        step = config.encoder_learning_rate * rate
        change = sums(scale[:, None] * g[who], segments.starts) / (norms.sqrt() + ADAGRAD_EPSILON)[:, None]
        self.E[distinct] = self.E[distinct] - step * change
        self.bias_norm += g2.sum()
        self.bias -= step / (self.bias_norm.sqrt() + ADAGRAD_EPSILON) * g.sum(0)
        return loss

    def _decode(
        self,
        H: Tensor,
        items: Tensor,
        who: Tensor,
        lengths: Tensor,
        alphas: Tensor | None,
        segments: Segments,
        rate: float,
    ) -> tuple[Tensor, Tensor]:
        """Take one step of the decoder for each user, in order; return the gradients at H and the sum of the losses.

        `H` holds the users' codes, `alphas` (n,) the weight α of each purchase; None: the same α for all.
        """
        config, B = self.config, len(H)
        self._consolidate_if_needed()
        self._since_consolidation += B
        order, distinct = segments.order, segments.distinct
        by_item, j = who[order], items[order]
        a = H.new_full((len(items),), config.purchase_weight) if alphas is None else alphas[order]
        r = H.new_empty(len(items))

        def residuals(P: Tensor, C: Tensor) -> Sparse:
            o = (self.V[j] * P[by_item]).sum(1)
            o, r[:] = solve_in_order(o, by_item, C, a, torch.ones_like(a), segments)
            by_user, squares = torch.empty_like(r), torch.empty_like(r)
            by_user[order], squares[order] = r, a * (a - 1) / 2 * (o - 1) ** 2
            starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            RV = sums(by_user[:, None] * self.V[items], starts)
            return Sparse(RV, _gram(by_item, r, segments, B), sums(squares, starts))

        def update_rows(Z: Tensor) -> None:
            self.V[distinct] = self.V[distinct] - sums(r[:, None] * Z[by_item], segments.starts)

        lr = config.learning_rate * rate
        return take_steps(H, lr, WEIGHT, self.dense, residuals, update_rows, in_turn)

    def _consolidate_if_needed(self) -> None:
        """Consolidate after `fold_every` users, sooner where drift was found, and where U⁻¹ has grown."""
        value = (self.dense.U_inv**2).sum()
        if self._device.type == "cuda":
            value, event = value.to("cpu", non_blocking=True), torch.cuda.Event()
            event.record()
            self._inverses.append((value, event))
        else:
            self._inverses.append((value, None))
        grown = False
        if len(self._inverses) > self._lag:
            value, event = self._inverses.popleft()
            if event is not None:
                event.synchronize()
            grown = not float(value) <= len(self.dense.U) + MAX_INVERSE
        if grown or self._since_consolidation * self._haste >= self.config.fold_every:
            self._consolidate()

    def _consolidate(self) -> None:
        """Set V ← V U, U ← I, U⁻¹ ← I, Q ← VᵀV."""
        dense = self.dense
        before = dense.Q.clone()
        dense.Q.zero_()
        for rows in torch.split(self.V, BLOCK_ROWS):
            rows.copy_(rows @ dense.U)
            dense.Q.addmm_(rows.T, rows)
        drift = (dense.Q - before).abs().max() / dense.Q.abs().max().clamp(
            min=torch.finfo(dense.Q.dtype).tiny
        )
        self._drift.copy_(torch.maximum(self._drift, drift.double()))
        if (
            float(drift) > MAX_DRIFT and self._haste < MAX_HASTE
        ):  # waits for the device, which is rare enough to do it
            self._haste *= 2
        for M in (dense.U, dense.U_inv):
            M.zero_().fill_diagonal_(1)
        self._inverses.clear()
        self._since_consolidation = 0


def _gram(who: Tensor, r: Tensor, segments: Segments, n_users: int) -> Tensor:
    """Return RRᵀ (B, B) of purchases sorted by item, spread out for some items at a time."""
    G = len(segments.distinct)
    starts = segments.starts
    group = torch.repeat_interleave(starts[1:] - starts[:-1], output_size=len(r))
    total = r.new_zeros(n_users, n_users)
    for first in range(0, G, TILE):
        width = min(TILE, G - first)
        inside = (group >= first) & (group < first + width)
        tile = r.new_zeros(n_users, width + 1)  # the last column takes the zeros of the other items
        tile[who, torch.where(inside, group - first, width)] = torch.where(inside, r, 0)
        total.addmm_(tile, tile.T)
    return total


class DeviceRows(Rows):
    """Rows on any torch device, by plain torch operations; U is consolidated into V instead of being rescaled."""

    def __init__(self, W: Floats, consolidate_every: int, device: torch.device) -> None:
        """Copy W (I, D + 1), the bias its last column, to the device as V."""
        super().__init__(W, consolidate_every, device)
        self._V = torch.from_numpy(W).to(device)
        D = W.shape[1]
        self.dense = Dense(*(torch.eye(D, dtype=self._V.dtype, device=device) for _ in range(3)))
        self._drift = torch.zeros((), dtype=torch.float64, device=device)
        self._haste = 1
        self._consolidate()
        self._drift.zero_()  # there was no Q before
        self._haste = 1

    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        """Return the residuals and the update of the rows, for `take_steps`."""
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
            return Sparse(RV, _gram(by_item, r, segments, len(P)), sums(squares, offsets))

        def update_rows(Z: Tensor) -> None:
            change = sums(r[:, None] * Z[by_item], segments.starts)
            self._V[segments.distinct] = self._V[segments.distinct] - change

        return residuals, update_rows

    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        """Consolidate before the steps of some users, where it is time."""
        shrink = -np.log1p(-learning_rate) * users
        self._shrunk += shrink
        if self._since_consolidation * self._haste >= self._consolidate_every or self._shrunk > MAX_SHRINK:
            self._consolidate()
            self._shrunk = shrink
        self._since_consolidation += users

    def _consolidate(self) -> None:
        """Set V ← V U, U ← I, U⁻¹ ← I, Q ← VᵀV."""
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
        self._since_consolidation = 0

    def weights(self) -> Floats:
        """Return W (I, D + 1) on the host."""
        self._consolidate()
        return np.asarray(self._V.cpu().numpy())

    def take_drift(self) -> float:
        """Return the largest drift found since the last call."""
        drift = float(self._drift)
        self._drift = torch.zeros_like(self._drift)
        return drift

    def _tensors(self) -> dict[str, Tensor]:
        return {"V": self._V, "U": self.dense.U, "U_inv": self.dense.U_inv, "Q": self.dense.Q}

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that steps change, by name, copied to the host."""
        return {
            **{name: tensor.cpu().numpy().copy() for name, tensor in self._tensors().items()},
            "counts": np.array([self._haste, self._since_consolidation]),
            "reals": np.array([float(self._drift), self._shrunk]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned."""
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(np.asarray(state[name])))
        self._haste, self._since_consolidation = (int(n) for n in state["counts"])
        self._drift = self._drift.new_tensor(float(state["reals"][0]))
        self._shrunk = float(state["reals"][1])
