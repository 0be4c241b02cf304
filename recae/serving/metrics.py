"""Prometheus metrics of the server: one registry for each application, so that tests do not share it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The counters; labels come from fixed sets, never from what a client sent."""

    def __init__(self) -> None:
        """Make the counters in a registry of their own."""
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
        self.queue = Gauge("recae_queue_length", "Histories that wait to be scored", registry=self.registry)
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
            registry=self.registry,
        )  # fmt: skip
        for queue in ("scoring", "other"):
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

    def model(self, version: str, kind: str, seconds: float) -> None:
        """Note which model is in use.

        Args:
            version: what answers name it by.
            kind: of the model.
            seconds: since 1970, when it was loaded.
        """
        self.loaded.clear()
        self.loaded.labels(version, kind).set(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
