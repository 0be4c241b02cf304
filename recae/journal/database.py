"""Database of a journal: its tables, its format, and the connections to it.

A format is a number of steps, each a script: a new journal takes all of them, and one of an older format those that it
lacks, in one transaction. So an old journal becomes the very tables that a new one has.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from recae.errors import JournalBusyError, JournalError, JournalFullError

APPLICATION_ID: Final = 0x7265634A
"""Identifies a journal among the databases of SQLite: "recJ"."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE journal (id TEXT NOT NULL)",
        # AUTOINCREMENT: no number is given a second time, also after rows were removed
        """CREATE TABLE events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            event TEXT NOT NULL UNIQUE,
            user TEXT NOT NULL,
            item TEXT NOT NULL,
            time INTEGER NOT NULL,
            arrived INTEGER NOT NULL,
            quantity REAL NOT NULL,
            kind TEXT NOT NULL
        )""",
        "CREATE INDEX events_of_user ON events (user)",
    ),
    (
        # events up to the sequence are in the model of the fingerprint: a mark of any number of them is one row
        """CREATE TABLE folded (
            sequence INTEGER NOT NULL,
            model TEXT NOT NULL,
            time INTEGER NOT NULL
        )""",
    ),
    # events may be returns: a version that knows none would take a model with the purchases for one without the item
    (),
)
"""What each format adds to the one before; the first is format 1. Times are microseconds since 1970, UTC."""

BUSY_SECONDS: Final = 30.0  # that a write waits for those of other processes
_PAUSE: Final = 0.02  # seconds between two attempts to open a file that others are making
_WAL_BYTES: Final = 64 * 2**20  # to which the log of writes is cut once it is in the database
_CACHE_KIB: Final = 8 * 2**10
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


