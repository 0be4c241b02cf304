"""Many files as one table: a folder, also one partitioned into folders such as `year=2024`, or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from recae.errors import SourceError
from recae.sources.base import Source, Table, first_line
from recae.sources.fields import Fields
from recae.sources.files import open_file

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Tables of other programs, in whose folders lie files that no longer count.
_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}


@dataclass(frozen=True)
class _Part:
    """One file, its path for messages, and the values that its folders' names state."""

    source: Source
    partitions: dict[str, str | None]


class FolderSource(Table):
    """Files of purchases as one table, in the order of their names.

    Every file must have the same columns, in any order, and the columns that are read the same types, where widths
    do not count. A folder's name such as ``country=NL`` states the text of a column that the files themselves lack;
    ``__HIVE_DEFAULT_PARTITION__`` is null. Formats may differ.

    Args:
        name: what to call it in messages.
        paths: the files, one at least.
        root: the folder below which folders' names count as partitions.

    Attributes:
        name: for messages.
        schema: the columns of the first file, then those of the folders' names.

    Raises:
        SourceError: a file cannot be read, or has other columns than the first one.
    """

    def __init__(self, name: str, paths: Sequence[Path], root: Path) -> None:
        self.name = name
        self._parts = [_Part(open_file(path), _partitions(path, root)) for path in paths]
        first = self._parts[0]
        for part in self._parts[1:]:
            _check_names(first, part)
        added = [key for key in first.partitions if key not in first.source.column_names]
        self.schema = pa.schema([*first.source.schema, *((key, pa.string()) for key in added)])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the named columns file by file.

        Raises:
            ColumnError: there is no such column.
            SourceError: a file cannot be read, or one of the columns is of another type in another file.
        """
        return self._blocks(columns, plain=False)

    def blocks(self, columns: Sequence[str]) -> Iterator[Fields | pa.RecordBatch]:
        """Yield the named columns file by file, as fields where a file gives them and all of the columns are text.

        Raises:
            ColumnError, SourceError: as `batches`.
        """
        return self._blocks(columns, plain=True)

    def _blocks(self, columns: Sequence[str], plain: bool) -> Iterator[Any]:
        self.positions(columns)
        schema = pa.schema([(name, self._common_type(name)) for name in columns])
        for part in self._parts:
            here = part.source.column_names
            own = [name for name in columns if name in here] or here[:1]  # for the number of its rows
            whole = plain and own == list(columns) and all(field.type == pa.string() for field in schema)
            source = part.source
            for batch in source.blocks(own) if whole and isinstance(source, Table) else source.batches(own):
                if isinstance(batch, Fields):
                    yield batch
                    continue
                arrays = {name: batch.column(position) for position, name in enumerate(own)}
                for name in columns:
                    if name not in arrays:
                        value = pa.scalar(part.partitions[name], type=pa.string())
                        arrays[name] = pa.repeat(value, batch.num_rows)
                try:
                    cast = [arrays[field.name].cast(field.type) for field in schema]
                except pa.ArrowInvalid as error:
                    raise SourceError(
                        f"'{part.source.name}' holds a value that its column cannot hold in the other files "
                        f"({first_line(error)}); write them with the same types"
                    ) from error
                yield pa.record_batch(cast, schema=schema)

    def _common_type(self, name: str) -> pa.DataType:
        """Return the type that holds a column's values of every file.

        Raises:
            SourceError: there is none; the message names the files.
        """
        common, first = pa.null(), self._parts[0]
        for part in self._parts:
            if name not in part.source.column_names:
                return pa.string()
            kind = _plain(part.source.schema.types[part.source.column_names.index(name)])
            if pa.types.is_null(common):
                common, first = kind, part
            elif kind != common and not pa.types.is_null(kind):
                merged = _merged(common, kind)
                if merged is None:
                    raise SourceError(
                        f"the files do not fit together: column {name!r} is {common} in '{first.source.name}', "
                        f"but {kind} in '{part.source.name}'; write them with the same types"
                    )
                common = merged
        return common


def open_folder(path: Path) -> Source:
    """Open every file in a folder and in the folders inside it.

    Hidden files and folders and those whose names begin with an underscore (``_SUCCESS``, ``_metadata``) are passed
    over, as every program of the field does; anything else must be a file of purchases.

    Raises:
        SourceError: there is no file, a file cannot be read, or the files do not fit together.
    """
    return FolderSource(str(path), folder_files(path), path)


def folder_files(path: Path) -> list[Path]:
    """Return the files that `open_folder` reads, in the order of their paths."""
    try:
        found = list(_walk(path, frozenset()))
    except OSError as error:
        raise SourceError(
            f"the folder '{error.filename}' cannot be read: {error.strerror}; check its permissions"
        ) from error
    if not found:
        raise SourceError(
            f"'{path}' is a folder without any file of purchases (names that begin with . or _ are "
            "passed over); check the path"
        )
    return found


def open_pattern(pattern: str) -> Source:
    """Open the files that a pattern such as ``data/2024-*.csv.gz`` stands for; ``**`` crosses folders.

    A folder among them is read as by `open_folder`.

    Raises:
        SourceError: no file fits, a file cannot be read, or the files do not fit together.
    """
    # Folders' names state columns below the part of the pattern that is the same for all files.
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return FolderSource(pattern, pattern_files(pattern), Path(*fixed))


def pattern_files(pattern: str) -> list[Path]:
    """Return the files that `open_pattern` reads, in the order of their paths."""
    found: dict[Path, None] = {}
    for path in map(Path, sorted(glob.glob(pattern, recursive=True))):  # noqa: PTH207  # a pattern may be absolute
        if path.name.startswith(("_", ".")):
            continue
        found |= dict.fromkeys(folder_files(path) if path.is_dir() else [path])
    if not found:
        raise SourceError(
            f"no file fits '{pattern}' (names that begin with . or _ are passed over); check the pattern"
        )
    return sorted(found)


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield the files of a folder and the folders inside it, links followed, in the order of their paths."""
    real = os.path.realpath(folder)
    if real in above:
        raise SourceError(f"the folder '{folder}' holds itself by a symbolic link; remove the link")
    for path in sorted(folder.iterdir()):
        if path.name in _LOGS:
            raise SourceError(
                f"'{folder}' is a {_LOGS[path.name]} table, whose current files only that program can tell from "
                "the old ones; export it as Parquet, or query it through a database"
            )
        if path.name.startswith(("_", ".")):
            continue
        if path.is_dir():
            yield from _walk(path, above | {real})
        else:
            yield path


