"""The service as a web application: routes, limits, errors, logs and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import math
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xopt.errors import InputError, XoptError
from xopt.model.remote import TooLargeError, for_clients
from xopt.serve import kserve, openai, page, tei, tensors
from xopt.serve.batching import ClosedError, FullError, LateError
from xopt.serve.metrics import Metrics
from xopt.serve.openapi import describe
from xopt.serve.service import Served, Service
from xopt.serve.wire import parse

__all__ = ["make_app"]

log = logging.getLogger("xopt.serve")
FOLDER = Path(__file__).parent
# What everyone may ask, with or without a key: a probe has none.
OPEN = ("/health", "/v2/health/live", "/v2/health/ready")

Answer = Callable[[Service, dict[str, Any]], Awaitable[Any]]


class _EncodedError(InputError):
    """A body that is compressed: this server reads bodies as they are."""


# Errors of who asks, or of how much is asked -> status.
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (TooLargeError, 413),
    (_EncodedError, 415),
    (FullError, 429),
    (LateError, 503),
    (ClosedError, 503),
    (InputError, 400),
)


def make_app(service: Service) -> Starlette:
    """The application; it closes the service when the server stops."""
    metrics = Metrics(service)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(
                signal.SIGHUP, lambda: loop.run_in_executor(None, service.reload)
            )
        yield
        await loop.run_in_executor(None, service.close)

    def post(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            body = parse(await _body(request, service.options.max_body_kib * 2**10))
            return _Json(await answer(service, body))

        return Route(path, endpoint, methods=["POST"])

    async def health(request: Request) -> Response:
        found = await service.check()
        ready = bool(found) and all(found.values())
        # kserve's client reads "ready".
        return JSONResponse({"ready": ready, "models": found}, 200 if ready else 503)

    def named(request: Request) -> Served:
        served = service.find(request.path_params["name"])
        kserve.check_version(served, request.path_params.get("version", kserve.VERSION))
        return served

    async def one_model(request: Request) -> Response:
        served = named(request)
        if request.url.path.endswith("/ready"):
            return JSONResponse({"name": served.name, "ready": True})
        return JSONResponse(kserve.metadata(served))

    async def one_for_openai(request: Request) -> Response:
        return JSONResponse(openai.model(service.find(request.path_params["name"])))

    async def infer(request: Request) -> Response:
        served = named(request)
        body = await _body(request, service.options.max_body_kib * 2**10)
        asked = tensors.read_request(body, request.headers.get(tensors.HEADER))
        answer, behind = await kserve.infer(service, served, asked)
        if behind is None:
            return _Json(answer)
        written = _written(answer)
        headers = {tensors.HEADER: str(len(written))}
        return Response(written + behind, headers=headers, media_type="application/octet-stream")

    async def shown(request: Request) -> Response:
        return JSONResponse(page.facts(service, request.query_params.get("model")))

    routes = [
        Route("/", lambda _: FileResponse(FOLDER / "page.html")),
        post("/", tei.root),
        Route("/page/facts", shown),
        post("/page/ask", page.ask),
        Route("/docs", lambda _: FileResponse(FOLDER / "docs.html")),
        Route("/openapi.json", lambda _: JSONResponse(describe())),
        Route("/health", health),
        Route("/metrics", lambda _: PlainTextResponse(metrics.text(), media_type=metrics.TYPE)),
        post("/v1/embeddings", openai.embeddings),
        Route("/v1/models", lambda _: JSONResponse(openai.models([*service.models.values()]))),
        Route("/v1/models/{name}", one_for_openai),
        post("/embed", tei.embed),
        post("/predict", tei.predict),
        post("/rerank", tei.rerank),
        Route("/info", lambda r: JSONResponse(tei.info(service, r.query_params.get("model")))),
        Route("/v2", lambda _: JSONResponse(kserve.server_metadata())),
        Route("/v2/health/live", lambda _: JSONResponse({"live": True})),
        Route("/v2/health/ready", health),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(path, one_model),
            Route(f"{path}/ready", one_model),
            Route(f"{path}/infer", infer, methods=["POST"]),
        ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route},
        middleware=[Middleware(_Guard, service=service, metrics=metrics)],
    )


def _written(answer: Any) -> bytes:
    """As JSON; arrays too, in the fewest digits that are the same float32."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return _written(content)


