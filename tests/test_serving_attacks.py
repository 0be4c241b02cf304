"""Attacks on the real server over raw sockets: what two servers could read in two ways, floods, and slowness."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from commands import start
from shopserver import server, shop

from recae.errors import ConfigError
from recae.modelfile import save
from recae.serving.connections import Complaints, Connections, Limits, fitting, of_network
from recae.serving.hosts import default_hosts, parse_hosts

# Shorter times than usual
IMPATIENT = """
from functools import partial
from recae.serving import connections
connections.Limits = partial(
    connections.Limits, head_seconds=0.8, body_seconds=0.8, write_seconds=0.5, unsent=2**20
)
connections._BYTES_PER_SECOND = 2**24
"""
# The system takes little of an answer off the server
SMALL = """
import socket
from recae.serving import server
bind = server.bind
def bind_small(host, port):
    listener = bind(host, port)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener
server.bind = bind_small
"""
HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
BODY = b'{"user": "u1"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS = b"Transfer-Encoding: chunked\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
POST = b"POST /recommend HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("attacks") / "m.recae"
    save(shop(), found)
    return found


@pytest.fixture(scope="module")
def port(path: Path) -> Iterator[int]:
    with server(path, "--no-reload", first=IMPATIENT) as (_, url):
        yield int(urlsplit(url).port or 0)
        assert health(int(urlsplit(url).port or 0)) == 200


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def talk(port: int, *parts: bytes, pause: float = 0.05) -> bytes:
    """Send parts, each in a packet of its own, and return all that comes until the server closes the connection."""
    with connect(port) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for place, part in enumerate(parts):
                time.sleep(pause if place else 0)
                raw.sendall(part)
        except OSError:
            pass  # it has closed the connection already, and says why
        found = b""
        while data := raw.recv(65_536):
            found += data
    return found


def statuses(answer: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1.1 (\d+)", answer)]


def health(port: int) -> int:
    return statuses(talk(port, HEALTH + CLOSE + b"\r\n"))[0]


@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "two packets"])
def test_a_request_that_offers_another_protocol_keeps_its_body(port: int, apart: bool) -> None:
    head, last = POST + LENGTH + OFFER + b"\r\n", HEALTH + CLOSE + b"\r\n"
    found = talk(port, head, BODY, last) if apart else talk(port, head + BODY + last)
    assert statuses(found) == [200, 200]
    assert found.count(b'"recommendations":[') == 1


def test_many_such_offers_after_one_another(port: int) -> None:
    found = talk(port, (POST + LENGTH + OFFER + b"\r\n" + BODY) * 20 + HEALTH + CLOSE + OFFER + b"\r\n")
    assert statuses(found) == [200] * 21


def test_a_body_is_never_the_next_request(port: int) -> None:
    hidden = b"GET /users/u1/items HTTP/1.1\r\n" + HOST + b"\r\n"
    head = POST + b"Content-Length: %d\r\n" % len(hidden) + OFFER + b"\r\n"
    for found in (
        talk(port, head, hidden, HEALTH + CLOSE + b"\r\n"),
        talk(port, head + hidden + HEALTH + CLOSE + b"\r\n"),
    ):
        assert statuses(found) == [422, 200]
        assert b'"owned"' not in found
        assert b'"items":[' not in found


def test_no_other_protocol_is_spoken(port: int) -> None:
    found = talk(
        port, HEALTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + HEALTH + CLOSE + b"\r\n"
    )
    assert statuses(found) == [200, 200]
    assert statuses(talk(port, b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n")) == [501]
    assert statuses(talk(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == [400]
    assert statuses(talk(port, b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n")) == [505]
    assert statuses(talk(port, b"\x16\x03\x01\x02\x00\x01" + bytes(300))) == [400]


@pytest.mark.some(8)
@pytest.mark.parametrize(
    "fields",
    [
        LENGTH + CHUNKS,
        CHUNKS + LENGTH,
        LENGTH + LENGTH,
        LENGTH + b"Content-Length: 5\r\n",
        CHUNKS + CHUNKS,
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Content-Length: +14\r\n",
        b"Content-Length: 14, 14\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x0e\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        LENGTH + b"X: a\r\n b\r\n",
        LENGTH + b"X: a\x00b\r\n",
        LENGTH + b"X: a\rb\r\n",
        LENGTH + b"X: a\n",
        LENGTH + HOST,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(port: int, fields: bytes) -> None:
    body = CHUNKED if b"ransfer" in fields else BODY
    found = talk(port, POST + fields + b"\r\n" + body + HEALTH + CLOSE + b"\r\n")
    assert statuses(found) == [400]
    assert b"urn:recae:problem:bad-request" in found


def test_chunks_and_versions(port: int) -> None:
    assert statuses(talk(port, POST + CLOSE + CHUNKS + b"\r\n" + CHUNKED)) == [200]
    assert statuses(talk(port, POST + CLOSE + CHUNKS + b"\r\n" + CHUNKED.replace(b"\r\n", b"\n", 1))) == [400]
    assert statuses(talk(port, b"GET /health HTTP/1.0\r\n\r\n")) == [200]
    assert statuses(talk(port, b"GET /health HTTP/1.1\r\n\r\n")) == [400]
    old = POST.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert statuses(talk(port, old + CHUNKS + b"\r\n" + CHUNKED)) == [400]


@pytest.mark.parametrize("target", [b"http://localhost", b"http://localhost:x/health", b"/\xff"])
def test_targets_that_cannot_be_read(port: int, target: bytes) -> None:
    asked = b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    assert statuses(talk(port, asked)) == [400]
    assert statuses(talk(port, HEALTH + b"\r\n", asked)) == [200, 400]


def test_what_comes_after_the_last_request_is_not_read(port: int) -> None:
    assert statuses(talk(port, HEALTH + CLOSE + b"\r\n" + HEALTH + b"\r\n")) == [200]
    found = talk(port, HEALTH + b"\r\n" + b"\x00nonsense")
    assert statuses(found) == [200]
    assert found.endswith(b'{"status":"ok"}')
    assert 1 <= statuses(talk(port, (HEALTH + b"\r\n") * 500)).count(200) <= Limits().pipelined + 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 3_000_000, 414),
        (HEALTH + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (HEALTH + b"X: " + b"a" * 3_000_000, 431),
        (HEALTH + b"a" * 3_000_000, 431),
        (HEALTH + b"X: a\r\n" * 101 + b"\r\n", 431),
        (POST + CHUNKS + b"\r\n5;" + b"a" * 3_000_000, 400),
        (POST + CHUNKS + b"\r\n" + CHUNKED[:-2] + b"X: " + b"a" * 3_000_000, 400),
        (HEALTH + CHUNKS + b"\r\n" + b"a\r\n0123456789\r\n" * 300_000, 200),
    ],
    ids=[
        "url",
        "no end of url",
        "field",
        "no end of field",
        "no end of name",
        "fields",
        "chunk",
        "trailer",
        "body",
    ],
)
def test_what_is_too_large_is_not_held(port: int, text: bytes, status: int) -> None:
    assert statuses(talk(port, text)) == [status]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([b""], []),
        ([b"\r\n"] * 60, [408]),
        ([HEALTH, *[b"X: 1\r\n"] * 60], [408]),
        ([POST + b"Content-Length: 500\r\n\r\n", *[b"a"] * 60], [408]),
        ([HEALTH + b"Content-Length: 500\r\n\r\n", *[b"a"] * 60], [200]),
        ([HEALTH + b"\r\n", *[b"\r\n"] * 60], [200, 408]),
    ],
    ids=["nothing", "line breaks", "header", "body", "an unread body", "after a request"],
)
def test_what_drips_is_given_up(port: int, parts: list[bytes], status: list[int]) -> None:
    found = talk(port, *parts)
    assert statuses(found) == status
    assert (b"did not arrive within 0.8 seconds" in found) == (408 in status)


def test_foreign_hosts_are_refused(port: int) -> None:
    """A foreign page whose name points to this machine asks under that name: DNS rebinding."""
    asked = b"GET /users HTTP/1.1\r\n" + CLOSE
    for host in (
        b"evil.example",
        b"evil.example:%d" % port,
        b"localhost.evil.example",
        b"",
        b"[::1",
        b"10.1.2.3",
    ):
        found = talk(port, asked + b"Host: " + host + b"\r\n\r\n")
        assert statuses(found) == [421]
        assert b"--allowed-hosts" in found
    for host in (b"localhost", b"LOCALHOST.:%d" % port, b"127.0.0.1:%d" % port, b"[::1]:1"):
        assert statuses(talk(port, asked + b"Host: " + host + b"\r\n\r\n")) == [200]


@pytest.mark.parametrize(
    ("authority", "host", "status"),
    [
        (b"evil.example", b"localhost", 421),
        (b"evil.example:80", b"localhost", 421),
        (b"localhost@evil.example", b"localhost", 421),
        (b"evil.example@localhost", b"localhost", 421),
        (b"localhost:80", b"evil.example", 200),
        (b"[::1]", b"evil.example", 200),
    ],
)
def test_the_host_of_a_target_counts_before_the_header(
    port: int, authority: bytes, host: bytes, status: int
) -> None:
    asked = b"GET http://" + authority + b"/users HTTP/1.%d\r\n" + CLOSE
    field = b"Host: " + host + b"\r\n"
    assert statuses(talk(port, asked % 1 + field + b"\r\n")) == [status]
    assert statuses(talk(port, asked % 1 + b"\r\n")) == [400]
    assert statuses(talk(port, asked % 0 + b"\r\n")) == [status]
    offered = asked.replace(CLOSE, OFFER) % 1 + field + b"\r\n"
    assert statuses(talk(port, offered + HEALTH + CLOSE + b"\r\n")) == [status, 200]


def test_clients_that_do_not_read_are_cut_off(path: Path) -> None:
    """The answers of one that does not read are never all held, and an answer to one that reads is sent."""
    asked = {"requests": [{"user": f"u{n % 40 + 1}", "n": 1_000, "exclude_owned": False} for n in range(256)]}
    body = json.dumps(asked).encode()
    text = POST.replace(b"recommend", b"recommend/batch") + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with server(path, "--no-reload", first=IMPATIENT + SMALL) as (process, url):
        port = int(urlsplit(url).port or 0)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.connect(("127.0.0.1", port))
        raw.sendall(text)
        assert raw.recv(12) == b"HTTP/1.1 200"
        deadline = time.monotonic() + 60
        # until the first one is cut off there is no room for a second answer
        while (found := statuses(talk(port, text.replace(HOST, HOST + CLOSE)))) != [200]:
            assert found == [503]
            assert time.monotonic() < deadline
        raw.close()
        process.terminate()
        said = process.communicate(timeout=60)[1].decode()
        assert "127.0.0.1: it does not read its answers, and is cut off" in said
        assert "Traceback" not in said


def test_idle_connections_do_not_block_others(path: Path) -> None:
    """As many as there are descriptors, and one line about them."""
    first = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))"
    with server(path, "--no-reload", first=first) as (process, url):
        port = int(urlsplit(url).port or 0)
        idle = [connect(port) for _ in range(300)]
        for raw in idle[::3]:
            raw.sendall(b"GET /he")
        assert [health(port) for _ in range(5)] == [200] * 5
        process.terminate()
        said = process.communicate(timeout=60)[1].decode()
        assert said.count("connections of this address are open") == 1
        assert "127.0.0.1: " in said
        assert "Traceback" not in said
        for raw in idle:
            raw.close()


@pytest.mark.thorough
def test_a_huge_header_does_not_stall_others(path: Path) -> None:
    def resident(pid: int) -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]

    with server(path, "--no-reload", RECAE_TOKEN="abc") as (process, url), ThreadPoolExecutor(4) as pool:
        port = int(urlsplit(url).port or 0)
        before = resident(process.pid)
        for text in (HEALTH + b"X: ", b"GET /", HEALTH, POST + CHUNKS + b"\r\n5;"):
            floods = [pool.submit(talk, port, text + b"a" * 117_000_000) for _ in range(2)]
            assert [health(port) for _ in range(10)] == [200] * 10
            assert all(statuses(flood.result())[0] >= 400 for flood in floods)
        assert resident(process.pid) - before < 20 * 1024  # KiB


@pytest.mark.thorough
def test_only_one_of_several_says_that_it_serves(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [
        start("serve", "--model", path, "--port", str(port), "--no-reload", stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    try:
        deadline = time.monotonic() + 60
        while sum(process.poll() is None for process in processes) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running = next(process for process in processes if process.poll() is None)
        running.terminate()
        said = {process: process.communicate(timeout=60)[1].decode() for process in processes}
        assert sum("serving" in text for text in said.values()) == 1
        assert "serving" in said[running]
        for process in processes:
            if process is not running:
                assert process.returncode == 2
                assert "error: cannot listen on 127.0.0.1" in said[process]
                assert "Traceback" not in said[process]
    finally:
        for process in processes:
            process.kill()


def test_a_port_that_another_process_bound_first(path: Path) -> None:
    """Both have bound the port, and the other one listens while the model is loaded."""
    first = """
