"""Tests of the command line through real files: results, pipes, terminals, refusals, and signals."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from commands import PATIENCE, ROOT, recae, refused, start

from recae.cli import output
from recae.cli.handler import listening
from recae.ids import IdMap
from recae.modelfile import save
from recae.models import Popularity
from recae.recommender import Recommender


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with minutes of scoring in it."""
    path = tmp_path_factory.mktemp("slow") / "slow.recae"
    users, items = 500_000, 50_000
    model = Popularity(np.random.default_rng(0).random(items, dtype=np.float32))
    histories = sp.csr_matrix((users, items), dtype=np.float32)
    save(
        Recommender(model, IdMap(map(str, range(users))), IdMap(map(str, range(items))), None, histories),
        path,
    )
    return path


# the group


def test_help_is_quick_and_lists_the_commands() -> None:
    heavy = "{'numpy', 'scipy', 'pandas', 'pyarrow', 'torch', 'numba', 'implicit', 'rich', 'csv', 'json'}"
    code = f"import sys; own = set(sys.modules); import recae.cli; print(sorted({heavy} & set(sys.modules) - own))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    text = recae("--help").stdout
    places = [text.index(f"\n  {name} ") for name in ("train", "recommend", "score", "inspect")]
    assert places == sorted(places)
    assert recae("--version").stdout.startswith("recae ")


def test_a_process_that_ends_does_not_look_through_its_imports() -> None:
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000, file=sys.stderr))\n"
        "from recae.cli import main\n"
        "main(['--help'], prog_name='main')"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stderr == "True\n"
    assert found.stdout.split() == recae("--help").stdout.split()


@pytest.mark.parametrize(("first", "last"), [(0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x202E), (0x2066, 0x2069)])
def test_no_control_character_reaches_a_terminal(first: int, last: int) -> None:
    for code in range(first, last + 1):
        assert (
            output.clean(f"a{chr(code)}b")
            == f"a{chr(code).encode('unicode_escape').decode('ascii')}b"
            != f"a{chr(code)}b"
        )
    assert output.clean(f"{chr(last + 1)}") == chr(last + 1)


# recommend


def test_recommend_in_a_pipe(shop: Recommender, model_path: Path) -> None:
    result = recae("recommend", "--user", "42", "-n", "3", "--model", model_path)
    assert (result.exit_code, result.stderr) == (0, "")
    header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert header == ["rank", "item_id", "name", "score"]
    expected = shop.recommend("42", n=3)
    assert [(int(rank), item, name) for rank, item, name, _ in rows] == [
        (r.rank, r.item, r.name) for r in expected
    ]
    assert [np.float32(row[3]) for row in rows] == [np.float32(r.score) for r in expected]


