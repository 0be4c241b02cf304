"""Problem details (RFC 9457): the one form in which the server reports an error."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from recae.serving.schemas import FieldError, ProblemDetails

MEDIA_TYPE: Final = "application/problem+json"
_MAX_ERRORS = 20  # of one body that are spelled out
_MEANINGS = {
    401: "the token is missing or wrong",
    404: "the model does not know it",
    408: "the body arrived too slowly",
    409: "the id of an event is in the journal with another purchase",
    413: "the body is too large",
    415: "the body is not JSON",
    422: "the request does not fit its schema",
    503: "too many requests wait; Retry-After says when to try again",
    507: "the disk of the journal is full",
}


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """An answer other than 200.

    Args:
        kind: what the type's URI ends with, such as ``"unknown-user"``; one kind always has the same status.
        status: the HTTP status.
        detail: one sentence for a person.
        headers: of the response, such as Retry-After.
        nearest: known ids that are like the unknown one.
        unknown: the first unknown item of a basket.
        errors: where a request does not fit its schema.
    """

    def __init__(
        self,
        kind: str,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        nearest: list[str] | None = None,
        unknown: str | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        """Describe an error."""
        super().__init__(detail)
        self.kind, self.status, self.headers = kind, status, dict(headers or {})
        self.details = ProblemDetails(
            type=f"urn:recae:problem:{kind}",
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            nearest=nearest,
            unknown=unknown,
            errors=errors,
        )

    def to_json(self) -> bytes:
        """Return the JSON object."""
        return self.details.model_dump_json(exclude_none=True).encode()

    def response(self, instance: str) -> Response:
        """Return the response to a request for the path ``instance``."""
        self.details.instance = instance
        return Response(self.to_json(), self.status, media_type=MEDIA_TYPE, headers=self.headers)


def overloaded() -> Problem:
    """Return the 503 problem of a full queue."""
    return Problem(
        "overloaded",
        503,
        "too many requests wait to be answered; try again in a second",
        headers={"Retry-After": "1"},
    )


def invalid(errors: Sequence[Any]) -> Problem:
    """Return the 422 problem of a request that does not fit its schema.

    Args:
        errors: as pydantic lists them. What was sent is not repeated: it may be long, or personal data.
    """
    fields = [
        FieldError(
            field=".".join(str(part) for part in error["loc"])[:200],
            message=str(error["msg"]).removeprefix("Value error, ")[:300],
        )
        for error in errors[:_MAX_ERRORS]
    ] or [FieldError(field="", message="it does not fit its schema")]
    where = f"{fields[0].field}: " if fields[0].field else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem("invalid-request", 422, f"{where}{fields[0].message}{more}", errors=fields)


async def _answer(request: Request, error: Exception) -> Response:
    """Answer an error of a route, or one of the framework's own, with a problem."""
    if isinstance(error, RequestValidationError):
        error = invalid(error.errors())
    elif isinstance(error, HTTPException):
        kind, detail, headers = "http", str(error.detail), dict(error.headers or {})
        if error.status_code == 404:
            kind, detail = "no-such-path", "there is nothing at this path; GET /docs lists what there is"
        elif error.status_code == 405:
            allowed = headers.setdefault("Allow", "GET")
            kind, detail = "method-not-allowed", f"{request.method} is not possible here; use {allowed}"
        error = Problem(kind, error.status_code, detail, headers=headers)
    if not isinstance(error, Problem):
        raise error
    return error.response(request.scope["path"])


HANDLERS: Final[dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]] = {
    Problem: _answer,
    RequestValidationError: _answer,
    HTTPException: _answer,
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of answers that are problems, for a route's ``responses``, by HTTP status."""
    # by reference, since FastAPI would put a model under the media type of the route's own answer
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}
