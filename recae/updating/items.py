"""Removal of items from models: the parameters of an item go, those of all others stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import TrainingError
from recae.kinds import find
from recae.models import Model
from recae.models.base import item_weights_arrays, take_item_weights
from recae.models.blend import Blend, Part


def with_items(model: Model, items: NDArray[np.int64]) -> Model:
    """Return a model of some of its items, with the parameters that these have.

    Args:
        model: of a kind whose row in the registry names the arrays of its items, or a blend of such.
        items: numbers of those that stay, rising, (n,), n ≥ 1.

    Raises:
        TrainingError: which of its arrays belong to items is not known, as of the kind of a plugin.
    """
    n_items = model.n_items
    if items.size == n_items:
        return model
    if isinstance(model, Blend):
        parts = tuple(Part(with_items(part.model, items), part.weight, part.spread) for part in model.parts)
        return Blend(parts, model.settings)
    kind = model.kind
    row = find(kind)
    if row.of_items is None:
        raise TrainingError(
            f"items leave the model, and which parameters of the kind '{kind}' are theirs is not known: fit it again "
            "with --retrain (retrain=True)"
        )
    arrays, config = dict(model.arrays()), model.config()
    for name in row.of_items:
        if name in arrays:  # a decoder that is the encoder is stored once
            arrays[name] = np.ascontiguousarray(arrays[name][items])
    if row.between_items == "dense":
        weights = arrays["weights"]
        starts = np.arange(0, len(weights), n_items)
        arrays["weights"] = np.ascontiguousarray(weights[np.ix_((starts[:, None] + items).ravel(), items)])
    if row.between_items == "sparse":
        square = take_item_weights(arrays, n_items, "weights")
        arrays |= item_weights_arrays(sp.csr_matrix(square[items][:, items]))
    if kind == "bpr":
        arrays["others"] = _numbered(arrays["others"], items)
        config["others"] = int(arrays["others"].size)
    left: Model = row.model_class().from_arrays(config, arrays, items.size)
    return left


def _numbered(others: NDArray[Any], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the new numbers of items, those left out that have none; TrainingError where none is left."""
    places = np.minimum(np.searchsorted(items, others), items.size - 1)
    found = places[items[places] == others]
    if not found.size:
        raise TrainingError(
            "bpr would have no item left to compare those of a history with: fit it again with --retrain "
            "(retrain=True)"
        )
    return np.asarray(found, dtype=np.int64)
