"""`Growth`: what has changed between the purchases that a model was fitted to and those that it goes on with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Growth:
    """What has changed since a model was fitted to purchases of fewer users and items.

    Attributes:
        items: int64 (I_before,), the column in the matrix of each item of the model, all different.
        changed: int64 (n,), the rows of the matrix whose purchases the model has not learned from as they are, rising.
    """

    items: NDArray[np.int64]
    changed: NDArray[np.int64]

    def new_items(self, n_items: int) -> NDArray[np.int64]:
        """Return the columns of a matrix of that many items which the model does not know, rising."""
        known = np.zeros(n_items, dtype=np.bool_)
        known[self.items] = True
        return np.flatnonzero(~known)
