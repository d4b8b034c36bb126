"""What is exported, run by others: ONNX Runtime through the folder's own example, transformers."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import app
from xopt.cli import export as export_command  # noqa: F401
from xopt.compile.options import BuildOptions
from xopt.errors import InputError, XoptError
from xopt.export.forms import export, export_options
from xopt.export.readme import INPUTS
from xopt.model.session import Session

RUN = CliRunner()
TEXTS = ["Habari za asubuhi, rafiki yangu mpendwa.", "おはよう", "Dobré ráno všem", "ok"]
PAIRS = ["Barabara ni kavu leo.", "道は乾いている", "Cesta je suchá", "no"]
FORMS = ("onnx-fp32", "onnx-qdq")
Bundles = Callable[..., Bundle]


def exported(source: str | Path, form: str, out: Path) -> dict[str, Any]:
    found = RUN.invoke(app, ["export", str(source), "--form", form, "-o", str(out), "--json"])
    assert found.exit_code == 0, (found.output, found.exception)
    document: dict[str, Any] = json.loads(found.stdout)
    return document


def asked(folder: Path, texts: list[str], pairs: list[str] | None = None) -> list[np.ndarray]:
    """Run as its README says, in a process that does not see xopt."""
    command = [sys.executable, "-I", str(folder / "run.py"), *texts]
    for pair in pairs or []:
        command += ["--pair", pair]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == texts
    return [np.array(line["answer"]) for line in lines]


def answers(bundle: Bundle, texts: list[str], pairs: list[str] | None = None) -> list[np.ndarray]:
    from xopt.model import core

    if bundle.head["kind"] in ("embed", "classify"):
        with core.load(bundle.folder) as model:
            if bundle.head["kind"] == "embed":
                return list(model.encode(texts))
            items: Any = texts if pairs is None else list(zip(texts, pairs, strict=True))
            return [np.array(list(row.named().values())) for row in model.predict(items)]
    with Session.open(bundle) as session:
        found = session.answers(
            len(texts), lambda t, a, b: t.encode(texts[a:b], pairs[a:b] if pairs else None)
        )
        rows = {index: answer for index, _, answer in found}
    return [rows[index] for index in range(len(texts))]


@pytest.mark.parametrize("name", ["encoder", "nli", "qa"])
def test_onnx_runtime_answers_as_xopt_does(
    name: str, bundles: Bundles, heads: Any, tmp_path: Path
) -> None:
    pairs = PAIRS if name in ("nli", "qa") else None
    exact = bundles(name)
    exported(exact.folder, "onnx-fp32", tmp_path / "fp32")
    small = bundles(name, "int8")
    exported(small.folder, "onnx-qdq", tmp_path / "qdq")
    theirs = [np.concatenate([row.ravel() for row in asked(tmp_path / place, TEXTS, pairs)])
              for place in ("fp32", "qdq")]  # fmt: skip
    ours = [np.concatenate([row.ravel() for row in answers(bundle, TEXTS, pairs)])
            for bundle in (exact, small)]  # fmt: skip
    np.testing.assert_allclose(theirs[0], ours[0], atol=2e-5)
    lost = np.linalg.norm(ours[1] - ours[0])
    # The same integers: what differs is the last bit before a rounding, here and there.
    assert np.linalg.norm(theirs[1] - ours[1]) < 0.5 * lost
    assert np.linalg.norm(theirs[1] - ours[0]) < 1.5 * lost


def test_a_family_with_windowed_attention_is_exported_whole(
    tmp_path: Path, tokenizer_file: Path
) -> None:
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(1)
    config = ModernBertConfig(
        vocab_size=1200, hidden_size=64, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=96, local_attention=8, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, max_position_embeddings=128,
    )  # fmt: skip
    folder = tmp_path / "modern"
    ModernBertModel(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    fast = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(fast))
    exported(folder, "onnx-fp32", tmp_path / "out")
    from xopt.compile.build import BuildOptions, build_bundle

    built = build_bundle(
        BuildOptions(str(folder), precision="fp32", out=str(tmp_path / "bundle")), record=False
    )
    texts = [*TEXTS, "A long text " * 12]
    for theirs, ours in zip(
        asked(tmp_path / "out", texts), answers(built.bundle, texts), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, atol=2e-5)


def test_the_example_names_the_package_that_it_lacks() -> None:
    from xopt.export import example

    # -S: an interpreter without packages.
    command = [sys.executable, "-I", "-S", str(example.__file__), "a text"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "run.py needs numpy: pip install onnxruntime numpy tokenizers\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_example_says_which_texts_it_cannot_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xopt.export import example

    def answer(texts: object, pairs: object) -> list[Any]:
        raise ValueError("a text has 300 tokens; at most 128")

    monkeypatch.setattr(example, "Exported", lambda folder: SimpleNamespace(answer=answer))
    monkeypatch.setattr(sys, "argv", ["run.py", "long"])
    with pytest.raises(SystemExit):
        example.main()
    assert capsys.readouterr().err.endswith("error: a text has 300 tokens; at most 128\n")


@pytest.mark.parametrize("form", FORMS)
def test_the_readme_states_the_graphs_inputs(form: str, bundles: Bundles, tmp_path: Path) -> None:
    import onnx

    document = exported(bundles("nli", "int8").folder, form, tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text()
    graph = onnx.load(tmp_path / "out" / "graph.onnx", load_external_data=False).graph
    stated = re.findall(r"^\| `(\w+)` \| \[(.*?)\] \| (\w+) \|", readme, re.M)
    types = {"int32": onnx.TensorProto.INT32, "float32": onnx.TensorProto.FLOAT}
    assert {name: types[kind] for name, _, kind in stated} == {
        value.name: value.type.tensor_type.elem_type for value in graph.input
    }
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.input}
    assert {name: shape.count(",") + 1 for name, shape, _ in stated} == ranks
    assert set(document["files"]) >= {"README.md", "graph.onnx", "run.py", "weights.bin"}
    quantized = {node.op_type for node in graph.node}
    assert ("QuantizeLinear" in quantized) is (form == "onnx-qdq")


def test_every_input_a_graph_can_have_is_explained() -> None:
    from xopt.compile.trace import AXES

    assert set(INPUTS) == set(AXES)


def test_hf_is_a_folder_that_its_own_library_opens(bundles: Bundles, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    bundle = bundles("nli")
    exported(bundle.folder, "hf", tmp_path / "hf")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "hf")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "hf")(
        TEXTS, PAIRS, return_tensors="pt", padding=True
    )
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        theirs = model(**tokens).logits.softmax(-1).numpy()
    np.testing.assert_allclose(theirs, np.stack(answers(bundle, TEXTS, PAIRS)), atol=2e-5)


def test_a_sentence_transformers_folder_keeps_its_modules(
    make_checkpoint: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules as models

    encoder = models.Transformer(str(make_checkpoint()))
    pooling = models.Pooling(encoder.get_word_embedding_dimension(), "cls")
    SentenceTransformer(modules=[encoder, pooling, models.Normalize()]).save(
        str(tmp_path / "folder")
    )
    exported(tmp_path / "folder", "hf", tmp_path / "hf")
    exported(tmp_path / "folder", "onnx-fp32", tmp_path / "onnx")
    theirs = SentenceTransformer(str(tmp_path / "hf")).encode(TEXTS)
    np.testing.assert_allclose(np.stack(asked(tmp_path / "onnx", TEXTS)), theirs, atol=2e-5)


def test_a_cross_encoder_is_exported_with_its_prompt(make_checkpoint: Any, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.sentence_transformer import modules as models

    scores = models.Dense(64, 1, activation_function=None, module_output_name="scores")
    CrossEncoder(
        modules=[models.Transformer(str(make_checkpoint())), models.Pooling(64), scores],
        device="cpu",
        prompts={"search": "Tafuta: "},
        default_prompt_name="search",
    ).save_pretrained(str(tmp_path / "ce"))
    exported(tmp_path / "ce", "onnx-fp32", tmp_path / "onnx")
    theirs = CrossEncoder(str(tmp_path / "ce"), device="cpu")
    pairs = list(zip(TEXTS, PAIRS, strict=True))
    ours = np.concatenate(asked(tmp_path / "onnx", TEXTS, PAIRS))
    np.testing.assert_allclose(ours, theirs.predict(pairs), atol=2e-5)
    assert np.abs(ours - theirs.predict(pairs, prompt="")).max() > 1e-3


def test_what_a_form_cannot_do_is_said(
    bundles: Bundles, heads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: object, form: str, *more: str) -> str:
        typed = ["export", str(source), "--form", form, "-o", str(tmp_path / "out"), *more]
        found = RUN.invoke(app, typed)
        assert isinstance(found.exception, XoptError), found.output
        return str(found.exception)

    small, exact = bundles("nli", "int8").folder, bundles("nli").folder
    assert "onnx-fp32, onnx-qdq, hf" in refused(small, "tflite")
    assert "int8 bundle for the CPU" in refused(exact, "onnx-qdq")
    assert "calibrated when it was built" in refused(small, "onnx-qdq", "--calibration", "x.txt")
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "elsewhere"))
    assert "xopt export CHECKPOINT --form hf" in refused(small, "hf")
    assert not (tmp_path / "out").exists()


def test_what_changed_since_the_bundle_was_built_is_not_exported_as_its_own(
    bundles: Bundles, heads: Any, tmp_path: Path
) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    small, out = bundles("nli", "int8"), tmp_path / "out"
    texts, other = tmp_path / "sw.txt", tmp_path / "other"
    texts.write_text("Habari za asubuhi, rafiki yangu.\nMvua inanyesha leo.\n")
    shutil.copytree(heads("nli"), other)
    weights = load_file(other / "model.safetensors")
    weights["classifier.out_proj.bias"] = weights["classifier.out_proj.bias"] + 1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    for form, changes, said in (
        ("onnx-fp32", {"checkpoint": str(other)}, "The checkpoint .* is no longer the one"),
        ("hf", {"checkpoint": str(other)}, "The checkpoint .* is no longer the one"),
        ("onnx-qdq", {"calibration": str(texts)}, "The calibration texts .sw.txt. are no longer"),
        ("onnx-qdq", {"smooth": 0.5}, "was calibrated as this xopt no longer does"),
    ):
        options = replace(export_options(str(small.folder), form), **changes)
        with pytest.raises(InputError, match=said) as caught:
            export(options, form, out, bundle=small)
        assert caught.value.hint.endswith(
            f"xopt build {heads('nli')} --calibration-tokens 512 --out {small.folder}"
        )
    assert not out.exists()


def test_a_bundle_of_some_pieces_is_exported_with_every_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("manifest.json", "card.md"):
        (tmp_path / name).touch()
    opened = SimpleNamespace(
        fingerprint="one", precision="int8", target="openvino", folder=tmp_path,
        manifest={"engine": {"cpu": "any"}},
    )  # fmt: skip
    monkeypatch.setattr("xopt.export.forms.Bundle.open", lambda folder: opened)
    made = BuildOptions("some", languages="de,sw", pieces=600, count="texts", seed=3)
    monkeypatch.setattr("xopt.export.forms.built_with", lambda bundle: asdict(made))
    assert export_options(str(tmp_path), "onnx-qdq") == BuildOptions("some", seed=3, cpu="any")
    exact = export_options(str(tmp_path), "onnx-fp32")
    assert (exact.languages, exact.pieces, exact.count, exact.precision) == (None, 0, None, "fp32")
