"""Tests of other systems: recae without what only POSIX, or only Linux, has; on Windows itself nothing was run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import ROOT, table

from recae import locks, machine
from recae.locks import locked

PACKAGE = ROOT / "recae"

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
"""Modules of the standard library that Windows does not have."""

NAMES = {
    "os": (
        "chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid",
        "getuid", "kill", "killpg", "mkfifo", "nice", "pread", "pwrite", "register_at_fork", "sched_getaffinity",
        "sched_setaffinity", "setsid", "statvfs", "sync", "sysconf", "uname", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC",
    ),
    "signal": (
        "SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1",
        "SIGUSR2", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    ),
    "time": ("clock_gettime", "tzset"),
}  # fmt: skip
"""Module → names in it that Windows does not have (of os.kill: that does not do there what it does here)."""

GUARDED = {
    ("forks.py", "os.register_at_fork"),
    ("journal/database.py", "os.statvfs"),
    ("loop_folder.py", "os.getuid"),
    ("machine.py", "os.sched_getaffinity"),
    ("memory.py", "os.sysconf"),
    ("memory.py", "resource"),
    ("reading/engine.py", "os.register_at_fork"),
    ("selection/worker.py", "os.sched_setaffinity"),
    ("selection/worker.py", "os.sched_getaffinity"),
    ("selection/worker.py", "signal.pthread_sigmask"),
    ("serving/connections.py", "resource"),
    # several workers are refused where there is no os.fork
    ("serving/process.py", "signal.SIGUSR1"),
    *(("serving/workers.py", name) for name in ("os.fork", "os.kill", "signal.SIGKILL", "signal.SIGUSR1")),
    ("serving/workers.py", "signal.pthread_sigmask"),
}
"""File, name: used after a look whether it is there, which the test below runs without."""

NEEDED = ("kill", "sysconf", "fork", "getuid", "geteuid", "register_at_fork")
"""Names that the libraries use while they run, and which stay."""

WITHOUT = f"""
import builtins, importlib, os, pkgutil, signal, sys, time
# what the libraries need, they have
import numpy, scipy.sparse, pandas, pyarrow.parquet, torch, duckdb, numba, threadpoolctl, tempfile
import concurrent.futures.process, multiprocessing.resource_tracker, uvicorn, fastapi, prometheus_client, optuna
real = builtins.__import__
def hide(name, globals=None, *rest, **more):
    if name.partition(".")[0] in {MODULES!r} and str((globals or {{}}).get("__name__", "")).startswith("recae"):
        raise ModuleNotFoundError(f"there is no {{name}} on this system")
    return real(name, globals, *rest, **more)
builtins.__import__ = hide
for module, names in {NAMES!r}.items():
    for name in names:
        if name not in {NEEDED!r}:
            vars(sys.modules[module]).pop(name, None)
"""
"""Hides them all from recae in a Python of its own."""


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    code = (
        "import recae\n"
        "for found in pkgutil.walk_packages(recae.__path__, 'recae.'):\n"
        "    if not found.name.endswith(('.__main__', '.cuda')):\n"
        "        importlib.import_module(found.name)\n"
        "print('all')"
    )
    found = run(code)
    assert (found.stdout, found.returncode) == ("all\n", 0), found.stderr


@pytest.mark.thorough
def test_training_scoring_and_tuning_work(tmp_path: Path) -> None:
    """With a lock like Windows's: a stub stands in for its module."""
    code = (
        "from types import SimpleNamespace\n"
        "taken = []\n"
        "sys.modules['msvcrt'] = SimpleNamespace(LK_NBLCK=2, locking=lambda *given: taken.append(given[1:]))\n"
        "from recae.cli import main\n"
        "os.chdir(sys.argv[1])\n"
        "for line in (\n"
        "    'train p.csv --kind itemknn --out m.recae', 'score --out recs/ --model m.recae',\n"
        "    'tune p.csv --kind itemknn --trials 2 --out best.toml',\n"
        "):\n"
        "    main(line.split(), prog_name='recae', standalone_mode=False)\n"
        "from recae import machine\n"
        "print(taken, machine.processors() > 0)\n"
    )
    (tmp_path / "p.csv").write_text(table())
    found = run(code, tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "[(2, 1), (2, 1)] True"  # the folder, then the study
    assert {"m.recae", "recs", "best.toml"} <= {path.name for path in tmp_path.iterdir()}


def used(path: Path) -> set[str]:
    """Names of modules that only POSIX has in a file, as module.name; modules as they are."""
    found: set[str] = set()
    text = path.read_text(encoding="utf-8")
    words = [*MODULES, *(f"{module}.{name}" for module, names in NAMES.items() for name in names)]
    if not re.search(rf"\b({'|'.join(map(re.escape, words))})\b", text):
        return found  # as of most files: to parse them takes ten times as long as to read them
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()):
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            found.add(str(node.module))
    return found


def test_nothing_of_posix_is_used_without_a_guard() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name) for path in PACKAGE.rglob("*.py") for name in used(path)
    }
    assert found == GUARDED | {("locks.py", "fcntl"), ("machine.py", "resource")}


def test_files_and_folders_are_locked(tmp_path: Path) -> None:
    new = tmp_path / "a.study"
    with locked(new, locks.os.O_RDWR | locks.os.O_CREAT):
        assert new.exists()
        with pytest.raises(BlockingIOError), locked(new):
            pass
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path), locked(new):
        pass
    with pytest.raises(FileNotFoundError), locked(tmp_path / "gone"):
        pass


def test_the_lock_of_windows_is_beside_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: set[int] = set()

    def locking(descriptor: int, mode: int, count: int) -> None:
        found = locks.os.fstat(descriptor).st_ino
        if found in held:
            raise PermissionError(13, "Permission denied")
        held.add(found)

    (tmp_path / "recs").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(locks, "_posix", None)
    monkeypatch.setattr(locks.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    with locked(tmp_path / "recs"):
        with pytest.raises(BlockingIOError), locked(tmp_path / "recs"):
            pass
        with locked(tmp_path / "a.study", locks.os.O_CREAT):
            assert (tmp_path / "a.study").exists()
    assert not list((tmp_path / "recs").iterdir())
    assert len(list((tmp_path / "temporary").iterdir())) == 2


def test_peak_memory_where_windows_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import ctypes

    def tell(process: Any, counters: Any, size: int) -> int:
        words = ctypes.cast(counters, ctypes.POINTER(ctypes.c_size_t))
        words[1] = 12_345_678  # PeakWorkingSetSize, after cb and PageFaultCount
        assert size == 80
        return 1

    class Function:
        restype: Any = None

        def __call__(self) -> int:
            return -1

    library = SimpleNamespace(
        kernel32=SimpleNamespace(GetCurrentProcess=Function(), K32GetProcessMemoryInfo=tell)
    )
    monkeypatch.setattr(ctypes, "windll", library, raising=False)
    assert machine._peak_working_set() == 12_345_678
    monkeypatch.delattr(ctypes, "windll")
    assert machine._peak_working_set() == 0
