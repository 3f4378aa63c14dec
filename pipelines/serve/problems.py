"""Errors as replies: one JSON shape for all of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

REASONS = {
    400: "The body is no image that can be read whole.",
    403: "The request comes from another site's page.",
    404: "There is no such address.",
    405: "The address takes another method.",
    408: "The photo took too long to arrive.",
    413: "The photo has too many bytes or pixels.",
    415: "The body is said to be something other than an image.",
    421: "The Host header names another server.",
    422: "A query option is unknown or out of range.",
    500: "The program or the checkpoint is at fault; the server's log has more.",
    503: "Too many photos at once; Retry-After has the seconds to wait.",
    504: "The photo took too long.",
}


class Problem(BaseModel):
    """Why a request was not answered."""

    model_config = ConfigDict(extra="forbid")

    status: int = Field(description="The reply's status.", ge=400, le=599)
    reason: str = Field(description="What was expected, what was found, what to do.")


class Refusal(Exception):
    """A reply that is an error."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
        self.headers = {"Retry-After": str(retry_after)} if retry_after else None


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error replies for an operation's OpenAPI description."""
    replies: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        replies[status] = {"model": Problem, "description": REASONS[status]}
        if status == 503:
            seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
            replies[status]["headers"] = {"Retry-After": seconds}
    return replies


def problem(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error's reply."""
    return JSONResponse(Problem(status=status, reason=reason).model_dump(), status, {**(headers or {})})


def answer_problems(app: FastAPI) -> None:
    """Let every error of an application be a ``Problem``; unforeseen ones are the guard's to answer."""

    @app.exception_handler(Refusal)
    async def _(request: Request, error: Refusal) -> JSONResponse:
        return problem(error.status, error.reason, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "query")[:80]
        return problem(422, f"{where}: {first['msg']}"[:400])

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        said = REASONS.get(error.status_code) or HTTPStatus(error.status_code).phrase
        return problem(error.status_code, said, dict(error.headers or {}))
