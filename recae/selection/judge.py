"""`ValidationUsers`: measures models on validation users, for what a fit uses only where it helps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.evaluation import evaluate
from recae.evaluation.intervals import paired_difference
from recae.models import Model
from recae.training.callbacks import Gain


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """See `recae.training.callbacks.Judge`.

    Attributes:
        pair: histories, with the users' other events where there are any, and held-out items.
        exclude_owned: whether lists leave out what a history holds.
    """

    pair: tuple[sp.csr_matrix, sp.csr_matrix]
    exclude_owned: bool = True

    def values(self, model: Model) -> NDArray[np.float64]:
        """Return NDCG@20 of each user, (B,)."""
        found = evaluate(model, *self.pair, (20,), metrics=("ndcg",), exclude_owned=self.exclude_owned)
        return found.values["ndcg@20"]

    def gain(self, values: NDArray[np.float64], before: NDArray[np.float64]) -> Gain:
        """Return the mean gain with its 95 % interval, by the paired bootstrap."""
        found = paired_difference(values, before)
        return Gain(found.mean, found.low, found.high)
