"""`PurchaseWriter`: purchases that arrive at the same time go to the journal in one transaction, in a thread."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from recae.errors import JournalBusyError, JournalConflictError, JournalError, JournalFullError
from recae.journal import Added, Journal, Purchase
from recae.serving.drift import Drift
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem, invalid, overloaded
from recae.serving.schemas import PurchaseEntry, PurchasesAnswer, PurchasesRequest
from recae.serving.served import ServedModel

_log = logging.getLogger("recae.serving")

_TOGETHER: Final = 20_000  # purchases of one transaction, unless one request has more
_MINUTE: Final = 60.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = timedelta(days=1)  # beyond the clock of this machine, which may be wrong, too


@dataclass(frozen=True, slots=True)
class _Job:
    served: ServedModel
    purchases: Sequence[Purchase]
    answer: asyncio.Future[PurchasesAnswer]


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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0  # changed on the event loop only
        self._said = ("", 0.0)
        self._refused = metrics.refused.labels("purchases")

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="recae-journal", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End once everything that waits is written."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
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
        job = _Job(served, purchases, self._loop.create_future())
        self._waiting += 1
        self._jobs.put(job)
        return await job.answer

    def _work(self) -> None:
        job = self._jobs.get()
        while job is not None:
            jobs, count = [job], len(job.purchases)
            job = None
            while count < _TOGETHER:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    self._jobs.put(None)  # to be found again below
                    break
                jobs.append(job)
                count += len(job.purchases)
            outcome = self._written(jobs)
            with suppress(RuntimeError):  # the loop has ended: no request waits any more
                self._loop.call_soon_threadsafe(self._deliver, jobs, outcome)
            del jobs, job  # a model that has been replaced would stay until the next request
            job = self._jobs.get()

    def _written(self, jobs: Sequence[_Job]) -> list[PurchasesAnswer | Exception]:
        try:
            results = self._journal.add_together([job.purchases for job in jobs])
        except JournalError as error:
            self._say(str(error))
            return [problem_of(error)] * len(jobs)
        except Exception as error:  # the thread outlives it
            return [error] * len(jobs)
        return [
            problem_of(result) if isinstance(result, JournalError) else self._answer(job, result)
            for job, result in zip(jobs, results, strict=True)
        ]

    def _say(self, what: str) -> None:
        """Log what is wrong with the journal, once a minute: on a full disk every request would say it."""
        before, since = self._said
        if what != before or time.monotonic() - since >= _MINUTE:
            self._said = what, time.monotonic()
            _log.error("%s", what)

    def _answer(self, job: _Job, added: Added) -> PurchasesAnswer:
        rows = job.served.recommender.items.rows([one.item for one in job.purchases])
        unknown = [one.item for one, row in zip(job.purchases, rows, strict=True) if row < 0]
        with suppress(Exception):  # what is counted must not turn an acknowledged purchase into an error
            self._drift.bought(job.purchases, added, rows >= 0)
        new = sum(added.new)
        return PurchasesAnswer(
            events=added.events,
            added=new,
            repeated=len(added.new) - new,
            unknown_items=list(dict.fromkeys(unknown)),
        )

    def _deliver(self, jobs: Sequence[_Job], outcome: Sequence[PurchasesAnswer | Exception]) -> None:
        for job, result in zip(jobs, outcome, strict=True):
            self._waiting -= 1
            if job.answer.done():  # the request was cancelled
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


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
    """Return the problem of purchases that were not written; paths of this machine are for its log."""
    if isinstance(error, JournalConflictError):
        return Problem("event-conflict", 409, str(error))
    if isinstance(error, JournalFullError):
        return Problem(
            "journal-full",
            507,
            "the disk of the journal is full, and nothing was stored; send it again later",
        )
    if isinstance(error, JournalBusyError):
        return Problem(
            "journal-busy",
            503,
            "the journal is in use by others, and nothing was stored; send it again",
            headers={"Retry-After": "1"},
        )
    return Problem(
        "journal-unusable",
        503,
        "the journal takes no purchases, and nothing was stored; the server's log says why",
    )
