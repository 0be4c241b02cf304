"""Hostile models, queries, patterns and environment variables: one sentence each, and nothing made or given away."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from commands import ROOT, recae
from modelfiles import HISTORIES, METADATA, popular, recommender, saved

import recae as package
from recae.cli.inspect import settings_toml
from recae.errors import ModelFileError, RecaeError
from recae.insight.explain import explain
from recae.models import ALS, BPR
from recae.models.factorisation import PRECISION, _gradient, _minimise

MATRIX = sp.csr_matrix(HISTORIES)


def als(factors: list[list[float]], regularization: float = 1e-9) -> ALS:
    return ALS(np.array(factors, np.float32), regularization, 40.0, {})


@pytest.mark.parametrize("size", [1.0, 1e10, 1e18, 1e30, 3e38])
def test_als_of_a_singular_matrix(size: float) -> None:
    """Equal vectors of any size: the regularisation is lost in rounding. A finite score, or a sentence."""
    model = als([[size, size, size]] * 5)
    try:
        scores = model.score(MATRIX)
        model.contributions(MATRIX[0], np.arange(5))
    except ModelFileError:
        return
    assert scores.shape == (4, 5)
    assert np.isfinite(als([[1.0, 1.0, 1.0]] * 5).score(MATRIX)).all()


def test_als_falls_back_to_the_shortest_solution() -> None:
    ones = als([[1.0, 1.0]] * 5, 1e-30)
    gram = np.ones((2, 2)) * (5 + 39 * 3)
    expected = np.linalg.lstsq(gram, np.full(2, 3.0), rcond=None)[0] * 40 @ np.ones(2)
    np.testing.assert_allclose(ones.score(MATRIX)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e5, 1e19, 3e38])
def test_bpr_gives_up_on_numbers_with_which_nothing_can_be_computed(
    size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gradient goes over all pairs: their number is bounded by what leads somewhere."""
    rng = np.random.default_rng(0)
    calls = 0
    whole = _gradient.py_func

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return whole(*arguments)

    monkeypatch.setitem(_minimise.py_func.__globals__, "_gradient", counted)
    A, B = (rng.choice([-size, size], (n, 8)) for n in (3, 5))
    with np.errstate(all="ignore"):
        p = _minimise.py_func(A, B, np.zeros(3), np.zeros(5), 0.01)
        start = np.linalg.norm(whole(A, B, np.zeros(3), np.zeros(5), 0.01, np.zeros(8))[1])
        end = np.linalg.norm(whole(A, B, np.zeros(3), np.zeros(5), 0.01, p)[1])
    assert calls < 200
    assert size > 1e5 or end <= max(PRECISION * start * 10, 1e-6)
    monkeypatch.undo()
    model = BPR(np.full((5, 8), size, np.float32), np.zeros(5, np.float32), np.array([1, 3]), 0.01, {})
    assert model.score(MATRIX).shape == (4, 5)


def test_a_score_that_is_no_number_is_not_explained() -> None:
    model = als([[3e38, -3e38]] * 5, 1.0)
    with pytest.raises(ModelFileError, match="train the model again"):
        explain(recommender(model=model), MATRIX[0], [1], np.array([np.nan], np.float32))


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("depth", [50, 900, 5_000])
def test_metadata_nested_deep(depth: int, tmp_path: Path) -> None:
    saved(tmp_path, popular(metadata=METADATA))
    path = tmp_path / "saved.recae"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = "{" + '"a":{' * depth + "}" * depth + "}"
    header["__metadata__"]["recae"] = header["__metadata__"]["recae"].replace("{", f'{{"deep":{text},', 1)
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data[8 + length :])
    for arguments in (
        ["inspect"],
        ["inspect", "--json"],
        ["inspect", "--toml"],
        ["recommend", "--user", "42"],
    ):
        result = recae(*arguments, model=path)
        assert result.exit_code == (0 if depth == 50 else 2)
        assert (
            depth == 50 or "nested more than 100 deep" in result.stderr or "not valid JSON" in result.stderr
        )


def test_toml_of_hostile_keys_and_values() -> None:
    bad = "\x1b[2J\x9b1m\u202e\U000e0001\n\ud800 = 1"
    text = settings_toml("ease", {"l2": bad}, {bad: bad, "fine": ["a", bad]}, {"x.y": 1})
    assert text.replace("\n", "").isprintable()
    assert "\ufffd" in str(tomllib.loads(text))
    assert tomllib.loads(text)["filters"]["fine"][0] == "a"