import socket
from recae.serving import server
taken = socket.socket()
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
bind = server.bind
def bind_both(host, port):
    taken.bind((host, 0))
    mine = bind(host, taken.getsockname()[1])
    taken.listen()
    return mine
server.bind = bind_both
"""
    process = start("serve", "--model", path, "--no-reload", stderr=subprocess.PIPE, first=first)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2
    assert "serving" not in said
    assert "error: cannot listen on 127.0.0.1, port" in said
    assert "address already in use" in said


def test_one_line_for_an_address_and_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    complain = Complaints(lambda: now)
    for _ in range(5):
        complain("1.1.1.1", "nonsense")
        complain("2.2.2.2", "rubbish")
    now = 59.0
    complain.flush()
    assert [record.getMessage() for record in caplog.records] == ["1.1.1.1: nonsense", "2.2.2.2: rubbish"]
    now = 61.0
    complain.flush()
    assert [record.getMessage() for record in caplog.records[2:]] == [
        "1.1.1.1: 4 more in a minute",
        "2.2.2.2: 4 more in a minute",
    ]
    caplog.clear()
    for n in range(3_000):  # of so many addresses only some are remembered
        complain(f"3.3.{n // 256}.{n % 256}", "nonsense")
    assert len(caplog.records) <= 1_025


class Fake:
    """A connection that is none."""

    def __init__(self, address: str, waiting: int = 0) -> None:
        self.address, self.waiting = address, waiting
        self.deadline = self.write_since = self.write_deadline = math.inf
        self.aborted = False

    def unsent(self) -> int:
        return self.waiting

    def expire(self, now: float) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True


def test_who_makes_room() -> None:
    connections = Connections(Limits(connections=4, per_address=3))
    a = [Fake("a") for _ in range(3)]
    b = Fake("b")
    assert all(connections.enter(one) for one in (*a, b))
    connections.busy(a[0])
    late = Fake("a")
    assert connections.enter(late)  # too many of a: its own oldest without a request goes
    assert [one.aborted for one in (*a, b)] == [False, True, False, False]
    assert connections.enter(Fake("c"))
    assert a[2].aborted  # too many in all
    for one in (b, late):
        connections.busy(one)
    assert connections.enter(Fake("d"))  # instead of c
    assert len(connections) == 4
    busy = Connections(Limits(connections=1))
    assert busy.enter(b)
    busy.busy(b)
    assert not busy.enter(Fake("c"))
    busy.leave(b)
    busy.leave(b)
    assert busy.enter(Fake("c"))


def test_answers_that_wait_for_their_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    connections = Connections(Limits(unsent=100, write_seconds=10))
    slow, slower = Fake("a", 60), Fake("b", 40)
    assert connections.enter(slower)
    assert connections.enter(slow)
    assert connections.has_room(0)
    assert not connections.has_room(1)
    connections.look()
    now = 3.0
    assert connections.has_room(1)  # the first of both goes
    assert (slow.aborted, slower.aborted) == (False, True)
    now = 9.0
    connections.look()
    assert not slow.aborted
    now = 11.0
    connections.look()
    assert slow.aborted
    assert connections.has_room(10**9)  # one answer may be larger than all that may wait


def test_networks_and_descriptors() -> None:
    assert of_network("1.2.3.4") == "1.2.3.4"
    assert of_network("::ffff:1.2.3.4") == "1.2.3.4"
    assert of_network("2001:db8:1:2:3::4") == of_network("2001:db8:1:2::9%eth0") == "2001:db8:1:2::/64"
    assert of_network("::1") == "::1"
    assert of_network(None) == "unknown address"
    limits, backlog = fitting(10, None)
    assert (limits.connections, limits.per_address) == (10, 7)
    assert backlog > 0
    assert fitting(10, 20)[0].per_address == 10
    assert fitting(10, 4, workers=2)[0].per_address == 2
    assert fitting(1_000, None, workers=4)[0].per_address == 187  # three quarters
    assert fitting(3_000, None, workers=4)[0].per_address == 256  # a quarter of 1,024


def test_hosts() -> None:
    local = default_hosts("127.0.0.1")
    assert all(host in local for host in ("localhost", "localhost:80", "127.0.0.1", "[::1]:9", "LocalHost."))
    assert not any(
        host in local for host in ("example.com", "10.0.0.1", "", "localhost:x", "a@localhost", "::1:80:")
    )
    everywhere = default_hosts("0.0.0.0")
    assert all(host in everywhere for host in ("10.0.0.1:80", "[2001:db8::1]", socket.gethostname()))
    assert "example.com" not in everywhere
    given = parse_hosts(["shop.example.com", "*.example.org"], "10.0.0.5")
    assert all(host in given for host in ("Shop.example.com:443", "a.b.example.org", "10.0.0.5", "localhost"))
    assert not any(
        host in given for host in ("example.org", "xexample.org", "10.0.0.6", "a.shop.example.com")
    )
    assert "whatever" in parse_hosts(["*"], "::1")
    for wrong in ("http://a", "a:80", "a/b", "a*", "ä.example"):
        with pytest.raises(ConfigError, match="--allowed-hosts"):
            parse_hosts([wrong], "::1")


@pytest.mark.thorough
def test_a_host_that_is_allowed(path: Path) -> None:
    with server(path, "--no-reload", "--allowed-hosts", "shop.example.com, *.example.org") as (_, url):
        port = int(urlsplit(url).port or 0)
        for host, status in (("shop.example.com", 200), ("a.example.org:80", 200), ("example.com", 421)):
            asked = f"GET /users HTTP/1.1\r\nHost: {host}\r\n".encode() + CLOSE + b"\r\n"
            assert statuses(talk(port, asked)) == [status]


@pytest.mark.thorough
def test_curl_with_its_offer_of_http_2(port: int) -> None:
    command: list[Any] = [
        "curl",
        "-s",
        "--http2",
        "-H",
        "Content-Type: application/json",
        "-d",
        BODY.decode(),
    ]
    try:
        found = subprocess.run(
            [*command, f"http://localhost:{port}/recommend"], capture_output=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert json.loads(found.stdout)["user"] == "u1"


if sys.platform != "linux":
    pytestmark = pytest.mark.skip(reason="sockets are counted as Linux shows them")
