"""Fitting personal frequency: counting owners, and how much they weigh beside a user's own purchases."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import scipy.sparse as sp

from recae.models import Model
from recae.models.frequency import Frequency
from recae.training.checkpoint import Epoch
from recae.training.config import check_range
from recae.training.hooks import Hooks

POPULARITIES = (0.001, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Tried on validation users where there are any; the first one only orders what the user has never bought."""


@dataclass(frozen=True)
class FrequencyConfig:
    """How personal frequency is counted; None means: chosen on validation users, or else by `resolve`.

    decay       what a purchase still weighs one basket later, above 0 to 1; 1: all baskets count alike. The histories
                given to the model are weighted by it, so it is chosen where they are made
    popularity  what an item that everybody owns scores, in purchases of the last basket; 0: none
    seed        recorded; nothing is random
    """

    decay: float | None = None
    popularity: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("decay", self.decay, 0, 1, open_low=True)
        check_range("popularity", self.popularity, 0, 1e6)
        check_range("seed", self.seed, 0, 2**63 - 1, whole=True)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON values."""
        return asdict(self)


def resolve(config: FrequencyConfig, matrix: sp.csr_matrix) -> FrequencyConfig:
    """`config` with every None filled in by the defaults of `Frequency.fit`, whatever the (U, I) matrix."""
    decay = 0.9 if config.decay is None else config.decay
    return replace(config, decay=decay, popularity=4.0 if config.popularity is None else config.popularity)


def fit_frequency(matrix: sp.csr_matrix, config: FrequencyConfig, hooks: Hooks) -> tuple[Model, list[Epoch]]:
    """Counts the owners of each item of `matrix` ((U, I) CSR); no epochs.

    A popularity that is not given is the one of `POPULARITIES` that `hooks.validate` likes best.
    """
    settings = resolve(config, matrix).as_dict()
    model = Frequency.fit(matrix, **settings)
    if config.popularity is None and hooks.validate is not None:
        validate, best = hooks.validate, hooks.validate(model)
        for popularity in POPULARITIES:
            other = Frequency(model.shares, {**settings, "popularity": popularity})
            if (quality := validate(other)) > best:
                model, best = other, quality
    return model, []
