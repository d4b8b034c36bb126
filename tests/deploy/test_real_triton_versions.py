"""Versions of a model on Triton itself (see ``test_real_triton.py``), while it runs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.deploy.real_triton import HOME, Triton, deploy, make_repository, started

from xopt.artifacts import Bundle
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.model.core import load

pytestmark = pytest.mark.skipif(
    not HOME, reason="no Triton server: XOPT_TRITON names no environment with nvidia-pytriton"
)
TEXT = "Habari za asubuhi"
# As a time may be one.
NEXT = 202611282300


@pytest.fixture(scope="module")
def bundles(
    make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> list[Bundle]:
    def build(seed: int) -> Bundle:
        options = BuildOptions(
            checkpoint=str(make_checkpoint(head="classify", seed=seed)),
            precision="fp32",
            out=str(tmp_path_factory.mktemp("real") / "nli"),
        )
        return build_bundle(options, record=False).bundle

    return [build(seed) for seed in (5, 6)]


@pytest.fixture(scope="module")
def right(bundles: list[Bundle]) -> list[Any]:
    found = []
    for bundle in bundles:
        with load(bundle.folder) as model:
            found.append(model.predict([TEXT])[0].logits)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    return found


@pytest.fixture(scope="module")
def triton(bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    out = make_repository(bundles[0], tmp_path_factory.mktemp("triton"))
    with started(out, "--model-control-mode=poll", "--repository-poll-secs=1") as running:
        yield running


def ask(triton: Triton, version: int | None = None) -> tuple[str, Any]:
    """Which version answered, and its logits; the error where there is none."""
    path = "" if version is None else f"/versions/{version}"
    tensor = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [TEXT]}
    data = json.dumps({"inputs": [tensor]}).encode()
    try:
        with urllib.request.urlopen(f"{triton.url}/v2/models/nli{path}/infer", data) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return "", json.load(error)["error"]
    [logits] = [o["data"] for o in found["outputs"] if o["name"] == "logits"]
    return found["model_version"], np.array(logits)


def wait_until(triton: Triton, version: str, right: Any) -> None:
    """Ask until this version answers so; a request that fails meanwhile fails the test."""
    last = time.monotonic() + 60
    while time.monotonic() < last:
        found, logits = ask(triton)
        assert found, logits
        if found == version and np.abs(logits - right).max() < 1e-5:
            return
    pytest.fail(f"version {version} did not answer")


def test_versions_come_and_go_under_requests(
    triton: Triton, bundles: list[Bundle], right: list[Any]
) -> None:
    assert ask(triton)[0] == "1"
    deploy(bundles[1], triton.out, NEXT)
    wait_until(triton, str(NEXT), right[1])
    for version, expected in ((1, right[0]), (NEXT, right[1]), (None, right[1])):
        found, logits = ask(triton, version)
        assert found == str(version or NEXT)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    # Back for everybody, as the README says.
    config = triton.out / "models" / "nli" / "config.pbtxt"
    text = config.read_text()
    config.write_text(text.replace("latest { num_versions: 2 }", "specific { versions: [ 1 ] }"))
    wait_until(triton, "1", right[0])
