"""The target ``torch-tensorrt`` with a fake of the library: what it is given and gives back."""

from __future__ import annotations

import ast
import importlib.util
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.compile.fake_torch_tensorrt import SETTINGS, fake_torch_tensorrt

from xopt.compile.build import build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.context import BuildContext
from xopt.compile.export_torch_tensorrt import FlatEncoder, TorchTensorRtBuilder, export_encoder
from xopt.compile.options import BuildOptions
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.filling import Sizes
from xopt.engines.tensorrt.options import TorchTensorRtOptions
from xopt.engines.torch_tensorrt import (
    TorchTensorRtEngine,
    attention_operator,
    load_torch_tensorrt,
    register_converter,
)
from xopt.errors import BuildError, MissingExtraError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack
from xopt.progress import Silent

Factory = Callable[..., Path]

HERE = Path(__file__).parent
FAKES = HERE.parent / "engines" / "tensorrt"
SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FAKES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    tensorrt = load("fake_plugin")
    tensorrt.__version__ = "11.1.0.106"
    module = fake_torch_tensorrt()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", module)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", tensorrt)
    module.registry = tensorrt.REGISTRY
    return module


def ragged() -> PackedBatch:
    generator = np.random.default_rng(3)
    items = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in (3, 33, 1, 17)
    ]
    return pack(items, first_position=2)


def feed(names: list[str], batch: PackedBatch) -> list[torch.Tensor]:
    tensors = [torch.from_numpy(batch.arrays()[name]) for name in names]
    return [t.half() if t.is_floating_point() else t for t in tensors]


@pytest.mark.parametrize("plugin", [False, True])
@pytest.mark.parametrize("head", ["embed", "tag", "classify"])
def test_the_program_answers_as_the_encoder(
    make_checkpoint: Factory, head: str, plugin: bool
) -> None:
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", head, **SIZES))
    batch = ragged()
    exact = PackedEncoder.load(checkpoint).run(batch)
    half = PackedEncoder.load(checkpoint).half()
    arrays = dict(zip(half.inputs, feed(half.inputs, batch), strict=True))
    rounded = half(arrays).float()
    flat = FlatEncoder(PackedEncoder.load(checkpoint), plugin=plugin)
    program = export_encoder(flat)
    answer = program.module()(*feed(flat.names, batch))
    assert answer.dtype == torch.float32
    error = (rounded - exact).abs().max()
    assert (answer - exact).abs().max() <= 2 * error + 1e-3
    called = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert called.count("xopt.VarlenAttention.default") == (2 if plugin else 0)
    assert ("unpad_index" in flat.names) is not plugin
    assert ("pad_index" in flat.names) is (not plugin or head == "embed")


def test_the_operator_has_a_shape_without_a_device() -> None:
    operator = attention_operator()
    qkv = torch.empty(7, 3 * 64, dtype=torch.float16, device="meta")
    begins = torch.empty(3, dtype=torch.int32, device="meta")
    answer = operator(qkv, begins, 2, 32)
    assert (tuple(answer.shape), answer.dtype) == ((7, 64), torch.float16)


def build(folder: Path, out: Path, **options: Any) -> dict[str, Any]:
    # The label of a source is for people; nothing opens it again.
    checkpoint = Checkpoint.open(folder, source="hub:somebody/model")
    graph = trace_checkpoint(checkpoint)
    lowering = lowering_for("torch-tensorrt", "fp16")
    context = BuildContext(checkpoint, graph, None, lowering, options.pop("lengths", ()), Silent())
    out.mkdir()
    driver = load("fake_cuda").FakeDriver()
    builder = TorchTensorRtBuilder(TorchTensorRtOptions(**options), driver=driver)
    return builder.build(context, out, Silent()).facts


@pytest.mark.parametrize("attention", ["native", "plugin"])
def test_what_the_library_is_given(
    make_checkpoint: Factory, tmp_path: Path, library: Any, attention: str
) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", **SIZES)
    options: dict[str, Any] = {"attention": attention, "workspace": 64, "compat": "version"}
    facts = build(folder, tmp_path / "out", lengths=(10, 20), **options)
    [(program, settings)] = library.calls
    names = list(settings["arg_input_binding_names"])
    assert isinstance(program, torch.export.ExportedProgram)
    assert list(facts["inputs"]) == names
    assert settings["output_binding_names"] == "logits"
    assert settings["workspace_size"] == 64 * 2**20
    assert settings["version_compatible"] is True
    assert settings["hardware_compatible"] is False
    assert settings["immutable_weights"] is True
    shapes = {given.fields["name"]: given.fields for given in settings["arg_inputs"]}
    assert shapes["input_ids"]["min_shape"] == (1,)
    assert shapes["input_ids"]["max_shape"] == (8192,)
    assert shapes["input_ids"]["dtype"] == torch.int32
    assert (tmp_path / "out" / "engine.trt").read_bytes() == b"plan"
    assert facts["runs_on"]["sm"] == [89]
    if attention == "plugin":
        assert names == ["input_ids", "position_ids", "cu_seqlens"]
        assert shapes["cu_seqlens"]["min_shape"] == (2,)
        [(name, asked)] = library.converters
        assert name == "xopt::VarlenAttention"
        assert asked == {"supports_dynamic_shapes": True, "use_aot_if_available": True}
        assert library.registry[name].launch is not None
        assert facts["plugin_ptx"] == {"sm": 89, "isa": 80}
    else:
        assert "pad_index" in names
        assert library.converters == []


def test_the_converters_names_are_the_operators(library: Any) -> None:
    """The converter finds the operator by the plugin's name, and hands attributes by theirs."""
    for sm in (89, 80):
        register_converter(library, sm)
    assert len(library.converters) == 1
    plugin = library.registry["xopt::VarlenAttention"]
    schema = attention_operator().default._schema
    assert schema.name == "xopt::VarlenAttention"
    named = [argument.name for argument in schema.arguments]
    assert named == [*plugin.tensors, *plugin.attributes]


