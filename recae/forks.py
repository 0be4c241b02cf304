"""Forked processes: what a child has to do without, so that it works and does not wait for ever.

A fork copies the memory of a process and one of its threads. The threads of OpenMP, on which torch and implicit work,
are gone in the child, while the memory says that they wait for work: the first product would wait for them for ever.
One thread needs no other. Locks that another thread held would never be released: they are taken before the fork.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_WITH_OPENMP = ("torch", "implicit", "sklearn")
_limited = False
_held: list[Any] = []


def watch() -> None:
    """Prepare children of this process from now on; called once, when recae is imported."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_begin_anew)


def works_with_one_thread() -> bool:
    """Return whether this process was forked from one that may have worked with OpenMP."""
    return _limited


def _hold() -> None:
    """Wait until no other thread compiles, and let none begin until the fork is done."""
    for module, name in (("recae.loops", "BUILDING"), ("numba.core.compiler_lock", "global_compiler_lock")):
        lock = getattr(sys.modules.get(module), name, None)
        lock = getattr(lock, "_lock", lock)  # numba's is wrapped
        if lock is not None:
            lock.acquire()
            _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()


def _begin_anew() -> None:
    global _limited
    _release()
    if not any(name in sys.modules for name in _WITH_OPENMP):
        return
    _limited = True
    from threadpoolctl import ThreadpoolController

    ThreadpoolController().select(user_api="openmp").limit(limits=1)
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
