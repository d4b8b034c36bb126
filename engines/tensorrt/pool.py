"""Sessions that threads take and give back: as many as run at the same time, up to a bound."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from xopt.engines.tensorrt.sessions import Session

__all__ = ["SessionPool"]


class SessionPool:
    """A bounded number of sessions, each made when all others are busy.

    A server with a thread for every request would else keep a session's memory for each of them.

    Args:
        make: opens a session.
        bound: most of them; whoever comes when all are busy waits.
    """

    def __init__(self, make: Callable[[], Session], bound: int) -> None:
        self._make, self._bound = make, bound
        self._changed = threading.Condition()
        # Every open one, and those that nobody uses; the last used is taken first.
        self.sessions: list[Session] = []
        self._idle: list[Session] = []
        self._making = 0

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session of one's own for as long as the block runs.

        Raises:
            UnsupportedError: there is no memory for another one.
        """
        taken = self._take()
        try:
            yield taken
        finally:
            with self._changed:
                self._idle.append(taken)
                self._changed.notify()

    def _take(self) -> Session:
        with self._changed:
            while not self._idle and len(self.sessions) + self._making >= self._bound:
                self._changed.wait()
            if self._idle:
                return self._idle.pop()
            self._making += 1
        try:
            made = self._make()
        except BaseException:
            with self._changed:
                self._making -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._making -= 1
            self.sessions.append(made)
        return made

    def close(self) -> None:
        """Free every session's memory; none may be running."""
        for session in self.sessions:
            session.device.enter()
            session.close()
        self.sessions.clear()
        self._idle.clear()
