"""Tests of the server as a process: replaced models under load, slow and vanishing clients, and the end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from shopserver import JSON, asking, lists_by_version, server, shop

from recae.modelfile import save

# Looks at the model file five times a second instead of once
WATCHFUL = """
from functools import partial
from recae.serving import served
served.ModelReloader = partial(served.ModelReloader, seconds=0.2)
"""

# Gives a body less than the usual ten seconds
IMPATIENT = """
from functools import partial
from recae.serving import routes
routes.ServeSettings = partial(routes.ServeSettings, body_seconds=1.5)
"""


def connect(url: str) -> http.client.HTTPConnection:
    where = urlsplit(url)
    assert where.hostname is not None
    return http.client.HTTPConnection(where.hostname, where.port, timeout=20)


def ask(connection: http.client.HTTPConnection, body: Any, path: str = "/recommend") -> tuple[int, Any]:
    connection.request("POST", path, json.dumps(body), JSON)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_models_are_replaced_under_load_without_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "m.recae"
    expected = lists_by_version(path, 1, 2, 0)
    versions = list(expected)
    with server(path, first=WATCHFUL) as (_, url):
        with asking(url, expected) as (seen, wrong):
            for seed, version in ((1, versions[0]), (2, versions[1])):
                save(shop(seed), path)
                end = time.monotonic() + 20
                while not seen[version] and time.monotonic() < end and not wrong:
                    time.sleep(0.05)
            path.write_bytes(b"nonsense")
            time.sleep(0.8)
            path.unlink()
            time.sleep(0.5)
        assert not wrong
        assert set(seen) == set(expected)
        connection = connect(url)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        assert 'recae_model_reloads_total{result="loaded"} 2.0' in text
        assert 'recae_model_reloads_total{result="refused"} 1.0' in text
        assert ask(connection, {"user": "u1"})[1]["model"] == versions[1]
        connection.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("process") / "m.recae"
    save(shop(), path)
    with server(path, "--no-reload", first=IMPATIENT) as (_, listening):
        yield listening


def test_clients_that_vanish_or_talk_nonsense_do_no_harm(url: str) -> None:
    where = urlsplit(url)
    head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for text in (
        head + 'Content-Length: 14\r\n\r\n{"user": "u1"}',
        head + "Content-Length: 500\r\n\r\n{",
        head + "Content-Length: -5\r\n\r\n",
        head + "Transfer-Encoding: chunked\r\n\r\nffff\r\n{",
        head,
        "\x00\xff\r\n\r\n",
        "GET /items?q=%ff%fe HTTP/1.1\r\n\r\n",
    ):
        for _ in range(5):
            with socket.create_connection((where.hostname, where.port), timeout=5) as raw:
                raw.sendall(text.encode("latin-1"))
    connection = connect(url)
    assert ask(connection, {"user": "u1"})[0] == 200
    connection.request("GET", "/metrics")
    assert 'status="500"' not in connection.getresponse().read().decode()
    connection.close()


def test_paths_as_they_are_sent(url: str) -> None:
    """Clients tidy paths up before they send them; an attacker's does not."""
    where = urlsplit(url)
    for path in ("/page/../../../../etc/passwd", "/page/..%2f..%2fapp.py", "/page//etc/passwd", "/../app.py"):
        with socket.create_connection((where.hostname, where.port), timeout=5) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: raw.recv(65_536), b""))  # called at once
        assert answer.startswith(b"HTTP/1.1 404")
        assert b"urn:recae:problem:no-such-path" in answer


def test_a_slow_body_is_given_up(url: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as raw:
        raw.sendall(
            b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
        answer = b"".join(iter(lambda: raw.recv(65_536), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:recae:problem:slow-body" in answer
    assert b"within 1.5 seconds" in answer


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_end_answers_what_is_under_way(tmp_path: Path, number: int, code: int) -> None:
    save(shop(), tmp_path / "m.recae")
    with server(tmp_path / "m.recae") as (process, listening):
        connection, idle = connect(listening), connect(listening)
        assert ask(idle, {"user": "u1"})[0] == 200
        body = json.dumps({"user": "u1"})
        connection.putrequest("POST", "/recommend")
        for name, value in (JSON | {"Content-Length": str(len(body))}).items():
            connection.putheader(name, value)
        connection.endheaders(body[:5].encode())
        time.sleep(0.3)
        process.send_signal(number)
        time.sleep(0.3)
        connection.send(body[5:].encode())
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["user"]) == (200, "u1")
        assert process.wait(timeout=15) == code
        assert process.stderr is not None
        said = process.stderr.read().decode()
        assert said.splitlines()[-1].endswith(": the server has stopped")
        assert "Traceback" not in said
        connection.close()
        idle.close()
