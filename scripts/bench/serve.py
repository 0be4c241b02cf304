#!/usr/bin/env python3
"""`recae serve` under load from another process on the same machine: latency at a fixed rate, and overload.

Requests are sent at the given rate whether or not answers come in time (an open loop), over kept-alive connections. A
latency counts from when a request was due, so that a server that falls behind cannot hide it; in the overload, where
requests wait in this process too, from when it was sent. Answers for 200 of the users are compared with the model's own
recommendations. With --write-share that part of the requests are purchases of other users, which go to a journal;
slices of reading alone come between those with purchases, so that both meet the same load of the machine. Needs
pip install 'recae[serve]'.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

import click
import numpy as np
from common import report

import recae
from recae.journal import Journal


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way."""

    def __init__(self, done) -> None:
        self.done, self.buffer, self.since, self.user = done, b"", 0.0, ""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def send(self, since: float, user: str, request: bytes) -> None:
        self.since, self.user = since, user
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = int(re.search(rb"content-length: (\d+)", self.buffer[:end].lower())[1])
        if len(self.buffer) >= end + 4 + length:
            status, body = int(self.buffer[9:12]), self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.done(self, status, body)

    def connection_lost(self, error) -> None:
        self.done(self, 0, b"")


async def load(
    port: int,
    users: list[str],
    n: int,
    rate: float,
    seconds: float,
    connections: int,
    check,
    from_due: bool = True,
    write_share: float = 0.0,
    items: tuple[str, ...] = (),
    seed: int = 0,
) -> dict:
    """Sends rate × seconds requests; latencies in ms by status, and what was found wrong.

    A part of them, `write_share`, are purchases of items by users after the first 200, whose answers are not compared.

    A latency counts from when the request was due or, not `from_due`, from when it was sent.
    """
    loop = asyncio.get_running_loop()
    requests = [(user, request("/recommend", {"user": user, "n": n})) for user in users]
    latencies: dict[int, list[float]] = {}
    free: deque[Connection] = deque()
    waiting: deque[float] = deque()
    counts: Counter[str] = Counter()
    writes: list[float] = []
    rng = np.random.default_rng(seed)
    picks = iter(rng.integers(0, len(requests), int(rate * seconds) + 1).tolist())

    writing = iter((rng.random(int(rate * seconds) + 1) < write_share).tolist())

    def start(connection: Connection, due: float) -> None:
        pick = next(picks)
        user, text = requests[pick]
        if next(writing):
            bought = {"user": users[200 + pick % (len(users) - 200)], "item": items[pick % len(items)]}
            user, text = WRITES, request("/purchases", bought)
        counts["sent"] += 1
        connection.send(due if from_due else loop.time(), user, text)

    def done(connection: Connection, status: int, body: bytes) -> None:
        latency = (loop.time() - connection.since) * 1e3
        latencies.setdefault(status, []).append(latency)
        counts["answered"] += 1
        if connection.user == WRITES and status == 200:
            writes.append(latency)
        if status == 200:
            counts["wrong"] += check(connection.user, body)
        if status == 0:
            counts["broken connections"] += 1
        elif waiting:
            start(connection, waiting.popleft())
        else:
            free.append(connection)

    for _ in range(connections):
        free.append((await loop.create_connection(lambda: Connection(done), "127.0.0.1", port))[1])
    begin, total = loop.time(), int(rate * seconds)
    for i in range(total):
        due = begin + i / rate
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        if free:
            start(free.popleft(), due)
        else:
            waiting.append(due)
        if i % 64 == 0:
            await asyncio.sleep(0)
    if not from_due:
        waiting.clear()  # what this process could not even send
    while counts["answered"] < counts["sent"] + len(waiting) and loop.time() < begin + seconds + 30:
        await asyncio.sleep(0.01)
    counts["never answered"] = counts["sent"] + len(waiting) - counts["answered"]
    for connection in free:
        connection.done = lambda *answer: None
        connection.transport.abort()
    return {"latencies": latencies, "writes": writes, "counts": counts, "took": loop.time() - begin}


WRITES = "\0"  # in the place of a user: the request is a purchase


def request(path: str, content: dict) -> bytes:
    body = json.dumps(content).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def together(parts: list[dict]) -> dict:
    """What several slices found, as one."""
    statuses = {status for part in parts for status in part["latencies"]}
    return {
        "latencies": {
            status: [one for part in parts for one in part["latencies"].get(status, [])]
            for status in statuses
        },
        "writes": [one for part in parts for one in part["writes"]],
        "counts": sum((part["counts"] for part in parts), Counter()),
        "took": sum(part["took"] for part in parts),
    }


