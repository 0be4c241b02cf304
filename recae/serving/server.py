"""`serve`: a socket, the model, and one process or several that answer."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recae.errors import ConfigError

if TYPE_CHECKING:
    from recae.insight.items import ItemSource
    from recae.list_rules import ListRules
    from recae.serving.drift import Live
    from recae.serving.hosts import AllowedHosts
    from recae.serving.routes import ServeSettings
    from recae.serving.served import ServedModel

_NEEDED: Final = (
    *("fastapi", "fastapi_offline", "httptools", "prometheus_client", "uvicorn"),
    *(() if sys.platform == "win32" else ("uvloop",)),
)


def check_installed() -> None:
    """Check that everything that serving needs is installed.

    Raises:
        ConfigError: it is not; the sentence names what is missing and how to install it.
    """
    try:
        for name in _NEEDED:
            import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed: pip install 'recae[serve]'"
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket to an address, not listening yet: until the model is loaded, connections are refused.

    A port on which another process listens is refused here; one that it has only bound is refused by `listen`.

    Args:
        host: an address or name of this machine.
        port: 0 for any that is free.

    Returns:
        The socket, of the family of the address.

    Raises:
        ConfigError: there is no such address here, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on host '{host}': {_reason(error)}; give another --host") from error
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from error
    return listener


def listen(listener: socket.socket, backlog: int) -> None:
    """Begin to listen, which only one of all that have bound a port may.

    Args:
        listener: from `bind`.
        backlog: connections that may wait to be taken.

    Raises:
        ConfigError: another process listens on the port by now.
    """
    try:
        listener.listen(backlog)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on {host}, port {port}: {_reason(error)}; give another --port or --host, or end "
        "what listens there"
    )


def serve(
    path: Path,
    listener: socket.socket,
    *,
    token: str | None = None,
    hosts: AllowedHosts | None = None,
    threads: int = 1,
    queue: int = 512,
    max_body: int = 2**20,
    max_connections: int | None = None,
    max_per_address: int | None = None,
    workers: int = 1,
    reload: bool = True,
    access_log: bool = False,
    approximate: bool = False,
    journal: Path | None = None,
    rules: ListRules | None = None,
    items: ItemSource | None = None,
    image_hosts: Sequence[str] = (),
    beside: Path | None = None,
    on_start: Callable[[str], None] = lambda what: None,
) -> None:
    """Serve a model file until SIGINT or SIGTERM; what is under way then is answered first.

    Args:
        path: the model file.
        listener: from `bind`; closed at the end.
        token: required of requests; None: none is required.
        hosts: that requests may be for; None: any.
        threads: of BLAS, in this process.
        queue: histories that may wait to be scored.
        max_body: bytes of a request's body.
        max_connections: open at the same time; None: what `recae.serving.connections.fitting` takes.
        max_per_address: of one address; None: likewise.
        workers: processes on this port, with the model in memory once; `threads` and `queue` are of each.
        reload: load the file anew when it changes.
        access_log: log every request.
        approximate: find lists by an index over the items, which is made when the model is loaded.
        journal: where purchases go; made where there is none. None: none are taken.
        rules: that all lists follow; None without.
        items: a table of items in place of the model's; None: the model's.
        image_hosts: from which the page may load pictures, as `recae.serving.hosts.parse_image_hosts` returns them.
        beside: file of a second model, for the page to compare; it is not loaded anew. None: there is none.
        on_start: told what is served once connections are taken.

    Raises:
        ModelFileError: the file cannot be used.
        JournalError: the journal cannot be used.
        ConfigError: another process listens on the port by now, or processes cannot be forked here.
        ServeError: one of several workers ends before all serve.
        KeyboardInterrupt: after the orderly end, when SIGINT asked for it; likewise what SIGTERM's handler raises.
    """
    from prometheus_client import disable_created_metrics

    from recae.journal import Journal
    from recae.serving.connections import fitting
    from recae.serving.drift import Live
    from recae.serving.metrics import Metrics
    from recae.serving.process import run
    from recae.serving.routes import ServeSettings
    from recae.serving.served import ModelReloader, load_served

    with listener:
        disable_created_metrics()  # a second series for each that says nothing more
        # scoring takes the interpreter's lock back a dozen times a batch; at 5 ms each it would mostly wait for it
        sys.setswitchinterval(0.0005)
        settings = ServeSettings(
            token=token,
            hosts=hosts,
            max_body=max_body,
            queue=queue,
            threads=threads,
            reload=reload,
            image_hosts=tuple(image_hosts),
        )
        live = None if journal is None else Live(Journal.open(journal))
        if beside is not None:
            # workers are forked from this process, and warming up may start threads
            known = None if live is None else live.journal
            other = load_served(beside, workers == 1, journal=known, rules=rules, items=items)
            settings = replace(settings, beside=other)
        if workers > 1:
            if approximate:
                raise ConfigError(
                    "--approximate makes its index with threads, which do not survive the fork of a worker: leave out "
                    "--workers or --approximate"
                )
            if not hasattr(os, "fork"):
                raise ConfigError(
                    "several workers need a system that can fork processes; leave out --workers"
                )
            _serve_together(
                path,
                listener,
                settings,
                workers=workers,
                max_connections=max_connections,
                max_per_address=max_per_address,
                access_log=access_log,
                live=live,
                rules=rules,
                items=items,
                on_start=on_start,
            )
            return
        metrics = Metrics()
        models = ModelReloader(
            path,
            metrics,
            approximate=approximate,
            journal=None if live is None else live.journal,
            rules=rules,
            items=items,
        )
        limits, backlog = fitting(max_connections, max_per_address)
        listen(listener, backlog)
        run(
            models,
            metrics,
            listener,
            settings,
            limits=limits,
            backlog=backlog,
            access_log=access_log,
            on_start=lambda: on_start(_described(models.current)),
            live=live,
        )


def _serve_together(
    path: Path,
    listener: socket.socket,
    settings: ServeSettings,
    *,
    workers: int,
    max_connections: int | None,
    max_per_address: int | None,
    access_log: bool,
    live: Live | None,
    rules: ListRules | None,
    items: ItemSource | None,
    on_start: Callable[[str], None],
) -> None:
    """Serve with several processes, as `serve` says."""
    from recae.serving.connections import fitting
    from recae.serving.metrics import Metrics, count_together, no_longer_counts
    from recae.serving.process import Leaving, run
    from recae.serving.served import ModelReloader, OneModel, warm_up
    from recae.serving.workers import Watcher

    with tempfile.TemporaryDirectory(prefix="recae-serve-") as name:
        folder = Path(name)
        count_together(folder, "watcher")
        journal = None if live is None else live.journal
        models = ModelReloader(
            path, Metrics(folder, answers=False), warm=False, journal=journal, rules=rules, items=items
        )
        if journal is not None:
            journal.close()  # SQLite's connections must not be carried into a forked process
        limits, backlog = fitting(max_connections, max_per_address, workers)

        def work(model: ServedModel, place: int, ready: Callable[[], None], watcher: int) -> None:
            warm_up(model.recommender)
            count_together(folder, f"worker{place}")
            metrics = Metrics(folder)
            model.tell(metrics)
            run(
                OneModel(model),
                metrics,
                listener,
                replace(settings, reload=False),
                limits=limits,
                backlog=backlog,
                access_log=access_log,
                on_start=ready,
                leaving=Leaving(watcher),
                live=live,
            )

        listen(listener, backlog)
        Watcher(
            workers,
            models,
            work,
            reload=settings.reload,
            ended=lambda place: no_longer_counts(folder, f"worker{place}"),
        ).run(lambda: on_start(f"{_described(models.current)}; {workers} workers"))


def _described(served: ServedModel) -> str:
    model = served.recommender
    users = "no users" if model.users is None else f"{len(model.users):,} users"
    journal = "" if served.journal is None else f"; journal {served.journal.path}"
    return f"{model.model.kind} {served.version}, {len(model.items):,} items, {users}{journal}"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
