"""Tests of the house: one word a concept in names and docstrings, and modules whose first line names the thing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
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

_PARTS = re.compile("|".join(INSTEAD), re.IGNORECASE)
"""Finds more than `_WORDS` does, so that files without any of them need not be parted into names."""


def names_in(text: str) -> Iterator[tuple[int, str]]:
    """The names in a Python file, with spaces between their words, by line."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string not in LIBRARIES:
            yield token.start[0], re.sub("([a-z])([A-Z])", r"\1 \2", token.string).replace("_", " ")


def docstrings_in(text: str) -> Iterator[tuple[int, str]]:
    """The docstrings in a Python file, that of the file first, by line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node)
            if found or isinstance(node, ast.Module):
                yield getattr(node, "lineno", 1), found or ""


def prose_in(docstrings: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Docstrings without what they quote as code, such as names in a file format."""
    return ((line, re.sub(r"`[^`]*`|\"[^\"\s]*\"", "", text)) for line, text in docstrings)


def faults(texts: Iterable[tuple[int, str]]) -> list[str]:
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
    assert faults(prose_in(docstrings_in(text))) == ["line 1: say users instead of 'people'"]
    assert not faults(names_in("fewer = keptness = 1"))


# each over all files in one test, since there are hundreds of them, which are read in a moment


@pytest.fixture(scope="module")
def docstrings() -> dict[str, list[tuple[int, str]]]:
    """Those of each file, by its path."""
    return {name: list(docstrings_in(text)) for name, text in texts()}


def texts() -> Iterator[tuple[str, str]]:
    """The path and the text of each file."""
    return ((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in FILES)


def test_names_are_the_fields() -> None:
    found = {name: faults(names_in(text)) for name, text in texts() if _PARTS.search(text)}
    assert {name: said for name, said in found.items() if said} == {}
    stems = {str(path.relative_to(ROOT)): [(0, path.stem.replace("_", " "))] for path in FILES}
    assert [name for name, stem in stems.items() if faults(stem)] == []


def test_docstrings_speak_as_the_field_does(docstrings: dict[str, list[tuple[int, str]]]) -> None:
    found = {name: faults(prose_in(texts)) for name, texts in docstrings.items()}
    assert {name: said for name, said in found.items() if said} == {}


def test_a_file_begins_by_naming_what_it_holds(docstrings: dict[str, list[tuple[int, str]]]) -> None:
    firsts = {name: text.splitlines()[0] if text else "" for name, [(_, text), *_] in docstrings.items()}
    assert [name for name, first in firsts.items() if not first] == [], (
        "say in the first line what this holds"
    )
    assert [name for name, first in firsts.items() if first and first.rstrip()[-1] not in ".:"] == [], (
        "end the first line as a sentence"
    )
    assert [name for name, first in firsts.items() if len(first) > 116] == []
