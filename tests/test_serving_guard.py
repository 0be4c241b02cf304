"""Tests of what stands between the server and its routes: connections that break, bodies that trickle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from recae.serving.guard import Guard, read_json
from recae.serving.metrics import Metrics
from recae.serving.problems import Problem


def test_a_disconnect_and_a_broken_answer_are_not_answered_again() -> None:
    async def run(app: Any) -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/recommend",
            "headers": [(b"content-type", b"application/json")],
        }
        await Guard(app, Metrics(), None)(scope, receive, send)
        return sent

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request

        await read_json(Request(scope, receive), 100, 1)

    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("half")

    assert asyncio.run(run(reads)) == []
    with pytest.raises(OSError, match="half"):
        asyncio.run(run(breaks))


def test_slow_bodies() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    headers = {"content-type": "application/json", "content-length": "x"}
    request: Any = SimpleNamespace(headers=headers, stream=slow)
    with pytest.raises(Problem) as caught:
        asyncio.run(read_json(request, 100, 0.05))
    assert caught.value.status == 408
