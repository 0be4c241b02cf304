"""Prometheus metrics of the server: one registry for each application, so that tests do not share it."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


def count_together(folder: Path, name: str) -> None:
    """Let this process sum up what it counts from now on with what others count in the same folder.

    Args:
        folder: for the files of all.
        name: of this process, which no other one has at the same time; one that follows it counts on from it.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: name)


def no_longer_counts(folder: Path, name: str) -> None:
    """Forget what a process that has ended had at the moment, such as its queue; what it has counted remains."""
    mark_process_dead(name, str(folder))


class Metrics:
    """The counters; labels come from fixed sets, never from what a client sent.

    Args:
        folder: of `count_together`, where several processes count.
        answers: whether this process is one of those that answer with a model.
    """

    def __init__(self, folder: Path | None = None, answers: bool = True) -> None:
        """Make the counters in a registry of their own."""
        self._folder, self._answers = folder, answers
        self.registry = CollectorRegistry()
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "recae_requests", "Answers by route, method and status", ["route", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "recae_request_seconds", "Time from request to answer, by route", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "recae_batch_histories", "Histories scored together", buckets=_SIZES, registry=self.registry
        )
        self.queue = Gauge(
            "recae_queue_length", "Histories that wait to be scored", registry=self.registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.refused = Counter(
            "recae_overloaded", "Requests refused because a queue was full", ["queue"], registry=self.registry
        )
        self.reloads = Counter(
            "recae_model_reloads",
            "New model files by what became of them",
            ["result"],
            registry=self.registry,
        )
        self.loaded = Gauge(
            "recae_model_loaded_timestamp_seconds", "When the model in use was loaded", ["model", "kind"],
            registry=self.registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self.written = Gauge(
            "recae_model_written_timestamp_seconds", "When the file of the model in use was written",
            registry=self.registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self.purchases = Counter(
            "recae_purchases", "New purchases of the journal, by whether the model knows the item", ["item"],
            registry=self.registry,
        )  # fmt: skip
        self.listed = Counter(
            "recae_customers_listed", "Customers with a list, each counted once a day", registry=self.registry
        )
        self.hits = Counter(
            "recae_customers_hit", "Those of them who bought an item of their last list within a day",
            registry=self.registry,
        )  # fmt: skip
        self.unfolded = Gauge(
            "recae_journal_unfolded", "Purchases of the journal that the model in use does not have",
            registry=self.registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        for item in ("known", "unknown"):
            self.purchases.labels(item)
        for queue in ("scoring", "other", "purchases"):
            self.refused.labels(queue)
        for result in ("loaded", "refused", "failed"):
            self.reloads.labels(result)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer; counters of known labels are remembered, since finding them costs more than counting."""
        known = self._answered.get((route, method, status))
        if known is None:
            known = self.requests.labels(route, method, str(status)), self.seconds.labels(route)
            self._answered[route, method, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def model(self, version: str, kind: str, loaded: float, written: float | None) -> None:
        """Note which model is in use.

        Args:
            version: what answers name it by.
            kind: of the model.
            loaded: seconds since 1970, when it was loaded.
            written: likewise, when its file was written; None where that is not known.
        """
        if not self._answers:
            return
        if self._folder is None:  # elsewhere a process has one model, and forgets it when it ends
            self.loaded.clear()
        self.loaded.labels(version, kind).set(loaded)
        if written is not None:
            self.written.set(written)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._of_all())

    def answers(self) -> dict[tuple[str, int], float]:
        """Return the answers of all processes since the start, by route and status."""
        found: dict[tuple[str, int], float] = {}
        for family in self._of_all().collect():
            for sample in family.samples if family.name == "recae_requests" else ():
                if sample.name == "recae_requests_total":
                    key = sample.labels["route"], int(sample.labels["status"])
                    found[key] = found.get(key, 0.0) + sample.value
        return found

    def _of_all(self) -> CollectorRegistry:
        """Return what all processes count."""
        if self._folder is None:
            return self.registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))
        return registry
