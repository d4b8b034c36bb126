"""Whether every tile and form of the linear kernels is right, for ``gpu_stages.py``."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, largest_error, quantized_bound
from xopt.engines.kernels.linear import launch_linear_int8
from xopt.engines.kernels.linear_float import launch_linear_gelu
from xopt.engines.kernels.linear_tiles import (
    gpu_of,
    linear_gelu_candidates,
    linear_int8_candidates,
)

__all__ = ["LINEAR", "Say", "gelu_rows", "linear_rows"]

Say = Callable[..., None]
LINEAR = {"qkv": (2304, 768), "output": (768, 768), "ffn_in": (3072, 768), "ffn_out": (768, 3072)}
# Whether GELU follows and whether the result is INT8, as the engine asks for it: each is a kernel
# more to compile for every tile.
EPILOGUES = {
    "qkv": [(False, False), (False, True)],
    "output": [(False, False)],
    "ffn_in": [(True, True), (True, False)],
    "ffn_out": [(False, False)],
    "small": [(False, False), (False, True), (True, False), (True, True)],
}
# Deep enough to be cut into parts.
SMALL = (96, 512)


def linear_rows(say: Say, device: torch.device, generator: torch.Generator, small: bool) -> None:
    """Every tile and form of the linear kernel, with GELU and without, quantized and not."""

    shapes = {"small": SMALL} if small else LINEAR
    for (name, (outer, inner)), tokens in itertools.product(
        shapes.items(), (17, 65) if small else (1, 48, 127, 1025)
    ):
        x, weight = (
            torch.randint(-128, 128, size, generator=generator).to(device, torch.int8)
            for size in ((tokens, inner), (outer, inner))
        )
        scale = (0.5 + torch.rand(outer, generator=generator)).to(device) / 2000
        bias = torch.randn(outer, generator=generator).to(device)
        arguments = (x, weight, scale, bias)
        for gelu, packed in EPILOGUES[name]:
            options: dict[str, Any] = {"x_scale": 0.02, "gelu": gelu}
            exact = kernels.linear_int8_reference(*arguments, **options, out_dtype=torch.float32)
            options |= {"out_scale": 0.05} if packed else {"out_dtype": torch.float32}
            for tile in linear_int8_candidates(tokens, outer, inner, gpu_of(device)):
                if small and tile is None:
                    continue
                out = launch_linear_int8(*arguments, tile, **options)
                if packed:
                    wanted = (exact.double() / 0.05).round().clamp(-128, 127)
                    off = (out.double() - wanted).abs() > quantized_bound(exact, 0.05)
                else:
                    off = ~((out - exact).abs() <= 2e-6 * exact.abs() + 2e-6)
                wrong = int(off.sum())
                what = f"linear {name}, T {tokens}, gelu {gelu}, int8 {packed}, {tile or '_int_mm'}"
                say(what=what, right=wrong == 0, error=f"{wrong} values wrong")


def gelu_rows(say: Say, device: torch.device, generator: torch.Generator, small: bool) -> None:
    """Every tile of the fp16 product with bias and GELU, beside the library's two kernels."""

    outer, inner = SMALL if small else LINEAR["ffn_in"]
    for tokens in (17, 65) if small else (1, 48, 127, 1025):
        x, weight = (
            torch.randn(size, generator=generator).div(inner**0.25).to(device, torch.float16)
            for size in ((tokens, inner), (outer, inner))
        )
        bias = torch.randn(outer, generator=generator).to(device)
        exact = kernels.linear_gelu_reference(x, weight, bias)
        peer = largest_error(launch_linear_gelu(x, weight, bias, None), exact)
        for tile in linear_gelu_candidates(tokens, torch.float16, outer, inner, gpu_of(device))[
            :-1
        ]:
            error = largest_error(launch_linear_gelu(x, weight, bias, tile), exact)
            what = f"fp16 ffn_in with GELU, T {tokens}, {tile}"
            say(what=what, right=error <= 2 * peer + EPS, error=f"{error:.2e}, library {peer:.2e}")
