"""Tests of the journal: nothing acknowledged is lost or there twice, and no file is taken for what it is not."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recae.errors import JournalBusyError, JournalConflictError, JournalError, JournalFullError
from recae.journal import Journal, Purchase, database

QUERY = "SELECT event, user, item, quantity FROM events ORDER BY sequence"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "purchases.db"


def stored(path: Path) -> list[tuple[Any, ...]]:
    """What is in the file, by SQLite itself."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute(QUERY).fetchall()


def items_of(journal: Journal, *users: str) -> list[list[str]]:
    return [list(found.items) for found in journal.bought_by(users)]


def test_purchases_are_read_as_they_were_added(path: Path) -> None:
    hostile = ["a/b", "line\nbreak", "\x01\x7f", "Zoë ☕", " ", "'; DROP TABLE events; --"]
    with Journal.open(path) as journal:
        before = database.now()
        added = journal.add([Purchase(one, one[::-1], 5, 2.5, f"e{n}") for n, one in enumerate(hostile)])
        journal.add(Purchase("last", "item"))
        assert added.events == [f"e{n}" for n in range(len(hostile))]
        assert all(added.new)
    with Journal.open(path, create=False) as journal:
        rows = journal.unfolded().table.to_pylist()
        assert [row["user"] for row in rows] == [*hostile, "last"]
        assert [row["item"] for row in rows[:-1]] == [one[::-1] for one in hostile]
        assert {row["quantity"] for row in rows[:-1]} == {2.5}
        assert rows[-1]["time"].timestamp() * 1e6 >= before - 1
        assert items_of(journal, *hostile, "nobody") == [*([one[::-1]] for one in hostile), []]
        counts = journal.counts()
        assert (counts.purchases, counts.unfolded, counts.users, counts.others) == (7, 7, 7, {})


def test_a_purchase_sent_again_changes_nothing(path: Path) -> None:
    journal = Journal.open(path)
    one, two = Purchase("u", "a", event="1"), Purchase("u", "b", event="2", time=7)
    assert journal.add([one, one]).new == [True, False]
    assert journal.add([two, one]).new == [True, False]
    assert [row[0] for row in stored(path)] == ["1", "2"]
    for other in (Purchase("v", "a", event="1"), Purchase("u", "b", event="2", time=8)):
        with pytest.raises(JournalConflictError, match="with another purchase"):
            journal.add([Purchase("w", "c", event="3"), other])
    assert [row[0] for row in stored(path)] == ["1", "2"]  # nothing of a refused request
    results = journal.add_together([[Purchase("w", "c", event="3")], [Purchase("v", "a", event="1")], [two]])
    assert [type(result).__name__ for result in results] == ["Added", "JournalConflictError", "Added"]
    made = {journal.add(Purchase("u", "a")).events[0] for _ in range(20)}
    assert len(made) == 20
    assert len(stored(path)) == 23


def test_a_model_says_which_purchases_it_has(path: Path) -> None:
    journal = Journal.open(path)
    journal.add([Purchase("u", "a"), Purchase("u", "b")])
    first = journal.unfolded({})
    metadata = journal.folding(first.sequence)
    journal.mark_folded("abc", first.sequence)
    journal.mark_folded("abc", first.sequence)
    assert journal.marks() == [("abc", first.sequence)]
    assert journal.unfolded(metadata).table.num_rows == 0
    journal.add(Purchase("u", "c"))
    assert journal.unfolded(metadata).table.column("item").to_pylist() == ["c"]
    assert journal.bought_by(["u"], journal.folded_up_to(metadata))[0].items == ("c",)
    assert journal.counts(metadata).unfolded == 1
    # of another journal, or nothing that could be a sequence: the model has none of these
    for other in (
        {"journal": {"id": "other", "sequence": 3}},
        {"journal": {"id": journal.id}},
        {"journal": {"id": journal.id, "sequence": -1}},
        {"journal": {"id": journal.id, "sequence": 2**63}},
        {"journal": 3},
    ):
        assert journal.folded_up_to(other) == 0


