"""Downloading a published file: resumed after an interruption, checked, and kept in a folder.

pooch, the library for this, downloads a broken-off file from its beginning and knows no checksums of git; httpx is
installed for the tests only. What is needed of HTTP is one header, so urllib does.
"""

import hashlib
import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from published_tables import Remote

from recae.cli.output import progress
from recae.errors import OutputError, SourceError

TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 20
ELSEWHERE = "get the file by other means and give it with --from"


def default_cache() -> Path:
    """The folder of the user's downloads: $XDG_CACHE_HOME/recae, or ~/.cache/recae."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recae"


def fetch(remote: Remote, cache: Path, say: Callable[[str], None], *, timeout: float = TIMEOUT) -> Path:
    """The file in the cache, downloaded if it is not there yet.

    What arrives goes to a file that ends in ".part"; an interrupted download leaves it, and the next one asks the
    server for the rest. The whole is checked against the publisher's checksum and renamed. Where the publisher states
    none, its SHA-256 is said, so that two copies can be compared, and that nothing was checked.

    Raises SourceError when the server does not deliver the file, or another one than the publisher states; OutputError
    when the cache cannot be written to.
    """
    target = cache / remote.name
    part = target.with_name(f"{target.name}.part")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if target.is_file():
            if not _is_right(remote, target, say):
                raise SourceError(
                    f"'{target}' is not what the publisher states ({_difference(remote, target)}): remove it, and it "
                    "is downloaded again"
                )
            return target
        _complete(remote, part, say, timeout)
        if not _is_right(remote, part, say):
            difference = _difference(remote, part)
            _remove(part)
            raise SourceError(
                f"what came from {remote.address} is not what the publisher states ({difference}) and was removed: "
                f"try again, or {ELSEWHERE}"
            )
        part.replace(target)
        _tag(part).unlink(missing_ok=True)
    except OSError as error:  # of the file system: those of the network are caught where they arise
        raise OutputError(
            f"cannot keep {remote.name} in '{cache}': {error.strerror or error}; choose another folder with --cache"
        ) from error
    return target


def checksum(path: Path, algorithm: str) -> str:
    """In hexadecimal; "git-blob" is SHA-1 of "blob ", the size, a zero byte and the content, git's name for a file."""
    digest = hashlib.new("sha1" if algorithm == "git-blob" else algorithm, usedforsecurity=False)
    if algorithm == "git-blob":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _complete(remote: Remote, part: Path, say: Callable[[str], None], timeout: float) -> None:
    """Appends to the part what it lacks; begins anew where the server does not continue it."""
    have = part.stat().st_size if part.is_file() else 0
    tag = _tag(part).read_text() if have and _tag(part).is_file() else ""
    headers = {"User-Agent": "recae (published.py)"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag:  # another file by now? then the server sends the whole of it
            headers["If-Range"] = tag
        say(f"{remote.name}: going on after {have:,} bytes")
    else:
        say(f"{remote.name}: downloading {remote.address}")
    try:
        # the addresses are those of published_tables
        request = urllib.request.Request(remote.address, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            start = _start(answer, have)
            if have and not start:
                say(f"{remote.name}: the server does not continue a download, so it begins anew")
            _write(remote, answer, part, start)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") != f"bytes */{have}":  # else everything is there already
                _remove(part)
                _complete(remote, part, say, timeout)
            return
        raise SourceError(f"{remote.address} answers {error.code} {error.reason}: {ELSEWHERE}") from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ssl.SSLError,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise SourceError(
            f"{remote.address} cannot be read ({reason}): try again, which goes on where this ended, or {ELSEWHERE}"
        ) from error


def _start(answer: http.client.HTTPResponse, have: int) -> int:
    """The byte at which the answer begins: `have`, if the server continues; 0, if it sends the whole."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", answer.headers.get("Content-Range", ""))
    if answer.status == http.client.PARTIAL_CONTENT and not (found and int(found[1]) == have):
        raise http.client.HTTPException(f"it sends another part than the one from byte {have:,} on")
    return have if answer.status == http.client.PARTIAL_CONTENT else 0


def _write(remote: Remote, answer: http.client.HTTPResponse, part: Path, start: int) -> None:
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length is not None else None
    # a weak tag does not promise the same bytes
    tag = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
    _tag(part).write_text("" if tag.startswith("W/") else tag)
    done = start
    with part.open("ab") as file, progress(remote.name, total or 1) as tell:
        file.truncate(start)
        while block := answer.read(CHUNK):
            file.write(block)
            done += len(block)
            tell(min(done, total or 1))
    if total is not None and done < total:
        raise http.client.HTTPException(f"it broke off after {done:,} of {total:,} bytes")


def _is_right(remote: Remote, path: Path, say: Callable[[str], None]) -> bool:
    if remote.checksum is None:
        say(
            f"{remote.name}: its publisher states no checksum, so it is not checked; its SHA-256 is "
            f"{checksum(path, 'sha256')}"
        )
        return True
    algorithm, _, wanted = remote.checksum.partition(":")
    return checksum(path, algorithm) == wanted


def _difference(remote: Remote, path: Path) -> str:
    algorithm, _, wanted = (remote.checksum or "").partition(":")
    return f"{algorithm} {checksum(path, algorithm)}, not {wanted} as in {remote.origin}"


def _tag(part: Path) -> Path:
    """Beside the part: by what the server recognises the file that the part is of."""
    return part.with_name(f"{part.name}.tag")


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)
