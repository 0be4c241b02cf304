"""Connecting to a Ray cluster, and every way in which that fails, each with one sentence and within some seconds."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from recae.cluster import connected
from recae.errors import ClusterError

ray = pytest.importorskip("ray", reason="needs pip install 'recae[ray]'")


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """The address of a server that says this to whoever connects, and hangs up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(64)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def failure(address: str | None) -> str:
    with pytest.raises(ClusterError) as caught, connected(address):
        pass
    assert not ray.is_initialized()
    return str(caught.value)


def test_without_an_address_a_cluster_of_this_machine_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []
    ended: list[bool] = []
    monkeypatch.setattr(ray, "init", lambda **options: given.append(options))
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connected() as found:
        assert found is ray
        assert not ended
    (options,) = given
    assert (options["address"], options["include_dashboard"], options["log_to_driver"]) == (
        None,
        False,
        False,
    )
    assert ended


@pytest.mark.thorough
def test_a_cluster_of_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with connected():
        assert ray.cluster_resources()["CPU"] >= 1
    assert not ray.is_initialized()


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    assert failure(address).startswith(
        f"no Ray cluster answers at '{address}' (Connection refused); start its head"
    )
    assert "no Ray cluster answers" in failure("127.0.0.1:99999")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_answers(answer: bytes) -> None:
    with server(answer) as address:
        assert failure(address).startswith(f"what answers at '{address}' is not a Ray cluster; start")


def test_a_server_of_http_2_that_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise ConnectionError("no such\nservice")

    monkeypatch.setattr(ray, "init", init)
    with server(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])) as address:
        assert f"'{address}', but it cannot be connected to: no such service; start" in failure(address)
    with server(b"") as address:
        monkeypatch.setenv("RAY_USE_TLS", "1")  # who speaks TLS does not answer to the plain question
        assert "cannot be connected to" in failure(address)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert failure(None).startswith("a Ray cluster cannot be started on this machine: no such service; see")


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "host:", "a b:1"])
def test_no_address(address: str) -> None:
    assert failure(address).startswith(
        f"the address of a Ray cluster is HOST:PORT of its head node or auto, found '{address}'"
    )


def test_a_thread_keeps_off_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found: list[object] = []

    def connect() -> None:
        with connected() as module:
            found.append(module)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    assert found == [ray]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(
            ClusterError, match=r"cannot be imported here .*; install it with pip install 'recae\[ray\]'"
        ),
        connected(),
    ):
        pass
