"""Tests of compiled loops: the folder that they are stored in, what is not trusted, and damaged or missing files."""

from __future__ import annotations

import ast
import logging
import os
import pkgutil
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, table

from recae import loop_folder, loops
from recae.loop_folder import MODULES, SOURCES, Folders, folders
from recae.loops import Loop
from recae.machine import user_cache

NOBODY = 65534


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the folder be chosen anew, with nothing asked for and a home of the test's own."""
    for name in ("NUMBA_CACHE_DIR", "RECAE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(loop_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(loops, "_given_up", set())
    monkeypatch.setattr(loops, "_said", set())
    for chosen in (folders, loop_folder._name):
        chosen.cache_clear()
    yield
    for chosen in (folders, loop_folder._name):
        chosen.cache_clear()


def again() -> Folders:
    """Choose once more, as a later process does."""
    folders.cache_clear()
    return folders()


def private(tmp_path: Path) -> Path:
    """Where loops go for want of anything better."""
    return tmp_path / f"recae-loops-{os.getuid()}" / loop_folder._name()


# the folder


def test_the_folder_that_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = again()
    assert found.read == (found.write,)
    assert found.write == tmp_path / "home/.cache/recae/loops" / loop_folder._name()
    assert found.warning == ""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert again().write == tmp_path / "caches/recae/loops" / loop_folder._name()
    monkeypatch.setenv("RECAE_CACHE", str(tmp_path / "own"))
    assert again().write == tmp_path / "own/loops" / loop_folder._name()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert again().write == tmp_path / "numba" / loop_folder._name()
    assert again().write.stat().st_mode & 0o022 == 0  # type: ignore[union-attr]


def test_the_cache_of_a_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert user_cache() == tmp_path / "home/Library/Caches/recae"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert user_cache() == tmp_path / "local/recae"


def test_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert user_cache() is None
    found = again()
    assert found == Folders((private(tmp_path),), private(tmp_path), found.warning)
    assert found.warning.startswith(f"compiled loops are stored in '{private(tmp_path)}' for now")
    assert "RECAE_CACHE" in found.warning
    assert (tmp_path / f"recae-loops-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr(loop_folder.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    found = again()
    assert (found.read, found.write) == ((), None)
    assert found.warning.startswith("compiled loops are not stored, and compiled again by the next run: ")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("below", [False, True])
def test_a_folder_that_others_can_write_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, below: bool
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "shared"))
    open_to_all = (tmp_path / "shared" / loop_folder._name()) if below else tmp_path / "shared"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(mode)
    with caplog.at_level(logging.INFO, "recae"):
        found = again()
    assert found.write == tmp_path / "home/.cache/recae/loops" / loop_folder._name()
    assert open_to_all not in [*found.read, *(folder.parent for folder in found.read)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"'{tmp_path / 'shared'}' is not used: others may write to it" in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
def test_a_folder_of_another_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    (tmp_path / "link").symlink_to(tmp_path / "numba")
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    (tmp_path / "numba").mkdir()
    for asked in (theirs, tmp_path / "link"):
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(asked))
        assert again().write == tmp_path / "home/.cache/recae/loops" / loop_folder._name()
    # one of that name was made by somebody before
    os.chown(tmp_path, NOBODY, NOBODY)
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("HOME", str(theirs))
    (theirs / ".cache/recae/loops").mkdir(parents=True)
    os.chown(theirs / ".cache/recae/loops", NOBODY, NOBODY)
    assert again().write == private(tmp_path)
    os.chown(private(tmp_path).parent, NOBODY, NOBODY)
    assert again().write is None


def test_a_folder_that_may_only_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "image"))
    image, own = again().write, tmp_path / "home/.cache/recae/loops" / loop_folder._name()
    access = os.access
    monkeypatch.setattr(loop_folder.os, "access", lambda path, mode: path != image and access(path, mode))
    assert again() == Folders((image, own), own)  # type: ignore[arg-type]


