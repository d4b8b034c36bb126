"""The application on a real Ray Serve: two replicas, one killed under load, no lost answer.

Skipped where `ray[serve]` is not installed (extra ray-serve): dev has none of its forty packages.
``XOPT_RAY_SERVE`` may name the Python of an environment that has them.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import xopt
from xopt.artifacts import Bundle
from xopt.cli import deploy  # noqa: F401
from xopt.cli.app import app
from xopt.model.core import load

RUN = CliRunner()
Bundles = Callable[..., Bundle]
TEXTS = [f"Habari za asubuhi {number}, rafiki yangu" for number in range(240)]
CLIENTS = 6


def written(bundle: Bundle, out: Path) -> None:
    typed = ["deploy", "ray-serve", str(bundle.folder), "-o", str(out), "--cpus", "1", "--json"]
    found = RUN.invoke(app, typed)
    assert found.exit_code == 0, found.exception
    files = json.loads(found.stdout)["files"]
    assert {"app.py", "README.md", "bundle/manifest.json"} <= set(files)


def test_the_application_names_the_bundle_that_lies_beside_it(
    bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles("encoder")
    written(bundle, tmp_path / "out")
    text = (tmp_path / "out" / "app.py").read_text()
    compile(text, "app.py", "exec")
    assert bundle.fingerprint in text
    Bundle.open(tmp_path / "out" / "bundle").verify()


# Runs in a process of its own, which Ray fills with threads and sockets.
PROGRAM = """
import os, sys
import ray
from ray import serve
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
from app import app
serve.run(app, name="xopt")
print("ready", flush=True)
for line in sys.stdin:
    handle = [a for a in ray.util.list_named_actors(all_namespaces=True) if "xopt#" in a["name"]]
    actor = ray.get_actor(handle[0]["name"], namespace=handle[0]["namespace"])
    ray.kill(actor, no_restart=True)
    print("killed", len(handle), flush=True)
"""


def ask(port: int, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.skipif(
    not os.environ.get("XOPT_RAY_SERVE") and importlib.util.find_spec("grpc") is None,
    reason="no ray[serve] (extra ray-serve)",
)
def test_no_answer_is_lost_when_a_replica_is_killed_under_load(
    bundles: Bundles, tmp_path: Path, unused_port: int
) -> None:
    bundle = bundles("encoder", "int8")
    written(bundle, tmp_path / "out")
    with load(bundle.folder, threads=1) as model:
        expected = model.encode(TEXTS)
    python = os.environ.get("XOPT_RAY_SERVE") or sys.executable
    env = {**os.environ, "PYTHONPATH": str(Path(xopt.__file__).parents[1]), "PYTHONUNBUFFERED": "1"}
    command = [python, "-c", PROGRAM, str(unused_port)]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
        command, cwd=tmp_path / "out", env=env, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=log,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            assert said == "ready\n", (tmp_path / "log").read_text()[-2000:]
            found: dict[int, Any] = {}
            tries: list[int] = []
            half = threading.Event()

            def client(numbers: range) -> None:
                for number in numbers:
                    for left in reversed(range(20)):
                        status, body = ask(unused_port, {"texts": [TEXTS[number]]})
                        tries.append(status)
                        if status == 200:
                            found[number] = body["answers"][0]["embedding"]
                            break
                        assert left, body
                    if len(found) > len(TEXTS) // 3:
                        half.set()

            threads = [
                threading.Thread(target=client, args=(range(n, len(TEXTS), CLIENTS),))
                for n in range(CLIENTS)
            ]
            for thread in threads:
                thread.start()
            half.wait(120)
            server.stdin.write("kill\n")
            server.stdin.flush()
            assert server.stdout.readline() == "killed 2\n"
            for thread in threads:
                thread.join()
            status, body = ask(unused_port, {"texts": [""]})
            assert (status, "Text 1" in str(body)) == (400, True)
        finally:
            server.stdin.close()
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    assert len(found) == len(TEXTS)
    rows = np.array([found[number] for number in range(len(TEXTS))], np.float32)
    np.testing.assert_array_equal(rows, expected)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
