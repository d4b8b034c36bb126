"""The service as a web application: routes, limits, errors, logs and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xopt.model.remote import TooLargeError
from xopt.serve import kserve, openai, page, tei, tensors
from xopt.serve.batching import ClosedError, FullError
from xopt.serve.http import GONE
from xopt.serve.large import LARGE, count_values, parse_in_steps, write, write_in_steps
from xopt.serve.metrics import Metrics
from xopt.serve.openapi import describe
from xopt.serve.refusing import EncodedError, no_route, refused, told
from xopt.serve.service import ASIDE, Served, Service
from xopt.serve.wire import parse

__all__ = ["make_app"]

log = logging.getLogger("xopt.serve")
FOLDER = Path(__file__).parent
# What everyone may ask, with or without a key: a probe has none.
OPEN = ("/health", "/v2/health/live", "/v2/health/ready")

# A connection that is closed over unread bytes is reset, and its answer lost. So what is refused
# before its body was read is read on first, unkept: at most so many bytes, for so long in all, and
# while more comes within so many seconds.
UNKEPT, UNKEPT_S, NEXT_S = 2**28, 30.0, 2.0

# What to do where a body is too large.
SEVERAL = "Send several requests; they are joined again."

Answer = Callable[[Service, dict[str, Any]], Awaitable[Any]]


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
            body = await _body(request, service.options.max_body_kib * 2**10)
            asked = await _read(service, body)
            found = await service.again(lambda: answer(service, asked))
            return Response(await _written(service, found), media_type="application/json")

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
        named(request)
        body = await _body(request, service.options.max_body_kib * 2**10)
        asked = await _read(service, body, request.headers.get(tensors.HEADER))
        answer, behind = await service.again(lambda: kserve.infer(service, named(request), asked))
        written = await _written(service, answer)
        if behind is None:
            return Response(written, media_type="application/json")
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
        exception_handlers={HTTPException: no_route},
        middleware=[Middleware(_Guard, service=service, metrics=metrics)],
    )


async def _read(service: Service, body: bytes, stated: str | None = None) -> dict[str, Any]:
    """The request's JSON, with its tensors where ``stated`` says that some stand behind it."""
    most = service.options.max_texts
    large = len(body) > LARGE
    read = partial(_parse_large, service) if large else parse
    work = partial(tensors.read_request, body, stated, read, most)
    return await service.aside(ASIDE if large else 0, work)


def _parse_large(service: Service, body: bytes) -> dict[str, Any]:
    options = service.options
    # A text may be in a list of its own, with a pair that is too; the rest is spare.
    most = 4 * options.max_texts + 4096
    return parse(body, lambda body: parse_in_steps(body, most, options.max_text_kib))


async def _written(service: Service, answer: Any) -> bytes:
    large = 4 * count_values(answer) > LARGE
    return await service.aside(ASIDE, partial(write_in_steps, answer)) if large else write(answer)


async def _body(request: Request, most: int) -> bytes:
    """The request's body, never more than ``most`` bytes of it."""
    encoding = request.headers.get("content-encoding", "identity").strip()
    if encoding.lower() not in ("", "identity"):
        raise EncodedError(
            f"The body is sent with Content-Encoding {encoding!r:.40}; it is read as it is.",
            hint="Send it without compression.",
        )
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise TooLargeError(
            f"The body has {int(stated):,} bytes; at most {most:,} are read.", hint=SEVERAL
        )
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLargeError(f"The body has more than {most:,} bytes.", hint=SEVERAL)
    return bytes(body)


async def _read_on(receive: Receive) -> None:
    """Take the rest of a body, as far as that is worth it."""
    left = UNKEPT
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UNKEPT_S):
            while left > 0:
                message = await asyncio.wait_for(receive(), NEXT_S)
                if not message.get("more_body", False):
                    return
                left -= len(message["body"])


NO_KEY = "The API key is missing or wrong. Send it in the header Authorization: Bearer KEY."


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
        # Who expects to be told first sends no body before the first part of it is asked for.
        unread = not any(name == b"expect" for name, _ in scope["headers"])

        async def take() -> Message:
            nonlocal unread
            message = await receive()
            unread = message.get("more_body", False)
            return message

        async def note(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                if unread:
                    await _read_on(take)
                sent = True
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            if whole and gone is not None:
                # Who leaves from here on was answered.
                gone.remove_done_callback(leave)

        path = str(scope["path"])
        task = asyncio.current_task()
        gone: asyncio.Future[None] | None = scope.get("state", {}).get(GONE)
        leave = partial(_leave, task)
        if gone is not None:
            gone.add_done_callback(leave)
        try:
            async with asyncio.timeout(self.service.options.timeout_s + 5):
                if path not in OPEN and not self._has_key(scope):
                    await refused(path, 401, NO_KEY)(scope, take, note)
                else:
                    await self.app(scope, take, note)
        except ClientDisconnect:
            status = 499
        except asyncio.CancelledError:
            left = gone is not None and gone.done()
            if task is None or (sent and not left):
                raise
            task.uncancel()
            status = 499 if left else 503
            if not left:
                # The server stops, and has waited for as long as it may.
                stopped = ClosedError("This server has stopped.", hint="Ask again.")
                await refused(path, *told(stopped))(scope, receive, send)
        except Exception as error:
            if sent:
                raise
            again_s = error.again_s if isinstance(error, FullError) else 1.0
            await refused(path, *told(error), again_s=again_s)(scope, take, note)
        finally:
            if gone is not None:
                gone.remove_done_callback(leave)
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


def _leave(task: asyncio.Task[None] | None, gone: asyncio.Future[None]) -> None:
    """Nobody waits for this answer any more: what of it has not begun is not begun."""
    if task is not None:
        task.cancel()
