"""The CUDA engine against the fp32 encoder and against its recipe in plain PyTorch.

In Triton's interpreter unless ``TRITON_INTERPRET=0``; then on a GPU, where every batch runs three
times: launch by launch, while its graph is captured, and replayed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.rounding import MARGIN, calibrated_batch, distance, rounding_error

from xopt.artifacts import Bundle, Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.calibrate.sites import read_sites
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower_kernels import kernel_arrays
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.encoders.plan import Attend, Linear
from xopt.engines.base import Engine, open_engine
from xopt.errors import ArtifactError, InputError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack
from xopt.tokenization import Tokenizer

triton = pytest.importorskip("triton", reason="Triton is not installed")

from xopt.engines import cuda_programs  # noqa: E402
from xopt.engines.cuda import CudaEngine, open_device  # noqa: E402
from xopt.engines.cuda_buckets import Buckets  # noqa: E402
from xopt.engines.cuda_weights import HEAD_DIMS, Facts, read_facts, write_weights  # noqa: E402

Factory = Callable[..., Path]
Build = Callable[[str, str], tuple[Checkpoint, Bundle]]

INTERPRETED = triton.knobs.runtime.interpret
DEVICE = "cpu" if INTERPRETED else "cuda"
REPOSITORY = Path(__file__).parents[2]

# The engine's promise: with fp32 activations it computes what the recipe says, up to fp32 rounding;
# where that moves a value at a half step of INT8 to the other integer, the tokens of that sentence
# move by up to a step.
ROUNDING = 2e-5
HALF_STEP = 2e-2
# With fp16 activations, as deployed, against fp32; the answers are of size 1.
FP16 = 1e-2
# In INT8, fp16 activations move an answer by this share of what quantization moved it by (root mean
# squares): rounding to fp16 sends values near a half step to the other integer. A value of one
# standard deviation has 32 of the 127 steps, and fp16 rounds it by 1/128 of a step in the mean,
# about twice before a product. So 2 * 2**0.5 / 128 of the values go to the other integer; each
# moves by a step, whose square is 12 times the mean one of rounding.
FP16_SHARE = (12 * 2 * 2**0.5 / 128) ** 0.5

# model type, head, options of the build
ENCODERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "xlmr-classify": ("xlm-roberta", "classify", {}),
    "bert-tag": ("bert", "tag", {}),
    "camembert-span": ("camembert", "span", {}),
    "roberta-mean": ("roberta", "embed", {}),
    "bert-cls": ("bert", "embed", {"pooling": "cls", "layer": 1}),
    "xlmr-layer0": ("xlm-roberta", "embed", {"layer": 0}),
}


@pytest.fixture(autouse=True)
def has_device() -> None:
    if not INTERPRETED and not torch.cuda.is_available():
        pytest.skip("no GPU")


@pytest.fixture(scope="module")
def gpu_build() -> Iterator[ModuleType]:
    """``benchmarks/gpu_build.py``, which makes a bundle without ONNX."""
    path = REPOSITORY / "benchmarks" / "gpu_build.py"
    spec = importlib.util.spec_from_file_location("gpu_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_build"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_build"]


@pytest.fixture(scope="module")
def opened(make_checkpoint: Factory) -> Callable[[str], Checkpoint]:
    folders: dict[str, Path] = {}

    def open_checkpoint(name: str) -> Checkpoint:
        model_type, head, options = ENCODERS[name]
        if name not in folders:
            folders[name] = make_checkpoint(model_type, head)
        return Checkpoint.open(folders[name], **options)

    return open_checkpoint


@pytest.fixture(scope="module")
def built(opened: Callable[[str], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """What ``xopt build`` makes."""
    pytest.importorskip("onnx", reason="ONNX is not installed")
    bundles: dict[tuple[str, str], Bundle] = {}
    root = tmp_path_factory.mktemp("built")

    def build(name: str, precision: str) -> tuple[Checkpoint, Bundle]:
        checkpoint = opened(name)
        if (name, precision) not in bundles:
            options = BuildOptions(
                str(checkpoint.folder),
                precision=precision,
                target="cuda",
                out=str(root / f"{name}-{precision}"),
                calibration_tokens=1000,
                **ENCODERS[name][2],
            )
            bundles[name, precision] = build_bundle(options).bundle
        return checkpoint, bundles[name, precision]

    return build


@pytest.fixture(scope="module")
def made(
    opened: Callable[[str], Checkpoint],
    gpu_build: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Build:
    """The same without a graph, which takes no time to trace."""
    bundles: dict[tuple[str, str], Bundle] = {}
    root = tmp_path_factory.mktemp("made")

    def make(name: str, precision: str) -> tuple[Checkpoint, Bundle]:
        checkpoint = opened(name)
        if (name, precision) not in bundles:
            encoder = PackedEncoder.load(checkpoint)
            ranges = gpu_build.measure_ranges(checkpoint, encoder)
            out = root / f"{name}-{precision}"
            bundles[name, precision] = gpu_build.write_bundle(
                checkpoint, encoder, precision, ranges, out
            )
        return checkpoint, bundles[name, precision]

    return make


def encodings(lengths: list[int], seed: int = 0, types: int = 2) -> list[Encoding]:
    generator = np.random.default_rng(seed)
    return [
        Encoding(
            generator.integers(4, 1200, n).astype(np.int32),
            (np.arange(n) >= n // 2).astype(np.int32) * (types - 1),
        )
        for n in lengths
    ]


def ragged(checkpoint: Checkpoint, lengths: list[int]) -> PackedBatch:
    items = encodings(lengths, types=checkpoint.config.types)
    return pack(items, first_position=checkpoint.config.first_position)


def open_here(bundle: Bundle, **options: Any) -> CudaEngine:
    engine = open_engine(bundle, device=DEVICE, **options)
    assert isinstance(engine, CudaEngine)
    return engine


def answer(engine: Engine, batch: PackedBatch) -> np.ndarray:
    """The answer, the same however often it is asked for."""
    first = engine.run(batch)[engine.signature.output]
    for _ in range(0 if INTERPRETED else 2):
        np.testing.assert_array_equal(engine.run(batch)[engine.signature.output], first)
    return first


def by_definition(checkpoint: Checkpoint, bundle: Bundle, batch: PackedBatch) -> np.ndarray:
    """What the recipe says, in PyTorch and fp32, from the checkpoint's weights and the ranges."""
    model, precision = PackedEncoder.load(checkpoint), bundle.precision
    words = model.get_parameter("embeddings.word.weight")
    read = {op.site for op in model.plan if isinstance(op, Linear) and op.site is not None}
    linears = {id(module): site for site in read for module in model.readers(site)}
    if precision == "fp16":
        with torch.no_grad():
            for weight in (words, *(m.weight for site in read for m in model.readers(site))):
                weight.copy_(weight.half().float())
        return model.run(batch).numpy()
    found = Ranges.find(bundle.manifest["provenance"]["ranges"])
    assert found is not None
    sites, attention = read_sites(found), precision == "int8-attention"
    with torch.no_grad():
        words.copy_(rounded(words, words.abs().amax(dim=1, keepdim=True)))

    def mean(site: str) -> torch.Tensor:
        middle = sites[site].middle
        assert middle is not None
        return torch.from_numpy(middle)

    def product(module: Any, source: torch.Tensor) -> torch.Tensor:
        site = sites[linears[id(module)]]
        assert site.divisor is not None
        divisor, moved = torch.from_numpy(site.divisor), site.kind == "context" and attention
        smoothed = module.weight * divisor
        weight = rounded(smoothed, smoothed.abs().amax(dim=1, keepdim=True))
        amax = site.centered if moved else site.amax
        out = F.linear(rounded(source / divisor, torch.tensor(amax)), weight, module.bias)
        return out + F.linear(mean(f"{site.layer}.v"), module.weight) if moved else out

    def attend(op: Attend, qkv: torch.Tensor, *_: Any) -> torch.Tensor:
        parts = list(qkv.chunk(3, dim=1))
        if attention:
            parts = [
                rounded(
                    part - mean(f"{op.layer}.{kind}") if kind != "q" else part,
                    torch.tensor(sites[f"{op.layer}.{kind}"].amax),
                )
                for kind, part in zip("qkv", parts, strict=True)
            ]
        q, k, v = (part.view(len(part), op.heads, -1).transpose(0, 1) for part in parts)
        out = []
        for start, end in itertools.pairwise(batch.cu_seqlens.tolist()):
            scores = q[:, start:end] @ k[:, start:end].mT * op.head_dim**-0.5
            probs = scores.softmax(-1)
            probs = rounded(probs, torch.tensor(1.0)) if attention else probs
            out.append((probs @ v[:, start:end]).transpose(0, 1).flatten(1))
        return torch.cat(out)

    model.joint_attention = attend
    going = model.begin(model.tensors(batch))
    for op in model.plan:
        model.step(op, going, lambda *_: None, product)
    answer: torch.Tensor = model.head(going.values["x"], going.arrays)
    return answer.numpy()


