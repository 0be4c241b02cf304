"""--strict and --rejects: what is dropped is refused, or kept with its reason, whatever the source is."""

from __future__ import annotations

import csv
import gzip
import sqlite3
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from commands import RECAE, ROOT, SAMPLE, TINY, names, recae, refused, table
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from readings import read_events, read_with_report

from recae.errors import ColumnError, DataError, SourceError
from recae.reading import ReadOptions, read
from recae.reading.engine import Engine

ROWS = [
    ("user_id", "item_id", "quantity", "timestamp", "title"),
    ("a", "x", "1", "2020-01-01", "X"),
    ("a", "x", "1.0", "2020-01-01T00:00:00", "X again"),  # 2: the same purchase in other letters
    ("", "x", "1", "2020-01-01", "X"),  # 3
    ("b", "y", "-1", "2020-01-02", "Y"),  # 4
    ("b", "y", "two", "2020-01-02", 'Y "q",'),  # 5
    ("b", "y", "", "2020-01-02", "Y"),
    ("b", "y", "1", "2020-01-02", "Y"),  # 7: a missing quantity is one
    ("b", " ", "1", "2020-01-02", "Y"),  # 8
    ("a", "x", "2", "2020-01-01", "X"),
    ("", "", "0", "", ""),  # 10: under the first reason that holds
]
DROPPED = [
    (2, "duplicate"),
    (3, "no user"),
    (4, "quantity is zero or less"),
    (5, "quantity is not a number"),
    (7, "duplicate"),
    (8, "no item"),
    (10, "no user"),
]


