"""`EventInputs`: other events than purchases, such as views and carts, as inputs beside the purchases.

A history with such inputs is one row of (1 + K) · I columns: the purchases first, then a block of I columns for each of
the K events. So it stays one sparse matrix, whose rows can be taken like any other's. Only its first I columns are
owned; a model that reads no events is given these alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.sparse import pattern, take_columns, take_entries, without


class Scorer(Protocol):
    """What is asked of a model here."""

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        ...


@dataclass(frozen=True, eq=False)
class EventInputs:
    """What users did with items beside buying them.

    Attributes:
        names: of the K events, such as ("cart", "view").
        matrix: float32 csr_matrix (U, K · I) of ones, sorted: column b · I + i says that the event b was of item i.

    Raises:
        DataError: there is no event, a name comes twice, or the columns are no blocks of the same width.
    """

    names: tuple[str, ...]
    matrix: sp.csr_matrix

    def __post_init__(self) -> None:
        """Check that names and blocks fit each other."""
        if not self.names or len(set(self.names)) < len(self.names):
            raise DataError(
                f"event inputs are of one event or more, each once, found {self.names}: name them so"
            )
        if self.matrix.shape[1] % len(self.names):
            raise DataError(
                f"the inputs of {len(self.names)} events have {self.matrix.shape[1]:,} columns, which are no blocks of "
                "the same width; give a block of the items for each"
            )

    @classmethod
    def of(cls, names: Sequence[str], blocks: Sequence[sp.csr_matrix]) -> Self:
        """Put a matrix (U, I) for each event together; its stored entries count, whatever their value."""
        joined = sp.csr_matrix(sp.hstack([pattern(sp.csr_matrix(block)) for block in blocks], format="csr"))
        joined.sum_duplicates()
        return cls(tuple(names), pattern(joined))

    @property
    def n_items(self) -> int:
        """Number of items, I."""
        return int(self.matrix.shape[1] // len(self.names))

    @property
    def counts(self) -> dict[str, int]:
        """How many distinct pairs of a user and an item each event has."""
        found = np.bincount(self.matrix.indices // max(self.n_items, 1), minlength=len(self.names))
        return dict(zip(self.names, map(int, found), strict=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over the names and the events."""
        digest = hashlib.sha256("\0".join(("recae inputs 1", *self.names)).encode())
        for array in (self.matrix.indptr, self.matrix.indices):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def rows(self, rows: NDArray[np.integer[Any]]) -> Self:
        """Return the events of some users (n,), in that order."""
        return type(self)(self.names, sp.csr_matrix(self.matrix[rows]))

    def with_items(self, items: NDArray[np.integer[Any]]) -> Self:
        """Return the events of some items (n,), rising, which become the items 0 to n - 1."""
        starts = np.arange(len(self.names), dtype=np.int64)[:, None] * self.n_items
        return type(self)(self.names, take_columns(self.matrix, (starts + items).ravel()))

    def above(self, other: Self) -> Self:
        """Return the events of these users, and below them those of others."""
        return type(self)(self.names, sp.csr_matrix(sp.vstack([self.matrix, other.matrix], format="csr")))

    def hiding(self, held_out: sp.csr_matrix) -> Self:
        """Return the events without those of held-out purchases, (U, I).

        Who buys an item has mostly looked at it before. Were that view to be seen, a held-out purchase would be found
        by the view that led to it.
        """
        every = sp.csr_matrix(sp.hstack([held_out] * len(self.names), format="csr"))
        return type(self)(self.names, without(self.matrix, every))

    def block(self, name: str) -> sp.csr_matrix:
        """Return who did one of the events with what, (U, I)."""
        place, items = self.names.index(name), self.n_items
        return sp.csr_matrix(self.matrix[:, place * items : (place + 1) * items])

    def taking(self, names: Sequence[str]) -> Self | None:
        """Return the inputs with some of the events, in the order of `names`; None for none."""
        return type(self).of(names, [self.block(name) for name in names]) if names else None

    def beside(self, histories: sp.csr_matrix) -> sp.csr_matrix:
        """Return histories (U, I) with the events of their users beside them, (U, (1 + K) · I)."""
        return sp.csr_matrix(sp.hstack([histories, self.matrix], format="csr", dtype=np.float32))


def inputs_of(model: object) -> tuple[str, ...]:
    """Return the events that a model may be given beside the purchases, in the order of their blocks."""
    return tuple(getattr(model, "inputs", ()))


def owned_part(histories: sp.csr_matrix, n_items: int) -> sp.csr_matrix:
    """Return what is owned of histories with or without events, (B, I); the matrix itself without."""
    if histories.shape[1] <= n_items:
        return histories
    taken = take_entries(histories, histories.indices < n_items)
    return sp.csr_matrix((taken.data, taken.indices, taken.indptr), shape=(histories.shape[0], n_items))


def readable(model: Scorer, histories: sp.csr_matrix) -> sp.csr_matrix:
    """Return what a model reads of histories: their events, too, or what is owned alone."""
    return histories if inputs_of(model) else owned_part(histories, model.n_items)


def check_inputs(histories: sp.csr_matrix, n_items: int, names: Sequence[str]) -> None:
    """Check that histories are of purchases alone, or of purchases and these events.

    Raises:
        DataError: they have another number of columns.
    """
    width = histories.shape[1]
    if width not in (n_items, (1 + len(names)) * n_items):
        wanted = f"histories over {n_items} items"
        more = f", or with a block of as many columns for each of {', '.join(names)}" if names else ""
        raise DataError(
            f"the model scores {wanted}{more}, but these have {width} columns; number the items as the model does"
        )
