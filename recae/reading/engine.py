"""`Engine`: a DuckDB connection of one reading, with its memory limit, its folder to spill to, and its doors closed.

DuckDB runs in this process. It takes at most the memory it is told, spills the rest into a folder of its own in
``$TMPDIR``, and never loads an extension from the network.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from recae import machine
from recae.errors import ConfigError, SourceError
from recae.memory import free_memory

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_UNITS: Final = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
}
_LARGE: Final = 64 * 2**20  # bytes that a reading may leave behind in a DuckDB that is kept
_LEAST: Final = 64 * 2**20  # bytes below which DuckDB cannot work
_UNKNOWN: Final = 2**32  # bytes that are taken to be free where nothing tells
_REFUSED: Final = re.compile("Allocation failure|bad allocation")  # by the system, not by the limit of DuckDB

_NEVER: Final = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}


class _Spare:
    """The DuckDB that the last reading has left, for the next one: to start another takes a sixth of a small reading.

    One at most is held, and none whose settings a reading has locked. A fork closes it first: its threads would be
    missing in the child.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instance: duckdb.DuckDBPyConnection | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.close)

    def take(self, settings: Mapping[str, str | int]) -> duckdb.DuckDBPyConnection | None:
        """Return it with these settings, which is then nobody else's; None where there is none that takes them."""
        import duckdb

        with self._lock:
            instance, self._instance = self._instance, None
        if instance is None:
            return None
        try:
            for name, value in settings.items():
                instance.execute(f"SET GLOBAL {name} = {text(value) if isinstance(value, str) else value}")
        except duckdb.Error:  # the folder for temporary files cannot change once it has been used
            instance.close()
            return None
        return instance

    def give(self, instance: duckdb.DuckDBPyConnection) -> None:
        """Keep an instance without connections, unless there is one already."""
        with self._lock:
            if self._instance is None:
                self._instance = instance
                return
        instance.close()

    def close(self) -> None:
        """Close it, if there is one."""
        with self._lock:
            instance, self._instance = self._instance, None
        if instance is not None:
            instance.close()


_SPARE: Final = _Spare()


