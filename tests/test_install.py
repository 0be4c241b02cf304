"""The pinned versions can be installed on any machine: each is one that a public package index can have."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parent.parent / "scripts" / "constraints.txt"


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
    names = [re.sub(r"[-_.]+", "-", pin.name).lower() for pin in _pins()]
    assert len(names) == len(set(names))