def test_batches_come_in_order_and_what_comes_meanwhile_is_for_the_next_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recae.journal.journal._ROWS", 4)
    journal = Journal.open(path)
    journal.add([Purchase(f"u{n % 3}", f"i{n}") for n in range(11)])
    assert [batch.num_rows for batch in journal._since(0)] == [4, 4, 3]
    assert [item for batch in journal._since(9) for item in batch.column("item").to_pylist()] == ["i9", "i10"]
    last = journal.last
    monkeypatch.setattr(journal, "last", lambda: (last(), journal.add(Purchase("u9", "late")))[0])
    found = journal.unfolded()
    assert found.table.num_rows == 11
    assert found.sequence == 11


def test_other_kinds_are_counted_and_left_alone(path: Path) -> None:
    journal = Journal.open(path)
    journal.add(Purchase("u", "a"))
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO events VALUES (NULL, 'x', 'u', 'b', 1, 1, 1.0, 'hologram')")
    assert journal.counts().others == {"hologram": 1}
    assert items_of(journal, "u") == [["a"]]
    assert journal.unfolded().table.column("item").to_pylist() == ["a"]
    assert journal.unfolded().sequence == 2
    with pytest.raises(JournalConflictError):
        journal.add(Purchase("u", "b", event="x"))


def test_a_clock_that_goes_back_changes_no_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(path)
    clock = [2_000_000, 1_000_000, 5, 3_000_000]
    for n, now in enumerate(clock):
        monkeypatch.setattr(database, "now", lambda now=now: now)
        journal.add(Purchase("u", f"i{n}"))
        if n == 1:
            metadata = journal.folding(journal.unfolded().sequence)
    assert items_of(journal, "u") == [["i0", "i1", "i2", "i3"]]
    assert journal.unfolded(metadata).table.column("item").to_pylist() == ["i2", "i3"]


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """A process that does something, given where to write, and where that is read; this one's memory is its own."""
    told, telling = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work(telling)
            code = 0
        finally:
            os._exit(code)
    os.close(telling)
    return pid, told


