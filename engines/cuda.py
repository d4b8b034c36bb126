"""NVIDIA GPUs from SM 80: the packed encoder on our Triton kernels, in CUDA graphs.

Attention reads the joint projection as it stands, sentence after sentence, so nothing is ever
padded; see ``engines/kernels``. The parts: ``cuda_weights`` (what is stored), ``cuda_encoder``,
``cuda_layer``, ``cuda_head`` and ``cuda_products`` (the computation), ``cuda_programs`` (buffers
and graphs).
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.engines.base import Engine, plain_batch
from xopt.engines.building import Builder, BuilderOptions, Built, Context
from xopt.engines.cuda_buckets import Buckets, choose_buckets
from xopt.engines.cuda_rows import FIELD, choose_rows, read_rows
from xopt.engines.cuda_weights import FACTS, TENSORS, read_facts
from xopt.errors import InputError, UnsupportedError, did_you_mean, require
from xopt.host import tool_versions
from xopt.packing import PackedBatch
from xopt.progress import Progress

if TYPE_CHECKING:
    import torch

__all__ = ["CudaBuilder", "CudaEngine", "open_device"]

WHY = "Running this bundle"
RUNS_ON = "an NVIDIA GPU of SM 80 or newer"
ON_CPU = "For this machine's CPU, build with: xopt build CHECKPOINT --target cpu"


class CudaEngine(Engine):
    """The encoder on one GPU, on one stream.

    Args:
        bundle: of the target ``cuda``.
        device: ``cuda``, ``cuda:1`` and so on; ``cpu`` runs the kernels in Triton's interpreter,
            for tests.
        dtype: of the activations: ``fp16``, ``bf16`` for encoders whose values leave fp16's range,
            or ``fp32`` for tests.
        programs: most buckets to keep buffers and CUDA graphs for; with fewer than there are, the
            least recently used one is dropped.
    """

    name = "cuda"

    def __init__(
        self, bundle: Bundle, *, device: str = "cuda", dtype: str = "fp16", programs: int = 64
    ) -> None:
        super().__init__(bundle)
        self.torch = require("torch", extra="cuda", why=WHY)
        require("triton", extra="cuda", why=WHY)
        self.device = open_device(device)
        if programs < 1:
            raise InputError(f"programs is {programs}; at least 1 is needed.")
        self.buckets, self.rows = Buckets.read(bundle), read_rows(bundle)
        from xopt.engines.cuda_encoder import DTYPES, Encoder
        from xopt.engines.cuda_programs import Programs

        if dtype not in DTYPES:
            raise InputError(f"Unknown dtype {dtype!r}.", hint=did_you_mean(dtype, DTYPES))
        files = require("safetensors.torch", extra="cuda", why=WHY)
        tensors = files.load_file(bundle.folder / TENSORS)
        on_gpu = self.device.type == "cuda"
        self.stream = self.torch.cuda.Stream(self.device) if on_gpu else None
        with self._entered():
            facts = read_facts(bundle.folder)
            self.encoder = Encoder(tensors, facts, self.device, DTYPES[dtype], self.rows)
            first = self.signature.first_position
            self.programs = Programs(self.encoder, self.device, first, programs, self.buckets)

    @contextlib.contextmanager
    def _entered(self, what: str = "This bundle", hint: str = ON_CPU) -> Iterator[None]:
        """On this engine's device and stream.

        Raises:
            UnsupportedError: the GPU's memory is full; it says so of ``what``.
        """
        stream = self.torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext()
        try:
            with self.torch.inference_mode(), stream:
                yield
        except self.torch.OutOfMemoryError as error:
            message = f"{what} does not fit into the memory of {self.device}."
            raise UnsupportedError(message, hint=hint) from error

    def plan(self, batch: PackedBatch) -> list[NDArray[np.intp]]:
        """Groups that each fit the largest bucket."""
        return self.buckets.split(batch)

    def warm_up(self) -> None:
        """Compile, tune and capture every bucket, so that no later batch waits for any of it.

        A second call does nothing, and the interpreter has nothing to prepare.

        Raises:
            UnsupportedError: the GPU's memory is full.
        """
        begin = time.perf_counter()
        what = f"A graph for each of {len(self.buckets.shapes)} shapes of batch"
        with self._entered(what, "Open the engine with fewer programs, or do not warm it up."):
            self.programs.warm_up(plain_batch([1], self.signature))
        self.prepare_s += time.perf_counter() - begin

    def _run(self, part: PackedBatch) -> NDArray[np.float32]:
        if "token_type_ids" not in self.signature.inputs:
            # A tokenizer numbers a pair's second text 1 though the encoder has no types: the
            # kernel, which checks none, would read behind the table's one row.
            part = dataclasses.replace(part, token_type_ids=np.zeros_like(part.token_type_ids))
        with self._entered(f"A batch of {part.tokens:,} tokens", "Run smaller batches."):
            return self.programs.run(part, self._shape(part)[0])

    def close(self) -> None:
        """Free the GPU's memory."""
        if self.stream:
            self.stream.synchronize()
        for name in ("programs", "encoder"):
            vars(self).pop(name, None)

    def describe(self) -> dict[str, Any]:
        """Device, versions, captured shapes, and how each INT8 product runs."""
        chosen = {
            f"{tokens}x{out}x{inner}{' gelu' * gelu}{' int8' * int8}": str(tile or "library")
            for (tokens, out, inner, gelu, int8), tile in self.encoder.products.chosen.items()
        }
        on_gpu = self.device.type == "cuda"
        return {
            "engine": self.name,
            "device": self.torch.cuda.get_device_name(self.device) if on_gpu else "interpreter",
            "dtype": str(self.encoder.dtype).removeprefix("torch."),
            **tool_versions("torch", "triton"),
            "buckets": self.buckets.describe(),
            FIELD: self.rows,
            "graphs": [f"{t} tokens, {s} sentences" for t, s in self.programs.captured],
            "products": chosen,
        }


def open_device(name: str) -> torch.device:
    """The device of this name, if the kernels can run there.

    Raises:
        UnsupportedError: there is none, it is too old, or it is a CPU without the interpreter.
        InputError: no such name.
    """
    torch = require("torch", extra="cuda", why=WHY)
    checks = require("xopt.engines.kernels.checks", extra="cuda", why=WHY)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"Unknown device {name!r}.", hint="Possible: cuda, cuda:1, cpu."
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UnsupportedError(
                "This bundle needs an NVIDIA GPU, and PyTorch finds none here.", hint=ON_CPU
            )
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device.index >= torch.cuda.device_count():
            raise UnsupportedError(
                f"There is no {device}.", hint=f"CUDA devices here: {torch.cuda.device_count()}."
            )
    checks.require_capability(device)
    return device  # type: ignore[no-any-return]


class CudaBuilder(Builder[BuilderOptions, Context]):
    """The arrays that the kernels read, which need neither ONNX nor a GPU later."""

    target = "cuda"
    reads_lengths = True

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``weights.safetensors`` and ``engine.json``.

        Raises:
            UnsupportedError: the kernels do not take this head size, or a weight leaves fp16.
        """
        lowered = context.lower()
        for name in (TENSORS, FACTS):
            shutil.copyfile(lowered.folder / name, out / name)
        most = lowered.manifest["max_tokens"]
        facts = choose_buckets(context.lengths, most).manifest()
        facts["runs_on_text"] = RUNS_ON
        facts[FIELD] = choose_rows(context.lengths, most, read_facts(out).windows)
        return Built(lowered, tool_versions("torch", "triton") | facts)
