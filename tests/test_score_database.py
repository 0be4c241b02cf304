"""A job into a database: a real PostgreSQL and SQLite, swapped in one transaction, once for each run id."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from databases import PASSWORD, Postgres, running_postgres
from scorejobs import ITEMS, USERS, assert_same, by_hand, run, shop, work_of

from recae.errors import ConfigError, OutputError
from recae.ids import IdMap
from recae.locks import locked
from recae.scoring import database
from recae.scoring.database import RUNS, ResultTable
from recae.scoring.work import Work

READ = "select user_id, item_id, rank, score from {} "
_SERVERS: list[Postgres] = []


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running_postgres() as found:
        yield found


class Place:
    """A database: its URL, and a way to run statements in it."""

    def __init__(self, url: str, server: Postgres | None, path: Path) -> None:
        self.url, self._server, self._path = url, server, path

    def run(self, *statements: str) -> list[Any]:
        if self._server is not None:
            return self._server.execute(*statements)
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall()

    def tables(self) -> list[str]:
        if self._server is not None:
            query = (
                "select table_name from information_schema.tables where table_schema = 'public' order by 1"
            )
        else:
            query = "select name from sqlite_master where type = 'table' order by 1"
        return [name for (name,) in self.run(query)]

    def rows(self, table: str = "recs") -> list[Any]:
        order = 'user_id collate "C", rank' if self._server is not None else "user_id, rank"
        return [tuple(row) for row in self.run(f"{READ.format(table)} order by {order}")]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    path = tmp_path / "recs.db"
    if request.param == "sqlite":
        return Place(f"sqlite:///{path}", None, path)
    server = request.getfixturevalue("server")
    server.execute("drop schema public cascade", "create schema public")
    return Place(server.url, server, path)


def expected(work: Work) -> list[Any]:
    return sorted(by_hand(work), key=lambda row: (row[0].encode(), row[2]))


def test_a_table(place: Place) -> None:
    work = work_of()
    table = ResultTable(place.url, "recs")
    assert run(work, table) == len(expected(work))
    assert_same(place.rows(), expected(work))
    exact = {row[0]: np.float32(row[3]) for row in place.rows() if row[2] == 1}
    batches = pa.Table.from_batches([batch for _, batch in work.batches()]).to_pylist()
    assert exact == {row["user_id"]: np.float32(row["score"]) for row in batches if row["rank"] == 1}
    assert place.tables() == [RUNS, "recs"]
    assert place.run(f"select table_name, run_id, users, rows from {RUNS}") == [
        ("recs", None, USERS, len(expected(work)))
    ]
    with pytest.raises(Exception, match=r"(?i)unique"):  # there is an index to look users up by
        place.run("insert into recs select * from recs")


def test_a_table_is_replaced(place: Place) -> None:
    run(work_of(), ResultTable(place.url, "recs"))
    run(work_of(n=2), ResultTable(place.url, "recs"))
    run(work_of(n=1), ResultTable(place.url, "other"))
    assert_same(place.rows(), expected(work_of(n=2)))
    assert_same(place.rows("other"), expected(work_of(n=1)))
    assert place.tables() == ["other", RUNS, "recs"]
    assert [row[0] for row in place.run(f"select table_name from {RUNS} order by 1")] == ["other", "recs"]


def test_many_groups_and_nobody(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "GROUP_ROWS", 60)
    run(work_of(), ResultTable(place.url, "recs"))
    assert_same(place.rows(), expected(work_of()))
    nobody = shop(users=IdMap([]), histories=sp.csr_matrix((0, ITEMS), dtype=np.float32))
    assert run(work_of(nobody), ResultTable(place.url, "recs")) == 0
    assert place.rows() == []
    owners = sp.csr_matrix(np.ones((12, ITEMS), np.float32))  # blocks without rows
    assert (
        run(work_of(shop(users=IdMap(map(str, range(12))), histories=owners)), ResultTable(place.url, "recs"))
        == 0
    )


def test_a_run_is_done_once(place: Place) -> None:
    run(work_of(), ResultTable(place.url, "recs", "monday"))
    place.run("delete from recs where rank > 1")  # so that a second writing would show
    left = place.rows()
    assert run(work_of(), ResultTable(place.url, "recs", "monday")) == -1
    assert place.rows() == left
    for other in (work_of(n=4), work_of(exclude_owned=False)):
        with pytest.raises(
            OutputError, match="the run 'monday' already, but of another model, other users or other"
        ):
            run(other, ResultTable(place.url, "recs", "monday"))
    with pytest.raises(OutputError, match="give this run another id"):
        run(work_of(), ResultTable(place.url, "recs", "monday"), "another model")
    assert place.rows() == left
    assert run(work_of(), ResultTable(place.url, "recs", "tuesday")) > 0
    assert run(work_of(), ResultTable(place.url, "recs", "monday")) > 0  # which the table holds no more
    assert run(work_of(), ResultTable(place.url, "recs")) > 0
    assert run(work_of(), ResultTable(place.url, "recs", "monday")) > 0  # a run without an id came between
    place.run("drop table recs")
    assert run(work_of(), ResultTable(place.url, "recs", "monday")) > 0


def test_a_table_of_the_shop_is_not_replaced(place: Place) -> None:
    place.run("create table purchases (user_id int, item_id text)", "insert into purchases values (1, 'a')")
    with pytest.raises(OutputError, match="has the columns user_id, item_id; only a table with the columns"):
        run(work_of(), ResultTable(place.url, "purchases"))
    assert place.run("select * from purchases") == [(1, "a")]
    assert place.tables() == ["purchases"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_the_old_table(
    place: Place, failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(work_of(), ResultTable(place.url, "recs"))
    monkeypatch.setattr(database, "GROUP_ROWS", 1)
    told: list[int] = []

    def tell(done: int) -> None:
        told.append(done)
        if len(told) == 3:
            assert [name for name in place.tables() if re.fullmatch("recs_recae_[0-9a-f]{8}", name)]
            raise failure

    with pytest.raises(failure):
        ResultTable(place.url, "recs").write(work_of(n=2), {}, tell)
    assert_same(place.rows(), expected(work_of()))
    assert place.tables() == [RUNS, "recs"]


def test_what_a_kill_left_is_dropped(place: Place) -> None:
    place.run("create table recs_recae_0123abcd (x int)", "create table recs_recae_mine (x int)")
    run(work_of(), ResultTable(place.url, "recs"))
    assert place.tables() == [RUNS, "recs", "recs_recae_mine"]


def test_two_jobs_at_once_both_end_well(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Never are rows of both in one table; the job that ends last has it."""
    monkeypatch.setattr(database, "GROUP_ROWS", 60)
    place.run("create table recs_recae_0123abcd (x int)")  # of a dead run
    seen: list[list[Any]] = []

    def tell(done: int) -> None:
        if done == 20:
            run(work_of(n=3), ResultTable(place.url, "recs"))
            seen.append(place.rows())
            assert "recs_recae_0123abcd" not in place.tables()

    ResultTable(place.url, "recs").write(work_of(), {}, tell)
    assert_same(seen[0], expected(work_of(n=3)))
    assert_same(place.rows(), expected(work_of()))
    assert place.tables() == [RUNS, "recs"]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".lock"] == []


