"""The best items of a block of users: scored and ranked in one pass over tiles of items where the model allows it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.inputs import check_inputs, inputs_of
from recae.machine import one_blas_thread, processors
from recae.models.base import Model
from recae.models.factored import SMALL_BATCH
from recae.ranking import (
    DEFAULT_BLOCK_BYTES,
    Ranked,
    check_ranking,
    rank_histories,
    rows_per_block,
)
from recae.scoring.integers import has_pair_sums
from recae.scoring.tiles import (
    BLOCK,
    Catalogue,
    Numbers,
    best_of_tiles,
    capacity,
    catalogue,
    has_bfloat16_units,
    numbers_per_user,
)

_torch_lock = threading.Lock()
# Threads that limit torch at this time, and its thread count before the first of them.
_torch_inside, _torch_before = 0, 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit products of torch that the calling thread starts to one thread."""
    import torch

    global _torch_inside, _torch_before
    with _torch_lock:
        # In a new thread this also takes over the count of the process, which torch would else do at its first
        # product, and which may be that of a thread that has just lifted its limit.
        own = torch.get_num_threads()
        if _torch_inside == 0:
            _torch_before = own
        _torch_inside += 1
        torch.set_num_threads(1)  # of this thread, and of those to come
    try:
        yield
    finally:
        with _torch_lock:
            _torch_inside -= 1
            torch.set_num_threads(_torch_before)


# Users × items × numbers in a vector from which it is worth turning the vectors to smaller numbers.
_WORTH_PREPARING: Final = 2**31
# A block of users is done in parts, one on each thread: so small that eight at a time fit into the bound of memory.
# A small block has four parts, unless their products would have fewer rows than are worth a part.
_AT_ONCE: Final = 8
_PARTS: Final = 4
_WORTH_A_PART: Final = 64


def best_items(
    model: Model,
    histories: sp.csr_matrix,
    n: int,
    *,
    exclude_owned: bool,
    barred: NDArray[np.bool_] | None = None,
    threads: int | None = None,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
) -> Ranked:
    """Return the n best items of every history, best first; among equal scores the lower item number comes first.

    They are those of `rank_histories`, to the last bit of the scores. A model whose
    scores are products with item vectors (`Factored`), and a blend of such models and `Additive` ones, is scored
    and ranked in one pass over tiles of items (see `recae.scoring.tiles`), without an array of users × items. What
    belongs to the items alone is made at the first call and lives as long as the model: half as much again as the item
    vectors on most processors. Other models are scored as they are, some users at a time.

    Memory beside that: `block_bytes` over all threads, one user each at least, the result, and some numbers for each
    item of these histories.

    Args:
        model: scores the items.
        histories: csr_matrix (B, I); rows may be empty. Not modified.
        n: length of the lists, at least 1; may exceed the number of items.
        exclude_owned: leave the items stored in a history out of its list.
        barred: bool (I,); items marked True are left out of every list.
        threads: most threads to use; by default the processors this process may run on. They change no bit of the
            result.
        block_bytes: bytes of scores and candidates held at one time.

    Returns:
        The lists, (B, n).

    Raises:
        ConfigError: `n`, `threads` or `block_bytes` is less than 1.
        DataError: the histories or `barred` do not have the model's number of items.
    """
    check_ranking(n, threads, None, (histories.shape[0], model.n_items), "n")
    check_inputs(histories, model.n_items, inputs_of(model))
    if barred is not None and (barred.shape != (model.n_items,) or barred.dtype != np.bool_):
        raise DataError(
            f"barred must be bool of shape ({model.n_items},), but is {barred.dtype} of shape {barred.shape}; "
            "mark each item True or False"
        )
    if not histories.has_sorted_indices:  # a sum's last bits depend on its order
        histories = histories.sorted_indices()
    n_users = histories.shape[0]
    threads = threads or processors()

    def plain(histories: sp.csr_matrix) -> Ranked:
        return rank_histories(
            _PartByPart(model, threads),
            histories,
            n,
            exclude_owned=exclude_owned,
            candidates=None if barred is None else ~barred,
            block_bytes=block_bytes,
            threads=threads,
        )

    tiled = _tiled(model, n) if n_users > SMALL_BATCH else None
    if tiled is None:
        return plain(histories)

    items, values = ranked = Ranked.empty(n_users, n)
    worth = n_users * tiled.n_items * tiled.width >= _WORTH_PREPARING
    numbers: Numbers = "float32"
    if worth:
        numbers = "bfloat16" if has_bfloat16_units() else "int16" if has_pair_sums() else "float32"
    at_once = rows_per_block(numbers_per_user(tiled, n), block_bytes)
    most = min(BLOCK, max(1, at_once // _AT_ONCE))
    blocks = max(-(-n_users // most), min(_PARTS, -(-n_users // _WORTH_A_PART)))
    rows = -(-n_users // blocks)  # all of about the same size
    workers = min(threads, max(1, at_once // rows))
    length = min(n, tiled.n_items)

    def block(start: int) -> NDArray[np.intp]:
        part = slice(start, min(start + rows, n_users))
        with one_torch_thread() if numbers == "bfloat16" else nullcontext():
            items[part, :length], values[part, :length], left = best_of_tiles(
                tiled,
                model,
                histories[part],
                length,
                exclude_owned=exclude_owned,
                barred=barred,
                numbers=numbers,
            )
        return left + start

    with one_blas_thread(), ThreadPoolExecutor(workers, thread_name_prefix="recae-block") as pool:
        left = np.concatenate(list(pool.map(block, range(0, n_users, rows))))
    items[left], values[left] = plain(histories[left])
    return ranked


@dataclass(frozen=True)
class _PartByPart:
    """A model that scores users in parts, one on each thread; the parts do not depend on the number of threads."""

    model: Model
    threads: int

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return self.model.n_items

    @property
    def inputs(self) -> tuple[str, ...]:
        """Events that the model reads."""
        return inputs_of(self.model)

    def score(self, histories: sp.csr_matrix) -> NDArray[np.float32]:
        """Return all scores, as `Model.score` gives them: csr_matrix (B, I) → float32 (B, I)."""
        n_users = histories.shape[0]
        rows = -(-n_users // max(1, min(_AT_ONCE, -(-n_users // _WORTH_A_PART))))
        if rows == n_users:
            with one_blas_thread(), _one_torch_thread():
                return self.model.score(histories)
        scores = np.empty((n_users, self.n_items), dtype=np.float32)

        def part(start: int) -> None:
            with _one_torch_thread():
                scores[start : start + rows] = self.model.score(histories[start : start + rows])

        with (
            one_blas_thread(),
            ThreadPoolExecutor(min(self.threads, _AT_ONCE), thread_name_prefix="recae-score") as pool,
        ):
            list(pool.map(part, range(0, n_users, rows)))
        return scores


def _one_torch_thread() -> AbstractContextManager[None]:
    """Return `one_torch_thread()` where torch is loaded; models without torch need not load it."""
    return one_torch_thread() if sys.modules.get("torch") is not None else nullcontext()


def numbers_for(model: Model, n: int) -> int:
    """Return the memory that a user of a block takes in `best_items`, in float32 numbers."""
    tiled = _tiled(model, n)
    return model.n_items if tiled is None else numbers_per_user(tiled, n)


def _tiled(model: Model, n: int) -> Catalogue | None:
    """Return the model's catalogue, where it has one and candidates are at most half of all items."""
    return catalogue(model) if 2 * capacity(n, model.n_items) <= model.n_items else None