def test_folders_of_other_versions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    for days, name in ((40, "old"), (9, "a"), (1, "b"), (8, "c"), (2, "d"), (3, "e")):
        folder = tmp_path / "numba" / f"loops-{name}"
        folder.mkdir(parents=True)
        os.utime(folder, times=(0, time.time() - days * 86400))
    (tmp_path / "numba" / "somebody's").mkdir()
    own = again().write
    left = {path.name for path in (tmp_path / "numba").iterdir()}
    assert left == {"somebody's", "loops-b", "loops-c", "loops-d", "loops-e", own.name}  # type: ignore[union-attr]


def test_every_version_has_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {loop_folder._name()}
    read = pkgutil.get_data

    def differs() -> None:
        loop_folder._name.cache_clear()
        assert loop_folder._name() not in seen
        seen.add(loop_folder._name())

    for module in SOURCES:
        changed = module.removeprefix("recae.").replace(".", "/") + ".py"
        monkeypatch.setattr(
            pkgutil,
            "get_data",
            lambda package, name, changed=changed: (read(package, name) or b"") + b"#" * (name == changed),
        )
        differs()
    monkeypatch.setattr(loop_folder, "installed", lambda name: "1.0" if name == "numba" else None)
    differs()
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    differs()


def test_what_is_compiled_lies_in_the_modules_that_name_the_folder() -> None:
    """Constants and loops of another module would be compiled into a loop, and change without its folder."""
    for path in sorted((ROOT / "recae").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text if "@loop" in text else "")
        compiled = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and any(ast.unparse(d).partition("(")[0] == "loop" for d in node.decorator_list)
        ]
        assert bool(compiled) == (module in MODULES), module
        assert "njit(" not in text or module == "recae.loops", module  # numba's own would not be stored here
        origin = {
            alias.asname or alias.name: node.module
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for function in compiled:
            for statement in function.body:
                for name in (n.id for n in ast.walk(statement) if isinstance(n, ast.Name)):
                    found = origin.get(name, module)
                    assert not (found or "").startswith("recae") or found in SOURCES, (module, name)


# the files


def total(values, start):
    """Return the sum of the values from `start` on."""
    found = 0.0
    for i in range(start, len(values)):
        found += values[i]
    return found


def run() -> tuple[float, int]:
    """Return what the loop gives in what is like a new process, and how many loops were compiled."""
    before = loops.COMPILING.loops
    found = Loop(total, {})(np.arange(5.0), 2)
    return found, loops.COMPILING.loops - before


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of that loop."""
    monkeypatch.setenv("RECAE_CACHE", str(tmp_path / "own"))
    assert run() == (9, 1)
    assert run() == (9, 0)
    (file,) = (tmp_path / "own").rglob("*.loop")
    return file


def test_a_damaged_file_is_compiled_again(stored: Path) -> None:
    whole = stored.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", b"garbage", whole[:40], whole[:-1], bytes(flipped)):
        stored.write_bytes(content)
        assert run() == (9, 1)
        assert stored.read_bytes()[32:] != content[32:]
        assert run() == (9, 0)


def test_a_whole_file_that_holds_something_else(stored: Path) -> None:
    loops._write(stored, b"no pickle")
    assert run() == (9, 1)
    loops._write(stored, b"\x80\x04K\x05.")  # the number 5
    assert run() == (9, 1)
    assert run() == (9, 0)


@pytest.mark.parametrize("mode", [0o666, 0o1666])  # the sticky bit protects folders, not files
def test_a_file_that_others_can_write_to(stored: Path, mode: int) -> None:
    stored.chmod(mode)
    assert run() == (9, 1)
    assert stored.stat().st_mode & 0o022 == 0
    assert run() == (9, 0)


def test_a_folder_that_is_gone(stored: Path) -> None:
    shutil.rmtree(stored.parent)
    assert run() == (9, 1)
    assert run() == (9, 0)


def test_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("RECAE_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr(Path, "replace", full)
    with caplog.at_level(logging.INFO, "recae"):
        assert run() == (9, 1)
        assert run() == (9, 1)
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        f"warning: compiled loops cannot be stored in '{folders().write}' (No space left on device); the next run "
        "compiles them again"
    ]
    assert [path for path in (tmp_path / "own").rglob("*") if path.is_file()] == []


def test_where_nothing_can_be_stored_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loops, "folders", lambda: Folders((), None, "compiled loops are not stored"))
    with caplog.at_level(logging.INFO, "recae"):
        assert run() == (9, 1)
        assert run() == (9, 1)
    assert [r.message for r in caplog.records].count("compiled loops are not stored") == 1


# whole commands where little may be written

ALONE = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt -o size=2m
mount -o remount,ro,bind /
mount -t tmpfs tmpfs "${SCRATCH:-/tmp}" -o size=64m
export TMPDIR="${SCRATCH:-/tmp}" PYTHONDONTWRITEBYTECODE=1
if touch /written /var/tmp/written 2>/dev/null; then echo "the root can be written to"; exit 9; fi
"""


def alone(script: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a namespace of its own, with a read-only root."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("namespaces are not allowed here")
    env = {
        k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "RECAE_CACHE", "XDG_CACHE_HOME")
    }
    return subprocess.run(
        ["unshare", "-rm", "sh"], input=ALONE + script, capture_output=True, text=True, check=False, cwd="/",
        env=env | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"} | environment,
    )  # fmt: skip


@pytest.fixture
def purchases() -> Iterator[Path]:
    """Purchases outside the folders that are covered there."""
    held = Path("/var/tmp") / f"recae-test-{os.getpid()}.csv"
    held.write_text(table())
    yield held
    held.unlink()


# what numpy does sooner than a loop is compiled for, such as few lists, it does
TRAIN = (
    '"$PYTHON" -m recae train "$PURCHASES" --kind sigmoid --factors 4 --epochs 1 --out "$TMPDIR/m.recae" >/dev/null '
    '&& wc -c <"$TMPDIR/m.recae"\n'
)


@pytest.mark.thorough
def test_a_read_only_root_and_no_home(purchases: Path, tmp_path: Path) -> None:
    found = alone(TRAIN * 2, tmp_path, PURCHASES=str(purchases))
    assert found.returncode == 0, found.stderr
    first, second = found.stdout.split()
    assert first == second
    assert found.stderr.count("compiled loops are stored in '/tmp/recae-loops-0/loops-") == 1
    assert found.stderr.count("compiling the loops") == 1  # the second run has them


@pytest.mark.thorough
def test_a_full_file_system_of_loops(purchases: Path, tmp_path: Path) -> None:
    script = "mkdir /mnt/loops; cat /dev/zero >/mnt/zeros 2>/dev/null || true\n" + TRAIN
    found = alone(script, tmp_path, PURCHASES=str(purchases), RECAE_CACHE="/mnt")
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("No space left on device") == 1
    assert "Traceback" not in found.stderr


AS_NOBODY = """
import logging, os, sys
import numba, numpy as np
from recae.compiled import fetch_row
from recae.compiling import COMPILING
from recae.loop_folder import folders
fetch_row(np.ones((2, 3)), 0)
COMPILING.loops = 0
fetch_row._compiled = None
os.setgid(65534), os.setuid(65534)
folders.cache_clear()
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
fetch_row(np.ones((2, 3)), 0)
print(folders().write, COMPILING.loops)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
def test_another_user(tmp_path: Path) -> None:
    """The folder of root may not be looked into, there is no home, and Python itself may be out of reach."""
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "all").mkdir()
    for folder in (
        tmp_path,
        *tmp_path.parents,
    ):  # those of pytest, of which it depends on xdist how many there are
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o711)
    (tmp_path / "all").chmod(0o1777)
    found = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=False, cwd=ROOT,
        env=os.environ
        | {"NUMBA_CACHE_DIR": str(tmp_path / "mine"), "HOME": "/nonexistent", "TMPDIR": str(tmp_path / "all")},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    *said, last = found.stdout.splitlines()
    expected = tmp_path / "all/recae-loops-65534" / loop_folder._name()
    assert last == f"{expected} 1"
    assert f"'{tmp_path / 'mine'}' is not used" in said[0]
    assert f"compiled loops are stored in '{expected}' for now: " in said[-1]
