"""A model repository says what the bundle says, and its Python model answers as the bundle does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.deploy.pbtxt import parse
from tests.deploy.python_backend import Failure, Request, Tensor, fake_triton, request, served

from xopt import __version__
from xopt.artifacts import Bundle
from xopt.cli import deploy  # noqa: F401
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.deploy.triton import TritonOptions, write_repository
from xopt.engines.base import Engine, open_engine
from xopt.errors import UnsupportedError
from xopt.packing import pack
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]


@pytest.fixture(scope="module")
def openvino(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "classify int8"
    folder = make_checkpoint("xlm-roberta", "classify")
    options = BuildOptions(str(folder), calibration_tokens=1000, out=str(out))
    return build_bundle(options, record=False).bundle


@pytest.fixture(scope="module")
def tags(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "tags"
    folder = make_checkpoint("xlm-roberta", "tag")
    return build_bundle(BuildOptions(str(folder), "fp32", out=str(out)), record=False).bundle


def test_the_front_says_what_the_bundle_says(openvino: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    files = write_repository(openvino, out, TritonOptions(texts=32, delay_us=500))
    name = "classify-int8"
    config = parse((out / "models" / name / "config.pbtxt").read_text())
    assert config["name"] == [name]
    assert config["backend"] == ["python"]
    assert config["max_batch_size"] == [2048]
    inputs = {entry["name"][0]: entry for entry in config["input"]}
    assert list(inputs) == ["TEXT", "PAIR"]
    assert inputs["TEXT"]["data_type"] == ["TYPE_STRING"]
    assert inputs["PAIR"]["optional"] == ["true"]
    outputs = {e["name"][0]: (e["data_type"], e["dims"]) for e in config["output"]}
    signature = openvino.manifest["signature"]
    assert outputs == {
        signature["output"]: (["TYPE_FP32"], [signature["width"]]),
        "TOKENS": (["TYPE_INT32"], [1]),
    }
    [batching] = config["dynamic_batching"]
    assert batching["max_queue_delay_microseconds"] == [500]
    assert batching["preferred_batch_size"] == [32]
    assert batching["default_queue_policy"][0]["max_queue_size"] == [4096]
    assert config["instance_group"] == [{"count": [1], "kind": ["KIND_CPU"]}]
    # Triton answers no model while it starts, so one that asks another must not be warmed by it.
    assert "model_warmup" not in config
    labels = (out / "models" / name / "labels.txt").read_text().splitlines()
    assert labels == openvino.head["labels"]
    assert config["output"][0]["label_filename"] == ["labels.txt"]
    assert Path("models", name, "1", "bundle", "model.xml") in files
    link = tmp_path / "link"
    link.symlink_to(out)
    assert write_repository(openvino, link, TritonOptions(), force=True) == files
    Bundle.open(out / "models" / name / "1" / "bundle").verify()


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
def test_the_server_around_it(
    openvino: Bundle, tensorrt: Bundle, tmp_path: Path, target: str
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino if target == "openvino" else tensorrt, out, TritonOptions())
    compose, docker = ((out / n).read_text() for n in ("compose.yaml", "Dockerfile"))
    assert "${TRITON_IMAGE:?" in compose
    assert "./models:/models:ro" in compose
    assert ("driver: nvidia" in compose) is (target == "tensorrt")
    assert "FROM ${TRITON_IMAGE}" in docker
    # The name on PyPI belongs to another project.
    wheel = f"xopt_encoders-{__version__}-py3-none-any.whl"
    assert f"\nCOPY {wheel} /tmp/\n" in docker
    assert f"pip install --no-cache-dir '/tmp/{wheel}'\n" in docker
    assert f"cp dist/{wheel} " in (out / "README.md").read_text()
    assert ("TensorRT 11.4.0.106" in (out / "README.md").read_text()) is (target == "tensorrt")
    for text in (compose, docker, (out / "README.md").read_text()):
        # Two are one for the shell, where Compose has read them.
        assert not re.search(r"(?<!\$)\$[a-z]", text)
    # Ports are open to this machine alone unless someone decides otherwise.
    assert all(port.startswith("127.0.0.1:") for port in re.findall(r'- "(\S+:\d+)"', compose))


def test_the_model_answers_as_the_bundle(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    texts = ["Habari za asubuhi", "Good morning, all of you", "一二三"]
    with open_engine(openvino) as engine:
        tokenizer = Tokenizer.open(openvino.folder / "tokenizer.json", 128)
        expected = [
            engine.run(pack(tokenizer.encode([text]), first_position=2))["logits"][0]
            for text in texts
        ]
    first, second = model.execute([request(*texts[:2]), request(texts[2])])
    assert first.tensors["logits"].shape == (2, 3)
    found = np.concatenate([first.tensors["logits"], second.tensors["logits"]])
    assert np.abs(found - np.stack(expected)).max() < 1e-4
    counts = [len(e) for e in tokenizer.encode(texts)]
    assert first.tensors["TOKENS"].tolist() == [[counts[0]], [counts[1]]]
    model.finalize()


def test_a_row_for_each_token(
    tags: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(tags, out, TritonOptions())
    config = parse((out / "models" / "tags" / "config.pbtxt").read_text())
    assert config["output"][0]["dims"] == [-1, 3]
    model = served(out, "tags", fake_triton(), monkeypatch)
    [response] = model.execute([request("a", "a somewhat longer text")])
    counts = response.tensors["TOKENS"][:, 0]
    logits = response.tensors["logits"]
    assert logits.shape == (2, counts.max(), 3)
    assert (logits[0, counts[0] :] == 0).all()
    assert np.abs(logits[0, : counts[0]]).min() > 0
    [alone] = model.execute([request("a")])
    assert np.abs(alone.tensors["logits"][0] - logits[0, : counts[0]]).max() < 1e-4
    model.finalize()


def test_a_bad_text_fails_its_own_request(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    requests = [request("good"), request(b"\xff"), request(" "), request("also good")]
    pairs = request("one", "two", pairs=("x",))
    good, broken, empty, also, uneven = model.execute([*requests, pairs])
    assert good.failure is None
    assert also.tensors["logits"].shape == (1, 3)
    assert "not valid UTF-8" in broken.failure.text
    assert "empty" in empty.failure.text
    assert "There are 2 TEXT and 1 PAIR. " in uneven.failure.text
    blank, lone = model.execute([request("one", pairs=(" ",)), request(pairs=("x",))])
    assert "TEXT[0], its pair, is empty" in blank.failure.text
    assert "TEXT is missing" in lone.failure.text
    long = model.execute([request("word " * 500)])
    assert "at most 128" in long[0].failure.text
    cut = request("one", pairs=("word " * 500,))
    assert "TEXT[0] with its pair has" in model.execute([cut])[0].failure.text
    for refusal in (broken, empty, uneven, blank, lone, long[0]):
        assert refusal.failure.kind == Failure.INVALID_ARG
    model.finalize()


def test_a_request_says_whether_what_is_too_long_is_cut(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    long = "word " * 500
    cut, refused, odd, other = model.execute(
        [request(long, parameters=f'{{"truncate": {value}}}') for value in ("true", "false", "1")]
        + [request("a", parameters='{"other": "x"}')]
    )
    assert cut.failure is None
    assert cut.tensors["TOKENS"].tolist() == [[128]]
    assert 'Send "truncate": true' in refused.failure.text
    assert "truncate is 1; possible: true, false" in odd.failure.text
    assert other.failure is None
    model.finalize()


def test_what_nobody_foresaw_fails_its_own_request(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    engine = model.model.session.engine
    submit = engine.submit
    longest = len(model.model.session.tokenizer.encode(["a word " * 20])[0])

    def refuse(batch: Any, **options: Any) -> Any:
        if batch.longest >= longest:
            raise RuntimeError("the library is unhappy")
        return submit(batch, **options)

    monkeypatch.setattr(engine, "submit", refuse)
    none = Request(TEXT=Tensor("TEXT", np.array([[3]], object)))
    good, bad, odd, also = model.execute(
        [request("a"), request("a word " * 20), none, request("b")]
    )
    for response in (bad, odd):
        assert response.failure.text.startswith("The model failed at this request")
        assert response.failure.kind == Failure.INTERNAL
    for response in (good, also):
        assert response.failure is None
        assert response.tensors["logits"].shape == (1, 3)
    monkeypatch.undo()
    model.finalize()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_never_answered(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    begin = model.model.session.start
    longest = len(model.model.session.tokenizer.encode(["a word " * 20])[0])

    def spoiled(encodings: Any) -> Any:
        answers = [np.array(row) for row in begin(encodings)()]
        for encoding, row in zip(encodings, answers, strict=True):
            if len(encoding) == longest:
                row[-1] = value
        return lambda: answers

    monkeypatch.setattr(model.model.session, "start", spoiled)
    good, bad = model.execute([request("a"), request("b", "a word " * 20)])
    assert good.failure is None
    assert bad.failure.text.startswith("TEXT[1]: the engine answered with values that are no n")
    assert bad.failure.kind == Failure.INTERNAL
    monkeypatch.undo()
    model.finalize()


@pytest.mark.parametrize(
    ("target", "kind", "expected"),
    [
        ("cuda", "GPU", {"device": "cuda:2"}),
        ("tensorrt-rtx", "GPU", {"device": 2}),
        ("torch-tensorrt", "GPU", {"device": 2}),
        ("openvino", "CPU", {}),
    ],
)
def test_an_instance_takes_the_gpu_that_it_is_given(
    openvino: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    kind: str,
    expected: dict[str, Any],
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    opened: list[dict[str, Any]] = []

    def remember(bundle: Bundle, **options: Any) -> Engine:
        opened.append(options)
        return open_engine(openvino)

    place = out / "models" / "m" / "1" / "bundle" / "manifest.json"
    monkeypatch.setattr("xopt.model.session.open_engine", remember)
    manifest = Bundle.open(place.parent).manifest
    elsewhere = Bundle(place.parent, {**manifest, "target": target})
    monkeypatch.setattr("xopt.deploy.serve.Bundle.open", lambda folder: elsewhere)
    instance = {"model_instance_kind": kind, "model_instance_device_id": "2"}
    served(out, "m", fake_triton(), monkeypatch, **instance)
    assert opened == [expected]


def test_null_answers_nothing_worth_serving(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = make_checkpoint("xlm-roberta", "tag")
    options = BuildOptions(str(folder), "fp32", "null", out=str(tmp_path / "null"))
    bundle = build_bundle(options, record=False).bundle
    with pytest.raises(UnsupportedError, match="null"):
        write_repository(bundle, tmp_path / "serving", TritonOptions())