def test_the_lock_of_a_killed_job_is_taken_over(tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'recs.db'}", None, tmp_path / "recs.db")
    place.run("create table recs_recae_0123abcd (x int)", "create table recs_recae_99999999 (x int)")
    left, held = (tmp_path / f"recs.db-recs_recae_{token}.lock" for token in ("0123abcd", "99999999"))
    left.touch()
    with locked(held, os.O_RDWR | os.O_CREAT):
        run(work_of(), ResultTable(place.url, "recs"))
        assert place.tables() == [RUNS, "recs", "recs_recae_99999999"]
    assert not left.exists()
    run(work_of(), ResultTable(place.url, "recs"))
    assert place.tables() == [RUNS, "recs"]
    assert [path.name for path in tmp_path.iterdir()] == ["recs.db"]


@pytest.mark.parametrize("table", ["", "a b", "recs;drop", '"recs"', "1recs", "x" * 41, "recs.", RUNS, "rés"])
def test_names_that_cannot_be_used(table: str) -> None:
    with pytest.raises(ConfigError, match="--table is the name of a table"):
        ResultTable("sqlite:///x.db", table)


def test_databases_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_KINDS", ("postgresql",))
    with pytest.raises(OutputError, match=r"x\.db' is sqlite; write Parquet or CSV"):
        ResultTable("sqlite:///x.db", "recs")
    monkeypatch.undo()
    with pytest.raises(OutputError, match="nothing is known that reads 'gopher://'"):
        ResultTable("gopher://shop", "recs")
    with pytest.raises(OutputError, match="nowhere' does not exist"):
        ResultTable(f"sqlite:///{tmp_path}/nowhere/x.db", "recs").check(Path("model"))
    (tmp_path / "text.db").write_text("no database at all, but a text of some length\n" * 9)
    with pytest.raises(
        OutputError, match=r"text\.db, table recs' cannot be written to: file is not a database"
    ):
        ResultTable(f"sqlite:///{tmp_path}/text.db", "recs").check(Path("model"))


