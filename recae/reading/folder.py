"""Many files as one table: a folder, also one partitioned into folders such as `year=2024`, or a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from recae.errors import ConfigError, SourceError
from recae.reading.engine import Engine, quoted, text
from recae.reading.joining import folder_advice
from recae.reading.options import ReadOptions
from recae.reading.table import Note, Table

_NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
# Tables of other programs, in whose folders lie files that no longer count.
_LOGS: Final = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_PARTS: Final = 200  # tables joined in one statement


def open_files(
    engine: Engine,
    name: str,
    paths: Sequence[Path],
    root: Path,
    options: ReadOptions,
    open_file: Callable[[Engine, Path, str, ReadOptions], Table],
) -> Table:
    """Return files as one table, in the order of their names.

    Every file must have the same columns, in any order; a column that is of several types is text. A folder's name
    such as ``country=NL`` states the text of a column that the files themselves lack; ``__HIVE_DEFAULT_PARTITION__`` is
    null. Formats may differ. A file without a header that follows one with as many columns takes that one's names.

    Args:
        engine: that reads them.
        name: what to call the table in messages.
        paths: the files, one at least.
        root: the folder below which folders' names count as partitions.
        options: how to understand each of them.
        open_file: opens one.

    Raises:
        SourceError: a file cannot be read, or has other columns than the first one.
    """
    if options.table is not None:
        raise ConfigError(f"--table is for a database or a workbook, but '{name}' is none; leave it out")
    parts = [(open_file(engine, path, str(path), options), _partitions(path, root)) for path in paths]
    if len(parts) == 1 and not parts[0][1]:
        return replace(parts[0][0], name=name)
    first, stated = parts[0]
    headless = 0
    tables: list[tuple[Table, dict[str, str | None]]] = []
    for table, partitions in parts:
        if not table.header and first.header and len(table.types) == len(first.types):
            table = _renamed(table, first.columns)
            headless += 1
        tables.append((table, partitions))
    added = [key for key in stated if key not in first.types]
    _check_columns(name, tables)
    columns = [*first.columns, *added]
    types = {column: _common(column, tables) for column in columns}
    selects = [
        "SELECT "
        + ", ".join(_column(column, types[column], table, partitions) for column in columns)
        + f" FROM {table.relation}"
        for table, partitions in tables
    ]
    while len(selects) > _PARTS:
        chunks = [selects[start : start + _PARTS] for start in range(0, len(selects), _PARTS)]
        selects = [f"SELECT * FROM {engine.view(' UNION ALL '.join(chunk), 'files')}" for chunk in chunks]
    relation = engine.view(" UNION ALL ".join(selects), "files")
    return Table(
        name=name,
        engine=engine,
        relation=relation,
        types=engine.describe(relation),
        header=first.header,
        files=tuple(paths),
        notes=_notes(tables, headless),
        decimal_comma=_agreed([table.decimal_comma for table, _ in tables]),
        skipped=sum(table.skipped for table, _ in tables),
        rejected=_rejected(engine, [table for table, _ in tables]),
        layout=first.layout,
        basket_is_user=first.basket_is_user,
    )


def _renamed(table: Table, names: Sequence[str]) -> Table:
    """Return a table with other names for its columns."""
    pairs = zip(table.columns, names, strict=True)
    view = table.engine.view(
        f"SELECT {', '.join(f'{quoted(old)} AS {quoted(new)}' for old, new in pairs)} FROM {table.relation}",
        "named",
    )
    return replace(
        table, relation=view, types=dict(zip(names, table.types.values(), strict=True)), _samples={}
    )


def _column(column: str, kind: str | None, table: Table, partitions: dict[str, str | None]) -> str:
    """Return SQL for a column of a file, or for what its folder's name states of it."""
    if column in table.types:
        cast = f"::{kind}" if kind else ""
        return f"{quoted(column)}{cast} AS {quoted(column)}"
    value = partitions[column]
    return f"{'NULL' if value is None else text(value)}::VARCHAR AS {quoted(column)}"


def _common(column: str, tables: Sequence[tuple[Table, dict[str, str | None]]]) -> str | None:
    """Return the type to cast a column to where its types are of several families, else None."""
    found = {table.types.get(column, "VARCHAR") for table, _ in tables} - {'"NULL"'}
    return None if len(found) <= 1 or len({_family(kind) for kind in found}) == 1 else "VARCHAR"


