"""Processes of `recae` forked from one that has the libraries loaded, which takes a new Python two seconds each time.

They are processes as any other: with streams, signals, a folder, an environment and an exit code of their own.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
_ENVIRONMENT = dict(os.environ)  # before any test changes it
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL


class Forked:
    """One of them, to be used as a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: list[str],
        *,
        first: str = "",
        env: dict[str, str] | None = None,
        start_new_session: bool = False,
        text: bool = False,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._lock = threading.Lock()
        opened: list[int] = []  # the other process's ends, closed here
        theirs = []
        ours: list[IO[Any] | None] = []
        for standard, stream in enumerate((stdin, stdout, stderr)):
            mine = None
            if stream == PIPE:
                ends = os.pipe()
                theirs.append(ends[standard > 0])
                mine = os.fdopen(ends[standard == 0], ("w" if standard == 0 else "r") + ("" if text else "b"))
                opened.append(theirs[-1])
            elif stream == DEVNULL:
                theirs.append(os.open(os.devnull, os.O_RDWR))
                opened.append(theirs[-1])
            elif stream is None:
                theirs.append(standard)
            else:
                theirs.append(stream if isinstance(stream, int) else stream.fileno())
            ours.append(mine)
        self.stdin, self.stdout, self.stderr = ours
        reading, telling = os.pipe()
        opened.append(telling)
        environment = dict(os.environ if env is None else env)
        order = {"arguments": arguments, "first": first, "env": environment, "session": start_new_session}
        content = json.dumps(order).encode()
        server = _server()
        socket.send_fds(server, [len(content).to_bytes(8, "big")], [*theirs, telling])
        server.sendall(content)
        for end in opened:
            os.close(end)
        self._told = os.fdopen(reading)
        self.pid = int(self._told.readline())

    def _wait(self) -> None:
        with self._lock:
            if self.returncode is None:
                self.returncode = int(self._told.readline())
                self._told.close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code, or the negative number of the signal that ended it."""
        thread = threading.Thread(target=self._wait, daemon=True)
        thread.start()
        thread.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("recae", timeout or 0)
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None before the end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001 if self.returncode is None else None)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Return what is left to read of its streams, at its end."""
        found: list[Any] = [None, None]

        def read(place: int, stream: IO[Any]) -> None:
            found[place] = stream.read()
            stream.close()

        if self.stdin is not None and not self.stdin.closed:
            self.stdin.close()
        until = None if timeout is None else time.monotonic() + timeout
        threads = [
            threading.Thread(target=read, args=(place, stream), daemon=True)
            for place, stream in enumerate((self.stdout, self.stderr))
            if stream is not None
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
            if thread.is_alive():
                raise subprocess.TimeoutExpired("recae", timeout or 0)
        self.wait(None if until is None else max(0.01, until - time.monotonic()))
        return found[0], found[1]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and this process is not told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """Start the process to fork from, once; it ends with the connection to it."""
    mine, its = socket.socketpair()
    path = [str(ROOT), _ENVIRONMENT.get("PYTHONPATH")]
    with its:
        subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            cwd=ROOT,
            env=_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, path))},
            pass_fds=[its.fileno()],
        )
    return mine


def _serve(orders: socket.socket) -> Callable[[], None]:
    """Fork a process for each order until the connection ends; return, in a forked process, what it has to do."""
    while True:
        size, streams, _, _ = socket.recv_fds(orders, 8, 4)
        if not size:
            os._exit(0)
        content = b""
        while len(content) < int.from_bytes(size, "big"):
            content += orders.recv(65_536)
        keeper = os.fork()  # waits for the other one, and tells its exit code
        if not keeper:
            break
        for stream in streams:
            os.close(stream)
        _ended(wait=False)
    orders.close()
    *standard, told = streams
    child = os.fork()
    if child:
        for stream in standard:
            os.close(stream)
        os.write(told, f"{child}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(told, f"{code}\n".encode())
        os._exit(0)
    os.close(told)
    return lambda: _run(json.loads(content), standard)


def _ended(wait: bool) -> None:
    """Let those go that have told their exit code."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0 if wait else os.WNOHANG)[0]:
            pass


def _run(order: dict[str, Any], streams: list[int]) -> None:
    """Become what a new Python with these streams, arguments and environment would be."""
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
    for stream in streams:
        if stream > 2:
            os.close(stream)
    if order["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["-c", *order["arguments"]]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # it stays open as long as the process
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            open(stream, "wb", closefd=False),  # noqa: SIM115
            encoding="utf-8",
            errors=errors,
            line_buffering=stream == 2 or os.isatty(stream),
        )
        for stream, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    exec(order["first"], {})
    from recae.cli import main

    try:
        main(prog_name="recae")
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else int(bool(end.code)))
    except BaseException:
        traceback.print_exc()
        _end(1)


def _end(code: int) -> None:
    """End as `recae` and Python do, but free no memory of the process that it was forked from: that would copy it."""
    from recae.signals import leave_early

    leave_early(code)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit(code)


def _load_loops() -> None:
    """Read, fit and rank once with what starts no threads of its own, so that the compiled loops of that are there."""
    from recae.cli import main

    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        model, table = Path(folder) / "m.recae", Path(folder) / "p.csv"
        table.write_text("user,item\n" + "".join(f"u{n % 9},i{n % 7}\n" for n in range(63)))
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for arguments in (
                ["train", table, "--kind", "popularity", "--out", model],
                ["recommend", "--user", "u1", "--model", model],
            ):
                main([str(argument) for argument in arguments], prog_name="recae", standalone_mode=False)


if __name__ == "__main__":
    import importlib

    for name in (
        "numpy", "scipy.sparse", "pandas", "pyarrow.csv", "pyarrow.parquet", "torch", "numba", "pydantic",
        "rich.live", "rich.progress", "rich.table", "safetensors.numpy", "recae.cli", "recae.pipeline",
        "recae.scoring.block", "recae.scoring.folder", "recae.selection.blend", "recae.training.kinds.sigmoid",
    ):  # fmt: skip
        importlib.import_module(name)
    sys.modules["recae.compiling"].COMPILING.announced = True  # as tests/conftest.py does
    _load_loops()
    _serve(socket.socket(fileno=int(sys.argv[1])))()
