"""Clients that cost little: one thread, sockets that do not wait, requests made beforehand."""

from __future__ import annotations

import json
import os
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# More connections than this are not opened; a request waits for one then.
MOST = 512


class Sample(NamedTuple):
    """One request: which text, seconds of ``time.perf_counter``, what came back."""

    text: int
    began: float
    ended: float
    status: int
    body: bytes


class _Connection:
    """A connection and the request that it waits for."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.place = (parts.hostname, parts.port)
        self.open()
        self.index, self.began = -1, 0.0
        self.parts: list[bytes] = []
        self.left = -1

    def open(self) -> None:
        self.socket = socket.create_connection(self.place)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, index: int, data: bytes, began: float) -> None:
        self.index, self.began, self.parts, self.left = index, began, [], -1
        self.socket.sendall(data)

    def read(self) -> bool:
        """Take what came; whether the answer is whole."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.parts.append(part)
        if self.left < 0:
            whole = b"".join(self.parts)
            head = whole.find(b"\r\n\r\n")
            if head < 0:
                return False
            fields = whole[:head].lower().split(b"\r\n")
            stated = next(f for f in fields if f.startswith(b"content-length:"))
            self.left = head + 4 + int(stated.split(b":")[1]) - len(whole)
        else:
            self.left -= len(part)
        return self.left <= 0

    def sample(self, now: float) -> Sample:
        whole = b"".join(self.parts)
        head, body = whole.split(b"\r\n\r\n", 1)
        return Sample(self.index, self.began, now, int(head[9:12]), body)


def request(url: str, body: Any) -> bytes:
    """The bytes of a POST."""
    parts = urlsplit(url)
    data = json.dumps(body, ensure_ascii=False).encode()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def ask_closed(
    url: str, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[list[Sample], float]:
    """Each client sends the next request when it has its answer; a lost one has the status 0.

    Returns:
        The requests that ended within the time, and the seconds until the last of them did.
    """
    samples: list[Sample] = []
    with selectors.DefaultSelector() as selector:
        opened = [_Connection(url) for _ in range(clients)]
        sent = 0
        begin = time.perf_counter()
        for connection in opened:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(sent % len(requests), requests[sent % len(requests)], begin)
            sent += 1
        waiting = clients
        while waiting:
            for key, _ in selector.select():
                connection = key.data
                lost = False
                try:
                    if not connection.read():
                        continue
                except ConnectionError:
                    lost = True
                now = time.perf_counter()
                if lost:
                    samples.append(Sample(connection.index, connection.began, now, 0, b""))
                    selector.unregister(connection.socket)
                    connection.socket.close()
                if now - begin > seconds:
                    waiting -= 1
                    continue
                if lost:
                    connection.open()
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                else:
                    samples.append(connection.sample(now))
                connection.send(sent % len(requests), requests[sent % len(requests)], now)
                sent += 1
        for connection in opened:
            connection.socket.close()
    return samples, (samples[-1].ended if samples else time.perf_counter()) - begin


def ask_at(
    url: str, requests: Sequence[bytes], rate: float, seconds: float, seed: int
) -> tuple[list[Sample], float]:
    """Requests at random moments, ``rate`` a second on average, whatever is answered by then.

    Returns:
        All of them; they begin when they were due.
    """
    draw = random.Random(seed)
    due: deque[float] = deque()
    moment = 0.0
    while (moment := moment + draw.expovariate(rate)) < seconds:
        due.append(moment)
    samples: list[Sample] = []
    idle: list[_Connection] = []
    opened: list[_Connection] = []
    sent, running = 0, 0
    begin = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        while due or running:
            now = time.perf_counter()
            while due and due[0] + begin <= now and (idle or len(opened) < MOST):
                if not idle:
                    opened.append(_Connection(url))
                    idle.append(opened[-1])
                    selector.register(opened[-1].socket, selectors.EVENT_READ, opened[-1])
                began = begin + due.popleft()
                idle.pop().send(sent % len(requests), requests[sent % len(requests)], began)
                sent, running = sent + 1, running + 1
            wait = max(0.0, due[0] + begin - time.perf_counter()) if due else None
            for key, _ in selector.select(wait):
                if key.data.read():
                    samples.append(key.data.sample(time.perf_counter()))
                    idle.append(key.data)
                    running -= 1
        for connection in opened:
            connection.socket.close()
    return samples, seconds


def cpu_seconds(pid: int | None) -> dict[str, float]:
    """Processor time of this process, of the children that have ended, of another, and of all."""
    tick = os.sysconf("SC_CLK_TCK")
    own = os.times()
    found = {"clients": own.user + own.system, "bench": own.children_user + own.children_system}
    if pid is not None:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        found["server"] = (int(fields[11]) + int(fields[12])) / tick
    user, nice, system, _, _, *interrupts = (
        Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    found["all"] = sum(map(int, (user, nice, system, *interrupts[:3]))) / tick
    return found