def resident_mib(pid: int) -> float:
    """Memory of a process and its workers, MiB; what they share counts once."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rolled = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (pid, *workers)]
    return sum(int(re.search(r"Pss:\s+(\d+)", text)[1]) for text in rolled) / 1024


@click.command()
@click.option(
    "--model", "path", required=True, type=click.Path(path_type=Path), help="The model file to serve."
)
@click.option("--rate", default=1000.0, show_default=True, help="Requests a second.")
@click.option("--seconds", default=20.0, show_default=True)
@click.option(
    "--overload", default=0.0, show_default=True, help="Then so many requests a second for a minute."
)
@click.option(
    "--write-share", default=0.0, show_default=True, help="Part of the requests that are purchases."
)
@click.option("--connections", default=64, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes of the server.")
@click.option("-n", "n", default=10, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the table here as JSON too.")
def main(
    path: Path,
    rate: float,
    seconds: float,
    overload: float,
    write_share: float,
    connections: int,
    workers: int,
    n: int,
    out: Path | None,
) -> None:
    recommender = recae.load(path)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(recommender.users), min(2000, len(recommender.users)), replace=False)
    users = [recommender.users.id(int(row)) for row in rows]
    expected = {user: recommender.recommend(user, n=n) for user in users[:200]}

    def check(user: str, body: bytes) -> bool:
        """Whether an answer differs from the model's own; scores may differ in the last bits, and so swap ties."""
        if user not in expected:
            return False
        found = json.loads(body)["recommendations"]
        scores = np.array([r["score"] for r in found])
        known = np.array([r.score for r in expected[user]])
        close = len(scores) == len(known) and np.allclose(scores, known, rtol=1e-4, atol=1e-5)
        same = len({r["item_id"] for r in found} & {r.item for r in expected[user]})
        return not (close and same >= len(known) - 1)

    # the command beside this interpreter, in a process of its own
    command = [Path(sys.executable).with_name("recae"), "serve", "--model", path, "--port", "0"]
    command += ["--workers", workers]
    journal = Path(tempfile.mkdtemp(prefix="recae-bench-")) / "purchases.db"
    if write_share:
        command += ["--journal", journal]
    items = tuple(recommender.items.id(int(row)) for row in rng.integers(0, len(recommender.items), 1000))
    server = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        port = None
        for line in server.stderr:
            if found := re.search(r"http://[^:/]+:(\d+)", line):
                port = int(found[1])
                break
        if port is None:
            raise SystemExit("the server did not start")
        table = []
        asyncio.run(load(port, users, n, rate / 4, 2, connections, check))  # warm
        for what, at, duration, links in (
            (f"{rate:,.0f} requests/s", rate, seconds, connections),
            (f"overload, {overload:,.0f} requests/s", overload, 60.0, 1024),
        ):
            if at <= 0:
                continue
            before = resident_mib(server.pid)
            found = asyncio.run(
                load(port, users, n, at, duration, links, check, not what.startswith("overload"))
            )
            table.append(row_of(what, found, before, resident_mib(server.pid)))
            time.sleep(1)
        if write_share:
            alone, mixed = [], []
            before = resident_mib(server.pid)
            for slice_ in range(max(1, round(seconds / SLICE))):
                for found, share in ((alone, 0.0), (mixed, write_share)):
                    run = load(
                        port, users, n, rate, SLICE, connections, check,
                        write_share=share, items=items, seed=slice_,
                    )  # fmt: skip
                    found.append(asyncio.run(run))
            after = resident_mib(server.pid)
            parts = {
                "reading alone, in slices": together(alone),
                f"{write_share:.0%} purchases": together(mixed),
            }
            table += [row_of(what, found, before, after) for what, found in parts.items()]
            p99 = [
                float(np.percentile(found["latencies"].get(200, [np.nan]), 99)) for found in parts.values()
            ]
            writes = parts[f"{write_share:.0%} purchases"]["writes"]
            print(f"p99 with purchases over that of reading alone: {p99[1] / p99[0]:.2f}")
            print(
                f"{len(writes):,} purchases acknowledged, p50 {np.percentile(writes, 50):.1f} ms, "
                f"p99 {np.percentile(writes, 99):.1f} ms"
            )
            with Journal.open(journal, create=False) as opened:
                print(f"{opened.counts().purchases:,} in the journal")
        report(
            f"{len(recommender.users):,} × {len(recommender.items):,}, n={n}, {workers} workers", table, out
        )
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        shutil.rmtree(journal.parent, ignore_errors=True)


SLICE = 4.0  # seconds of reading alone, and then with purchases


def row_of(what: str, found: dict, before: float, after: float) -> dict:
    """A row of the table."""
    good = np.array(found["latencies"].get(200, [np.nan]))
    return {
        "what": what,
        "answered/s": len(good) / found["took"],
        "p50 ms": float(np.percentile(good, 50)),
        "p99 ms": float(np.percentile(good, 99)),
        "max ms": float(good.max()),
        "503": len(found["latencies"].get(503, [])),
        "other": sum(len(v) for k, v in found["latencies"].items() if k not in (200, 503)),
        "wrong": found["counts"]["wrong"],
        "never answered": found["counts"]["never answered"],
        "MiB before": before,
        "MiB after": after,
    }


if __name__ == "__main__":
    main()
