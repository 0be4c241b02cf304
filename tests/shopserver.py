"""A small shop with hostile ids and names, its application in this process, and the server as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from commands import start
from fastapi import FastAPI
from forking import Forked
from starlette.testclient import TestClient

from recae.ids import IdMap
from recae.journal import Journal
from recae.modelfile import save
from recae.models import SigmoidAutoencoder
from recae.recommender import Recommender
from recae.serving.app import create_app
from recae.serving.drift import Live
from recae.serving.metrics import Metrics
from recae.serving.routes import ServeSettings
from recae.serving.schemas import RecommendRequest
from recae.serving.served import ModelReloader, load_served

N_USERS, N_ITEMS = 60, 40
HOSTILE = [
    "a/b",
    "..",
    "line\nbreak",
    "50%",
    "?q=1#x",
    "<img src=x onerror=alert(1)>",
    "Zoë ☕",
    " ",
    'quo"te\\',
]
NAMES = [
    "Tea Pot",
    "Green TEA",
    "tea <b>bold</b>",
    None,
    "",
    "STRASSE ☕",
    "Pot\u2028lid",
    '"quoted" \\ pot',
    "x",
]
JSON = {"Content-Type": "application/json"}


def shop(seed: int = 0, **changes: Any) -> Recommender:
    """Random weights and histories: every answer is arbitrary, and no two seeds have the same."""
    rng = np.random.default_rng(seed)
    dense = np.random.default_rng(7).random((N_USERS, N_ITEMS)) < 0.15
    dense[3] = False  # a user without purchases
    d = 6
    numbers = [
        rng.normal(size=shape).astype(np.float32) for shape in ((N_ITEMS, d), d, (N_ITEMS, d), N_ITEMS)
    ]
    names = NAMES + [f"Thing {n}" for n in range(N_ITEMS - len(NAMES))]
    parts: dict[str, Any] = {
        "model": SigmoidAutoencoder(*numbers, input_power=0.5, settings={"factors": d, "input_power": 0.5}),
        "users": IdMap([*HOSTILE, *(f"u{n}" for n in range(N_USERS - len(HOSTILE)))]),
        "items": IdMap([*HOSTILE, *(f"P{n:02}" for n in range(N_ITEMS - len(HOSTILE)))]),
        "item_names": pa.array(names, pa.large_string()),
        "histories": sp.csr_matrix(dense.astype(np.float32)),
        "metadata": {"metrics": {"recall@20": float("nan")}, "history": [{"epoch": 1}], "fingerprint": "ab"},
    }
    return Recommender(**(parts | changes))


def lists_by_version(path: Path, *seeds: int) -> dict[str, dict[str, list[str]]]:
    """The lists of some users by the shop of each seed, under its version; the last one is in the file at the end."""
    expected = {}
    for seed in seeds:
        model = shop(seed)
        save(model, path)
        lists = {user: [r.item for r in model.recommend(user)] for user in (f"u{n}" for n in range(12))}
        expected[load_served(path).version] = lists
    return expected


def application(path: Path, journal: Journal | None = None, **settings: Any) -> FastAPI:
    metrics = Metrics()
    return create_app(
        ModelReloader(path, metrics, journal=journal),
        metrics,
        ServeSettings(**({"reload": False} | settings)),
        live=None if journal is None else Live(journal),
    )


@contextmanager
def client(recommender: Recommender, folder: Path, **settings: Any) -> Iterator[TestClient]:
    path = folder / "model.recae"
    save(recommender, path)
    with TestClient(application(path, **settings)) as opened:
        yield opened


@contextmanager
def server(path: Path, *options: str, first: str = "", **environment: str) -> Iterator[tuple[Forked, str]]:
    """The process of `recae serve` and where it listens; killed at the end, if it still runs."""
    process = start(
        "serve", "--model", path, "--port", "0", *options,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **environment}, first=first,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        url = None
        while url is None:
            line = process.stderr.readline().decode()
            assert line, "the server ended"
            url = re.search(r"serving .* on (http://[^/]+)/", line)
        yield process, url[1]
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def asking(
    url: str, expected: Mapping[str, Mapping[str, list[str]]]
) -> Iterator[tuple[Counter[str], list[object]]]:
    """Ask for lists over four connections until the block ends.

    Args:
        url: of the server.
        expected: of `lists_by_version`.

    Returns:
        How many lists came from each version, and what was not as expected: answers and exceptions.
    """
    users = list(next(iter(expected.values())))
    seen: Counter[str] = Counter()
    wrong: list[object] = []
    stop = threading.Event()

    def ask(first: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        try:
            for user in islice(cycle(users), first, None):
                if stop.is_set():
                    break
                connection.request("POST", "/recommend", json.dumps({"user": user}), JSON)
                answer = connection.getresponse()
                found = json.loads(answer.read())
                if answer.status != 200 or expected[found["model"]][user] != [
                    r["item_id"] for r in found["recommendations"]
                ]:
                    wrong.append((answer.status, found))
                seen[found["model"]] += 1
        except Exception as error:
            wrong.append(error)
        connection.close()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen, wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def question(user: str = "u1", **options: Any) -> RecommendRequest:
    return RecommendRequest(user=user, **options)


def wait(until: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
