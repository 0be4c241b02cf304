"""The ASGI application: routes, page and documentation behind the guard."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from recae.machine import installed
from recae.serving.batcher import Batcher, LookupPool
from recae.serving.connections import Connections
from recae.serving.drift import Drift, Live
from recae.serving.guard import Guard
from recae.serving.metrics import Metrics
from recae.serving.problems import HANDLERS
from recae.serving.purchases import PurchaseWriter
from recae.serving.routes import ServeSettings, Services, fast_routes, private, public
from recae.serving.served import Models
from recae.serving.traffic import Traffic


class Application(FastAPI):
    """FastAPI's application, past which the routes under load are answered.

    Attributes:
        fast: guarded, what answers a POST to a path.
    """

    fast: Mapping[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        fast = self.fast.get(scope["path"]) if scope.get("method") == "POST" else None
        await (fast or super().__call__)(scope, receive, send)


def create_app(
    models: Models,
    metrics: Metrics,
    settings: ServeSettings,
    connections: Connections | None = None,
    live: Live | None = None,
) -> Application:
    """Build the application; its lifespan starts and ends scoring and the watch over the model file.

    Args:
        models: the model in use.
        metrics: counts what is answered; the same that `models` tells.
        settings: token, limits and threads.
        connections: of the server, whose times are watched; None: without limits.
        live: where purchases go; None: none are taken.

    Returns:
        An ASGI application.
    """
    drift = None if live is None else Drift(metrics, live.lists)
    batcher = Batcher(metrics, waiting=settings.queue, threads=settings.threads, drift=drift)
    traffic = Traffic(metrics.answers)
    writer = None
    if live is not None and drift is not None:
        writer = PurchaseWriter(live.journal, drift, metrics, waiting=settings.queue)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        if writer is not None:
            writer.start()
        if settings.reload:
            models.start()
        watch = None if connections is None else asyncio.create_task(connections.watch())
        looks = asyncio.create_task(traffic.watch())
        yield
        looks.cancel()
        if watch is not None:
            watch.cancel()
        models.stop()
        await batcher.stop()
        if writer is not None:
            await writer.stop()

    app = Application(
        title="recae",
        version=_version(),
        description="Recommendations from a model of purchases. Errors are RFC 9457 problem details.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    services = Services(models, batcher, LookupPool(metrics), metrics, traffic, settings, writer)
    app.state.services = services
    # the newest that the pages of all supported versions of fastapi-offline draw, whatever FastAPI's own choice
    app.openapi_version = "3.1.0"
    # for the description only: the guard has looked at the token before any route is found
    token = [] if settings.token is None else [Depends(HTTPBearer(scheme_name="token", auto_error=False))]
    guarded = partial(
        Guard,
        metrics=metrics,
        token=settings.token,
        hosts=settings.hosts,
        connections=connections,
        image_hosts=settings.image_hosts,
    )
    app.add_middleware(guarded)
    app.fast = {path: guarded(route) for path, route in fast_routes(app, services, token).items()}
    app.include_router(private, dependencies=token)
    app.include_router(public)
    _add_files(app)
    return app


def _add_files(app: FastAPI) -> None:
    """Add the page, with the files of the interactive map, and Swagger's page over the description."""
    # what the system's own table says of it may be anything, and browsers run no script of another type
    mimetypes.add_type("text/javascript", ".js")
    here = Path(__file__).parent
    page = StaticFiles(directory=here / "page", packages=[("recae.insight", "assets")])
    docs = StaticFiles(directory=here / "docs", packages=[("fastapi_offline", "static")])

    @app.get("/", include_in_schema=False)
    async def page_index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    @app.get("/docs", include_in_schema=False)
    async def docs_index(request: Request) -> Response:
        return await docs.get_response("index.html", request.scope)

    @app.get("/docs/", include_in_schema=False)
    async def docs_folder() -> Response:
        return RedirectResponse("../docs")  # its links are beside it

    app.mount("/page", page)
    app.mount("/docs", docs)


def _version() -> str:
    return installed("recae") or "0"
