"""A stage's kernels compiled by many processes at once, before it needs them one after the other.

Each process does what the stage will do and launches nothing: it compiles its share of the kernels
that would be launched, into the folder where Triton looks for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any
from unittest import mock

import torch
from triton.runtime.jit import JITFunction

from xopt.engines import cuda_products
from xopt.engines.kernels import launching

__all__ = ["compile_ahead", "engine_shapes", "sharing"]

# What a process holds of a GPU: its context, an encoder and its activations.
PROCESS_BYTES, MOST_PROCESSES = 3 << 30, 16
# PR_SET_PDEATHSIG of prctl(2).
PARENT_DIED = 1


def compile_ahead(say: Callable[..., None], work: Callable[..., None], *arguments: Any) -> None:
    """Compile all that ``work(*arguments, device)`` launches; what fails here is compiled there.

    Args:
        say: writes a row: how many kernels, and how long that took.
        work: a function of a module, so that another process finds it.
        arguments: that can be sent there.
    """
    free = torch.cuda.mem_get_info()[0] // PROCESS_BYTES
    count = max(1, min(len(os.sched_getaffinity(0)), free, MOST_PROCESSES))
    begin = time.perf_counter()
    # A new process: one that was forked has no working context of CUDA.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=end_with_parent) as pool:
        shares: list[Future[int]] = []
        found: list[int | BaseException] = []
        try:
            shares += (pool.submit(_share, work, arguments, n, count) for n in range(count))
        except BrokenProcessPool as error:
            # One ended before the last had begun.
            found.append(error)
        found += [(share.exception() or share.result()) for share in shares]
    seconds = time.perf_counter() - begin
    kernels = sum(one for one in found if isinstance(one, int))
    said = f"{kernels} kernels by {count} processes in {seconds:.0f} s"
    failed = [one for one in found if isinstance(one, BaseException)]
    if failed:
        said += f"; {len(failed)} failed: {type(failed[0]).__name__}: {failed[0]!s:.200}"
    say(what="compiled ahead", value=said)


def end_with_parent() -> None:
    """Of a process that works for this one: it takes one core, and ends with this one."""
    torch.set_num_threads(1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)


def _share(work: Callable[..., None], arguments: Any, number: int, count: int) -> int:
    """The ``number``-th of ``count`` processes; how many kernels it compiled."""
    device = torch.device("cuda", torch.cuda.current_device())
    # Launched, to find out how others are.
    launching.launch_options(device)
    with sharing(number, count) as compiled:
        work(*arguments, device)
    return len(compiled)


@contextlib.contextmanager
def sharing(number: int, count: int) -> Iterator[set[bytes]]:
    """Launches compile this process's share of the kernels, and do nothing else."""
    run, compiled = JITFunction.run, set[bytes]()

    def only_compiled(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        given = [described(argument) for argument in arguments]
        named = [(name, named_value(value)) for name, value in sorted(options.items())]
        key = repr((self.__name__, given, named)).encode()
        if zlib.crc32(key) % count == number and key not in compiled:
            compiled.add(key)
            # A tile that does not compile is told where it is launched.
            with contextlib.suppress(Exception):
                run(self, *arguments, grid=grid, warmup=True, **options)

    with mock.patch.object(JITFunction, "run", only_compiled):
        yield compiled


def described(argument: Any) -> Any:
    """What the code of a kernel depends on; the kernels ask for no code of a number's own."""
    if isinstance(argument, torch.Tensor):
        return str(argument.dtype), argument.data_ptr() % 16 == 0
    shape = getattr(argument, "block_shape", None)
    return type(argument).__name__, shape, str(argument.base.dtype) if shape else None


def named_value(value: Any) -> Any:
    """The same of what has a name: a constant is itself, of a tensor what is in it is nothing."""
    return described(value) if isinstance(value, torch.Tensor) else value


def engine_shapes(bundles: list[str], device: torch.device) -> None:
    """Each bucket of these bundles' engines, launch by launch, and every tile of its products."""
    from pathlib import Path

    from xopt.artifacts import Bundle
    from xopt.engines.base import open_engine, plain_batch

    def launched(launch: Callable[[Any], Any], tile: Any) -> float:
        with contextlib.suppress(Exception):
            launch(tile)
        return 0.0

    with mock.patch.object(cuda_products, "_time", launched):
        for folder in bundles:
            made: Any = open_engine(Bundle.open(Path(folder)), device=str(device))
            batch = plain_batch([1], made.signature)
            with made._entered():
                for key in made.buckets.shapes:
                    # The first run of a program is launch by launch.
                    made.programs._at(key).run(batch, 1, None)
            made.close()
