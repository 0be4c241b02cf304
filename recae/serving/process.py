"""`run`: one process that answers, with uvicorn, until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn

from recae.serving.app import create_app
from recae.serving.connections import Connections, Limits
from recae.serving.drift import Live
from recae.serving.metrics import Metrics
from recae.serving.protocol import limited
from recae.serving.routes import ServeSettings
from recae.serving.served import Models

_FAREWELL: Final = 30.0  # seconds at most for the connections of a process that takes no more


@dataclass(frozen=True)
class Leaving:
    """How a watched process ends.

    SIGTERM ends it as it does a single process. After SIGUSR1 it takes no more connections, and ends once there are
    none. It ends with the watching process, to which SIGINT is left.

    Attributes:
        watcher: a descriptor that reads as ended once the watching process has ended.
    """

    watcher: int


class _Server(uvicorn.Server):
    """uvicorn's server, which says when connections are taken, and can leave."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        on_start: Callable[[], None],
        leaving: Leaving | None,
    ) -> None:
        super().__init__(config)
        self._connections, self._on_start, self._leaving = connections, on_start, leaving
        self._gone_by = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # A full collection goes through every object that importing has left, a tenth of a second without an
        # answer; frozen objects are passed over by later ones.
        gc.collect()
        gc.freeze()
        await super().startup(sockets)
        if self._leaving is not None:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, self._leave)
            loop.add_reader(self._leaving.watcher, self._left_alone)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        if await super().on_tick(counter):
            return True
        return self._gone_by < math.inf and (
            not self.server_state.connections or time.monotonic() > self._gone_by
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._leaving is None:
            super().handle_exit(sig, frame)
        elif sig != signal.SIGINT:
            self.should_exit = True

    def _leave(self) -> None:
        self._gone_by = time.monotonic() + _FAREWELL
        self._connections.leaving = True
        for server in self.servers:
            server.close()

    def _left_alone(self) -> None:
        if self._leaving is not None and not os.read(self._leaving.watcher, 1):
            asyncio.get_running_loop().remove_reader(self._leaving.watcher)
            self.should_exit = True


def run(
    models: Models,
    metrics: Metrics,
    listener: socket.socket,
    settings: ServeSettings,
    *,
    limits: Limits,
    backlog: int,
    access_log: bool,
    on_start: Callable[[], None],
    leaving: Leaving | None = None,
    live: Live | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; what is under way then is answered first.

    Args:
        models: the model in use.
        metrics: counts what is answered.
        listener: that listens already.
        settings: of the application.
        limits: of connections.
        backlog: connections that may wait to be taken.
        access_log: log every request.
        on_start: called once connections are taken.
        leaving: of a watched process; None: it is the only one.
        live: where purchases go; None: none are taken.

    Raises:
        KeyboardInterrupt: after the orderly end, when SIGINT asked for it; likewise what SIGTERM's handler raises. Not
            with `leaving`.
    """
    connections = Connections(limits)
    config = uvicorn.Config(
        create_app(models, metrics, settings, connections, live),
        http=limited(connections),
        backlog=backlog,
        loop="auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=access_log,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    _Server(config, connections, on_start, leaving).run(sockets=[listener])
