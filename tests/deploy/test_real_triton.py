"""The repository on Triton itself: the server of the wheel nvidia-pytriton, without Docker.

``XOPT_TRITON`` names a virtual environment of this Python with nvidia-pytriton==0.7.0, numpy 1.26
(its Python backend takes no later one), openvino, tokenizers, typer, rich, filelock and
tritonclient[http]; `.ci/run` makes one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xopt
from xopt.artifacts import Bundle
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.deploy.triton import TritonOptions, write_repository
from xopt.model.core import load

HOME = os.environ.get("XOPT_TRITON", "")
pytestmark = pytest.mark.skipif(
    not HOME, reason="no Triton server: XOPT_TRITON names no environment with nvidia-pytriton"
)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
TEXTS = ["Habari za asubuhi", "Guten Morgen, wie geht es Ihnen?", "おはよう"]


@pytest.fixture(scope="module")
def bundle(
    make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    options = BuildOptions(
        checkpoint=str(make_checkpoint(head="classify", seed=5)),
        precision="fp32",
        out=str(tmp_path_factory.mktemp("real") / "nli"),
    )
    return build_bundle(options, record=False).bundle


@pytest.fixture(scope="module")
def server(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = Path(HOME).resolve() / "lib" / f"python{VERSION}" / "site-packages"
    triton = tmp_path_factory.mktemp("triton") / "tritonserver"
    shutil.copytree(site / "pytriton" / "tritonserver", triton, copy_function=os.link)
    stub = triton / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    shutil.copy(stub, triton / "backends" / "python")
    for program in ("bin/tritonserver", "backends/python/triton_python_backend_stub"):
        shutil.copy(triton / program, triton / "copy")
        (triton / "copy").replace(triton / program)
        (triton / program).chmod(0o755)
    out = tmp_path_factory.mktemp("serving") / "r"
    write_repository(bundle, out, TritonOptions(name="nli"))
    # Triton's Python ignores PYTHONPATH; its images have xopt installed.
    model = out / "models" / "nli" / "1" / "model.py"
    source = Path(xopt.__file__).parents[1]
    places = [str(source), str(site)]
    model.write_text(f"import sys\nsys.path[:0] = {places!r}\n" + model.read_text())
    port = free_port()
    libraries = [
        triton / "external_libs",
        site / "nvidia_pytriton.libs",
        Path(sys.base_prefix, "lib"),
    ]
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={out / 'models'}",
        f"--backend-directory={triton / 'backends'}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        f"--metrics-port={free_port()}",
        "--exit-on-error=true",
        "--exit-timeout-secs=10",
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            # The last of what it starts: HTTP is listened to by then.
            if "Started Metrics Service" in line:
                break
        else:
            pytest.fail("".join(said[-40:]))
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        process.communicate()
        assert process.returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(server: str, texts: list[str]) -> tuple[int, Any]:
    tensor = {"name": "TEXT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}
    body = json.dumps({"inputs": [tensor]}).encode()
    try:
        with urllib.request.urlopen(f"{server}/v2/models/nli/infer", body) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_answers_are_the_models(server: str, bundle: Bundle) -> None:
    status, found = ask(server, TEXTS)
    assert status == 200
    [logits] = [o for o in found["outputs"] if o["name"] == "logits"]
    with load(bundle.folder) as model:
        right = np.stack([p.logits for p in model.predict(TEXTS)])
    np.testing.assert_allclose(np.reshape(logits["data"], logits["shape"]), right, atol=1e-5)


def test_more_texts_than_a_batch_gathers_are_one_request(server: str) -> None:
    status, found = ask(server, [f"text {n}" for n in range(200)])
    assert (status, found["outputs"][0]["shape"][0]) == (200, 200)


@pytest.mark.parametrize(
    ("texts", "said"), [([" "], "is empty"), (["Habari " * 200], "tokens"), (["x" * 2**21], "KiB")]
)
def test_a_clients_mistake_is_400(server: str, texts: list[str], said: str) -> None:
    status, found = ask(server, texts)
    assert status == 400
    assert said in found["error"]
    assert "--truncate" not in found["error"]
    assert ask(server, TEXTS)[0] == 200
