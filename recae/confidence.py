"""Confidence: how much each purchase counts in training, by its age and by the quantity bought."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ColumnError, ConfigError
from recae.filters import seconds_of, time_text
from recae.interactions import NO_TIME, SECOND, Events, Interactions
from recae.sparse import entry_keys

LARGEST: Final = 10.0
"""Largest confidence, where the mean is 1: a step of training stays stable, and a single wrong date or quantity cannot
outweigh everything else."""

HALF_LIVES: Final = 10.0
"""Half-lives after which a purchase grows no older: it still weighs 1/1024 of the newest, not nothing."""

QUANTITY: Final = 1e4
"""Quantity of a pair beyond which more says nothing more."""

OUTLIERS: Final = 0.01
"""Largest fraction of the times that can be taken for too late; of 20 to 100 times it is one."""

_DAY: Final = 86_400e6  # microseconds


@dataclass(frozen=True)
class Weighting:
    """Rule for the confidence of each purchase, one (user, item) pair, in the loss; without either field all count 1.

    The confidence is the product of two factors, scaled so that the purchases learned from have mean 1 and none has
    more than `LARGEST`: settings that suit purchases of confidence 1 go on to suit them.

    - recency, ½^(age / half_life): the age in days of the pair's last purchase at ``as_of``, 0 for what is later; for a
      pair without a known time the mean of the others, 1 where no time is known;
    - quantity, 1 + log(1 + q) of the quantity q that the user bought in all: the logarithmic form of Hu, Koren and
      Volinsky 2008, "Collaborative filtering for implicit feedback datasets", section 4, with α = ε = 1.

    Attributes:
        half_life: days after which a purchase counts half; None: time does not matter.
        quantity_as_confidence: whether quantities matter.
        as_of: the moment at which age is 0, with a half-life: ISO text, a date, a datetime, or seconds since 1970, UTC
            unless it says otherwise. Held as text. None: the latest time that is no outlier, see `last_moment`.

    Raises:
        ConfigError: a value is out of its range.
    """

    half_life: float | None = None
    quantity_as_confidence: bool = False
    as_of: str | dt.date | int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        days = self.half_life
        if days is not None and (
            isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= 1e6
        ):
            raise ConfigError(
                f"half_life is a number of days above 0 to 1e+06, found {days!r}: give one, such as 90"
            )
        if not isinstance(self.quantity_as_confidence, bool):
            raise ConfigError(
                f"quantity_as_confidence is true or false, found {self.quantity_as_confidence!r}: give one"
            )
        if self.as_of is None:
            return
        if days is None:
            raise ConfigError(
                "as_of is the moment at which age is 0, but without half_life age does not matter: give half_life, too"
            )
        object.__setattr__(self, "as_of", _as_text(_as_seconds(self.as_of)))

    def __bool__(self) -> bool:
        """Return whether anything is asked for, so that confidence is not 1 throughout."""
        return self.half_life is not None or self.quantity_as_confidence

    def as_dict(self) -> dict[str, Any]:
        """Return what is asked for, as JSON values; empty where nothing is."""
        found: dict[str, Any] = {}
        if self.half_life is not None:
            found["half_life"] = float(self.half_life)
        if self.quantity_as_confidence:
            found["quantity_as_confidence"] = True
        if self.as_of is not None:
            found["as_of"] = str(self.as_of)
        return found

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the weighting of these values by name; ConfigError for an unknown name, or as `Weighting`."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"weights have no '{name}'; choose one of {', '.join(known)}")
        return cls(**values)

    def in_words(self) -> str:
        """Return text such as "half-life 90 days, quantity as confidence"; empty where nothing is asked for."""
        since = "" if self.as_of is None else f" as of {self.as_of}"
        words = [] if self.half_life is None else [f"half-life {self.half_life:g} days{since}"]
        return ", ".join([*words, *["quantity as confidence"][: self.quantity_as_confidence]])

    def options(self) -> str:
        """Return the options of `recae train` for it; empty where nothing is asked for."""
        days = [] if self.half_life is None else [f"--half-life {self.half_life:g}"]
        moment = [] if self.as_of is None else [f"--as-of {self.as_of}"]
        return " ".join([*days, *["--quantity-as-confidence"][: self.quantity_as_confidence], *moment])

    def reading(self) -> dict[str, Any]:
        """Return what has to be read for it, as fields of `recae.reading.ReadOptions`."""
        return {"times": self.half_life is not None, "quantities": self.quantity_as_confidence}

    def identity(self, confidence: NDArray[np.float32] | None) -> dict[str, Any]:
        """Return what must be the same for a training to go on, by dotted names; empty where nothing is asked for.

        ``confidence`` is what it gave: the fingerprint of purchases by basket covers neither times nor quantities.
        """
        if confidence is None:
            return {}
        digest = hashlib.sha256(np.ascontiguousarray(confidence, dtype="<f4").data).hexdigest()
        return {
            **{f"weights.{name}": value for name, value in self.as_dict().items()},
            "data.weights": digest,
        }

    def check(self, facts: Facts) -> None:
        """Raise ColumnError where the times or quantities that it needs were not read."""
        if self.half_life is not None and facts.times is None:
            raise ColumnError(
                "--half-life needs the time of each purchase, but the purchases have none: name the column of times "
                "with --time-column, or leave --half-life out"
            )
        if self.quantity_as_confidence and facts.quantities is None:
            raise ColumnError(
                "--quantity-as-confidence needs how much of each item was bought, but the purchases hold no "
                "quantities: name their column with --quantity-column, or leave --quantity-as-confidence out"
            )

    def confidence(self, facts: Facts) -> NDArray[np.float32] | None:
        """Return the confidence of the pairs that ``facts`` describe, which are those learned from.

        Where the purchases bring confidences of their own, by their events or a column, these are a third factor.

        Returns:
            float32 of shape (pairs,), 1 in the mean, above 0 to `LARGEST`; None where nothing is asked for and the
            purchases bring none.

        Raises:
            ColumnError: times or quantities are asked for that were not read.
            ConfigError: at ``as_of`` all purchases have the same recency.
        """
        if not self and facts.confidences is None:
            return None
        self.check(facts)
        found = np.ones(facts.matrix.nnz)
        if facts.confidences is not None:
            found *= facts.confidences
        if self.half_life is not None and facts.times is not None:
            found *= self._recency(facts)
        if self.quantity_as_confidence and facts.quantities is not None:
            found *= 1 + np.log1p(np.minimum(facts.quantities.astype(np.float64), QUANTITY))
        return _scaled(found)

    def moment(self, facts: Facts) -> int | None:
        """Return the moment at which age is 0, in microseconds since 1970 UTC; None where age does not matter."""
        if self.half_life is None or facts.times is None:
            return None
        if self.as_of is not None:
            return _as_seconds(self.as_of) * SECOND
        known = facts.times[facts.times != NO_TIME]
        return last_moment(known, float(self.half_life)) if known.size else None

    def note(self, facts: Facts) -> str:
        """Return how many times lie after the moment at which age is 0, with an example; empty where none does."""
        moment = self.moment(facts)
        if moment is None or facts.times is None:
            return ""
        later = facts.times[facts.times > moment]
        if not later.size:
            return ""
        who = f"{later.size:,} of {facts.times.size:,} purchases that are learned from"
        example = _as_text(int(later.max()) // SECOND)
        if self.as_of is not None:
            return f"{who} are later than --as-of {self.as_of}, such as {example}, and count as bought then"
        return (
            f"{who} are dated far later than all others, such as {example}: age is measured from "
            f"{_as_text(moment // SECOND)}, and they count as bought then; --as-of sets another moment"
        )

    def _recency(self, facts: Facts) -> NDArray[np.float64]:
        """Return ½^(age / half_life) of each pair, (pairs,).

        Raises:
            ConfigError: at ``as_of`` all pairs are new or too old to differ.
        """
        moment, times = self.moment(facts), facts.times
        if moment is None or times is None or self.half_life is None:
            return np.ones(facts.matrix.nnz)
        known = times != NO_TIME
        ages = np.maximum(moment - times[known].astype(np.float64), 0) / (_DAY * self.half_life)
        if self.as_of is not None and ages.size and (not ages.any() or ages.min() >= HALF_LIVES):
            where = f"{HALF_LIVES:g} half-lives or more after" if ages.any() else "before"
            first, last = (_as_text(int(edge) // SECOND) for edge in (times[known].min(), times[known].max()))
            raise ConfigError(
                f"age is measured from --as-of {self.as_of}, {where} all purchases that are learned from, {first} to "
                f"{last}, so that all count alike: give a moment near their end, or leave it out"
            )
        factors = 0.5 ** np.minimum(ages, HALF_LIVES)
        found = np.full(times.size, factors.mean() if factors.size else 1.0)
        found[known] = factors
        return found


def last_moment(times: NDArray[np.int64], half_life: float) -> int:
    """Return the latest of the times (n,), all known, that is no outlier; in microseconds, as they are.

    A single date of 2031 would make everything else so old that age no longer mattered. So up to `OUTLIERS` of the
    times are taken for wrong where they are later than all others by more than half of the half-lives that count, and
    by more than a twentieth of the time from the median on. A shop that sells evenly sells its last hundredth within a
    fiftieth of that time; so its last purchases are no outliers, whatever the half-life.

    Args:
        times: (n,), n ≥ 1.
        half_life: in days.
    """
    n = times.size
    at_most = int(OUTLIERS * n) if n >= 100 else int(n >= 20)
    if not at_most:
        return int(times.max())
    places = [n // 2, n - 1 - at_most]
    middle, high = (int(value) for value in np.partition(times, places)[places])
    fence = high + max(HALF_LIVES / 2 * half_life * _DAY, 0.05 * (high - middle))
    return int(times[times <= fence].max())


def _as_seconds(value: object) -> int:
    """Return a moment in seconds since 1970-01-01 UTC; ConfigError for what is none."""
    if (
        isinstance(value, str)
        and value.strip().lstrip("-").isdecimal()
        and len(value.strip()) != len("20240131")
    ):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > 2**62 // SECOND:
            raise ConfigError(f"as_of is a date, or seconds since 1970, found {value}: give seconds")
        return value
    return seconds_of("as_of", value)


def _as_text(seconds: int) -> str:
    """Return a time as `time_text`, and as the number of seconds outside the years 1 to 9999."""
    try:
        return time_text(seconds)
    except ConfigError:
        return str(seconds)


@dataclass(frozen=True, eq=False)
class Facts:
    """Times and quantities of pairs.

    Attributes:
        matrix: pattern of the pairs, sorted columns, no duplicates; its rows are users.
        times: int64 of shape (pairs,), microseconds of the last purchase, `NO_TIME` where unknown; None: not read.
        quantities: of shape (pairs,), in all; None: not read.
        confidences: of shape (pairs,), as `Interactions.confidences`; None: the purchases bring none.
    """

    matrix: sp.csr_matrix[Any]
    times: NDArray[np.int64] | None
    quantities: NDArray[np.floating[Any]] | None
    confidences: NDArray[np.floating[Any]] | None = None

    @classmethod
    def of(cls, interactions: Interactions, users: NDArray[np.int64] | None = None) -> Self:
        """Return those of interactions, or of some of their users in this order."""
        if users is not None:
            interactions = interactions.users_subset(users)
        return cls(interactions.matrix, interactions.times, interactions.quantities, interactions.confidences)

    @classmethod
    def of_events(cls, events: Events) -> Self:
        """Return those of purchases by basket: the last time and the sum of each pair."""
        keys = events.user.astype(np.int64) * events.n_items + events.item
        pairs, place = np.unique(keys, return_inverse=True)
        users, items = np.divmod(pairs, max(events.n_items, 1))
        indptr = np.searchsorted(users, np.arange(events.n_users + 1))
        matrix = sp.csr_matrix(
            (np.ones(pairs.size, dtype=np.float32), items, indptr), shape=(events.n_users, events.n_items)
        )
        times: NDArray[np.int64] | None = None
        quantities: NDArray[np.float64] | None = None
        if events.time is not None:
            times = np.full(pairs.size, NO_TIME)
            np.maximum.at(times, place, events.time)
        if events.quantity is not None:
            quantities = np.bincount(place, events.quantity, pairs.size).astype(np.float64)
        return cls(matrix, times, quantities)

    def at(self, part: sp.csr_matrix[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Facts:
        """Return those of the stored entries of a matrix of fewer pairs.

        Args:
            part: (n, m), sorted columns, every entry a pair of ``matrix``.
            rows: (n,) the row of ``matrix`` that each of its rows is of.
            columns: (m,) likewise its columns.
        """
        users = np.repeat(rows, np.diff(part.indptr))
        places = places_of(self.matrix, users, columns[part.indices])
        return Facts(
            part,
            None if self.times is None else self.times[places],
            None if self.quantities is None else self.quantities[places],
            None if self.confidences is None else self.confidences[places],
        )


def places_of(
    matrix: sp.csr_matrix[Any], users: NDArray[np.int64], items: NDArray[np.integer[Any]]
) -> NDArray[np.int64]:
    """Return where the pairs (n,), all of them stored, lie among the entries of a matrix with sorted columns."""
    return np.searchsorted(entry_keys(matrix), users * matrix.shape[1] + items)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return min(s · values, LARGEST) with the s for which the mean is 1; (n,) values above 0."""
    n = values.size
    falling = np.sort(values)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]  # of those from here on
    # with the first k at the largest, the others have to make up for n − k · LARGEST
    scales = (n - LARGEST * np.arange(n)) / rest
    fits = scales * falling <= LARGEST
    scale = float(scales[np.argmax(fits)]) if n else 1.0
    return np.minimum(scale * values, LARGEST).astype(np.float32)
