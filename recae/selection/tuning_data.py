"""Data of tuning: purchases with the same held-out users as in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.confidence import Weighting
from recae.errors import DataError
from recae.filters import Filters
from recae.interactions import Events, Interactions
from recae.reading import ReadOptions, ReadReport, read
from recae.splits.held_out import HeldOut, confidence_of, hold_out, hold_out_repeats
from recae.splits.protocols import check_baskets, check_no_inputs, reading_options


@dataclass(frozen=True, eq=False)
class Seen:
    """The data that a trial is fitted to and measured on.

    Attributes:
        matrix: (U, I) pattern of the learners.
        validation: histories and held-out items of the validation users, (B, I) each.
        set_aside: number of test users, of whom nothing else is here.
        held_out: fingerprint of who is held out.
        decay: of the histories' values; None where they are a pattern.
        confidence: in each purchase of the learners, (nnz,) in the order of `matrix`; None: 1.
        notes: sentences on the times that it was computed from.
    """

    matrix: sp.csr_matrix
    validation: tuple[sp.csr_matrix, sp.csr_matrix]
    set_aside: int
    held_out: str
    decay: float | None = None
    confidence: NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TuningData:
    """Purchases with the same held-out users as `train` with the same seed.

    Attributes:
        events: the purchases by basket with repeats, else None.
        weighting: confidence of purchases in training.
    """

    interactions: Interactions
    events: Events | None
    seed: int
    weighting: Weighting = field(default_factory=Weighting)
    _seen: dict[float | None, Seen] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Of the purchases, and with repeats of their order."""
        return self.interactions.fingerprint if self.events is None else self.events.fingerprint

    def seen(self, decay: float | None = None) -> Seen:
        """Return what trials see whose histories have this `decay`; None: the one that `train` would choose.

        Raises:
            DataError: there are not enough users to hold any out.
            ConfigError: the decay is out of range.
        """
        decay = None if self.events is None else decay
        if decay not in self._seen:
            if len(self._seen) > 1:  # the decay of the defaults is asked for most often
                self._seen.pop(next(found for found in self._seen if found is not None))
            self._seen[decay] = self._hold_out(decay)
        return self._seen[decay]

    def _hold_out(self, decay: float | None) -> Seen:
        held_out: HeldOut
        if self.events is None:
            held_out, chosen = hold_out(self.interactions, self.seed), None
        else:
            held_out = hold_out_repeats(
                self.events, self.interactions.users, self.seed, decay, items=self.interactions.items
            )
            chosen = held_out.decay
        if held_out.validation is None or held_out.test is None:
            of_two = "baskets" if self.events is not None else "items"
            raise DataError(
                f"tuning needs three users with two {of_two} or more, to choose on, to set aside and to learn from, "
                f"found fewer among {self.interactions.n_users:,} users: use more purchases, or train with the defaults"
            )
        matrix = sp.csr_matrix(self.interactions.matrix[held_out.learners])
        notes: list[str] = []
        confidence = confidence_of(self.weighting, self.interactions, held_out.learners, notes.append)
        n_test = held_out.test[0].shape[0]
        return Seen(
            matrix, held_out.validation, n_test, held_out.fingerprint, chosen, confidence, tuple(notes)
        )


def read_tuning_data(
    source: Any,
    reading: ReadOptions | None,
    seed: int,
    repeats: bool,
    on_report: Callable[[ReadReport], None],
    filters: Filters | None = None,
    weighting: Weighting | None = None,
) -> TuningData:
    """Read purchases as `train` does.

    Raises:
        SourceError, ColumnError, DataError: the purchases cannot be used.
        ConfigError: there are repeats without baskets, baskets without repeats, or filters of Interactions.
    """
    weighting = weighting or Weighting()
    check_no_inputs(reading, "tune")
    options = reading_options(source, reading, filters)
    check_baskets(source, options, repeats)
    if isinstance(source, Interactions):
        return TuningData(source, None, seed, weighting)
    found = read(source, options.updated(baskets=repeats, quantities=weighting.quantity_as_confidence))
    on_report(found.report)
    return TuningData(found.interactions, found.events, seed, weighting)
