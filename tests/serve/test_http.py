"""What stands beside bodies is bounded in bytes and in time; offers of HTTP/2 are passed over."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from xopt.serve import http

BODY = b'{"inputs": "Habari"}'
HEAD = b"POST /embed HTTP/1.1\r\nHost: x\r\n"
# As Java's client offers HTTP/2 with every first request.
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


@pytest.fixture
def line(server: Any) -> Iterator[socket.socket]:
    """A connection."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as opened:
        yield opened


def answers(line: socket.socket) -> list[tuple[int, Any]]:
    """(status, body) of every answer until the server closes."""
    data = b""
    while part := line.recv(1 << 16):
        data += part
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append((int(head.split()[1]), data[:size]))
        data = data[size:]
    return found


def sized(head: bytes, body: bytes = BODY) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("pieces", [1, 7])
def test_an_offer_of_another_protocol_is_answered_in_this_one(
    server: Any, line: socket.socket, pieces: int
) -> None:
    chunked = HEAD + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    last = sized(HEAD + OFFER.replace(b"Upgrade,", b"close, Upgrade,"))
    data = sized(HEAD + OFFER) + chunked + sized(HEAD) + last
    step = -(-len(data) // pieces)
    for start in range(0, len(data), step):
        line.sendall(data[start : start + step])
    right = server.ask("/embed", BODY)[1]
    found = answers(line)
    assert [(status, json.loads(body)) for status, body in found] == [(200, right)] * 4


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        b"GET /health HTTP/1.1\r\nX-Long: ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;extension=",
    ],
)
def test_what_stands_beside_a_body_has_a_bound(
    server: Any, line: socket.socket, begin: bytes
) -> None:
    line.sendall(begin)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        line.sendall(b"a" * 64 * http.BESIDE)
    assert server.ask("/embed", BODY)[0] == 200


def test_a_body_in_chunks_of_one_byte_is_read(server: Any, line: socket.socket) -> None:
    text = b'{"inputs": "a"' + b" " * 60_000 + b"}"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text)
    assert len(chunks) < http.BESIDE
    head = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    line.sendall(head + chunks + b"0\r\n\r\n")
    assert [status for status, _ in answers(line)] == [200]


def test_a_head_has_to_be_complete_in_time(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_S", 0.2)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"GET /heal")
        assert slow.recv(1) == b""


def test_no_tunnel_is_opened(line: socket.socket) -> None:
    line.sendall(b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n")
    assert answers(line) == [(400, b"This server is no proxy.")]


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [(b"/embed", b"k", 413), (b"/embed", b"no", 401), (b"/no", b"k", 404)],
)
def test_who_sends_more_than_is_read_gets_the_answer(
    start: Any, bundles: Any, path: bytes, key: bytes, status: int
) -> None:
    with start({"embed": bundles["embed"]}, api_key="k", max_body_kib=64) as running:
        port = int(running.url.rpartition(":")[2])
        size = 48 * 2**20
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (path, key)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as opened:
            # As urllib does, whose connection is closed with the answer.
            opened.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(48):
                opened.sendall(b" " * 2**20)
            assert [code for code, _ in answers(opened)] == [status]


def test_who_asks_before_sending_much_is_refused_before(line: socket.socket) -> None:
    line.sendall(
        HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n"
    )
    assert [status for status, _ in answers(line)] == [413]
