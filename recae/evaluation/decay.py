"""How fast a purchase loses weight in the histories of shops where people rebuy."""

from __future__ import annotations

from collections.abc import Callable

import scipy.sparse as sp

from recae.evaluation.evaluate import evaluate
from recae.models import Frequency

DECAYS = (1.0, 0.95, 0.9, 0.8, 0.6)
"""What a purchase weighs one basket later: tried on the validation users."""

DECAY = 0.9
"""The decay where nobody is held out to choose it on."""


def choose_decay(
    fit: sp.csr_matrix, histories: Callable[[float], sp.csr_matrix], held_out: sp.csr_matrix | None
) -> float:
    """The one of `DECAYS` with which personal frequency has the best NDCG@20 on users to choose on; of equals the
    first.

    fit        csr (U, I), what is learned from
    histories  their histories (V, I), weighted with a decay
    held_out   csr (V, I); None, or nothing in it, gives `DECAY`
    """
    if held_out is None or not held_out.nnz:
        return DECAY
    model = Frequency.fit(fit)

    def quality(decay: float) -> float:
        return evaluate(model, histories(decay), held_out, (20,), exclude_owned=False).mean("ndcg@20")

    return max(DECAYS, key=quality)