def _partitions(path: Path, root: Path) -> dict[str, str | None]:
    """Return what the names of the folders between ``root`` and a file state."""
    stated: dict[str, str | None] = {}
    for part in path.relative_to(root).parts[:-1]:
        key, equals, value = part.partition("=")
        if equals and key:
            stated[unquote(key)] = None if value == _NULL_PARTITION else unquote(value)
    return stated


def _check_names(first: _Part, part: _Part) -> None:
    """Raise SourceError unless two files have the same columns."""
    here = {*first.source.column_names, *first.partitions}
    there = {*part.source.column_names, *part.partitions}
    for column in sorted(here ^ there):
        having, lacking = (first, part) if column in here else (part, first)
        others = len(here ^ there) - 1
        more = (
            f" (and {others} more column{'s' * (others > 1)} differ{'s' * (others == 1)})" if others else ""
        )
        raise SourceError(
            f"the files do not fit together: column {column!r} is in '{having.source.name}', but not in "
            f"'{lacking.source.name}'{more}; write them with the same columns, or read them apart"
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values, however they are stored."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type that holds the values of two that differ in width only, or None."""
    if _family(one) != _family(other):
        return None
    if _family(one) == "text":
        return pa.large_string()
    schemas = [pa.schema([("value", kind)]) for kind in (one, other)]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _family(kind: pa.DataType) -> str:
    """Return what kind of values a type holds; the type itself where widths do not make the difference."""
    tests = {
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "whole": (pa.types.is_integer,),
        "float": (pa.types.is_floating,),
        "decimal": (pa.types.is_decimal,),
        "date": (pa.types.is_date,),
    }
    for family, any_of in tests.items():
        if any(test(kind) for test in any_of):
            return family
    return f"timestamp {kind.tz}" if pa.types.is_timestamp(kind) else str(kind)
