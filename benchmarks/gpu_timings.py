"""The stages of ``check_gpu.py`` that say how fast things are."""

from __future__ import annotations

import contextlib
import itertools
import platform
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention import measure_ceilings, time_in_turns
from attention_peers import (
    Batch,
    NotApplicable,
    prepare_torch_varlen,
    prepare_xopt,
    prepare_xopt_int8,
)
from gpu_ahead import compile_ahead
from gpu_products import LINEAR, Say
from gpu_stages import launched_alone

from xopt.engines.kernels.tiles import Tile

PEERS = {
    "fp16": prepare_xopt,
    "fp16, 64 rows": partial(prepare_xopt, rows=64),
    "INT8": prepare_xopt_int8,
    "INT8, 64 rows": partial(prepare_xopt_int8, rows=64),
    "torch's varlen": prepare_torch_varlen,
}
# Of the batches whose products are timed.
TOKENS = (48, 512, 8192)
# Compiling takes minutes for every shape.
COMPILED = ("xnli", 1)


def ceilings(say: Say, device: torch.device) -> None:
    """Versions, and what the GPU reaches in large products and copies."""
    import transformers
    import triton

    properties = torch.cuda.get_device_properties(0)
    versions = {
        "GPU": f"{properties.name}, SM {properties.major}.{properties.minor}",
        "python": platform.python_version(), "torch": torch.__version__,
        "CUDA": torch.version.cuda, "triton": triton.__version__,
        "transformers": transformers.__version__,
    }  # fmt: skip
    for name, value in versions.items():
        say(what=name, value=value)
    for name, number in measure_ceilings(10).items():
        say(what=name, value=f"{number:.0f}", number=number)


def product_runs(tokens: int, name: str, device: torch.device) -> dict[str, Any]:
    """Each tile of one product and the libraries': what it is called -> a launch."""
    from xopt.engines.kernels.linear import launch_linear_int8
    from xopt.engines.kernels.linear_float import launch_linear_gelu
    from xopt.engines.kernels.linear_tiles import (
        gpu_of,
        linear_gelu_candidates,
        linear_int8_candidates,
    )
    from xopt.engines.kernels.parts import MOST_TILES

    # The engine's are made once; new ones would be a launch more in the time of a product in parts.
    arrivals = torch.zeros(MOST_TILES, dtype=torch.int32, device=device)
    outer, inner = LINEAR[name]
    x, weight = (
        torch.randint(-128, 128, size, device=device, dtype=torch.int8)
        for size in ((tokens, inner), (outer, inner))
    )
    scale, bias = torch.rand(outer, device=device) / 2000, torch.randn(outer, device=device)
    half, wide = torch.randn(tokens, inner, device=device).half(), weight.half()
    runs: dict[str, Any] = {"cuBLAS fp16": lambda: half @ wide.T}
    gelu = name == "ffn_in"
    tiles = linear_int8_candidates(tokens, outer, inner, gpu_of(device))
    # Each epilogue is a kernel more to compile.
    ends = (tiles[0], None)
    for tile in tiles:
        label = named(tile, "_int_mm")
        for on in (True, False) if tile in ends else (True,):
            options: dict[str, Any] = {"x_scale": 0.02, "gelu": gelu and on}
            if on:
                options["out_scale"] = 0.05
            runs[f"{label}, epilogue {'on' if on else 'off'}"] = lambda t=tile, o=options: (
                launch_linear_int8(x, weight, scale, bias, t, arrivals=arrivals, **o)
            )
    for tile in (
        linear_gelu_candidates(tokens, torch.float16, outer, inner, gpu_of(device)) if gelu else ()
    ):
        label = named(tile, "cuBLAS")
        runs[f"fp16 {label}, bias and GELU"] = lambda t=tile: launch_linear_gelu(
            half, wide, bias, t, arrivals
        )
    return runs


def every_product(device: torch.device) -> None:
    """Each launch of :func:`product_runs` once."""
    for tokens, name in itertools.product(TOKENS, LINEAR):
        for run in product_runs(tokens, name, device).values():
            # What a GPU cannot do is told where it is timed.
            with contextlib.suppress(Exception):
                run()


