"""The process that builds: it may crash, and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from xopt.engines.tensorrt.child import run_child
from xopt.engines.tensorrt.network import Request
from xopt.errors import BuildError
from xopt.progress import Silent

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None, reason="no TensorRT: tensorrt-rtx is not installed"
)


def script(folder: Path, name: str, text: str) -> dict[str, str]:
    """An environment in which ``import name`` runs ``text``."""
    (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder)}


def request_for(module: str, place: Path) -> Request:
    return Request(module, str(place / "g"), str(place / "e"), str(place / "log"), profiles=())


def test_a_native_crash_becomes_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os, sys\nprint('terminate called', file=sys.stderr, flush=True)\nos.abort()\n"
    monkeypatch.setenv("PYTHONPATH", script(tmp_path, "xopt_aborts", text)["PYTHONPATH"])
    with pytest.raises(BuildError, match=r"died \(signal 6") as caught:
        run_child(request_for("xopt_aborts", tmp_path), Silent())
    assert "terminate called" in caught.value.message


@needs_rtx
def test_a_graph_that_cannot_be_read_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(b"not a graph")
    with pytest.raises(BuildError, match="could not read the graph"):
        run_child(request_for("tensorrt_rtx", tmp_path), Silent())


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    text = (
        "import signal\n"
        f"held = open({str(tmp_path / 'held')!r}, 'w')\n"
        "print('here', file=held, flush=True)\n"
        "signal.pause()\n"
    )
    environment = script(tmp_path, "xopt_waits", text)
    os.mkfifo(tmp_path / "held")
    program = (
        "from xopt.engines.tensorrt.child import run_child\n"
        "from xopt.engines.tensorrt.network import Request\n"
        "from xopt.progress import Silent\n"
        f"run_child(Request('xopt_waits', 'g', {str(tmp_path / 'e')!r}, "
        f"{str(tmp_path / 'log')!r}, ()), Silent())\n"
    )
    parent = subprocess.Popen([sys.executable, "-P", "-c", program], env=environment)
    with (tmp_path / "held").open() as held:
        assert held.readline() == "here\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # The pipe ends when nobody holds it any more, which is when the child has ended.
        assert held.read() == ""