def write(path: Path, name: str) -> None:
    with Journal.open(path) as journal:
        for n in range(30):
            journal.add(Purchase(name, f"i{n}", event=f"{name}-{n}"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_threads_and_processes_write_at_the_same_time(path: Path) -> None:
    others = [forked(lambda telling, n=n: write(path, f"process{n}"))[0] for n in range(2)]
    threads = [threading.Thread(target=write, args=(path, f"thread{n}")) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [os.waitpid(other, 0)[1] for other in others] == [0, 0]
    names = ("thread0", "thread1", "thread2", "process0", "process1")
    assert Counter(row[1] for row in stored(path)) == dict.fromkeys(names, 30)
    journal = Journal.open(path)
    for user in ("thread1", "process0"):  # each in its own order
        assert items_of(journal, user) == [[f"i{n}" for n in range(30)]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_has_connections_of_its_own(path: Path) -> None:
    journal = Journal.open(path)
    journal.add(Purchase("u", "before"))
    journal.close()
    pid, _ = forked(lambda telling: journal.add(Purchase("u", "child")) and None)
    assert os.waitpid(pid, 0)[1] == 0
    journal.add(Purchase("u", "after"))
    assert items_of(journal, "u") == [["before", "child", "after"]]


def write_on(path: Path, began: int, telling: int) -> None:
    """Write requests of one to four purchases for ever, and say the number of each that is acknowledged."""
    journal = Journal.open(path)
    for n in range(began, 10**9):
        ids = [f"{n}-{m}" for m in range(n % 4 + 1)]
        journal.add([Purchase(f"u{n % 7}", one, event=one) for one in ids])
        os.write(telling, f"{n}\n".encode())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
@pytest.mark.parametrize("times", [pytest.param(6), pytest.param(200, marks=pytest.mark.thorough)])
def test_a_writer_killed_at_any_moment_loses_nothing_acknowledged(path: Path, times: int) -> None:
    rng, began = random.Random(0), 0
    acknowledged: set[int] = set()
    for _ in range(times):
        pid, told = forked(partial(write_on, path, began))
        with os.fdopen(told) as lines:
            first = lines.readline()
            time.sleep(rng.random() * 0.05)
            os.kill(pid, signal.SIGKILL)
            acknowledged |= {int(line) for line in [first, *lines] if line.endswith("\n")}
        os.waitpid(pid, 0)
        began = max(acknowledged) + 2  # the one after it may have been written without word of it
        counts = Counter(row[0] for row in stored(path))
        assert set(counts.values()) == {1}
        whole = Counter(int(event.partition("-")[0]) for event in counts)
        assert acknowledged <= set(whole)
        assert all(whole[n] == n % 4 + 1 for n in whole)  # none half
        assert len(whole) <= len(acknowledged) + times


def test_a_full_disk_is_said_and_reading_goes_on(path: Path) -> None:
    journal = Journal.open(path)
    journal.add(Purchase("u", "a"))
    pages = journal._database.connection.execute("PRAGMA page_count").fetchone()[0]
    journal._database.connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [Purchase("v", f"i{n}") for n in range(1000)]
    with pytest.raises(JournalFullError, match="disk is full; free some space"):
        journal.add(many)
    assert items_of(journal, "u", "v") == [["a"], []]
    journal._database.connection.execute("PRAGMA max_page_count = 100000")
    journal.add(many)
    assert len(items_of(journal, "v")[0]) == 1000


def test_nothing_is_left_of_a_removed_user(path: Path) -> None:
    journal = Journal.open(path)
    rng = random.Random(1)
    for n in range(40):  # many pages, split and filled again
        journal.add([Purchase(rng.choice(["remembered", "FORGOTTEN"]), f"i{n}-{m}") for m in range(50)])
    gone = len(items_of(journal, "FORGOTTEN")[0])
    assert journal.remove_users(["FORGOTTEN"]) == gone > 0
    assert journal.remove_users(["FORGOTTEN"]) == 0
    for file in path.parent.iterdir():
        assert b"FORGOTTEN" not in file.read_bytes()
    assert len(items_of(journal, "remembered")[0]) == 2000 - gone


def test_no_sequence_is_given_again(path: Path) -> None:
    journal = Journal.open(path)
    journal.add([Purchase("u", "a"), Purchase("gone", "b")])
    last = journal.last()
    journal.remove_users(["gone"])
    assert journal.last() < last
    journal.close()
    journal = Journal.open(path)
    journal.add(Purchase("u", "c"))
    assert journal.last() == last + 1


@pytest.mark.parametrize("before", [0, 1])
def test_an_earlier_copy_that_is_put_back_loses_nothing(path: Path, before: int) -> None:
    journal = Journal.open(path)
    for n in range(before):
        journal.add(Purchase("u", f"i{n}"))
    journal.close()
    copy = path.read_bytes()
    journal.add([Purchase("u", "a"), Purchase("u", "b")])
    metadata = journal.folding(journal.unfolded().sequence)
    journal.close()
    path.write_bytes(copy)
    journal = Journal.open(path)
    after = journal.folded_up_to(metadata)
    journal.number_beyond(after)
    journal.add(Purchase("u", "c"))
    assert journal.bought_by(["u"], after)[0].items == ("c",)
    assert journal.unfolded(metadata).table.column("item").to_pylist() == ["c"]
    journal.order_forgetting("u")
    assert journal.orders(after) == {journal.code("u")}


def make_old(path: Path) -> str:
    """A journal of format 1 with one purchase; its id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "STEPS", database.STEPS[:1])
        with Journal.open(path) as journal:
            journal.add(Purchase("u", "a", event="1"))
            return journal.id


def test_an_older_format_is_brought_up_to_date(path: Path) -> None:
    made = make_old(path)
    with Journal.open(path) as journal:
        assert journal.id == made
        assert items_of(journal, "u") == [["a"]]
        journal.mark_folded("abc", 1)
        assert not journal.add(Purchase("u", "a", event="1")).new[0]


def test_a_migration_that_fails_leaves_the_old_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(path)
    steps = (*database.STEPS, ("CREATE TABLE more (x)", "CREATE TABLE events (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(database, "STEPS", steps)
        with pytest.raises(JournalError, match="already exists"):
            Journal.open(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert {name for (name,) in tables} == {"journal", "events", "sqlite_sequence"}
    with Journal.open(path) as journal:
        assert journal.counts().purchases == 1


def make_newer(path: Path) -> None:
    Journal.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (id)")


def make_damaged(path: Path) -> None:
    with Journal.open(path) as journal:
        journal.add([Purchase("u" * 50, f"i{n}") for n in range(500)])
    data = bytearray(path.read_bytes())
    data[100:4096] = os.urandom(3996)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("user,item\n1,2\n" * 9), "it is no database of SQLite; give another path"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(200)), "it is no database of SQLite"),
        (lambda path: path.mkdir(), "is a folder; give the path of a file"),
        (make_foreign, "something else than a journal of purchases; give another path"),
        (make_newer, "of format 99, .* up to 3; use the newer version"),
        (make_damaged, "is damaged .* put a copy of it back"),
        (os.mkfifo, "is a device or a pipe"),
    ],
    ids=["text", "header", "folder", "foreign", "newer", "damaged", "pipe"],
)  # fmt: skip
def test_what_is_no_journal_is_refused_in_a_sentence(path: Path, make: Any, said: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(JournalError, match=said) as raised:
        Journal.open(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert not path.is_file() or path.read_bytes() == before


def test_a_journal_is_made_only_where_that_was_asked_for(path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        Journal.open(path, create=False)
    with pytest.raises(JournalError, match="there is no folder"):
        Journal.open(path / "in" / "it")
    path.touch()  # as mktemp does
    Journal.open(path).close()
    assert stored(path) == []


def test_several_make_one_journal(path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(Journal.open(path).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


ANOTHER = """
import sys
from pathlib import Path

from recae.journal import Journal, Purchase

with Journal.open(Path(sys.argv[1])) as journal:
    journal.add(Purchase("u", "other"))
"""


def test_a_journal_opened_twice_in_a_process_loses_nothing(path: Path) -> None:
    journal = Journal.open(path)
    journal.add(Purchase("u", "first"))
    Journal.open(path).close()
    subprocess.run([sys.executable, "-c", ANOTHER, path], check=True)  # whose end may remove the log
    journal.add(Purchase("u", "last"))
    assert [row[2] for row in by_another(path)] == ["first", "other", "last"]


def by_another(path: Path) -> list[Any]:
    """What another process finds in the file."""
    code = f"import json, sqlite3; print(json.dumps(sqlite3.connect({str(path)!r}).execute({QUERY!r}).fetchall()))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    rows: list[Any] = json.loads(found)
    return rows


def test_a_journal_that_is_gone_takes_nothing(path: Path) -> None:
    journal = Journal.open(path)
    path.unlink()
    with pytest.raises(JournalError, match="was removed or replaced"):
        journal.add(Purchase("u", "a"))


def test_a_journal_in_use_by_others_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    journal = Journal.open(path)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusyError, match=r"in use by others for 0\.05 seconds; try again"):
            journal.add(Purchase("u", "a"))
        other.execute("COMMIT")
    journal.add(Purchase("u", "a"))


def test_many_users_are_asked_for_as_one_after_the_other(tmp_path: Path) -> None:
    """Whatever their number and their ids; against a list of what was added."""
    rng = random.Random(1)
    ids = ["", "a\0b", "a", "\n", "é", "'; --", *(f"u{n}" for n in range(600))]
    with Journal.open(tmp_path / "purchases.db") as journal:
        added: list[Purchase] = []
        for n in range(40):
            some = [Purchase(rng.choice(ids[:60]), f"i{rng.randrange(9)}", n * 50 + m) for m in range(20)]
            journal.add(some)
            added += some
        half = journal.last() // 2
        journal.order_forgetting("é")
        journal.add(Purchase("é", "later", 5000))
        added = [one for one in added if one.user != "é"] + [Purchase("é", "later", 5000)]
        for n_users in (0, 1, 2, 3, 64, 255, 257, len(ids)):
            users = [*ids[:n_users], *ids[:2]] if n_users else []
            for after, since in ((0, None), (0, 1000), (half, None)):
                found = journal.bought_by(users, after, since)
                assert len(found) == len(users)
                for user, bought in zip(users, found, strict=True):
                    one_by_one = journal.bought_by([user], after, since)[0]
                    assert bought == one_by_one
                    assert bought.forgotten == (user == "é")
                    if not after:
                        mine = [p for p in added if p.user == user and (since is None or p.time >= since)]
                        assert list(zip(bought.items, bought.times, strict=True)) == [
                            (p.item, p.time) for p in mine
                        ]