def rounded(values: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """To 127 steps on each side of zero."""
    # A row of zeros has no step.
    step = (reach / 127).clamp(min=1e-30)
    return (values / step).round().clamp(-128, 127) * step


def assert_same(got: np.ndarray, expected: np.ndarray, precision: str) -> None:
    difference = np.abs(got - expected)
    assert np.median(difference) <= ROUNDING
    assert difference.max() <= (ROUNDING if precision == "fp16" else HALF_STEP)


SAMPLE = [("xlmr-classify", "int8-attention"), ("bert-tag", "fp16"), ("bert-tag", "int8")]


@pytest.mark.parametrize(("name", "precision"), SAMPLE)
def test_the_answers_are_those_of_the_recipe(built: Build, name: str, precision: str) -> None:
    checkpoint, bundle = built(name, precision)
    batch = ragged(checkpoint, [1, 33, 7, 20])
    expected = by_definition(checkpoint, bundle, batch)
    with open_here(bundle, dtype="fp32") as engine:
        assert_same(answer(engine, batch), expected, precision)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle) as engine:
        difference = answer(engine, batch) - expected
    if precision == "fp16":
        assert np.abs(difference).max() <= FP16
    else:
        assert np.linalg.norm(difference) <= MARGIN * FP16_SHARE * np.linalg.norm(expected - exact)