class Engine:
    """A DuckDB connection in memory, closed with all that it holds at the end of a reading.

    Args:
        memory_limit: bytes that DuckDB may take; None: half of what is free.

    Attributes:
        memory_limit: in bytes.
        folder: for temporary files; gone with the engine.
        explainers: say what is wrong with a file of theirs that DuckDB stumbles over; None where it is another's.
    """

    def __init__(self, memory_limit: int | None = None) -> None:
        """Open the connection."""
        import duckdb

        free = free_memory()
        self.memory_limit = memory_limit or max((_UNKNOWN if free is None else free) // 2, _LEAST)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="recae-"))
        except OSError as error:
            raise SourceError(
                f"no temporary folder can be made in '{tempfile.gettempdir()}': {error.strerror or error}; "
                "set TMPDIR to a folder that can be written"
            ) from error
        settings: dict[str, str | int] = {
            "memory_limit": f"{self.memory_limit // 2**10} KiB",
            "temp_directory": str(self.folder / "spilled"),
            "threads": processors(),
        }
        try:
            instance = _SPARE.take(settings) or duckdb.connect(config={**settings, **_NEVER})
        except BaseException:  # such as of threads that cannot be started
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._instance: duckdb.DuckDBPyConnection | None = instance
        self._connection = instance.cursor()  # with temporary tables of its own, which go with it
        self._views = 0
        self._locked = False
        self._resident = _resident()
        self.explainers: list[Callable[[Exception], SourceError | None]] = []

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection and remove the temporary files; once is enough."""
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        instance, self._instance = self._instance, None
        if instance is None:
            return
        # DuckDB gives memory back only where it ends
        now = _resident()
        if self._locked or now is None or self._resident is None or now - self._resident > _LARGE:
            instance.close()
        else:
            _SPARE.give(instance)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement; nothing comes back.

        Raises:
            SourceError: the memory or the disk does not suffice.
        """
        with self._explained():
            self._connection.execute(sql, list(parameters))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, which must fit into memory.

        Raises:
            SourceError: the memory or the disk does not suffice.
        """
        with self._explained():
            return self._connection.execute(sql, list(parameters)).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return the only row of a query."""
        return self.rows(sql, parameters)[0]

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the only value of a query."""
        return self.row(sql, parameters)[0]

    def arrow(self, sql: str) -> pa.Table:
        """Return the rows of a query as an Arrow table."""
        with self._explained():
            return self._connection.sql(sql).to_arrow_table()

    def batches(self, sql: str, size: int = 1_000_000) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query as record batches of at most `size` rows."""
        with self._explained():
            yield from self._connection.sql(sql).to_arrow_reader(size)

    def describe(self, relation: str) -> dict[str, str]:
        """Return the columns of a relation (a name, or a query in parentheses) with their DuckDB types, in order."""
        with self._explained():
            return {str(row[0]): str(row[1]) for row in self.rows(f"DESCRIBE SELECT * FROM {relation}")}

    def register(self, data: Any) -> str:
        """Make an Arrow table, reader or data frame known; returns the name of its view."""
        name = self.new_name("registered")
        with self._explained():
            self._connection.register(name, data)
        return name

    def unregister(self, name: str) -> None:
        """Forget what was registered, so that its memory is free."""
        self._connection.unregister(name)

    def new_name(self, what: str) -> str:
        """Return a name that no view or table has."""
        self._views += 1
        return f"{what}_{self._views}"

    def view(self, sql: str, what: str = "view") -> str:
        """Make a view of a query; returns its name."""
        name = self.new_name(what)
        self.run(f"CREATE TEMP VIEW {name} AS {sql}")
        return name

    def store(self, sql: str, what: str = "table") -> str:
        """Store the rows of a query in a table of this connection, in their order; returns its name."""
        name = self.new_name(what)
        self.run(f"CREATE TEMP TABLE {name} AS {sql}")
        return name

    def close_doors(self, files: Sequence[str | Path]) -> None:
        """Let SQL of the user reach no other file than those named, and change no setting, from now on."""
        if self._locked:
            return
        self._locked = True
        allowed = ", ".join(text(os.path.abspath(file)) for file in files)  # noqa: PTH100  # links stay as named
        named = ", ".join(text(str(file)) for file in files)
        both = ", ".join(filter(None, [allowed, named]))
        self.run(f"SET allowed_paths = [{both}]")
        self.run(f"SET allowed_directories = [{text(str(self.folder) + os.sep)}]")
        self.run("SET enable_external_access = false")
        self.run("SET lock_configuration = true")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what to do where memory or disk does not suffice."""
        import duckdb

        try:
            yield
        except duckdb.OutOfMemoryException as error:
            if _REFUSED.search(str(error)):
                raise _refused(error) from error
            raise SourceError(
                f"reading needs more than the {self.memory_limit / 2**20:,.0f} MiB that it may take "
                f"({first_line(error)}); raise --memory-limit, or set TMPDIR to a folder with more room"
            ) from error
        except duckdb.Error as error:
            # where even the text of its own error finds no memory, DuckDB raises another one
            if "memory allocation failed" in str(error):
                raise _refused(error) from error
            if "No space left on device" in str(error):
                raise SourceError(
                    f"what does not fit into memory cannot be kept in '{self.folder.parent}': No space left on device; "
                    "set TMPDIR to a folder with more room"
                ) from error
            for explain in self.explainers:
                if (said := explain(error)) is not None:
                    raise said from error
            raise
        except MemoryError as error:
            raise SourceError(
                "reading needs more memory than this machine has; leave columns out, or read fewer rows at a time"
            ) from error


def _refused(error: Exception) -> SourceError:
    return SourceError(
        f"reading needs more memory than the system gives ({first_line(error)}); end other programs, raise the limit "
        "of this process (ulimit -v), or use a larger machine"
    )


def _resident() -> int | None:
    """Return the bytes of memory that this process holds; None where the system does not tell, or has none left."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError, MemoryError):
        return None


def processors() -> int:
    """Return how many threads this process may use: `OMP_NUM_THREADS` or the processors it may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else machine.processors()


def parse_memory(words: str) -> int:
    """Return the bytes that a text such as "2GB", "512 MiB" or "1.5g" means.

    Raises:
        ConfigError: it means none, or less than is needed.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", words.lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"--memory-limit is a size such as 2GB or 512MiB, found '{words}': give one")
    number = int(float(found[1]) * _UNITS[found[2]])
    if number < _LEAST:
        raise ConfigError(f"--memory-limit is {_LEAST >> 20} MiB or more, found '{words}': give more")
    return number


def quoted(name: str) -> str:
    """Return an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return an SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    """Return an error's first line, short enough for a sentence."""
    said = str(error).strip() or type(error).__name__
    return re.sub(r"^[A-Za-z ]+Error: ", "", said.splitlines()[0]).rstrip(".")[:200]
