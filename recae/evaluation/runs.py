"""The result of one model in a comparison: its ranked lists, and the facts of how it was fitted and chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Run:
    """One model on one protocol; every metric, slice and curve of it is computed from `ranked`.

    name        of the model in tables, such as "item-kNN"; different for every run of a comparison
    kind        as the configurations are registered, such as "itemknn"
    baseline    whether it is one of the simple models that the others are compared with
    config      the settings that were measured, as JSON values
    tuned       what was tried on the validation users, in order: {"settings": {…}, "ndcg@20": float, NaN or None where
                it failed}; empty where nothing was tried. Of k-fold all folds' trials, with the key "fold" besides.
    seconds     wall time of fitting, tuning and ranking, of all folds together
    peak_bytes  the largest resident memory of the process that did it, over the folds; None where it is not known
    epochs      of the training that was measured, {"epoch": int, "loss": float, "recall@20": float or None}; of k-fold
                that of the first fold; empty for a closed form
    ranked      int32 (B, K): the item numbers recommended to the B test users of all folds one after the other, best
                first, -1 padded, in the columns of the user's own fold; (0, 0) where the run failed
    scores      float32 (B, K) of the entries of `ranked`, NaN at padding; None where they were not kept
    failed      None, or one sentence that says why there is no result
    """

    name: str
    kind: str
    baseline: bool
    config: dict[str, Any] = field(default_factory=dict)
    tuned: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    ranked: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    scores: NDArray[np.float32] | None = None
    failed: str | None = None
