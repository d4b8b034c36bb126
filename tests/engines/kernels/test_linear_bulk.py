"""Products whose operands come by bulk copies: the same bits, whatever lies beyond the tensors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.kernels import linear_bulk
from xopt.engines.kernels.criteria import EPS, largest_error
from xopt.engines.kernels.linear import launch_linear_int8
from xopt.engines.kernels.linear_float import launch_linear_gelu
from xopt.engines.kernels.linear_tiles import Gpu, linear_gelu_candidates, linear_int8_candidates
from xopt.engines.kernels.tiles import Tile

PLAIN = Tile(32, 32, num_warps=2, num_stages=2, block_k=32)
BULK = Tile(32, 32, num_warps=2, num_stages=2, block_k=32, bulk=True)
RESIDENT = Tile(32, 32, num_warps=2, num_stages=2, block_k=32, bulk=True, resident=1)


@pytest.fixture(autouse=True)
def few_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than there are tiles, so that resident programs have several."""
    monkeypatch.setattr(linear_bulk, "gpu_of", lambda device: Gpu(90, 2))


@pytest.mark.parametrize("tile", [BULK, RESIDENT], ids=["a program a tile", "resident"])
@pytest.mark.parametrize(("tokens", "inner"), [(1, 64), (65, 80), (33, 48)])
def test_int8_gives_the_same_bits(
    tokens: int, inner: int, tile: Tile, device: torch.device
) -> None:
    generator = torch.Generator().manual_seed(42)
    x = torch.randint(-128, 128, (tokens, inner), generator=generator).to(device, torch.int8)
    weight = torch.randint(-128, 128, (70, inner), generator=generator).to(device, torch.int8)
    scale, bias = (torch.rand(2, 70, generator=generator) / 100).to(device)
    steps = kernels.channel_scales(0.01 + torch.rand(70, generator=generator).to(device))
    for epilogue in ({"out_scale": steps, "gelu": True}, {"out_dtype": torch.float32}):
        arguments = (x, weight, scale, bias)
        whole = launch_linear_int8(*arguments, PLAIN, x_scale=0.02, **epilogue)
        out = launch_linear_int8(*arguments, tile, x_scale=0.02, **epilogue)
        assert torch.equal(out, whole)


@pytest.mark.parametrize("tile", [BULK, RESIDENT], ids=["a program a tile", "resident"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_floats_are_as_right(dtype: torch.dtype, tile: Tile, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(42)
    x = torch.randn(65, 72, generator=generator).to(device, dtype)
    weight = (torch.randn(70, 72, generator=generator) / 8).to(device, dtype)
    bias = torch.randn(70, generator=generator).to(device)
    exact = kernels.linear_gelu_reference(x, weight, bias)
    peer = functional.gelu(functional.linear(x, weight, bias.to(dtype)))
    out = launch_linear_gelu(x, weight, bias, tile)
    assert largest_error(out, exact) <= 2 * largest_error(peer, exact) + EPS
    assert launch_linear_gelu(x[:0], weight, bias, tile).shape == (0, 70)


def test_rows_of_odd_bytes_are_refused(device: torch.device) -> None:
    x, weight = (torch.zeros(4, 70, dtype=torch.float16, device=device) for _ in range(2))
    with pytest.raises(kernels.KernelInputError, match="multiple of 16"):
        launch_linear_gelu(x, weight, torch.zeros(4, device=device), BULK)


@pytest.mark.parametrize(
    ("sm", "tokens", "inner", "forms"),
    [(90, 8192, 768, 2), (90, 64, 768, 0), (90, 8192, 776, 0), (89, 8192, 768, 0)],
)
def test_where_they_are_tried(sm: int, tokens: int, inner: int, forms: int) -> None:
    found = linear_int8_candidates(tokens, 768, inner, Gpu(sm, 132))
    assert sum(tile.bulk for tile in found if tile) == forms
    assert sum(tile.resident > 0 for tile in found if tile) == forms // 2
    # Rows of 776 fp16 values are a multiple of 16 bytes.
    found = linear_gelu_candidates(tokens, torch.float16, 768, inner, Gpu(sm, 132))
    assert sum(tile.bulk for tile in found if tile) == 2 * (sm == 90 and tokens > 64)
