"""`refresh`: the nightly job, which replaces a model only by one that is not worse on the newest purchases.

What is new to the model in service is divided by time. A candidate learns from the earlier half, or from all but the
last week where the later half is longer than that, and both are compared on the rest, which neither has learned from.
Where the interval of the gain does not lie below 0, the candidate learns from the rest as well and goes into service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray

from recae.errors import ColumnError, ConfigError
from recae.files import atomic_path, check_writable
from recae.filters import Filters, time_text
from recae.ids import IdMap
from recae.insight.items import with_item_table
from recae.interactions import NO_TIME, SECOND, Interactions
from recae.journal import Journal
from recae.messages import say, timed
from recae.modelfile import load, save
from recae.models.base import reads_values
from recae.pipeline import train
from recae.reading import Reading, ReadOptions
from recae.recency import LAST_PURCHASE, known_last, last_purchase
from recae.recommender import Recommender
from recae.sparse import rows_in_use, take_entries
from recae.updating.asked import arguments_of, reading_of
from recae.updating.drift import Drift, drift_of
from recae.updating.exclusive import changing
from recae.updating.judging import Judged, judge
from recae.updating.pending import Pending, pending
from recae.updating.removal import carry_out
from recae.updating.update import New, check_updatable, filters_of, update
from recae.updating.versions import remove_oldest, retain

DAYS: Final = 7.0
"""Of the newest purchases that a candidate is compared on, at most."""

_DAY: Final = 86_400  # seconds

Outcome = Literal["shipped", "worse", "unchanged"]
"""The candidate went into service; it is worse, and the model in service stays; there is nothing new."""


class Renew(Protocol):
    """What makes a candidate."""

    def __call__(self, recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        """Return a model that has learned from more purchases; the same one where there are none.

        Args:
            recommender: the model before.
            since: it has those of the source before this time, seconds since 1970 UTC; None: it may have none of them.
            until: those before this time are learned from; None: all.
        """
        ...


@dataclass(frozen=True, eq=False)
class Refreshed:
    """What a refresh came to.

    Attributes:
        outcome: what has happened.
        reason: why, in a sentence.
        judged: the comparison; None where there was nothing to compare on.
        drift: what is new in the purchases that were compared on; None likewise.
        version: name of the earlier version that the replaced file has become; None where it was not replaced.
    """

    outcome: Outcome
    reason: str
    judged: Judged | None = None
    drift: Drift | None = None
    version: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "judged": None if self.judged is None else self.judged.as_dict(),
            "drift": None if self.drift is None else self.drift.as_dict(),
            "earlier_version": self.version,
        }


def refresh(
    path: Path,
    source: Any = None,
    *,
    journal: Journal | None = None,
    retrain: bool = False,
    days: float = DAYS,
    device: str = "auto",
    reading: ReadOptions | None = None,
    renew: Renew | None = None,
) -> Refreshed:
    """Replace a model file by a candidate that has learned from new purchases, unless it is worse.

    Args:
        path: of the model file.
        source: the purchases, which are read several times: new ones, or all of them with `retrain`.
        journal: whose purchases that the model does not have are the source instead. Customers whom it orders to forget
            are forgotten first, whatever becomes of the candidate.
        retrain: whether a candidate is trained from all purchases with the settings of the model, and not updated.
        days: of the newest purchases that are compared on at most.
        device: "auto", "cpu" or "cuda".
        reading: how to read the purchases; None: by their names and values, and as in training.
        renew: makes candidates; None: an update, or a training.

    Raises:
        ConfigError: the model cannot be updated, or an option does not fit.
        ColumnError: the purchases have no times.
        DataError: the purchases cannot be used.
        TrainingError: a fit fails.
        OutputError: the file cannot be written; the model in service is as it was.
    """
    if not 0 < days <= 3650:
        raise ConfigError(f"--days is a number of days above 0, up to 3,650, found {days:g}: give one")
    if (source is None) == (journal is None) or (journal is not None and retrain):
        raise ConfigError(
            "a model is refreshed from a table of purchases or from a journal, and retrained from a table of all of "
            "them: give one of the two"
        )
    check_writable(path)
    if journal is not None:
        carry_out(path, journal, device=device)
    with changing(path):
        service = load(path)
        if journal is not None:
            check_updatable(service)
            found = pending(service, journal)
            purchases = found.read()[0] if len(found) else None
            renew = renew or _from_journal(service, found, journal, device)
        else:
            if renew is None:
                make = _training if retrain else _updating
                renew = make(service, source, reading, device)
            with timed("reading"):
                purchases = _read(service, source, reading)
        week = None if purchases is None else Week.of(service, purchases, days)
        judged = drift = None
        base = service
        if week is not None:
            say(f"a candidate learns from the purchases before {time_text(week.start)}")
            candidate = renew(service, None, week.start)
            judged = judge(service, candidate, week.purchases)
            drift = drift_of(service, week.purchases, (week.start, week.end), judged)
            if judged.worse:
                return Refreshed("worse", _worse(judged), judged, drift)
            base = service if retrain else candidate
            say(f"{_compared(judged)}: it learns from the rest, too")
        final = renew(base, None if week is None or retrain else week.start, None)
        if final is service:
            return Refreshed(
                "unchanged", "there are no purchases that the model does not know", judged, drift
            )
        if week is None and retrain and not _is_newer(service, final):
            return Refreshed(
                "unchanged", "there are no purchases later than the last one that the model knows"
            )
        with atomic_path(path) as temporary:
            save(final, temporary, histories=service.histories is not None)
            version = retain(path)
        remove_oldest(path)
        if journal is not None:
            sequence = journal.folded_up_to(final.metadata)
            journal.mark_folded(str(final.metadata.get("fingerprint", "")), sequence)
    return Refreshed("shipped", _shipped(judged), judged, drift, version.name)


def _updating(service: Recommender, source: Any, reading: ReadOptions | None, device: str) -> Renew:
    check_updatable(service)

    def renew(recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        filters = _until(filters_of(service.metadata), until)
        found: Recommender = update(
            recommender, source, device=device, reading=reading, filters=filters or None
        ).recommender
        return found

    return renew


def _from_journal(service: Recommender, found: Pending, journal: Journal, device: str) -> Renew:
    times = found.table.column("time").cast(pa.int64())
    came_back = pc.any(pc.less(found.table.column("quantity"), 0), min_count=0).as_py()

    def renew(recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        taken = pc.is_valid(times)
        if came_back and until is None:
            # how much was bought before a return is known of the whole alone, since models hold no quantities
            recommender, since = service, None
        if since is not None:
            taken = pc.and_(taken, pc.greater_equal(times, since * SECOND))
        if until is not None:
            taken = pc.and_(taken, pc.less(times, until * SECOND))
        some = Pending(found.table.filter(taken), found.sequence)
        if len(some):
            interactions, events = some.read()
            new = New(interactions, events if reads_values(recommender.model) else None, some.returned)
            recommender = update(recommender, new, device=device).recommender
        if until is not None or not len(found):
            return recommender
        return replace(recommender, metadata={**recommender.metadata, **journal.folding(found.sequence)})

    return renew


def _training(service: Recommender, source: Any, reading: ReadOptions | None, device: str) -> Renew:
    def renew(recommender: Recommender, since: int | None, until: int | None) -> Recommender:
        arguments = arguments_of(recommender, reading)
        arguments["filters"] = _until(arguments["filters"] or Filters(), until) or None
        found: Recommender = train(source, device=device, **arguments)
        given = reading is not None and reading.items is not None
        return found if given else _with_table_of(found, recommender)

    return renew


def _with_table_of(found: Recommender, before: Recommender) -> Recommender:
    """Return a newly trained recommender with the table of items of the one before.

    Its own, from columns of its purchases, stays where the other says no more: that may have been made in the same way.
    """
    old, own = before.item_table, found.item_table
    if old is None:
        return found
    if own is not None and not old.unbought(before.items).size and set(old.names) <= set(own.names):
        return found
    return with_item_table(found, old)


def _until(filters: Filters, until: int | None) -> Filters:
    """Return filters that leave out what is not before a time, too."""
    if until is None or (filters.end is not None and filters.end <= until):
        return filters
    return replace(filters, until=time_text(until))


def _read(service: Recommender, source: Any, reading: ReadOptions | None) -> Interactions:
    """Read the purchases with their times."""
    options = reading_of(service.metadata, reading).updated(times=True, inputs=None, fewest=0)
    filters = filters_of(service.metadata)
    by_row = replace(filters, min_user_purchases=1, min_item_purchases=1)
    with Reading(source, options.updated(filters=by_row or None)) as opened:
        found: Interactions = opened.purchases().interactions
    if found.times is None:
        raise ColumnError(
            "a model is refreshed on the newest purchases, and these have no times: name their column with "
            "--time-column"
        )
    return found


@dataclass(frozen=True, eq=False)
class Week:
    """The newest purchases, on which models are compared.

    Attributes:
        start: first time that counts, seconds since 1970 UTC.
        end: last time that counts, likewise.
        purchases: pairs whose last purchase lies between them, without times.
    """

    start: int
    end: int
    purchases: Interactions

    @classmethod
    def of(cls, service: Recommender, purchases: Interactions, days: float) -> Week | None:
        """Return the later half of what is new to a model, `days` at most; None where nothing is.

        New is what is later than the last purchase that the model knows; where it does not say that, all purchases.
        """
        times = purchases.times
        if times is None or not (times != NO_TIME).any():
            return None
        end = int(last_purchase(times)[LAST_PURCHASE])
        last = known_last(service.metadata)
        if last is None:
            last = int(times[times != NO_TIME].min()) // SECOND - 1
        if end <= last:
            return None
        start = max(end + 1 - int(days * _DAY), last + 1 + (end - last) // 2)
        matrix = take_entries(purchases.matrix, _between(times, start, end))
        rows = rows_in_use(matrix)
        if not rows.size:
            return None
        matrix = sp.csr_matrix(matrix[rows])
        users = IdMap(purchases.users.ids(rows))
        ones = np.ones(matrix.nnz, dtype=np.int32)
        return cls(start, end, Interactions(matrix, users, purchases.items, None, ones))


def _between(times: NDArray[np.int64], start: int, end: int) -> NDArray[np.bool_]:
    return np.asarray((times >= start * SECOND) & (times < (end + 1) * SECOND))


def _is_newer(service: Recommender, final: Recommender) -> bool:
    """Return whether a trained model knows later purchases than the one in service, or that is not known."""
    before, now = known_last(service.metadata), known_last(final.metadata)
    return before is None or now is None or now > before


def _compared(judged: Judged) -> str:
    """Return the comparison in words."""
    if not judged.figures:
        return "there is nobody to compare the models on"
    name, figure = next(iter(judged.figures.items()))
    gain = figure.gain
    interval = "" if np.isnan(gain.low) else f", 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
    return (
        f"{name} {figure.candidate:.4f} of the candidate and {figure.service:.4f} of the model in service on "
        f"{judged.n_users:,} user{'' if judged.n_users == 1 else 's'}, {gain.mean:+.4f}{interval}"
    )


def _worse(judged: Judged) -> str:
    return f"the candidate is worse, so that the model in service stays: {_compared(judged)}"


def _shipped(judged: Judged | None) -> str:
    if judged is None:
        return "there are no later purchases than the model knows to compare on, so that nothing speaks against it"
    return f"the candidate is not worse: {_compared(judged)}" if judged.figures else _compared(judged)