def test_a_bundle_from_the_command_on(
    make_checkpoint: Factory, tmp_path: Path, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = load("fake_cuda").FakeDriver()
    name = "xopt.engines.tensorrt.enterprise.Device"
    monkeypatch.setattr(name, lambda number, given: Device(number, driver))
    folder = make_checkpoint("xlm-roberta", "tag", **SIZES)
    options = BuildOptions(
        str(folder), "fp16", "torch-tensorrt", calibration_tokens=1000, out=str(tmp_path / "bundle")
    )
    bundle = build_bundle(options, record=False).bundle
    assert bundle.manifest["engine"]["library"] == "torch-tensorrt 2.14.0"
    assert len(library.calls) == 1
    # A folder outside of the working folder is named by its last part, which leads nowhere.
    assert not Path(bundle.manifest["checkpoint"]).exists()


def test_the_engine_feeds_what_the_module_reads() -> None:
    engine: Any = object.__new__(TorchTensorRtEngine)
    engine.signature = SimpleNamespace(window=None)
    engine.inputs = ["input_ids", "pad_index", "unpad_index", "attention_bias", "cu_seqlens"]
    batch = ragged()
    arrays = engine._arrays(batch, Sizes(batch.sentences, batch.longest, batch.tokens))
    for name, expected in batch.arrays().items():
        if name in arrays:
            assert (arrays[name] == expected).all(), name
            half = expected.dtype == np.float32
            assert arrays[name].dtype == (np.float16 if half else np.int32), name


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(MissingExtraError, match="torch_tensorrt") as caught:
        load_torch_tensorrt()
    assert "[torch-tensorrt]" in caught.value.hint


def test_without_a_driver_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library asks for the GPU while it is imported."""
    (tmp_path / "torch_tensorrt.py").write_text("raise RuntimeError('Found no NVIDIA driver')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    with pytest.raises(UnsupportedError, match="Found no NVIDIA driver") as caught:
        load_torch_tensorrt()
    assert "--target tensorrt-rtx" in caught.value.hint


@pytest.mark.parametrize(("compat", "expected"), [("none", 89), ("ampere-plus", 80)])
def test_the_kernel_is_compiled_for_what_the_engine_runs_on(
    make_checkpoint: Factory,
    tmp_path: Path,
    library: Any,
    monkeypatch: pytest.MonkeyPatch,
    compat: str,
    expected: int,
) -> None:
    compiled: list[int] = []
    name = "xopt.compile.export_torch_tensorrt.register_converter"
    monkeypatch.setattr(name, lambda module, sm: compiled.append(sm))
    folder = make_checkpoint("xlm-roberta", "tag", **SIZES)
    facts = build(folder, tmp_path / "out", attention="plugin", compat=compat)
    assert compiled == [expected] == facts["runs_on"]["sm"]


def test_a_refused_operator_becomes_an_error(
    make_checkpoint: Factory, tmp_path: Path, library: Any
) -> None:
    def refuse(program: Any, **settings: Any) -> bytes:
        raise RuntimeError("no converter for aten.foo")

    library.dynamo.convert_exported_program_to_serialized_trt_engine = refuse
    folder = make_checkpoint("xlm-roberta", "tag", **SIZES)
    with pytest.raises(BuildError, match=r"no converter for aten\.foo"):
        build(folder, tmp_path / "out")


def test_what_the_library_cannot_promise(
    make_checkpoint: Factory, tmp_path: Path, library: Any
) -> None:
    folder = make_checkpoint("xlm-roberta", "tag", **SIZES)
    with pytest.raises(UnsupportedError, match="every GPU of one SM"):
        build(folder, tmp_path / "out", compat="same-sm")


def real_compiler() -> Path:
    """``_compiler.py`` of the real wheel, which is read and not imported: that wants a GPU."""
    found = importlib.util.find_spec("torch_tensorrt")
    if found is None or found.origin is None:
        pytest.skip("torch-tensorrt is not installed (pip install --no-deps torch-tensorrt)")
    return Path(found.origin).parent / "dynamo" / "_compiler.py"


def test_the_real_function(make_checkpoint: Factory) -> None:
    """The binding names and every keyword, by the code of the real library."""
    tree = ast.parse(real_compiler().read_text(encoding="utf-8"))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    convert = functions["convert_exported_program_to_serialized_trt_engine"]
    assert {a.arg for a in convert.args.kwonlyargs} >= SETTINGS

    class Mismatch(ValueError):
        def __init__(self, **fields: Any) -> None:
            super().__init__(str(fields))

    names: dict[str, Any] = {"BindingNameMismatchError": Mismatch, "Any": Any}
    names |= {"ExportedProgram": torch.export.ExportedProgram}
    names |= {n: getattr(typing, n) for n in ("Optional", "Tuple", "List")}
    for name in ("_binding_name_specs", "_resolve_pytree_binding_names"):
        exec(compile(ast.Module([functions[name]], []), name, "exec"), names)
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", "tag", **SIZES))
    for plugin in (False, True):
        flat = FlatEncoder(PackedEncoder.load(checkpoint), plugin=plugin)
        inputs, _, output = names["_binding_name_specs"](export_encoder(flat))
        resolve = names["_resolve_pytree_binding_names"]
        assert resolve(tuple(flat.names), "arg_input", inputs) == flat.names
        assert resolve("logits", "output", output) == ["logits"]
        for wrong in ((flat.names, "arg_input", inputs), (["logits"], "output", output)):
            with pytest.raises(Mismatch):
                resolve(*wrong)
