"""The pinned versions can be installed on any machine, and the lock file and the page of licences are of those."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
LOCK = ROOT / "scripts" / "lock.txt"


def _pins() -> list[Requirement]:
    lines = (line.strip() for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_constraint_pins_one_version() -> None:
    for pin in _pins():
        assert [clause.operator for clause in pin.specifier] == ["=="], pin


def test_no_pin_has_a_local_version_which_public_indexes_refuse() -> None:
    for pin in _pins():
        assert not re.search(r"\+", str(pin.specifier)), f"{pin}: drop the local version after the plus sign"


def test_no_package_is_pinned_twice() -> None:
    names = [canonicalize_name(pin.name) for pin in _pins()]
    assert len(names) == len(set(names))


def _locked() -> dict[str, tuple[str, int]]:
    """Each package of the lock file: its version and how many hashes it has."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=[a-z])", LOCK.read_text(encoding="utf-8").partition("\n")[2]):
        first, _, rest = entry.partition("\n")
        pin = Requirement(first.rstrip(" \\"))
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}(?![0-9a-f])", rest)
        assert len(hashes) == rest.count("--hash"), entry
        ((version,),) = [[clause.version for clause in pin.specifier if clause.operator == "=="]]
        found[canonicalize_name(pin.name)] = version, len(hashes)
    return found


def test_the_lock_file_has_the_pinned_versions_with_hashes() -> None:
    locked = _locked()
    pins: dict[str, str] = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in _pins()}
    assert all(count for _, count in locked.values())
    assert {name: version for name, (version, _) in locked.items() if name in pins} == {
        name: version for name, version in pins.items() if name in locked
    }
    assert locked["numpy"][1] > 20  # the files of all platforms, and not of this one alone
    assert "://" not in LOCK.read_text(encoding="utf-8")


def test_the_lock_file_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    locked = _locked()
    for requirement in map(Requirement, lines):
        if requirement.name != "recae":
            version, _ = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


@pytest.mark.skipif(sys.platform != "linux", reason="the page lists the packages that Linux needs")
def test_the_page_of_licences_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "licences.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| psycopg | LGPL-3.0-only | `sql` |" in (ROOT / "docs" / "licences.md").read_text(
        encoding="utf-8"
    )
