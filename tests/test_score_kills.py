"""kill -9 at random moments, many times: the old result is there or the new one, whole; resuming ends the same."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from commands import start
from scorejobs import contents

from recae.ids import IdMap
from recae.modelfile import save
from recae.models import Popularity
from recae.recommender import Recommender
from recae.scoring.manifest import MANIFEST, PLAN

USERS, ITEMS = 4000, 300

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs pidfd_open")


@pytest.fixture(scope="module")
def kills(request: pytest.FixtureRequest) -> int:
    """How many for each of the three kinds of destination."""
    return 20 if request.config.getoption("--thorough") else 4


def run(*arguments: str | Path, kill_after: float | None = None) -> int:
    """Run recae, and kill it after so many seconds; return its exit code, or -9 if it was killed."""
    process = start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.recae"
    rng = np.random.default_rng(0)
    histories = sp.random(USERS, ITEMS, density=0.02, random_state=rng, format="csr", dtype=np.float32)
    histories.data[:] = 1
    ids = IdMap([f"{n:05}" for n in range(USERS)]), IdMap([f"{n:03}" for n in range(ITEMS)])
    save(Recommender(Popularity(rng.random(ITEMS, dtype=np.float32)), *ids, None, histories), path)
    return path


def kill(
    kills: int,
    seed: int,
    command: Callable[[], list[str | Path]],
    look: Callable[[int], None],
) -> None:
    """Run commands until so many of them were killed, at moments up to a little after their end; look after each."""
    rng = random.Random(seed)
    started = time.monotonic()
    assert run(*command()) == 0
    took = time.monotonic() - started
    look(0)
    done = 0
    for _ in range(10 * kills):
        code = run(*command(), kill_after=rng.uniform(0, 1.1) * took)
        assert code in (0, -9)
        done += code == -9
        look(code)
        if done == kills:
            break
    assert done == kills


def test_one_file(kills: int, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    possible = []
    for n in (9, 10):
        assert run("score", "--model", model, "--out", out, "-n", str(n)) == 0
        possible.append(out.read_bytes())
    state = {"n": 10}

    def command() -> list[str | Path]:
        state["n"] = 19 - state["n"]
        return ["score", "--model", model, "--out", out, "-n", str(state["n"])]

    def look(code: int) -> None:
        found = out.read_bytes()
        assert found in possible
        if code == 0:
            assert found == possible[state["n"] - 9]

    kill(kills, 1, command, look)


def test_a_folder(kills: int, model: Path, tmp_path: Path) -> None:
    options = ["--shard-users", "500", "-n", "10"]
    assert run("score", "--model", model, "--out", tmp_path / "whole", *options) == 0
    whole = contents(tmp_path / "whole")
    assert len(whole) == 9
    state: dict[str, Any] = {"number": 0, "finished": 0}

    def folder() -> Path:
        return tmp_path / str(state["number"])

    def command() -> list[str | Path]:
        return ["score", "--model", model, "--out", folder(), *options, "--resume"]

    def look(code: int) -> None:
        found = contents(folder()) if folder().exists() else {}
        shown = {name: data for name, data in found.items() if not name.startswith(".") and name != PLAN}
        assert all(whole[name] == data for name, data in shown.items())
        assert shown == whole or (code != 0 and MANIFEST not in found)
        if code == 0:
            assert found == whole
            state["number"] += 1

    kill(kills, 2, command, look)
    assert run(*command()) == 0
    assert contents(folder()) == whole


def test_a_table(kills: int, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"

    def rows() -> list[Any]:
        with closing(sqlite3.connect(path)) as connection:
            run = connection.execute(
                "select users, rows from recae_runs where table_name = 'recs'"
            ).fetchall()
            return [run, connection.execute("select * from recs order by user_id, rank").fetchall()]

    def job(n: int) -> list[str | Path]:
        return ["score", "--model", model, "--out", f"sqlite:///{path}", "--table", "recs", "-n", str(n)]

    possible = []
    for n in (2, 3):
        assert run(*job(n)) == 0
        possible.append(rows())
        assert possible[-1][0] == [(USERS, len(possible[-1][1]))]
    state = {"n": 3}

    def command() -> list[str | Path]:
        state["n"] = 5 - state["n"]
        return job(state["n"])

    def look(code: int) -> None:
        found = rows()
        assert found in possible
        if code == 0:
            assert found == possible[state["n"] - 2]

    kill(kills, 3, command, look)
    assert run(*job(2)) == 0
    with closing(sqlite3.connect(path)) as connection:
        names = {
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        }
    assert names == {"recs", "recae_runs"}  # what the killed ones left is gone
