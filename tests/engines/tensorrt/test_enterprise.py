"""The builder of the target ``tensorrt``: its child process with a fake TensorRT and a fake GPU."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xopt.artifacts import LoweredGraph
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt import child, enterprise
from xopt.engines.tensorrt.compat import Machine
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.errors import BuildError, MissingExtraError, UnsupportedError
from xopt.progress import Silent

SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}


@pytest.fixture(scope="module")
def graphs(make_checkpoint: Callable[..., Path]) -> dict[str, LoweredGraph]:
    """A small encoder in fp16, in both forms."""
    checkpoint = Checkpoint.open(make_checkpoint("xlm-roberta", "tag", **SIZES))
    graph, native = trace_checkpoint(checkpoint), lowering_for("tensorrt", "fp16")
    forms = {"native": native, "plugin": replace(native, form="tensorrt-plugin")}
    return {
        name: lower_graph(graph, form, None, checkpoint=checkpoint) for name, form in forms.items()
    }


class Heard(Silent):
    """Remembers the shares it is told."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def share(self, done: float) -> None:
        self.shares.append(done)


class Given:
    """A build whose graphs are lowered already."""

    def __init__(self, graphs: dict[str, LoweredGraph], form: str, lengths: Any = ()) -> None:
        self.graphs, self.form, self.lengths = graphs, form, lengths

    def lower(self, **changes: Any) -> LoweredGraph:
        return self.graphs["native" if changes == {"form": "tensorrt"} else self.form]


def build(
    graphs: dict[str, LoweredGraph], out: Path, driver: Any, **options: Any
) -> tuple[dict[str, Any], dict[str, Any], Heard]:
    """The manifest's facts, what TensorRT was told, and the progress."""
    out.mkdir()
    heard = Heard()
    lengths = options.pop("lengths", ())
    builder = enterprise.TensorRtBuilder(TensorRtOptions(**options), driver=driver)
    built = builder.build(Given(graphs, options.get("attention", "native"), lengths), out, heard)
    return built.facts, json.loads((out / "engine.trt").read_text()), heard


def test_a_build_and_what_it_leaves(
    graphs: dict[str, LoweredGraph], tmp_path: Path, driver: Any
) -> None:
    lengths = (10, 20, 20, 30, 100)
    facts, told, heard = build(graphs, tmp_path / "out", driver, lengths=lengths)
    assert told["flags"] == []
    assert told["pools"] == {}
    assert told["level"] == "NONE"
    assert told["verbosity"] == "DETAILED"
    assert facts["runs_on"]["sm"] == [89]
    assert facts["runs_on_text"].startswith("Fake GPU (SM 89); tensorrt 11.4.0.106")
    assert [p["longest"] for p in facts["profiles"]] == [64, 128]
    assert [set(profile) for profile in told["profiles"]] == [set(facts["inputs"])] * 2
    assert heard.shares == pytest.approx([n / 6 for n in range(1, 7)], abs=1e-4)
    files = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert files == ["engine.trt", "layers.json", "portable"]
    layers = json.loads((tmp_path / "out" / "layers.json").read_text())
    assert "layers.0.qkv.matmul" in layers["Layers"]


@pytest.mark.parametrize(
    ("options", "flags", "level"),
    [
        ({"compat": "same-sm"}, [], "SAME_COMPUTE_CAPABILITY"),
        ({"compat": "ampere-plus"}, [], "AMPERE_PLUS"),
        ({"compat": "version"}, ["VERSION_COMPATIBLE"], "NONE"),
        ({"refit": True, "workspace": 512}, ["REFIT_IDENTICAL"], "NONE"),
    ],
)
def test_options_reach_the_builder(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    options: dict[str, Any],
    flags: list[str],
    level: str,
) -> None:
    facts, told, _ = build(graphs, tmp_path / "out", driver, **options)
    assert (told["flags"], told["level"]) == (flags, level)
    expected = {"WORKSPACE": 512 * 2**20} if "workspace" in options else {}
    assert told["pools"] == expected
    assert facts["runs_on"]["later"] is (options.get("compat") == "version")
    assert facts["runs_on"]["above"] is (options.get("compat") == "ampere-plus")


def test_timings_are_kept_for_the_device(
    graphs: dict[str, LoweredGraph], tmp_path: Path, driver: Any
) -> None:
    machine = Machine(
        "tensorrt", "11.4.0.106", 89, "Fake GPU", platform.system(), platform.machine()
    )
    place = enterprise.timing_cache_path(machine)
    assert place.name == "fake-gpu-sm89-11.4.0.106.timing"
    place.unlink(missing_ok=True)
    told = [build(graphs, tmp_path / str(n), driver)[1]["cached"] for n in range(2)]
    assert told == ["", "timed 11.4.0.106"]
    for number, content in enumerate((b"of another GPU", b"damaged"), 2):
        place.write_bytes(content)
        assert build(graphs, tmp_path / str(number), driver)[1]["cached"] == ""


