"""Connections to a Ray cluster: a named one, or one of this machine alone for as long as it is needed."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from recae.errors import ClusterError

_SECONDS: Final = 10.0  # to wait for an answer of the head node
# What a client of HTTP/2, and so of gRPC, sends first (RFC 9113, 3.4), with an empty frame of settings.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS: Final = 4  # the type of the frame that a server has to answer with, the fourth byte of its header
_ADDRESS: Final = re.compile(r"\[?([^\s/\[\]]+)\]?:(\d{1,5})")
# Ray reads them as it is imported and as it starts.
_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no statistics are sent anywhere
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what its machinery says stays in its files; Ray Data makes it state an error
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that outlives the connection must not start a cluster of its own
}


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[ModuleType]:
    """Give the module `ray`, connected to a cluster, and disconnect at the end.

    A connection that this process has already is used, and left open.

    Args:
        address: ``HOST:PORT`` of a cluster's head node, or ``auto`` for the cluster that `ray start` has begun on this
            machine; by default what RAY_ADDRESS says, and without it a cluster of this machine alone, which ends with
            the connection.

    Raises:
        ClusterError: Ray is not installed, nothing that is a Ray cluster answers at the address within some seconds,
            the cluster is of another version of Ray or Python, or this process is connected to another one.
    """
    ray = _ray()
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            raise ClusterError(
                f"wanted the Ray cluster at '{address}', but this process is connected to the one at {here}; "
                "disconnect from it by ray.shutdown(), or leave the address out"
            )
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address not in (None, "auto", "local"):
        _check_answers(address)
    with _no_news():
        with _environment(), _sigterm_restored():
            _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def processors(ray: ModuleType) -> list[int]:
    """Return the number of processors of each live node."""
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]


def room_for(ray: ModuleType, cpus: int) -> int:
    """Return how many workers of `cpus` processors the cluster has room for.

    Raises:
        ClusterError: no node has so many processors.
    """
    each = processors(ray)
    room = sum(has // cpus for has in each)
    if not room:
        raise ClusterError(
            f"wanted workers of {cpus} processor{'s' if cpus > 1 else ''}, but the largest node of the Ray cluster has "
            f"{max(each, default=0)}; add a node with ray start --address, or give each worker fewer"
        )
    return room


def workers_in_words(workers: int, cpus: int) -> str:
    """Return text such as "2 workers of 1 processor"."""
    return f"{workers:,} worker{'s' if workers > 1 else ''} of {cpus:,} processor{'s' if cpus > 1 else ''}"


def _ray() -> ModuleType:
    # Before the import, since Ray reads some of it there. What the user has set stays.
    with _environment():
        try:
            return importlib.import_module("ray")
        except ImportError as error:
            raise ClusterError(
                f"working on a Ray cluster needs Ray, which cannot be imported here ({error}); "
                "install it with pip install 'recae[ray]'"
            ) from error


def _connect(ray: ModuleType, address: str | None) -> None:
    alone = {"include_dashboard": False} if address in (None, "local") else {}
    try:
        with _silent():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **alone)
    except Exception as error:
        ray.shutdown()  # of what the failed attempt has left
        lines = " ".join(str(error).split())
        if "ersion mismatch" in lines:
            found = re.findall(r"Ray: (\S+) Python: (\S+)", lines)
            there, here = (
                f"Ray {pair[0]} and Python {pair[1]}"
                for pair in (found if len(found) == 2 else [("?", "?")] * 2)
            )
            raise ClusterError(
                f"the Ray cluster at '{address}' runs {there}, but this process {here}; install the same versions on "
                "every node and here"
            ) from error
        if address in (None, "local"):
            raise ClusterError(
                f"a Ray cluster cannot be started on this machine: {lines[:300]}; see the logs in /tmp/ray, or name a "
                "cluster that runs already"
            ) from error
        raise ClusterError(
            f"wanted the Ray cluster at '{address}', but it cannot be connected to: {lines[:300]}; start its head node "
            "with ray start --head, and give HOST:PORT of it"
        ) from error


def _check_answers(address: str) -> None:
    """Raise ClusterError unless a server of gRPC, as a head node is, answers; Ray itself would end the process."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ClusterError(
            f"the address of a Ray cluster is HOST:PORT of its head node or auto, found '{address}'; give what "
            "ray start --head printed, such as 10.0.0.1:6379"
        )
    advice = f"start its head node with ray start --head --port {match[2]}, or correct the address"
    try:
        with socket.create_connection((match[1], int(match[2])), _SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.settimeout(_SECONDS)
            connection.sendall(_PREFACE)
            with connection.makefile("rb") as answer:
                header = answer.read(9)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClusterError(f"no Ray cluster answers at '{address}' ({reason}); {advice}") from error
    if len(header) < 9 or header[3] != _SETTINGS:
        raise ClusterError(f"what answers at '{address}' is not a Ray cluster; {advice}")


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set what Ray reads from the environment for a while, where the user has not."""
    added = [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _no_news() -> Iterator[None]:
    """Keep Ray from printing news of the cluster, such as the death of a node, on stdout, where results go."""
    worker: Any = importlib.import_module("ray._private.worker")
    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False  # there is no public way
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard what is printed on stderr for a while, by C++ libraries too, such as a note on the level of logs."""
    try:
        before = os.dup(2)
    except OSError:  # closed: nobody reads it
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


@contextlib.contextmanager
def _sigterm_restored() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces as it connects."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
