"""The next batch is made in a thread of its own while the last one is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(batches: Iterable[T]) -> Iterator[T]:
    """Yield what an iterable does, always one step ahead of its user; errors come where they would have come."""
    made = iter(batches)
    with ThreadPoolExecutor(1, thread_name_prefix="recae-source") as thread:
        coming = thread.submit(next, made, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, made, None)
            yield batch
