"""The cache of an evaluation: results of finished jobs in a folder, from which an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import recae
from recae.errors import OutputError
from recae.files import atomic_path, check_writable
from recae.machine import processors, user_cache
from recae.selection.jobs import Job, Outcome

DAYS = 30
"""Days that a result stays in the default folder after it was used last."""

_LIBRARIES = ("recae", "numpy", "scipy", "numba", "torch", "implicit")


def default_folder() -> Path:
    """Return the default folder of results: `evaluate` in the user's folder of what recae stores.

    Raises:
        OutputError: the user has no such folder.
    """
    base = user_cache()
    if base is None:
        raise OutputError(
            "there is no home for the results of jobs; set RECAE_CACHE to a folder to store them in"
        )
    return base / "evaluate"


class ResultCache:
    """The results in a folder, each under a key of everything that it depends on.

    The key is made of the job (kind, settings, seed, length of the lists), the fingerprint of the matrices that it was
    given (and so of data, protocol and split), the number of processors, the versions of recae and of its libraries,
    and the text of recae itself.
    """

    def __init__(self, folder: Path, *, fresh: bool = False) -> None:
        """Open the cache.

        Args:
            folder: of the results; made if missing.
            fresh: results are only stored, none is taken.

        Raises:
            OutputError: the folder cannot be used.
        """
        self.folder, self.fresh = folder, fresh
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot keep results in '{folder}': {error.strerror or error}; name another folder with --keep"
            ) from error
        check_writable(folder / "result.npz")

    def path(self, job: Job, inputs: str, threads: int | None) -> Path:
        """Return the path of a job's result; `inputs` is the fingerprint of the matrices that it is given."""
        identity = {
            "job": job.as_dict(),
            "inputs": inputs,
            "processors": min(threads or processors(), processors()),
            "versions": _versions(),
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{job.kind}-{digest[:20]}.npz"

    def get(self, path: Path) -> Outcome | None:
        """Return the result stored there; None where there is none, or it cannot be read."""
        if self.fresh:
            return None
        try:
            found = Outcome.read(path)
            os.utime(path)  # so that it stays
        except (OSError, ValueError):
            return None
        return found

    def put(self, path: Path, outcome: Outcome) -> None:
        """Store a result, whole or not at all; one that was cut short by its budget is not stored."""
        if outcome.cut is None:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                outcome.write(file)

    def forget_old(self, days: float = DAYS) -> None:
        """Remove results that were not used for so many days."""
        for path in self.folder.glob("*-*.npz"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - 86_400 * days:
                    path.unlink()


@cache
def _versions() -> dict[str, str | None]:
    """Return what decides about a result's bits: versions, and the text of recae, which changes between versions."""
    found: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    digest = hashlib.sha256()
    root = Path(recae.__file__).resolve().parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in ("cli", "serving", "insight", "scoring"):
            digest.update(path.read_bytes())
    return {**found, "source": digest.hexdigest()}