class Database:
    """Connections to one journal, one for each thread; a forked process opens its own.

    Args:
        path: of the file.
        create: make it where there is none.

    Attributes:
        path: of the file.
        id: of the journal, made with it.

    Raises:
        JournalError: it is none, cannot be used, or is of a newer format.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        """Open the file, and bring it up to the format of this version."""
        self.path = path = Path(path)
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        _check_path(path, create)
        try:
            with self.telling():
                connection = self._prepared()
                self._identity = _identity(path)
                self.id: str = connection.execute("SELECT id FROM journal").fetchone()[0]
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread in this process."""
        found: _Connection | None = getattr(self._local, "held", None)
        if found is not None and found.pid == os.getpid():
            return found
        self.check_there()
        return self._connect()

    def check_there(self) -> None:
        """Raise JournalError where the file was removed or replaced since it was opened: a write would be lost."""
        if _identity(self.path) != self._identity:
            raise JournalError(
                f"the journal '{self.path}' was removed or replaced while it was in use; put it back, or start again "
                "with the new one"
            )

    def close(self) -> None:
        """Close the connections of this process; they open again when they are needed."""
        with self._lock:
            for connection in list(self._open):
                connection.end()
            self._open.clear()
            self._local = threading.local()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turn SQLite's errors in a block into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            raise _told(self.path, error) from error
        except OSError as error:
            raise JournalError(f"the journal '{self.path}' cannot be used: {_reason(error)}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Do a block in one transaction, on the disk when it ends; nothing of it remains where it fails."""
        self.check_there()
        with self.telling():
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Do a block on the journal as it is at one moment."""
        with self.telling():
            connection = self.connection
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    def _connect(self) -> _Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        with self._lock:
            self._open.add(connection)
        self._local.held = connection
        # FULL: a commit returns once it is on the disk; the default of WAL mode could lose it with the power
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    def _prepared(self) -> sqlite3.Connection:
        """Return a connection to the file, created or migrated where it has to be.

        Turning to WAL mode fails at once where somebody else has the file open, whatever SQLite's patience.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            connection = self._connect()
            try:
                self._prepare(connection)
            except sqlite3.OperationalError as error:
                connection.end()
                busy_now = (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy_now or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check what the file is, and create or migrate it."""
        connection.execute("BEGIN")  # what is read is of one moment, also where others are making the journal
        try:
            version = self._format(connection)
        finally:
            _roll_back(connection)
        if version == len(STEPS):
            return
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalError(
                f"the journal '{self.path}' needs the WAL mode of SQLite, which its file system does not have; "
                "choose a folder on a local disk"
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = self._format(connection)  # another process may have been faster
            for step in STEPS[version:]:
                for statement in step:
                    connection.execute(statement)
            if not version:
                connection.execute("INSERT INTO journal VALUES (?)", [secrets.token_hex(16)])
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(STEPS)}")
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise

    def _format(self, connection: sqlite3.Connection) -> int:
        """Return the format of the file, 0 for an empty database."""
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and not application and not version:
            return 0
        if application != APPLICATION_ID or version < 1:
            raise JournalError(
                f"'{self.path}' is a database of something else than a journal of purchases; give another path, at "
                "which a journal is made where there is none"
            )
        if version > len(STEPS):
            raise JournalError(
                f"the journal '{self.path}' is of format {version}, and this version of recae knows formats up to "
                f"{len(STEPS)}; use the newer version that wrote it"
            )
        return version


class _Connection(sqlite3.Connection):
    """A connection that ends with its thread, and that knows the process which opened it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pid = os.getpid()

    def end(self) -> None:
        """Close it, unless it was inherited from the process that this one was forked from."""
        if getattr(self, "pid", None) == os.getpid():
            with suppress(sqlite3.Error):
                self.close()

    def __del__(self) -> None:
        self.end()


def _check_path(path: Path, create: bool) -> None:
    """Raise JournalError for what can be no journal, before SQLite would create anything.

    The file is not opened here: closing it would release the locks of this process's other connections to it, and
    another process could then remove the log that they go on writing to.
    """
    if path.is_dir():
        raise JournalError(f"the journal '{path}' is a folder; give the path of a file in it")
    if not path.exists():
        if not create:
            raise JournalError(
                f"there is no journal '{path}'; give the path that recae serve --journal was given"
            )
        if not path.parent.is_dir():
            raise JournalError(
                f"the journal '{path}' cannot be made, since there is no folder '{path.parent}'; create it first"
            )
        return
    if not path.is_file():
        raise JournalError(f"the journal '{path}' is a device or a pipe; give the path of a regular file")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite may have rolled back by itself, as on a full disk
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _told(path: Path, error: sqlite3.Error) -> JournalError:
    """Return SQLite's error as a sentence; its extended code has the kind of error in the low byte."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    kind = code & 0xFF
    if kind == sqlite3.SQLITE_FULL or (kind == sqlite3.SQLITE_IOERR and _disk_is_full(path)):
        return JournalFullError(
            f"the journal '{path}' cannot take more purchases, since the disk is full; free some space, and send them "
            "again"
        )
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return busy(path)
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return JournalError(
            f"the journal '{path}' cannot be written to; it and its folder need to be writable, since SQLite writes "
            "files beside it"
        )
    if kind == sqlite3.SQLITE_NOTADB:
        return JournalError(
            f"'{path}' is no journal: it is no database of SQLite; give another path, at which a journal is made "
            "where there is none"
        )
    if kind == sqlite3.SQLITE_CORRUPT:
        return JournalError(
            f"the journal '{path}' is damaged ({error}); put a copy of it back, or save what can be read with "
            "'sqlite3 FILE .recover'"
        )
    return JournalError(f"the journal '{path}' cannot be used: {error}")


def busy(path: Path) -> JournalBusyError:
    """Return the error of a journal that others have used for too long."""
    return JournalBusyError(
        f"the journal '{path}' was in use by others for {BUSY_SECONDS:g} seconds; try again later"
    )


def _disk_is_full(path: Path) -> bool:
    """Return whether there is no room for another page, which SQLite may call an error of the disk."""
    if not hasattr(os, "statvfs"):
        return False
    try:
        found = os.statvfs(path.parent)
    except OSError as error:
        return error.errno in _FULL
    return found.f_bavail * found.f_frsize < 2**16


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def now() -> int:
    """Return the time, microseconds since 1970, UTC."""
    return time.time_ns() // 1000