def test_a_library_that_keeps_no_timings_builds_all_the_same(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XOPT_FAKE_TENSORRT", "11.4.0.107 untimed")
    sys.modules.pop("tensorrt", None)
    assert build(graphs, tmp_path / "out", driver)[1]["cached"] is None
    assert (tmp_path / "out" / "layers.json").is_file()


@pytest.mark.parametrize(
    ("word", "options", "message", "hint"),
    [
        ("unread", {}, "does not read the engine that it has just built", "--batch-tokens"),
        ("lean", {"compat": "version"}, "built no engine", "pip install tensorrt-lean==11.4.0.106"),
    ],
)
def test_an_engine_that_is_none_says_what_to_do(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    options: dict[str, Any],
    message: str,
    hint: str,
) -> None:
    monkeypatch.setenv("XOPT_FAKE_TENSORRT", f"11.4.0.106 {word}")
    with pytest.raises(BuildError, match=message) as caught:
        build(graphs, tmp_path / "out", driver, **options)
    assert hint in caught.value.hint


def test_the_plugin_is_registered_and_compiled_in_the_child(
    graphs: dict[str, LoweredGraph], tmp_path: Path, driver: Any
) -> None:
    facts, told, _ = build(graphs, tmp_path / "out", driver, attention="plugin")
    layers = graphs["plugin"].manifest["layers"]
    assert [plugin[:2] for plugin in told["plugins"]] == [["VarlenAttention", "HALF"]] * layers
    assert all(kernels >= 1 for _, _, kernels in told["plugins"])
    assert facts["attention"] == "plugin"
    assert facts["plugin_ptx"] == {"sm": 89, "isa": 80}
    assert "cu_seqlens" in told["profiles"][0]
    # What answers for a GPU that is not there knows no plugin.
    portable = (tmp_path / "out" / "portable" / "graph.onnx").read_bytes()
    assert b"VarlenAttention" not in portable
    assert all(profile["cu_seqlens"][0] == [2] for profile in told["profiles"])


def test_a_build_that_is_stopped_leaves_no_process(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XOPT_FAKE_TENSORRT", "11.4.0.106 waits")
    started: list[Any] = []
    start = child._start

    def remember(*arguments: Any) -> Any:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(child, "_start", remember)

    class Stops(Silent):
        def share(self, done: float) -> None:
            raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    builder = enterprise.TensorRtBuilder(TensorRtOptions(), driver=driver)
    with pytest.raises(KeyboardInterrupt):
        builder.build(Given(graphs, "native"), tmp_path / "out", Stops())
    [process] = started
    # It ended by itself, at the step that it was told to stop in, and was not killed.
    assert process.returncode == child.REFUSED
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("10.3.0.30", " It lacks plugins compiled ahead of time and engines for every GPU of one"),
        ("10.11.0.33", "the oldest version that xopt is written for."),
    ],
)
def test_an_old_tensorrt_is_told_what_it_lacks(version: str, lacks: str) -> None:
    with pytest.raises(UnsupportedError, match=f"TensorRT {version} is older than 10.12") as caught:
        enterprise.check_library(version, plugin=False)
    assert lacks in caught.value.message
    assert "JetPack 7.2.2" in caught.value.hint


def test_a_tensorrt_whose_plugins_are_broken() -> None:
    enterprise.check_library("10.14.1.48", plugin=False)
    enterprise.check_library("10.15.0.1", plugin=True)
    with pytest.raises(UnsupportedError, match="attention plugin") as caught:
        enterprise.check_library("10.14.1.48", plugin=True)
    assert "--attention native" in caught.value.hint


def test_jetpack_6_is_refused_before_anything_is_built(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XOPT_FAKE_TENSORRT", "10.3.0.30")
    with pytest.raises(UnsupportedError, match="older than"):
        build(graphs, tmp_path / "out", driver)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_tensorrt(
    graphs: dict[str, LoweredGraph], tmp_path: Path, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match="tensorrt") as caught:
        build(graphs, tmp_path / "out", driver)
    assert "[tensorrt]" in caught.value.hint


@pytest.mark.parametrize("installed", [False, True])
def test_without_a_gpu_nobody_is_told_to_install_the_library(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
    driver.failing.add("cuInit")
    with pytest.raises(UnsupportedError, match="built on the GPU that will run it") as caught:
        build(graphs, tmp_path / "out", driver)
    assert "--target tensorrt-rtx" in caught.value.hint


def test_a_graph_that_tensorrt_refuses(
    graphs: dict[str, LoweredGraph],
    tmp_path: Path,
    driver: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if the plugin had not been registered."""
    monkeypatch.setattr(enterprise, "plugin_sm", lambda device, ampere_plus: None)
    with pytest.raises(BuildError, match="no plugin for VarlenAttention"):
        build(graphs, tmp_path / "out", driver, attention="plugin")
