"""`Listing`: lists by rules and with diversity: scores in, lists with caps, pins, boosts and unlike items out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.ranking import PADDING, Lengths, Ranked, top_k

if TYPE_CHECKING:
    from recae.list_rules import AppliedRules

DIVERSE_AMONG: Final = 10
"""Candidates for each place of a list with diversity: the best by score."""

_LEAST_CANDIDATES: Final = 100
_FIRST: Final = 4  # times the length that is looked at first where caps may leave items out


@dataclass(frozen=True, eq=False)
class Listing:
    """How lists are made of scores.

    Attributes:
        rules: for the items; None without.
        diversity: 0 for the best items by score, up to 1 for the ones least like each other.
        vectors: of the items, float32 (I, P) of length 1 or 0, for diversity above 0.
    """

    rules: AppliedRules | None = None
    diversity: float = 0.0
    vectors: NDArray[np.float32] | None = None

    @property
    def plain(self) -> bool:
        """Whether lists are those of `top_k` with the barred items left out."""
        return not self.diversity and (self.rules is None or self.rules.only_bar)

    @property
    def recent_from(self) -> int | None:
        """The day from which what was bought is left out, as `AppliedRules.recent_from`; None: that is no rule."""
        return None if self.rules is None else self.rules.recent_from

    def rank(
        self,
        scores: NDArray[np.float32],
        k: Lengths,
        exclude: sp.csr_matrix | None = None,
        candidates: NDArray[np.bool_] | None = None,
        threads: int | None = None,
    ) -> Ranked:
        """Return the lists of scores (B, I), as `top_k`, by these rules.

        A boost of b adds b standard deviations of the row's finite scores. Then the items are taken in the order of
        their scores, each unless its category or brand has reached its cap; pins stand at their places, count for the
        caps, and are left out where they are barred, excluded or no candidates. The scores of a list are those that it
        was ordered by, so that with pins or diversity they do not fall from place to place.

        With a diversity x, each place is given to the candidate j with the largest

            (1 − x) · r_j − x · max_s cos(v_j, v_s)     over the items s that stand in the list already,

        maximal marginal relevance (Carbonell and Goldstein 1998), r_j the score brought to 0 … 1 over the candidates,
        the `DIVERSE_AMONG` best items for each place and 100 at least; equal ones go by score. This greedy rule is
        exact among the candidates.

        Args:
            scores: float32 (B, I), higher is better; not modified.
            k: length of the lists, or of each, (B,).
            exclude: csr_matrix (B, I); stored items are left out.
            candidates: bool (I,) or (B, I); only these are ranked.
            threads: most threads.
        """
        rules = self.rules
        allowed = candidates
        if rules is not None:
            allowed = ~rules.barred if allowed is None else allowed & ~rules.barred
        if self.plain:
            return top_k(scores, k, exclude, allowed, threads)
        if rules is not None and rules.boost is not None:
            scores = scores + _deviations(scores)[:, None] * rules.boost
        lengths = np.full(len(scores), k, dtype=np.int64)
        ranked = Ranked.empty(len(scores), int(lengths.max(initial=1)))
        for row, length in enumerate(lengths):
            left_out = (
                None if exclude is None else exclude.indices[exclude.indptr[row] : exclude.indptr[row + 1]]
            )
            own = None if allowed is None else allowed if allowed.ndim == 1 else allowed[row]
            items = self._list(scores[row], int(length), left_out, own, threads)
            ranked.items[row, : items.size], ranked.scores[row, : items.size] = items, scores[row, items]
        return ranked

    def _list(
        self,
        scores: NDArray[np.float32],
        length: int,
        left_out: NDArray[np.integer] | None,
        allowed: NDArray[np.bool_] | None,
        threads: int | None,
    ) -> NDArray[np.int32]:
        """Return one list, at most so long."""
        may = ~np.isnan(scores)
        if allowed is not None:
            may &= allowed
        if left_out is not None:
            may[left_out] = False
        length = min(length, int(may.sum()))
        pins = {
            place: item
            for place, item in (self.rules.pins if self.rules else ())
            if place < length and may[item]
        }
        may[list(pins.values())] = False
        left = int(may.sum())
        width = max(_LEAST_CANDIDATES, DIVERSE_AMONG * length) if self.diversity else _FIRST * length
        while True:
            width = min(width, left)
            best = top_k(scores[None], max(width, 1), None, may, threads).items[0]
            found = self._picked(scores, best[best != PADDING], length, pins)
            if found.size == length or width == left:
                return found
            width *= 4

    def _picked(
        self, scores: NDArray[np.float32], best: NDArray[np.int32], length: int, pins: dict[int, int]
    ) -> NDArray[np.int32]:
        """Return the items of a list out of candidates, best first, with the pins at their places."""
        caps = [
            (codes, most, _counts(codes, pins.values()))
            for codes, most in (self.rules.caps if self.rules else ())
        ]
        relevance, likeness = _unit(scores[best]), np.zeros(best.size)
        open_ = np.ones(best.size, dtype=np.bool_)
        chosen: list[int] = []

        def taken(item: int) -> None:
            chosen.append(item)
            if self.diversity:
                vectors = cast(NDArray[np.float32], self.vectors)
                alike = vectors[best] @ vectors[item]
                np.copyto(likeness, alike if len(chosen) == 1 else np.maximum(likeness, alike))

        while len(chosen) < length:
            if (pinned := pins.get(len(chosen))) is not None:
                taken(pinned)
                continue
            if not open_.any():
                break
            if self.diversity:
                value = (1 - self.diversity) * relevance - self.diversity * likeness
                place = int(np.argmax(np.where(open_, value, -np.inf)))
            else:
                place = int(np.argmax(open_))
            open_[place] = False
            item = int(best[place])
            if any(
                codes[item] >= 0 and counts.get(int(codes[item]), 0) >= most for codes, most, counts in caps
            ):
                continue
            for codes, _, counts in caps:
                counts[int(codes[item])] = counts.get(int(codes[item]), 0) + 1
            taken(item)
        rest = [item for place, item in sorted(pins.items()) if place >= len(chosen)]
        return np.array([*chosen, *rest][:length], dtype=np.int32)


def _counts(codes: NDArray[np.int32], items: object) -> dict[int, int]:
    found: dict[int, int] = {}
    for item in cast("list[int]", items):
        found[int(codes[item])] = found.get(int(codes[item]), 0) + 1
    return found


def _unit(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return scores brought to 0 … 1, as float64; 1 where all are alike."""
    values = np.clip(scores.astype(np.float64), np.finfo(np.float32).min, np.finfo(np.float32).max)
    if not values.size or np.ptp(values) == 0:
        return np.ones(values.size)
    return np.asarray((values - values.min()) / np.ptp(values))


def _deviations(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation of each row's finite scores, (B,)."""
    finite = np.where(np.isfinite(scores), scores, np.nan).astype(np.float64)
    filled = np.isfinite(finite).any(axis=1)
    found = np.zeros(len(scores))
    found[filled] = np.nanstd(finite[filled], axis=1)
    return found.astype(np.float32)


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors (I, P) brought to length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1)[:, None], dtype=np.float32)