def test_a_pipe_does_not_depend_on_the_terminal(model_path: Path) -> None:
    def run(columns: str) -> bytes:
        environment = os.environ | {"COLUMNS": columns, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        process = start(
            "recommend", "--user", "42", "--model", model_path, env=environment, stdout=subprocess.PIPE
        )
        return process.communicate()[0]

    assert run("20") == run("200") != b""


def test_recommend_on_a_terminal(model_path: Path) -> None:
    controller, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = start(
        "recommend", "--user", "42", "--model", model_path, env=environment, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    text = b""
    try:
        while part := os.read(controller, 4096):
            text += part
    except OSError:  # how Linux says that the other side has gone
        pass
    os.close(controller)
    assert process.wait() == 0
    assert "──" in text.decode()
    assert "\t" not in text.decode()


def test_recommend_json(shop: Recommender, model_path: Path) -> None:
    answer = json.loads(recae("recommend", "--user", "42", "-n", "2", "--json", model=model_path).stdout)
    assert list(answer) == ["user", "items", "unknown_items", "recommendations"]
    assert (answer["user"], answer["items"], answer["unknown_items"]) == ("42", None, [])
    for entry, r in zip(answer["recommendations"], shop.recommend("42", n=2), strict=True):
        assert list(entry) == ["rank", "item_id", "name", "score"]
        assert (entry["rank"], entry["item_id"], entry["name"]) == (r.rank, r.item, r.name)
        assert np.float32(entry["score"]) == np.float32(r.score)
        assert len(str(entry["score"])) < 13  # the digits of a float32, not of the float64 that holds it


def test_recommend_csv(shop: Recommender, model_path: Path) -> None:
    text = recae("recommend", "--user", "42", "--csv", model=model_path).stdout
    header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert header == ["rank", "item_id", "name", "score"]
    assert [row[1] for row in rows] == [r.item for r in shop.recommend("42")]
    assert "\r" not in text


def test_owned_items_may_stay(shop: Recommender, model_path: Path) -> None:
    result = recae("recommend", "--user", "42", "--include-owned", "--csv", "-n", "600", model=model_path)
    listed = [row["item_id"] for row in csv.DictReader(io.StringIO(result.stdout))]
    assert listed == [r.item for r in shop.recommend("42", n=600, exclude_owned=False)]
    assert len(listed) == 600


def test_a_basket_names_what_it_does_not_know(shop: Recommender, model_path: Path) -> None:
    result = recae(
        "recommend", "--items", "P017,nonsense,P230", "--items", "P001,x", "--json", model=model_path
    )
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert result.stderr == "not in the model, left out: 'nonsense', 'x'\n"
    assert answer["user"] is None
    assert answer["items"] == ["P017", "nonsense", "P230", "P001", "x"]
    assert answer["unknown_items"] == ["nonsense", "x"]
    expected = [r.item for r in shop.recommend(items=["P017", "P230", "P001"])]
    assert [entry["item_id"] for entry in answer["recommendations"]] == expected


@pytest.mark.parametrize(
    ("texts", "items"),
    [
        (["P001,P002"], ["P001", "P002"]),
        (['"a,b",c', "d"], ["a,b", "c", "d"]),
        (['say "x"', '"""y"""'], ['say "x"', '"y"']),
        (["P001\nP002\r\nP003\n"], ["P001", "P002", "P003"]),
        (["007, 7,"], ["007", " 7"]),  # spaces are part of an id
    ],
)
def test_how_a_basket_is_written(texts: list[str], items: list[str], tmp_path: Path) -> None:
    names = ["a,b", "c", "d", 'say "x"', '"y"', "P001", "P002", "P003", "007", " 7"]
    path = tmp_path / "m.recae"
    save(Recommender(Popularity(np.arange(10, dtype=np.float32)), None, IdMap(names)), path)
    options = [part for text in texts for part in ("--items", text)]
    result = recae("recommend", *options, "--json", "-n", "20", model=path)
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert answer["items"] == items
    assert {entry["item_id"] for entry in answer["recommendations"]} == set(names) - set(items)


def test_names_cannot_steer_the_terminal_or_break_the_lines(tmp_path: Path) -> None:
    names = pa.array(["\x1b[2Jgone", "two\nlines\tand a tab", None, "[red]é漢[/red]"], pa.large_string())
    path = tmp_path / "m.recae"
    save(Recommender(Popularity(np.float32([4, 3, 2, 1])), None, IdMap(["a", "b", "c", "d"]), names), path)
    command = ("recommend", "--items", "d", "--include-owned", "--model", path)
    assert recae(*command).stdout.splitlines()[1:] == [
        "1\ta\t\\x1b[2Jgone\t4.0",
        "2\tb\ttwo\\nlines\\tand a tab\t3.0",
        "3\tc\t\t2.0",
        "4\td\t[red]é漢[/red]\t1.0",
    ]
    rows = list(csv.reader(io.StringIO(recae(*command, "--csv").stdout, newline="")))
    assert [row[2] for row in rows[1:]] == [name or "" for name in names.to_pylist()]
    answer = json.loads(recae(*command, "--json").stdout)
    assert [entry["name"] for entry in answer["recommendations"]] == names.to_pylist()


def test_nothing_left_to_recommend(tmp_path: Path) -> None:
    path = tmp_path / "m.recae"
    save(Recommender(Popularity(np.float32([2, 1])), None, IdMap(["a", "b"])), path)
    result = recae("recommend", "--items", "a,b", "--model", path)
    assert (result.exit_code, result.stdout) == (0, "rank\titem_id\tname\tscore\n")
    assert "nothing to recommend" in result.stderr


def test_a_user_who_owns_nothing_is_told_so(tmp_path: Path) -> None:
    """Such as one whose only purchase was returned; the list is the same as for any other of them."""
    path = tmp_path / "model.recae"
    histories = sp.csr_matrix(np.float32([[1, 1], [0, 0]]))
    users, items = IdMap(["ann", "ben"]), IdMap(["cup", "tea"])
    save(Recommender(Popularity(np.float32([1, 1])), users, items, histories=histories), path)
    result = recae("recommend", "--user", "ben", model=path)
    assert result.exit_code == 0
    assert "user 'ben' owns nothing, so that the list is that of nobody in particular" in result.stderr
    assert "owns nothing" not in recae("recommend", "--user", "ann", "--include-owned", model=path).stderr
    result = recae("recommend", "--user", "ben", "--fallback", "popular", model=path)
    assert "owns nothing" not in result.stderr


def test_questions_refused(model_path: Path) -> None:
    refused(recae("recommend", "--user", "4242", model=model_path), "no user '4242'", "nearest: '424'")
    refused(recae("recommend", "--items", "x,y", model=model_path), "'x', 'y'", "nearest")
    refused(recae("recommend", "--items", ",", model=model_path), "basket is empty")
    refused(recae("recommend", "--items", 'a,"b', model=model_path), "quotation mark")
    refused(recae("recommend", model=model_path), "exactly one of them")
    refused(recae("recommend", "--user", "42", "--items", "P001", model=model_path), "exactly one of them")
    refused(recae("recommend", "--user", "42", "--json", "--csv", model=model_path), "exclude each other")
    result = recae("recommend", "--user", "42", "-n", "0", model=model_path)
    assert (result.exit_code, result.stdout) == (2, "")


# the model file


@pytest.mark.parametrize(
    "command", [("recommend", "--user", "42"), ("inspect",), ("score", "--out", "recs.csv")]
)
def test_broken_model_files(
    command: tuple[str, ...], model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(recae(*command), "no model file 'model.recae'")  # where it is looked for by default
    whole = model_path.read_bytes()
    for content in (b"", b"user_id,item_id\n", whole[:100], whole[:-100]):
        Path("broken.recae").write_bytes(content)
        refused(recae(*command, model=Path("broken.recae")), "'broken.recae'")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.recae"]
    shutil.copy(model_path, "model.recae")
    assert recae(*command).exit_code == 0


def test_inspect(shop: Recommender, model_path: Path) -> None:
    result = recae("inspect", model_path)
    assert (result.exit_code, result.stderr) == (0, "")
    properties, metrics, tensors = (part.splitlines() for part in result.stdout.split("\n\n"))
    found = dict(line.split("\t") for line in properties[1:])
    assert found["kind"] == "itemknn"
    assert (found["n_users"], found["n_items"]) == ("2000", "600")
    assert shop.histories is not None
    assert found["n_interactions"] == str(shop.histories.nnz)
    assert found["fingerprint"] == shop.metadata["fingerprint"]
    assert found["epochs"] == "2"
    assert found["config.k"] == "20"
    assert found["version.recae"] == "0.1.0"
    assert metrics == [
        "model\trecall@10\trecall@20\trecall@50\tndcg@20",
        "itemknn\t0.2500\t0.3750\t0.5000\t0.1250",
        "popularity\t0.0625\t0.1250\t-\t0.0625",
    ]
    assert "items.offsets\tI64\t601\t4.7 KiB" in tensors


def test_inspect_json(shop: Recommender, model_path: Path) -> None:
    summary = json.loads(recae("inspect", "--json", model=model_path).stdout)
    assert summary["metrics"] == shop.metadata["metrics"]
    assert summary["history"] == shop.metadata["history"]
    assert summary["bytes"] == model_path.stat().st_size
    assert summary["n_users"] == 2000
    assert {"name": "items.offsets", "dtype": "I64", "shape": [601], "bytes": 8 * 601} in summary["tensors"]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"metrics": None, "history": None, "versions": None, "fingerprint": None},
        {"metrics": 3, "history": "x", "versions": [1], "fingerprint": {}},
        {
            "metrics": {
                "rows": [1, {"recall@x": "y", "recall@" + "9" * 5000: 1, "z": 10**400}],
                "n_users": "a",
            }
        },
        {"metrics": {"rows": 5, "n_users": None}},
    ],
)
def test_inspect_takes_whatever_the_metadata_holds(metadata: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.recae"
    save(Recommender(Popularity(np.float32([2, 1])), None, IdMap(["a", "b"]), metadata=metadata), path)
    result = recae("inspect", path)
    assert result.exit_code == 0
    assert "n_users\tnot in the file\n" in result.stdout
    assert "n_interactions\tnot in the file\n" in result.stdout
    summary = json.loads(recae("inspect", path, "--json").stdout)
    assert (summary["n_users"], summary["n_items"], summary["n_interactions"]) == (None, 2, None)
    assert {"fingerprint", "metrics", "history", "versions"} <= set(summary)


# score


def test_score(shop: Recommender, model_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    result = recae("score", "--out", out, "-n", "7", model=model_path)
    assert (result.exit_code, result.stdout) == (0, "")
    before, after = result.stderr.splitlines()
    assert before.startswith("2,000 users, 600 items, one file; at most about ")
    assert after.startswith(f"wrote 14,000 rows for 2,000 users to {out} in ")
    table = pq.read_table(out)
    assert table.num_rows == 14_000
    mine = table.filter(pa.compute.equal(table["user_id"], "42"))
    assert mine["item_id"].to_pylist() == [r.item for r in shop.recommend("42", n=7)]

    recae("score", "--out", tmp_path / "recs.csv", "-n", "7", "--include-owned", "--model", model_path)
    with (tmp_path / "recs.csv").open(newline="") as file:
        listed = [row["item_id"] for row in csv.DictReader(file) if row["user_id"] == "42"]
    assert listed == [r.item for r in shop.recommend("42", n=7, exclude_owned=False)]


def test_score_refuses_a_bad_path_before_it_loads_the_model(tmp_path: Path) -> None:
    for name, part in (
        ("r.txt", ".parquet, .pq, .csv"),
        ("nowhere/r.csv", "does not exist"),
        ("nowhere/recs/", "does not exist"),
    ):
        place = f"{tmp_path}/{name}"
        refused(recae("score", "--out", place, "--model", tmp_path / "missing.recae"), part)
    refused(recae("score", "--out", "", "--model", tmp_path / "missing.recae"), "it names no file")
    assert not list(tmp_path.iterdir())


def test_score_needs_histories(shop: Recommender, tmp_path: Path) -> None:
    save(shop, tmp_path / "m.recae", histories=False)
    refused(recae("score", "--out", tmp_path / "r.csv", "--model", tmp_path / "m.recae"), "without histories")
    assert [path.name for path in tmp_path.iterdir()] == ["m.recae"]


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGINT, 130, b"interrupted: no partial file is left\n"),
        (signal.SIGTERM, 143, b"terminated: no partial file is left\n"),
    ],
)
def test_a_signal_leaves_no_file(
    number: int, code: int, line: bytes, slow_model: Path, tmp_path: Path
) -> None:
    process = start("score", "--out", tmp_path / "r.parquet", "--model", slow_model, stderr=subprocess.PIPE)
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob(".r.parquet.*.tmp")) or not max(
        p.stat().st_size for p in tmp_path.iterdir()
    ):
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert stderr.splitlines(keepends=True)[1:] == [line]  # after what the job would take
    assert not list(tmp_path.iterdir())


def test_a_closed_pipe_is_no_news(model_path: Path) -> None:
    process = start(
        "recommend", "--user", "42", "--model", model_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()  # before anything can be written
    process.stdout = None
    assert process.communicate()[1] == b""
    assert process.returncode == 141


# output


def test_progress_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with listening(), output.progress("scoring users", 2_000) as tell:
        for now in (1.0, 9.0, 10.0, 12.0, 20.0):
            tell(int(now * 100))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "scoring users: 1,000 of 2,000 (50%)",
        "scoring users: 2,000 of 2,000 (100%)",
    ]


def test_metrics_table_orders_its_columns() -> None:
    row = {
        "ndcg@20": 0.5,
        "recall@50": 0.25,
        "model": "a",
        "recall@9": float("nan"),
        "hit@1": 1,
        "recall@10": 2,
    }
    headers, rows = output.metrics_table({"rows": [row]})
    assert headers == ["model", "recall@9", "recall@10", "recall@50", "hit@1", "ndcg@20"]
    assert rows == [["a", "-", "2.0000", "0.2500", "1.0000", "0.5000"]]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (40 * 2**20, "40.0 MiB"), (2**51, "2048.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert output.human_bytes(size) == text
