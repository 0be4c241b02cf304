"""What a file holds, told by its first bytes; and compressed files and archives, unpacked into a temporary folder."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from recae.errors import SourceError
from recae.reading.engine import Engine, first_line

HEAD: Final = 1 << 16
"""First bytes by which a format is told."""
_BLOCK: Final = 1 << 20
_SPARE: Final = 1 << 28  # bytes of disk that unpacking leaves free
_SHORT: Final = 1 << 30  # bytes of one line from which on it is no table
_MAGIC: Final = (
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow stream"),
    (b"FEA1", "feather 1"),
    (b"ORC", "orc"),
    (b"SQLite format 3\0", "sqlite"),
    (b"%%MatrixMarket", "matrix market"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
)
COMPRESSED: Final = {"gzip": "gzip", "zstd": "zstd", "bz2": "bzip2", "xz": "xz"}
_ENDINGS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
_TABLES: Final = (
    ".csv", ".tsv", ".txt", ".tab", ".psv", ".dat", ".data", ".inter", ".jsonl", ".ndjson", ".json", ".parquet", ".pq",
    ".feather", ".arrow", ".ipc", ".orc", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".npz", ".mtx", ".db", ".sqlite",
    ".sqlite3", ".duckdb", ".zip",
)  # fmt: skip
_FOREIGN: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = (
    (
        re.compile(rb"\x80[\x02-\x05]|\(lp\d|\(dp\d|ccopy_reg|c__builtin__"),
        "a pickle, which is never loaded since it can run code; save the table as CSV or Parquet, for example with "
        "pandas' to_parquet",
    ),
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec"),
        "a git-LFS pointer and not the file that it stands for; fetch that with: git lfs pull",
    ),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE),
        "a web page and no table, perhaps a login or an error page that was saved; download the file itself",
    ),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|[A-Za-z])"), "XML; export the table as CSV or JSON"),
    (re.compile(rb"%PDF-"), "a PDF document; export the table as CSV"),
    (re.compile(rb"Obj\x01"), "an Avro file; export the table as Parquet or CSV"),
    (re.compile(rb"\x89HDF\r\n"), "an HDF5 file; save the table as Parquet or CSV, for example with pandas"),
    (
        re.compile(rb"\x93NUMPY"),
        "a numpy array; save the table as CSV, or a matrix with scipy.sparse.save_npz",
    ),
    (re.compile(rb"RDX\d|RDA\d|X\n\0\0\0"), "a file of R; write the table with write.csv"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7-Zip archive; unpack it and give the table in it"),
    (re.compile(rb"Rar!"), "a RAR archive; unpack it and give the table in it"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8"), "a picture; export the table as CSV"),
    (re.compile(rb"<stata_dta>|\$FL2|\$FL3"), "a file of a statistics program; export the table as CSV"),
    (re.compile(rb"\{\\rtf"), "an RTF document; save the table as CSV"),
)


def is_file_name(text: str) -> bool:
    """Tell whether a text ends as the names of tables do; there need not be such a file."""
    path = Path(text)
    ending = path.suffix.lower()
    return (Path(path.stem).suffix.lower() if ending in _ENDINGS else ending) in _TABLES


def kind_of(head: bytes, name: str) -> str:
    """Return what a file holds, told by its first bytes: a key of `_MAGIC`, "duckdb", "json" or "text".

    Raises:
        SourceError: something that is no table.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[8:12] == b"DUCK":
        return "duckdb"
    if head[257:262] == b"ustar":
        raise SourceError(f"'{name}' is a tar archive; unpack it and give the table in it")
    for pattern, what in _FOREIGN:
        if pattern.match(head):
            raise SourceError(f"'{name}' is {what}")
    start = (
        head.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"").lstrip(b" \t\r\n\xff\xfe")
    )  # also of UTF-16
    if re.match(rb"\{\s*(?:\"|\}|$)|\[\s*(?:[\[{\]\"\d-]|$)", start):
        return "json"
    return "text"


def check_file(path: Path) -> int:
    """Return the bytes of a file that can be read.

    Raises:
        SourceError: it cannot.
    """
    try:
        str(path).encode()  # DuckDB opens nothing else
    except UnicodeEncodeError as error:
        raise SourceError(f"the name of {str(path)!r} is not UTF-8; rename the file") from error
    try:
        if not path.exists():
            raise SourceError(f"there is no file '{path}'; check the path")
        if not path.is_file():
            raise SourceError(
                f"'{path}' is a device or a pipe; give - for the purchases and direct it to the standard input"
            )
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise SourceError(f"{str(path)!r} cannot be opened: {error}; check the path") from error
    if not os.access(path, os.R_OK):
        raise SourceError(
            f"'{path}' cannot be read: permission denied; ask its owner for permission to read it"
        )
    return size


