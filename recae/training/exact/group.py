"""Several processes that train one model together, over torch's process groups (gloo)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.distributed_c10d import ProcessGroupGloo, Store

from recae.errors import RankLostError
from recae.training.exact.ranks import ROWS, Ranks
from recae.training.exact.steps import Split

MINUTES = 30
"""How long a process waits for another before it gives up: longer than judging a model or writing a checkpoint takes.
The death of a process is noticed at once, by its connections; this is for a machine that falls silent."""


class Group(Ranks):
    """One of several processes, connected to the others by gloo; the group is its own, not torch's default one.

    All processes have to call every method but `rank`, `size` and `count`, in the same order. Each raises
    RankLostError where another process has gone or says nothing for `MINUTES`.
    """

    def __init__(self, store: Store, rank: int, size: int, minutes: float = MINUTES) -> None:
        """Wait for the others, which meet at `store`."""
        self.rank, self.size = rank, size
        with _lost():
            self._group: Any = ProcessGroupGloo(store, rank, size, timedelta(minutes=minutes))

    def close(self) -> None:
        """Close the connections, so that who waits for this process learns that it has gone. It is the last call."""
        self._group = None  # gloo closes them with its object, and not at its `abort`

    def sum(self, array: NDArray[Any]) -> None:
        """Replace an array by its sum over the processes."""
        with _lost():
            self._group.allreduce([torch.from_numpy(array)]).wait()

    def agree(self, array: NDArray[Any]) -> None:
        """Replace an array by that of process 0."""
        with _lost():
            self._group.broadcast(torch.from_numpy(array), 0).wait()

    def join_rows(self, matrix: NDArray[Any]) -> None:
        """Bring all rows of a small matrix up to date."""
        matrix[...] = self.join_columns(matrix[self.range(len(matrix))].T, len(matrix)).T

    def join_columns(self, mine: NDArray[Any], width: int) -> NDArray[Any]:
        """Return all columns (n, width) of a matrix of which each process has those that `range` says, (n, w)."""
        most = -(-width // self.size)
        padded = np.zeros((len(mine), most), mine.dtype)
        padded[:, : mine.shape[1]] = mine
        parts = np.empty((self.size * len(mine), most), mine.dtype)
        with _lost():
            self._group._allgather_base(torch.from_numpy(parts), torch.from_numpy(padded)).wait()
        parts = parts.reshape(self.size, len(mine), most)
        widths = [width * (r + 1) // self.size - width * r // self.size for r in range(self.size)]
        return np.concatenate([part[:, :w] for part, w in zip(parts, widths, strict=True)], axis=1)

    def gather(self, mine: NDArray[Any], n_items: int) -> NDArray[Any]:
        """Return the rows of all items, at process 0 alone."""
        if self.rank > 0:
            for first in range(0, len(mine), ROWS):
                self._send(mine[first : first + ROWS], 0)
            return mine
        every = np.empty((n_items, *mine.shape[1:]), mine.dtype)
        every[:: self.size] = mine
        for other in range(1, self.size):
            rows = every[other :: self.size]
            for first in range(0, len(rows), ROWS):
                piece = np.empty_like(rows[first : first + ROWS], order="C")
                self._receive(piece, other)
                rows[first : first + ROWS] = piece
        return every

    def scatter(self, every: NDArray[Any] | None, mine: NDArray[Any]) -> None:
        """Fill `mine` with this process's rows of process 0's `every`."""
        if self.rank > 0:
            for first in range(0, len(mine), ROWS):
                self._receive(mine[first : first + ROWS], 0)
        elif every is not None:
            mine[...] = every[:: self.size]
            for other in range(1, self.size):
                rows = every[other :: self.size]
                for first in range(0, len(rows), ROWS):
                    self._send(rows[first : first + ROWS], other)

    def tell(self, word: str, **values: Any) -> None:
        """Tell the others, from process 0, a word and JSON values with it."""
        text = np.frombuffer(json.dumps([word, values]).encode(), np.uint8).copy()
        length = np.array([len(text)])
        self.agree(length)
        self.agree(text)

    def hear(self) -> tuple[str, dict[str, Any]]:
        """Wait for what process 0 tells."""
        length = np.zeros(1, np.int64)
        self.agree(length)
        text = np.empty(int(length[0]), np.uint8)
        self.agree(text)
        word, values = json.loads(text.tobytes())
        return word, values

    def hand_over(self, array: NDArray[Any], to: int) -> None:
        """Send a flat array of numbers to a process, which calls `take_over`."""
        self._send(np.array([len(array)]), to)
        for first in range(0, len(array), PIECE):
            self._send(array[first : first + PIECE], to)

    def take_over(self, dtype: type[np.integer[Any]]) -> NDArray[Any]:
        """Return the array that process 0 hands over."""
        length = np.zeros(1, np.int64)
        self._receive(length, 0)
        array = np.empty(int(length[0]), dtype)
        for first in range(0, len(array), PIECE):
            self._receive(array[first : first + PIECE], 0)
        return array

    def _send(self, array: NDArray[Any], to: int) -> None:
        with _lost():
            self._group.send([torch.from_numpy(np.ascontiguousarray(array))], to, 0).wait()

    def _receive(self, array: NDArray[Any], source: int) -> None:
        with _lost():
            self._group.recv([torch.from_numpy(array)], source, 0).wait()


class Columns(Split):
    """The columns of the small matrices that one process of a group has."""

    alone = False

    def __init__(self, group: Group, width: int) -> None:
        """Take this process's columns of matrices of `width`."""
        self._group, self._width = group, width
        self.columns = group.range(width)

    def join(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return all columns of matrices of which each process has its own."""
        stacked = torch.cat(parts).numpy()  # one round for all of them
        joined = torch.from_numpy(self._group.join_columns(stacked, self._width))
        return torch.split(joined, [len(part) for part in parts])

    def products(self, RV: Tensor, UH: Tensor, HQ: Tensor, H: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
        """Return RW in this process's columns and HQHᵀ + 2 RWHᵀ."""
        # RW = Σ_c RV_c U_c and RWHᵀ = RV(HUᵀ)ᵀ = Σ_c RV_c UH_cᵀ over the processes' columns c
        RV = RV[:, self.columns]
        N = torch.addmm(HQ @ H[:, self.columns].T, RV, UH.T, alpha=2)
        sums = torch.cat([RV @ U, N], dim=1)
        self._group.sum(sums.numpy())
        return sums[:, : self._width][:, self.columns], sums[:, self._width :]


PIECE = 2**24
"""Numbers that are handed over at once."""


@contextmanager
def _lost() -> Iterator[None]:
    """Turn what torch raises when a connection breaks into one of our own errors."""
    try:
        yield
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise RankLostError(
            f"another process of this training has gone or does not answer ({reason}): start the training again, with "
            "--resume where it left a checkpoint"
        ) from error
