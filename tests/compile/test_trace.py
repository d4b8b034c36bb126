"""Every architecture and head, traced and run by OpenVINO, against transformers itself."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from safetensors.numpy import load_file, save_file

from xopt.artifacts import Graph
from xopt.compile import parity, trace
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.external import load_model
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.parity import reference_answers
from xopt.compile.reference import reference_model
from xopt.compile.trace import trace_checkpoint
from xopt.compile.traced import WEIGHTS
from xopt.errors import ArtifactError, ParityError
from xopt.packing import pack
from xopt.tokenization import Tokenizer

Factory = Callable[..., Path]
TEXTS = ["Habari za asubuhi?", "zwei", "一二三四五六七", "नमस्ते दुनिया, यह एक लंबा वाक्य है।", "x"]


def run(graph: Graph, checkpoint: Checkpoint, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Our graph's and transformers' answers to the first ``count`` texts."""
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", checkpoint.config.max_tokens)
    pairs = [*TEXTS[1:], TEXTS[0]][:count] if checkpoint.head.kind == "classify" else None
    encodings = tokenizer.encode(TEXTS[:count], pairs)
    batch = pack(encodings, first_position=checkpoint.config.first_position).arrays()
    program = openvino.Core().compile_model(graph.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ours = program({name: batch[name] for name in graph.manifest["inputs"]})[0]
    theirs = reference_answers(reference_model(checkpoint), checkpoint, encodings)
    return ours, theirs


# Three of the four have the same structure, and their heads the same names.
@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        *itertools.product(["bert", "xlm-roberta"], ["classify", "choice", "tag", "span", "embed"]),
        ("roberta", "choice"),
        ("camembert", "classify"),
    ],
)
def test_the_graph_answers_as_transformers_does(
    make_checkpoint: Factory, model_type: str, head: str
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint(model_type, head))
    graph = trace_checkpoint(checkpoint)
    # B = 1 and ragged batches through the same graph: T, B and S are dynamic.
    for count in (1, 2, 5):
        ours, theirs = run(graph, checkpoint, count)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-4
    assert graph.manifest["parity"]["max_abs_difference"] <= 1e-4


@pytest.mark.parametrize(("layer", "pooling"), [(0, "mean"), (1, "mean"), (1, "cls"), (0, "cls")])
def test_a_layer_and_its_pooling(make_checkpoint: Factory, layer: int, pooling: str) -> None:
    folder = make_checkpoint("xlm-roberta", "embed")
    checkpoint = Checkpoint.open(folder, layer=layer, pooling=pooling)
    ours, theirs = run(trace_checkpoint(checkpoint), checkpoint, 5)
    assert np.abs(ours - theirs).max() <= 1e-4