def read_head(path: Path, size: int = HEAD) -> bytes:
    """Return the first bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}; check the path") from error


def new_path(engine: Engine, what: str) -> Path:
    """Return a path in the engine's temporary folder that nothing has."""
    return engine.folder / engine.new_name(what)


def unpack(engine: Engine, path: Path, kind: str, name: str) -> Path:
    """Return a file with the bytes that a compressed one holds, in the engine's folder.

    Raises:
        SourceError: they are broken or cut short, hold one endless line, or more than the disk does.
    """
    import pyarrow as pa

    target = new_path(engine, "unpacked")
    try:
        if kind == "xz":
            with lzma.open(path) as packed:
                copy(packed.read, target, name)
        else:
            with pa.input_stream(str(path), compression=kind) as packed:
                copy(packed.read, target, name)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise damaged(name, kind, error, path.suffix) from error
    return target


def damaged(name: str, kind: str, error: Exception, ending: str = "") -> SourceError:
    """Return what to say of an archive that cannot be read."""
    program = COMPRESSED[kind]
    if isinstance(error, EOFError) or "Truncated" in str(error) or "end of stream" in str(error).lower():
        return SourceError(f"'{name}' is a truncated {program} archive; copy or download it again")
    drop = f", or drop '{ending}' from its name if it is not compressed" if ending in _ENDINGS else ""
    return SourceError(
        f"'{name}' is not a valid {program} archive ({first_line(error)}); copy it again{drop}"
    )


def copy(read: Callable[[int], bytes], target: Path, name: str) -> None:
    """Write what a stream gives to a file, as long as the disk has room and lines have an end.

    Raises:
        SourceError: the disk is too full, or the text has no lines.
    """
    room = shutil.disk_usage(target.parent).free - _SPARE
    done = line = 0
    try:
        with target.open("wb") as file:
            while data := read(_BLOCK):
                done += len(data)
                if done > room:
                    raise SourceError(
                        f"'{name}' holds more than the {max(room, 0) / 2**30:,.1f} GiB that are free in "
                        f"'{target.parent.parent}'; set TMPDIR to a folder with more room"
                    )
                line = line + len(data) if data.count(b"\n") == 0 and data.count(b"\r") == 0 else 0
                if line > _SHORT:
                    raise SourceError(
                        f"'{name}' unpacks to a single line of more than {_SHORT >> 30} GiB, which is no table; "
                        "check what it holds"
                    )
                file.write(data)
    except OSError as error:
        if (isinstance(error.strerror, str) and error.filename is not None) or error.errno == 28:
            raise SourceError(
                f"'{name}' cannot be kept in '{target.parent.parent}': {error.strerror}; "
                "set TMPDIR to a folder with room for it"
            ) from error
        raise


def open_zip(engine: Engine, path: Path, name: str, member: str | None) -> tuple[str, Path]:
    """Return what a ZIP archive is ("workbook", "npz" or "member"), and the file that it is or the table in it.

    Args:
        engine: whose folder the table is unpacked into.
        path: the archive.
        name: of it, for messages.
        member: the file in it to read; None: the only one.

    Raises:
        SourceError: it is damaged or encrypted, or it holds no table or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            if any(n in ("[Content_Types].xml", "mimetype") for n in names) and any(
                n.startswith("xl/") or n == "content.xml" for n in names
            ):
                return "workbook", path
            if names and all(n.endswith(".npy") for n in names):
                return "npz", path
            chosen = _member(archive, names, name, member)
            target = new_path(engine, "unpacked")
            with archive.open(chosen) as packed:
                copy(packed.read, target, f"{name}, file {chosen.filename}")
            return "member", target
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        if "password" in str(error) or "encrypted" in str(error):
            raise SourceError(
                f"'{name}' is an encrypted ZIP archive; unpack it and give the table in it"
            ) from error
        raise SourceError(
            f"'{name}' is a damaged or truncated ZIP archive ({first_line(error)}); copy or download it again"
        ) from error


def _member(archive: zipfile.ZipFile, names: list[str], name: str, member: str | None) -> zipfile.ZipInfo:
    """Return the entry of an archive that is the table."""
    tables = [
        n for n in names if not re.search(r"(?:^|/)(?:__MACOSX/|[._]|readme|license)", n, re.IGNORECASE)
    ]
    listed = ", ".join(map(repr, tables[:20])) + (f" and {len(tables) - 20} more" if len(tables) > 20 else "")
    if member is not None:
        if member not in names:
            raise SourceError(f"'{name}' holds no file {member!r}; it holds {listed or 'none'}")
        return archive.getinfo(member)
    if not tables:
        raise SourceError(f"'{name}' is a ZIP archive without any table; check what it holds")
    if len(tables) > 1:
        raise SourceError(
            f"'{name}' is a ZIP archive of {len(tables)} files; name one with --table, or unpack it and give the "
            f"folder: it holds {listed}"
        )
    return archive.getinfo(tables[0])
