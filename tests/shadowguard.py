"""The library that torch finds in place of a GPU, see `shadowdevice`: compiled once for a version of torch."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


class NoGuardError(Exception):
    """Why it cannot be compiled here."""


def torch_folder() -> Path:
    """Return where torch is installed, without importing it."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        raise NoGuardError("torch is not installed")
    return Path(found.origin).parent


def built_guard() -> Path:
    """Return the library; compile it where it is not yet.

    Raises:
        NoGuardError: there is no compiler, or it does not compile.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        raise NoGuardError("there is no C++ compiler (g++)")
    source = Path(__file__).with_name("shadow_guard.cpp")
    name = hashlib.sha256(source.read_bytes() + f"{version('torch')} {compiler}".encode()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"recae-shadow-{os.getuid()}" / f"guard-{name}.so"
    if built.exists():
        return built
    built.parent.mkdir(mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as beside:
        made = Path(beside) / "guard.so"
        flags = ["-O1", "-shared", "-fPIC", "-std=c++20", f"-I{torch_folder() / 'include'}"]
        done = subprocess.run(
            [compiler, *flags, str(source), "-o", str(made)], capture_output=True, text=True
        )
        if done.returncode:
            raise NoGuardError(f"the guard does not compile: {done.stderr[-300:]}")
        made.replace(built)
    return built
