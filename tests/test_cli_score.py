"""`recae score`: its options, what it says before and after, what it refuses, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from commands import PATIENCE, SAMPLE, names, recae, refused, start
from scorejobs import assert_same, by_hand, contents, read, read_folder, work_of

from recae.ids import IdMap
from recae.insight.categories import read_categories
from recae.modelfile import save
from recae.models import Popularity
from recae.recommender import Recommender
from recae.scoring.audience import new_histories, some_users


def done(*arguments: str | Path, model: Path) -> list[str]:
    """Run `recae score`, which ends well; return its lines on stderr."""
    result = recae("score", *arguments, model=model)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    return result.stderr.splitlines()


def test_a_folder(shop: Recommender, model_path: Path, folder: Path) -> None:
    before, after = done("--out", "recs", "--shard-users", "700", "-n", "5", model=model_path)
    assert re.fullmatch(
        r"2,000 users, 600 items, 3 files of at most 700 users; at most about [\d.]+ [MG]iB of memory, about [\d.]+ s",
        before,
    )
    assert after.startswith("wrote 10,000 rows for 2,000 users to recs in ")
    assert_same(read_folder(folder / "recs"), by_hand(work_of(shop)))
    written = contents(folder / "recs")
    refused(
        recae("score", "--out", "recs", model=model_path),
        "holds a complete run of 3 files already",
        "--resume",
    )
    (line,) = done("--out", "recs", "--shard-users", "700", "-n", "5", "--resume", model=model_path)
    assert line == "the folder 'recs' holds this run already, complete and unharmed; nothing was done"
    refused(
        recae("score", "--out", "recs", "--shard-users", "700", "-n", "6", "--resume", model=model_path),
        "holds another run, which differs in",
        "n (5 there, 6 now)",
    )
    assert contents(folder / "recs") == written


@pytest.mark.parametrize(
    ("out", "options", "found"),
    [
        ("recs/", (), "recs/part-00000.parquet"),
        ("recs.parquet/", (), "recs.parquet/part-00000.parquet"),
        ("2024.11.27", ("--format", "csv"), "2024.11.27/part-00000.csv"),
        ("there.is", (), "there.is/part-00000.parquet"),
        ("recs.JSONL", (), "recs.JSONL"),
    ],
)
def test_what_is_a_folder(
    out: str, options: tuple[str, ...], found: str, model_path: Path, folder: Path
) -> None:
    (folder / "there.is").mkdir()
    done("--out", out, "-n", "1", *options, model=model_path)
    assert (folder / found).is_file()
    assert len(read(folder / found)) == 2000


def test_some_users_and_rejects(shop: Recommender, model_path: Path, folder: Path) -> None:
    (folder / "users.txt").write_text("42\nnobody\n7\n42\nno-1\nno-2\nno-3\n")
    lines = done("--out", "r.csv", "--users", "users.txt", "--rejects", "no.csv", "-n", "3", model=model_path)
    assert lines[0] == "4 left out (no such user in the model): 'nobody', 'no-1', 'no-2', …"
    assert lines[1].startswith("2 users, 600 items, one file; ")
    assert_same(read(folder / "r.csv"), by_hand(work_of(shop, 3, some_users(shop, "users.txt"))))
    assert [row[0] for row in read(folder / "r.csv")] == ["42"] * 3 + ["7"] * 3
    reason = "no such user in the model"
    assert (folder / "no.csv").read_text() == "id,reason\n" + "".join(
        f"{user},{reason}\n" for user in ("nobody", "no-1", "no-2", "no-3")
    )
    (folder / "who.csv").write_text("shopper,age\n42,7\n")
    done("--out", "s.csv", "--users", "who.csv", "--user-column", "shopper", "-n", "3", model=model_path)
    assert read(folder / "s.csv") == read(folder / "r.csv")[:3]
    (folder / "users.txt").write_text("nobody\n")
    result = recae(
        "score", "--out", "t.csv", "--users", "users.txt", "--rejects", "no.jsonl", model=model_path
    )
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1].startswith("error: the model knows none of the users in 'users.txt'")
    assert json.loads((folder / "no.jsonl").read_text()) == {"id": "nobody", "reason": reason}
    assert "t.csv" not in names(folder)


def test_new_histories(shop: Recommender, model_path: Path, folder: Path) -> None:
    (folder / "h.csv").write_text("user,item\nnew,P017\nnew,P203\nnew,gone\nlost,gone\n")
    lines = done(
        "--out", "r.jsonl", "--histories", "h.csv", "--rejects", "no.csv", "-n", "3", model=model_path
    )
    assert lines[:2] == [
        "1 left out (no such item in the model): 'gone'",
        "1 left out (no item of this user is in the model): 'lost'",
    ]
    assert_same(read(folder / "r.jsonl"), by_hand(work_of(shop, 3, new_histories(shop, "h.csv"))))
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("create table bought (who text, item text)")
        connection.executemany("insert into bought values (?, ?)", [("new", "P017"), ("new", "P203")])
    for what in (("--histories-table", "bought"), ("--histories-query", "select who, item from bought")):
        options = ("--histories", "sqlite:///shop.db", *what, "--user-column", "who", "-n", "3")
        done("--out", "s.jsonl", *options, model=model_path)
        assert read(folder / "s.jsonl") == read(folder / "r.jsonl")


def test_rules(shop: Recommender, model_path: Path, folder: Path) -> None:
    (folder / "gone.txt").write_text("P017\nP018\nbogus\n")
    (folder / "shelf.csv").write_text("sku\nP001\nP002\nP003\nP017\n")
    some = ("--exclude-items", "gone.txt", "--exclude-items", 'P003,"x,y"', "--only-items", "shelf.csv")
    (line, *_) = done("--out", "r.csv", *some, "-n", "9", "--include-owned", model=model_path)
    assert line == "2 left out (no such item in the model, named by a rule): 'bogus', 'x,y'"
    assert {row[1] for row in read(folder / "r.csv")} == {"P001", "P002"}

    kinds = read_categories(SAMPLE, shop.items)
    kind = {item: kinds.names[code] for item, code in zip(shop.items, kinds.codes, strict=True)}
    by = ("--categories", SAMPLE, "-n", "9", "--out")
    done(*by, "tea.csv", "--only-categories", "Coffee & Tea,Party", model=model_path)
    assert {kind[row[1]] for row in read(folder / "tea.csv")} == {"Coffee & Tea", "Party"}
    done(
        *by, "other.csv", "--exclude-categories", "Party", "--exclude-categories", "Baking", model=model_path
    )
    assert {kind[row[1]] for row in read(folder / "other.csv")} == set(kind.values()) - {"Party", "Baking"}


def test_a_database(
    shop: Recommender, model_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", "sqlite:///shop.db")
    job = ("--out", "env:SHOP", "--table", "recs", "-n", "2")
    before, after = done(*job, "--run-id", "monday", model=model_path)
    assert before.startswith("2,000 users, 600 items, one table; ")
    assert after.startswith("wrote 4,000 rows for 2,000 users to env:SHOP in ")
    (line,) = done(*job, "--run-id", "monday", model=model_path)
    assert (
        line == "'sqlite:///shop.db, table recs' holds the run 'monday' already, 4,000 rows; nothing was done"
    )
    refused(
        recae("score", *job, "-n", "3", "--run-id", "monday", model=model_path), "give this run another id"
    )
    done(*job, "--run-id", "tuesday", model=model_path)
    with closing(sqlite3.connect("shop.db")) as connection:
        found = connection.execute("select user_id, item_id, rank, score from recs order by rowid").fetchall()
        assert_same(found, by_hand(work_of(shop, 2)))
        assert connection.execute("select run_id from recae_runs").fetchall() == [("tuesday",)]


def test_a_password_is_warned_of_and_hidden(model_path: Path, folder: Path) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://me:secret@127.0.0.1:1/shop"
    result = recae("score", "--out", url, "--table", "recs", model=model_path)
    warning, error = result.stderr.splitlines()
    assert warning.startswith("everybody on this machine can see the password")
    assert error.startswith(
        "error: 'postgresql://me:***@127.0.0.1:1/shop, table recs' cannot be written to: "
    )
    assert (result.exit_code, "secret" in result.stderr) == (2, False)


def test_a_password_of_histories_is_hidden(model_path: Path, folder: Path) -> None:
    with closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("create table bought (user text, item text)")
        connection.execute("insert into bought values ('x', 'gone')")
    url = "sqlite:///shop.db?password=secret"
    result = recae(
        "score", "--out", "r.csv", "--histories", url, "--histories-table", "bought", model=model_path
    )
    assert result.exit_code == 2
    assert "everybody on this machine can see the password" in result.stderr
    assert "error: " in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.some(10)
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--out", "r.csv", "--resume"), ("--resume goes with --out a folder",)),
        (("--out", "r.csv", "--shard-users", "5"), ("--shard-users goes with --out a folder",)),
        (("--out", "recs", "--table", "t"), ("--table goes with --out a database",)),
        (("--out", "r.csv", "--run-id", "t"), ("--run-id goes with --out a database",)),
        (("--out", "sqlite:///s.db"), ("name the table to write with --table",)),
        (
            ("--out", "sqlite:///s.db", "--table", "t", "--format", "csv"),
            ("--format goes with --out a folder",),
        ),
        (("--out", "sqlite:///s.db", "--table", "a b"), ("--table is the name of a table",)),
        (("--out", "gopher://s.db", "--table", "t"), ("nothing is known that reads 'gopher://'",)),
        (("--out", "env:NOT_SET"), ("the environment variable NOT_SET",)),
        (("--out", "r.txt"), ("but is '.txt'",)),
        (("--out", "r.csv", "--rejects", "no.txt"), ("no.txt", "but is '.txt'")),
        (("--out", ""), ("it names no file",)),
        (("--out", "r.csv", "--users", "a", "--histories", "b"), ("--users and --histories are both given",)),
        (("--out", "r.csv", "--histories-table", "b"), ("say what to read of --histories",)),
        (("--out", "r.csv", "--users", "gone.txt"), ("gone.txt",)),
        (("--out", "r.csv", "--only-items", "bogus"), ("leave none of the model's 600 items",)),
        (
            ("--out", "r.csv", "--only-items", "P003", "--only-items", "lost.txt"),
            ("no file 'lost.txt' for --only-items",),
        ),
        (("--out", "r.csv", "--only-items", '"a'), ("--only-items '\"a' cannot be read as CSV",)),
        (("--out", "r.csv", "--only-categories", "Party"), ("go with --categories",)),
        (("--out", "r.csv", "--categories", str(SAMPLE)), ("go with --categories",)),
        (
            ("--out", "r.csv", "--categories", str(SAMPLE), "--only-categories", "x"),
            ("no item is of the category 'x'",),
        ),
    ],
)
def test_refusals(options: tuple[str, ...], parts: tuple[str, ...], model_path: Path, folder: Path) -> None:
    refused(recae("score", *options, model=model_path), *parts)
    assert names(folder) == []


def test_nothing_that_is_read_is_replaced(model_path: Path, folder: Path) -> None:
    (folder / "users.csv").write_text("user\n42\n")
    (folder / "h.csv").write_text("user,item\nx,P001\n")
    before = contents(folder)
    for options in (
        ("--out", "users.csv", "--users", "users.csv"),
        ("--out", "r.csv", "--rejects", "users.csv", "--users", "users.csv"),
        ("--out", "h.csv", "--histories", "h.csv"),
        ("--out", "users.csv", "--categories", "users.csv", "--only-categories", "a"),
    ):
        refused(recae("score", *options, model=model_path), "it is also the input")
    refused(recae("score", "--out", "r.csv", "--rejects", "r.csv", model=model_path), "are both 'r.csv'")
    assert contents(folder) == before


def test_a_model_that_is_replaced_meanwhile(
    shop: Recommender, model_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the checksum in a manifest, which tells runs apart, would be of a model that scored nothing."""
    (folder / "m.recae").write_bytes(model_path.read_bytes())

    def load_and_replace(path: Path) -> Recommender:
        (folder / "new").write_bytes(model_path.read_bytes())
        (folder / "new").replace(path)
        return shop

    monkeypatch.setattr("recae.modelfile.load", load_and_replace)
    refused(
        recae("score", "--out", "recs", model=folder / "m.recae"),
        "was replaced while it was read; run it again",
    )
    assert names(folder) == ["m.recae"]


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_keeps_what_is_finished(number: int, code: int, line: str, tmp_path: Path) -> None:
    users, items = 1500, 5_000
    model = Popularity(np.random.default_rng(0).random(items, dtype=np.float32))
    histories = sp.csr_matrix((users, items), dtype=np.float32)
    ids = IdMap(map(str, range(users))), IdMap(map(str, range(items)))
    save(Recommender(model, *ids, None, histories), tmp_path / "m.recae")
    options = ("--model", tmp_path / "m.recae", "--shard-users", "20", "-n", "2")
    process = start("score", "--out", tmp_path / "recs", *options, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while len(list(tmp_path.glob("recs/part-*.parquet"))) < 3:
        assert process.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    last: Any = re.fullmatch(
        rf"{line}: (\d+) of 75 files are finished in '.*recs', and --resume goes on there",
        stderr.splitlines()[-1],
    )
    assert last is not None, stderr
    found = len(list(tmp_path.glob("recs/part-*.parquet")))
    assert found - int(last[1]) in (
        0,
        1,
    )  # it may have been stopped between a file's name and its entry in the plan
    assert not list(tmp_path.glob("recs/.*"))
    done("--out", tmp_path / "recs", *options, "--resume", model=tmp_path / "m.recae")
    assert pq.read_table(tmp_path / "recs").num_rows == 2 * users
