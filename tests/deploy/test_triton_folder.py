"""A model repository for a TensorRT bundle: what the folder says, and where none is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.core.made import FACTS
from tests.deploy.facts import INPUTS, RUNS_ON
from tests.deploy.pbtxt import parse
from tests.deploy.python_backend import fake_triton, request, served
from typer.testing import CliRunner

from xopt.artifacts import Bundle, write_manifest
from xopt.cli import deploy  # noqa: F401
from xopt.cli.app import app
from xopt.deploy.triton import TritonOptions, write_repository
from xopt.engines.tensorrt.feeds import tensorrt_arrays
from xopt.errors import ArtifactError, InputError
from xopt.packing import pack
from xopt.tokenization import Tokenizer


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
    kinds = {"TYPE_INT32": np.int32, "TYPE_FP16": np.float16}
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
    # A short sentence, the longest and a full batch of either profile, so of both programs.
    batches = [(1, 16), (2, 16), (1, 64), (2, 64)]
    for warm, (sentences, length) in zip(config["model_warmup"], batches, strict=True):
        assert warm["batch_size"] == [1]
        sizes = {"T": sentences * length, "S": length, "B": sentences, "B_plus_1": sentences + 1}
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


@pytest.mark.parametrize("later", [False, True])
def test_an_engine_for_later_versions_may_run_its_code(
    tensorrt: Bundle, tmp_path: Path, later: bool
) -> None:
    engine = tensorrt.manifest["engine"] | {"runs_on": replace(RUNS_ON, later=later).manifest()}
    facts = {name: tensorrt.manifest[name] for name in FACTS} | {"engine": engine}
    write_manifest(tensorrt.folder, "bundle", "a" * 64, facts)
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
    assert {asked["model_version"] for asked in module.asked} == {1}
    assert {asked["preferred_memory"] for asked in module.asked} == {(0, 0)}


def test_an_error_of_the_engine_reaches_the_client(
    tensorrt: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "serving"
    write_repository(tensorrt, out, TritonOptions(name="m"))
    model = served(out, "m", fake_triton(lambda arrays: "out of memory"), monkeypatch)
    [response] = model.execute([request("a text")])
    assert "m_engine failed: out of memory" in response.failure.text


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
        with pytest.raises(InputError, match="exists, and xopt deploy did not write it") as caught:
            write_repository(tensorrt, out, TritonOptions(), force=force)
        assert "--force" not in caught.value.hint
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    write_repository(tensorrt, out, TritonOptions())
    with pytest.raises(InputError, match="exists") as caught:
        write_repository(tensorrt, out, TritonOptions())
    assert "--force" in caught.value.hint
    said = f"{out} exists, and has sts, and no model other."
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        write_repository(tensorrt, out, TritonOptions(name="other"))
    assert "--name sts --version 2" in caught.value.hint
    assert f"its models/ to {out / 'models'}" in caught.value.hint
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
