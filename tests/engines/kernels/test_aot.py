"""Ahead-of-time compilation: every listed SM, assembled by ptxas, with no GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from xopt.engines import kernels
from xopt.errors import BuildError, InputError, UnsupportedError

ATTENTION = {"heads": 12, "head_dim": 64}
FAKE_PTX = """
.target sm_80
.visible .entry run(
	.param .u64 .ptr .global .align 1 run_param_0,
	.param .u32 run_param_1,
	.param .u64 .ptr .global .align 1 run_param_2,
	.param .u64 .ptr .global .align 1 run_param_3
)
{
	ld.param.b64 	%rd1, [run_param_0];
}
"""


@pytest.fixture(scope="session")
def compiled(printed: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What ``compile_for_every_sm.py`` prints."""
    return printed("compile_for_every_sm.py")


def select(compiled: list[dict[str, Any]], name: str, sm: int) -> list[dict[str, Any]]:
    """The rows of one kernel on one SM; at least one."""
    rows = [row for row in compiled if row["name"] == name and row["sm"] == sm]
    assert rows
    return rows


# On SM 100 older releases of Triton keep to the instruction of the warps.
FLOATS = r"mma\.sync.*m16n8k16.*\.f32\.f16\.f16\.f32"
FLOATS_OF = {90: r"wgmma\.mma_async.*\.f32\.f16\.f16", 100: rf"tcgen05\.mma.*kind::f16|{FLOATS}"}
WHOLE = r"mma\.sync.*m16n8k32.*\.s32\.s8\.s8\.s32"
WHOLE_OF = {90: r"wgmma\.mma_async.*\.s32\.s8\.s8", 100: rf"tcgen05\.mma.*kind::i8|{WHOLE}"}


def kinds(row: dict[str, Any]) -> set[str]:
    """``floats``, ``whole``, or an instruction of another kind, of the products in one kernel."""
    sm = row["sm"]
    patterns = {"floats": FLOATS_OF.get(sm, FLOATS), "whole": WHOLE_OF.get(sm, WHOLE)}
    return {
        next((kind for kind, pattern in patterns.items() if re.fullmatch(pattern, each)), each)
        for each in row["matrix_instructions"]
    }


@pytest.mark.parametrize("sm", [80, 86, 87, 89, 90, 100, 120])
def test_products_run_on_tensor_cores(compiled: list[dict[str, Any]], sm: int) -> None:
    rows = [
        row for row in select(compiled, "varlen_attention", sm) if row["shape"]["head_dim"] == 64
    ]
    assert all(kinds(row) == {"floats"} for row in rows), rows
    assert all(row["target"].removesuffix("a") == f"sm_{sm}" for row in rows)
    rows = select(compiled, "linear_int8", sm)
    assert all(kinds(row) == {"whole"} for row in rows), rows
    # Queries with keys in INT8, probabilities with values as whole numbers in fp16.
    rows = select(compiled, "varlen_attention_int8", sm)
    assert all(kinds(row) == {"whole", "floats"} for row in rows), rows


def test_shared_memory_fits(compiled: list[dict[str, Any]]) -> None:
    from xopt.engines.kernels.aot import SHARED_BYTES

    for row in compiled:
        assert row["shared_bytes"] <= (row["limit"] or SHARED_BYTES[row["sm"]])
        assert row["limit"] is None or row["limit"] < 48 * 1024


def test_nothing_spills_at_the_head_dim_of_xlm_roberta(compiled: list[dict[str, Any]]) -> None:
    spilling = [
        (row["name"], row["sm"], row["block_m"], row["spill_bytes"])
        for row in compiled
        if row["spill_bytes"] and row["shape"].get("head_dim", 64) == 64
    ]
    assert not spilling


def test_ptx_declares_exactly_the_parameters(compiled: list[dict[str, Any]]) -> None:
    for row in compiled:
        found = re.search(rf"\.entry {row['entry']}\(([^)]*)\)", row["ptx"])
        assert found is not None
        kinds = [".u64" if ".u64" in part else ".u32" for part in found[1].split(",")]
        types = [kind for _, kind in row["parameters"]]
        assert kinds == [".u64" if kind.startswith("*") else ".u32" for kind in types]


