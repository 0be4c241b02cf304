"""What every source offers: a name, a schema, and its rows as record batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import pyarrow as pa

from recae.errors import ColumnError, SourceError
from recae.sources.fields import Fields

_PROGRAMS: Final = {"gzip": "gzip", "zstd": "zstd", "bz2": "bzip2"}
_FOREIGN: Final = (
    (b"PAR1", "a Parquet file; name it .parquet"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; export the table as CSV"),
    (b"\x1f\x8b", "a gzip archive; name it .{ending}.gz"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; name it .{ending}.zst"),
    (b"BZh", "a bzip2 archive; name it .{ending}.bz2"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"SQLite format 3\0", "an SQLite database; give it as sqlite:///PATH, with --table"),
)


class Source(Protocol):
    """A table of purchases that can be read from its beginning as often as needed."""

    name: str
    """What to call it in messages; never with a password."""
    schema: pa.Schema
    """Its columns in their order, with their types; a name may occur twice."""

    @property
    def column_names(self) -> list[str]:
        """The names in `schema`."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns as record batches of bounded size, of the types in `schema`.

        Raises:
            ColumnError: there is no such column.
            SourceError: the source cannot be read to its end.
        """
        ...


class Table(ABC):
    """What the sources have in common."""

    name: str
    schema: pa.Schema

    @property
    def column_names(self) -> list[str]:
        """The names in `schema`."""
        return list(self.schema.names)

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns; see `Source`."""

    def blocks(self, columns: Sequence[str]) -> Iterator[Fields | pa.RecordBatch]:
        """Yield the named columns in the form that is least work: as `batches` does, unless a source has another."""
        return self.batches(columns)

    def positions(self, columns: Sequence[str]) -> list[int]:
        """Return the place of each column, the first of those of one name.

        Raises:
            ColumnError: there is no such column.
        """
        names = self.column_names
        missing = [column for column in columns if column not in names]
        if missing:
            raise ColumnError(f"'{self.name}' has no column {missing[0]!r}; it has {', '.join(names)}")
        return [names.index(column) for column in columns]


def text_schema(names: Sequence[str]) -> pa.Schema:
    """Return a schema in which every column is text."""
    return pa.schema([(name, pa.string()) for name in names])


def first_line(error: BaseException) -> str:
    """Return an error's first line, short enough for a sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:200]


def refuse_foreign(name: str, head: bytes, wanted: str, ending: str) -> None:
    """Raise SourceError where a file's first bytes tell that it is something else than text.

    Args:
        name: of the source.
        head: the first bytes.
        wanted: what it should be.
        ending: the one of such files, without the dot.
    """
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            raise SourceError(f"'{name}' is not {wanted} but {what.format(ending=ending)}")


def damaged(name: str, compression: str | None, error: OSError, ending: str = "") -> SourceError:
    """Return what to say of a file whose bytes cannot be read.

    Args:
        name: of the source.
        compression: as Arrow calls it; None for a plain file.
        ending: what the compression was told by; "" where it was told by the first bytes.
    """
    if compression is None:
        return SourceError(f"'{name}' cannot be read: {error.strerror or first_line(error)}")
    program = _PROGRAMS[compression]
    if "Truncated" in str(error):
        return SourceError(f"'{name}' is a truncated {program} archive; copy or download it again")
    drop = f", or drop '{ending}' from its name if it is not compressed" if ending else ""
    return SourceError(
        f"'{name}' is not a valid {program} archive ({first_line(error)}); copy it again{drop}"
    )
