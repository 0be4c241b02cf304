"""Short memory: which errors mean it, and the sentence for it."""

from __future__ import annotations

from typing import Final

from recae.memory import free_memory, limits_left
from recae.text import human_bytes

_LITTLE: Final = 600 * 2**20
"""Bytes of address space left, below which a library that cannot be loaded lacks memory, whatever its error says."""

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

    Where little address space is left, an error of loading a library comes from it, whatever the error says.
    """
    left = limits_left()
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    tight = left is not None and left < _LITTLE
    if not any(_means_it(one) or (tight and isinstance(one, _LOADING)) for one in chain):
        return None
    free = free_memory()
    found = "" if free is None else f" than the {human_bytes(free)} that are left to this process"
    limit = "raise the limit (ulimit -v)" if left is not None else "end other programs"
    return f"this needs more memory{found}; {limit}, or use a larger machine"


def _means_it(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryException", "PanicException"):
        return True
    return isinstance(error, _LOADING) and any(words in str(error).lower() for words in _WORDS)
