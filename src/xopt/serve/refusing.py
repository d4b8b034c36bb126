"""Errors as answers: their status, and the form that each interface's clients read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from xopt.errors import InputError, XoptError
from xopt.model.remote import TooLargeError, for_clients
from xopt.serve import openai
from xopt.serve.batching import ClosedError, FullError, LateError
from xopt.serve.service import UnknownModelError

__all__ = ["EncodedError", "no_route", "refuse", "refused", "told"]

log = logging.getLogger(__name__)


class EncodedError(InputError):
    """A body that is compressed: this server reads bodies as they are."""


# Errors of who asks, or of how much is asked -> status.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (TooLargeError, 413),
    (EncodedError, 415),
    (UnknownModelError, 404),
    (FullError, 429),
    (LateError, 503),
    (ClosedError, 503),
    (InputError, 400),
)


# What OpenAI's clients ask behind their base_url, which ends in /v1.
BARE = ("/embeddings", "/models", "/completions", "/chat/completions", "/responses")


def told(error: Exception) -> tuple[int, str, str | None]:
    """The status of an error, what a client is told, and OpenAI's code for it, if any.

    What is no client's fault goes to the log.
    """
    for kind, status in STATUS:
        if isinstance(error, kind):
            said = for_clients(error) if isinstance(error, InputError) else error
            code = "model_not_found" if kind is UnknownModelError else None
            return status, str(said).replace("\n", " "), code
    if isinstance(error, TimeoutError):
        return 503, "The request took too long. Ask again later, or with fewer texts.", None
    if isinstance(error, XoptError):
        log.error("%s", error)
        return 500, error.message, None
    log.error("a request failed", exc_info=error)
    return 500, "The server failed at this request; its log says why.", None


def refuse(
    path: str,
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> JSONResponse:
    """An error in the form that the clients of the path's interface read."""
    body: dict[str, Any]
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if status < 429 else "server_error"
        body = openai.error_body(message, kind, code)
    elif path.startswith("/v2"):
        body = {"error": message}
    else:
        kinds = {429: "overloaded", 503: "unhealthy", 500: "backend"}
        body = {"error": message, "error_type": kinds.get(status, "validation")}
    return JSONResponse(body, status, headers=headers)


def refused(
    path: str, status: int, message: str, code: str | None = None, *, again_s: float = 1.0
) -> JSONResponse:
    """An error, with when to ask again or what to send with it."""
    headers = {}
    if status == 429:
        headers["Retry-After"] = str(max(1, math.ceil(again_s)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 415:
        headers["Accept-Encoding"] = "identity"
    return refuse(path, status, message, headers, code)


async def no_route(request: Request, error: Exception) -> JSONResponse:
    """A path that there is not, or not with this method."""
    assert isinstance(error, HTTPException)
    path, ways = request.url.path, (error.headers or {}).get("Allow")
    # OpenAI's clients whose base_url lacks its /v1; they show no error of another form.
    openais = path in BARE
    said = f"There is no {path:.200}; /docs lists what there is."
    if ways is not None:
        said = f"{path:.200} is asked with {ways}, not with {request.method}."
    elif openais:
        said = f"{said} The address for OpenAI's clients (base_url) ends in /v1."
    return refuse(f"/v1{path}" if openais else path, error.status_code, said, error.headers)
