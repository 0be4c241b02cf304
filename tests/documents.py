"""The documents: README, the pages of docs/ and the files beside them, with their blocks of code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
"""Path of a page → its text."""

BESIDE = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
}
"""Likewise of what is no page of the site."""


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def lines(text: str) -> list[str]:
    """The lines of its sh blocks, continued ones joined, without comments."""
    found = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in (line.partition(" #")[0].strip() for line in found) if line]


def commands() -> dict[str, str]:
    """Every command of the sh blocks, pipelines parted → the first page that has it."""
    found: dict[str, str] = {}
    for page, text in (PAGES | BESIDE).items():
        for line in lines(text):
            for part in line.split(" | "):
                found.setdefault(part.strip(), page)
    return found


def arguments(command: str) -> tuple[str, list[str]]:
    """The program of a command and its arguments; what starts it (python, torchrun -m) does not count."""
    program, *rest = shlex.split(command)
    if program == "python":
        program, *rest = rest
    if program == "torchrun":
        program, *rest = rest[rest.index("-m") + 1 :]
    return program, rest


def anchors(text: str) -> Iterator[str]:
    """The anchors of a page's headings, as forges make them."""
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
