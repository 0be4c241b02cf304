"""Explanations: a score as a sum of a base and of what each owned item adds, with nothing left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import DataError, ModelFileError
from recae.inputs import check_inputs, inputs_of
from recae.models.attribution import attribute
from recae.models.base import check_items, reads_values
from recae.recommender import Recommender

REASONS: Final = 5
"""How many owned items are named at most, by default; the others are summed."""

_ROUNDING: Final = 1e-3  # of the sizes that are summed: what float32 may lose at most between score and parts
_DIGITS: Final = 9  # of the largest number of a sum; they tell any two float32 apart
_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Explanation:
    """A score, taken apart: score = base + Σ contributions.

    Attributes:
        item: row of the item that is scored.
        score: the model's score of the item for the history.
        base: the score of an empty history on the scale of this one; see `recae.models.attribution`.
        owned: rows of the m items in the history, int64 (m,), rising. Columns from I on are of other events, see
            `recae.inputs`; they contribute like what is owned.
        contributions: what each of them adds, float64 (m,), as `owned`. Negative where owning the item speaks
            against the recommendation.
        error: the largest standard error of a contribution; 0 unless they were sampled. The sum has none.
    """

    item: int
    score: float
    base: float
    owned: NDArray[np.int64]
    contributions: NDArray[np.float64]
    error: float = 0.0

    def reasons(self, most: int = REASONS) -> list[tuple[int, float]]:
        """Return (item row, contribution) of the largest positive contributions, largest first, at most `most`.

        Equal ones come in the order of their rows.
        """
        return [
            (int(self.owned[at]), float(self.contributions[at]))
            for at in self._order(self.contributions)[:most]
            if self.contributions[at] > 0
        ]

    def sum(
        self,
        most: int = REASONS,
        *,
        positive: bool = False,
        score: Decimal | None = None,
        decimals: int | None = None,
    ) -> ShownSum:
        """Return the sum as decimal numbers to be shown, which add up exactly.

        Args:
            most: how many contributions to name, largest first; the others are summed.
            positive: name only such as raise the score, instead of the largest whatever their sign.
            score: the score as it is shown elsewhere; None: rounded like the rest.
            decimals: digits after the point; None: nine digits of the largest number, and those that `score` has.
        """
        sizes = -self.contributions if not positive else np.minimum(-self.contributions, 0)
        order = self._order(np.abs(sizes) if not positive else -sizes)
        named = [at for at in order[:most] if not positive or self.contributions[at] > 0]
        rest = np.delete(self.contributions, named)
        values = [self.base, *(float(self.contributions[at]) for at in named), float(rest.sum())]
        values = [float(np.clip(np.nan_to_num(value), -_LARGEST, _LARGEST)) for value in values]
        whole = float(np.clip(np.nan_to_num(self.score), -_LARGEST, _LARGEST))
        if decimals is None:
            largest = max(map(abs, (whole, *values)))
            decimals = _DIGITS - 1 - int(np.floor(np.log10(largest))) if largest > 0 else 0
            own = Decimal(str(np.float32(whole))) if score is None else score
            exponent = own.as_tuple().exponent
            decimals = max(decimals, -exponent if isinstance(exponent, int) else 0, 0)
        total = score if score is not None else _rounded(whole, decimals)
        # an empty remainder has no share in the rounding: there is no line to show it in
        free = values if rest.size else values[:-1]
        base, *shown = _summing_to(total, free, decimals)
        others = shown.pop() if rest.size else Decimal(0)
        rows = [int(self.owned[at]) for at in named]
        return ShownSum(total, base, list(zip(rows, shown, strict=True)), int(rest.size), others)

    def _order(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.argsort(-values, kind="stable")


@dataclass(frozen=True)
class ShownSum:
    """A score as it is shown: score = base + Σ reasons + others, exactly, in decimal numbers.

    Attributes:
        score: as it is shown.
        base: of everybody.
        reasons: (item row, what it adds), the largest first.
        n_others: how many other items the history has.
        others: what they add together.
    """

    score: Decimal
    base: Decimal
    reasons: list[tuple[int, Decimal]]
    n_others: int
    others: Decimal


def explain(
    recommender: Recommender,
    history: sp.csr_matrix,
    items: Sequence[int] | NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]] | None = None,
) -> list[Explanation]:
    """Explain the scores of items for one history.

    Args:
        recommender: whose model scores.
        history: csr_matrix of shape (1, I); the items stored are owned, whatever their value; a model that
            reads the values of a history is given them. May be empty. With events beside the purchases there are
            more columns, which a model that reads none is not given.
        items: rows of the items to explain, in 0 .. I − 1, in any order. Owned ones may be among them; such
            an item's own contribution is part of its explanation.
        scores: (n,), the scores as they were stated; None: they are made anew. What rounding to float32 leaves
            between them and the parts is given to the parts in proportion to their sizes.

    Returns:
        One explanation for each of `items`, in their order.

    Raises:
        DataError: the history is not one row over the model's items, an item is outside 0 .. I − 1, or what the model
            says of its parts does not sum to its score.
        ModelFileError: a score is no number, which those of a damaged model may be.
    """
    model = recommender.model
    if history.shape[0] != 1:
        raise DataError(
            f"one history can be explained at a time, but {history.shape[0]:,} were given; pass one row"
        )
    check_inputs(history, model.n_items, inputs_of(model))
    targets = check_items(np.asarray(items), model.n_items)
    owned, place = np.unique(history.indices, return_inverse=True)  # (m,) each once
    values = np.ones(owned.size, np.float32)
    if reads_values(model):
        values = np.bincount(place, weights=history.data, minlength=owned.size).astype(np.float32)
    whole = sp.csr_matrix((values, owned, [0, owned.size]), shape=history.shape)
    if scores is None:
        scores = model.score_items(whole, targets)[0]
    found = attribute(model, whole, targets)
    rows = owned.astype(np.int64)
    explanations = []
    for at, item in enumerate(targets):
        score, base, own = float(scores[at]), float(found.base[at]), found.contributions[:, at]
        if np.isnan(score):
            raise ModelFileError(
                "the score of an item is no number, and so nothing can be explained; train the model again"
            )
        gap, size = score - base - own.sum(), np.abs(own).sum()
        if not abs(gap) <= _ROUNDING * (abs(score) + abs(base) + size) and np.isfinite(score):
            raise DataError(
                f"the contributions to a score sum to {base + own.sum():.6g}, but the score is {score:.6g}: the kind "
                f"'{model.kind}' has a faulty `contributions`; leave that method out, and they are sampled"
            )
        base, own = (base, own + gap * np.abs(own) / size) if size > 0 else (score, own)
        error = float(found.error[:, at].max(initial=0))
        explanations.append(Explanation(int(item), score, base, rows, own, error))
    return explanations


def _rounded(value: float, decimals: int) -> Decimal:
    return Decimal(f"{value:z.{decimals}f}")


def _summing_to(total: Decimal, values: list[float], decimals: int) -> list[Decimal]:
    """Round values so that they sum to a total exactly: each to one of the two nearest decimals, mostly the nearest.

    What is missing is given in units of the last digit to those that rounding moved furthest the other way. Where it is
    more than a unit each, which no rounding explains, the largest takes it.
    """
    unit = Decimal(1).scaleb(-decimals)
    rounded = [_rounded(value, decimals) for value in values]
    missing = total - sum(rounded, Decimal(0))
    units, sign = int(abs(missing) / unit), 1 if missing > 0 else -1
    if units > len(values):
        largest = max(range(len(values)), key=lambda at: abs(values[at]))
        rounded[largest] += missing
        return rounded
    lost = [sign * (Decimal(value) - near) for value, near in zip(values, rounded, strict=True)]
    # what rounds to nothing, such as the base of a sum, is better shown as nothing
    for at in sorted(range(len(values)), key=lambda at: (rounded[at] == 0, -lost[at]))[:units]:
        rounded[at] += sign * unit
    return rounded