def test_only_standard_operators_and_named_axes(make_checkpoint: Factory) -> None:
    graph = trace_checkpoint(Checkpoint.open(make_checkpoint("bert", "classify")))
    model = onnx.load(graph.path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    # GatherND, which an index expression becomes, is slow or unsupported in several engines.
    assert "GatherND" not in {node.op_type for node in model.graph.node}
    axes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert axes["input_ids"] == ["T"]
    assert axes["pad_index"] == ["B", "S"]
    assert axes["attention_bias"] == ["B", 1, 1, "S"]


def test_one_structure_is_traced_once_and_no_weight_of_another_is_kept(
    make_checkpoint: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        Checkpoint.open(make_checkpoint("camembert", "tag", seed=seed)) for seed in (1, 2)
    )
    before = trace._structure.cache_info().misses
    written = []
    for place, checkpoint in (("both", first), ("both", second), ("alone", second)):
        monkeypatch.setenv("XOPT_CACHE", str(tmp_path / place))
        if place == "alone":
            assert trace._structure.cache_info().misses <= before + 1
            monkeypatch.setattr(trace, "_structure", trace._structure.__wrapped__)
        folder = trace.trace_checkpoint(checkpoint).folder
        written.append([(folder / name).read_bytes() for name in ("graph.onnx", WEIGHTS)])
    one, after_it, alone = written
    assert after_it == alone
    assert one[1] != alone[1]


def numbered(model: onnx.ModelProto) -> list[object]:
    """Its nodes, with values numbered as they come in place of the exporter's names."""
    kept = {w.name for w in model.graph.initializer if not w.name.startswith("val_")}
    known = {name: name for name in kept}

    def number(names: Sequence[str]) -> list[str]:
        return [name and known.setdefault(name, str(len(known))) for name in names]

    return [
        (n.op_type, number(n.input), number(n.output), sorted(map(str, n.attribute)))
        for n in model.graph.node
    ]


def test_it_is_the_graph_of_the_decomposed_program(
    make_checkpoint: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", "embed", num_hidden_layers=1))
    as_written, models = trace._as_written, []

    def untranslated(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
        written = as_written(program)
        for node in written.graph.nodes:
            if node.target is torch.ops.aten.gelu.default:
                node.target = torch.ops.aten.gelu_.default
        return written

    for place in ("as-written", "decomposed"):
        monkeypatch.setenv("XOPT_CACHE", str(tmp_path / place))
        models.append(onnx.load(trace_checkpoint(checkpoint).path))
        # ONNX has no function for the operation in place: PyTorch decomposes all, by its own rules.
        monkeypatch.setattr(trace, "_as_written", untranslated)
        trace._structure.cache_clear()
    assert numbered(models[0]) == numbered(models[1])


def test_weights_lie_outside_of_the_protobuf(make_checkpoint: Factory) -> None:
    graph = trace_checkpoint(Checkpoint.open(make_checkpoint()))
    assert graph.path.stat().st_size < 100_000
    assert (graph.folder / WEIGHTS).stat().st_size > 300_000


def test_a_weight_that_was_read_is_let_go_again(make_checkpoint: Factory) -> None:
    graph = trace_checkpoint(Checkpoint.open(make_checkpoint()))
    expected = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(graph.path).graph.initializer
    }
    model = load_model(graph.path)
    found = {name: t.numpy() for name, t in model.graph.initializers.tensor_items()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert all(found[name].dtype == expected[name].dtype for name in expected)

    def mapped() -> bool:
        return str(graph.folder / WEIGHTS) in Path("/proc/self/maps").read_text()

    assert mapped()
    found.clear()
    assert not mapped()


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname"])
def test_a_weight_outside_of_the_folder_is_refused(
    make_checkpoint: Factory, tmp_path: Path, location: str
) -> None:
    graph = trace_checkpoint(Checkpoint.open(make_checkpoint()))
    model = onnx.load(graph.path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(ArtifactError, match="outside of the model's folder"):
        load_model(tmp_path / "graph.onnx")


def test_a_difference_stops_the_build_and_names_the_layer(
    make_checkpoint: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("roberta", "tag", seed=7))
    load = PackedEncoder.load.__func__  # type: ignore[attr-defined]

    def damaged(cls: type[PackedEncoder], checkpoint: Checkpoint) -> PackedEncoder:
        model = load(cls, checkpoint)
        model.layers[1].ffn_in.bias.data = model.layers[1].ffn_in.bias + 0.01
        return model

    monkeypatch.setattr(PackedEncoder, "load", classmethod(damaged))
    with pytest.raises(ParityError, match="first part that differs is layer 1"):
        trace_checkpoint(checkpoint)
    monkeypatch.undo()
    assert trace_checkpoint(checkpoint).manifest["parity"]["max_abs_difference"] <= 1e-4


def test_large_logits_are_held_to_the_steps_that_fp32_has_there(
    make_checkpoint: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2**14 times the classifier is exact in fp32, and makes the same relative error of it."""
    folder = shutil.copytree(make_checkpoint("bert", "classify"), tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name] * 2.0**14
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    checkpoint = Checkpoint.open(folder)
    found = trace_checkpoint(checkpoint).manifest["parity"]["max_abs_difference"]
    assert found > parity.TOLERANCE, "an absolute bound alone refuses this healthy head"
    monkeypatch.setenv("XOPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parity, "RELATIVE", 0.0)
    with pytest.raises(ParityError, match="answers differently"):
        trace_checkpoint(checkpoint)


def test_parity_covers_ragged_single_and_longest(make_checkpoint: Factory) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("bert", "classify"))
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    ragged, single, pairs, longest = (
        parity.encode_asked(checkpoint, tokenizer, asked)
        for asked in parity.parity_texts(checkpoint)
    )
    assert len({len(e) for e in ragged}) > 5
    assert any(e.type_ids.max() == 1 for e in pairs), "a pair with both token types"
    assert len(single) == 1
    assert len(longest[0]) == checkpoint.text.max_tokens


@torch.inference_mode()
def test_hidden_states_of_every_layer(make_checkpoint: Factory) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", "tag"))
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", 128)
    encodings = tokenizer.encode(TEXTS)
    theirs: list[torch.Tensor] = []
    reference_answers(reference_model(checkpoint), checkpoint, encodings, theirs)
    ours: list[torch.Tensor] = []
    PackedEncoder.load(checkpoint).run(pack(encodings, first_position=2), trail=ours)
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-5
