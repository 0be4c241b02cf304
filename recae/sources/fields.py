"""`Fields`: rows of text, each field given by where it lies in the bytes that were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

HELD: Final = 2
"""How many more fields may be asked for while some are in use."""


@dataclass(frozen=True, eq=False)
class Fields:
    """Rows of text; an empty field stands for null, the others are ASCII and begin with neither a blank nor a control.

    They are good until `HELD` more and then the next ones are asked for, whose bytes may take the place of theirs.

    Attributes:
        names: of the columns.
        data: the bytes, uint8, at least 16 more after the last field.
        begins, ends: where the fields lie in them, int32 of shape (columns, rows).
    """

    names: Sequence[str]
    data: NDArray[np.uint8]
    begins: NDArray[np.int32]
    ends: NDArray[np.int32]

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return int(self.begins.shape[1])

    def column(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
        """Return the bytes, and where the fields of a column begin and end in them, each of shape (rows,)."""
        place = self.names.index(name)
        return self.data, self.begins[place], self.ends[place]

    def filled(self, name: str) -> NDArray[np.bool_]:
        """Return which fields of a column are not empty, shape (rows,)."""
        _, begins, ends = self.column(name)
        return ends > begins

    def where(self, kept: NDArray[np.bool_]) -> Fields:
        """Return the rows that are marked in ``kept``, shape (rows,)."""
        # An index would lay the columns out across, for which the loops would be compiled once more.
        begins, ends = (np.compress(kept, places, axis=1) for places in (self.begins, self.ends))
        return replace(self, begins=begins, ends=ends)
