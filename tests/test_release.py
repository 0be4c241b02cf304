"""Tests of a release: one version, what is in a wheel and a source distribution, and what an index says to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, SAMPLE

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_version_is_said_once() -> None:
    version = PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    # the newest release of the changelog is the one that would be built
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] – (\d{4}-\d\d-\d\d)$", CHANGELOG, re.MULTILINE)
    assert released[0][0] == version
    assert len(released) == len(set(released))
    for path in [*(ROOT / "recae").rglob("*.py"), ROOT / "setup.py"]:
        assert version not in path.read_text(encoding="utf-8"), path


def test_what_an_index_shows() -> None:
    pythons = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)}
    assert pythons <= set(PROJECT["classifiers"])
    assert "Operating System :: OS Independent" in PROJECT["classifiers"]
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(PROJECT["urls"])
    assert (ROOT / PROJECT["readme"]).is_file()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source distribution, and with the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    copy = _clone(tmp_path_factory.mktemp("clone") / "recae")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def _clone(copy: Path) -> Path:
    """What git knows, but for tests and documents, as files of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("tests/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.mark.thorough
def test_a_wheel_is_the_same_whoever_builds_it(tmp_path: Path) -> None:
    wheels = []
    for name, umask, day in (("a", 0o002, 1), ("b", 0o077, 9)):
        copy = _clone(tmp_path / name / "recae")
        for number, path in enumerate(sorted(copy.rglob("*"), reverse=name == "b")):
            if path.is_file():
                path.chmod(0o666 & ~umask)
                os.utime(path, (10**9 + day * 86_400 + number,) * 2)
        command = [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path / name),
            str(copy),
        ]
        environment = os.environ | {"SOURCE_DATE_EPOCH": "1800000000", "PYTHONHASHSEED": str(day)}
        subprocess.run(command, check=True, capture_output=True, env=environment, umask=umask)
        (wheel,) = (tmp_path / name).glob("*.whl")
        wheels.append((wheel.name, wheel.read_bytes()))
    assert wheels[0] == wheels[1]


@pytest.mark.thorough
def test_the_wheel_holds_the_sample_and_all_that_is_no_python(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 3 * 2**20
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert file.read("recae/sample/purchases.csv") == SAMPLE.read_bytes()
        metadata = file.read(f"recae-{PROJECT['version']}.dist-info/METADATA").decode()
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "recae").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= names
    assert f"Version: {PROJECT['version']}\n" in metadata


@pytest.mark.thorough
def test_the_source_distribution_can_be_built_from(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"data/purchases.csv", "scripts/constraints.txt", "LICENSE", "CHANGELOG.md", "README.md"} <= names


@pytest.mark.thorough
def test_an_index_would_take_them(built: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("PASSED") == 2