def test_arguments_are_in_tensorrts_order(compiled: list[dict[str, Any]]) -> None:
    row = select(compiled, "varlen_attention_int8", 89)[0]
    assert row["parameters"] == [
        ["qkv", "*i8"],
        ["cu_seqlens", "*i32"],
        ["qkv_scale", "*fp32"],
        ["tokens", "i32"],
        ["sentences", "i32"],
        ["out", "*i8"],
    ]
    assert [name for name, _ in select(compiled, "linear_int8", 89)[0]["parameters"]] == [
        "x", "weight", "weight_scale", "bias", "tokens", "out",
    ]  # fmt: skip
    norm = select(compiled, "add_layer_norm", 90)[0]
    assert norm["parameters"][-2:] == [["out", "*fp16"], ["out_int8", "*i8"]]


def test_grid_follows_from_shapes(compiled: list[dict[str, Any]]) -> None:
    row = select(compiled, "varlen_attention", 89)[0]
    assert row["grid"] == [-(-1000 // row["block_m"]) + 7, 12, 1]
    assert row["block_threads"] % 32 == 0
    assert select(compiled, "add_layer_norm", 80)[0]["grid"] == [1000, 1, 1]
    assert select(compiled, "bias_gelu", 89)[0]["grid"] == [1000, 3, 1]


def test_ptx_tells_nothing_of_the_machine(compiled: list[dict[str, Any]]) -> None:
    for row in compiled:
        assert ".loc" not in row["ptx"]
        assert ".file" not in row["ptx"]


@pytest.mark.parametrize("name", ["varlen_attention", "varlen_attention_int8"])
def test_sm_75_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"SM 75.*tl\.dot.* no matrix instruction"):
        kernels.compile_kernel(name, sm=75, **ATTENTION)


def test_an_unknown_sm_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Possible: 80, 86, 87, 89, 90, 100, 120"):
        kernels.compile_kernel("varlen_attention", sm=110, **ATTENTION)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'varlen_attention'"):
        kernels.compile_kernel("varlen_atention", sm=89)


@pytest.mark.skipif(os.environ["TRITON_INTERPRET"] == "0", reason="kernels run on a GPU")
def test_the_interpreter_cannot_compile() -> None:
    with pytest.raises(UnsupportedError, match="Unset TRITON_INTERPRET"):
        kernels.compile_kernel("varlen_attention", sm=89, **ATTENTION)


def test_hidden_parameters_are_stripped() -> None:
    from xopt.engines.kernels.ptx import strip_hidden_parameters

    stripped = strip_hidden_parameters(FAKE_PTX, "run", 2)
    assert "run_param_1\n)" in stripped
    assert "run_param_2" not in stripped
    assert stripped.endswith("ld.param.b64 \t%rd1, [run_param_0];\n}\n")


@pytest.mark.parametrize("declared", [1, 3])
def test_other_parameters_than_the_two_hidden_ones_are_refused(declared: int) -> None:
    from xopt.engines.kernels.ptx import strip_hidden_parameters

    with pytest.raises(BuildError, match="Triton's 2 scratch pointers"):
        strip_hidden_parameters(FAKE_PTX, "run", declared)


def test_a_kernel_that_reads_its_scratch_memory_is_refused() -> None:
    from xopt.engines.kernels.ptx import strip_hidden_parameters

    reads = FAKE_PTX.replace("[run_param_0]", "[run_param_3]")
    with pytest.raises(BuildError, match="reads Triton's scratch pointer run_param_3"):
        strip_hidden_parameters(reads, "run", 2)


def test_ptx_that_does_not_assemble_is_refused() -> None:
    with pytest.raises(BuildError, match="ptxas refuses the PTX for sm_80"):
        kernels.assemble_ptx(".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n")
    with pytest.raises(BuildError, match="no target"):
        kernels.assemble_ptx("")
