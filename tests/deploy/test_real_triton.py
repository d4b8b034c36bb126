"""The repository on Triton itself: the server of the wheel nvidia-pytriton, without Docker.

``XOPT_TRITON`` names a virtual environment of this Python with nvidia-pytriton==0.7.0, numpy 1.26
(its Python backend takes no later one), openvino, tokenizers, typer, rich, filelock and
tritonclient[grpc,http]; `.ci/run` makes one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.deploy.real_triton import HOME, Triton, make_repository, started

from xopt.artifacts import Bundle
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.model.core import load

pytestmark = pytest.mark.skipif(
    not HOME, reason="no Triton server: XOPT_TRITON names no environment with nvidia-pytriton"
)
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
def repository(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(bundle, tmp_path_factory.mktemp("triton"))


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[Triton]:
    with started(repository) as running:
        yield running
    assert running.process.returncode == 0


@pytest.fixture(scope="module")
def server(triton: Triton) -> str:
    return triton.url


def post(server: str, path: str, body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{server}/v2/models/nli/{path}", data) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask(
    server: str, texts: list[str], pairs: list[str] | None = None, **more: Any
) -> tuple[int, Any]:
    inputs = [
        {"name": name, "shape": [len(given), 1], "datatype": "BYTES", "data": given}
        for name, given in (("TEXT", texts), ("PAIR", pairs))
        if given is not None
    ]
    return post(server, "infer", {"inputs": inputs, **more})


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


def test_a_request_says_whether_what_is_too_long_is_cut(server: str, bundle: Bundle) -> None:
    long = ["Habari " * 200]
    status, found = ask(server, long, parameters={"truncate": True})
    assert status == 200
    with load(bundle.folder) as model:
        right = model.predict(long, truncate=True)[0].logits
    [logits] = [o for o in found["outputs"] if o["name"] == "logits"]
    np.testing.assert_allclose(logits["data"], right, atol=1e-5)
    status, found = ask(server, long, parameters={"truncate": "yes"})
    assert (status, found["error"]) == (400, 'truncate is "yes"; possible: true, false.')


def test_good_requests_beside_bad_ones_are_answered(server: str) -> None:
    right = [ask(server, [text])[1]["outputs"] for text in TEXTS]

    def mixed(number: int) -> None:
        if number % 2:
            status, found = ask(server, [TEXTS[0], ("", "\u200b", "Habari " * 200)[number % 3]])
            assert status == 400
            assert "TEXT[1] " in found["error"]
        else:
            status, found = ask(server, [TEXTS[number % 3]])
            assert (status, found["outputs"]) == (200, right[number % 3])

    with ThreadPoolExecutor(12) as clients:
        list(clients.map(mixed, range(120)))


def test_pairs_stand_beside_single_texts(server: str, bundle: Bundle) -> None:
    with load(bundle.folder) as model:
        single, paired = (
            model.predict([row])[0].logits for row in (TEXTS[0], (TEXTS[0], TEXTS[1]))
        )

    def one(number: int) -> None:
        pairs, right = ([TEXTS[1]], paired) if number % 2 else (None, single)
        status, found = ask(server, [TEXTS[0]], pairs)
        assert status == 200, found
        [logits] = [o for o in found["outputs"] if o["name"] == "logits"]
        np.testing.assert_allclose(logits["data"], right, atol=1e-5)

    with ThreadPoolExecutor(12) as clients:
        list(clients.map(one, range(60)))


def test_labels_come_by_name(server: str, bundle: Bundle) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 1}}]
    _, found = ask(server, [TEXTS[0]], outputs=outputs)
    with load(bundle.folder) as model:
        right = model.predict([TEXTS[0]])[0].label
    # Triton's form: value, index, label.
    assert found["outputs"][0]["data"][0].split(":")[2] == right


def test_refused_requests_are_counted(triton: Triton) -> None:
    def count() -> float:
        with urllib.request.urlopen(f"{triton.metrics}/metrics") as answer:
            text = answer.read().decode()
        [found] = re.findall(
            r'^xopt_refused_requests\{model="nli",version="1"\} (\S+)', text, re.MULTILINE
        ) or [0]
        return float(found)

    before = count()
    assert ask(triton.url, [""])[0] == 400
    assert ask(triton.url, TEXTS)[0] == 200
    assert count() == before + 1


def test_the_readme_asks_as_it_says(triton: Triton) -> None:
    text = (triton.out / "README.md").read_text().replace("localhost:8000", triton.place)
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    curl, _, python = (
        textwrap.dedent(next(b for b in blocks if "curl" in b)).strip().partition("\n")
    )
    found = subprocess.run(curl, shell=True, capture_output=True, check=True)
    assert "logits" in json.loads(found.stdout)
    client = str(Path(HOME, "bin", "python"))
    there = "import tritonclient.http, tritonclient.grpc"
    if subprocess.run([client, "-c", there], check=False).returncode:
        pytest.skip("no tritonclient[grpc,http] in XOPT_TRITON")
    assert "tritonclient.grpc, at port 8001" in python
    other = python.replace("tritonclient.http", "tritonclient.grpc")
    other = other.replace(triton.place, triton.grpc)
    for program in (python, other):
        said = subprocess.run([client, "-c", program], capture_output=True, text=True, check=False)
        assert said.stdout.startswith("(2, 3) [["), said.stderr


def test_embeddings_have_their_prompt_and_their_length(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """As sentence-transformers gives them without further words: default prompt, length 1."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as parts

    stages = [parts.Transformer(str(make_checkpoint(seed=9))), parts.Pooling(64, "mean")]
    theirs = SentenceTransformer(
        modules=[*stages, parts.Normalize()],
        prompts={"search": "Tafuta: ", "passage": "Kifungu: "},
        default_prompt_name="search",
        device="cpu",
    )
    theirs.save(str(tmp_path / "st"))
    options = BuildOptions(
        checkpoint=str(tmp_path / "st"), precision="fp32", out=str(tmp_path / "nli")
    )
    embed = build_bundle(options, record=False).bundle
    with started(make_repository(embed, tmp_path)) as running:
        status, found = ask(running.url, TEXTS)
    assert status == 200, found
    [tensor] = [o for o in found["outputs"] if o["name"] != "TOKENS"]
    values = np.reshape(tensor["data"], tensor["shape"])
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(values, theirs.encode(TEXTS), atol=1e-4)
    plain = theirs.encode(TEXTS, prompt="")
    assert np.abs(plain - values).max() > 1e-2


def test_the_health_check_ends_a_server_whose_model_has_died(repository: Path) -> None:
    compose = yaml.safe_load((repository / "compose.yaml").read_text())
    kind, check = compose["services"]["triton"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    with started(repository) as running:
        check = check.replace("http://localhost:8000", running.url).replace("$$", "$")
        check = check.replace("kill 1", f"kill {running.process.pid}")
        assert subprocess.run(["sh", "-c", check], check=False).returncode == 0
        os.kill(running.stub(), signal.SIGKILL)
        found = subprocess.run(["sh", "-c", check], check=False, capture_output=True, text=True)
        assert found.returncode == 1
        assert "is not healthy" in found.stdout
        running.process.wait(60)
