"""Compiled loops: functions that numba compiles when they are first called, and stores for later processes.

`@loop` takes the place of numba's `@njit(cache=True)` for three reasons. Numba is loaded with the first call, so that
a process that calls no loop starts without it. Numba takes a stored loop while the time and size of its own file are
the same, although loops of other files are compiled into it: here the folder is one of this version of all loops. And
a stored loop that is damaged, or cannot be stored, ends numba's run with a traceback: here it is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial, update_wrapper
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Final, overload

from recae.compiling import COMPILING
from recae.loop_folder import check_private, folders
from recae.messages import detail, say

FAST: Final = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, which lets loops use SIMD; NaN and infinity keep their meaning, so that they are noticed."""

BUILDING = threading.RLock()

_WORTH_NUMBA: Final = 2**22  # numbers that NumPy has gone through by the time that numba is loaded


class _Once:
    """How much a process has asked for: one that answers once is done before numba is loaded."""

    numbers = 0


def numpy_is_sooner(numbers: int) -> bool:
    """Return whether NumPy goes through so many numbers, and those before, sooner than numba is loaded.

    What asks this must come to the same bits in both ways.
    """
    _Once.numbers += numbers
    return _Once.numbers <= _WORTH_NUMBA and "numba" not in sys.modules


def answer_often() -> None:
    """Take compiled loops from now on, since this process answers many times."""
    _Once.numbers = _WORTH_NUMBA + 1


class Loop:
    """A function that is compiled for the types of its arguments; it releases the interpreter's lock."""

    def __init__(self, function: FunctionType, options: dict[str, Any]) -> None:
        """Note what to compile, and how."""
        self.py_func = function
        self._options = options
        self._compiled: Any = None
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Run the loop, compiled if need be."""
        return (self._compiled or self.compiled)(*arguments)

    @property
    def compiled(self) -> Any:
        """What numba makes of the function, and of the loops that it calls."""
        with BUILDING:
            if self._compiled is None:
                from numba import njit

                COMPILING.listen()
                # nothing written in C calls a loop
                options: Any = {"nogil": True, "no_cfunc_wrapper": True, **self._options}
                made: Any = njit(**options)(_with_parts(self.py_func))
                made._cache = StoredLoop(made.py_func)
                self._compiled = made
            return self._compiled

    @property
    def is_loaded(self) -> bool:
        """Whether this process has called the loop, or one that calls it."""
        return self._compiled is not None

    @property
    def signatures(self) -> list[Any]:
        """The types that it has been compiled for, or loaded, in this process."""
        return list(self._compiled.signatures) if self.is_loaded else []


class Intrinsic:
    """A part of loops that is written in the language of LLVM."""

    def __init__(self, define: Callable[..., Any]) -> None:
        """Note the function that numba's `intrinsic` takes."""
        self._define = define
        self._compiled: Any = None

    @property
    def compiled(self) -> Any:
        """What loops call."""
        with BUILDING:
            if self._compiled is None:
                from numba.extending import intrinsic

                self._compiled = intrinsic(self._define)
            return self._compiled


@overload
def loop(function: Callable[..., Any], /) -> Loop: ...
@overload
def loop(*, fastmath: set[str] = ..., inline: str = ...) -> Callable[[Callable[..., Any]], Loop]: ...
def loop(function: Any = None, /, **options: Any) -> Any:
    """Let numba compile a function when it is first called.

    Args:
        function: to compile; nothing but arrays, numbers and None goes in.
        **options: `fastmath` and `inline` of numba's `njit`.
    """
    return partial(Loop, options=options) if function is None else Loop(function, options)


class Late:
    """A module that is imported with its first use: what intrinsics are made of."""

    def __init__(self, name: str) -> None:
        """Note which."""
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return what the module has by that name."""
        return getattr(import_module(self._name), name)


def _with_parts(function: FunctionType) -> FunctionType:
    """Return the function with the compiled form of the loops that it calls in their place."""
    parts = {
        name: function.__globals__[name].compiled
        for name in function.__code__.co_names
        if isinstance(function.__globals__.get(name), Loop | Intrinsic)
    }
    made = FunctionType(
        function.__code__, {**function.__globals__, **parts}, function.__name__, function.__defaults__
    )
    made.__module__, made.__qualname__, made.__doc__ = (
        function.__module__,
        function.__qualname__,
        function.__doc__,
    )
    return made


class StoredLoop:
    """The files of a loop, one for each combination of types and processor: a SHA-256 and a pickle of that digest."""

    def __init__(self, function: FunctionType) -> None:
        """Name the files."""
        self._name = f"{function.__module__.removeprefix('recae.')}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        """The folder that loops are stored in."""
        return str(folders().write or "")

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return a stored loop; None where there is none that can be used."""
        target.refresh()
        name = self._file(signature, target.codegen())
        for folder in folders().read:
            content = _read(folder / name)
            if content is None:
                continue
            try:
                from numba.core.compiler import CompileResult

                rebuild: Any = CompileResult._rebuild
                return rebuild(target, *pickle.loads(content))  # noqa: S301  # a file of this user's
            except Exception as error:  # another library wrote it, whatever the names of the versions say
                detail(f"the stored loop '{folder / name}' cannot be used: {error!r}")
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store a loop; where that fails, it is said once and the next run compiles it again."""
        if result.library.has_dynamic_globals or any(not lifted.can_cache for lifted in result.lifted):
            return
        dumps: Any = import_module("numba.core.serialize").dumps

        place = folders()
        if place.warning:
            _say_once(place.warning)
        if place.write is not None and not _given_up:
            name = self._file(signature, result.target_context.codegen())
            _write(place.write / name, dumps(result._reduce()))

    def enable(self) -> None:
        """Do nothing; numba may ask for it."""

    disable = flush = enable

    def _file(self, signature: Any, codegen: Any) -> str:
        key = repr(
            (signature, codegen.magic_tuple())
        )  # the types; the triple, name and features of the processor
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.loop"


_SIZE: Final = hashlib.sha256().digest_size
_said: set[str] = set()
_given_up: set[str] = set()


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        say(text)


def _read(path: Path) -> bytes | None:
    """Return what is stored in a file, as it was stored; None where there is nothing, or something else."""
    try:
        with path.open("rb") as file:
            check_private(file.fileno())
            digest, content = file.read(_SIZE), file.read()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            detail(f"the stored loop '{path}' cannot be read: {error}")
        return None
    if hashlib.sha256(content).digest() == digest:
        return content
    detail(f"the stored loop '{path}' is damaged, and thrown away")
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; give up storing where that fails."""
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)  # another version may have removed it meanwhile
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            temporary.chmod(0o644)  # an image is built by one user and run by another
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        _given_up.add(str(path.parent))
        say(
            f"warning: compiled loops cannot be stored in '{path.parent}' ({error.strerror or error}); the next run "
            "compiles them again"
        )
