"""Triton itself, out of the wheel nvidia-pytriton, on a folder that was deployed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.deploy import triton

HOME = os.environ.get("XOPT_TRITON", "")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def site_packages() -> Path:
    return Path(HOME).resolve() / "lib" / f"python{VERSION}" / "site-packages"


def make_repository(bundle: Bundle, folder: Path) -> Path:
    """The folder that is deployed, and beside it Triton with its stub for this Python."""
    site = site_packages()
    server = folder / "tritonserver"
    shutil.copytree(site / "pytriton" / "tritonserver", server, copy_function=os.link)
    stub = server / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    shutil.copy(stub, server / "backends" / "python")
    for program in ("bin/tritonserver", "backends/python/triton_python_backend_stub"):
        shutil.copy(server / program, server / "copy")
        (server / "copy").replace(server / program)
        (server / program).chmod(0o755)
    out = folder / "r"
    deploy(bundle, out)
    return out


def deploy(bundle: Bundle, out: Path, version: int = 1, *, force: bool = False) -> None:
    """Write a version; its model finds xopt here, because Triton's Python ignores PYTHONPATH."""
    places = [str(Path(xopt.__file__).parents[1]), str(site_packages())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton, "MODEL", f"import sys\nsys.path[:0] = {places!r}\n{triton.MODEL}")
        options = triton.TritonOptions(name="nli", version=version)
        triton.write_repository(bundle, out, options, force=force)


class Triton:
    """A server that runs: where it is asked, over HTTP and gRPC, its metrics, its process."""

    def __init__(self, out: Path, process: subprocess.Popen[str], ports: list[int]) -> None:
        self.out, self.process = out, process
        self.place, self.grpc, metrics = (f"127.0.0.1:{port}" for port in ports)
        self.url, self.metrics = f"http://{self.place}", f"http://{metrics}"

    def stub(self) -> int:
        """The process of its model."""
        [stub] = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        return int(stub)


@contextlib.contextmanager
def started(out: Path, *more: str) -> Iterator[Triton]:
    """The server on this folder, with ``more`` of its options."""
    home = out.parent / "tritonserver"
    site = site_packages()
    ports = [free_port() for _ in range(3)]
    libraries = [
        home / "external_libs",
        site / "nvidia_pytriton.libs",
        Path(sys.base_prefix, "lib"),
    ]
    command = [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={out / 'models'}",
        f"--backend-directory={home / 'backends'}",
        f"--http-port={ports[0]}",
        "--http-address=127.0.0.1",
        f"--grpc-port={ports[1]}",
        "--grpc-address=127.0.0.1",
        f"--metrics-port={ports[2]}",
        "--exit-on-error=true",
        "--exit-timeout-secs=10",
        *more,
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                # The last of what it starts: HTTP and gRPC are listened to by then.
                if "Started Metrics Service" in line:
                    break
            else:
                pytest.fail("".join(said[-40:]))
            # Its log is read, or it would wait for a reader.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            # Its metrics are listened to a moment after it says so.
            while process.poll() is None and not listening(ports[2]):
                time.sleep(0.02)
            yield Triton(out, process, ports)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