def write_csv(path: Path, rows: list[tuple[str, ...]] = ROWS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbered(rows: list[dict[str, str]]) -> list[tuple[int, str]]:
    return [(int(row["row"]), row["reason"]) for row in rows]


# --rejects


def test_every_dropped_row_is_kept_with_number_reason_and_values(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "purchases.csv")
    shop, report = read_with_report(path, rejects=tmp_path / "rejects.csv")
    assert shop.n_interactions == 2
    rows = read_csv(tmp_path / "rejects.csv")
    assert list(rows[0]) == ["row", "reason", "user_id", "item_id", "timestamp", "quantity", "title"]
    assert numbered(rows) == DROPPED
    for row in rows:
        assert tuple(row[name] for name in ROWS[0]) == ROWS[int(row["row"])]
    assert report.rejects == str(tmp_path / "rejects.csv")
    assert f"wrote the 7 dropped rows to {report.rejects}" in report.lines()
    assert sum(report.dropped.values()) == len(rows)
    assert report.dropped == {reason: numbered_of(rows, reason) for reason in report.dropped}


def numbered_of(rows: list[dict[str, str]], reason: str) -> int:
    return sum(row["reason"] == reason for row in rows)


def test_nothing_changes_by_keeping_the_rejects(tmp_path: Path) -> None:
    plain, _ = read_with_report(SAMPLE)
    shop, report = read_with_report(SAMPLE, rejects=tmp_path / "r.csv")
    assert shop.fingerprint == plain.fingerprint
    assert len(read_csv(tmp_path / "r.csv")) == sum(report.dropped.values()) == 560


def test_nothing_dropped_is_a_file_without_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item\na,x\nb,y\n")
    read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "row,reason,user,item\n"


def test_without_times_no_row_is_a_duplicate(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item\na,x\na,x\n,x\nb,y\n")
    read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert numbered(read_csv(tmp_path / "r.csv")) == [(3, "no user")]


def test_a_column_called_row_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("row,reason,row_\na,x,\nb,y,\n,z,why\n")
    read_with_report(
        tmp_path / "p.csv",
        user_column="row",
        item_column="reason",
        name_column="row_",
        rejects=tmp_path / "r.csv",
    )
    (row,) = read_csv(tmp_path / "r.csv")
    assert row == {"row__": "3", "reason_": "no user", "row": "", "reason": "z", "row_": "why"}


def test_parquet_in_and_out(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "user": pa.array([1.0, None, 2.0, 2.0]),
        "item": pa.array(["x", "y", "z", "z"]).dictionary_encode(),
        "time": pa.array([0, 1000, 2000, 2000], pa.timestamp("ms")),
        "qty": [1, 1, 1, 1],
    }
    parquet.write_table(pa.table(columns), tmp_path / "p.parquet")
    read_with_report(tmp_path / "p.parquet", rejects=tmp_path / "r.parquet")
    assert parquet.read_table(tmp_path / "r.parquet").to_pylist() == [
        {
            "row": 2,
            "reason": "no user",
            "user": None,
            "item": "y",
            "time": "1970-01-01 00:00:01",
            "qty": "1",
        },
        {
            "row": 4,
            "reason": "duplicate",
            "user": "2",
            "item": "z",
            "time": "1970-01-01 00:00:02",
            "qty": "1",
        },
    ]


def test_a_database_in_several_batches(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("create table purchases (user_id text, item_id text, timestamp integer)")
        many = [(f"u{n % 50}", f"i{n % 7}", n) for n in range(80_000)]
        many[70_000] = many[3]
        many[40_000] = (None, "i1", 5)  # type: ignore[assignment]
        shop.executemany("insert into purchases values (?, ?, ?)", many)
    read_with_report(f"sqlite:///{tmp_path / 'shop.db'}", table="purchases", rejects=tmp_path / "r.csv")
    assert numbered(read_csv(tmp_path / "r.csv")) == [(40_001, "no user"), (70_001, "duplicate")]


def test_standard_input_and_a_folder_number_their_rows_through(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(folder / "a.csv")
    write_csv(folder / "b.csv", [ROWS[0], ("c", "z", "0", "2021-01-01", "Z")])
    read_with_report(folder, rejects=tmp_path / "folder.csv")
    assert numbered(read_csv(tmp_path / "folder.csv")) == [*DROPPED, (11, "quantity is zero or less")]
    with (folder / "a.csv").open("rb") as file:
        command = [*RECAE, "train", "-", *TINY, "--rejects", str(tmp_path / "in.csv"), "--strict"]
        done = subprocess.run(command, stdin=file, capture_output=True, cwd=ROOT, text=True, check=False)
    assert done.returncode == 2
    assert numbered(read_csv(tmp_path / "in.csv")) == DROPPED


def test_baskets_are_kept_too(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,order_number\na,x,1\nb,,7\nb,y,2\n")
    _, _, report = read_events(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert read_csv(tmp_path / "r.csv") == [
        {"row": "2", "reason": "no item", "user": "b", "item": "", "order_number": "7"}
    ]
    assert report.rejects is not None


def test_where_nothing_is_left_the_rejects_say_why(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,qty\na,x,0\nb,y,-1\n")
    with pytest.raises(DataError, match="no purchase is left"):
        read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert numbered(read_csv(tmp_path / "r.csv")) == [
        (1, "quantity is zero or less"),
        (2, "quantity is zero or less"),
    ]


def test_a_header_alone_has_no_rejects(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,qty\n")  # without a value nothing is a quantity
    with pytest.raises(DataError, match="no rows"):
        read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "row,reason,user,item\n"
    with pytest.raises(DataError, match="no rows"):
        read_with_report(tmp_path / "p.csv", quantity_column="qty", rejects=tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_text() == "row,reason,user,item,qty\n"


def test_a_reading_that_breaks_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item\na,x\n,y\nb\n")
    (tmp_path / "r.csv").write_text("old")
    with pytest.raises(DataError, match="line 4"):
        read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert names(tmp_path) == ["p.csv", "r.csv"]
    assert (tmp_path / "r.csv").read_text() == "old"


def test_a_full_temporary_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.csv.gz"
    path.write_bytes(gzip.compress(write_csv(tmp_path / "p.csv").read_bytes()))
    full = tmp_path / "full"

    def made(**options: str) -> str:
        full.mkdir()
        for number in range(9):
            (full / f"unpacked_{number}").symlink_to("/dev/full")
        return str(full)

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    with pytest.raises(SourceError, match=r"cannot be kept in .* No space left on device; set TMPDIR"):
        read_with_report(path, rejects=tmp_path / "r.csv")
    assert names(tmp_path) == ["p.csv", "p.csv.gz"]  # the temporary folder is gone, and there are no rejects


def test_a_full_disk_below_a_query_is_said(tmp_path: Path) -> None:
    with Engine() as engine, pytest.raises(SourceError, match="No space left on device; set TMPDIR"):
        engine.run("COPY (SELECT 1) TO '/dev/full' (FORMAT csv)")


VALUES = st.tuples(
    st.sampled_from(["a", "b", "", " "]),
    st.sampled_from(["x", "y", ""]),
    st.sampled_from(["1", "1.0", "2", "0", "-1", "many", ""]),
    st.sampled_from(["2020-01-01", "2020-01-01 00:00", "2020-01-02", "soon", ""]),
)


@settings(max_examples=examples(6, 200))  # each reads a table
@given(st.lists(VALUES, max_size=30))
def test_rejects_agree_with_a_plain_loop(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("rejects")
    # two sound users, so that something is left
    rows = [("u", "v", "1", "2019-01-01"), ("w", "z", "1", "2019-01-01"), *rows]
    path = write_csv(folder / "p.csv", [("user", "item", "quantity", "date"), *rows])
    _, report = read_with_report(path, rejects=folder / "r.csv")
    expected, seen = [], set()
    for number, (user, item, quantity, date) in enumerate(rows, start=1):
        amount = {"many": np.nan, "": 1.0}.get(quantity)
        amount = float(quantity) if amount is None else amount
        time = {"2020-01-01 00:00": "2020-01-01", "soon": "", "": ""}.get(date, date)
        key = (user, item, amount, time)
        if not user.strip():
            expected.append((number, "no user"))
        elif not item.strip():
            expected.append((number, "no item"))
        elif amount <= 0:
            expected.append((number, "quantity is zero or less"))
        elif np.isnan(amount):
            expected.append((number, "quantity is not a number"))
        elif time and key in seen:
            expected.append((number, "duplicate"))
        seen.add(key)
    assert numbered(read_csv(folder / "r.csv")) == expected
    assert sum(report.dropped.values()) == len(expected)


# --strict


def test_strict_refuses_dropped_rows_with_their_counts(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv")
    with pytest.raises(DataError, match=r"of the 10 rows of .*2 dropped: no user; .*2 dropped: duplicate;"):
        read_with_report(path, strict=True)
    with pytest.raises(DataError, match=r"'.*r\.csv' holds the rows"):
        read_with_report(path, strict=True, rejects=tmp_path / "r.csv")
    assert numbered(read_csv(tmp_path / "r.csv")) == DROPPED


def test_strict_refuses_what_is_in_doubt(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,date\n1.0,x,01/02/2020\n2.0,y,03/04/2020\n")
    with pytest.raises(DataError, match=r"in doubt: user: every value looks like 1\.0.* and 1 more; correct"):
        read_with_report(tmp_path / "p.csv", strict=True)


@pytest.mark.parametrize(
    ("header", "times", "note"),
    [
        ("user,item", ("", ""), "kept as counts"),  # there is nothing that could be corrected
        ("user,item,date", (",13/01/2020", ",14/01/2020"), "day/month/year"),
        ("user,item,date", (",01/13/2020", ",01/14/2020"), "month/day/year"),
        ("user,item,date", (",20200113", ",20200114"), "read as dates"),
        ("user,item,date", (",1600000000000", ",1600000001000"), "milliseconds"),
    ],
)
def test_strict_takes_what_can_mean_one_thing_only(
    header: str, times: tuple[str, str], note: str, tmp_path: Path
) -> None:
    first, second = times
    (tmp_path / "p.csv").write_text(f"{header}\na,x{first}\na,x{second}\nb,y{first}\n")
    report = read(tmp_path / "p.csv", ReadOptions(strict=True)).report
    assert [note in str(text) for text in report.notes] == [True]
    assert report.doubts() == []


@pytest.mark.parametrize(
    "times", [(",soon", ",2020-01-01"), (",", ",2020-01-01"), (",01/02/2020", ",03/04/2020")]
)
def test_strict_refuses_times_in_doubt(times: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(f"user,item,date\na,x{times[0]}\nb,y{times[1]}\n")
    with pytest.raises(DataError, match="in doubt: date: "):
        read_with_report(tmp_path / "p.csv", strict=True)


def test_strict_takes_what_is_clean(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,date\na,x,2020-01-01\nb,y,2020-01-02\n")
    assert read_with_report(tmp_path / "p.csv", strict=True)[0].n_users == 2


# the commands


def dirty(folder: Path) -> Path:
    path = folder / "dirty.csv"
    path.write_text(table() + ",i1\nu1,\n")
    return path


@pytest.mark.parametrize("command", ["train", "tune", "evaluate"])
def test_commands_refuse_before_any_work(command: str, folder: Path) -> None:
    result = recae(command, dirty(folder), "--strict", "--rejects", "r.csv")
    refused(result, "1 dropped: no user; 1 dropped: no item", "'r.csv' holds the rows")
    assert numbered(read_csv(folder / "r.csv")) == [(361, "no user"), (362, "no item")]
    assert names(folder) == ["dirty.csv", "r.csv"]


def test_train_goes_on_and_says_where_they_are(folder: Path) -> None:
    result = recae("train", dirty(folder), "--rejects", "r.csv", "--kind", "popularity")
    assert result.exit_code == 0, result.stderr
    assert "wrote the 2 dropped rows to r.csv" in result.stderr


def test_evaluate_keeps_the_rejects_of_both_parts(folder: Path) -> None:
    (folder / "test.csv").write_text(table(n_users=61, header="user_id,item_id") + "u2,\n")
    arguments = ("--protocol", "pair", "--test", "test.csv", "--rejects", "r.csv", "--keep", "kept")
    result = recae("evaluate", dirty(folder), *arguments, "--kind", "popularity", "--baselines", "none")
    assert numbered(read_csv(folder / "r.csv")) == [(361, "no user"), (362, "no item")], result.stderr
    assert numbered(read_csv(folder / "r.test.csv")) == [(367, "no item")]


def test_evaluate_by_time_takes_the_options(folder: Path) -> None:
    result = recae("evaluate", dirty(folder), "--protocol", "time", "--rejects", "r.csv", "--strict")
    refused(result, "a split by time needs")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "../purchases.csv", "--rejects", "../purchases.csv"), ("is also the input",)),
        (("train", "../purchases.csv", "--rejects", "no/r.csv"), ("does not exist",)),
        (("train", "../purchases.csv", "--rejects", "r.txt"), ("ending", "'.txt'")),
        (
            ("train", "../purchases.csv", "--rejects", "r.csv", "--out", "r.csv"),
            ("--out and --rejects are both 'r.csv'",),
        ),
        (
            ("train", "../purchases.csv", "--rejects", "r.csv", "--checkpoint", "r.csv"),
            ("the checkpoint and --rejects are both 'r.csv'",),
        ),
        (("tune", "../purchases.csv", "--rejects", "r.csv", "--out", "r.csv"), ("--out and --rejects",)),
        (("evaluate", "../purchases.csv", "--rejects", "r.csv", "--csv", "r.csv"), ("--csv and --rejects",)),
        (("evaluate", "m.npz", "--protocol", "pair", "--test", "n.npz", "--strict"), ("--strict is for",)),
    ],
)
def test_refused_before_anything_is_read(
    arguments: tuple[str, ...], parts: tuple[str, ...], folder: Path
) -> None:
    refused(recae(*arguments), *parts)
    assert names(folder) == []


def test_the_settings_of_a_training_are_not_overwritten(folder: Path) -> None:
    (folder / "settings.csv").write_text("factors = 4\n")
    result = recae("train", "../purchases.csv", "--config", "settings.csv", "--rejects", "settings.csv")
    refused(result, "is also the input")


def test_columns_that_do_not_serve_leave_no_rejects(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ColumnError):
        read_with_report(tmp_path / "p.csv", rejects=tmp_path / "r.csv")
    assert names(tmp_path) == ["p.csv"]
