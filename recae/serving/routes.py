"""Routes of the HTTP API: each reads its request, has it answered, and returns a model of `schemas`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, params
from pydantic import BaseModel, ValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from recae.errors import DataError
from recae.serving import customers, filters, forgetting, lookups
from recae.serving.answers import RankedList, explained_json, rank, to_json
from recae.serving.batcher import Batcher, LookupPool, Result
from recae.serving.dashboard import lists_summary
from recae.serving.guard import read_json
from recae.serving.hosts import AllowedHosts
from recae.serving.metrics import CONTENT_TYPE, Metrics
from recae.serving.problems import Problem, documented, invalid, overloaded
from recae.serving.purchases import PurchaseWriter, purchases_of
from recae.serving.schemas import (
    MAX_EXPLAINED,
    BatchAnswer,
    BatchProblem,
    BatchRequest,
    CustomersAnswer,
    DashboardAnswer,
    FiltersAnswer,
    ForgetAnswer,
    HistoryAnswer,
    ItemsAnswer,
    MapAnswer,
    ModelAnswer,
    PurchasesAnswer,
    PurchasesRequest,
    RecommendAnswer,
    RecommendRequest,
    RouteTraffic,
    SimilarAnswer,
    Status,
    UsersAnswer,
)
from recae.serving.served import Models, ServedModel
from recae.serving.traffic import Traffic


@dataclass(frozen=True)
class ServeSettings:
    """Settings of an application.

    Attributes:
        token: required of requests; None: none is required.
        hosts: that requests may be for; None: any.
        max_body: bytes of a body.
        body_seconds: for a body to arrive.
        queue: histories that may wait to be scored.
        threads: of BLAS.
        reload: whether the model file is watched.
        image_hosts: from which the page may load pictures.
        beside: a second model, which answers POST /beside; None: there is none.
    """

    token: str | None = None
    hosts: AllowedHosts | None = None
    max_body: int = 2**20
    body_seconds: float = 10.0
    queue: int = 512
    threads: int = 1
    reload: bool = True
    image_hosts: tuple[str, ...] = ()
    beside: ServedModel | None = None


@dataclass(frozen=True)
class Services:
    """Services that the routes of one application use."""

    models: Models
    batcher: Batcher
    lookups: LookupPool
    metrics: Metrics
    traffic: Traffic
    settings: ServeSettings
    writer: PurchaseWriter | None = None


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


class _AnyText(Convertor[str]):
    """An id in a path: any text, slashes and line breaks too."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class FastRoute:
    """A route under load, as an application of its own: what FastAPI does around a route takes longer than the route.

    FastAPI documents it by its function's signature, and answers other methods.

    Attributes:
        path_format: the path, by the name that Starlette's routes have it under.
        function: takes the body's model and the services, and returns the response.
        model: of the body.
        services: of the application.
    """

    path_format: str
    function: Callable[[Any, Services], Coroutine[Any, Any, Response]]
    model: type[BaseModel]
    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self
        try:
            response = await self._answered(Request(scope, receive))
        except Problem as problem:
            response = problem.response(scope["path"])
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        settings = self.services.settings
        text = await read_json(request, settings.max_body, settings.body_seconds)
        try:
            asked = self.model.model_validate_json(text)
        except ValidationError as error:
            raise invalid(error.errors(include_url=False, include_input=False)) from None
        return await self.function(asked, self.services)


register_url_convertor("any", _AnyText())
Injected = Annotated[Services, Depends(_services)]
Limit = Annotated[int, Query(ge=1, le=1_000, description="how many at most")]
Words = Annotated[str, Query(max_length=200)]
Id = Annotated[str, Path(description="the exact id; slashes may stay as they are")]

private = APIRouter(responses=documented(401))
public = APIRouter()
_GET = documented(404, 422, 503)


async def recommend(asked: RecommendRequest, services: Injected) -> Response:
    """Recommend items to a user or for a basket."""
    served = services.models.current
    (result,) = await services.batcher.ask(served, (asked,))
    result = await _explained(served, result, services.lookups)
    if isinstance(result, Problem):
        if services.lookups.busy:
            raise result
        if asked.user is not None:
            raise await services.lookups.run(lookups.with_nearest_users, served, asked.user, result)
        raise await services.lookups.run(lookups.with_nearest_items, served, result)
    return as_json(result)


