"""`Connections`: limits of their number, in all and by address, and of their time, and log lines about clients."""

from __future__ import annotations

import ipaddress
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

_log = logging.getLogger("recae.serving")

_FILES: Final = 64  # descriptors for everything but connections: libraries, the model, the event loop
_TICK: Final = 0.5  # seconds between two looks at the times that connections take
_SLOW: Final = 2.0  # seconds without taking all of an answer, after which a client makes room for others
_BYTES_PER_SECOND: Final = 2**16  # a client that takes its answers faster is not cut off
_REMEMBERED: Final = 1024  # addresses whose last log line is remembered
_MINUTE: Final = 60.0


@dataclass(frozen=True)
class Limits:
    """Limits of connections and of what comes over them before any route sees it.

    Attributes:
        connections: open at the same time.
        per_address: of one address; of a network of 64 bits for IPv6.
        url: bytes of a request's target.
        head: bytes of all header fields together; also of trailers, and of what is beside a body.
        fields: header fields.
        pipelined: requests that wait on one connection.
        head_seconds: from the connection's begin, or the first byte of a later request, to the end of the header.
        body_seconds: for a body that no route reads.
        write_seconds: for a client to take its answer, beside a second for each 64 KiB.
        unsent: bytes of answers that wait for their clients; beyond, large answers are refused.
    """

    connections: int = 4096
    per_address: int = 1024
    url: int = 8 * 2**10
    head: int = 32 * 2**10
    fields: int = 100
    pipelined: int = 64
    head_seconds: float = 10.0
    body_seconds: float = 12.0
    write_seconds: float = 10.0
    unsent: int = 64 * 2**20


class Connection(Protocol):
    """What `Connections` needs to know of one."""

    address: str
    deadline: float
    """When it has waited long enough for what it waits for, in seconds of `time.monotonic`; infinite: never."""
    write_since: float
    """Since when its client has not taken all of its answers; infinite: it has."""
    write_deadline: float
    """When its client must have taken them."""

    def unsent(self) -> int:
        """Return how many bytes wait for the client."""

    def expire(self, now: float) -> None:
        """End what has not come in time."""

    def abort(self) -> None:
        """Break the connection off."""


class Complaints:
    """Log lines about refused clients: one for an address and minute, with how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing said."""
        self._clock = clock
        self._said: dict[
            str, list[float]
        ] = {}  # address: when a line was last written, how often it was not since

    def __call__(self, address: str, what: str) -> None:
        """Log what was wrong with a client, unless a line about its address was logged within a minute."""
        now = self._clock()
        if address not in self._said and len(self._said) >= _REMEMBERED:
            self.flush()
            if len(self._said) >= _REMEMBERED:
                address = "further addresses"
        said = self._said.get(address)
        if said is not None and now - said[0] < _MINUTE:
            said[1] += 1
            return
        self._said[address] = [now, 0]
        _log.warning("%s: %s", address, what)

    def flush(self) -> None:
        """Say how many lines were left out within the minute that has passed, and forget the address."""
        now = self._clock()
        for address, (since, more) in list(self._said.items()):
            if now - since >= _MINUTE:
                if more:
                    _log.warning("%s: %d more in a minute", address, more)
                    self._said[address] = [now, 0]
                else:
                    del self._said[address]