def test_a_check_makes_nothing(place: Place, tmp_path: Path) -> None:
    ResultTable(place.url, "recs").check(Path("model"))
    assert not list(tmp_path.iterdir())
    run(work_of(), ResultTable(place.url, "recs", "a"))
    before = place.rows(), place.run(f"select * from {RUNS}"), place.tables()
    ResultTable(place.url, "recs").check(Path("model"))
    assert (place.rows(), place.run(f"select * from {RUNS}"), place.tables()) == before


# PostgreSQL alone


def test_readers_keep_their_rights(server: Postgres) -> None:
    place = Place(server.url, server, Path())
    place.run("drop schema public cascade", "create schema public", "grant usage on schema public to shop")
    run(work_of(), ResultTable(place.url, "recs"))
    place.run("grant select on recs to shop", "grant select on recs to public")
    run(work_of(n=2), ResultTable(place.url, "recs"))
    rights = place.run(
        "select grantee, privilege_type from information_schema.role_table_grants "
        "where table_name = 'recs' and grantee <> grantor order by 1"
    )
    assert rights == [("PUBLIC", "SELECT"), ("shop", "SELECT")]


def test_a_schema(server: Postgres) -> None:
    place = Place(server.url, server, Path())
    place.run("drop schema if exists shop cascade", "create schema shop")
    for n in (3, 2):
        run(work_of(n=n), ResultTable(place.url, "shop.recs"))
    assert_same(place.rows("shop.recs"), expected(work_of(n=2)))
    assert run(work_of(n=2), ResultTable(place.url, "shop.recs", "a")) > 0
    assert run(work_of(n=2), ResultTable(place.url, "shop.recs", "a")) == -1


def test_a_missing_right_and_a_view_are_said_before_any_work(server: Postgres) -> None:
    place = Place(server.url, server, Path())
    place.run("drop schema public cascade", "create schema public", "grant usage on schema public to shop")
    table = ResultTable(server.shop_url, "recs")
    with pytest.raises(OutputError, match="permission denied for schema public") as caught:
        table.check(Path("model"))
    assert PASSWORD not in str(caught.value)
    run(work_of(), ResultTable(place.url, "recs"))
    place.run("create view best as select * from recs where rank = 1")
    with pytest.raises(OutputError, match="other objects depend on it"):
        ResultTable(place.url, "recs").check(Path("model"))
    place.run(
        "drop view best", "create view seen as select 1 as user_id, 2 as item_id, 3 as rank, 4 as score"
    )
    with pytest.raises(OutputError, match='"seen" is not a table'):
        ResultTable(place.url, "seen").check(Path("model"))


def test_a_lost_connection(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(server.url, server, Path())
    place.run("drop schema public cascade", "create schema public")
    run(work_of(), ResultTable(place.url, "recs"))
    monkeypatch.setattr(database, "GROUP_ROWS", 1)

    def tell(done: int) -> None:
        if done == 20:
            server.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'recae'"
            )

    with pytest.raises(OutputError, match=r"was not written, and is as it was: .*; run it again"):
        ResultTable(place.url, "recs").write(work_of(n=2), {}, tell)
    assert_same(place.rows(), expected(work_of()))
    run(work_of(n=2), ResultTable(place.url, "recs"))
    assert_same(place.rows(), expected(work_of(n=2)))
    assert place.tables() == [RUNS, "recs"]


def test_who_reads_sees_the_old_table_or_the_new(server: Postgres) -> None:
    place = Place(server.url, server, Path())
    place.run("drop schema public cascade", "create schema public")
    sizes = [len(by_hand(work_of(n=n))) for n in (1, 2)]
    run(work_of(n=1), ResultTable(place.url, "recs"))
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add(place.run("select count(*) from recs")[0][0])

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for n in (2, 1, 2, 1):
            run(work_of(n=n), ResultTable(place.url, "recs"))
    finally:
        stop.set()
        reader.join()
    assert seen <= set(sizes)
