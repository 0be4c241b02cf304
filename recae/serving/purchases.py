"""`PurchaseWriter`: purchases that arrive at the same time go to the journal in one transaction, in a thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from recae.errors import JournalBusyError, JournalConflictError, JournalError, JournalFullError
from recae.journal import Added, Journal, Purchase
from recae.serving.drift import Drift
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem, invalid, overloaded
from recae.serving.schemas import PurchaseEntry, PurchasesAnswer, PurchasesRequest
from recae.serving.served import ServedModel
from recae.serving.together import Job, Together

_log = logging.getLogger("recae.serving")

_TOGETHER: Final = 20_000  # purchases of one transaction, unless one request has more
_MINUTE: Final = 60.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = timedelta(days=1)  # beyond the clock of this machine, which may be wrong, too

_Job: TypeAlias = Job[Purchase, PurchasesAnswer]


class PurchaseWriter:
    """Writes purchases in the order they came, as many requests together as wait; one thread does it all.

    While the disk takes one transaction, others gather for the next, so that the wait for it is shared.

    Args:
        journal: where they go.
        drift: told of what was new.
        metrics: told of refusals.
        waiting: requests that may wait; beyond, they are refused at once.
    """

    def __init__(self, journal: Journal, drift: Drift, metrics: Metrics, *, waiting: int) -> None:
        """Make an empty queue; `start` begins its thread."""
        self._journal, self._drift, self._bound = journal, drift, waiting
        self._together = Together[Purchase, PurchasesAnswer](
            "recae-journal", self._written, lambda served: _TOGETHER, delivered=self._delivered
        )
        self._waiting = 0  # changed on the event loop only
        self._said = ("", 0.0)
        self._refused = metrics.refused.labels("purchases")

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._together.start()

    async def stop(self) -> None:
        """End once everything that waits is written."""
        await self._together.stop()
        self._journal.close()

    async def add(self, served: ServedModel, purchases: Sequence[Purchase]) -> PurchasesAnswer:
        """Write the purchases of a request; they are on the disk when this returns.

        Args:
            served: the model that answers now, by which items are known or not.
            purchases: all are written, or none.

        Raises:
            Problem: 409, 503 or 507; none was written.
        """
        if self._waiting >= self._bound:
            self._refused.inc()
            raise overloaded()
        self._waiting += 1
        return await self._together.put(served, purchases)

    def _delivered(self, job: _Job) -> None:
        self._waiting -= 1

    def _written(self, jobs: Sequence[_Job]) -> list[PurchasesAnswer | Exception]:
        """Write the purchases of jobs, in the thread; where that fails, nothing of any of them was written."""
        try:
            results = self._journal.add_together([job.asked for job in jobs])
        except JournalError as error:
            self._say(str(error))
            return [problem_of(error)] * len(jobs)
        return [self._answer(job, result) for job, result in zip(jobs, results, strict=True)]

    def _say(self, what: str) -> None:
        """Log what is wrong with the journal, once a minute: on a full disk every request would say it."""
        before, since = self._said
        if what != before or time.monotonic() - since >= _MINUTE:
            self._said = what, time.monotonic()
            _log.error("%s", what)

    def _answer(self, job: _Job, result: Added | JournalError) -> PurchasesAnswer | Exception:
        if isinstance(result, JournalError):
            return problem_of(result)
        try:
            rows = job.served.item_rows([one.item for one in job.asked])
            bought = [one.quantity > 0 for one in job.asked]
            unknown = [
                one.item for one, row, new in zip(job.asked, rows, bought, strict=True) if new and row < 0
            ]
            with suppress(Exception):  # what is counted must not turn an acknowledged purchase into an error
                self._drift.bought(job.asked, result, rows >= 0)
            new = sum(result.new)
            return PurchasesAnswer(
                events=result.events,
                added=new,
                repeated=len(result.new) - new,
                unknown_items=list(dict.fromkeys(unknown)),
            )
        except Exception as error:  # the others that were written with it are answered
            return error


def purchases_of(asked: PurchasesRequest) -> list[Purchase]:
    """Return the purchases of a request.

    Raises:
        Problem: 422, one was bought later than a day from now. It would be the latest purchase for years.
    """
    several = asked.purchases is not None
    entries: Sequence[PurchaseEntry | PurchasesRequest] = (
        [asked] if asked.purchases is None else asked.purchases
    )
    latest = datetime.now(UTC) + _LATEST
    found, errors = [], []
    for place, one in enumerate(entries):
        when = one.time if one.time is None or one.time.tzinfo else one.time.replace(tzinfo=UTC)
        if when is not None and when > latest:
            where = ("purchases", place, "time") if several else ("time",)
            clock = (latest - _LATEST).isoformat(timespec="seconds")
            errors.append({"loc": where, "msg": f"it is more than a day after this server's clock, {clock}"})
        microseconds = None if when is None else (when - _EPOCH) // timedelta(microseconds=1)
        found.append(_purchase(one, microseconds))
    if errors:
        raise invalid(errors)
    return found


def _purchase(one: PurchaseEntry | PurchasesRequest, microseconds: int | None) -> Purchase:
    return Purchase(str(one.user), str(one.item), microseconds, one.quantity, one.event)


def problem_of(error: JournalError) -> Problem:
    """Return the problem of a journal that was not written to; paths of this machine are for its log."""
    if isinstance(error, JournalConflictError):
        return Problem("event-conflict", 409, str(error))
    if isinstance(error, JournalFullError):
        return Problem(
            "journal-full",
            507,
            "the disk of the journal is full, and nothing was changed; send it again later",
        )
    if isinstance(error, JournalBusyError):
        return Problem(
            "journal-busy",
            503,
            "the journal is in use by others, and nothing was changed; send it again",
            headers={"Retry-After": "1"},
        )
    return Problem(
        "journal-unusable",
        503,
        "the journal cannot be used, and nothing was changed; the server's log says why",
    )
