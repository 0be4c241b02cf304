"""Guard of every route: token, security headers, counting and timing; and the limits of a body."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recae.ids import shown
from recae.serving.connections import Connections, of_network
from recae.serving.hosts import AllowedHosts
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem, overloaded

_log = logging.getLogger("recae.serving")

# The page and its scripts contain no data of the shop, and a browser cannot send a token with them.
_FILES: Final = re.compile(r"/|/docs|/page/.*|/docs/.*", re.DOTALL)
_OPEN: Final = frozenset({"/health", "/ready", "/openapi.json"})

_LARGE: Final = 2**16  # bytes of an answer; those up to there are sent however much waits for its clients

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data:{images}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY.format(styles="", images=""),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
# Swagger's page writes styles into its elements.
_DOCS_POLICY = _POLICY.format(styles=" 'unsafe-inline'", images="")


class Guard:
    """ASGI middleware: host, token, HEAD as GET, security headers, counting, and a problem for every failure.

    Args:
        app: what is guarded.
        metrics: told of each answer.
        token: required for every path but the open ones; None: no token is required.
        hosts: that requests may be for; None: any.
        connections: asked whether a large answer may be sent, and told of foreign hosts; None: neither.
        image_hosts: from which the page may load pictures.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        token: str | None,
        hosts: AllowedHosts | None = None,
        connections: Connections | None = None,
        image_hosts: Sequence[str] = (),
    ) -> None:
        """Wrap an application."""
        self._app, self._metrics = app, metrics
        self._hosts, self._connections = hosts, connections
        self._token = None if token is None else token.encode()
        images = "".join(f" {host}" for host in image_hosts)
        self._page_policy = _POLICY.format(styles="", images=images) if images else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        path: str = scope["path"]
        is_file = _FILES.fullmatch(path) is not None
        dropped = False

        async def send_guarded(message: Message) -> None:
            nonlocal status, dropped
            if dropped:
                return
            if message["type"] == "http.response.start":
                if self._connections is not None and not self._may_send(message, self._connections):
                    await overloaded().response(path)(inner, receive, send_guarded)
                    dropped = True
                    return
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_RAW]
                headers = MutableHeaders(raw=message["headers"])
                headers.setdefault("cache-control", "no-cache" if is_file else "no-store")
                if path == "/docs":
                    headers["content-security-policy"] = _DOCS_POLICY
                elif path == "/" and self._page_policy is not None:
                    headers["content-security-policy"] = self._page_policy
            await send(message)

        try:
            foreign = None if self._hosts is None else self._foreign_host(scope, self._hosts)
            if foreign is not None:
                await foreign.response(path)(inner, receive, send_guarded)
            elif self._token is None or is_file or path in _OPEN or self._has_token(scope):
                await self._app(inner, receive, send_guarded)
            else:
                await _no_token().response(path)(inner, receive, send_guarded)
        except ClientDisconnect:
            status = status or 499  # no client is left to read an answer
        except Exception:
            _log.exception("%s failed", scope["method"])
            if status:
                raise  # half of an answer is out: the connection must break off
            problem = Problem("internal", 500, "the server failed; its log says how")
            await problem.response(path)(inner, receive, send_guarded)
        finally:
            # a folder of files counts under its own path; whatever else is sent is no label
            known = path if path in _OPEN else inner.get("root_path")
            route = getattr(inner.get("route"), "path_format", None) or known or "other"
            method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
            self._metrics.answered(route, method, status, time.perf_counter() - began)

    def _foreign_host(self, scope: Scope, hosts: AllowedHosts) -> Problem | None:
        """Return the problem of a request for a host that is not allowed."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
        if host is None or host in hosts:  # only HTTP/1.0 goes without, which no browser speaks
            return None
        what = f"this server does not answer for the host {shown(host)}; allow it with --allowed-hosts"
        if self._connections is not None and scope["client"]:
            self._connections.complain(of_network(scope["client"][0]), f"refused with 421: {what}")
        return Problem("wrong-host", 421, what)

    @staticmethod
    def _may_send(message: Message, connections: Connections) -> bool:
        """Return whether an answer is small or finds room among those that wait for their clients."""
        length = next(
            (value for name, value in message.get("headers", ()) if name == b"content-length"), b"0"
        )
        return int(length) <= _LARGE or connections.has_room(int(length))

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1 or self._token is None:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


async def read_json(request: Request, at_most: int, seconds: float) -> bytes:
    """Return the body of a request that says it is JSON.

    Args:
        request: whose body has not been read.
        at_most: bytes.
        seconds: for the whole body to arrive.

    Raises:
        Problem: 415 for another media type, 413 for a larger body, 408 for a slower one.
        ClientDisconnect: the connection has ended.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            "media-type",
            415,
            "the body must be JSON, sent with the header 'Content-Type: application/json'",
        )
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > at_most):
        raise _too_large(at_most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > at_most:
                    raise _too_large(at_most)
                parts.append(part)
    except TimeoutError:
        raise Problem(
            "slow-body",
            408,
            f"the body did not arrive within {seconds:g} seconds",
            headers={"Connection": "close"},
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(at_most: int) -> Problem:
    return Problem(
        "too-large",
        413,
        f"the body must not be larger than {at_most:,} bytes; ask in several requests",
        headers={"Connection": "close"},
    )


def _no_token() -> Problem:
    return Problem(
        "no-token",
        401,
        "this server wants its token, as the header 'Authorization: Bearer ...'",
        headers={"WWW-Authenticate": "Bearer"},
    )
