"""INT8 numbers on CPUs that add products in 16 bits, tried by withholding VNNI from OpenVINO."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt import host
from xopt.artifacts import Bundle
from xopt.card import render_card
from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.cpu import CpuOptions, check_numbers_fit, check_width_fits
from xopt.engines.openvino_layer import suits_here
from xopt.engines.openvino_native import obstacle
from xopt.errors import InputError, UnsupportedError
from xopt.host import cpu_flags, int8_instructions, saturates

NAMES = [f"layers.0.{kind}" for kind in ("qkv_in", "context", "ffn_in", "ffn_act")]
WITHHELD = ["AVX2", "AVX512_CORE"]
CHILD = """
import sys, numpy, openvino
from openvino import opset13 as op
weights, inputs = numpy.load(sys.argv[1])["w"], numpy.load(sys.argv[1])["x"]
x = op.parameter([-1, weights.shape[1]], numpy.float32, name="x")
q = op.fake_quantize(x, 0.0, 255.0, 0.0, 255.0, 256)
w = op.multiply(op.convert(op.constant(weights), "f32"), op.constant(numpy.float32([[1.0]])))
model = openvino.Model([op.matmul(q, w, False, True)], [x], "m")
core = openvino.Core()
program = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
kernels = [n.get_rt_info()["primitiveType"].astype(str) for n in
           program.get_runtime_model().get_ordered_ops()
           if n.get_rt_info()["layerType"].astype(str) == "FullyConnected"]
assert len(kernels) == 1 and kernels[0].endswith("I8"), kernels
exact = inputs.astype(numpy.int64) @ weights.astype(numpy.int64).T
print(numpy.abs(program(inputs.astype(numpy.float32))[0] - exact).max())
"""
ENCODE = """
import sys, numpy, xopt
with xopt.load(sys.argv[1]) as model:
    numpy.save(sys.argv[2], model.encode(["Habari za asubuhi", "Guten Morgen", "สวัสดี", "早上好"]))
"""


@pytest.fixture(params=WITHHELD)
def withheld(request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment in which OpenVINO has no VNNI."""
    if not {"avx512_vnni", "avx_vnni"} & set(cpu_flags()):
        pytest.skip("this CPU has no VNNI that could be withheld")
    return {**os.environ, "ONEDNN_MAX_CPU_ISA": request.param}


