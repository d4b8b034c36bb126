"""Compose and Kubernetes files: by their schemas, and by what a service needs."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import deploy, serve  # noqa: F401
from xopt.cli.app import app
from xopt.errors import InputError

RUN = CliRunner()
Bundles = Callable[..., Bundle]

TEXT = {"type": "string"}
LIST = {"type": "array", "items": TEXT}
DURATION = {"type": "string", "pattern": r"^\d+s$"}
# The part of the Compose Specification that we use; it refuses a key that is not there.
COMPOSE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "services": {
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "build": TEXT, "image": TEXT, "environment": LIST, "ports": LIST,
                    "volumes": LIST, "user": TEXT, "read_only": {"type": "boolean"}, "tmpfs": LIST,
                    "cap_drop": LIST, "security_opt": LIST, "cpus": {"type": "number"},
                    "mem_limit": {"type": "string", "pattern": r"^\d+m$"},
                    "pids_limit": {"type": "integer"}, "stop_grace_period": DURATION,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "healthcheck": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "test": LIST, "interval": DURATION, "timeout": DURATION,
                            "start_period": DURATION, "retries": {"type": "integer"},
                        },
                    },
                    "deploy": {"type": "object"},
                },
            }
        }
    },
}  # fmt: skip


def written(bundle: Bundle, server: str, out: Path, *more: str) -> list[str]:
    typed = ["deploy", server, str(bundle.folder), "-o", str(out), "--json", *more]
    found = RUN.invoke(app, typed)
    assert found.exit_code == 0, found.exception
    files: list[str] = json.loads(found.stdout)["files"]
    return files


def objects(out: Path) -> dict[str, Any]:
    """The documents by their kind."""
    documents = yaml.safe_load_all((out / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_every_object_is_one_that_kubernetes_takes(bundles: Bundles, tmp_path: Path) -> None:
    files = written(bundles("nli"), "kubernetes", tmp_path / "out", "--cpus", "3")
    found = objects(tmp_path / "out")
    assert set(found) == {
        "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget",
    }  # fmt: skip
    for document in found.values():
        kubernetes_validate.validate(document, "1.33", strict=True)
    assert {"Dockerfile", "README.md", "bundle/manifest.json", "kubernetes.yaml"} <= set(files)
    Bundle.open(tmp_path / "out" / "bundle").verify()


def test_a_misspelt_field_would_be_found(bundles: Bundles, tmp_path: Path) -> None:
    """That the check above can fail."""
    written(bundles("nli"), "kubernetes", tmp_path / "out")
    document = objects(tmp_path / "out")["Deployment"]
    document["spec"]["template"]["spec"]["terminationGrace"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_pods_are_closed_measured_and_scaled_by_the_queue(
    bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles("nli")
    written(bundle, "kubernetes", tmp_path / "out", "--cpus", "3", "--replicas", "7")
    found = objects(tmp_path / "out")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    closed = container["securityContext"]
    assert closed["readOnlyRootFilesystem"]
    assert closed["capabilities"] == {"drop": ["ALL"]}
    assert not closed["allowPrivilegeEscalation"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    drain = int(container["args"][container["args"].index("--drain-s") + 1])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= drain + pause + 5
    limits = container["resources"]["limits"]
    assert limits["cpu"] == "3"
    assert int(limits["memory"].removesuffix("Mi")) > 2 * bundle.size_mib
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 7)
    [metric] = scaler["metrics"]
    from xopt.serve import metrics

    name = metric["pods"]["metric"]["name"]
    assert f'"{name}"' in Path(metrics.__file__).read_text()
    assert scaler["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"].items() <= labels.items()


def test_the_compose_file_is_one(bundles: Bundles, tmp_path: Path) -> None:
    written(bundles("nli"), "compose", tmp_path / "out", "--cpus", "2", "--name", "NLI.v1")
    document = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())
    jsonschema.validate(document, COMPOSE)
    service = document["services"]["xopt"]
    assert service["read_only"]
    assert service["user"] == "65532:65532"
    assert service["volumes"] == ["./bundle:/bundle:ro"]
    assert service["cap_drop"] == ["ALL"]
    assert service["cpus"] == 2
    assert service["image"] == "xopt-nli-v1"
    dockerfile = (tmp_path / "out" / "Dockerfile").read_text()
    assert "NLI.v1=/bundle" in dockerfile
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > int(re.findall(r'"--drain-s", "(\d+)"', dockerfile)[0])


def test_what_the_container_starts_answers_its_own_health_check(
    bundles: Bundles, warm_cache: Callable[[Path], None], tmp_path: Path
) -> None:
    """The image's command and the health check, run here in the place of a container."""
    written(bundles("nli"), "compose", tmp_path / "out")
    out = tmp_path / "out"
    dockerfile = (out / "Dockerfile").read_text()
    entry, more = (
        json.loads(re.findall(rf"^{word} (\[.*\])$", dockerfile, re.M)[0])
        for word in ("ENTRYPOINT", "CMD")
    )
    command = [sys.executable, "-P", "-m", *entry, *more]
    place, port = f"={out / 'bundle'}", command.index("--port") + 1
    command = [word.replace("=/bundle", place) for word in command]
    command[command.index("0.0.0.0")] = "127.0.0.1"
    command[port] = "0"
    warm_cache(tmp_path / "cache")
    env = {**os.environ, "XOPT_CACHE": str(tmp_path / "cache")}
    env.pop("XOPT_API_KEY", None)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as server:
        assert server.stderr is not None
        url = next(found for line in server.stderr if (found := re.search(r"http://\S+/", line)))
        test = yaml.safe_load((out / "compose.yaml").read_text())["services"]["xopt"]
        check = [sys.executable, *test["healthcheck"]["test"][2:]]
        check[-1] = check[-1].replace("http://127.0.0.1:8000/", url[0])
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        with urllib.request.urlopen(url[0] + "v1/models", timeout=60) as answer:
            assert "nli-fp32" in answer.read().decode()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert done.returncode == 0, done.stderr
    assert server.returncode in (0, -signal.SIGTERM)


def test_an_option_of_another_server_is_refused(bundles: Bundles, tmp_path: Path) -> None:
    typed = ["deploy", "compose", str(bundles("nli").folder), "-o", str(tmp_path / "out")]
    for option in ("--replicas", "--texts"):
        found = RUN.invoke(app, [*typed, option, "3"])
        assert isinstance(found.exception, InputError)
        assert option in found.exception.message
    assert isinstance(RUN.invoke(app, [*typed, "--cpus", "0"]).exception, InputError)


@pytest.mark.parametrize("name", ["123", "true", "NO", "1e5", "7b-model"])
def test_a_name_of_kubernetes_is_text_and_begins_with_a_letter(
    bundles: Bundles, tmp_path: Path, name: str
) -> None:
    written(bundles("nli"), "kubernetes", tmp_path / "out", "--name", name)
    for found in yaml.safe_load_all((tmp_path / "out" / "kubernetes.yaml").read_text()):
        assert found["metadata"]["name"] == f"xopt-{name.lower()}"
