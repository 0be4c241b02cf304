"""Mutants of model files, checkpoints, tables and requests: an answer or one sentence, as `scripts/fuzz` tries it."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from commands import ROOT

sys.path.append(str(ROOT / "scripts"))

import fuzzing

import recae
from recae.errors import RecaeError
from recae.reading.matrix import load_matrix

QUICK = {"model": 80, "checkpoint": 60, "table": 40, "request": 20}


@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_some_mutants(kind: str) -> None:
    assert fuzzing.run(kind, range(QUICK[kind]), 1) == {}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_a_thousand_mutants(kind: str) -> None:
    assert fuzzing.run(kind, range(250), 2) == {}


@pytest.mark.thorough
def test_what_is_found_is_kept(tmp_path: Path) -> None:
    """A mutant that ends its process is noted; those before it are not lost, and those after it are tried."""
    code = (
        "import os, sys; sys.path.append('scripts'); import fuzzing; whole = fuzzing._ready\n"
        "from contextlib import contextmanager\n"
        "@contextmanager\n"
        "def ready(kind, folder):\n"
        "    def use(data, folder):\n"
        "        if data[0] == 3: os.abort()\n"
        "        if data[0] == 1: raise ValueError('earlier')\n"
        "        if data[0] == 5: raise ValueError('traceback')\n"
        "    yield [b'x'], use, lambda data, rng: bytes([numbers.pop(0)])\n"
        "numbers = list(range(int(sys.argv[3]), 9)) if '--batch' in sys.argv else []\n"
        "fuzzing._ready = ready; fuzzing.BATCH = 8; fuzzing.__file__ = sys.argv[0]; fuzzing.main()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    found = subprocess.run(
        [sys.executable, script, "--kind", "model", "--mutants", "8", "--keep", tmp_path / "found"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.returncode == 1
    assert "8 mutants" in found.stdout
    assert found.stdout.endswith("3 found\n")
    kept = {path.name: path.read_text() for path in (tmp_path / "found").glob("*.txt")}
    assert sorted(kept) == ["model-0-1.txt", "model-0-3.txt", "model-0-5.txt"]
    assert "ended its process" in kept["model-0-3.txt"]
    assert "ValueError: traceback" in kept["model-0-5.txt"]
    bytes_of = {path.stem: path.read_bytes() for path in (tmp_path / "found").glob("*.bin")}
    assert bytes_of == {f"model-0-{number}": bytes([number]) for number in (1, 3, 5)}


@pytest.mark.parametrize(
    ("symmetry", "field"),
    [
        *product(("general", "symmetric"), ("pattern", "real", "integer")),
        *product(("skew-symmetric",), ("real", "integer")),  # the format knows no patterns of these
    ],
)
def test_matrix_market_is_read_as_scipy_reads_it(symmetry: str, field: str, tmp_path: Path) -> None:
    half = np.tril(np.random.default_rng(0).integers(0, 4, (6, 6)))
    if symmetry == "skew-symmetric":
        np.fill_diagonal(half, 0)
    dense = (
        half
        if symmetry == "general"
        else half + (half.T - np.diag(np.diag(half)) if symmetry == "symmetric" else -half.T)
    )
    path = tmp_path / "x.mtx"
    scipy.io.mmwrite(path, sp.coo_matrix(dense), field=field, symmetry=symmetry, comment="a ☕\nof 2 lines")
    np.testing.assert_array_equal(
        load_matrix(path, "x", market=True).toarray(), scipy.io.mmread(path).toarray()
    )


def test_dense_and_empty_matrix_market(tmp_path: Path) -> None:
    path = tmp_path / "x.mtx"
    dense = np.arange(6.0).reshape(2, 3)
    scipy.io.mmwrite(path, dense)
    np.testing.assert_array_equal(load_matrix(path, "x", market=True).toarray(), dense)
    scipy.io.mmwrite(path, sp.coo_matrix((3, 4)))
    assert load_matrix(path, "x", market=True).shape == (3, 4)


START = "%%MatrixMarket matrix coordinate pattern general\n"
BODIES = [
    "4 5 3\n1 2\n3 4\0\0\0", "4 5 3\n1 2\n3 4 ", "4 5 1\n5 1\n", "4 5 1\n0 1\n", "4 5 1\n1.5 1\n", "4 5 1\nnan 1\n",
    "4 5 1\n1 1 1\n", "4 5 99999999999\n1 1\n", "-4 5 1\n1 1\n", "4 5\n1 1\n", "x", "", "4 5 2\n1 2\n1 " + "9" * 400,
]  # fmt: skip
HEADS = [
    ("pattern", "complex", "1 1 0"),
    ("coordinate", "array", "2147483647 2147483647\n1"),
    ("general", "odd", "1 1 0"),
]


@pytest.mark.parametrize(
    "content", [START + body for body in BODIES] + [START.replace(a, b) + c for a, b, c in HEADS]
)
def test_damaged_matrix_market(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mtx"
    path.write_text(content)
    with pytest.raises(RecaeError, match="is not a sparse users × items matrix"):
        recae.read(path)
