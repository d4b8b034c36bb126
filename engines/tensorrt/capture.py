"""A CUDA graph of one run: captured from a stream once, launched as one call from then on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from xopt.engines.tensorrt.device import Device

__all__ = ["CapturedRun"]

# Only what this thread submits is part of the capture, and only it may fail because of it.
THREAD_LOCAL = 1


class CapturedRun:
    """What ``submit`` puts on the device's stream, as a CUDA graph.

    Args:
        device: entered in this thread.
        submit: called once; it submits to ``device.stream`` and waits for nothing.

    Raises:
        BuildError: the driver could not capture it, or ``submit`` failed.
        UnsupportedError: the GPU's memory is full.
    """

    def __init__(self, device: Device, submit: Callable[[], None]) -> None:
        self.device = device
        self._run = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        stream = ctypes.c_void_p(device.stream)
        device.call("cuStreamBeginCapture_v2", stream, THREAD_LOCAL)
        try:
            try:
                submit()
            finally:
                # A stream that is left capturing refuses everything.
                device.call("cuStreamEndCapture", stream, ctypes.byref(graph))
            flags = ctypes.c_ulonglong(0)
            device.call("cuGraphInstantiateWithFlags", ctypes.byref(self._run), graph, flags)
        finally:
            # A capture that failed leaves none.
            if graph.value:
                device.call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Put the graph on the stream."""
        self.device.call("cuGraphLaunch", self._run, ctypes.c_void_p(self.device.stream))

    def close(self) -> None:
        """Let go of the graph."""
        if self._run.value:
            self.device.call("cuGraphExecDestroy", self._run)
            self._run = ctypes.c_void_p()