class Connections:
    """All connections of a process.

    Where there are as many as there may be, the one that has waited longest for a whole request makes room for a new
    one; so connections without requests never block new clients.

    Args:
        limits: of number, size and time.
    """

    def __init__(self, limits: Limits) -> None:
        """Begin without any; `watch` looks at their times."""
        self.limits = limits
        self.complain = Complaints()
        self.leaving = False  # the process ends soon: every answer ends its connection
        self._open: dict[Connection, None] = {}
        # without a whole request, the one that has been so for longest first
        self._waiting: dict[Connection, None] = {}
        self._of_address: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def enter(self, new: Connection) -> bool:
        """Take a new connection in; return whether there is a place for it."""
        group = self._of_address.setdefault(new.address, {})
        limits = self.limits
        if len(group) >= limits.per_address:
            first = next((one for one in group if one in self._waiting), None)
            what = f"{limits.per_address:,} connections of this address are open"
        elif len(self._open) >= limits.connections:
            first = next(iter(self._waiting), None)
            what = f"{limits.connections:,} connections are open"
        else:
            self._open[new] = group[new] = self._waiting[new] = None
            return True
        if first is None:
            self.complain(new.address, f"{what}, the most allowed, and all are busy; a new one is refused")
            return False
        self.complain(
            first.address, f"{what}, the most allowed; those that send no request are closed for new ones"
        )
        self.leave(first)
        first.abort()
        group = self._of_address.setdefault(new.address, {})
        self._open[new] = group[new] = self._waiting[new] = None
        return True

    def leave(self, one: Connection) -> None:
        """Forget a connection; nothing happens where it is forgotten already."""
        self._open.pop(one, None)
        self._waiting.pop(one, None)
        group = self._of_address.get(one.address)
        if group is not None:
            group.pop(one, None)
            if not group:
                del self._of_address[one.address]

    def busy(self, one: Connection) -> None:
        """Note that a whole request has come over a connection."""
        self._waiting.pop(one, None)

    def waits(self, one: Connection) -> None:
        """Note that a connection has no request any more."""
        if one in self._open:
            self._waiting[one] = None

    def has_room(self, size: int) -> bool:
        """Return whether an answer may be sent, as far as other answers wait for clients that do not take theirs.

        Clients that have had theirs for two seconds are cut off where that makes room.

        Args:
            size: bytes of the answer.
        """
        unsent = {one: waiting for one in self._open if (waiting := one.unsent())}
        total = sum(unsent.values())
        if not total or total + size <= self.limits.unsent:
            return True
        now = time.monotonic()
        for one in sorted(unsent, key=lambda one: one.write_since):
            if now - one.write_since < _SLOW:
                break
            self._cut_off(one)
            total -= unsent[one]
            if total + size <= self.limits.unsent:
                return True
        return False

    def look(self) -> None:
        """End what takes longer than it may."""
        now = time.monotonic()
        for one in list(self._open):
            size = one.unsent()
            if not size:
                one.write_since = math.inf
            elif one.write_since == math.inf:
                one.write_since = now
                one.write_deadline = now + self.limits.write_seconds + size / _BYTES_PER_SECOND
            elif one.write_deadline < now:
                self._cut_off(one)
                continue
            if one.deadline < now:
                one.expire(now)
        self.complain.flush()

    async def watch(self) -> None:
        """Look at all connections twice a second, for ever."""
        import asyncio

        while True:
            await asyncio.sleep(_TICK)
            try:
                self.look()
            except Exception:  # the watch must not end
                _log.exception("looking at the connections failed")

    def _cut_off(self, one: Connection) -> None:
        self.complain(one.address, "it does not read its answers, and is cut off")
        self.leave(one)
        one.abort()


def of_network(host: str | None) -> str:
    """Return the address that connections are counted under: the first 64 bits of IPv6, which one client has whole."""
    if host is None:
        return "unknown address"
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return host if address.is_loopback else str(ipaddress.IPv6Network((address, 64), strict=False))


def fitting(connections: int | None, per_address: int | None, workers: int = 1) -> tuple[Limits, int]:
    """Return a process's limits, as far as it has descriptors, and how many new connections may wait to be taken.

    The soft limit of descriptors is raised first as far as the system lets it.

    Args:
        connections: asked for; None: 4,096, or as many as there are descriptors for.
        per_address: asked for; None: 1,024, and at most three quarters of all.
        workers: processes that the connections are divided among.
    """
    default = Limits()
    wanted = default.connections if connections is None else connections
    of_address = default.per_address if per_address is None else per_address
    share = max(1, -(-wanted // workers))
    backlog = 2048
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = share + backlog + _FILES
        if soft != resource.RLIM_INFINITY and soft < needed:
            allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
                soft = allowed
            except (OSError, ValueError):
                pass
            # what waits to be taken is taken all at once, before any other connection can be closed
            backlog = min(backlog, max(8, soft // 4))
            share = max(1, min(share, soft - backlog - _FILES))
    if connections is not None and share * workers < connections:
        _log.warning(
            "the system's limit of open files (ulimit -n) leaves room for %d connections, not for %d",
            share * workers,
            connections,
        )
    most = max(1, share * 3 // 4) if per_address is None else share
    return Limits(connections=share, per_address=min(-(-of_address // workers), most)), backlog
