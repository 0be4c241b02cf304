"""The best items of a block of users: score, leave out what may not be recommended, keep the n best."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.models import Model
from recae.ranking import top_k


def best_items(
    model: Model,
    histories: sp.csr_matrix,
    n: int,
    *,
    exclude_owned: bool,
    barred: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the ``n`` best items of each history, best first; among equal scores the lower item number comes first.

    Args:
        model: scores the histories.
        histories: shape (B, I).
        n: length of the lists, at least 1.
        exclude_owned: leave out the items stored in a history.
        barred: bool of shape (I,), items that nobody gets.

    Returns:
        item numbers, int32 of shape (B, n), -1 where fewer are left; their scores, float32 of shape (B, n), -inf there.
    """
    return top_k(
        model.score(histories),
        n,
        exclude=histories if exclude_owned else None,
        candidates=None if barred is None else ~barred,
    )
