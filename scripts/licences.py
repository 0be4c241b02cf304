#!/usr/bin/env python3
"""Writes docs/licences.md: the licences of all packages that recae brings, from what is installed in `.venv`.

.venv/bin/python scripts/licences.py           writes the page
.venv/bin/python scripts/licences.py --check   says whether it is up to date
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
NOT_SHIPPED = ("dev", "docs")  # extras for those who work on recae
# torch brings them on some machines, and those of a CPU build do not
HARDWARE = re.compile(r"nvidia-.*|cuda-.*|triton|pytorch-triton.*|intel-.*")
BEFORE = """\
recae is under the MIT licence. These packages come with it, in the words in which each names its own licence. The
last column says what brings a package: every installation, or an [extra](install.md#extras). `psycopg`, which speaks
to PostgreSQL, is under the LGPL, and comes with the extra `sql` only. On Linux the public build of torch also brings
NVIDIA's libraries, which have terms of their own. fastapi-offline holds Swagger UI (Apache-2.0) and Redoc (MIT).

`scripts/licences.py` writes this page from what is installed on Linux. `scripts/lock.txt` lists all packages of the
development environment, with the hashes of their files."""
# what a package says of itself, where that is no name of a licence
SPELLED = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache-2.0 License": "Apache-2.0",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}


def licence(found: Distribution) -> str:
    """The licence of an installed package: its expression, else what its classifiers say, else its own words."""
    meta = found.metadata
    if expression := meta.get("License-Expression"):
        return expression
    classified = [
        SPELLED.get(last, last)
        for value in meta.get_all("Classifier") or []
        if value.startswith("License ::") and (last := value.rpartition(" :: ")[2]) != "OSI Approved"
    ]
    if classified:
        return ", ".join(dict.fromkeys(classified))
    words = (meta.get("License") or "").strip().splitlines()
    first = words[0].strip() if words else ""
    return SPELLED.get(first, first) or "not said"


def required(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """What a package with these extras requires here."""
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in extras or {""}
        ):
            yield requirement


def brought(first: list[Requirement]) -> set[str]:
    """All packages that requirements bring, by name; what is not installed is for other platforms."""
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [(canonicalize_name(one.name), frozenset(one.extras)) for one in first]
    while left:
        name, extras = left.pop()
        if (name, extras) in seen or HARDWARE.fullmatch(name):
            continue
        try:
            more = [*required(name), *(required(name, extras) if extras else ())]
        except PackageNotFoundError:
            continue
        seen.add((name, extras))
        left += [(canonicalize_name(one.name), frozenset(one.extras)) for one in more]
    return {name for name, _ in seen}


def page() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    shipped = [one for extra, lines in extras.items() if extra not in NOT_SHIPPED for one in lines]
    for one in map(Requirement, [*project["dependencies"], *shipped]):
        try:
            distribution(one.name)
        except PackageNotFoundError:
            sys.exit(f"licences: {one.name} is not installed; run scripts/setup")
    wanted = {name: ["always"] for name in brought([Requirement(one) for one in project["dependencies"]])}
    for extra, lines in sorted(extras.items()):
        for name in brought([Requirement(one) for one in lines]) if extra not in NOT_SHIPPED else ():
            if wanted.get(name) != ["always"]:
                wanted.setdefault(name, []).append(f"`{extra}`")
    rows = [
        f"| {name} | {licence(distribution(name))} | {', '.join(with_)} |"
        for name, with_ in sorted(wanted.items())
    ]
    head = f"""# Licences

{BEFORE}

| package | licence | comes with |
|---|---|---|
"""
    return head + "\n".join(rows) + "\n"


def main() -> None:
    text = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text(encoding="utf-8") != text:
            sys.exit("licences: docs/licences.md is out of date; run .venv/bin/python scripts/licences.py")
    elif sys.argv[1:]:
        sys.exit(f"licences: --check or nothing is wanted, found {' '.join(sys.argv[1:])!r}")
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
