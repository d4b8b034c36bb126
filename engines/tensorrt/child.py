"""The parser and builder in a process of their own: TensorRT may abort, xopt may not.

The parent writes a request as JSON and reads lines of progress; the child writes the engine file.
A child that dies becomes a :class:`~xopt.errors.BuildError` with the last lines of its log, and a
parent that dies takes its child with it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xopt.engines.tensorrt.network import Request, build_engine, logger_for, monitor_for
from xopt.errors import BuildError, XoptError
from xopt.progress import Progress

__all__ = ["run_child"]

TAIL = 12
PR_SET_PDEATHSIG = 1
# The child's exit status after an error that it has put into words.
REFUSED = 3
# Seconds in which a build that is told to stop may end by itself.
PATIENCE = 5.0


def run_child(request: Request, progress: Progress) -> None:
    """Build the engine that ``request`` describes.

    Raises:
        BuildError: TensorRT refused, or its process died.
    """
    path = Path(request.engine).with_suffix(".request.json")
    path.write_text(json.dumps(asdict(request)), encoding="utf-8")
    errors = Path(request.log).with_suffix(".stderr")
    command = [sys.executable, "-P", "-m", __name__, str(path), str(os.getpid())]
    try:
        with errors.open("wb") as stderr, _start(command, stderr) as child:
            try:
                for line in child.stdout or ():
                    if line.startswith("share "):
                        progress.share(float(line.removeprefix("share ")))
                    elif line.startswith("error "):
                        raise BuildError(**json.loads(line.removeprefix("error ")))
                status = child.wait()
            finally:
                _stop(child)
        if status != 0:
            raise _death(status, Path(request.log), errors)
    finally:
        path.unlink(missing_ok=True)
        errors.unlink(missing_ok=True)


def _stop(child: subprocess.Popen[str]) -> None:
    """Ask the child to end with the step it is at; it has a few seconds for that."""
    child.terminate()
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()


def _start(command: list[str], stderr: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def _death(status: int, log: Path, errors: Path) -> BuildError:
    """What a dead child leaves behind."""
    how = f"exit status {status}"
    if status < 0:
        how = f"signal {-status}, {signal.strsignal(-status) or 'unknown'}"
    lines = _tail(log) + _tail(errors)
    said = "\n  ".join(lines) or "nothing"
    return BuildError(
        f"TensorRT's builder died ({how}). Its last lines:\n  {said}",
        hint="With a kill, memory was likely short; else please report this with the lines above.",
    )


def _tail(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    loud = [line for line in lines if line[:2] != "V "]
    return (loud or lines)[-TAIL:]


def _follow_parent(parent: int) -> None:
    """Have the kernel end this process when the parent ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(REFUSED)


def _listen() -> Callable[[], bool]:
    """Whether this process was told to stop: by its parent, or by Ctrl-C in their terminal."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: told.append(number))
    return lambda: bool(told)


def main(path: str, parent: str) -> None:
    """The child: build what the file at ``path`` asks for."""
    _follow_parent(int(parent))
    request = Request.read(Path(path))
    trt = importlib.import_module(request.module)
    setup = None
    if request.setup:
        module, _, name = request.setup.partition(":")
        setup = getattr(importlib.import_module(module), name)
    stopped = _listen()
    try:
        logger = logger_for(trt, Path(request.log))
        monitor = monitor_for(trt, lambda share: print(f"share {share:.4f}", flush=True), stopped)
        build_engine(trt, request, logger, monitor, setup)
    except XoptError as error:
        lines = "\n  ".join(_tail(Path(request.log)))
        message = f"{error.message}\n  {lines}" if lines else error.message
        print("error " + json.dumps({"message": message, "hint": error.hint}), flush=True)
        sys.exit(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
