"""The OpenAPI description: FastAPI's own, with the bodies and problems that the fast routes handle by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recae.serving.problems import MEDIA_TYPE
from recae.serving.schemas import BatchRequest, ProblemDetails, RecommendRequest

_BY_HAND: tuple[type[BaseModel], ...] = (RecommendRequest, BatchRequest, ProblemDetails)
_SCHEMAS = "#/components/schemas/{model}"
_MEANINGS = {
    401: "the token is missing or wrong",
    404: "the model does not know it",
    408: "the body arrived too slowly",
    413: "the body is too large",
    415: "the body is not JSON",
    422: "the request does not fit its schema",
    503: "too many requests wait; Retry-After says when to try again",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of answers that are problems, for a route's ``responses``."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model=ProblemDetails.__name__)}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a JSON body, for a route's ``openapi_extra``."""
    schema = {"$ref": _SCHEMAS.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def install(app: FastAPI, with_token: bool) -> None:
    """Let an application describe itself so; the description is made once, when first asked for."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app, with_token)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # the way that FastAPI documents


def _description(app: FastAPI, with_token: bool) -> dict[str, Any]:
    content = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    _, definitions = models_json_schema([(model, "validation") for model in _BY_HAND], ref_template=_SCHEMAS)
    content["components"]["schemas"].update(definitions["$defs"])
    if with_token:
        content["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        content["security"] = [{"token": []}]
    return content
