"""Lists of test users with diversity, beside the plain ones: what it costs is measured where a model is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError
from recae.insight.vectors import drawn_histories, score_vectors
from recae.listing import Listing, unit_vectors
from recae.models import Model
from recae.ranking import PADDING, rows_per_block


def rank_diverse(
    model: Model,
    fit: sp.csr_matrix,
    histories: sp.csr_matrix,
    diversities: Sequence[float],
    k: int,
    *,
    exclude_owned: bool,
    on_message: Callable[[str], None],
) -> NDArray[np.int32]:
    """Return the lists of histories for each diversity, as `recae recommend --diversity` makes them.

    Args:
        model: of I items.
        fit: csr (U, I), what it learned from: items are alike when it recommends them to the same of these users.
        histories: csr (B, I).
        diversities: D numbers from 0 to 1, see `recae.listing.Listing.rank`.
        k: length of the lists.
        exclude_owned: whether lists leave out what a history holds.
        on_message: is told why there are none.

    Returns:
        int32 (D, B, k), -1 padded; (0, B, k) where the model scores every history alike, so that no items are alike.
    """
    found = np.full((len(diversities), histories.shape[0], k), PADDING, dtype=np.int32)
    if not len(diversities):
        return found
    try:
        vectors = unit_vectors(score_vectors(model, drawn_histories(fit, model.n_items)))
    except DataError as error:
        on_message(f"lists with diversity are left out: {error}")
        return found[:0]
    listings = [Listing(None, diversity, vectors) for diversity in diversities]
    step = rows_per_block(2 * model.n_items)
    for start in range(0, histories.shape[0], step):
        block = sp.csr_matrix(histories[start : start + step])
        scores = model.score(block)
        for place, listing in enumerate(listings):
            ranked = listing.rank(scores, k, block if exclude_owned else None).items
            found[place, start : start + len(scores), : ranked.shape[1]] = ranked
    return found