def _family(kind: str) -> str:
    """Return what kind of values a type holds, where widths do not make the difference."""
    plain = kind.partition("(")[0]
    if plain.removeprefix("U") in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"):
        return "whole"
    if plain in ("FLOAT", "DOUBLE"):
        return "float"
    return "time" if plain in ("DATE",) or (plain.startswith("TIMESTAMP") and "ZONE" not in kind) else kind


def _notes(tables: Sequence[tuple[Table, dict[str, str | None]]], headless: int) -> tuple[Note, ...]:
    """Return each different sentence once."""
    notes = {note.text: note for table, _ in tables for note in table.notes}
    if headless:
        files = (
            "1 file without a header takes" if headless == 1 else f"{headless} files without a header take"
        )
        notes[files] = Note(f"{files} the names of the first one", code="layout")
    return tuple(notes.values())


def _agreed(found: Sequence[bool | None]) -> bool | None:
    said = {one for one in found if one is not None}
    return said.pop() if len(said) == 1 else None


def _rejected(engine: Engine, tables: Sequence[Table]) -> str | None:
    """Return the lines that were skipped in any file."""
    found = [
        f"SELECT line, reason || {text(f' ({table.name})')} AS reason, text FROM {table.rejected}"
        for table in tables
        if table.rejected is not None
    ]
    return engine.view(" UNION ALL ".join(found), "rejected") if found else None


def folder_files(path: Path) -> list[Path]:
    """Return the files of a folder and of the folders inside it, in the order of their paths.

    Hidden files and folders and those whose names begin with an underscore (``_SUCCESS``, ``_metadata``) are passed
    over, as every program of the field does.

    Raises:
        SourceError: there is none, or the folder cannot be read.
    """
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


def pattern_files(pattern: str) -> list[Path]:
    """Return the files that a pattern such as ``data/2024-*.csv.gz`` stands for; ``**`` crosses folders.

    Raises:
        SourceError: there is none.
    """
    found: dict[Path, None] = {}
    for path in map(Path, _matching(pattern)):
        if path.name.startswith(("_", ".")):
            continue
        found |= dict.fromkeys(folder_files(path) if path.is_dir() else [path])
    if not found:
        raise SourceError(
            f"no file fits '{pattern}' (names that begin with . or _ are passed over); check the pattern"
        )
    return sorted(found)


def _matching(pattern: str) -> list[str]:
    """Return the paths that a pattern stands for.

    Raises:
        SourceError: it crosses a folder that holds itself by a symbolic link, in which there is no end.
    """
    if "**" in pattern:
        root = re.split(r"[*?[]", pattern, maxsplit=1)[0]
        start = Path(f"{root}_").parent
        above: dict[Path, list[Path]] = {start: []}  # the folders on the way to a folder, links followed
        for folder, inner, _ in os.walk(start, followlinks=True):
            inner[:] = [name for name in inner if not name.startswith(".")]  # ** passes over the others, too
            way = [*above.pop(Path(folder)), Path(os.path.realpath(folder))]
            for link in (Path(folder, name) for name in inner):
                below = os.path.realpath(link)
                if link.is_symlink() and any(real.is_relative_to(below) for real in way):
                    raise SourceError(f"the folder '{link}' holds itself by a symbolic link; remove the link")
                above[link] = way
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  # a pattern may be absolute


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


def _check_columns(name: str, tables: Sequence[tuple[Table, dict[str, str | None]]]) -> None:
    """Raise SourceError unless all files have the same columns."""
    first, stated = tables[0]
    here = {*first.columns, *stated}
    different = {frozenset(here): first}
    for table, partitions in tables[1:]:
        different.setdefault(frozenset({*table.columns, *partitions}), table)
    if len(different) == 1:
        return
    there, table = next((set(columns), table) for columns, table in different.items() if columns != here)
    if 2 * len(here & there) < len(here | there):
        raise SourceError(f"'{name}' is no single table: {folder_advice(list(different.values()))}")
    column = min(here ^ there)
    having, lacking = (first, table) if column in here else (table, first)
    others = len(here ^ there) - 1
    more = f" (and {others} more column{'s' * (others > 1)} differ{'s' * (others == 1)})" if others else ""
    raise SourceError(
        f"the files of '{name}' do not fit together: column {column!r} is in '{having.name}', but not in "
        f"'{lacking.name}'{more}; write them with the same columns, or read them apart"
    )