async def recommend_batch(asked: BatchRequest, services: Injected) -> Response:
    """Recommend to up to 256 users or baskets; each has its list or its own problem."""
    if sum(request.explain for request in asked.requests) > MAX_EXPLAINED:
        raise Problem(
            "too-many-to-explain",
            422,
            f"at most {MAX_EXPLAINED} requests of a batch may ask for explanations; send several batches",
        )
    served = services.models.current
    results = [
        await _explained(served, one, services.lookups)
        for one in await services.batcher.ask(served, asked.requests)
    ]
    parts = [
        BatchProblem(problem=one.details).model_dump_json(exclude_none=True).encode()
        if isinstance(one, Problem)
        else one
        for one in results
    ]
    return as_json(b'{"model":"%b","results":[%b]}' % (served.version.encode(), b",".join(parts)))


async def beside(asked: RecommendRequest, services: Injected) -> Response:
    """Recommend by the second model of --beside, to see both lists; it counts neither as shown nor as a hit."""
    served = services.settings.beside
    if served is None:
        raise Problem("no-second-model", 404, "this server has one model: start it with --beside")
    (result,) = await services.lookups.run(rank, served, (asked,))
    if isinstance(result, Problem):
        raise result
    if asked.explain:
        return as_json(await services.lookups.run(explained_json, served, result))
    return as_json((await services.lookups.run(to_json, served, [result]))[0])


async def _explained(served: ServedModel, result: Result, pool: LookupPool) -> bytes | Problem:
    """Return a result with its explanation, where it waits for one."""
    if not isinstance(result, RankedList):
        return result
    try:
        return await pool.run(explained_json, served, result)
    except Problem as problem:
        if problem.kind == overloaded().kind:
            raise
        return problem


async def add_purchases(asked: PurchasesRequest, services: Injected) -> Response:
    """Store one purchase or up to 10,000; when the answer comes, they are on the disk and count for their customers."""
    if services.writer is None:
        raise Problem("no-journal", 404, "this server takes no purchases: start it with --journal")
    answer = await services.writer.add(services.models.current, purchases_of(asked))
    return as_json(answer.model_dump_json().encode())


_FAST: tuple[tuple[str, Any, type[BaseModel], type[BaseModel], tuple[int, ...]], ...] = (
    ("/recommend", recommend, RecommendRequest, RecommendAnswer, ()),
    ("/recommend/batch", recommend_batch, BatchRequest, BatchAnswer, ()),
    ("/beside", beside, RecommendRequest, RecommendAnswer, ()),
    ("/purchases", add_purchases, PurchasesRequest, PurchasesAnswer, (409, 507)),
)


def fast_routes(app: FastAPI, services: Services, token: Sequence[params.Depends]) -> dict[str, FastRoute]:
    """Document the routes under load, and return what answers a POST to them, by path.

    Args:
        app: where they are documented.
        services: of the application.
        token: dependency that documents the token.
    """
    for path, function, _, answer, more in _FAST:
        app.router.add_api_route(
            path,
            function,
            methods=["POST"],
            response_model=answer,
            responses=documented(401, 404, 408, 413, 415, 422, 503, *more),
            dependencies=token,
        )
    return {path: FastRoute(path, function, asked, services) for path, function, asked, _, _ in _FAST}


@private.get("/similar/{item_id:any}", responses=_GET, response_model_exclude_unset=True)
async def similar_items(services: Injected, item_id: Id, n: Limit = 10) -> SimilarAnswer:
    """Find items that the model scores alike, and items that the same users own."""
    return await services.lookups.run(lookups.similar, services.models.current, item_id, n)


@private.get("/items", responses=_GET, response_model_exclude_unset=True)
async def find_items(services: Injected, q: Words = "", limit: Limit = 20) -> ItemsAnswer:
    """Find items that hold all words in their id or name, whatever the case, most owned first."""
    return await services.lookups.run(lookups.find_items, services.models.current, q, limit)


