"""HTTP/1.1 on one connection: uvicorn's protocol over llhttp, with limits on what comes before any route sees it.

llhttp refuses what two servers could read in two ways: a length beside chunks, two lengths, a space before a colon,
folded header fields, bare line feeds. What it does not know are sizes and times, and it takes a request that offers
another protocol for the last one, whose body would be of that protocol. Both are seen to here.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recae.serving.connections import Connections, of_network
from recae.serving.problems import MEDIA_TYPE, Problem

_HIGH_WATER: Final = 16 * 2**10  # bytes of an answer that may wait in this process without slowing it down
_LINGER: Final = 1.0  # seconds for a client to read why it is refused
_DISCARD: Final = 2**20  # bytes that are read and thrown away meanwhile
_OFFERS: Final = (b"upgrade", b"http2-settings")
_AUTHORITY: Final = re.compile(rb"[^/?#]*//([^/?#]*)")  # with the scheme before it

_State = Literal["idle", "head", "body", "answering", "refused"]


class _Refusal(Exception):  # noqa: N818  # it ends a connection, and is no error of the server
    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class LimitedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        address: of the client, as connections are counted.
        deadline: when the request must have come, in seconds of `time.monotonic`.
        write_since: since when the client has not taken all of its answers.
        write_deadline: when it must have.
    """

    all_connections: ClassVar[Connections]

    def __init__(self, *args: Any, **options: Any) -> None:
        """Begin a connection, as uvicorn does."""
        super().__init__(*args, **options)
        # uvicorn's own parser goes on after a request that was to be the last
        self.parser = httptools.HttpRequestParser(self)
        self.limits = self.all_connections.limits
        self.address = "unknown address"
        self.deadline = self.write_since = self.write_deadline = math.inf
        self._state: _State = "idle"
        self._running: RequestResponseCycle | None = None  # the request whose route runs, or ran last
        self._offers_upgrade = False
        self._beside = 0  # bytes since the last part of a body: a header, trailers, extensions of chunks
        self._head = 0  # bytes of the header fields so far
        self._discarded = 0

    # what `Connections` asks for

    def unsent(self) -> int:
        """Return how many bytes of answers wait for the client."""
        return self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Break the connection off; what routes answer later is dropped."""
        self._disconnect()
        self.transport.abort()

    def expire(self, now: float) -> None:
        """End what has not come in time; a client that has sent nothing gets no answer."""
        if self._state == "refused":
            self.abort()
        elif self._state == "idle":
            self.transport.close()
            self.deadline = now + self.limits.write_seconds
            self._state = "refused"
        elif self.flow.read_paused:  # it is not the client that makes this one wait
            self.deadline = now + self.limits.head_seconds
        elif self._state == "head":
            seconds = self.limits.head_seconds
            self._refuse(_close(408, "slow-header", f"the header did not arrive within {seconds:g} seconds"))
        elif self.cycle.response_complete:
            self.all_connections.complain(self.address, "an unread body took too long")
            self.abort()
        else:
            seconds = self.limits.body_seconds
            self._refuse(_close(408, "slow-body", f"the body did not arrive within {seconds:g} seconds"))

    # what the event loop tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a client in, or refuse it where there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.address = of_network(self.client[0] if self.client else None)
        self.deadline = time.monotonic() + self.limits.head_seconds
        if not self.all_connections.enter(self):
            self._state = "refused"
            why = "there are too many connections; try again in a second"
            self._send(Problem("overloaded", 503, why, headers={"Connection": "close", "Retry-After": "1"}))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client."""
        self.all_connections.leave(self)
        self._disconnect()
        self.deadline = math.inf
        self._state = "refused"
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what a client sends, unless nothing more is expected of it."""
        if self._state == "refused":
            self._discarded += len(data)
            if self._discarded > _DISCARD:
                self.abort()
            return
        self._unset_keepalive_if_required()
        if self._state == "idle":
            self._state = "head"
            if self.cycle is not None:  # the first one has its time since the connection began
                self.deadline = time.monotonic() + self.limits.head_seconds
        self._beside += len(data)
        try:
            self._feed(data)
            if self._beside > self.limits.head + self.limits.url and self._state != "answering":
                in_head = self._state == "head"
                raise _Refusal(self._too_large() if in_head else _bad("there is too much beside its body"))
        except _Refusal as refusal:
            self._refuse(refusal.problem)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refusal):
                self._refuse(cause.problem)
            elif isinstance(error, httptools.HttpParserCallbackError):
                self._refuse(_bad("its target cannot be read"))
            else:
                self._refuse(_bad(str(error).rstrip(".").lower() or "it cannot be read"))

    def resume_writing(self) -> None:
        """Note that the client takes its answers."""
        self.write_since = math.inf
        super().resume_writing()

    # what the parser tells

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > self.limits.url:
            raise _Refusal(
                _close(414, "url-too-long", f"the target of the request exceeds {self.limits.url:,} bytes")
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers are counted by their bytes alone, and dropped."""
        if self._state == "body":
            return
        self._head += len(name) + len(value)
        if self._head > self.limits.head or len(self.headers) >= self.limits.fields:
            raise _Refusal(self._too_large())
        super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._state, self._head = "head", 0
        if self.deadline == math.inf:
            self.deadline = time.monotonic() + self.limits.head_seconds
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the header as a whole, and start the route."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refusal(_close(501, "no-proxy", "this server is no proxy"))
            self._offers_upgrade = True  # the header is read once more, without the offer
            return
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise _Refusal(_close(505, "http-version", "this server speaks HTTP/1.1"))
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and version == "1.1"):
            raise _Refusal(_bad(f"it has {'several' if hosts else 'no'} Host fields"))
        if version == "1.0" and b"transfer-encoding" in names:
            raise _Refusal(_bad("HTTP/1.0 has no chunks"))
        if len(self.pipeline) >= self.limits.pipelined:
            raise _Refusal(_bad(f"more than {self.limits.pipelined} requests wait on one connection"))
        if not self.url.startswith(b"/") and (absolute := _AUTHORITY.match(self.url)):
            # a target such as http://host/path says itself what it is for, whatever the Host field (RFC 9112, 3.2.2)
            others = [field for field in self.headers if field[0] != b"host"]
            self.headers[:] = [(b"host", absolute[1]), *others]
        super().on_headers_complete()  # refuses a target that cannot be read; the header is not over before that
        self._state, self._beside, self._discarded = "body", 0, 0
        self.deadline = time.monotonic() + self.limits.body_seconds
        if not self.pipeline:
            self._running = self.cycle
        if self.all_connections.leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._beside = 0
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > _DISCARD:
                raise _Refusal(_bad("its body goes on after its answer"))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if self._offers_upgrade:
            return
        self._state, self._beside, self.deadline = "answering", 0, math.inf
        self.all_connections.busy(self)
        super().on_message_complete()
        if self.cycle.response_complete:
            self._rest()

    # what a route tells

    def on_response_complete(self) -> None:
        """End an answer."""
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()
        if self.cycle.response_complete:
            self._rest()

    def _rest(self) -> None:
        """Wait for the next request, or for the rest of one."""
        if self._state == "answering":
            self._state = "idle"
        self.all_connections.waits(self)

    def _disconnect(self) -> None:
        """Tell the route that runs that its client is gone; uvicorn tells the newest request only."""
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()

    def _feed(self, data: bytes) -> None:
        """Parse; a request that offers another protocol is read again without the offer, which may be ignored."""
        while True:
            parser = self.parser
            try:
                parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as pause:
                rest = data[pause.args[0] :]
                version = parser.get_http_version().encode()
                head = b"%b %b HTTP/%b\r\n%b\r\n" % (
                    parser.get_method(),
                    self.url,
                    version,
                    b"".join(b"%b: %b\r\n" % field for field in _without_offers(self.headers)),
                )
                self._offers_upgrade = False
                self.parser = httptools.HttpRequestParser(self)
                data = head + rest

    def _too_large(self) -> Problem:
        limits = self.limits
        return _close(
            431,
            "header-too-large",
            f"the header exceeds {limits.head:,} bytes or {limits.fields} fields",
        )

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, once what was asked before is answered, and read nothing more."""
        self.all_connections.complain(self.address, f"refused with {problem.status}: {problem}")
        answered = self._state == "body" and self.cycle.response_complete  # before its body was whole
        broken = self._state == "body" and not answered
        self._state = "refused"
        self._discarded = 0
        self.deadline = time.monotonic() + _LINGER
        self.all_connections.waits(self)
        if broken and self.pipeline:  # one that waits has come in part
            self.pipeline.popleft()
        elif broken:
            started = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if started:
                self.abort()
                return
        running = self._running
        if running is not None and not running.response_complete and not running.disconnected:
            last = self.pipeline[0][0] if self.pipeline else running
            last.keep_alive = False
            self.deadline = math.inf
            self.all_connections.busy(self)
            return
        if self.transport.is_closing():
            return
        if not answered:
            self._send(problem)
        # closed at once with something unread, the system would throw the answer away, too
        self.transport.write_eof()

    def _send(self, problem: Problem) -> None:
        body = problem.to_json()
        fields = {
            "date": formatdate(usegmt=True),
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        } | {name.lower(): value for name, value in problem.headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        phrase = HTTPStatus(problem.status).phrase
        self.transport.write(f"HTTP/1.1 {problem.status} {phrase}\r\n{head}\r\n".encode("latin-1") + body)


def limited(connections: Connections) -> type[LimitedProtocol]:
    """Return the protocol of a server.

    Args:
        connections: of the server.
    """

    class Limited(LimitedProtocol):
        all_connections = connections

    return Limited


def _without_offers(fields: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in fields:
        if name == b"connection":
            value = b", ".join(token for token in value.split(b",") if token.strip().lower() not in _OFFERS)
            if not value.strip():
                continue
        if name not in _OFFERS:
            yield name, value


def _bad(why: str) -> Problem:
    return _close(400, "bad-request", f"the request is no proper HTTP/1.1: {why}")


def _close(status: int, kind: str, why: str) -> Problem:
    return Problem(kind, status, why, headers={"Connection": "close"})
