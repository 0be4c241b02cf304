"""Locks of files and folders between processes, which the system releases when a process ends, however it ends."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    _posix: Any = None
else:
    _posix = fcntl


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Hold the lock of a file or folder; a file system without locks lets everybody have it.

    Windows cannot lock a folder, and locks bytes of a file against its owner, too. A file of its own stands in for the
    path there, in the folder of temporary files: so the lock is one between jobs of one user.

    Args:
        path: to lock.
        flags: of `os.open`, such as those that create the file.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the path cannot be opened.
    """
    with ExitStack() as stack:
        if _posix is not None:
            held = os.open(path, flags, 0o666)
        else:
            if not path.is_dir():
                os.close(os.open(path, flags, 0o666))
            held = os.open(_stand_in(path), os.O_RDWR | os.O_CREAT, 0o600)
        stack.callback(os.close, held)
        try:
            _take(held)
        except BlockingIOError:
            raise
        except OSError as error:
            if _posix is None:  # where the system has no other way to say that somebody holds it
                raise BlockingIOError(error.errno, error.strerror) from error
        yield


def _stand_in(path: Path) -> Path:
    name = hashlib.sha256(os.path.normcase(path.resolve()).encode()).hexdigest()[:32]
    return Path(tempfile.gettempdir()) / f"recae-{name}.lock"


def _take(descriptor: int) -> None:
    if _posix is not None:
        _posix.flock(descriptor, _posix.LOCK_EX | _posix.LOCK_NB)
    else:
        windows: Any = import_module("msvcrt")
        windows.locking(descriptor, windows.LK_NBLCK, 1)