@private.get("/users", responses=_GET)
async def find_users(
    services: Injected,
    q: Words = "",
    limit: Limit = 20,
    owns: Annotated[list[str], Query(max_length=20, description="items that they all own")] = [],  # noqa: B006
) -> UsersAnswer:
    """Find users whose id begins with a text, then those that hold it, whatever the case; short ids first."""
    return await services.lookups.run(lookups.find_users, services.models.current, q, limit, owns)


@private.get("/items/{item_id:any}/customers", responses=_GET)
async def item_customers(services: Injected, item_id: Id, n: Limit = 10) -> CustomersAnswer:
    """Find the users for whom an item has the highest score: whom to tell of it."""
    return await services.lookups.run(customers.customers_of, services.models.current, item_id, n)


@private.get("/filters", responses=documented(503))
async def list_filters(services: Injected) -> FiltersAnswer:
    """List the categories and the range of prices by which requests can filter."""
    return await services.lookups.run(filters.filters_of, services.models.current)


@private.get("/users/{user_id:any}/items", responses=_GET, response_model_exclude_unset=True)
async def users_items(services: Injected, user_id: Id, limit: Limit = 200) -> HistoryAnswer:
    """List what a user owns."""
    return await services.lookups.run(lookups.history, services.models.current, user_id, limit)


@private.delete("/users/{user_id:any}", responses=documented(404, 422, 503, 507))
async def forget_user(services: Injected, user_id: Id) -> ForgetAnswer:
    """Forget a customer: at once for all answers and in the journal, and in the model file when it is next written."""
    return await services.lookups.run(forgetting.forget, services.models.current, user_id)


@private.get("/map", response_model=MapAnswer, responses=_GET)
async def item_map(services: Injected) -> Response:
    """Show up to 20,000 most owned items in the plane, like ones near each other; 503 while it is laid out."""
    of_model = services.models.current.map
    if of_model is None:
        raise Problem("no-map", 404, "this model has no items that a map could be made of")
    try:
        content = of_model.answer()
    except DataError as error:  # a kind that scores every history alike
        raise Problem("no-map", 404, str(error)) from None
    if content is None:
        raise Problem(
            "not-ready", 503, "the map is being laid out; try again soon", headers={"Retry-After": "2"}
        )
    return as_json(content)


@private.get("/model")
async def describe_model(services: Injected) -> ModelAnswer:
    """Describe the model that answers now: its kind, size, measured recall and how it was trained."""
    settings = services.settings
    return lookups.describe(services.models.current, settings.image_hosts, settings.beside)


@private.get("/dashboard", responses=documented(503))
async def dashboard(services: Injected) -> DashboardAnswer:
    """Sum up the lists of 500 customers drawn by chance, and the traffic of about the last day."""
    served = services.models.current
    lists = await services.lookups.run(lists_summary, served)
    seconds, counts = await services.lookups.run(services.traffic.last_day)
    routes: dict[str, list[int]] = {}
    for (route, status), answers in counts.items():
        own = routes.setdefault(route, [0, 0])
        own[0] += answers
        own[1] += answers if status >= 500 else 0
    return DashboardAnswer(
        model=served.version,
        lists=lists,
        traffic_seconds=round(seconds),
        traffic=[
            RouteTraffic(route=route, answers=answers, failed=failed)
            for route, (answers, failed) in sorted(routes.items(), key=lambda one: (-one[1][0], one[0]))
        ],
    )


@private.get("/metrics", include_in_schema=False)
async def metrics(services: Injected) -> Response:
    """Return the counters in Prometheus' text format."""
    served = services.models.current
    if served.journal is not None:
        services.metrics.unfolded.set(await services.lookups.run(lookups.unfolded, served))
    return Response(services.metrics.text(), media_type=CONTENT_TYPE)


@public.get("/health")
async def health() -> Status:
    """Say that the process answers."""
    return Status()


@public.get("/ready", responses=documented(503))
async def ready(services: Injected) -> Status:
    """Say whether a recommendation would be answered now."""
    if not services.batcher.ready:
        raise Problem("not-ready", 503, "no recommendation can be made now", headers={"Retry-After": "1"})
    return Status()


def as_json(content: bytes) -> Response:
    """Return a response of JSON that is written already."""
    return Response(content, media_type="application/json")
