"""A lock of what a forked process cannot use."""

from __future__ import annotations

import os
import threading

from xopt.errors import InputError

__all__ = ["ProcessLock"]


class ProcessLock:
    """A lock that one thread may take several times, in the process alone that made it.

    A fork has one thread, so it would wait for ever for the others: for those of the engine, or for
    the one that held a lock meanwhile.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one it was made in."""
        return os.getpid() != self._process

    def __enter__(self) -> None:
        """Take it.

        Raises:
            InputError: this process was forked since.
        """
        if self.forked:
            raise InputError(
                "This model was opened before the process was forked; its threads stayed behind.",
                hint='Start processes with multiprocessing.get_context("spawn"); or fork before '
                "any model answers, and open it there: xopt.load(PATH).",
            )
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self._lock.release()
