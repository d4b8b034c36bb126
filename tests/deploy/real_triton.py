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
from collections.abc import Iterator
from pathlib import Path

import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.deploy.triton import TritonOptions, write_repository

HOME = os.environ.get("XOPT_TRITON", "")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def site_packages() -> Path:
    return Path(HOME).resolve() / "lib" / f"python{VERSION}" / "site-packages"


def make_repository(bundle: Bundle, folder: Path) -> Path:
    """The folder that is deployed, and beside it Triton with its stub for this Python."""
    site = site_packages()
    triton = folder / "tritonserver"
    shutil.copytree(site / "pytriton" / "tritonserver", triton, copy_function=os.link)
    stub = triton / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    shutil.copy(stub, triton / "backends" / "python")
    for program in ("bin/tritonserver", "backends/python/triton_python_backend_stub"):
        shutil.copy(triton / program, triton / "copy")
        (triton / "copy").replace(triton / program)
        (triton / program).chmod(0o755)
    out = folder / "r"
    write_repository(bundle, out, TritonOptions(name="nli"))
    # Triton's Python ignores PYTHONPATH; its images have xopt installed.
    model = out / "models" / "nli" / "1" / "model.py"
    source = Path(xopt.__file__).parents[1]
    places = [str(source), str(site)]
    model.write_text(f"import sys\nsys.path[:0] = {places!r}\n" + model.read_text())
    return out


class Triton:
    """A server that runs: where it is asked, where its metrics are, its process."""

    def __init__(self, out: Path, process: subprocess.Popen[str], ports: tuple[int, int]) -> None:
        self.out, self.process = out, process
        self.place = f"127.0.0.1:{ports[0]}"
        self.url, self.metrics = (f"http://127.0.0.1:{port}" for port in ports)

    def stub(self) -> int:
        """The process of its model."""
        [stub] = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        return int(stub)


@contextlib.contextmanager
def started(out: Path) -> Iterator[Triton]:
    triton = out.parent / "tritonserver"
    site = site_packages()
    ports = (free_port(), free_port())
    libraries = [
        triton / "external_libs",
        site / "nvidia_pytriton.libs",
        Path(sys.base_prefix, "lib"),
    ]
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={out / 'models'}",
        f"--backend-directory={triton / 'backends'}",
        f"--http-port={ports[0]}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        f"--metrics-port={ports[1]}",
        "--exit-on-error=true",
        "--exit-timeout-secs=10",
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
                # The last of what it starts: HTTP is listened to by then.
                if "Started Metrics Service" in line:
                    break
            else:
                pytest.fail("".join(said[-40:]))
            # Its log is read, or it would wait for a reader.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Triton(out, process, ports)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
