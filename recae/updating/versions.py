"""Earlier versions of a model file, beside it, for the way back.

The version that a new one replaces becomes `model.recae.before-7`, the next one `model.recae.before-8`. It is the same
file under one more name, which takes no room and no time; where the file system has no such links, it is a copy. The
model file itself is there, whole, at every instant.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

from recae.errors import ModelFileError, OutputError
from recae.files import atomic_path, flush
from recae.modelfile import load

RETAINED: Final = 3
"""How many earlier versions there are at most."""

_MARK: Final = ".before-"


def versions_of(path: Path) -> list[Path]:
    """Return the earlier versions of a model file, the newest first; none that is the present file itself."""
    return [version for version in _numbered(path) if not _is_same(version, path)]


def retain(path: Path) -> Path:
    """Give the present model file one more name, as its newest earlier version, and return that.

    Raises:
        OutputError: it cannot be linked or copied.
    """
    target = path.resolve()
    found = _numbered(path)
    if found and _is_same(found[0], target):
        return found[0]
    number = _number(found[0]) + 1 if found else 1
    version = target.with_name(f"{target.name}{_MARK}{number}")
    try:
        os.link(target, version)
    except OSError:
        with atomic_path(version) as temporary:
            shutil.copyfile(target, temporary)
        shutil.copystat(target, version)
    return version


def remove_oldest(path: Path) -> None:
    """Remove the versions beyond `RETAINED`; what cannot be removed stays for the next time."""
    for version in versions_of(path)[RETAINED:]:
        with contextlib.suppress(OSError):
            version.unlink()


def roll_back(path: Path) -> Path:
    """Put the newest earlier version in the place of the model file, at once, and return the name that it had.

    The model file that was there is gone then. Done again, it goes back one version further.

    Raises:
        ModelFileError: there is no earlier version, or the newest one cannot be used; nothing is changed then.
        OutputError: the file cannot be replaced.
    """
    target = path.resolve()
    found = versions_of(path)
    if not found:
        raise ModelFileError(
            f"there is no earlier version of the model file '{path}' to go back to: 'recae refresh' leaves the last "
            f"{RETAINED} beside it"
        )
    load(found[0])
    try:
        for left in _numbered(path):
            if _is_same(left, path):  # by a command that was ended before it replaced the file
                left.unlink()
        found[0].replace(target)
        flush(target.parent)
    except OSError as error:
        raise OutputError(
            f"cannot replace '{path}': {error.strerror or error}; nothing is changed"
        ) from error
    return found[0]


def _numbered(path: Path) -> list[Path]:
    """Return what is named as versions of a file are, the newest first."""
    target = path.resolve()
    try:
        every = list(target.parent.iterdir())
    except OSError:
        return []
    return sorted(
        (found for found in every if found.name.startswith(target.name + _MARK) and _number(found)),
        key=_number,
        reverse=True,
    )


def _number(version: Path) -> int:
    """Return the number at the end of a name; 0 where there is none."""
    text = version.name.rpartition(_MARK)[2]
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
