"""Files written whole or not at all: the check before long work, and the atomic replacement after it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recae.errors import ConfigError, OutputError


def check_writable(path: Path, source: Path | None = None) -> None:
    """Make sure, before long work, that ``path`` can be written at its end.

    Nothing is left behind and an existing file is not touched: an empty temporary file is created beside it
    and removed, because permission bits alone do not tell (read-only mounts, full quotas, the root user).

    Args:
        path: where to write.
        source: a file that the work reads, which its own result must not replace.

    Raises:
        OutputError: the folder is missing or cannot be written to; ``path`` is a folder, a device or a pipe,
            an existing file that is write-protected, or the source.
    """
    path = Path(path)
    try:
        target = _target(path)
        if source is not None and target.exists() and source.exists() and target.samefile(source):
            raise OutputError(
                f"cannot write '{path}': it is also the input; choose another path for the result"
            )
        temporary = _temporary(target)
        try:
            _create(temporary)
        finally:
            with contextlib.suppress(OSError):  # what the first one says is enough
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; a block that ends well makes it ``path`` at once.

    The temporary file exists and is empty when it is yielded. Its bytes reach the disk before the renaming,
    so that a reader, or a power cut, finds the old file or the new one and never a part. Whatever is raised
    in the block, KeyboardInterrupt too, the temporary file is removed and ``path`` stays as it was. A
    symbolic link is followed: the file that it points to is replaced. A replaced file's mode stays.

    Raises:
        OutputError: as `check_writable`, and for every OSError raised in the block (a full disk, say).
    """
    path = Path(path)
    try:
        target = _target(path)
        temporary = _temporary(target)
        try:  # from here on, since a signal may come once the file is there
            _create(temporary)
            yield temporary
            flush(temporary)
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        flush(target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def _target(path: Path) -> Path:
    """Return the real file that a write to ``path`` replaces, once it is known to be replaceable."""
    try:
        target = path.resolve()
    except RuntimeError as error:  # before Python 3.13; later it is an OSError, and further down
        raise OutputError(f"cannot write '{path}': its symbolic links form a loop; remove them") from error
    if not target.parent.is_dir():
        what = "is not a folder" if target.parent.exists() else "does not exist"
        folder = target.parent if path.is_symlink() else path.parent
        raise OutputError(
            f"cannot write '{path}': its folder '{folder}' {what}; create it or choose another path"
        )
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise OutputError(f"cannot write '{path}': it is a folder; give the path of a file instead")
    # Replacing /dev/null by a regular file would break the machine for everybody.
    if not stat.S_ISREG(mode):
        raise OutputError(f"cannot write '{path}': it is a device or a pipe; give the path of a regular file")
    if not os.access(target, os.W_OK):
        raise OutputError(
            f"cannot write '{path}': the file exists and is write-protected; remove it or choose another path"
        )
    return target


def _temporary(target: Path) -> Path:
    """Return a new name beside ``target``."""
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(6)}.tmp")


def _create(path: Path) -> None:
    """Create an empty file; the umask decides its mode, as for any file."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def flush(path: Path) -> None:
    """Push a file's bytes, or a folder's entries, to the disk; Windows does the latter by itself."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # quotas are not known everywhere
    what = "free some space, or choose" if error.errno in full else "choose"
    return OutputError(f"cannot write '{path}': {reason}; {what} another path")


def json_text(value: Any, what: str) -> str:
    """Return JSON in ASCII, keys sorted, no spaces; numpy scalars become numbers, NaN and infinities null.

    Raises:
        ConfigError: a part of ``value``, which is called ``what``, is not a JSON value.
    """
    return json.dumps(_plain(value, what), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where} must have text as keys, but has {key!r}; convert it to text")
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ConfigError(f"{where} must be a JSON value, but is a {type(value).__name__}; convert it first")