def micro(say: Say, device: torch.device) -> None:
    """Products by tile beside the libraries, epilogue on and off; attention beside torch's."""
    compile_ahead(say, every_product)
    reached = measure_ceilings(5)
    for tokens, name in itertools.product(TOKENS, LINEAR):
        outer, inner = LINEAR[name]
        for peer, times in time_in_turns(product_runs(tokens, name, device), 15).items():
            ms = statistics.median(times)
            ceiling = reached["fp16_tera_ops_per_s" if "fp16" in peer else "int8_tera_ops_per_s"]
            share = 2 * tokens * outer * inner / ms / 1e9 / ceiling
            said = f"{ms * 1e3:.1f} µs, {share:.0%} of the ceiling"
            say(what=f"{name}, T {tokens}, {peer}", value=said, ms=times)
    for length in (38, 128, 250, 512):
        lengths = torch.full((max(1, 8192 // length),), length, dtype=torch.int32)
        batch = Batch(lengths, 12, 64, torch.Generator().manual_seed(1))
        found: dict[str, Any] = {}
        for peer, prepare in PEERS.items():
            try:
                found[peer], wrong = prepare(batch)
                say(what=f"attention {peer}, S {length}", right=not wrong, error=wrong or "none")
            except NotApplicable as reason:
                say(what=f"attention {peer}, S {length}", skipped=str(reason))
            except Exception as error:
                # What another library cannot do is no fault of ours.
                if not peer.startswith("torch"):
                    raise
                say(what=f"attention {peer}, S {length}", skipped=f"{type(error).__name__}")
        for peer, times in time_in_turns(found, 15).items():
            ms = statistics.median(times)
            share = batch.operations / ms / 1e9 / reached["fp16_tera_ops_per_s"]
            said = f"{ms * 1e3:.1f} µs, {share:.0%} of fp16's ceiling"
            say(what=f"attention {peer}, S {length}", value=said, ms=times)


def named(tile: Tile | None, library: str) -> str:
    """A candidate, for people."""
    if tile is None:
        return library
    parts = f" in {tile.parts} parts" if tile.parts > 1 else ""
    bulk = f" in bulk{', resident' if tile.resident else ''}" if tile.bulk else ""
    return f"{tile.block_m}x{tile.block_n}x{tile.block_k}{parts}{bulk}"


def whole(say: Say, device: torch.device) -> None:
    """XLM-R base on XNLI and QA lengths, batch 1 and 32, each answer checked first."""
    import gpu
    import gpu_peers

    with tempfile.TemporaryDirectory() as scratch:
        models = gpu_peers.Models("xlm-r-base", "cuda", Path(scratch))
        for size in (32, 1):
            for case in ("xnli", "qa"):
                work = gpu.draw(case, "xlm-r-base", size)
                compiled = (case, size) == COMPILED
                for row in gpu.measure(models, work, list(gpu_peers.PEERS), 10, compiled):
                    whole_row(say, row)
        for precision in ("fp16", "int8"):
            following(say, models.engine(precision), precision)
        models.close()


def following(say: Say, engine: Any, precision: str) -> None:
    """One short text by replayed graphs, with dependent launches and without."""
    from gpu_peers import packed

    batch = packed([np.arange(5, 37, dtype=np.int32)], engine.signature.first_position)
    for name, launched in (("on", contextlib.nullcontext), ("off", launched_alone)):
        with launched():
            engine.programs.programs.clear()
            times = []
            for number in range(60):
                begin = time.perf_counter()
                engine.run(batch)
                # The first is eager, the second captured.
                times += [1e3 * (time.perf_counter() - begin)] if number >= 10 else []
        said = f"{statistics.median(times):.3f} ms"
        say(what=f"32 tokens, {precision}, dependent launches {name}", value=said, ms=times)


def whole_row(say: Say, row: Any) -> None:
    """One peer: ours is right or wrong, another one's trouble is its own."""
    what = f"{row.case}, batch {row.batch}, {row.peer}"
    if not row.not_measured:
        rate = row.tokens / row.median_ms
        said = f"{row.median_ms:.2f} ms, {rate:,.0f} tokens a ms"
        say(what=what, right=True, value=said, ms=list(row.samples_ms))
    elif row.peer.startswith("xopt"):
        say(what=what, right=False, error=row.not_measured)
    else:
        say(what=what, skipped=row.not_measured)