async def _body(request: Request, most: int) -> bytes:
    """The request's body, never more than ``most`` bytes of it."""
    encoding = request.headers.get("content-encoding", "identity").strip()
    if encoding.lower() not in ("", "identity"):
        raise _EncodedError(
            f"The body is sent with Content-Encoding {encoding!r:.40}; it is read as it is.",
            hint="Send it without compression.",
        )
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise TooLargeError(f"The body has {int(stated):,} bytes; at most {most:,} are read.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLargeError(f"The body has more than {most:,} bytes.")
    return bytes(body)


class _Guard:
    """Around every request: the key, the time, errors in words, one line of the log."""

    def __init__(self, app: ASGIApp, service: Service, metrics: Metrics) -> None:
        self.app, self.service, self.metrics = app, service, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 500
        sent = False

        async def note(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, sent = message["status"], True
            await send(message)

        path = str(scope["path"])
        try:
            async with asyncio.timeout(self.service.options.timeout_s + 5):
                if path not in OPEN and not self._has_key(scope):
                    await self._refuse(path, 401, "The API key is missing or wrong.")(
                        scope, receive, note
                    )
                else:
                    await self.app(scope, receive, note)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            if sent:
                raise
            await self._said(path, error)(scope, receive, note)
        finally:
            spent = time.perf_counter() - begin
            self.metrics.count(scope, status, spent)
            record = {
                "method": scope["method"], "path": path, "status": status,
                "ms": round(spent * 1e3, 2),
            }  # fmt: skip
            log.info(json.dumps(record))

    def _has_key(self, scope: Scope) -> bool:
        key = self.service.options.api_key
        if key is None:
            return True
        headers = dict(scope["headers"])
        given = headers.get(b"authorization", b"").strip()
        # The scheme's name has no case (RFC 9110, 11.1); no header ends in a space, so no key does.
        if given[:7].lower() == b"bearer ":
            given = given[7:].strip()
        return hmac.compare_digest(given, key.strip().encode())

    def _said(self, path: str, error: Exception) -> Response:
        for kind, status in STATUS:
            if isinstance(error, kind):
                said = for_clients(error) if isinstance(error, InputError) else error
                return self._refuse(path, status, str(said).replace("\n", " "))
        if isinstance(error, TimeoutError):
            return self._refuse(path, 503, "The request took too long.")
        if isinstance(error, XoptError):
            log.error("%s", error)
            return self._refuse(path, 500, error.message)
        log.exception("a request failed")
        return self._refuse(path, 500, f"xopt itself failed: {type(error).__name__}.")

    def _refuse(self, path: str, status: int, message: str) -> Response:
        """An error, with when to ask again or what to send with it."""
        headers = {}
        if status == 429:
            waits = max((s.batcher.retry_after_s for s in self.service.models.values()), default=1)
            headers["Retry-After"] = str(max(1, math.ceil(waits)))
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if status == 415:
            headers["Accept-Encoding"] = "identity"
        return _in_form(path, status, message, headers)


async def _no_route(request: Request, error: Exception) -> Response:
    """A path that there is not, or not with this method."""
    assert isinstance(error, HTTPException)
    path, ways = request.url.path, (error.headers or {}).get("Allow")
    said = f"There is no {path:.200}; /docs lists what there is."
    if ways is not None:
        said = f"{path:.200} is asked with {ways}, not with {request.method}."
    return _in_form(path, error.status_code, said, error.headers)


def _in_form(
    path: str, status: int, message: str, headers: Mapping[str, str] | None
) -> JSONResponse:
    """An error in the form that the clients of the path's interface read."""
    body: dict[str, Any]
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if status < 429 else "server_error"
        body = openai.error_body(message, kind)
    elif path.startswith("/v2"):
        body = {"error": message}
    else:
        kinds = {429: "overloaded", 503: "unhealthy", 500: "backend"}
        body = {"error": message, "error_type": kinds.get(status, "validation")}
    return JSONResponse(body, status, headers=headers)
