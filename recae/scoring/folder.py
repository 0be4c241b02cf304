"""A batch job into a folder: one file for some users at a time, each whole or not there, a manifest at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from recae.errors import OutputError
from recae.files import check_writable
from recae.locks import locked
from recae.machine import peak_memory
from recae.models import JSON
from recae.scoring.manifest import MANIFEST, PLAN, Shard, differences, read_state, sha256_of, write_state
from recae.scoring.work import Work
from recae.tables import check_output, write_table

GROUP_ROWS = 128 * 1024
"""Rows written together: a Parquet row group of a common size, and some ten megabytes."""


def write_part(
    work: Work,
    path: Path,
    start: int = 0,
    stop: int | None = None,
    on_users: Callable[[int], None] = lambda done: None,
) -> int:
    """Write the lists of the users from ``start`` to before ``stop`` to one file, which appears at the end.

    The columns are ``user_id``, ``item_id`` (text), ``rank`` (int32, from 1) and ``score`` (float32); with a fallback
    also ``source`` (text). The form is the one of `recae.tables.write_table`: a score of a text file has the fewest
    digits that read back as the same float32.

    Args:
        work: what is computed.
        path: where to; an existing file is replaced once the new one is complete.
        start: the first user, by number.
        stop: the user after the last; by default all users are written.
        on_users: told after each block how many users are done, counted from the first user of all.

    Returns:
        The number of rows.

    Raises:
        OutputError: `recae.tables.check_output` refuses the path, or writing fails later.
    """

    def told() -> Iterator[pa.RecordBatch]:
        for done, batch in work.batches(start, stop):
            yield batch
            on_users(done)

    return write_table(path, work.schema, told(), GROUP_ROWS)


@dataclass(frozen=True)
class OneFile:
    """A destination: one file for everybody."""

    path: Path

    def check(self, model: Path) -> None:
        """Raise OutputError, before any work, where the file cannot be written or is the model's."""
        check_output(self.path, model)

    def describe(self, work: Work) -> str:
        """Return what will be written, for a message."""
        return "one file"

    def settings(self, work: Work) -> dict[str, JSON]:
        """Return what the bytes depend on beside the work."""
        return {}

    def complete(self, work: Work, settings: Mapping[str, JSON]) -> str | None:
        """Return None: a file does not say what it holds, and is written anew."""
        return None

    def write(self, work: Work, settings: Mapping[str, JSON], on_users: Callable[[int], None]) -> int:
        """Write the file, and return its rows."""
        return write_part(work, self.path, on_users=on_users)


Bounds = Mapping[str, tuple[int, int]]
"""Names of shards, and from which to before which user each goes."""

Writer = Callable[[Work, Path, Bounds, Callable[[int], None]], Iterator[Shard]]
"""Writes shards into a folder and yields each as it is finished, in any order; tells how many users are done."""


def write_shard(
    work: Work, path: Path, start: int, stop: int, on_users: Callable[[int], None] = lambda done: None
) -> Shard:
    """Write the lists of the users from ``start`` to before ``stop``; arguments and errors as for `write_part`."""
    rows = write_part(work, path, start, stop, on_users)
    return Shard(path.name, stop - start, rows, path.stat().st_size, sha256_of(path))


def one_after_another(
    work: Work, folder: Path, bounds: Bounds, on_users: Callable[[int], None]
) -> Iterator[Shard]:
    """Write shards in this process: a `Writer`."""
    for name, (start, stop) in bounds.items():
        yield write_shard(work, folder / name, start, stop, on_users)
        on_users(stop)


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
        whole = self._finished(settings).keys() >= {self._name(i) for i in range(len(self._bounds(work)))}
        if not whole or not (self.path / MANIFEST).exists() or (self.path / PLAN).exists():
            return None
        return f"the folder '{self.path}' holds this run already, complete and unharmed; nothing was done"

    def write(self, work: Work, settings: Mapping[str, JSON], on_users: Callable[[int], None]) -> int:
        """Write the shards that are not there yet, then the manifest; return the rows of all.

        A shard appears under its name when it is complete. The plan, which lists finished ones, is written after each;
        those whose size and checksum are still the same stay, whatever stopped the job that wrote them.

        Args:
            work: what is computed.
            settings: everything that the result depends on, as `recae.scoring.manifest.settings_of` gives it.
            on_users: told after each block or shard how many users are done.

        Raises:
            OutputError: the folder holds another run, another job writes to it, or writing fails. What is finished
                stays, and an exception of any kind says so in a note.
        """
        folder = self.path
        bounds = {self._name(number): each for number, each in enumerate(self._bounds(work))}
        with _alone(folder):
            finished = self._finished(settings)
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

    def _finished(self, settings: Mapping[str, JSON]) -> dict[str, Shard]:
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
    """Lock a folder against other jobs; the system releases the lock when this process ends, however it ends.

    Raises:
        OutputError: another job is writing to it.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            stack.enter_context(locked(folder))
        except BlockingIOError as error:
            raise OutputError(
                f"another job is writing to the folder '{folder}'; wait for its end, or choose another folder"
            ) from error
        except OSError as error:
            raise _unwritable(folder, error) from error
        yield


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write to the folder '{folder}': {error.strerror or error}; choose another path"
    )


# What a row that is being written takes beside its text, in all the forms that exist at one time; measured, with
# a margin.
_BYTES_A_ROW = 400
_COPIES_OF_TEXT = 4
_FIRST = 64  # users for whom everything is loaded and compiled, before time is taken


@dataclass(frozen=True)
class Preflight:
    """Size of a job, and what it is expected to take.

    Attributes:
        users: how many are scored.
        items: over how many.
        memory: the most bytes that the process is expected to hold, with the model.
        seconds: an estimate, of the computation alone.
    """

    users: int
    items: int
    memory: int
    seconds: float


def preflight(work: Work) -> Preflight:
    """Estimate memory and time of a job by computing its first block, after a small part of it to warm up.

    It needs as much memory as any block. So the most memory that this process has held until then, and what is being
    written, bound the whole job, however many users there are.
    """
    users = len(work.audience)
    rows = min(work.block_users, users)
    seconds = row_bytes = 0.0
    if users:
        work.batch(
            0, min(rows, _FIRST)
        )  # compiles, loads and prepares what the first call must, and no other
        started = time.perf_counter()
        batch = work.batch(0, rows)
        seconds = (time.perf_counter() - started) * users / rows
        row_bytes = batch.nbytes / max(1, batch.num_rows)
    gathered = min(
        GROUP_ROWS + rows * work.n, users * work.n
    )  # a group is full with a block, which is never cut
    written = (_BYTES_A_ROW + _COPIES_OF_TEXT * row_bytes) * gathered
    return Preflight(users, len(work.recommender.items), peak_memory() + int(written), seconds)
