"""The runtime of ``tensorrt-rtx`` over a fake driver and a fake library that check what they get.

The fake computes with OpenVINO from the bundle's portable graph, out of the bytes that lie at the
addresses it was given: a wrong shape, type, address or profile gives a wrong answer or an error.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.encoders.families import add_tokenizer, save
from tests.engines.tensorrt.fake_cuda import FakeDriver
from tests.engines.tensorrt.fake_rtx import VERSION, FakeLibrary, Validity

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.base import open_engine
from xopt.engines.tensorrt import builder, rtx
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.portable import PortableEngine
from xopt.engines.tensorrt.rtx import CACHE_VARIABLE, RtxEngine
from xopt.errors import ArtifactError, InputError, MissingExtraError, UnsupportedError
from xopt.packing import Encoding, PackedBatch, pack

Factory = Callable[..., Path]

# Of ModernBERT, whose graph reads a window mask too.
WINDOW: dict[str, Any] = {
    "hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 192,
    "max_position_embeddings": 128, "vocab_size": 1200, "local_attention": 14,
}  # fmt: skip


@pytest.fixture(scope="module")
def bundles(
    make_checkpoint: Factory, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bundle]:
    """Bundles as the builder makes them, but for their engines."""
    folders = {head: make_checkpoint("xlm-roberta", head) for head in ("tag", "embed")}
    folders["window"] = tmp_path_factory.mktemp("window")
    save(folders["window"], "ModernBert", "embed", **WINDOW)
    add_tokenizer(folders["window"], tokenizer_file)
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rtx, "library_version", lambda: VERSION)
        patch.setattr(builder, "run_child", lambda request, progress: write_engine(request))
        patch.setattr(rtx.Listing, "read", lambda kernels, alphas: CLEAN)
        for name, folder in folders.items():
            options = BuildOptions(
                str(folder), "fp16", "tensorrt-rtx",
                sm="86,89", batch_tokens=256,
                out=str(tmp_path_factory.mktemp("rtx") / name),
            )  # fmt: skip
            made[name] = build_bundle(options).bundle
    return made


def write_engine(request: Any) -> None:
    Path(request.engine).write_bytes(b"plan")
    Path(request.log).write_text("")


CLEAN = rtx.Listing(21, 8, 0, 2, 0, 2, 0)


def opened(
    bundle: Bundle, patch: pytest.MonkeyPatch, driver: FakeDriver | None = None
) -> tuple[RtxEngine, FakeLibrary]:
    driver = driver or FakeDriver()
    library = FakeLibrary(bundle, driver)
    patch.setitem(sys.modules, "tensorrt_rtx", library)
    return RtxEngine(bundle, driver=driver), library


def batch_of(lengths: list[int], seed: int = 0) -> PackedBatch:
    generator = np.random.default_rng(seed)
    items = [
        Encoding(generator.integers(4, 1200, n).astype(np.int32), np.zeros(n, np.int32))
        for n in lengths
    ]
    return pack(items, first_position=2)


@pytest.mark.parametrize("name", ["tag", "embed", "window"])
def test_answers_are_those_of_the_portable_graph_for_any_batch(
    bundles: dict[str, Bundle],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    driver = FakeDriver()
    engine, library = opened(bundles[name], monkeypatch, driver)
    output = engine.signature.output
    with PortableEngine(bundles[name]) as portable, engine:
        # One profile, the other, more sentences than a profile takes, more tokens, and small again.
        for seed, lengths in enumerate(([5, 9], [100, 3], [3] * 40, [90, 2, 60, 100, 7, 64], [1])):
            batch = batch_of(lengths, seed)
            answer = engine.run(batch)[output]
            np.testing.assert_allclose(answer, portable.run(batch)[output], atol=1e-5)
        assert set(library.profiles) == {0, 1}
        kept = engine.run(batch_of([8], 1))[output]
        copy = kept.copy()
        engine.run(batch_of([8], 2))
        np.testing.assert_array_equal(kept, copy)
        assert engine.prepare_s > 0
    assert driver.memory == {}
    assert (driver.contexts, driver.streams) == (0, 0)


def test_batches_of_like_sizes_share_a_shape_that_can_be_captured(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    engine, library = opened(bundles["tag"], monkeypatch)
    with engine:
        for lengths in ([5, 9], [4, 11], [8, 3], [7, 7]):
            engine.run(batch_of(lengths))
    assert len(library.runs) == 4
    assert len(set(library.runs)) == 1


def test_a_warm_engine_has_run_every_profile(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first batch of a profile compiles its kernels: seconds, which no request should wait."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    engine, library = opened(bundles["tag"], monkeypatch)
    with engine:
        engine.warm_up()
        assert library.cache.entries.startswith(b"AB")
        assert set(library.profiles) == {0, 1}
        before = engine.prepare_s
        engine.run(batch_of([100, 20]))
        assert engine.prepare_s == before


def test_what_was_compiled_is_found_by_the_next_process(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "caches"))
    engine, _ = opened(bundles["tag"], monkeypatch)
    assert engine.cache_path.parent == tmp_path / "caches"
    assert f"sm89-{VERSION}" in engine.cache_path.name
    with engine:
        engine.run(batch_of([4]))
        engine.run(batch_of([100]))
    assert engine.cache_path.read_bytes() == b"cache:AB"
    again, library = opened(bundles["tag"], monkeypatch)
    again.close()
    assert library.cache.taken == b"cache:AB"
    assert library.config.dynamic_shapes_kernel_specialization_strategy == "n"


def test_bytes_that_were_not_built_are_not_deserialized(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = Bundle(tmp_path, bundles["tag"].manifest)
    (tmp_path / "portable").symlink_to(bundles["tag"].folder / "portable")
    (tmp_path / "engine.trt").write_bytes(b"plam")
    with pytest.raises(ArtifactError, match="sha256"):
        opened(copy, monkeypatch)


def test_a_gpu_that_was_not_built_for_is_named(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        UnsupportedError, match=r"for GPU of SM 86, 89, this one is Fake GPU \(SM 90\)"
    ):
        opened(bundles["tag"], monkeypatch, FakeDriver(sm=90))


def test_a_session_that_does_not_open_lets_go_of_the_gpu(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver()
    library = FakeLibrary(bundles["tag"], driver)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    with pytest.raises(InputError, match="Unknown specialization 'x'") as caught:
        RtxEngine(bundles["tag"], driver=driver, specialize="x")
    assert "lazy" in caught.value.hint
    library.validity = (Validity.INVALID, 4)
    with pytest.raises(UnsupportedError, match="refuses this engine"):
        RtxEngine(bundles["tag"], driver=driver)
    assert (driver.contexts, driver.streams) == (0, 0)


def test_another_version_is_named(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver()
    library = FakeLibrary(bundles["tag"], driver)
    library.__version__ = "2.0.0.1"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    with pytest.raises(UnsupportedError, match=r"built with tensorrt_rtx 1\.7\.1\.116, this is 2"):
        RtxEngine(bundles["tag"], driver=driver)


def test_what_the_library_finds_wrong_is_said(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = FakeDriver()
    library = FakeLibrary(bundles["tag"], driver)
    library.validity = (Validity.INVALID, 4)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    with pytest.raises(UnsupportedError, match="refuses this engine on Fake GPU: old cuda driver"):
        RtxEngine(bundles["tag"], driver=driver)


def test_it_may_be_closed_in_another_thread(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    driver = FakeDriver()
    engine, _ = opened(bundles["tag"], monkeypatch, driver)
    engine.run(batch_of([4]))
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()
    assert (driver.memory, driver.contexts, driver.streams) == ({}, 0, 0)


@pytest.mark.parametrize("what", ["runtime cache", "execution context"])
def test_what_the_library_does_not_make_is_said(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    driver = FakeDriver()
    library = FakeLibrary(bundles["tag"], driver)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", library)
    if what == "runtime cache":
        library.config.create_runtime_cache = lambda: None
    else:
        library.makes = False
    with (
        pytest.raises(UnsupportedError, match=f"made no {what}"),
        RtxEngine(bundles["tag"], driver=driver) as engine,
    ):
        engine.run(batch_of([4]))
    assert driver.memory == {}
    assert (driver.contexts, driver.streams) == (0, 0)


# What the runtime asks of each class, and the fakes above stand for.
REAL = {
    "Runtime": ("get_engine_validity", "deserialize_cuda_engine"),
    "ICudaEngine": (
        "create_runtime_config", "create_execution_context", "device_memory_size_v2",
    ),
    "IRuntimeConfig": (
        "create_runtime_cache", "set_runtime_cache", "set_execution_context_allocation_strategy",
        "dynamic_shapes_kernel_specialization_strategy", "cuda_graph_strategy",
    ),
    "IExecutionContext": (
        "set_device_memory", "set_optimization_profile_async", "set_input_shape",
        "set_tensor_address", "execute_async_v3",
    ),
    "IRuntimeCache": ("serialize", "deserialize"),
    "DynamicShapesKernelSpecializationStrategy": ("NONE", "LAZY", "EAGER"),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
    "EngineValidity": ("INVALID",),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_the_real_library_has_what_is_asked_of_it(name: str) -> None:
    library = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    for member in REAL[name]:
        assert hasattr(getattr(library, name), member), member


def test_no_library_and_no_driver_are_told_apart(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingExtraError, match="needs tensorrt_rtx") as caught:
        RtxEngine(bundles["tag"], driver=FakeDriver())
    assert "[tensorrt-rtx]" in caught.value.hint
    driver = FakeDriver()
    driver.failing.add("cuInit")
    with pytest.raises(UnsupportedError, match="does not start: fake error"):
        Device(0, driver)
    with open_engine(bundles["tag"], predict=True) as engine:
        assert engine.predicted


def test_a_full_gpu_is_an_error_that_says_so() -> None:
    driver = FakeDriver()
    device = Device(0, driver).enter()
    driver.left = 0
    with pytest.raises(UnsupportedError, match="memory is full"):
        device.allocate(1)
    assert (device.sm, device.name) == (89, "Fake GPU")
