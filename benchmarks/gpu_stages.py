"""The stages of ``check_gpu.py`` that say whether answers are right."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_ahead import compile_ahead, engine_shapes
from gpu_launch import PtxEngine, launch_once, tactics
from gpu_poison import poisoned
from gpu_products import Say, gelu_rows, linear_rows
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.kernels import launching
from xopt.engines.kernels.attention_tiles import ROWS
from xopt.engines.kernels.criteria import (
    EPS,
    context_bound,
    largest_error,
    plain_attention,
)

PRECISIONS = ("fp16", "int8", "int8-attention")


def batches(small: bool) -> dict[str, tuple[list[int], int]]:
    """name -> (lengths, unused tail): T mod 128 of 0, 1 and 127, empty sentences, long ones."""
    found = {
        "128": ([60, 68], 0),
        "129": ([1, 64, 64], 0),
        "127": ([127], 0),
        "empty sentences and a tail": ([0, 33, 0, 0, 70, 1, 0], 9),
    }
    if not small:
        generator = np.random.default_rng()
        found["long"] = ([512, 511, 257], 0)
        found["fresh"] = (generator.integers(1, 300, 60).tolist(), 100)
    return found


def kernels_stage(say: Say, device: torch.device) -> None:
    """Attention, products, norms against their references."""
    if device.type == "cuda":
        compile_ahead(say, check_kernels, print_nothing)
    check_kernels(say, device)


def print_nothing(**row: Any) -> None:
    """A row of a process that only compiles."""


def check_kernels(say: Say, device: torch.device) -> None:
    """One kernel after the other."""
    small = device.type == "cpu"
    generator = torch.Generator().manual_seed(int(np.random.default_rng().integers(1 << 30)))
    say(what="seed", value=str(generator.initial_seed()))
    with poisoned():
        for head_dim in (32, 64, 128):
            for name, (lengths, tail) in batches(small).items():
                attention_rows(say, device, generator, head_dim, name, lengths, tail)
        linear_rows(say, device, generator, small)
        gelu_rows(say, device, generator, small)
        norm_row(say, device, generator)
        other_blocks(say, device, generator)


def attention_rows(
    say: Say, device: torch.device, generator: torch.Generator, head_dim: int, name: str,
    lengths: list[int], tail: int,
) -> None:  # fmt: skip
    """fp16 and INT8 attention on one batch."""
    starts = torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)
    shape = (sum(lengths) + tail, 3, 2, head_dim)
    what = f"head_dim {head_dim}, {name}"
    qkv = torch.randn(shape, generator=generator).to(device, torch.float16)
    arguments = (qkv, starts, max(lengths))
    exact = kernels.varlen_attention_reference(*arguments)
    allowed = 2 * largest_error(plain_attention(qkv, starts), exact) + EPS
    for rows in ROWS:
        error = largest_error(kernels.varlen_attention(*arguments, rows=rows), exact)
        say(
            what=f"attention fp16, {rows} rows, {what}",
            right=error <= allowed,
            error=f"{error:.1e}",
        )
    qkv = (torch.randn(shape, generator=generator) * 40).round().clamp(-128, 127)
    qkv, scale = qkv.to(device, torch.int8), torch.tensor([0.04, 0.03, 0.05]).to(device)
    arguments = (qkv, starts, max(lengths))
    options: dict[str, Any] = {"qkv_scale": scale, "out_scale": 0.02}
    exact = kernels.varlen_attention_int8_reference(*arguments, **options)
    steps = (context_bound(qkv, starts, scale) / 0.02).ceil()
    for rows in ROWS:
        out = kernels.varlen_attention_int8(*arguments, **options, rows=rows)
        wrong = int(((out.int() - exact.int()).abs() > steps).sum())
        said = f"{wrong} values wrong"
        say(what=f"attention INT8, {rows} rows, {what}", right=wrong == 0, error=said)


def norm_row(say: Say, device: torch.device, generator: torch.Generator) -> None:
    """The sum's LayerNorm."""
    tensors = [torch.randn(130, 768, generator=generator) for _ in range(2)]
    tensors += [torch.randn(768, generator=generator) for _ in range(2)]
    x, residual, weight, bias = (t.to(device, torch.float16) for t in tensors)
    exact = kernels.add_layer_norm_reference(x, residual, weight, bias, 1e-5)
    peer = functional.layer_norm(x + residual, [768], weight, bias, 1e-5)
    error = largest_error(kernels.add_layer_norm(x, residual, weight, bias, 1e-5), exact)
    right = error <= 2 * largest_error(peer, exact) + EPS
    say(what="add + LayerNorm", right=right, error=f"{error:.1e}")


