"""The routes that recommend: bodies are read, checked and answered by hand, since these are the ones to be fast."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from recae.serving import description, lookups, problems
from recae.serving.answers import Ranked, written_with_reasons
from recae.serving.batcher import Batcher, Lane, Result, overloaded
from recae.serving.description import body as json_body
from recae.serving.holder import Holder
from recae.serving.limits import read_json
from recae.serving.problems import Problem
from recae.serving.schemas import (
    EXPLAINED_AT_MOST,
    BatchAnswer,
    BatchRequest,
    RecommendAnswer,
    RecommendRequest,
)
from recae.serving.served import Served

_Model = TypeVar("_Model", bound=BaseModel)
_POST = description.problems(401, 404, 408, 413, 415, 422, 503)


@dataclass(frozen=True)
class Settings:
    """How an application serves.

    Attributes:
        token: what requests must show; None where none is wanted.
        max_body: bytes of a body.
        body_seconds: for a body to arrive.
        queue: histories that may wait to be scored.
        threads: of BLAS.
        reload: whether the model file is watched.
    """

    token: str | None = None
    max_body: int = 2**20
    body_seconds: float = 10.0
    queue: int = 512
    threads: int = 1
    reload: bool = True


class _ByHand(APIRoute):
    """A route that FastAPI describes but does not run: its function gets the request and returns the response."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


def add_recommend(app: FastAPI, holder: Holder, lane: Lane, batcher: Batcher, settings: Settings) -> None:
    """Add the two routes to an application."""

    async def body_as(model: type[_Model], request: Request) -> _Model:
        text = await read_json(request, settings.max_body, settings.body_seconds)
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise problems.invalid(error.errors(include_url=False, include_input=False)) from None

    async def recommend(request: Request) -> Response:
        question = await body_as(RecommendRequest, request)
        served = holder.current
        (result,) = await batcher.ask(served, (question,))
        result = await _finished(served, result, lane)
        if isinstance(result, Problem):
            if lane.busy:
                raise result
            if question.user is not None:
                raise await lane.run(lookups.with_nearest_users, served, question.user, result)
            raise await lane.run(lookups.with_nearest_items, served, result)
        return as_json(result)

    async def batch(request: Request) -> Response:
        questions = (await body_as(BatchRequest, request)).requests
        if sum(question.explain for question in questions) > EXPLAINED_AT_MOST:
            raise Problem(
                "too-many-to-explain",
                422,
                f"at most {EXPLAINED_AT_MOST} requests of a batch may ask for explanations; send several batches",
            )
        served = holder.current
        results = [await _finished(served, one, lane) for one in await batcher.ask(served, questions)]
        return as_json(_joined(served, results))

    def add(path: str, function: Any, question: type[BaseModel], answer: type[BaseModel], title: str) -> None:
        app.router.add_api_route(
            path,
            function,
            methods=["POST"],
            response_model=answer,
            responses=_POST,
            openapi_extra=json_body(question),
            summary=title,
            route_class_override=_ByHand,
        )

    add(
        "/recommend",
        recommend,
        RecommendRequest,
        RecommendAnswer,
        "Recommend items to a user or for a basket",
    )
    add("/recommend/batch", batch, BatchRequest, BatchAnswer, "The same for up to 256 users or baskets")


async def _finished(served: Served, result: Result, lane: Lane) -> bytes | Problem:
    """Return a result with its explanation, where it waits for one."""
    if not isinstance(result, Ranked):
        return result
    try:
        return await lane.run(written_with_reasons, served, result)
    except Problem as problem:
        if problem.status == overloaded().status:
            raise
        return problem


def _joined(served: Served, results: Sequence[bytes | Problem]) -> bytes:
    """Return the JSON of a `BatchAnswer`."""
    parts = [
        one if isinstance(one, bytes) else json.dumps({"problem": one.body()}).encode() for one in results
    ]
    return b'{"model":"%b","results":[%b]}' % (served.version.encode(), b",".join(parts))


def as_json(content: bytes) -> Response:
    """Return a response of JSON that is written already."""
    return Response(content, media_type="application/json")