QUERIES = [
    "ATTACH 'made.db' AS x", "VACUUM INTO 'made.db'", "VACUUM main INTO 'made.db'", "VACUUM",
    "ATTACH 'made.db' AS x; select * from p", "select 1; VACUUM INTO 'made.db'", "PRAGMA journal_mode = wal",
    "PRAGMA query_only = 0", "PRAGMA writable_schema = 1", "PRAGMA user_version = 7", "create table x (a)",
    "COPY (select 1) TO 'made.csv'", "EXPORT DATABASE 'made'", "insert into p values (1, 2)", "delete from p",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.some(5)
def test_queries_make_and_change_nothing(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("s.db") as shop:
        shop.execute("create table p (user_id, item_id)")
        shop.executemany("insert into p values (?, ?)", [(f"u{n % 5}", f"i{n % 7}") for n in range(50)])
    shop.close()
    Path("p.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for source in ("s.db", "sqlite:///s.db", "p.csv"):
        with pytest.raises(RecaeError):
            package.read(source, query=query)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


SECRETS = [
    "postgresql:/me:hunter2@host/shop", "postgres//me:hunter2@host", " postgresql://me:hunter2@host/x", "hunter2",
    "me:hunter2@host/shop", '"postgresql://me:hunter2@localhost:1/shop"', "postgresql//me:hunter2@host/a.csv",
    "mysql:\\\\me:hunter2@host", "/no/hunter2.csv", "hunter2*", "hunter2/**/x", "postgresql;//me:hunter2@host/[x",
    "postgresql://me:hunter2@localhost:1/x", "gopher://me:hunter2@host/x", "postgresql://me@localhost:1/x?password=hunter2",
    "postgresql://me:hunter2@localhost:port/x", "hunter2\x00", "hunter2\udcff",
]  # fmt: skip


@pytest.mark.parametrize("value", SECRETS)
@pytest.mark.some(6)
def test_the_value_of_an_environment_variable_is_never_printed(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ, "SHOP": value})
    for what in (lambda: package.read("env:SHOP", table="p"), lambda: package.read("env:SHOP")):
        with pytest.raises(RecaeError) as caught:
            what()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__context__ is None or caught.value.__suppress_context__ or "://" in value


@pytest.mark.parametrize(
    "given", ["env: SHOP", "env:$SHOP", "env:SHOP:x", "ENV:SHOP", "env:{SHOP}", "env:SHOP/x", "env:"]
)
def test_malformed_names_of_variables(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP", "hunter2")
    with pytest.raises(RecaeError) as caught:
        package.read(given)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern", ["loop", "loop/**", "loop/**/*.csv", "loop/*", "loo*/**", "**", "**/*.csv"]
)
def test_patterns_end_in_a_looped_folder(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop/a").mkdir(parents=True)
    Path("loop/a/x.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\n")
    Path("loop/a/up").symlink_to("..")
    with pytest.raises(RecaeError, match="holds itself by a symbolic link; remove the link"):
        package.read(pattern)


@pytest.mark.parametrize("pattern", ["loop", "loop/**/*.csv", "**/*.csv"])
def test_folders_that_hold_each_other(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file would be read some 40 times, as often as Linux follows links."""
    monkeypatch.chdir(tmp_path)
    Path("loop/a").mkdir(parents=True)
    Path("loop/b").mkdir()
    Path("loop/a/x.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\n")
    Path("loop/a/other").symlink_to("../b")
    Path("loop/b/other").symlink_to("../a")
    with pytest.raises(RecaeError, match="holds itself by a symbolic link; remove the link"):
        package.read(pattern)


def test_a_link_to_a_folder_beside_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one").mkdir()
    Path("two").mkdir()
    Path("one/x.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\n")
    Path("two/other").symlink_to("../one")
    Path("two/.hidden").symlink_to("..")
    assert package.read("two/**/*.csv").interactions.matrix.nnz == 2


@pytest.mark.thorough
def test_a_line_without_end_behind_a_stray_quote_takes_little_memory(tmp_path: Path) -> None:
    """In a new Python, whose peak counts: 256 MiB in one line, refused with less than half of that."""
    path = tmp_path / "quote.csv"
    rows = "".join(f"u{n % 50},i{n % 70}\n" for n in range(3000))
    with path.open("w") as file:
        file.write(f'user_id,item_id\n{rows}u1,"i1')
        for _ in range(256):
            file.write("x" * 2**20)
        file.write(f"\n{rows}")
    code = """
import resource, sys
import recae
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
recae.read([("a", "b"), ("c", "d")])
before = peak()
try:
    recae.read(sys.argv[1])
except recae.errors.RecaeError as error:
    print(error)
print(peak() - before)
"""
    found = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    said, grown = found.stdout.splitlines()
    assert "has a line of more than 16 MiB" in said
    assert int(grown) < 128 * 2**10


def test_an_empty_path_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\n")
    for result in (recae("train", ""), recae("doctor", ""), recae("evaluate", "")):
        assert result.exit_code == 2
        assert "error: " in result.stderr
        assert "reading" not in result.stderr
