"""HTTP as uvicorn speaks it with httptools, with bounds that both leave to a proxy in front.

What a client sends beside bodies (heads, trailers, chunks' own lines) is counted, and a head has to
be complete in time. A request that offers another protocol is answered in this one, body included,
as RFC 9110 (7.8) has it: Java's client offers HTTP/2 with every first request.

A connection that ends says so to what answers on it, in one future, which costs a request nothing
while nobody leaves. A client may end its own side and wait for the answer; one that has gone looks
the same, until it is sent something: then its machine says that nobody is there. So it is sent what
every client has to read past (100 Continue; RFC 9110, 15.2).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["BESIDE", "GONE", "HEAD_S", "Protocol"]

# Under this name in the state of a scope: the future that is done when the client is gone.
GONE = "xopt.gone"

# Bytes of a message beside its body: twice what the event loop reads at a time, which may hold many
# small messages, and so many more for each byte of the body, which may come in chunks of one.
BESIDE, BESIDE_EACH = 2**19, 8
# Seconds from a connection's, or a further request's, first byte to the end of its head.
HEAD_S = 30.0
# Seconds without a byte of a body, after which a server that stops waits for it no more.
STALLED_S = 5.0
# Seconds from one look for who has gone to the next: at first, and at most.
LOOK_S, LOOKS_S = 0.02, 1.0


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has HEAD_S from here on."""
        super().connection_made(transport)
        self.beside = self.of_body = 0
        self.gone: asyncio.Future[None] = self.loop.create_future()
        # Requests without a whole answer: the first is answered, the others wait for their turn.
        self.unanswered: deque[RequestResponseCycle] = deque()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._unset_keepalive_if_required()
        for cycle in self.unanswered:
            # uvicorn tells only the last, and takes the others' end without an answer for an error.
            cycle.disconnected = True
        super().connection_lost(exc)
        self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Read on; refuse what is no HTTP, or too much of it."""
        before = self.of_body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as found:
            self._stay(data[found.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse("Invalid HTTP request received.")
            return
        self.beside += len(data) - (self.of_body - before)
        if self.beside > BESIDE + BESIDE_EACH * self.of_body:
            self._refuse("The request has too much beside its body.")

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: close, unless whole requests wait for their answers."""
        if not self.unanswered or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        first = self.unanswered[0]
        # A client of HTTP/1.0 knows of no such words; it is answered, gone or not.
        if first.scope["http_version"] == "1.1" and not first.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._look(LOOK_S)
        return True

    def shutdown(self) -> None:
        """The server stops: what is whole is answered, a body is waited for while it comes."""
        super().shutdown()
        self._wait_for_body(-1)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.scope["state"] = {**self.app_state, GONE: self.gone}
        self.beside = self.of_body = 0
        self._wait()

    def on_headers_complete(self) -> None:
        """The head is complete; where it offers another protocol it is read again without that."""
        self._unset_keepalive_if_required()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.unanswered.append(self.cycle)

    def on_response_complete(self) -> None:
        """An answer is complete; the next request has its turn."""
        self.unanswered.popleft()
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self.of_body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        if not self.parser.should_upgrade():
            super().on_message_complete()
            if not self.pipeline:
                # What was much to read at once is read; an end has to be seen from here on.
                self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close, unless an answer is still on its way."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()
        else:
            super().timeout_keep_alive_handler()

    def _wait(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _look(self, wait: float) -> None:
        """Leave where the client, which sends no more, has gone altogether."""
        if self.unanswered and not self.transport.is_closing():
            ends = self.transport.get_extra_info("socket")
            if ends.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.transport.abort()
            else:
                self.loop.call_later(wait, self._look, min(2 * wait, LOOKS_S))

    def _wait_for_body(self, before: int) -> None:
        """Close where all that is left is a body of which nothing came since ``before``."""
        if self.unanswered and not self.transport.is_closing():
            last = len(self.unanswered) == 1 and self.cycle.more_body
            if last and self.of_body == before:
                self.transport.close()
            else:
                self.loop.call_later(STALLED_S, self._wait_for_body, self.of_body)

    def _stay(self, rest: bytes) -> None:
        """Read the head again as one that offers no other protocol, and what comes behind it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse("This server is no proxy.")
            return
        lines = [method + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                left = [token.strip() for token in value.lower().split(b",")]
                value = b", ".join(token for token in left if token != b"upgrade")
            if name != b"upgrade":
                lines.append(name + b": " + value)
        self.parser: Any = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _refuse(self, said: str) -> None:
        self.logger.warning(said)
        self.send_400_response(said)
