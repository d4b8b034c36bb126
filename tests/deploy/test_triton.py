"""A model repository says what the bundle says, and its Python model answers as the bundle does."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from xopt import __version__
from xopt.artifacts import Bundle, write_manifest
from xopt.cli import deploy  # noqa: F401
from xopt.cli.app import app
from xopt.compile.build import build_bundle
from xopt.compile.options import BuildOptions
from xopt.deploy.serve import TritonPythonModel
from xopt.deploy.triton import TritonOptions, write_repository
from xopt.engines.base import Engine, open_engine
from xopt.engines.tensorrt.compat import RunsOn
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.errors import ArtifactError, InputError, UnsupportedError
from xopt.packing import pack
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')
INPUTS: dict[str, list[Any]] = {
    "input_ids": ["T"],
    "position_ids": ["T"],
    "pad_index": ["B", "S", 1],
    "attention_bias": ["B", 1, 1, "S"],
    "cu_seqlens": ["B_plus_1"],
}
RUNS_ON = RunsOn(
    library="tensorrt", version="11.4.0.106", later=False, sm=(89,), above=False,
    gpu="NVIDIA L4", system="Linux", processor="x86_64",
)  # fmt: skip


def parse(text: str) -> dict[str, list[Any]]:
    """Protobuf's text form: ``field -> values``, messages as dicts, in the order they come."""
    tokens = TOKEN.findall(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
    message, rest = _message(tokens, 0)
    assert rest == len(tokens)
    return message


def _message(tokens: list[str], at: int) -> tuple[dict[str, list[Any]], int]:
    found: dict[str, list[Any]] = {}
    while at < len(tokens) and tokens[at] != "}":
        field = tokens[at]
        assert re.fullmatch(r"[a-z_]+", field), field
        at += 1
        if tokens[at] == ":":
            at += 1
        else:
            assert tokens[at] in "{[", f"{field} is a scalar without a colon"
        values, at = _values(tokens, at)
        found.setdefault(field, []).extend(values)
        if at < len(tokens) and tokens[at] == ",":
            at += 1
    return found, at


def _values(tokens: list[str], at: int) -> tuple[list[Any], int]:
    if tokens[at] != "[":
        value, at = _value(tokens, at)
        return [value], at
    values = []
    at += 1
    while tokens[at] != "]":
        value, at = _value(tokens, at)
        values.append(value)
        if tokens[at] == ",":
            assert tokens[at + 1] != "]"
            at += 1
        else:
            assert tokens[at] == "]", "values of a list stand apart by commas"
    return values, at + 1


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    token = tokens[at]
    if token == "{":
        message, end = _message(tokens, at + 1)
        assert tokens[end] == "}"
        return message, end + 1
    if token[0] == '"':
        return json.loads(token), at + 1
    return (int(token) if re.fullmatch(r"-?\d+", token) else token), at + 1


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


@pytest.fixture
def tensorrt(tmp_path: Path, tokenizer_file: Path) -> Bundle:
    """As a build for TensorRT leaves it, but for the engine's content."""
    folder = tmp_path / "sts"
    folder.mkdir()
    (folder / "engine.trt").write_bytes(b"plan")
    (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    signature = {
        "inputs": list(INPUTS), "output": "embeddings", "per_token": False, "width": 3,
        "max_tokens": 64, "first_position": 2, "vocabulary": 1200, "types": 1,
    }  # fmt: skip
    profiles = [LengthProfile(2, 16, 32), LengthProfile(4, 64, 128)]
    engine = {
        "profiles": [asdict(profile) for profile in profiles],
        "inputs": INPUTS,
        "version": "11.4.0.106",
        "runs_on": RUNS_ON.manifest(),
        "runs_on_text": RUNS_ON.describe(),
    }
    facts: dict[str, Any] = {"target": "tensorrt", "precision": "int8", "head": {"kind": "embed"}}
    write_manifest(folder, "bundle", "a" * 64, facts | {"signature": signature, "engine": engine})
    return Bundle.open(folder)


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> Any:
        return self.array


class Response:
    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.tensors = {tensor.name: tensor.array for tensor in output_tensors}
        self.failure = error

    def has_error(self) -> bool:
        return self.failure is not None

    def error(self) -> Any:
        return self.failure


class Failure:
    INTERNAL, INVALID_ARG = 1, 3

    def __init__(self, text: str, code: int = 1) -> None:
        self.text, self.kind = text, code

    def message(self) -> str:
        return self.text


def fake_triton(answer: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """``triton_python_backend_utils``; ``answer`` is the other model."""
    module: Any = types.ModuleType("triton_python_backend_utils")
    module.asked = []

    class InferenceRequest:
        def __init__(self, **fields: Any) -> None:
            self.fields = fields

        def exec(self) -> Response:
            module.asked.append(self.fields)
            arrays = {tensor.name: tensor.array for tensor in self.fields["inputs"]}
            assert answer is not None
            found = answer(arrays)
            if isinstance(found, str):
                return Response(error=Failure(found))
            [output] = self.fields["requested_output_names"]
            return Response([Tensor(output, found)])

    module.Tensor, module.InferenceResponse, module.TritonError = Tensor, Response, Failure
    module.InferenceRequest = InferenceRequest
    module.TRITONSERVER_MEMORY_CPU = 0
    module.PreferredMemory = lambda kind, number: (kind, number)
    module.get_input_tensor_by_name = lambda request, name: request.get(name)
    module.get_output_tensor_by_name = lambda response, name: Tensor(name, response.tensors[name])
    return module


def served(
    folder: Path, name: str, module: Any, monkeypatch: pytest.MonkeyPatch, **instance: str
) -> TritonPythonModel:
    """The model that Triton would start from this repository."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    config = parse((folder / "models" / name / "config.pbtxt").read_text())
    parameters = {entry["key"][0]: entry["value"][0] for entry in config["parameters"]}
    given = {key: {"string_value": value["string_value"][0]} for key, value in parameters.items()}
    model = TritonPythonModel()
    model.initialize(
        {
            "model_repository": str(folder / "models" / name),
            "model_version": "1",
            "model_config": json.dumps({"parameters": given}),
            "model_name": name,
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            **instance,
        }
    )
    return model


def request(*texts: str | bytes) -> dict[str, Tensor]:
    values = [text.encode() if isinstance(text, str) else text for text in texts]
    return {"TEXT": Tensor("TEXT", np.array(values, object)[:, None])}


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


def test_the_engines_inputs_are_the_bundles(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    write_repository(tensorrt, out, TritonOptions(name="embed"))
    config = parse((out / "models" / "embed_engine" / "config.pbtxt").read_text())
    assert config["name"] == ["embed_engine"]
    assert config["backend"] == ["tensorrt"]
    assert config["max_batch_size"] == [0]
    assert "dynamic_batching" not in config
    plan = out / "models" / "embed_engine" / "1" / config["default_model_filename"][0]
    assert plan.read_bytes() == b"plan"
    kinds = {"TYPE_INT64": np.int64, "TYPE_INT32": np.int32, "TYPE_FP16": np.float16}
    tokenizer = Tokenizer.open(tensorrt.folder / "tokenizer.json", 64)
    arrays = tensorrt_arrays(pack(tokenizer.encode(["a b c"]), first_position=2))
    for entry, (name, shape) in zip(config["input"], INPUTS.items(), strict=True):
        assert entry["name"] == [name]
        assert entry["dims"] == [-1 if isinstance(d, str) else d for d in shape]
        assert arrays[name].dtype == kinds[entry["data_type"][0]]
    [output] = config["output"]
    assert output == {"name": ["embeddings"], "data_type": ["TYPE_FP32"], "dims": [-1, 3]}
    [group] = config["instance_group"]
    assert group == {"count": [1], "kind": ["KIND_GPU"], "profile": ["0", "1"]}
    [warm] = config["model_warmup"]
    assert warm["batch_size"] == [1]
    sizes = {"T": 16, "S": 16, "B": 1, "B_plus_1": 2}
    for sample, (name, shape) in zip(warm["inputs"], INPUTS.items(), strict=True):
        assert sample["key"] == [name]
        dims = [sizes.get(d, d) if isinstance(d, str) else d for d in shape]
        assert sample["value"][0]["dims"] == dims
        assert sample["value"][0]["zero_data"] == ["true"]
    front = parse((out / "models" / "embed" / "config.pbtxt").read_text())
    # It may be loaded before the engine that it would ask, which warms itself up.
    assert "model_warmup" not in front
    assert not (out / "models" / "embed" / "warmup").exists()
    assert front["parameters"][0]["value"] == [{"string_value": ["embed_engine"]}]
    assert not (out / "models" / "embed" / "1" / "bundle").exists()


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
        assert not re.search(r"\$[a-z]", text)
    # Ports are open to this machine alone unless someone decides otherwise.
    assert all(port.startswith("127.0.0.1:") for port in re.findall(r'- "(\S+:\d+)"', compose))


@pytest.mark.parametrize("later", [False, True])
def test_an_engine_for_later_versions_may_run_its_code(
    tensorrt: Bundle, tmp_path: Path, later: bool
) -> None:
    engine = tensorrt.manifest["engine"] | {"runs_on": replace(RUNS_ON, later=later).manifest()}
    facts = {name: tensorrt.manifest[name] for name in ("target", "precision", "head", "signature")}
    write_manifest(tensorrt.folder, "bundle", "a" * 64, facts | {"engine": engine})
    out = tmp_path / "serving"
    write_repository(Bundle.open(tensorrt.folder), out, TritonOptions())
    [found] = re.findall(r"^    command: (.*)$", (out / "compose.yaml").read_text(), re.MULTILINE)
    command = [
        "tritonserver",
        "--model-repository=/models",
        "--exit-on-error=true",
        "--exit-timeout-secs=30",
    ]
    flag = "--backend-config=tensorrt,version-compatible=true"
    assert json.loads(found) == [*command, *([flag] if later else [])]
    assert ("TensorRT 11.4.0.106 or later;" in (out / "README.md").read_text()) is later


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


def test_the_engine_is_asked_in_batches_that_its_profiles_take(
    tensorrt: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(arrays: dict[str, Any]) -> Any:
        assert list(arrays) == list(INPUTS)
        begins = arrays["cu_seqlens"]
        parts = np.split(arrays["input_ids"], begins[1:-1])
        assert len(parts) <= 4
        return np.array([[p.sum(), len(p), p[0]] for p in parts], np.float32)

    out = tmp_path / "serving"
    write_repository(tensorrt, out, TritonOptions(name="m"))
    module = fake_triton(answer)
    model = served(out, "m", module, monkeypatch)
    texts = [f"text {'and more ' * (n % 4)}{n}" for n in range(11)]
    responses = model.execute([request(*texts[:6]), request(*texts[6:])])
    found = np.concatenate([r.tensors["embeddings"] for r in responses])
    encodings = model.model.session.tokenizer.encode(texts)
    assert found[:, :2].tolist() == [[float(e.ids.sum()), len(e)] for e in encodings]
    assert len(module.asked) > 1
    assert {asked["model_name"] for asked in module.asked} == {"m_engine"}
    assert {asked["preferred_memory"] for asked in module.asked} == {(0, 0)}


def test_an_error_of_the_engine_reaches_the_client(
    tensorrt: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(tensorrt, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(lambda arrays: "out of memory"), monkeypatch)
    [response] = model.execute([request("a text")])
    assert "m_engine failed: out of memory" in response.failure.text


def test_a_bad_text_fails_its_own_request(
    openvino: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(openvino, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(), monkeypatch)
    requests = [request("good"), request(b"\xff"), request(" "), request("also good")]
    pairs = {**request("one", "two"), "PAIR": request("x")["TEXT"]}
    good, broken, empty, also, uneven = model.execute([*requests, pairs])
    assert good.failure is None
    assert also.tensors["logits"].shape == (1, 3)
    assert "not valid UTF-8" in broken.failure.text
    assert "empty" in empty.failure.text
    assert "2 texts and 1 pairs" in uneven.failure.text
    blank = {**request("one"), "PAIR": request(" ")["TEXT"]}
    assert "empty" in model.execute([blank])[0].failure.text
    long = model.execute([request("word " * 500)])
    assert "at most 128" in long[0].failure.text
    cut = {**request("one"), "PAIR": request("word " * 500)["TEXT"]}
    assert "Text 1 with its pair has" in model.execute([cut])[0].failure.text
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

    def refuse(batch: Any) -> Any:
        if batch.longest >= longest:
            raise RuntimeError("the library is unhappy")
        return submit(batch)

    monkeypatch.setattr(engine, "submit", refuse)
    none = {"TEXT": Tensor("TEXT", np.array([[3]], object))}
    good, bad, odd, also = model.execute(
        [request("a"), request("a word " * 20), none, request("b")]
    )
    assert bad.failure.text == "RuntimeError: the library is unhappy"
    assert "AttributeError" in odd.failure.text
    for response in (good, also):
        assert response.failure is None
        assert response.tensors["logits"].shape == (1, 3)
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


def test_a_folder_whose_name_is_no_models(tensorrt: Bundle, tmp_path: Path) -> None:
    folder = tensorrt.folder.rename(tmp_path / "_sts")
    with pytest.raises(InputError, match="gives the model the name '_sts'") as caught:
        write_repository(Bundle.open(folder), tmp_path / "serving", TritonOptions())
    assert "--name" in caught.value.hint
    assert not (tmp_path / "serving").exists()
    write_repository(Bundle.open(folder), tmp_path / "serving", TritonOptions(name="sts"))


def test_a_damaged_bundle_is_not_copied(tensorrt: Bundle, tmp_path: Path) -> None:
    (tensorrt.folder / "engine.trt").write_bytes(b"plam")
    with pytest.raises(ArtifactError, match="sha256"):
        write_repository(tensorrt, tmp_path / "serving", TritonOptions())
    assert not (tmp_path / "serving").exists()


def test_a_folder_that_is_there_is_left_alone(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(InputError, match="exists") as caught:
            write_repository(tensorrt, out, TritonOptions(), force=force)
        assert "--force" not in caught.value.hint
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    write_repository(tensorrt, out, TritonOptions())
    with pytest.raises(InputError, match="exists") as caught:
        write_repository(tensorrt, out, TritonOptions())
    assert "--force" in caught.value.hint
    write_repository(tensorrt, out, TritonOptions(name="other"), force=True)
    assert sorted(p.name for p in (out / "models").iterdir()) == ["other", "other_engine"]


@pytest.mark.parametrize("name", ["a b", "../up", "", 'a"b', "."])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match="no name for a model"):
        TritonOptions(name=name)


def test_the_command(tensorrt: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "serving"
    words = ["deploy", "triton", str(tensorrt.folder), "-o", str(out)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    files = json.loads(done.output)["files"]
    assert "models/sts_engine/1/model.plan" in files
    assert (out / "compose.yaml").is_file()
    again = CliRunner().invoke(app, [*words, "--force"])
    assert again.exit_code == 0
    assert "compose.yaml" in again.output
    unknown = CliRunner().invoke(app, ["deploy", "tritn", str(tensorrt.folder), "-o", "x"])
    assert isinstance(unknown.exception, InputError)
    assert "Did you mean 'triton'" in unknown.exception.hint


def test_null_answers_nothing_worth_serving(make_checkpoint: Factory, tmp_path: Path) -> None:
    folder = make_checkpoint("xlm-roberta", "tag")
    options = BuildOptions(str(folder), "fp32", "null", out=str(tmp_path / "null"))
    bundle = build_bundle(options, record=False).bundle
    with pytest.raises(UnsupportedError, match="null"):
        write_repository(bundle, tmp_path / "serving", TritonOptions())
