"""A batch job into a folder: one file for some users at a time, each whole or not there, a manifest at the end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recae.errors import OutputError
from recae.files import check_writable
from recae.models import JSON
from recae.scoring.manifest import MANIFEST, PLAN, Shard, differences, read_state, sha256_of, write_state
from recae.scoring.shards import Writer, one_after_another
from recae.scoring.work import Work

FORMATS: Final = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}
"""The formats of shards and the endings of their names."""

_SHARD_ROWS = 2**21  # some ten megabytes of Parquet, and little to do again after a kill


@dataclass(frozen=True)
class Folder:
    """A destination: a folder of files for some users each.

    Attributes:
        path: where to; made where it is not there.
        format: one of `FORMATS`.
        shard_users: users a file; None for whole blocks of some two million rows.
        resume: go on with what a job with the same settings has left there.
        writer: writes the shards; by default one after another, in this process.
    """

    path: Path
    format: str = "parquet"
    shard_users: int | None = None
    resume: bool = False
    writer: Writer = one_after_another

    def check(self, model: Path) -> None:
        """Make sure, before any work, that the folder can be written to and that no result is lost by it.

        Raises:
            OutputError: it holds something and ``resume`` is not set, is a file, or cannot be made or written to.
        """
        if not os.path.lexists(self.path):
            check_writable(self.path)
            return
        try:
            found = sorted(entry.name for entry in self.path.iterdir())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        check_writable(self.path / PLAN)
        if not self.resume and (MANIFEST in found or PLAN in found):
            whole = MANIFEST in found
            _, shards = read_state(self.path / (MANIFEST if whole else PLAN)) or ({}, [])
            what = f"{'a complete' if whole else 'an unfinished'} run of {len(shards):,} file{'s'[: len(shards) != 1]}"
            raise OutputError(
                f"the folder '{self.path}' holds {what} already; choose another folder, "
                "remove it, or go on with the same run by --resume"
            )
        known = {MANIFEST, PLAN}
        others = [name for name in found if not (name in known or _is_remnant(name))]
        if others and not known & set(found):
            raise OutputError(
                f"the folder '{self.path}' holds other files, such as '{others[0]}'; give an empty or a new one"
            )

    def describe(self, work: Work) -> str:
        """Return what will be written, for a message."""
        each = self._users_of(work)
        number = len(self._bounds(work))
        return f"{number:,} file{'s' if number > 1 else ''} of at most {each:,} users"

    def settings(self, work: Work) -> dict[str, JSON]:
        """Return what the bytes depend on beside the work."""
        return {"format": self.format, "shard_users": self._users_of(work)}

    def complete(self, work: Work, settings: Mapping[str, JSON]) -> str | None:
        """Return what to say where the same run is there, whole; None where there is something to do.

        Raises:
            OutputError: the folder holds another run.
        """
        whole = self._kept(settings).keys() >= {self._name(i) for i in range(len(self._bounds(work)))}
        if not whole or not (self.path / MANIFEST).exists() or (self.path / PLAN).exists():
            return None
        return f"the folder '{self.path}' holds this run already, complete and unharmed; nothing was done"

    def write(self, work: Work, settings: Mapping[str, JSON], on_users: Callable[[int], None]) -> int:
        """Write the shards that are not there yet, then the manifest; return the rows of all.

        A shard appears under its name when it is complete. The plan, which lists finished ones, is written after each;
        those whose size and checksum are still the same are kept, whatever stopped the job that wrote them.

        Args:
            settings: everything that the result depends on, as `recae.scoring.manifest.settings_of` gives it.
            on_users: told after each block or shard how many users are done.

        Raises:
            OutputError: the folder holds another run, another job writes to it, or writing fails. What is finished
                stays, and an exception of any kind says so in a note.
        """
        folder = self.path
        bounds = {self._name(number): each for number, each in enumerate(self._bounds(work))}
        with _alone(folder):
            finished = self._kept(settings)
            _remove_remnants(folder)
            try:
                write_state(folder / PLAN, settings, list(finished.values()))
                left = {name: each for name, each in bounds.items() if name not in finished}
                for shard in self.writer(work, folder, left, on_users):
                    finished[shard.name] = shard
                    write_state(folder / PLAN, settings, list(finished.values()))
                shards = [finished[name] for name in bounds]
                _remove_remnants(folder)  # of workers that died
                write_state(folder / MANIFEST, settings, shards)
                (folder / PLAN).unlink()
            except BaseException as error:
                error.add_note(
                    f"{len(finished):,} of {len(bounds):,} files are finished in '{folder}', and --resume goes on there"
                )
                raise
        return sum(shard.rows for shard in shards)

    def _users_of(self, work: Work) -> int:
        """Return how many users a shard has."""
        blocks = max(1, _SHARD_ROWS // (work.n * work.block_users))
        return blocks * work.block_users if self.shard_users is None else self.shard_users

    def _bounds(self, work: Work) -> list[tuple[int, int]]:
        """Return from which to before which user each shard goes; there is one even without users."""
        step, users = self._users_of(work), len(work.audience)
        return [(at, min(at + step, users)) for at in range(0, max(users, 1), step)]

    def _name(self, number: int) -> str:
        return f"part-{number:05d}{FORMATS[self.format]}"

    def _kept(self, settings: Mapping[str, JSON]) -> dict[str, Shard]:
        """Return the shards that an earlier job with the same settings has left whole.

        Raises:
            OutputError: the folder holds another run.
        """
        state = read_state(self.path / MANIFEST) or read_state(self.path / PLAN)
        if state is None:
            return {}
        there, shards = state
        if there != dict(settings):
            raise OutputError(
                f"the folder '{self.path}' holds another run, which differs in {differences(settings, there)}; choose "
                "another folder, or remove it"
            )
        return {shard.name: shard for shard in shards if _is_whole(self.path / shard.name, shard)}


def _is_whole(path: Path, shard: Shard) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes and sha256_of(path) == shard.sha256


def _remove_remnants(folder: Path) -> None:
    for remnant in [entry for entry in folder.iterdir() if _is_remnant(entry.name)]:
        remnant.unlink(missing_ok=True)


def _is_remnant(name: str) -> bool:
    """Tell whether a name is that of a temporary file, which a killed job could not remove."""
    return name.startswith((".part-", f".{MANIFEST}", f".{PLAN}")) and name.endswith(".tmp")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other jobs out of a folder; the system gives it free when this process ends, however it ends.

    Raises:
        OutputError: another job is writing to it.
    """
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"another job is writing to the folder '{folder}'; wait for its end, or choose another folder"
        ) from error
    except OSError:  # a file system without locks, where nothing tells of the other job
        return


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write to the folder '{folder}': {error.strerror or error}; choose another path"
    )
