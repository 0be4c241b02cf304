"""Matrix products on one thread each, while several threads have a block of users each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_blas_lock, _torch_lock = threading.Lock(), threading.Lock()
# Threads that hold torch down at this time, and its thread count before the first of them.
_torch_inside, _torch_before = 0, 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A product of BLAS takes one thread, in the whole process.

    Where another thread holds it down already, this does nothing: two that put back what they found, at overlapping
    times, would leave one thread for good.
    """
    if not _blas_lock.acquire(blocking=False):
        yield
        return
    try:
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            yield
    finally:
        _blas_lock.release()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """A product of torch takes one thread, if the calling thread starts it."""
    import torch

    global _torch_inside, _torch_before
    with _torch_lock:
        if _torch_inside == 0:
            _torch_before = torch.get_num_threads()
        _torch_inside += 1
        torch.set_num_threads(1)  # of this thread, and of those to come
    try:
        yield
    finally:
        with _torch_lock:
            _torch_inside -= 1
            torch.set_num_threads(_torch_before)
