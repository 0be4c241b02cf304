"""Weights of a blend, chosen again on new purchases, which its parts have not yet learned from.

What known users have bought since is found by the parts as they are, from the histories before. That is what lists are
for, and neither costs a fit nor withholds a purchase from the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from recae.inputs import owned_part
from recae.models.blend import Blend
from recae.recommender import Recommender
from recae.selection.weights import Candidates
from recae.sparse import without
from recae.updating.union import Union

USERS_AT_LEAST: Final = 100
"""Known users with new purchases of known items; fewer say too little of weights."""

USERS_AT_MOST: Final = 2_000
"""Users who are looked at, at equal distances where there are more."""


@dataclass(frozen=True, eq=False)
class Weighing:
    """What came of choosing weights again.

    Attributes:
        model: the blend, whose parts are as before.
        users: on whose new purchases the weights were chosen; 0 where they say too little.
        changed: whether the weights are others than before.
    """

    model: Blend
    users: int
    changed: bool

    def sentence(self) -> str:
        """Return what came of it, in words."""
        if not self.users:
            return (
                f"the weights of the blend stay: fewer than {USERS_AT_LEAST} known users bought known items"
            )
        weights = ", ".join(f"{part.weight:.2f} {part.model.kind}" for part in self.model.parts)
        what = "are now" if self.changed else "stay"
        return f"the weights of the blend {what} {weights}, by what {self.users:,} users have bought since"

    def metadata(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a model with the weights of the blend, where they have changed."""
        report = before.get("blend")
        if not self.changed or not isinstance(report, Mapping):
            return dict(before)
        weights = {part.model.kind: part.weight for part in self.model.parts}
        return {**before, "blend": {**report, "weights": weights}}


def weighed_again(recommender: Recommender, union: Union) -> Weighing | None:
    """Return a blend with weights chosen on what its known users have bought since, and how it came about.

    None where there is nothing to weigh: the model is no blend, or of one part. The spreads stay.

    Args:
        recommender: that has not learned from the new purchases, with histories.
        union: its purchases and the new ones.
    """
    model = recommender.model
    if not isinstance(model, Blend) or sum(part.weight > 0 for part in model.parts) < 2:
        return None
    histories = recommender.scored
    if histories is None:
        raise AssertionError("checked before: there are histories")
    owned = owned_part(histories, model.n_items)
    owners = np.diff(owned.indptr) > 0
    wanted = sp.csr_matrix(union.given[union.old_users])
    wanted = sp.csr_matrix(wanted[:, union.old_items])
    wanted.sort_indices()
    own = recommender.excludes_owned()
    if own:
        wanted = without(wanted, owned)
    users = np.flatnonzero((np.diff(wanted.indptr) > 0) & owners)
    if users.size < USERS_AT_LEAST:
        return Weighing(model, 0, changed=False)
    candidates = Candidates.of(
        [part.model for part in model.parts],
        (sp.csr_matrix(histories[users]), sp.csr_matrix(wanted[users])),
        exclude_owned=own,
        spreads=[part.spread for part in model.parts],
        most=USERS_AT_MOST,
    )
    present = np.array([part.weight for part in model.parts])
    weights = candidates.choose_again(present)
    looked_at = len(candidates.hits)
    if np.array_equal(weights, present / present.sum()):
        return Weighing(model, looked_at, changed=False)
    parts = tuple(
        replace(part, weight=float(weight)) for part, weight in zip(model.parts, weights, strict=True)
    )
    return Weighing(Blend(parts, model.settings), looked_at, changed=True)
