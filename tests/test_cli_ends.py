"""How the command line ends: short memory, full disks behind stdout, and signals at the edges of a process."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import PATIENCE, ROOT, recae, start
from modelfiles import popular, saved

from recae.cli.shortage import memory_sentence
from recae.signals import leave_early

FULL = Path("/dev/full")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    saved(tmp_path, popular())
    return tmp_path / "saved.recae"


PRINTING = ["--help", "train --help", "--version", "settings", "settings --json", "settings ease --toml"]
OF_A_MODEL = [
    "inspect",
    "inspect --toml",
    "inspect --json",
    "recommend --user 42",
    "recommend --user 42 --json",
]


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", [*PRINTING, *OF_A_MODEL, "completion bash"])
@pytest.mark.some(4)
def test_a_full_disk_behind_stdout_is_a_sentence(command: str, model: Path) -> None:
    given = ["--model", str(model)] if command in OF_A_MODEL else []
    with FULL.open("w") as full:
        process = start(*command.split(), *given, stdout=full, stderr=subprocess.PIPE, text=True)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert said.endswith(
        "error: cannot write the result to stdout: No space left on device; send it elsewhere\n"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["--help", "--version", "train --help"])
def test_a_reader_that_has_gone_ends_help_with_141(command: str) -> None:
    process = start(*command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, first=GONE)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    assert process.returncode == 141


GONE = "import os; ends = os.pipe(); os.dup2(ends[1], 1); os.close(ends[0]); os.close(ends[1])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.some(2)
def test_signals_before_a_command_and_after_it(number: signal.Signals, place: str) -> None:
    """Sent where the command line is imported, or where Python ends: no traceback, and the code that is documented."""
    stub = "import os, sys, types; stub = types.ModuleType('recae.cli'); sys.modules['recae.cli'] = stub; "
    kill = f"os.kill(os.getpid(), {int(number)})"
    before = f"{stub}stub.__getattr__ = lambda name: {kill}; from recae.__main__ import run; run()"
    after = (
        f"import atexit, os, sys; atexit.register(lambda: {kill}); sys.argv = ['recae', '--version']; "
        "from recae.__main__ import run; run()"
    )
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += before if place == "before" else after
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 128 + number
    assert found.stderr == ""
    assert found.stdout.startswith("recae ") == (place == "after")


def test_a_signal_that_is_ignored_stays_so() -> None:
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.argv = ['recae', '--version']; "
        "import atexit; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT)); "
        "from recae.__main__ import run; run()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0


LOADING = "x.so: failed to map segment from shared object"
NOTHING_OF_MEMORY = ImportError("no module named x")


@pytest.mark.parametrize(
    ("error", "left", "meant"),
    [
        (MemoryError(), None, True),
        (ImportError(LOADING), None, True),
        (OSError(12, "Cannot allocate memory"), None, True),
        (RuntimeError("can't start new thread"), None, True),
        (type("PanicException", (BaseException,), {})("rust"), None, True),
        (NOTHING_OF_MEMORY, None, False),
        (NOTHING_OF_MEMORY, 2**40, False),
        (NOTHING_OF_MEMORY, 2**20, True),
        (ValueError("wrong"), 2**20, False),
    ],
    ids=repr,
)
def test_what_means_short_memory(
    error: BaseException, left: int | None, meant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recae.cli.shortage.limits_left", lambda: left)
    assert (memory_sentence(error) is not None) == meant
    outer = ValueError("what came of it")
    outer.__cause__ = error
    assert (memory_sentence(outer) is not None) == meant


def test_short_memory_is_a_sentence_whatever_has_run_out(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("recae.recommender.Recommender.recommend", out)
    result = recae("recommend", "--user", "42", model=model)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "error: this needs more memory than the " in result.stderr
    monkeypatch.setattr("recae.cli.shortage.memory_sentence", out)
    assert (
        "error: this needs more memory than there is; end"
        in recae("recommend", "--user", "42", model=model).stderr
    )
    monkeypatch.setattr("recae.cli.message", out)
    assert recae("recommend", "--user", "42", model=model).exit_code == 2


COMMANDS = ["inspect", "recommend --user 42", "score --out scored.csv", "explain --user 42 --item 0", "train"]


@pytest.mark.thorough
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("megabytes", [200, 400, 600, 700, 800, 1000])
def test_limits_of_address_space(command: str, megabytes: int, model: Path, tmp_path: Path) -> None:
    """In a new Python, since the limit counts what is loaded: done, or one sentence; never a hang or a traceback.

    Libraries in C++ (Arrow, LLVM) and glibc end the process by themselves where they cannot go on, in words of theirs.
    """
    table = tmp_path / "purchases.csv"
    table.write_text("user_id,item_id\n" + "".join(f"u{n % 40},i{n * 7 % 23}\n" for n in range(400)))
    words = command.split() + ([str(table), "--kind", "popularity"] if command == "train" else [])
    model = tmp_path / "new.recae" if command == "train" else model
    limit = megabytes << 20
    found = subprocess.run(
        [sys.executable, "-m", "recae", *words],
        env={"RECAE_MODEL": str(model), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr
    if found.returncode in (-signal.SIGABRT, 127):
        assert re.search("memory|bad_alloc", found.stderr.lower())  # the latter is what C++ calls it
        return
    assert found.returncode in (0, 2), found.stderr
    assert found.returncode == 0 or "memory" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("megabytes", [100, 196, 201, 230])
def test_with_too_little_room_for_any_command_nothing_is_begun(megabytes: int, model: Path) -> None:
    """Where Python itself runs out of memory while it imports, it may go on for ever."""
    limit = megabytes << 20
    found = subprocess.run(
        [sys.executable, "-m", "recae", "recommend", "--user", "42"],
        env={"RECAE_MODEL": str(model), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
        timeout=PATIENCE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (found.returncode, found.stdout) == (2, "")
    assert "raise the limit (ulimit -v), or use a larger machine" in found.stderr


def test_a_thread_that_is_given_up_does_not_disturb_the_end() -> None:
    """At its end Python iterates over the finalizers, of which the thread makes more all the time."""
    code = """
import sys, threading, time, weakref
from recae.signals import GIVEN_UP, leave_early
class Thing: pass
things = []
def work():
    while True:
        things.append(Thing())
        weakref.finalize(things[-1], print)
threading.Thread(target=work, name=GIVEN_UP, daemon=True).start()
time.sleep(0.2)
print("last line")
leave_early(130)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "last line\n", "")


def test_without_memory_the_process_ends_at_once() -> None:
    """Python's own end would make each finalizer fail with a line of its own."""
    code = """
import atexit, os, resource, sys
from recae.signals import leave_early
atexit.register(print, "never")
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]), resource.RLIM_INFINITY))
leave_early(2)
print("goes on")
"""
    for left, expected in ((2**20, (2, "")), (2**28, (0, "goes on\nnever\n"))):
        done = subprocess.run(
            [sys.executable, "-c", code, str(left)], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert (done.returncode, done.stdout, done.stderr) == (*expected, "")


def test_otherwise_the_process_goes_on() -> None:
    leave_early(1)
