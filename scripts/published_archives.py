"""The files inside a folder, a zip or a tar archive, read where they lie: nothing is ever unpacked."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from recae.errors import SourceError

Wanted = Callable[[str], bool]
"""Whether a file of this name, without folders, is one to be read."""

BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError)
"""What reading a damaged archive may raise."""


def files(path: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each wanted file, in the order of the archive, in that of the names for a folder.

    A file is open until the next one is asked for. `path` may also be such a file itself. SourceError for one that is
    not there, for an archive that is damaged, and for one with a member that lies outside of it.
    """
    if not path.exists():
        raise SourceError(
            f"there is no file or folder '{path}'; give the published file, or a folder with it"
        )
    try:
        if path.is_dir():
            yield from _of_folder(path, wanted)
        elif zipfile.is_zipfile(path):
            yield from _of_zip(path, wanted)
        elif wanted(path.name):
            with path.open("rb") as file:
                yield path.name, file
        elif tarfile.is_tarfile(path):
            yield from _of_tar(path, wanted)
        else:
            raise SourceError(
                f"'{path}' is neither a folder nor a whole zip or tar archive nor a file of that name itself; "
                "is it cut short?"
            )
    except BROKEN as error:
        raise SourceError(f"'{path}' is damaged ({error}); get it again") from error
    except OSError as error:
        raise SourceError(f"cannot read '{path}': {error.strerror or error}") from error


@contextmanager
def only_file(path: Path, wanted: Wanted, what: str) -> Iterator[IO[bytes]]:
    """The first wanted file; SourceError where there is none, with `what` to look for."""
    found = files(path, wanted)
    for _, file in found:
        try:
            yield file
        except BROKEN as error:  # a member's checksum is looked at when its end is read
            raise SourceError(f"'{path}' is damaged ({error}); get it again") from error
        finally:
            found.close()  # type: ignore[attr-defined]
        return
    raise SourceError(f"'{path}' does not hold {what}; give the published file, or a folder with it")


def _of_folder(path: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    found = sorted(p for p in path.rglob("*") if wanted(p.name) and p.is_file())
    for each in found:
        with each.open("rb") as file:
            yield each.name, file


def _of_zip(path: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_inside(path, member.filename)
        for member in archive.infolist():
            if wanted(_name(member.filename)) and not member.is_dir():
                with archive.open(member) as file:
                    yield _name(member.filename), file


def _of_tar(path: Path, wanted: Wanted) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r|*") as archive:  # one pass: a compressed one cannot be read to and fro
        for member in archive:
            _check_inside(path, member.name)
            if member.isfile() and wanted(_name(member.name)):
                content = archive.extractfile(member)
                if content is not None:
                    yield _name(member.name), io.BytesIO(content.read())


def _check_inside(path: Path, member: str) -> None:
    """Nothing is written by its member's name; but an archive with such a name is not what was published."""
    parts = PurePosixPath(member.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[:1]:
        raise SourceError(
            f"'{path}' has a member that lies outside of it, '{member}', so it is not the published file; get it again"
        )


def _name(member: str) -> str:
    return PurePosixPath(member).name
