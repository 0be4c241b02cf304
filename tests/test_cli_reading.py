"""`recae train SOURCE`: whatever the purchases come from, the model is the same, byte for byte."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from commands import PATIENCE, SAMPLE, names, recae, refused, start
from databases import PASSWORD, Postgres, load_sqlite, running_postgres
from pyarrow import csv as arrow_csv
from pyarrow import dataset, parquet

from recae.cli import main

KIND = ("--kind", "sigmoid", "--factors", "4", "--epochs", "1", "--seed", "1")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of `sample` as a file."""
    path = tmp_path_factory.mktemp("part") / "purchases.csv"
    with path.open("w", newline="") as file:
        header, rows = sample()
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def postgres(part: Path) -> Iterator[Postgres]:
    with running_postgres() as server:
        server.load(part)
        yield server


@pytest.fixture(scope="module")
def expected(part: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of the sample, from its file."""
    return trained(tmp_path_factory.mktemp("csv"), part)


def trained(folder: Path, source: str | Path, *options: str) -> bytes:
    result = recae("train", source, *options, *KIND, "--out", folder / "m.recae")
    assert result.exit_code == 0, result.stderr
    assert "read 1,448 rows of" in result.stderr
    return (folder / "m.recae").read_bytes()


def sample() -> tuple[list[str], list[list[str]]]:
    """A thirty-second part of the users of the sample: the same is trained on from many sources."""
    with SAMPLE.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, [row for row in rows if int(row[0]) % 32 == 0]


def as_json(path: Path, numbers: bool) -> Path:
    """Write the sample as JSON Lines; ids and quantities as numbers where they are."""
    header, rows = sample()
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            values = {
                name: int(value) if numbers and name in ("user_id", "quantity") else value or None
                for name, value in zip(header, row, strict=True)
            }
            file.write(json.dumps(values) + "\n")
    return path


@pytest.mark.some(1)
@pytest.mark.parametrize("numbers", [False, True])
def test_json_lines(tmp_path: Path, expected: bytes, numbers: bool) -> None:
    assert trained(tmp_path, as_json(tmp_path / "a.jsonl", numbers)) == expected


def test_a_folder_and_a_pattern(tmp_path: Path, expected: bytes) -> None:
    header, rows = sample()
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(4):
        part = rows[number * len(rows) // 4 : (number + 1) * len(rows) // 4]
        # packed by turns
        opened = gzip.open if number % 2 else open
        ending = ".csv.gz" if number % 2 else ".csv"
        with opened(folder / f"{number}{ending}", "wt", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *part])
    assert trained(tmp_path, folder) == expected
    assert trained(tmp_path, f"{folder}/*.csv*") == expected


@pytest.mark.thorough
def test_a_partitioned_folder(tmp_path: Path, expected: bytes) -> None:
    """By category and year; the order of the rows is another one, which nothing depends on."""
    header, rows = sample()
    columns = {name: pa.array(values) for name, values in zip(header, zip(*rows, strict=True), strict=True)}
    columns["year"] = pa.array([value[:4] for value in columns["timestamp"].to_pylist()])
    dataset.write_dataset(
        pa.table(columns),
        tmp_path / "parts",
        format="parquet",
        partitioning=["category", "year"],
        partitioning_flavor="hive",
    )
    assert trained(tmp_path, tmp_path / "parts") == expected


def test_parquet(part: Path, tmp_path: Path, expected: bytes) -> None:
    parquet.write_table(arrow_csv.read_csv(part), tmp_path / "a.parquet")  # with numbers and times
    assert trained(tmp_path, tmp_path / "a.parquet") == expected


@pytest.mark.some(1)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe(part: Path, tmp_path: Path, expected: bytes, pack: type[bytes]) -> None:
    result = CliRunner().invoke(
        main, ["train", "-", *KIND, "--out", str(tmp_path / "m.recae")], input=pack(part.read_bytes())
    )
    assert result.exit_code == 0, result.stderr
    assert "read 1,448 rows of standard input" in result.stderr
    assert (tmp_path / "m.recae").read_bytes() == expected


def test_sqlite(part: Path, tmp_path: Path, expected: bytes) -> None:
    load_sqlite(tmp_path / "shop.db", part)
    assert trained(tmp_path, f"sqlite:///{tmp_path}/shop.db", "--table", "purchases") == expected
    query = "select user_id, item_id, item_name, category, quantity, price, timestamp from purchases order by item_id"
    assert trained(tmp_path, f"sqlite:///{tmp_path}/shop.db", "--query", query) == expected


def test_postgresql(
    tmp_path: Path, expected: bytes, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", postgres.shop_url)
    assert trained(tmp_path, "env:SHOP_URL", "--table", "purchases") == expected
    model = trained(tmp_path, "env:SHOP_URL", "--query", "select * from purchases order by price;")
    assert model == expected
    assert PASSWORD.encode() not in model


@pytest.mark.thorough
def test_repeats_from_a_database(part: Path, tmp_path: Path) -> None:
    load_sqlite(tmp_path / "shop.db", part)
    found = []
    for source, *options in ([part], [f"sqlite:///{tmp_path}/shop.db", "--table", "purchases"]):
        out = tmp_path / "m.recae"
        kind = ("--kind", "frequency", "--repeats", "--seed", "1")
        result = recae("train", source, *options, *kind, "--out", out, "--json")
        assert result.exit_code == 0, result.stderr
        found.append(out.read_bytes())
    assert found[0] == found[1]


def test_evaluate_and_tune_read_what_train_reads(
    part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    load_sqlite(tmp_path / "shop.db", part)
    url, table = f"sqlite:///{tmp_path}/shop.db", ("--table", "purchases")
    cheap = ("--kind", "itemknn", "--baselines", "popularity", "--trials", "1", "--fresh", "--json")
    protocol = ("--protocol", "time", "--cut", "2024-10-01")
    of_file, of_database = (
        json.loads(recae("evaluate", *source, *protocol, *cheap).stdout)
        for source in ((part,), (url, *table))
    )
    assert of_file["data"]["fingerprint"] == of_database["data"]["fingerprint"]
    for one, other in zip(of_file["models"], of_database["models"], strict=True):
        assert one["metrics"] == other["metrics"]
    assert of_database["data"]["source"] == "shop.db, table purchases"
    trials = ("--kind", "itemknn", "--trials", "2", "--set", "weighting=tfidf", "--json")
    of_file, of_database = (
        json.loads(recae("tune", *source, *trials, "--study", tmp_path / "a.study").stdout)
        for source in ((part,), (url, *table))
        if not (tmp_path / "a.study").unlink(missing_ok=True)
    )
    assert of_file["fingerprint"] == of_database["fingerprint"]
    assert of_file["config"] == of_database["config"]


@pytest.mark.thorough
def test_evaluate_reads_a_pipe(part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = CliRunner().invoke(
        main,
        ["evaluate", "-", "--protocol", "time", "--cut", "2024-10-01", "--kind", "popularity", "--baselines", "none"],
        input=part.read_bytes(),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "read 1,448 rows of standard input" in result.stderr


# What is said


def test_a_password_on_the_command_line_is_pointed_out(folder: Path, postgres: Postgres) -> None:
    result = recae("train", postgres.shop_url, "--table", "purchases", *KIND)
    assert result.exit_code == 0
    first, *_ = result.stderr.splitlines()
    assert "can see the password" in first
    assert "env:NAME" in first
    assert PASSWORD not in result.stderr
    assert "s3cr3t" not in result.stderr + result.stdout
    assert "read 1,448 rows of postgresql://shop:***@/postgres, table purchases" in result.stderr
    assert b"s3cr3t" not in Path("model.recae").read_bytes()
    tuned = recae("tune", postgres.shop_url, "--table", "purchases", "--kind", "itemknn", "--trials", "1")
    cheap = ("--kind", "popularity", "--baselines", "none", "--keep", "kept", "--json")
    evaluated = recae("evaluate", postgres.shop_url, "--table", "purchases", *cheap)
    for result in (tuned, evaluated):
        assert result.exit_code == 0, result.stderr
        assert "s3cr3t" not in result.stderr + result.stdout
    assert "postgresql://shop:***@" in json.loads(evaluated.stdout)["command"]
    assert not any(b"s3cr3t" in path.read_bytes() for path in Path("kept").iterdir())
    described = recae("inspect", "model.recae", "--json")
    assert "postgres" not in described.stdout


def test_a_database_refuses(folder: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", postgres.shop_url)
    only = recae("train", "env:SHOP_URL", "--kind", "popularity", "--out", "../m.recae")
    assert "table purchases" in only.stderr  # there is no other
    postgres.execute("create table customers (id int); grant select on customers to shop")
    for options, parts in (
        (("--table", "purchase"), ("no table 'purchase'; did you mean 'purchases'?",)),
        ((), ("name a table with --table, or give a --query; found: 'customers', 'purchases'",)),
        (("--query", "select nope from purchases"), ('column "nope" does not exist',)),
        (("--query", "select item_id from purchases"), ("recognised as the user", "found: 'item_id'")),
        (("--query", "select * from purchases where 1 = 0"), ("a header but no rows",)),
        (("--query", "select 1", "--table", "purchases"), ("both given",)),
    ):
        refused(recae("train", "env:SHOP_URL", *options, *KIND), *parts)
    postgres.execute("drop table customers")
    refused(recae("train", "env:NOT_SET", "--table", "purchases"), "NOT_SET")
    refused(recae("train", "../purchases.csv", "--table", "purchases"), "--table is for a database")
    assert names(folder) == []


@pytest.mark.some(1)
@pytest.mark.parametrize(
    ("statement", "query"),
    [
        # slow enough to be met in the middle
        ("fetch", "select user_id, item_id, pg_sleep(0.005)::text from purchases"),
        # what cannot change is computed when the query begins, before any row is asked for
        ("declare", "select user_id, item_id from purchases where slow() > 0"),
    ],
    ids=["between rows", "as the query begins"],
)
def test_a_connection_lost_in_the_middle_leaves_no_model(
    tmp_path: Path, postgres: Postgres, statement: str, query: str
) -> None:
    postgres.execute(
        "create or replace function slow() returns int immutable language plpgsql "
        "as $$ begin perform pg_sleep(60); return 1; end $$"
    )
    process = start(
        *("train", "env:SHOP_URL", "--query", query, *KIND, "--out", tmp_path / "m.recae"),
        stdout=-1,
        stderr=-1,
        env={**os.environ, "SHOP_URL": postgres.shop_url},
    )
    assert postgres.kill_reader(statement) == 1
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert stdout == b""
    (line,) = stderr.decode().splitlines()
    assert line.startswith("error: reading 'postgresql://shop:***@/postgres, query' failed after 0 rows: ")
    assert "safe to run it again" in line
    assert names(tmp_path) == []


def test_sources_refused_by_the_name_of_a_file(folder: Path) -> None:
    for number in range(3):
        shutil.copy("../purchases.csv", f"part-{number}.csv")
    Path("part-3.csv").write_text("user_id,item_id\nu1,i1\nu2,i2\nu1,i1,oops\nu3,i3\n")
    refused(recae("train", ".", *KIND, "--out", "../m.recae"), "line 4 of 'part-3.csv'")
    refused(recae("train", "part-*.csv", *KIND), "line 4 of 'part-3.csv'")
    refused(recae("train", "nothing-*.csv", *KIND), "no file fits 'nothing-*.csv'")
    assert names(folder) == [f"part-{number}.csv" for number in range(4)]


def test_no_result_replaces_what_is_read(folder: Path) -> None:
    shutil.copy("../purchases.csv", "a.csv")
    sqlite3.connect("shop.db").close()
    before = {name: Path(name).read_bytes() for name in names(folder)}
    for source in (".", "*.csv", "a.csv"):
        refused(recae("train", source, *KIND, "--out", "a.csv"), "it is also the input")
        refused(recae("train", source, *KIND, "--checkpoint", "a.csv"), "it is also the input")
    refused(recae("train", "sqlite:///shop.db", "--table", "x", "--out", "shop.db"), "it is also the input")
    assert {name: Path(name).read_bytes() for name in names(folder)} == before


def test_a_model_may_lie_beside_the_files_that_a_query_names(folder: Path) -> None:
    (folder / "purchases.csv").write_text((folder / "../purchases.csv").read_text())
    again = ("train", ".", "--query", "select * from 'purchases.csv'", "--kind", "popularity")
    for _ in range(2):
        assert recae(*again).exit_code == 0
    refused(recae(*again, "--out", "purchases.csv"), "is also the input")
