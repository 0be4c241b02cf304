#!/usr/bin/env python3
"""A journal of many purchases: how long it takes to be opened and asked, after its file has left the system's memory.

The journal is filled at the path that is given, and stays there for the next run.
"""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from common import report

from recae.journal import Journal, Purchase


def fill(path: Path, events: int, users: int, items: int) -> float:
    """Makes a journal of so many purchases by SQL alone, unless there is one; seconds."""
    began = time.perf_counter()
    with Journal.open(path) as journal:
        if journal.last():
            return 0.0
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("DROP INDEX events_of_user")
        connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
            "INSERT INTO events SELECT n, printf('%012x%016x', 1700000000000 + n, abs(random())), "
            "'u' || (abs(random()) % ?), 'i' || (abs(random()) % ?), 1700000000000000 + n * 1000, "
            "1700000000000000 + n * 1000, 1.0, 'purchase' FROM numbers",
            (events, users, items),
        )
        connection.execute("CREATE INDEX events_of_user ON events (user)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return time.perf_counter() - began


def forget_pages(path: Path) -> None:
    """Lets the system drop what it holds of a file in memory, as after a restart of the machine."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(function: Callable[[], object]) -> tuple[float, object]:
    began = time.perf_counter()
    found = function()
    return time.perf_counter() - began, found


@click.command()
@click.option(
    "--path",
    default=Path(tempfile.gettempdir(), "journal.db"),
    show_default=True,
    type=click.Path(path_type=Path),
)
@click.option("--events", default=10_000_000, show_default=True)
@click.option("--users", default=200_000, show_default=True)
@click.option("--items", default=50_000, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(path: Path, events: int, users: int, items: int, out: Path | None) -> None:
    table = [{"what": f"making {events:,} by SQL", "s": fill(path, events, users, items)}]
    forget_pages(path)
    seconds, journal = timed(lambda: Journal.open(path))
    table.append({"what": "opening", "s": seconds})
    table.append({"what": "one customer, cold", "s": timed(lambda: journal.bought_by(["u7"]))[0]})
    many = [f"u{n}" for n in range(100, 1100)]
    table.append({"what": "a thousand customers, cold", "s": timed(lambda: journal.bought_by(many))[0]})
    table.append({"what": "the same again", "s": timed(lambda: journal.bought_by(many))[0]})
    last = journal.last()
    metadata = journal.folding(last - 10_000)
    table.append(
        {"what": "the last 10,000, for an update", "s": timed(lambda: journal.unfolded(metadata))[0]}
    )
    table.append({"what": "one more purchase", "s": timed(lambda: journal.add(Purchase("u7", "i7")))[0]})
    table.append({"what": "all, for an update", "s": timed(journal.unfolded)[0]})
    report(f"{last:,} purchases, {path.stat().st_size / 2**20:,.0f} MiB", table, out)


if __name__ == "__main__":
    main()
