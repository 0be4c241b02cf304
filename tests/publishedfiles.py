"""What the tests of scripts/published.py share: its modules, a server on 127.0.0.1, and tiny copies of the layouts."""

import hashlib
import importlib
import json
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

published = importlib.import_module("published")
published_archives = importlib.import_module("published_archives")
published_data = importlib.import_module("published_data")
published_download = importlib.import_module("published_download")
published_split = importlib.import_module("published_split")
published_tables = importlib.import_module("published_tables")


@dataclass
class Served:
    """What a server sends, how it behaves, and what it was asked.

    breaks_after  bytes of the body after which the connection is closed
    ranges        whether it continues a download; "shifted": it sends another part than the one asked for
    """

    files: dict[str, bytes]
    tag: str = '"one"'
    ranges: bool | str = True
    breaks_after: int | None = None
    status: int = 200
    with_length: bool = True
    silent: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def remote(self, name: str, checksum: str | None = None, origin: str = "the publisher's page"):
        return published_tables.Remote(f"{self.address}/{name}", name, checksum, origin if checksum else "")


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        served = self.server.served
        asked = self.headers.get("Range")
        served.asked.append((self.path, asked))
        if served.silent is not None:
            served.silent.wait(10)
            return
        body = served.files.get(self.path.lstrip("/"))
        if body is None or served.status != 200:
            self.send_error(404 if body is None else served.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and served.ranges else 0
        if self.headers.get("If-Range") not in (None, served.tag):
            start = 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            begin = start - 1 if served.ranges == "shifted" else start
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if served.with_length:
            self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", served.tag)
        self.end_headers()
        self.wfile.write(body[start:][: served.breaks_after])

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    served: Served


@contextmanager
def serving(files: dict[str, bytes], **how) -> Iterator[Served]:
    """A server of these files on a free port of 127.0.0.1."""
    served = Served(files, **how)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.served = served
        served.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            if served.silent is not None:
                served.silent.set()
            server.shutdown()
            thread.join()


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


def zipped(path: Path, **members: bytes) -> Path:
    """A zip archive; "__" in a member's name stands for "/", "_csv" and "_txt" at its end for the suffix."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_csv", ".csv").replace("_txt", ".txt"), content)
    return path


def ratings(seed: int = 3, n_users: int = 70, n_items: int = 90) -> list[tuple[int, int, float]]:
    """(user, movie, rating) by user, then movie, as in ratings.csv; ids with gaps, ratings of .5 to 5."""
    rng = np.random.default_rng(seed)
    popular = 1 / np.arange(1, n_items + 1)
    rows = []
    for user in range(n_users):
        size = int(rng.integers(2, 25))
        movies = np.sort(rng.choice(n_items, size=size, replace=False, p=popular / popular.sum()))
        grades = rng.choice([0.5, 3.0, 3.5, 4.0, 4.5, 5.0], size=size, p=[0.05, 0.05, 0.1, 0.3, 0.2, 0.3])
        rows += [(3 * user + 1, 7 * int(m) + 2, float(g)) for m, g in zip(movies, grades, strict=True)]
    return rows


def ratings_csv(rows: list[tuple[int, int, float]]) -> bytes:
    lines = [f"{user},{movie},{grade},1112486027" for user, movie, grade in rows]
    return ("userId,movieId,rating,timestamp\n" + "\n".join(lines) + "\n").encode()


def run(*args) -> Result:
    """Runs the script in this process; an exception that it should have caught fails the test."""
    result = CliRunner().invoke(published.main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def results(*args) -> dict:
    """What the script prints with --json."""
    result = run(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def check_error(result: Result, *words: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def of(found: dict, kind: str) -> dict:
    """The figures of a kind in what the script prints with --json, by metric."""
    return {each["metric"]: each for row in found["rows"] if row["kind"] == kind for each in row["figures"]}