@pytest.mark.parametrize("head", ["classify", "embed"])
def test_what_fp16_cannot_hold_is_named(make_checkpoint: Factory, head: str) -> None:
    folder = make_checkpoint("xlm-roberta", head)
    path = folder / "model.safetensors"
    state = load_file(path)
    [name] = [name for name in state if "layer.1.intermediate.dense.weight" in name]
    state[name][3, 5] = 1e5
    save_file(state, path, metadata={"format": "pt"})
    model = PackedEncoder.load(Checkpoint.open(folder))
    with pytest.raises(UnsupportedError, match=r"layers\.1\.ffn_in holds 1e\+05") as caught:
        kernel_arrays(model, lowering_for("cuda", "fp16"), {})
    assert "--target cpu" in caught.value.hint


@pytest.mark.parametrize("name", list(ENCODERS))
def test_every_head_gives_the_torch_answer(made: Build, name: str) -> None:
    checkpoint, bundle = made(name, "fp16")
    batch = ragged(checkpoint, [5, 1, 21])
    expected = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle) as engine:
        got = answer(engine, batch)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() <= FP16


@pytest.mark.parametrize("name", ["camembert-span", "roberta-mean", "xlmr-layer0"])
def test_int8_loses_what_rounding_loses(
    opened: Callable[[str], Checkpoint], gpu_build: ModuleType, tmp_path: Path, name: str
) -> None:
    """On texts that were measured: short sentences of other tokens have a context up to 5 times as
    large as any measured one, since less is averaged, and what lies beyond the range is cut off.
    """
    checkpoint = opened(name)
    encoder = PackedEncoder.load(checkpoint)
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", 128)
    ranges = calibrate(
        encoder,
        checkpoint.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=1000),
        CalibrationRecipe(),
        first_position=checkpoint.config.first_position,
    )
    bundle = gpu_build.write_bundle(checkpoint, encoder, "int8", ranges, tmp_path / "bundle")
    batch = calibrated_batch(checkpoint, max_tokens=1000, most=6)
    exact = PackedEncoder.load(checkpoint).run(batch).numpy()
    with open_here(bundle) as engine:
        close = answer(engine, batch)
    assert distance(close, exact) <= MARGIN * rounding_error(checkpoint, batch, "int8")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 2e-3), ("int8", 1e-6)])
