"""How much memory a process may still take: the machine, a container's control group, and the process's own limits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recae.memory import available, control_group_left, free_memory, limits_left


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "max", "memory.current": "5"}, None),
        ({"memory.max": "1000", "memory.current": "300"}, 700),
        ({"memory.max": "1000", "memory.current": "300", "memory.stat": "anon 1\ninactive_file 100\n"}, 800),
        ({"memory/memory.limit_in_bytes": "50", "memory/memory.usage_in_bytes": "70"}, 0),
        ({"memory/memory.limit_in_bytes": str(2**63), "memory/memory.usage_in_bytes": "70"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container(files: dict[str, str], expected: int | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert control_group_left(tmp_path) == expected


def test_memory_that_is_available_is_read(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 10 kB\nMemAvailable:   4 kB\n")
    assert available(meminfo) == 4096
    assert (available(tmp_path / "none") or 0) > 0
    assert (free_memory() or 0) > 0


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_the_process(name: str) -> None:
    """What is left shrinks by what is taken; the limit itself is never exceeded."""
    code = (
        "import resource; from recae.memory import limits_left; assert limits_left() is None; "
        f"resource.setrlimit(resource.{name}, (2**31, resource.RLIM_INFINITY)); before = limits_left(); "
        "taken = bytearray(2**28); print(before, before - limits_left())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, shrunk = map(int, found.stdout.split())
    assert 2**30 < before < 2**31
    assert 2**28 <= shrunk < 2**28 + 2**24


def test_without_a_limit_nothing_is_said(tmp_path: Path) -> None:
    assert limits_left(tmp_path / "none") is None
