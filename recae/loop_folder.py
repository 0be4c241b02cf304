"""Folders of compiled loops: where they outlast a process, who may write there, and which of them are of today.

Loops are stored as pickles, so a folder is used only where nobody but its owner may write to it, and its owner is
the one who runs recae, or root. A folder that may be read and not written to, as in an image, serves all the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pkgutil
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from recae.machine import installed, user_cache
from recae.messages import say

MODULES: Final = (
    "recae.approximate", "recae.compiled", "recae.evaluation.sets", "recae.insight.calibrate", "recae.models.dots",
    "recae.models.factorisation", "recae.models.itemknn", "recae.models.linear", "recae.models.sigmoid",
    "recae.ranking", "recae.scoring.integers", "recae.scoring.tile_kernels", "recae.selection.weights",
    "recae.training.exact.block_kernels", "recae.training.exact.blocks", "recae.training.exact.decoder",
    "recae.training.exact.kernels", "recae.training.exact.shards", "recae.training.kinds.linear",
    "recae.training.kinds.sparse_linear", "recae.training.kinds.subspace",
)  # fmt: skip
"""Those that have compiled loops."""

SOURCES: Final = (*MODULES, "recae.loops", "recae.kinds.cost")
"""Those and the ones of their constants, which are compiled into them."""

_PREFIX: Final = "loops-"
_SPARED: Final = 4
_DAYS: Final = 30
"""Folders of other versions that are left for these, and days after which one that nobody used is removed."""

_SWITCHES: Final = ("NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE")
"""What of the environment makes other code of the same loop."""


@dataclass(frozen=True)
class Folders:
    """Where loops of this version are.

    Attributes:
        read: to look into, the first one first.
        write: the one of them to store in; None: none may be written to.
        warning: what to say where something is stored; empty where it goes where it was asked to.
    """

    read: tuple[Path, ...]
    write: Path | None
    warning: str = ""


@cache
def folders() -> Folders:
    """Choose, once in a process: $NUMBA_CACHE_DIR, the cache of recae, else a private temporary folder."""
    read: list[Path] = []
    refused = []
    for base, asked in _candidates():
        folder = base / _name()
        try:
            may_write = _settle(base, folder)
        except OSError as error:
            why = error.strerror or str(error)
            refused.append(f"'{base}' cannot be used ({why})")
            if asked:
                say(f"warning: the folder of compiled loops '{base}' is not used: {why}")
            continue
        read.append(folder)
        if may_write:
            return Folders(tuple(read), folder)
    temporary = _temporary()
    told = "; ".join(refused) or "no folder for them can be written to"
    way_out = "set RECAE_CACHE to a folder that only you can write to"
    if temporary is None:
        return Folders(
            tuple(read),
            None,
            f"compiled loops are not stored, and compiled again by the next run: {told}; {way_out}",
        )
    return Folders(
        (*read, temporary),
        temporary,
        f"compiled loops are stored in '{temporary}' for now: {told}; {way_out}",
    )


def _candidates() -> Iterator[tuple[Path, bool]]:
    """Yield the folders above those of the versions, and whether each was asked for."""
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        yield Path(asked).absolute(), True
    found = user_cache()
    if found is not None:
        yield found / "loops", bool(os.environ.get("RECAE_CACHE"))


@cache
def _name() -> str:
    """Return the name of the folder of this version: another one wherever a loop may have become another."""
    digest = hashlib.sha256()
    for name in SOURCES:
        relative = name.removeprefix("recae.").replace(".", "/") + ".py"
        try:
            digest.update(pkgutil.get_data("recae", relative) or b"")
        except OSError:  # installed without its text
            digest.update(repr(installed("recae")).encode())
    versions = [installed(library) for library in ("recae", "numba", "llvmlite", "numpy")]
    switches = [os.environ.get(name) for name in _SWITCHES]
    digest.update(repr((versions, switches, sys.version_info[:3], sys.implementation.cache_tag)).encode())
    return _PREFIX + digest.hexdigest()[:16]


def _settle(base: Path, folder: Path) -> bool:
    """Make the folder, or check the one that is there; return whether it may be written to.

    Raises:
        OSError: it cannot be made, or others may write to it.
    """
    if not folder.is_dir():
        base.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_private(base)
        folder.mkdir(mode=0o755, exist_ok=True)
        _remove_others(folder)
    check_private(base)
    check_private(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    _note_use(folder)
    return True


def check_private(path: Path | int) -> None:
    """Check that nobody but this user, or root, can have written to a folder or an open file.

    Raises:
        OSError: somebody may have.
    """
    if not hasattr(os, "getuid"):  # Windows: the folders are the user's own
        return
    found = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    if stat.S_ISLNK(found.st_mode) and found.st_uid in (os.getuid(), 0):
        found = os.stat(path)  # noqa: PTH116  # it may be a descriptor
    if found.st_uid not in (os.getuid(), 0):
        raise OSError("it belongs to another user, and compiled loops are run as they are")
    # in a sticky folder others can add files, which are checked in turn, but not replace those that are there
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise OSError(
            "others may write to it, and compiled loops are run as they are; `chmod go-w` mends that"
        )


def _note_use(folder: Path) -> None:
    """Let the folder's time say that it is used, so that it is not taken for an old one."""
    with contextlib.suppress(OSError):
        if time.time() - folder.stat().st_mtime > 3600:
            os.utime(folder)


def _remove_others(folder: Path) -> None:
    """Remove what other versions have stored beside this one, but for those that were used last."""
    with contextlib.suppress(OSError):
        others = [
            (found.stat().st_mtime, found)
            for found in folder.parent.glob(f"{_PREFIX}*")
            if found != folder and not found.is_symlink()
        ]
        for place, (used, found) in enumerate(sorted(others, reverse=True)):
            if place >= _SPARED or time.time() - used > _DAYS * 86400:
                shutil.rmtree(found, ignore_errors=True)


def _temporary() -> Path | None:
    """Return a private folder among the temporary files, the same for all runs of a user; None where there is none."""
    owner = str(os.getuid()) if hasattr(os, "getuid") else "user"
    try:
        base = Path(tempfile.gettempdir()) / f"recae-loops-{owner}"
        base.mkdir(mode=0o700, exist_ok=True)
        folder = base / _name()
        return folder if _settle(base, folder) else None
    except OSError:
        return None
