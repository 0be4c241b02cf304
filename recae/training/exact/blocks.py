"""Training by blocks of users on the CPU: compiled gathers and scatters around large matrix products."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from recae.compiled import FAST, Floats, Ints, fetch_row
from recae.errors import CheckpointError
from recae.loops import loop
from recae.machine import blas_libraries
from recae.models.sigmoid import SigmoidAutoencoder
from recae.sparse import joined_ranges
from recae.training.config import SigmoidSettings, resolve
from recae.training.exact import block_kernels as kernels
from recae.training.exact.decoder import FactoredDecoder
from recae.training.exact.group import Columns, Group
from recae.training.exact.kernels import add_scaled, catch_up, dot
from recae.training.exact.parameters import first_parameters
from recae.training.exact.per_user import ADAGRAD_EPSILON
from recae.training.exact.ranks import ALONE, Ranks
from recae.training.exact.shards import Shard, cut
from recae.training.exact.steps import (
    MAX_SHRINK,
    WEIGHT,
    WHOLE,
    Dense,
    Rows,
    Sparse,
    Steps,
    in_turn,
    take_steps,
    users_together,
)
from recae.training.trainer import SigmoidTrainer, largest_of


class HostRows(Rows):
    """Rows on the CPU: the factored decoder of per-user training, with compiled gathers and scatters."""

    def __init__(self, W: Floats, consolidate_every: int, device: torch.device) -> None:
        """Take over W (I, D + 1), the bias its last column, as V."""
        super().__init__(W, consolidate_every, device)
        self._decoder = FactoredDecoder.from_weights(W)
        self.dense = Dense(*(torch.from_numpy(getattr(self._decoder, name)) for name in ("U", "U_inv", "Q")))

    def of_purchases(
        self, items: Tensor, who: Tensor, offsets: Tensor, weights: Tensor, targets: Tensor
    ) -> Steps:
        """Return the residuals and the update of the rows, for `take_steps`."""
        decoder = self._decoder
        order, distinct, starts = kernels.sort_by_item(items.numpy())
        by_item, a, x = who.numpy()[order], weights.numpy()[order], targets.numpy()[order]
        r = np.empty_like(a)

        def residuals(P: Tensor, C: Tensor) -> Sparse:
            n, D = P.shape
            RV, RR, squares = np.zeros((n, D), r.dtype), np.zeros((n, n), r.dtype), np.zeros(n, r.dtype)
            pending = (decoder.directions, decoder.factors, decoder.overlaps, decoder.pending)
            solve_residuals(
                *(0, len(distinct), distinct, starts, by_item, decoder.V, decoder.applied, *pending),
                *(P.numpy(), C.numpy(), a, x, r, RV, RR, squares),
            )
            both = RR + np.tril(RR, -1).T
            return Sparse(*(torch.from_numpy(M) for M in (RV, both, squares)))

        def update_rows(Z: Tensor) -> None:
            kernels.update_decoder(0, len(distinct), distinct, starts, by_item, r, Z.numpy(), decoder.V)

        return residuals, update_rows

    def keep_conditioned(self, users: int, learning_rate: float) -> None:
        """Consolidate or rescale U before the steps of some users, where it is time."""
        shrink = -np.log1p(-learning_rate) * users
        self._shrunk += shrink
        if self._since_consolidation * self._decoder.haste >= self._consolidate_every:
            self._decoder.consolidate()
            self._since_consolidation, self._shrunk = 0, shrink
        elif self._shrunk > MAX_SHRINK:
            self._decoder.condition()
            self._shrunk = shrink
        self._since_consolidation += users

    def weights(self) -> Floats:
        """Return W (I, D + 1) on the host."""
        return self._decoder.weights()

    def take_drift(self) -> float:
        """Return the largest drift found since the last call."""
        drift, self._decoder.drift = self._decoder.drift, 0.0
        return drift

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that steps change, by name."""
        names = ("V", "U", "U_inv", "Q", "applied", "directions", "factors", "overlaps")
        decoder = self._decoder
        return {
            **{name: getattr(decoder, name) for name in names},
            "counts": np.array([decoder.pending, decoder.haste, self._since_consolidation]),
            "reals": np.array([decoder.drift, self._shrunk]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned; CheckpointError where its counts cannot be."""
        decoder = self._decoder
        pending, haste, since = (int(n) for n in state["counts"])
        applied = state["applied"]
        if not 0 <= pending <= len(decoder.factors) or not 0 <= applied.min() <= applied.max() <= pending:
            raise CheckpointError(
                f"it counts {pending:,} rescalings of the decoder, of which items have seen {applied.min():,} to "
                f"{applied.max():,}: the file is damaged; remove it and train without --resume"
            )
        for name, array in self.state().items():
            array[...] = state[name]
        decoder.pending, decoder.haste, self._since_consolidation = pending, haste, since
        decoder.drift, self._shrunk = (float(value) for value in state["reals"])


@loop(fastmath=FAST)
def solve_residuals(
    first: int,
    last: int,
    distinct: Ints,
    starts: Ints,
    who: Ints,
    V: Floats,
    applied: Ints,
    directions: Floats,
    factors: Floats,
    overlaps: Floats,
    pending: int,
    P: Floats,
    C: Floats,
    a: Floats,
    x: Floats,
    r: Floats,
    RV: Floats,
    RR: Floats,
    squares: Floats,
) -> None:
    """Do `block_kernels.decode` with a weight a and a target x for each entry, sorted by item: r = (a − 1)(o − x) − x.

    Add to RV, to RR (its lower triangle), and half of a(a − 1)(o − x)² to squares.
    """
    one = V.dtype.type(1)
    half = V.dtype.type(0.5)
    missed = np.empty(len(factors), V.dtype)
    for g in range(first, last):
        j = distinct[g]
        row = V[j]
        if g + 1 < last:
            fetch_row(V, distinct[g + 1])
        if applied[j] < pending:
            catch_up(row, applied[j], pending, directions, factors, overlaps, missed)
            applied[j] = pending
        for p in range(starts[g], starts[g + 1]):
            b = who[p]
            error = dot(row, P[b]) - x[p]
            for q in range(starts[g], p):
                error -= C[b, who[q]] * r[q]
            r[p] = (a[p] - one) * error - x[p]
            squares[b] += half * a[p] * (a[p] - one) * error * error
            for q in range(starts[g], p + 1):
                RR[b, who[q]] += r[p] * r[q]
            add_scaled(RV[b], r[p], row)


A = TypeVar("A")
B = TypeVar("B")


class BlockTrainer(SigmoidTrainer):
    """Per-user SGD whose encoder moves at the end of each block of `batch_size` users.

    The codes of a block are computed together. The decoder then takes one exact step a user, in order, by matrix
    products (see `steps`), each user's gradient at the code being that of the decoder before the user's step. At
    the block's end the encoder moves by the sum of its users' gradients, with row-wise AdaGrad: an item's accumulated
    norm grows by the squared norms of the gradients of all its buyers in the block before any of them is applied. With
    a batch size of 1 this is per-user SGD.

    Several processes make the same steps together: each has the rows of its own items in encoder and decoder, and their
    columns of the purchases. What a block needs of all of them is summed over the processes: the users' sums over their
    purchases, and what the residuals come to. The products of the small matrices are divided by columns (`Split`).
    The result is that of one process up to the order of the sums.
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        config: SigmoidSettings,
        confidence: NDArray[np.float32] | None = None,
        ranks: Ranks = ALONE,
        shard: Shard | None = None,
    ) -> None:
        """Begin with fresh parameters.

        Args:
            matrix: CSR pattern (U, I) of purchases.
            config: the settings.
            confidence: (nnz,) how much each purchase counts, in the matrix's order; None: 1.
            ranks: the processes that train together.
            shard: this process's purchases; by default cut from the matrix. A process other than 0 needs it.

        A process other than 0 gets an `Outline` in place of the matrix; several processes take no confidence.

        Raises:
            TrainingError: there is no purchase.
        """
        config = resolve(config, matrix, largest_of(confidence))
        super().__init__(matrix, config, config.batch_size)
        self._ranks = ranks
        self._shard = shard or cut(matrix, ranks.rank, ranks.size)
        self.parameters = first_parameters(matrix, config, ranks)
        decoder = self.parameters.decoder
        self._split = Columns(ranks, config.factors + 1) if isinstance(ranks, Group) else WHOLE
        U, U_inv, Q = (torch.from_numpy(M) for M in (decoder.U, decoder.U_inv, decoder.Q))
        columns = self._split.columns
        self._dense = Dense(U[columns], U_inv[:, columns], Q[:, columns])
        self._together = users_together(config.learning_rate, config.batch_size)
        self._since_consolidation, self._shrunk = 0, 0.0
        self._parts = max(1, torch.get_num_threads())
        self._pool = _pool(self._parts)
        self._blas = blas_libraries()
        alpha = np.dtype(config.dtype).type(config.purchase_weight)
        self._alphas = None if confidence is None else alpha * confidence.astype(config.dtype)

    def model(self) -> SigmoidAutoencoder:
        """Return the model as trained so far."""
        return self.parameters.model(self.config)

    def take_drift(self) -> float:
        """Return the largest drift of Q found since the last call."""
        return self.parameters.take_drift()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the parameters, the users since the last consolidation, and a bound of how far U has shrunk."""
        return {
            **self.parameters.state(),
            "since_fold": np.array([self._since_consolidation]),
            "shrunk": np.array([self._shrunk]),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restore what `state` returned, which process 0 alone needs to have."""
        self.parameters.restore(state)
        counts = np.zeros(2)
        if state:
            counts[:] = state["since_fold"][0], state["shrunk"][0]
        self._ranks.agree(counts)
        self._since_consolidation, self._shrunk = int(counts[0]), float(counts[1])

    def _steps(self, users: NDArray[np.int64], visible: NDArray[np.bool_], rate: float) -> float:
        # Two products at a time, each on half of the threads, scale far better than one on all of them
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // 2))
        try:
            with self._blas.limit(limits=max(1, threads // 2), user_api="blas"):
                return self._train(users, visible, rate)
        finally:
            torch.set_num_threads(threads)

    def _train(self, users: NDArray[np.int64], visible: NDArray[np.bool_], rate: float) -> float:
        config, parameters, ranks = self.config, self.parameters, self._ranks
        dtype = np.dtype(config.dtype)
        E, d = parameters.encoder, config.factors
        shard, indptr = self._shard, self.matrix.indptr
        scale = np.empty(int((shard.indptr[users + 1] - shard.indptr[users]).sum()), dtype)
        offsets, items, who = kernels.gather_histories(
            *(users, indptr[users + 1] - indptr[users]),
            *(shard.indptr, shard.items, shard.places),
            visible,
            1 - config.dropout,
            config.input_power,
            scale,
        )
        H = np.empty((len(users), d + 1), dtype)
        bias = parameters.encoder_bias if ranks.rank == 0 else np.zeros_like(parameters.encoder_bias)
        self._in_parts(self._parts, offsets, kernels.encode, offsets, items, scale, E, bias, H)
        ranks.sum(H)
        self._in_parts(self._parts, np.arange(len(H) + 1), kernels.squash, H)

        alphas = None if self._alphas is None else self._alphas[_places(users, indptr)]
        gradient = np.empty_like(H)
        loss = 0.0
        for first in range(0, len(users), self._together):
            last = min(first + self._together, len(users))
            part = slice(offsets[first], offsets[last])
            steps = self._decode(
                H[first:last],
                items[part],
                who[part] - first,
                config.learning_rate * rate,
                None if alphas is None else alphas[part],
            )
            gradient[first:last] = steps[0].numpy()
            loss += float(steps[1])

        code = H[:, :d]
        g = gradient[:, :d] * (1 - code * code) / 2
        g2 = np.einsum("ij,ij->i", g, g) / dtype.type(d)
        order, distinct, starts = kernels.sort_by_item(items)
        step = dtype.type(config.encoder_learning_rate * rate)
        epsilon = dtype.type(ADAGRAD_EPSILON)
        sorted_ = (distinct, starts, who[order], scale[order])
        norms = parameters.encoder_norms
        self._in_parts(self._parts, starts, kernels.update_encoder, *sorted_, g2, g, step, epsilon, norms, E)
        parameters.bias_norm += g2.sum()
        parameters.encoder_bias -= step / (np.sqrt(parameters.bias_norm) + epsilon) * g.sum(axis=0)
        return loss

    def _decode(
        self, H: Floats, items: Ints, who: Ints, learning_rate: float, alphas: Floats | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of the decoder for each user, in order; return the gradients at H and the sum of the losses.

        `H` holds the users' codes, `alphas` (n,) the weight α of each purchase; None: the same α for all.
        """
        decoder, config = self.parameters.decoder, self.config
        shrink = -np.log1p(-config.learning_rate) * len(H)
        self._shrunk += shrink
        if self._since_consolidation * decoder.haste >= config.fold_every:
            with self._blas.limit(limits=self._parts):
                decoder.consolidate()
            for replica in (self.parameters.encoder_bias, self.parameters.bias_norm):
                self._ranks.agree(replica)  # processors of two makes may have rounded it in two ways
            self._since_consolidation, self._shrunk = 0, shrink
        elif self._shrunk > MAX_SHRINK:
            with self._blas.limit(limits=self._parts):
                decoder.condition()
            self._shrunk = shrink
        self._since_consolidation += len(H)

        order, distinct, starts = kernels.sort_by_item(items)
        who = who[order]
        alphas = None if alphas is None else alphas[order]
        r = np.empty(len(items), H.dtype)

        def residuals(P: torch.Tensor, C: torch.Tensor) -> Sparse:
            n = len(H)
            RV = np.zeros((self._parts, n, H.shape[1]), H.dtype)
            RR = np.zeros((self._parts, n, n), H.dtype)
            squares = np.zeros((self._parts, n), H.dtype)
            pending = (
                decoder.V,
                decoder.applied,
                decoder.directions,
                decoder.factors,
                decoder.overlaps,
                decoder.pending,
            )
            shared = (distinct, starts, who, *pending, P.numpy(), C.numpy())
            totals = (RV, RR, squares)
            if alphas is None:
                alpha = H.dtype.type(config.purchase_weight)
                self._in_parts(self._parts, starts, kernels.decode, *shared, alpha, r, sums=totals)
            else:
                each = (alphas, np.ones_like(alphas))
                self._in_parts(self._parts, starts, solve_residuals, *shared, *each, r, sums=totals)
            sums = np.concatenate([total.sum(axis=0).ravel() for total in (RV, RR, squares)])
            self._ranks.sum(sums)
            of_rows, of_pairs, of_users = np.split(sums, [RV[0].size, RV[0].size + n * n])
            lower = of_pairs.reshape(n, n)
            both = lower + np.tril(lower, -1).T
            return Sparse(*(torch.from_numpy(M) for M in (of_rows.reshape(n, -1), both, of_users)))

        def update_rows(Z: torch.Tensor) -> None:
            half = max(1, self._parts // 2)  # the other threads have a product to make
            self._in_parts(
                half, starts, kernels.update_decoder, distinct, starts, who, r, Z.numpy(), decoder.V
            )

        return take_steps(
            torch.from_numpy(H),
            learning_rate,
            config.purchase_weight if alphas is None else WEIGHT,
            self._dense,
            residuals,
            update_rows,
            self._both,
            self._split,
        )

    def _both(self, first: Callable[[], A], second: Callable[[], B], /) -> tuple[A, B]:
        if self._parts == 1:
            return in_turn(first, second)
        call = self._pool.submit(first)
        found = second()
        return call.result(), found

    def _in_parts(
        self,
        parts: int,
        ends: Ints,
        kernel: Callable[..., None],
        *arguments: Any,
        sums: tuple[Floats, ...] = (),
    ) -> None:
        """Call a kernel for the rows 0 … n in parts, each on a thread with its own copy of `sums`.

        `ends` (n + 1,) counts the purchases before each row, so that the parts have about as many each.
        """
        cuts = [*np.searchsorted(ends, [ends[-1] * i // parts for i in range(parts)]).tolist(), len(ends) - 1]
        calls = [
            self._pool.submit(kernel, cuts[i], cuts[i + 1], *arguments, *(total[i] for total in sums))
            for i in range(parts - 1)
        ]
        kernel(cuts[-2], cuts[-1], *arguments, *(total[parts - 1] for total in sums))
        for call in calls:
            call.result()


def _places(users: NDArray[np.int64], indptr: Ints) -> NDArray[np.int64]:
    """Return where the purchases of some users are among all, user after user."""
    first = indptr[users].astype(np.int64)
    return joined_ranges(first, indptr[users + 1] - first)


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool in whose threads torch uses half of the threads: by default it would take all in each."""
    all_there = Barrier(threads + 1)

    def begin() -> None:
        torch.set_num_threads(max(1, threads // 2))
        all_there.wait()

    pool = ThreadPoolExecutor(threads)
    for _ in range(threads):
        pool.submit(begin)
    all_there.wait()
    torch.set_num_threads(threads)
    return pool
