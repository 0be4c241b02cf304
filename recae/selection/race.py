"""`Race`: whether a blend's part that is trained in epochs is worth going on with, beside the parts that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import scipy.sparse as sp

from recae.kinds import MAIN, Size, model_class, seconds_for
from recae.models import Model
from recae.selection.weights import Candidates
from recae.training.callbacks import Hooks
from recae.training.config import resolve

EPOCHS_AT_LEAST: Final = 5
"""Epochs before the part is judged; before, it would often be left out although it brings something in the end."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """Parts with their weights.

    Attributes:
        kinds: of the parts.
        candidates: what they score for the validation users.
        weights: kind → weight, 0 for what is left out.
    """

    kinds: tuple[str, ...]
    candidates: Candidates
    weights: Mapping[str, float]

    @classmethod
    def of(
        cls, models: Mapping[str, Model], pair: tuple[sp.csr_matrix, sp.csr_matrix], *, exclude_owned: bool
    ) -> Self:
        """Weigh models by kind on validation users, (B, I) each; see `Candidates.choose`."""
        kinds = tuple(models)
        candidates = Candidates.of(list(models.values()), pair, exclude_owned=exclude_owned)
        return cls(kinds, candidates, dict(zip(kinds, candidates.choose().tolist(), strict=True)))

    def alone(self, kind: str) -> float:
        """Return the NDCG@20 of one part on the validation users."""
        return self.candidates.ndcg(np.eye(len(self.kinds))[self.kinds.index(kind)])

    def together(self) -> float:
        """Return that of the weighted sum."""
        return self.candidates.ndcg(np.array(list(self.weights.values())))


@dataclass(eq=False)
class Race:
    """Ends the training of the part `MAIN` where the others are not better with it after a part of its epochs.

    The rule is that by which all parts are weighed in the end. The epoch follows from the data, the settings
    and the number of processors, so that the same training ends at the same place however busy the machine is.

    Attributes:
        epoch: after which it is judged.
        pair: histories and held-out items of the validation users, (B, I) each.
        exclude_owned: whether lists leave out what a user owns.
        lost: what was weighed, where the part was left out and its training has ended; None before.
    """

    epoch: int
    pair: tuple[sp.csr_matrix, sp.csr_matrix]
    exclude_owned: bool
    lost: Weighed | None = None

    @classmethod
    def of(
        cls,
        matrix: sp.csr_matrix,
        configs: Mapping[str, Any],
        pair: tuple[sp.csr_matrix, sp.csr_matrix],
        hooks: Hooks,
        *,
        exclude_owned: bool,
        judged: int,
    ) -> Race | None:
        """Return the race for a fit of parts beside each other; None where it would save nothing.

        The epoch is the first one by whose end the other parts are there, by rules of thumb: to wait for them would
        cost what is saved. From half of the epochs on nothing is judged.

        Args:
            matrix: (U, I) purchases.
            configs: kind → settings of the parts.
            pair: histories and held-out items of the validation users.
            hooks: of the fits.
            exclude_owned: whether lists leave out what a user owns.
            judged: users on whom each epoch is measured.
        """
        trained = [kind for kind in configs if model_class(kind).trained]
        if trained != [MAIN] or len(configs) < 2 or hooks.engine is not None:
            return None
        config = resolve(configs[MAIN], matrix, hooks.largest)
        if config.by_minibatch:
            return None
        size = Size.of(matrix, judged)
        each = seconds_for(MAIN, size) * (config.factors / size.factors) ** 2 / size.epochs
        others = sum(seconds_for(kind, size) for kind in configs if kind != MAIN)
        epoch = max(EPOCHS_AT_LEAST, int(np.ceil(others / each)))
        return cls(epoch, pair, exclude_owned) if epoch < config.epochs / 2 else None

    def ends(self, models: Mapping[str, Model]) -> bool:
        """Return whether the training ends: the part, as good as it is by now, is left out of these models by kind."""
        weighed = Weighed.of(models, self.pair, exclude_owned=self.exclude_owned)
        if not weighed.weights[MAIN]:
            self.lost = weighed
        return self.lost is not None
