"""Tests of `recae serve --workers`: one port, one model in memory, and what happens when processes die."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from commands import recae, refused, start
from forking import PIPE
from shopserver import JSON, asking, lists_by_version, server, shop, wait

from recae.ids import IdMap
from recae.modelfile import save
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender
from recae.serving.workers import _how

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up as Linux shows them")

# Looks at the model file five times a second instead of once
WATCHFUL = "from recae.serving import workers; workers._CHECK = 0.2"
# A worker does not survive its start
BROKEN = """
from recae.serving import served
def warm_up(recommender):
    raise ValueError("nothing is warm")
served.warm_up = warm_up
"""


def ask(url: str, path: str = "/recommend", body: Any = None) -> tuple[int, bytes]:
    """Over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    if path == "/recommend":
        connection.request("POST", path, json.dumps(body or {"user": "u1"}), JSON)
    else:
        connection.request("GET", path)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def children(pid: int) -> set[int]:
    try:
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except FileNotFoundError:
        return set()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_dies_is_replaced_and_all_count_together(tmp_path: Path) -> None:
    save(shop(), tmp_path / "m.recae")
    counted = 'recae_requests_total{method="POST",route="/recommend",status="200"} %d.0'
    with server(tmp_path / "m.recae", "--workers", "2") as (process, url):
        first = children(process.pid)
        assert len(first) == 2
        assert [ask(url)[0] for _ in range(6)] == [200] * 6
        wait(lambda: counted % 6 in ask(url, "/metrics")[1].decode())  # an answer is counted once it is sent
        died = min(first)
        os.kill(died, signal.SIGKILL)
        wait(lambda: len(children(process.pid)) == 2 and died not in children(process.pid), 60)
        assert [ask(url)[0] for _ in range(6)] == [200] * 6
        wait(lambda: counted % 12 in ask(url, "/metrics")[1].decode())
        text = ask(url, "/metrics")[1].decode()
        assert text.count("recae_model_loaded_timestamp_seconds{") == 1
        last = children(process.pid)
        process.terminate()
        said = process.communicate(timeout=60)[1].decode()
        assert process.returncode == 143
        assert f"worker {died} has ended by SIGKILL, and another one is started" in said
        assert said.endswith("terminated: the server has stopped\n")
        assert "Traceback" not in said
        assert not any(map(alive, last))


@pytest.mark.thorough
def test_models_are_replaced_in_every_worker_without_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.recae"
    expected = lists_by_version(path, 1, 2, 0)
    versions = list(expected)
    with server(path, "--workers", "2", first=WATCHFUL) as (process, url):
        with asking(url, expected) as (seen, wrong):
            for seed in (1, 2):
                before = children(process.pid)
                save(shop(seed), path)
                wait(lambda before=before: len(now := children(process.pid)) == 2 and not now & before, 120)
                assert {json.loads(ask(url)[1])["model"] for _ in range(6)} == {versions[seed - 1]}
            before = children(process.pid)
            (tmp_path / "bad").write_text("nonsense")
            (tmp_path / "bad").replace(path)
            wait(lambda: 'reloads_total{result="refused"} 1.0' in ask(url, "/metrics")[1].decode(), 60)
            assert children(process.pid) == before
        assert not wrong
        assert set(seen) == set(expected)
        assert 'reloads_total{result="loaded"} 2.0' in ask(url, "/metrics")[1].decode()


@pytest.mark.thorough
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_watcher(tmp_path: Path, how: signal.Signals) -> None:
    """Requests in progress are answered, and no worker is left, even where the watching process is killed."""
    save(shop(), tmp_path / "m.recae")
    with server(tmp_path / "m.recae", "--workers", "3") as (process, url):
        workers = children(process.pid)
        where = urlsplit(url)
        with socket.create_connection((str(where.hostname), where.port), timeout=60) as raw:
            head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            raw.sendall(head + b'Content-Length: 14\r\n\r\n{"user')
            time.sleep(0.5)
            for pid in workers if how == signal.SIGINT else ():  # a terminal tells all of them
                os.kill(pid, how)
            process.send_signal(how)
            time.sleep(0.5)
            raw.sendall(b'": "u1"}')
            assert raw.recv(12) == b"HTTP/1.1 200"
        assert process.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
        wait(lambda: not any(map(alive, workers)), 60)


@pytest.mark.thorough
def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    save(shop(), tmp_path / "m.recae")
    process = start(
        "serve", "--model", tmp_path / "m.recae", "--port", "0", "--workers", "2", stderr=PIPE, first=BROKEN
    )  # fmt: skip
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2
    assert "http://" not in said
    assert re.search(r"worker \d+ has ended with exit code 1 before it served", said)
    assert "nothing is warm" in said


@pytest.mark.thorough
def test_the_model_is_in_memory_once(tmp_path: Path) -> None:
    d, n_items = 256, 60_000  # 120 MB
    rng = np.random.default_rng(0)
    shapes = ((n_items, d), d, (n_items, d), n_items)
    numbers = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    model = SigmoidAutoencoder(*numbers, input_power=0.5, settings={"factors": d, "input_power": 0.5})
    ids = IdMap([f"P{n}" for n in range(n_items)])
    save(Recommender(model=model, users=None, items=ids), tmp_path / "m.recae")
    size = (tmp_path / "m.recae").stat().st_size

    def own(pid: int) -> int:
        """Private memory of a process, bytes."""
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return 1024 * sum(int(found) for found in re.findall(r"Private_\w+:\s+(\d+) kB", text))

    with server(tmp_path / "m.recae", "--workers", "3") as (process, url):
        for _ in range(12):
            assert ask(url, body={"items": ["P1", "P7"]})[0] == 200
        assert size > 100 * 2**20
        assert max(map(own, children(process.pid))) < size / 2


def test_without_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(shop(), tmp_path / "m.recae")
    monkeypatch.delattr(os, "fork")
    result = recae("serve", "--model", tmp_path / "m.recae", "--port", "0", "--workers", "2")
    refused(result, "leave out --workers")


def test_how_a_process_ended() -> None:
    assert _how(3) == "with exit code 3"
    assert _how(-9) == "by SIGKILL"
    assert _how(-100) == "by signal 100"