def other_blocks(say: Say, device: torch.device, generator: torch.Generator) -> None:
    """What blocks beside BERT's add: windows, shared heads, norms in front, gates, rotation."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, torch.float16)

    def told(what: str, out: torch.Tensor, exact: torch.Tensor, peer: torch.Tensor) -> None:
        error, allowed = largest_error(out, exact), 2 * largest_error(peer, exact) + EPS
        say(what=what, right=error <= allowed, error=f"{error:.1e} of {allowed:.1e}")

    starts = torch.tensor([0, 1, 34, 334], dtype=torch.int32, device=device)
    for window, heads in ((64, 2), (7, 1), (None, 1)):
        qkv = drawn(340, 2 + 2 * heads, 64)
        out = kernels.varlen_attention(qkv, starts, 300, kv_heads=heads, window=window)
        options = (starts, None, heads, window)
        exact, peer = (plain_attention(rows, *options) for rows in (qkv.float(), qkv))
        told(f"attention, window {window}, {heads} of 2 key heads", out, exact, peer)
    x, residual, weight = drawn(70, 768), drawn(70, 768), drawn(768)
    given = (x, residual, weight, None, 1e-5)
    for rms, norm in ((False, functional.layer_norm), (True, functional.rms_norm)):
        out, exact = (f(*given, rms=rms)[1] for f in (kernels.pre_norm, kernels.pre_norm_reference))
        told(f"norm in front, RMS {rms}", out, exact, norm(x + residual, (768,), weight, eps=1e-5))
    for name in ("gelu", "silu"):
        peer = getattr(functional, name)(x) * residual
        both = torch.cat([x, residual], dim=1)
        told(f"gate {name}", kernels.gated(both, name), kernels.gated_reference(both, name), peer)
    ids = torch.arange(70, dtype=torch.int32, device=device)
    angles = ids[:, None] / 100.0 ** (torch.arange(32, device=device) / 32)
    given = (drawn(70, 36, 64), ids, angles.cos(), angles.sin(), 24)
    exact = kernels.rotate_reference(*given)
    told("rotary positions", kernels.rotate(*given), exact, exact.half())


def ptx(say: Say, device: torch.device) -> None:
    """Every tactic that TensorRT would be offered, for SM 80 and this GPU."""
    for operator, sm, isa, kernel in tactics():
        what = f"{operator}, SM {sm}, ISA {isa}, {kernel.shared_bytes} B shared"
        error, allowed = launch_once(kernel, operator)
        say(what=what, right=error <= allowed, error=f"{error:.1e} of {allowed:.1e}")


def sessions(say: Say, device: torch.device) -> None:
    """Two threads, eviction at each new shape, captures that fail, memory back at the end."""
    from xopt.engines.tensorrt.device import Device
    from xopt.engines.tensorrt.pool import SessionPool
    from xopt.engines.tensorrt.sessions import Session

    # Whatever the driver loads once is loaded before anything is counted.
    PtxEngine(refuse=False).close()
    torch.cuda.synchronize()
    before = torch.cuda.mem_get_info()[0]
    for refuse in (False, True):
        engine = PtxEngine(refuse=refuse)
        pool = SessionPool(
            lambda e=engine: Session(e.context, Device(), e.scratch_bytes, bound=1), 2
        )
        errors: list[float] = []

        def work(
            seed: int, engine: PtxEngine = engine, pool: Any = pool, errors: Any = errors
        ) -> None:
            for number in range(24):
                with pool.session() as session:
                    errors.append(engine.answer(session, 3 + (number // 4) % 3, seed))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        graphs = sum(p.graph is not None for s in pool.sessions for p in s.programs.values())
        pool.close()
        engine.close()
        # Python's largest number passes over a NaN that is not the first.
        worst = float(np.max(errors, initial=0))
        right = len(errors) == 48 and worst <= 1 and (graphs == 0) == refuse
        said = f"{len(errors)} answers, worst {worst:.2f} of allowed"
        what = f"two threads, captures {'refused' if refuse else 'taken'}, {graphs} graphs at end"
        say(what=what, right=right, error=said)
    torch.cuda.synchronize()
    lost = before - torch.cuda.mem_get_info()[0]
    say(what="memory", right=lost <= 4 << 20, error=f"{lost / 2**20:.1f} MiB not given back")


def engine(say: Say, device: torch.device) -> None:
    """Random batches: the same bits eager and captured, whatever is evicted; memory flat."""
    from gpu_peers import Models, packed

    small = device.type == "cpu"
    taken = launching.launch_options(torch.empty(0, device=device).device)["DEPENDENT"]
    say(what="dependent launches", value="taken" if taken else "none")
    generator = np.random.default_rng()
    sizes = [generator.integers(1, 4 if small else 33) for _ in range(2 if small else 200)]
    ids = [
        [generator.integers(5, 250_000, n).astype(np.int32) for n in lengths]
        for lengths in (generator.integers(1, 12 if small else 200, size) for size in sizes)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        models = Models("tiny" if small else "xlm-r-base", device.type, Path(scratch))
        if not small:
            folders = [str(models.bundle(precision).folder) for precision in PRECISIONS]
            compile_ahead(say, engine_shapes, folders)
        for precision in PRECISIONS[-1:] if small else PRECISIONS:
            made = models.engine(precision)
            first = made.signature.first_position
            answers: list[Any] = []
            for bound in (64, 1) if small else (64, 1, 2):
                made.programs.programs.clear()
                made.programs.bound = bound
                if bound == 64:
                    made.warm_up()
                    warm = len(made.programs.captured)
                wrong = 0
                for number, batch in enumerate(packed(i, first) for i in ids):
                    # Launch by launch, captured, and replayed.
                    for _ in range(3):
                        answer = made.run(batch)["logits"]
                        if number == len(answers):
                            answers.append(answer)
                        same = np.array_equal(answer, answers[number])
                        wrong += not (same and np.isfinite(answer).all())
                what = f"{precision}, {len(ids)} batches, programs {bound}"
                say(what=what, right=wrong == 0, error=f"{wrong} runs with other bits")
                if bound == 64 and not small:
                    late = len(made.programs.captured) - warm
                    right = late == 0 and warm == len(made.buckets.shapes)
                    what = f"{precision}, {warm} graphs of the warm-up"
                    say(what=what, right=right, error=f"{late} captured later")
                if bound == 1 and not small:
                    flat_row(say, made, [packed(i, first) for i in ids[:40]], precision)
            alone_row(say, made, [packed(i, first) for i in ids], answers, precision)
        models.close()


def alone_row(say: Say, made: Any, given: list[Any], answers: list[Any], precision: str) -> None:
    """The same bits where each kernel is launched when the one before it has ended."""
    with launched_alone():
        made.programs.programs.clear()
        wrong = sum(
            not np.array_equal(made.run(batch)["logits"], answer)
            for batch, answer in zip(given, answers, strict=True)
            for _ in range(3)
        )
    made.programs.programs.clear()
    what = f"{precision}, without dependent launches"
    say(what=what, right=wrong == 0, error=f"{wrong} runs with other bits")


@contextlib.contextmanager
def launched_alone() -> Iterator[None]:
    """No launch is dependent."""
    oldest, launching.OLDEST_DEPENDENT_SM = launching.OLDEST_DEPENDENT_SM, 1000
    try:
        yield
    finally:
        launching.OLDEST_DEPENDENT_SM = oldest


def flat_row(say: Say, made: Any, given: list[Any], precision: str) -> None:
    """Device memory over two rounds of the same batches, each evicting the one before."""
    used = []
    for _ in range(2):
        for batch in given:
            for _ in range(2):
                made.run(batch)
        torch.cuda.synchronize()
        used.append(torch.cuda.memory_reserved())
    grown = used[1] - used[0]
    what = f"{precision}, memory over a second round of evictions"
    say(what=what, right=grown <= 64 << 20, error=f"{grown / 2**20:.0f} MiB more")
