"""Databases by URL: drivers, connections that cannot write, and messages without a password."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from recae.errors import SourceError
from recae.reading.engine import first_line

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

# The driver of each kind of database where the URL names none, and what installs it.
_DRIVERS: Final = {
    "postgresql": ("psycopg", "recae[sql]"),
    "sqlite": ("pysqlite", "recae[sql]"),
    "mysql": ("pymysql", "pymysql"),
    "mariadb": ("pymysql", "pymysql"),
    "duckdb": ("duckdb_engine", "duckdb-engine"),
}
_FILES: Final = ("sqlite", "duckdb")
_LOOKING: Final = (
    "table_info", "table_xinfo", "table_list", "database_list", "index_list", "index_info", "index_xinfo",
    "foreign_key_list", "function_list", "collation_list", "read_uncommitted", "encoding",
)  # fmt: skip
"""Pragmas of SQLite that say something and change nothing."""

_WAIT: Final = 300.0  # seconds that a job waits for another one that writes to the same SQLite file
LONGEST: Final = 1 << 24
"""Bytes of one value, as in a line of text."""

_URL: Final = re.compile(r"[A-Za-z][\w.+-]*://")


def is_url(text: str) -> bool:
    """Tell whether a source is the URL of a database, and not a path."""
    return _URL.match(text) is not None


def shows_password(text: str) -> bool:
    """Tell whether a text is a URL with a password in it."""
    return is_url(text) and re.search(r"://[^/@]*:(?!\d+/)[^@]+@|[?&][^=&]*pass[^=&]*=", text) is not None


def hide_password(text: str) -> str:
    """Return a source as it may be shown and written down: with *** in place of a password in a URL."""
    if not shows_password(text):
        return text
    text = re.sub(r"(://[^/@:]*:).*@", r"\1***@", text)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&]*", r"\1***", text)


def read_alone(connection: Any) -> None:
    """Keep an SQLite connection from other files, as attaching one would even make it, and from values of gigabytes."""
    # VACUUM INTO attaches the file that it makes
    refused = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}

    def judge(action: int, name: str | None, *_: str | None) -> int:
        # some pragmas change the file, such as journal_mode, whatever query_only says
        changes = action == sqlite3.SQLITE_PRAGMA and (name or "").lower() not in _LOOKING
        return sqlite3.SQLITE_DENY if action in refused or changes else sqlite3.SQLITE_OK

    connection.set_authorizer(judge)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)  # refused before any memory is taken for them


class Database:
    """A database, to be read from, or to be written to through its engine.

    Args:
        text: its URL, such as ``postgresql://user@host/shop`` or ``sqlite:///shop.db``.
        create: let a database that is a file be made where it is not there.

    Attributes:
        name: the URL without password and options, for messages.
        engine: SQLAlchemy's.

    Raises:
        SourceError: the URL cannot be understood, names a file that is not there, or its driver is missing.
    """

    def __init__(self, text: str, create: bool = False) -> None:
        """Understand the URL and load the driver; nothing is reached yet."""
        try:
            import sqlalchemy
            from sqlalchemy.pool import NullPool
        except ImportError as error:
            raise SourceError("databases are reached through SQLAlchemy; pip install 'recae[sql]'") from error
        self.url = _parse(text)
        self.name = self.url.set(query={}).render_as_string(hide_password=True)
        kind, _, driver = self.url.drivername.partition("+")
        usual, package = _DRIVERS.get(kind, ("", ""))
        if kind in _FILES:
            _check_file(self.url, self.name, create)
        # DuckDB has one driver only, and for a kind not named here SQLAlchemy chooses
        chosen = driver or kind == "duckdb" or not usual
        named = self.url if chosen else self.url.set(drivername=f"{kind}+{usual}")
        options: dict[str, Any] = {"read_only": True} if kind == "duckdb" else {}
        if kind == "sqlite" and create:
            options["timeout"] = _WAIT
        if named.drivername == "postgresql+psycopg" and "application_name" not in self.url.query:
            options["application_name"] = "recae"  # so that those who run the database see whose query it is
        try:
            self.engine: Engine = sqlalchemy.create_engine(named, poolclass=NullPool, connect_args=options)
        except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
            what = f"the driver {driver or usual!r}" if driver or usual else "the driver"
            install = f"pip install '{package}'" if package and not driver else "install it"
            raise SourceError(f"{what} for '{self.name}' is not installed; {install}") from error
        except (sqlalchemy.exc.ArgumentError, TypeError, ValueError):
            raise _unclear(kind) from None

    def connect(self) -> Connection:
        """Return a connection that reads one state of the database, and cannot write where the database can see to it.

        Raises:
            SourceError: there is none.
        """
        import sqlalchemy

        kind = self.url.get_backend_name()
        try:
            connection = self.engine.connect()
            try:
                if kind == "postgresql":
                    return connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                if kind in ("mysql", "mariadb"):
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                    connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
                elif kind == "sqlite":
                    connection.exec_driver_sql("PRAGMA query_only = ON")
                    read_alone(connection.connection.driver_connection)
            except BaseException:
                connection.close()
                raise
        except (sqlalchemy.exc.SQLAlchemyError, OSError, UnicodeError) as error:
            raise SourceError(
                f"no connection to '{self.name}': {self.reason(error)}; check the URL, and that the database is running"
            ) from error
        return connection

    def reason(self, error: BaseException) -> str:
        """Return what a database had to say, in one line and without the password."""
        cause = getattr(error, "orig", None) or error
        numbered = len(cause.args) == 2 and isinstance(cause.args[1], str)  # as MySQL's drivers do
        text = first_line(Exception(cause.args[1]) if numbered else cause)
        secrets = [value for key, value in self.url.query.items() if "pass" in key.lower()]
        for secret in (self.url.password, *secrets):
            for form in (str(secret), quote(str(secret)), quote_plus(str(secret))) if secret else ():
                text = text.replace(form, "***")
        return text


def _parse(text: str) -> URL:
    """Return a URL by parts, the kind of database in the spelling of SQLAlchemy.

    Raises:
        SourceError: it is none, or of no database that recae knows.
    """
    import sqlalchemy

    kind = re.split(r"[+:]", text, maxsplit=1)[0].lower()
    if kind == "postgres":
        text, kind = f"postgresql{text[len(kind) :]}", "postgresql"
    if kind not in _DRIVERS and not _has_dialect(kind):
        raise SourceError(
            f"nothing is known that reads '{kind}://'; give a path, or the URL of a database: {', '.join(_DRIVERS)}"
        )
    try:
        return sqlalchemy.make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise _unclear(kind) from None  # its message may hold a part of the password


def _has_dialect(kind: str) -> bool:
    """Tell whether SQLAlchemy or a package beside it knows a kind of database that recae does not name."""
    import sqlalchemy

    try:
        sqlalchemy.make_url(f"{kind}://").get_dialect()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError):
        return False
    return True


def _unclear(kind: str) -> SourceError:
    return SourceError(
        f"the URL of the database cannot be understood; it has the form {kind}://user@host:port/database, where @, :, "
        "/ and % in a password are written as %40, %3A, %2F and %25"
    )


def _check_file(url: Any, name: str, create: bool) -> None:
    """Raise SourceError where a database that is a file is not there; its driver would make an empty one."""
    path = url.database or ""
    if path.startswith("file:"):
        return
    if path in ("", ":memory:"):
        raise SourceError(f"'{name}' names no file; give {name.partition(':')[0]}:///PATH")
    if not Path(path).is_file() and not (create and not Path(path).exists()):
        what = "is no file" if Path(path).exists() else "is not there"
        raise SourceError(
            f"the file '{path}' {what}; check the path (after ///, or after //// where it begins with a slash)"
        )
