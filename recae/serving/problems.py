"""Problem details (RFC 9457): the one form in which the server says that something went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_ERRORS_AT_MOST = 20  # of one body that are spelled out


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """An answer other than 200.

    Attributes:
        kind: what the type's URI ends with, such as ``"unknown-user"``; one kind always has the same status.
        status: the HTTP status.
        detail: one sentence for a person.
        headers: of the response, such as Retry-After.
        extras: further members, JSON values.
    """

    def __init__(
        self,
        kind: str,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extras: Any,
    ) -> None:
        super().__init__(detail)
        self.kind, self.status, self.detail = kind, status, detail
        self.headers = dict(headers or {})
        self.extras = extras

    def body(self, instance: str | None = None) -> dict[str, Any]:
        """Return the JSON object; ``instance`` is the path of the request, where there is one."""
        where = {} if instance is None else {"instance": instance}
        return {
            "type": f"urn:recae:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **where,
            **self.extras,
        }

    def response(self, instance: str | None = None) -> Response:
        """Return the response of media type application/problem+json, in ASCII."""
        return Response(
            json.dumps(self.body(instance)), self.status, media_type=MEDIA_TYPE, headers=self.headers
        )


def invalid(errors: list[Any]) -> Problem:
    """Return the 422 problem of a request that does not fit its schema.

    Args:
        errors: as pydantic lists them. What was sent is not repeated: it may be long, or somebody's data.
    """
    told = [
        {
            "field": ".".join(str(part) for part in error["loc"])[:200],
            "message": str(error["msg"]).removeprefix("Value error, ")[:300],
        }
        for error in errors[:_ERRORS_AT_MOST]
    ]
    first = told[0] if told else {"field": "", "message": "it does not fit its schema"}
    where = f"{first['field']}: " if first["field"] else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem("invalid-request", 422, f"{where}{first['message']}{more}", errors=told)


def install(app: FastAPI) -> None:
    """Let every error of an application leave it as a problem, the framework's own ones too."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response(request.scope["path"])

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        return invalid(list(error.errors())).response(request.scope["path"])

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        kind, detail = "http", str(error.detail)
        if error.status_code == 404:
            kind, detail = "no-such-path", "there is nothing at this path; GET /docs lists what there is"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            kind, detail = "method-not-allowed", f"{request.method} is not possible here; use {allowed}"
        return Problem(kind, error.status_code, detail, headers=error.headers).response(path)
