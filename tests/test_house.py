"""Tests of the house: one word a concept in names and docstrings, and modules whose first line names the thing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "recae"

INSTEAD = {
    "tally": "count, or what is counted",
    "narrow": "small integers, or what is packed",
    "few": "the number, or small",
    "kept": "stored, held, cached or remaining",
    "rival": "baseline",
    "rivals": "baselines",
    "outlook": "forecast",
    "people": "users",
    "drawing": "sampling, or holding out",
    "moments": "times",
    "cores": "minimums, or processors",
    "shares": "fractions, or shards",
    "ahead": "better, or prefetched",
    "choice": "option, or what is selected",
    "leading": "of process 0, or largest",
    "heads": "output layers",
    "rebuy": "repeat purchase",
    "rebought": "repeat purchase",
}
"""Words with no meaning of their own in the field, and what the field says."""

LIBRARIES = ("Choice",)
"""Names that are not ours: click's."""

FILES = sorted(ROOT.rglob("*.py"))

_WORDS = re.compile(rf"(?<![a-z])({'|'.join(INSTEAD)})(?![a-z])", re.IGNORECASE)


def names_in(text: str) -> Iterator[tuple[int, str]]:
    """The names in a Python file, with spaces between their words, by line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string not in LIBRARIES:
            yield token.start[0], re.sub("([a-z])([A-Z])", r"\1 \2", token.string).replace("_", " ")


def docstrings_in(text: str) -> Iterator[tuple[int, str]]:
    """The docstrings in a Python file, without what they quote as code, such as names in a file format, by line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found:
                yield getattr(node, "lineno", 1), re.sub(r"`[^`]*`|\"[^\"\s]*\"", "", found)


def faults(texts: Iterator[tuple[int, str]]) -> list[str]:
    """What should be said otherwise, by line."""
    return [
        f"line {line}: say {INSTEAD[word.lower()]} instead of '{word}'"
        for line, text in texts
        for word in _WORDS.findall(text)
    ]


def test_the_check_finds_what_it_looks_for() -> None:
    text = 'class KeptItems:\n    """Of people."""\n\n    n_few = 1\n'
    assert faults(names_in(text)) == [
        "line 1: say stored, held, cached or remaining instead of 'Kept'",
        "line 4: say the number, or small instead of 'few'",
    ]
    assert faults(docstrings_in(text)) == ["line 1: say users instead of 'people'"]
    assert not faults(names_in("fewer = keptness = 1"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_the_fields(path: Path) -> None:
    assert not faults(names_in(path.read_text(encoding="utf-8")))
    assert not faults(iter([(0, path.stem.replace("_", " "))]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_speak_as_the_field_does(path: Path) -> None:
    assert not faults(docstrings_in(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_begins_by_naming_what_it_holds(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert doc, "say in the first line what this file holds"
    first = doc.splitlines()[0]
    assert first.rstrip()[-1] in ".:", "end the first line as a sentence"
    assert len(first) <= 116
