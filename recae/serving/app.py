"""The HTTP API: its routes, each a few lines between a request and what answers it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from recae.serving import description, lookups, problems
from recae.serving.batcher import Batcher, Lane
from recae.serving.holder import Holder
from recae.serving.limits import Guard
from recae.serving.metrics import CONTENT_TYPE, Metrics
from recae.serving.problems import Problem
from recae.serving.recommending import Settings, add_recommend, as_json
from recae.serving.schemas import (
    HistoryAnswer,
    ItemsAnswer,
    MapAnswer,
    ModelAnswer,
    SimilarAnswer,
    Status,
    UsersAnswer,
)
from recae.serving.static import docs_files, page_files


class _AnyText(Convertor[str]):
    """An id in a path: any text, slashes and line breaks too."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


_Limit = Annotated[int, Query(ge=1, le=1_000, description="how many at most")]
_Words = Annotated[str, Query(max_length=200)]
_Id = Annotated[str, Path(description="the exact id; slashes may stay as they are")]
_GET = description.problems(401, 404, 422, 503)


def create_app(holder: Holder, lane: Lane, metrics: Metrics, settings: Settings) -> FastAPI:
    """Return the application; its lifespan starts and ends scoring and the watch over the model file."""
    batcher = Batcher(metrics, waiting=settings.queue, threads=settings.threads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        if settings.reload:
            holder.start()
        yield
        holder.stop()
        await batcher.stop()
        lane.close()

    register_url_convertor("any", _AnyText())
    app = FastAPI(
        title="recae",
        version=_version(),
        description="Recommendations from a model of purchases. Errors are RFC 9457 problem details.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    description.install(app, settings.token is not None)
    app.add_middleware(Guard, metrics=metrics, token=settings.token)
    add_recommend(app, holder, lane, batcher, settings)
    _add_lookups(app, holder, lane)
    _add_operations(app, holder, batcher, metrics)
    _add_files(app)
    return app


def _add_lookups(app: FastAPI, holder: Holder, lane: Lane) -> None:
    @app.get("/similar/{item_id:any}", response_model=SimilarAnswer, responses=_GET)
    async def similar_items(item_id: _Id, n: _Limit = 10) -> Response:
        """Items with like vectors, and items that the same users own."""
        return _dumped(await lane.run(lookups.similar, holder.current, item_id, n))

    @app.get("/items", response_model=ItemsAnswer, responses=_GET)
    async def find_items(q: _Words = "", limit: _Limit = 20) -> Response:
        """Items that hold all words in their id or name, whatever the case, most owned first."""
        return _dumped(await lane.run(lookups.find_items, holder.current, q, limit))

    @app.get("/users", response_model=UsersAnswer, responses=_GET)
    async def find_users(q: _Words = "", limit: _Limit = 20) -> Response:
        """Users whose id begins with a text, then those that hold it, whatever the case; short ids first."""
        return _dumped(await lane.run(lookups.find_users, holder.current, q, limit))

    @app.get("/users/{user_id:any}/items", response_model=HistoryAnswer, responses=_GET)
    async def users_items(user_id: _Id, limit: _Limit = 200) -> Response:
        """What a user owns."""
        return _dumped(await lane.run(lookups.history, holder.current, user_id, limit))

    @app.get("/map", response_model=MapAnswer, responses=_GET)
    async def items_in_the_plane() -> Response:
        """Up to 20,000 most owned items in the plane, like ones near each other; 503 while it is laid out."""
        picture = holder.current.map
        if picture is None:
            raise Problem("no-map", 404, "this model has no item vectors that a map could be made of")
        content = picture.answer()
        if content is None:
            raise Problem(
                "not-ready", 503, "the map is being laid out; try again soon", headers={"Retry-After": "2"}
            )
        return as_json(content)


def _add_operations(app: FastAPI, holder: Holder, batcher: Batcher, metrics: Metrics) -> None:
    @app.get("/health", response_model=Status)
    async def health() -> Response:
        """The process answers."""
        return _dumped({"status": "ok"})

    @app.get("/ready", response_model=Status, responses=description.problems(503))
    async def ready() -> Response:
        """A recommendation would be answered now."""
        if not batcher.ready:
            raise Problem("not-ready", 503, "no recommendation can be made now", headers={"Retry-After": "1"})
        return _dumped({"status": "ok"})

    @app.get("/model", response_model=ModelAnswer, responses=description.problems(401))
    async def model() -> Response:
        """The model that answers now: its kind, size, measured recall and how it was trained."""
        return _dumped(lookups.describe(holder.current))

    @app.get("/metrics", include_in_schema=False)
    async def numbers() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return _dumped(app.openapi())


def _add_files(app: FastAPI) -> None:
    page, docs = page_files(), docs_files()

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        return page.response("index.html", request)

    @app.get("/page/{name:any}", include_in_schema=False)
    async def page_file(name: str, request: Request) -> Response:
        return page.response(name, request)

    @app.get("/docs", include_in_schema=False)
    async def docs_page(request: Request) -> Response:
        return docs.response("index.html", request)

    @app.get("/docs/{name:any}", include_in_schema=False)
    async def docs_file(name: str, request: Request) -> Response:
        return docs.response(name, request)


def _dumped(content: dict[str, Any]) -> Response:
    return as_json(json.dumps(content, separators=(",", ":"), allow_nan=False).encode())


def _version() -> str:
    try:
        return version("recae")
    except PackageNotFoundError:
        return "0"
