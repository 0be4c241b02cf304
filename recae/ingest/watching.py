"""What looks on while purchases are read: it is told of every batch, and what became of each of its rows."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recae.ingest.report import REASONS

USED: Final = np.uint8(0)
"""The fate of a row that is a purchase."""


class Watcher(Protocol):
    """Somebody who wants to see the rows of a reading."""

    def rows(self, batch: pa.RecordBatch, fates: NDArray[np.uint8]) -> None:
        """Look at a batch.

        Args:
            batch: the columns used, as the source gave them.
            fates: of each row, shape (rows,): `USED`, or `fate_of` the reason why it was dropped. Duplicates are among
                those kept, since they are found only at the end.
        """
        ...


def fate_of(reason: str) -> int:
    """Return the number that stands for one of `REASONS`."""
    return REASONS.index(reason) + 1


def reason_of(fate: int) -> str:
    """Return the reason that a number other than `USED` stands for."""
    return REASONS[fate - 1]
