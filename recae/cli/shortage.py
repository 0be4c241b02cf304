"""Short memory: which errors mean it, and the sentence for it."""

from __future__ import annotations

from typing import Final

from recae.memory import free_memory, limits_left
from recae.text import human_bytes

_LITTLE: Final = 600 * 2**20
"""Bytes of address space below which libraries fail to be loaded in ways of their own."""

_WORDS: Final = (
    "failed to map segment",
    "cannot allocate memory",
    "can't start new thread",
    "out of memory",
    "unable to allocate",
)
_LOADING: Final = (ImportError, OSError, RuntimeError, SystemError, AttributeError)


def memory_sentence(error: BaseException) -> str | None:
    """Return what to say of an error that comes from short memory; None where it does not.

    Where a process may not take much more address space, that a library cannot be loaded means just that.
    """
    left = limits_left()
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # the loop ends at None
    tight = left is not None and left < _LITTLE
    if not any(_means_it(one) or (tight and _is_loading(one)) for one in chain):
        return None
    free = free_memory()
    found = "" if free is None else f" than the {human_bytes(free)} that are left to this process"
    limit = "raise the limit (ulimit -v)" if left is not None else "end other programs"
    return f"this needs more memory{found}; {limit}, or use a larger machine"


def _means_it(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryException", "PanicException"):
        return True
    return isinstance(error, _LOADING) and any(words in str(error).lower() for words in _WORDS)


def _is_loading(error: BaseException) -> bool:
    return isinstance(error, _LOADING)
