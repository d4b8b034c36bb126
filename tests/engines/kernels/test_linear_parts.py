"""Products whose sums are cut into parts: the same integers, a fixed order, and which are tried."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, largest_error
from xopt.engines.kernels.linear import launch_linear_int8
from xopt.engines.kernels.linear_float import launch_linear_gelu
from xopt.engines.kernels.linear_tiles import Gpu, linear_gelu_candidates, linear_int8_candidates
from xopt.engines.kernels.parts import MOST_TILES
from xopt.engines.kernels.tiles import Tile

TILE = Tile(16, 32, num_warps=2, num_stages=2, block_k=32)


@pytest.fixture
def arrivals(device: torch.device) -> torch.Tensor:
    return torch.zeros(MOST_TILES, dtype=torch.int32, device=device)


@pytest.mark.parametrize(("inner", "parts"), [(96, 3), (90, 3), (256, 2), (256, 8)])
@pytest.mark.parametrize("tokens", [1, 17])
def test_parts_of_int8_give_the_same_bits(
    tokens: int, inner: int, parts: int, device: torch.device, arrivals: torch.Tensor
) -> None:
    generator = torch.Generator().manual_seed(42)
    x = torch.randint(-128, 128, (tokens, inner), generator=generator).to(device, torch.int8)
    weight = torch.randint(-128, 128, (70, inner), generator=generator).to(device, torch.int8)
    scale, bias = (torch.rand(2, 70, generator=generator) / 100).to(device)
    for epilogue in ({"out_scale": 0.05, "gelu": True}, {"out_dtype": torch.float32}):
        arguments = (x, weight, scale, bias)
        whole = launch_linear_int8(*arguments, TILE, x_scale=0.02, **epilogue)
        # A second launch finds the counts as the first one did.
        for _ in range(2):
            out = launch_linear_int8(
                *arguments, TILE.in_parts(parts), x_scale=0.02, arrivals=arrivals, **epilogue
            )
            assert torch.equal(out, whole)
            assert not arrivals.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_parts_of_floats_are_as_right(
    dtype: torch.dtype, device: torch.device, arrivals: torch.Tensor
) -> None:
    generator = torch.Generator().manual_seed(42)
    x = torch.randn(17, 250, generator=generator).to(device, dtype)
    weight = (torch.randn(70, 250, generator=generator) / 16).to(device, dtype)
    bias = torch.randn(70, generator=generator).to(device)
    exact = kernels.linear_gelu_reference(x, weight, bias)
    peer = functional.gelu(functional.linear(x, weight, bias.to(dtype)))
    allowed = 2 * largest_error(peer, exact) + EPS
    for parts in (2, 4, 8):
        out = launch_linear_gelu(x, weight, bias, TILE.in_parts(parts), arrivals)
        assert largest_error(out, exact) <= allowed
        assert not arrivals.any()


def test_parts_are_added_in_their_order(device: torch.device) -> None:
    """2²⁵, then -2²⁵, then 3: that is 3; with the part that comes last first it would be 4."""
    x = torch.zeros(1, 96, dtype=torch.float16, device=device)
    x[0, 0], x[0, 32], x[0, 64] = 2.0**15, -(2.0**15), 3.0
    weight = torch.zeros(32, 96, dtype=torch.float16, device=device)
    weight[:, 0] = weight[:, 32] = 2.0**10
    weight[:, 64] = 1.0
    zero = torch.zeros(32, device=device)
    out = launch_linear_gelu(x, weight, zero, TILE.in_parts(3))
    exact = functional.gelu(torch.tensor(3.0)).half()
    assert (out.cpu() == exact).all()


@pytest.mark.parametrize("processors", [20, 58, 132])
@pytest.mark.parametrize("shape", [(768, 768), (2304, 768), (768, 3072), (4096, 1024)], ids=str)
@pytest.mark.parametrize("tokens", [1, 16, 33, 128, 300, 8192])
def test_what_is_cut_fills_idle_multiprocessors(
    tokens: int, shape: tuple[int, int], processors: int
) -> None:
    outer, inner = shape
    int8 = linear_int8_candidates(tokens, outer, inner, Gpu(80, processors))
    fp16 = linear_gelu_candidates(tokens, torch.float16, outer, inner, Gpu(80, processors))
    for tile in (*int8, *fp16):
        if tile is None or tile.parts == 1:
            continue
        steps, rest = divmod(inner, tile.block_k * tile.parts)
        tiles = -(-tokens // tile.block_m) * -(-outer // tile.block_n)
        assert rest == 0
        assert steps >= 2
        # Without the last of its parts the device would not be full.
        assert tiles * (tile.parts - 1) < processors


@pytest.mark.parametrize(
    ("tokens", "shape", "parts"),
    [
        (16, (768, 768), [3]),
        (128, (768, 3072), [6]),
        (33, (2304, 768), [2]),
        # As many tiles as there are multiprocessors, or more.
        (33, (4608, 768), []),
        (8192, (768, 3072), []),
        # One step.
        (16, (768, 96), []),
    ],
)
def test_short_batches_are_cut_on_an_h100(
    tokens: int, shape: tuple[int, int], parts: list[int]
) -> None:
    found = linear_int8_candidates(tokens, *shape, Gpu())
    assert [tile.parts for tile in found if tile and tile.parts > 1] == parts


def test_no_other_parts_are_taken(device: torch.device) -> None:
    x = torch.zeros(1, 96, dtype=torch.float16, device=device)
    weight, bias = torch.zeros(32, 96, dtype=torch.float16), torch.zeros(32)
    with pytest.raises(kernels.KernelInputError, match="cannot be cut into 2 parts"):
        launch_linear_gelu(x, weight.to(device), bias.to(device), TILE.in_parts(2))