def run(script: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", script, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("width", [64, 97])
@pytest.mark.parametrize("bound", [128, 0])
def test_bounded_weights_give_exact_sums(
    withheld: dict[str, str], tmp_path: Path, width: int, bound: int
) -> None:
    """The worst inputs there are; without the bound the same kernel cuts sums off."""
    from xopt.calibrate.rounding import round_columns

    generator = np.random.default_rng(3)
    weight = generator.choice([-1.0, 1.0], (48, width)).astype(np.float32)
    # Rows of one sign, pairs of one sign, and the rest as it falls.
    weight[:8] = np.abs(weight[:8])
    weight[8:16] = -np.abs(weight[8:16])
    weight[16:, 1::2] = weight[16:, : width // 2 * 2 : 2]
    weight *= generator.uniform(0.8, 1, weight.shape).astype(np.float32)
    moments = np.eye(width, dtype=np.float32) + np.float32(0.5)
    values, _ = round_columns(weight, moments, pair_sum=bound)
    inputs = np.concatenate([np.full((4, width), 255), generator.integers(0, 256, (28, width))])
    np.savez(tmp_path / "case.npz", w=values, x=inputs)
    done = run(CHILD, str(tmp_path / "case.npz"), env=withheld)
    assert done.returncode == 0, done.stderr
    error = float(done.stdout)
    assert error == 0 if bound else error > 1000


def test_a_bundle_for_any_cpu_answers_alike(
    make_checkpoint: Callable[..., Path], tmp_path: Path, withheld: dict[str, str]
) -> None:
    """And one for VNNI is refused there, with the command that makes the other."""
    folder = make_checkpoint("xlm-roberta", "embed", hidden_size=96, num_attention_heads=3)
    for cpu in ("any", "vnni"):
        options = BuildOptions(
            str(folder), cpu=cpu, out=str(tmp_path / cpu), calibration_tokens=1500
        )
        build_bundle(options, record=False)
    exact = BuildOptions(str(folder), precision="fp32", out=str(tmp_path / "fp32"))
    build_bundle(exact, record=False)
    answers = []
    asked = (("any", dict(os.environ)), ("any", withheld), ("fp32", dict(os.environ)))
    for number, (bundle, env) in enumerate(asked):
        out = str(tmp_path / f"{number}.npy")
        done = run(ENCODE, str(tmp_path / bundle), out, env=env)
        assert done.returncode == 0, done.stderr
        answers.append(np.load(out))
    here, there, fp32 = answers
    if not obstacle() and suits_here():
        # Our own layers add up in one order, whatever the instruction set.
        np.testing.assert_array_equal(here, there)
    # OpenVINO's have the same sums; what lies between them is summed in another order, so that few
    # codes fall to the other side. Sums that are cut off are as far apart as INT8 is from fp32.
    assert np.square(here - there).mean() < 0.25 * np.square(here - fp32).mean()
    command = [sys.executable, "-P", "-m", "xopt", "run", str(tmp_path / "vnni"), "Habari"]
    refused = subprocess.run(command, env=withheld, capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert "--cpu any" in refused.stderr.replace("\n", " ")


def test_a_cpu_that_openvino_has_no_kernels_for_is_told(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """OpenVINO compiles a norm for SSE4.1 and finds no kernel for it when it runs."""
    if not cpu_flags():
        pytest.skip("this CPU has no instruction set that could be withheld")
    options = BuildOptions(str(make_checkpoint()), precision="fp32", out=str(tmp_path / "b"))
    build_bundle(options, record=False)
    command = [sys.executable, "-P", "-m", "xopt", "run", str(tmp_path / "b"), "Habari"]
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stdout
    assert "OpenVINO cannot run this bundle on this CPU" in done.stderr
    assert "Unset ONEDNN_MAX_CPU_ISA" in done.stderr


def test_what_is_built_is_written_down(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    found = []
    for cpu in ("any", "vnni"):
        options = BuildOptions(
            str(make_checkpoint()), cpu=cpu, out=str(tmp_path / cpu), calibration_tokens=400
        )
        found.append(build_bundle(options, record=False).bundle)
    every, own = found
    assert every.fingerprint != own.fingerprint
    assert (every.manifest["engine"]["cpu"], own.manifest["engine"]["cpu"]) == ("any", "vnni")
    assert every.manifest["engine"]["built_on"] == int8_instructions()
    assert "--cpu any" in (every.folder / "card.md").read_text()
    again = BuildOptions(str(make_checkpoint()), out=str(tmp_path / "any"), calibration_tokens=400)
    assert again.recipe.pair_sum == (128 if saturates() else 0)


@pytest.mark.parametrize(
    ("flags", "cap", "called", "cut"),
    [
        ("avx2 avx512f avx512_vnni amx_int8", "", "AMX", False),
        ("avx2 avx512f avx512_vnni", "", "AVX-512 VNNI", False),
        ("avx2 avx_vnni", "", "AVX VNNI", False),
        ("avx2 avx512f", "", "AVX-512 without VNNI", True),
        ("avx2", "", "AVX2 without VNNI", True),
        ("avx2 avx512f avx512_vnni", "avx2", "AVX2 without VNNI", True),
        ("avx2 avx512f avx512_vnni", "AVX512_CORE", "AVX-512 without VNNI", True),
        ("avx2 avx_vnni avx512f avx512_vnni", "AVX2_VNNI", "AVX VNNI", False),
        ("avx2 avx512f avx512_vnni", "DEFAULT", "AVX-512 VNNI", False),
    ],
)
def test_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, flags: str, cap: str, called: str, cut: bool
) -> None:
    monkeypatch.setattr(host, "cpu_flags", flags.split)
    monkeypatch.setattr(host.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert (int8_instructions(), saturates()) == (called, cut)
    assert CpuOptions().numbers == ("any" if cut else "vnni")
    assert CpuOptions(cpu="vnni").numbers == "vnni"
    manifest = {"precision": "int8", "engine": {"cpu": "vnni"}, "shape": {"layers": 1}}
    # Three of a layer's four products are not in INT8, and the embeddings, which have no sums.
    others = {"fp32_sites": ["embeddings", *NAMES[:2]], "bf16_sites": [NAMES[2]]}
    partly = manifest | {"engine": {"cpu": "vnni", **others}}
    if cut:
        with pytest.raises(UnsupportedError, match="--cpu any"):
            check_numbers_fit(partly, "bundles/e5")
        with pytest.raises(UnsupportedError, match="--cpu any"):
            check_numbers_fit(manifest, "bundles/e5")
    else:
        check_numbers_fit(manifest, "bundles/e5")
    check_numbers_fit({"precision": "int8", "engine": {"cpu": "any"}}, "bundles/e5")
    whole = {"cpu": "vnni", **others, "bf16_sites": NAMES[2:]}
    check_numbers_fit(manifest | {"engine": whole}, "bundles/e5")
    check_numbers_fit({"precision": "fp32", "engine": {}}, "bundles/e5")


@pytest.mark.parametrize(
    ("flags", "cap", "width", "runs"),
    [
        ("avx2 avx512f avx512_vnni", "AVX2", 84, False),
        ("avx2 avx512f", "avx2_vnni", 360, False),
        ("avx2 avx512f avx512_vnni", "AVX2", 384, True),
        ("avx2 avx512f avx512_vnni", "AVX512_CORE", 84, True),
        ("avx2 avx512f avx512_vnni", "", 84, True),
        ("avx2", "AVX2", 84, True),
    ],
)
def test_a_width_with_a_tail_needs_the_avx512_that_is_there(
    monkeypatch: pytest.MonkeyPatch, flags: str, cap: str, width: int, runs: bool
) -> None:
    monkeypatch.setattr(host, "cpu_flags", flags.split)
    monkeypatch.setattr("xopt.engines.cpu.cpu_flags", flags.split)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    manifest = {"shape": {"hidden": width}}
    if runs:
        check_width_fits(manifest, "bundles/e5")
        return
    with pytest.raises(UnsupportedError, match=f"width of {width}, no multiple of 16") as caught:
        check_width_fits(manifest, "bundles/e5")
    assert "Unset ONEDNN_MAX_CPU_ISA" in caught.value.hint


@pytest.mark.parametrize(
    ("cap", "left"),
    [
        ("", "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8 amx_bf16"),
        ("SSE41", ""),
        ("AVX2", "avx2"),
        ("avx512_core", "avx2 avx512f"),
        ("AVX512_CORE_VNNI", "avx2 avx512f avx512_vnni"),
        ("AVX512_CORE_BF16", "avx2 avx512f avx512_vnni avx512_bf16"),
        ("AVX512_CORE_AMX", "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8 amx_bf16"),
    ],
)
def test_what_is_withheld_takes_bf16_along(
    monkeypatch: pytest.MonkeyPatch, cap: str, left: str
) -> None:
    every = "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_int8 amx_bf16"
    monkeypatch.setattr(host, "_cpuinfo", lambda: {"flags": f"sse4_1 {every} fsrm"})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert host.cpu_flags_left() == left.split()


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """AArch64 adds in 32 bits."""
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(host, "_cpuinfo", lambda: {"Features": "fp asimd asimddp"})
    assert (int8_instructions(), saturates()) == ("aarch64 asimddp", False)


def test_refused_names() -> None:
    with pytest.raises(InputError, match="vnnn"):
        BuildOptions("x", cpu="vnnn")
    with pytest.raises(InputError, match="--cpu"):
        BuildOptions("x", cpu="any", target="tensorrt-rtx")
    with pytest.raises(InputError, match="fp32"):
        BuildOptions("x", cpu="any", precision="fp32")


def test_what_was_measured_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from xopt.cli import inspect

    monkeypatch.setattr(inspect, "int8_instructions", lambda: "AVX-512 VNNI")
    here = EXAMPLE | {"task": "panx", "host": {"int8": "AVX-512 VNNI"}}
    before = EXAMPLE | {"task": "xnli", "host": {"cpu": "of an older report"}}
    assert inspect._elsewhere([EXAMPLE, here, before]) == {"tatoeba": "AVX2 without VNNI"}


def test_the_card_names_the_instruction_set(bundles: Callable[..., Bundle]) -> None:
    bundle = bundles("encoder", "int8")
    report = json.loads(json.dumps(EXAMPLE))
    assert "INT8 by AVX2 without VNNI" in render_card(bundle.manifest, [report])


EXAMPLE: dict[str, Any] = {
    "task": "tatoeba",
    "metric": "accuracy",
    "target": "openvino",
    "data": {"label": "sample", "kind": "sample"},
    "languages": {
        "sw": {
            "n": 1,
            "reference": 1.0,
            "candidate": 1.0,
            "difference": 0.0,
            "ci95": [0, 0],
            "agreement": 1.0,
        }
    },
    "mean": {"reference": 1.0, "candidate": 1.0, "difference": 0.0},
    "worst": {"language": "sw", "difference": 0.0},
    "throughput": {
        "sentences_per_s": 1,
        "tokens_per_s": 1,
        "latency_ms": {"p50": 1, "p95": 1, "p99": 1},
    },
    "host": {"cpu": "a CPU", "cores": 2, "int8": "AVX2 without VNNI"},
    "command": "xopt eval",
}