def test_an_answer_never_depends_on_its_batch_mates(
    made: Build, precision: str, tolerance: float
) -> None:
    """In INT8 every sum of the encoder is an integer, or runs in an order of its own."""
    _, bundle = made("bert-tag", precision)
    items = encodings([3, 41, 1, 17], seed=4)
    with open_here(bundle) as engine:
        together = answer(engine, pack(items, first_position=0))
        for number in (1, 3):
            start = sum(map(len, items[:number]))
            alone = answer(engine, pack(items[number : number + 1], first_position=0))
            assert np.abs(alone - together[start : start + len(alone)]).max() <= tolerance


def test_shapes_are_kept_and_dropped(made: Build) -> None:
    checkpoint, bundle = made("xlmr-layer0", "fp16")
    with open_here(bundle, programs=2) as engine:
        first = answer(engine, ragged(checkpoint, [5]))
        kept = first.copy()
        answer(engine, ragged(checkpoint, [40]))
        answer(engine, ragged(checkpoint, [6]))
        answer(engine, ragged(checkpoint, [3, 4, 5]))
        last = [engine.buckets.find(6, 1), engine.buckets.find(12, 3)]
        assert list(engine.programs.programs) == last
        np.testing.assert_array_equal(first, kept)
        facts = engine.describe()
    assert facts["dtype"] == "float16"
    assert bool(facts["graphs"]) is not INTERPRETED


