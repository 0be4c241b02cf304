"""Tests of `recae embed`: both tables as files, refusals before any work, and Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from commands import PATIENCE, names, recae, refused, start
from modelfiles import HISTORIES, ITEMS, USERS, popular, recommender
from test_embeddings import autoencoder, table

from recae.ids import IdMap
from recae.modelfile import save
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with codes; not to be changed."""
    path = tmp_path_factory.mktemp("embed") / "small.recae"
    save(recommender(model=autoencoder()), path)
    return path


@pytest.fixture(scope="module")
def slow_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of many users with long codes."""
    path = tmp_path_factory.mktemp("slow") / "slow.recae"
    users, items, factors = 200_000, 50, 400
    zeros = [np.zeros(shape, np.float32) for shape in ((items, factors), factors, (items, factors), items)]
    model = SigmoidAutoencoder(*zeros, input_power=0.5, settings={"input_power": 0.5})  # type: ignore[arg-type]
    histories = sp.csr_matrix((users, items), dtype=np.float32)
    save(
        Recommender(model, IdMap(map(str, range(users))), IdMap(map(str, range(items))), None, histories),
        path,
    )
    return path


def test_users_as_parquet(path: Path, tmp_path: Path) -> None:
    result = recae("embed", "--users", "--out", tmp_path / "u.parquet", "--model", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"wrote {len(USERS)} users of 3 numbers each to {tmp_path / 'u.parquet'}" in result.stderr
    assert pq.read_table(tmp_path / "u.parquet").equals(table("users"))
    assert names(tmp_path) == ["u.parquet"]


def test_items_as_csv(path: Path, tmp_path: Path) -> None:
    result = recae("embed", "--items", "--out", tmp_path / "i.csv", model=path)
    assert result.exit_code == 0
    assert f"wrote {len(ITEMS)} items of 3 numbers" in result.stderr
    text = pyarrow.csv.ConvertOptions(column_types={"item_id": "string", "name": "string"})
    newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(tmp_path / "i.csv", convert_options=text, parse_options=newlines)
    assert found.column_names == table("items").column_names
    assert found["item_id"].to_pylist() == ITEMS
    assert found["owners"].to_pylist() == HISTORIES.sum(axis=0).tolist()


@pytest.mark.parametrize("which", [(), ("--users", "--items")])
def test_one_of_users_and_items(which: tuple[str, ...], path: Path, tmp_path: Path) -> None:
    refused(recae("embed", *which, "--out", tmp_path / "x.csv", model=path), "exactly one of them")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("out", "part"),
    [
        ("x.json", "but is '.json'"),
        ("none/x.csv", "does not exist"),
        ("folder/", "names no file"),
        ("model.recae", "must be one of"),
    ],
)
def test_the_path_is_checked_before_the_model(out: str, part: str, tmp_path: Path) -> None:
    # no such model either: the path is what is complained about
    refused(recae("embed", "--users", "--out", f"{tmp_path}/{out}", "--model", tmp_path / "none"), part)
    assert names(tmp_path) == []


def test_a_model_that_cannot(tmp_path: Path) -> None:
    save(popular(), tmp_path / "popular.recae")
    save(recommender(model=autoencoder(), users=None, histories=None), tmp_path / "lone.recae")
    out = tmp_path / "x.csv"
    refused(
        recae("embed", "--items", "--out", out, "--model", tmp_path / "popular.recae"),
        "kind 'popularity' has none",
    )
    refused(recae("embed", "--users", "--out", out, "--model", tmp_path / "lone.recae"), "without histories")
    refused(recae("embed", "--users", "--out", out, "--model", tmp_path / "none"), "none")
    assert not out.exists()
    assert recae("embed", "--items", "--out", out, "--model", tmp_path / "lone.recae").exit_code == 0


def rows_written(folder: Path) -> bool:
    """Whether a temporary file there has rows."""
    with contextlib.suppress(FileNotFoundError):  # it went between the two looks
        return any(path.stat().st_size for path in folder.glob(".*.tmp"))
    return False


def test_ctrl_c_leaves_nothing(slow_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    out.write_text("older")
    process = start(
        "embed", "--users", "--out", out, "--model", slow_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + PATIENCE
    # an empty one is also made and removed before any work, to see that the folder can be written to
    while not rows_written(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert rows_written(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors.decode().endswith("interrupted: no partial file is left\n")
    assert names(tmp_path) == ["x.csv"]
    assert out.read_text() == "older"


def test_progress_on_a_terminal(path: Path, tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    process = start(
        "embed", "--items", "--out", tmp_path / "x.pq", "--model", path, stdout=subprocess.PIPE, stderr=inner
    )
    output, _ = process.communicate(timeout=PATIENCE)
    os.close(inner)
    shown = os.read(terminal, 65_536).decode()
    os.close(terminal)
    assert (process.returncode, output) == (0, b"")
    assert "writing items" in shown
    assert f"wrote {len(ITEMS)} items" in shown