def test_a_batch_beyond_the_largest_bucket_runs_in_parts(
    made: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bundle = made("bert-tag", "int8")
    items = encodings([9, 30, 2, 14, 25], seed=3)
    with open_here(bundle) as engine:
        whole = answer(engine, pack(items, first_position=0))
        small = Buckets(((8, 1), (32, 2)))
        monkeypatch.setattr(engine, "buckets", small)
        monkeypatch.setattr(engine.programs, "buckets", small)
        parts = answer(engine, pack(items, first_position=0))
    assert np.abs(parts - whole).max() <= 1e-6


def test_the_card_says_what_is_wasted(built: Build) -> None:
    _, bundle = built("bert-tag", "fp16")
    said = bundle.manifest["engine"]["buckets_text"]
    assert f"- on the GPU: {said}" in (bundle.folder / "card.md").read_text()
    with open_here(bundle) as engine:
        assert engine.describe()["buckets"] == said


def test_a_warm_engine_captures_nothing_more(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bucket is captured once, the largest first, and whatever comes finds it."""
    _, bundle = made("xlmr-layer0", "fp16")
    captures: list[tuple[int, int]] = []

    class Captured:
        def __init__(self, tokens: int, sentences: int, *arguments: Any) -> None:
            self.key, self.graph, self.runs = (tokens, sentences), None, 0

        def run(self, batch: PackedBatch, rows: int, memory: Any) -> Any:
            assert batch.tokens <= self.key[0]
            assert batch.sentences <= self.key[1]
            if self.runs == 1:
                self.graph = object()
                captures.append(self.key)
            self.runs += 1
            return np.zeros((rows, engine.signature.width), np.float32)

    monkeypatch.setattr(cuda_programs, "Program", Captured)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    with open_here(bundle) as engine:
        buckets = engine.buckets
        programs = cuda_programs.Programs(lambda ids: None, torch.device("cuda"), 1, 64, buckets)
        monkeypatch.setattr(engine, "programs", programs)
        for _ in range(2):
            engine.warm_up()
            assert captures == sorted(buckets.shapes, reverse=True)
        generator = np.random.default_rng(0)
        for _ in range(50):
            lengths = generator.integers(1, 60, generator.integers(1, 300)).tolist()
            engine.run(pack(encodings(lengths), first_position=2))
        assert len(captures) == len(buckets.shapes)
        assert sorted(programs.captured) == sorted(buckets.shapes)


def test_a_bundle_without_buckets_is_built_again(made: Build, tmp_path: Path) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    bare = Bundle(bundle.folder, {k: v for k, v in bundle.manifest.items() if k != "engine"})
    with pytest.raises(ArtifactError, match="names no buckets") as caught:
        Buckets.read(bare)
    assert "Build it again" in caught.value.hint


def test_the_head_sizes_are_the_kernels_own() -> None:
    from xopt.engines.kernels.attention import HEAD_DIMS as KERNELS

    assert HEAD_DIMS == KERNELS


def test_no_gpu(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnsupportedError, match="needs an NVIDIA GPU") as caught:
        open_engine(bundle)
    assert "xopt build --target cpu" in caught.value.hint


def test_a_t4_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from xopt.engines.kernels import checks

    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    monkeypatch.setattr(checks, "_capability", lambda index: 75)
    for name, value in {
        "is_available": True,
        "current_device": 0,
        "device_count": 1,
        "get_device_name": "Tesla T4",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    with pytest.raises(UnsupportedError, match="Tesla T4 is SM 75: Triton's matrix product"):
        open_device("cuda")
    with pytest.raises(UnsupportedError, match="There is no cuda:3"):
        open_device("cuda:3")


def test_a_cpu_needs_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(UnsupportedError, match="TRITON_INTERPRET=1"):
        open_device("cpu")


def test_a_batch_that_does_not_fit(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, bundle = made("xlmr-layer0", "fp16")

    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with open_here(bundle) as engine:
        monkeypatch.setattr(engine.programs, "run", run_out)
        with pytest.raises(UnsupportedError, match="A batch of 9 tokens does not fit"):
            answer(engine, ragged(checkpoint, [4, 5]))


def test_options_are_checked(made: Build) -> None:
    _, bundle = made("xlmr-layer0", "fp16")
    with pytest.raises(InputError, match="Unknown dtype 'fp8'"):
        open_here(bundle, dtype="fp8")
    with pytest.raises(InputError, match="programs is 0"):
        open_here(bundle, programs=0)
    with pytest.raises(InputError, match="Unknown device 'gpu'"):
        open_engine(bundle, device="gpu")


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ArtifactError, match="format 99; this xopt reads 1 and 2"):
        read_facts(tmp_path)


def test_a_head_the_kernels_do_not_take(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="heads have 16 dimensions") as caught:
        write_weights({}, Facts(layers=1, heads=3, hidden=48, head={}, epsilon=1e-5), tmp_path)
    assert "xopt build --target cpu" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_the_benchmark_says_that_nothing_is_measured() -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    script = REPOSITORY / "benchmarks" / "gpu.py"
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert "not measured" in run.stdout


def test_a_pool_whose_graphs_are_gone_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch asserts on such a pool; with one program every second capture met it."""
    handles = itertools.count()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    live: list[Any] = []

    class Captured:
        def __init__(self, tokens: int, *arguments: Any) -> None:
            self.graph: Any = None
            self.runs = 0

        def run(self, batch: PackedBatch, rows: int, memory: Any) -> Any:
            if self.runs == 1:
                self.graph = memory
                live.append((memory, [p.graph for p in programs.programs.values()]))
            self.runs += 1
            return memory

    monkeypatch.setattr(cuda_programs, "Program", Captured)
    for bound, fresh in ((1, 3), (2, 1)):
        buckets = Buckets(((16, 1), (64, 1)))
        programs = cuda_programs.Programs(lambda ids: None, torch.device("cuda"), 1, bound, buckets)
        live.clear()
        for length in (3, 60, 3):
            batch = pack(
                [Encoding(np.full(length, 5, np.int32), np.zeros(length, np.int32))],
                first_position=2,
            )
            for _ in range(2):
                programs.run(batch, 1)
        assert len({memory for memory, _ in live}) == fresh
