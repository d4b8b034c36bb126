"""One shape of batch on the device: its buffers and its CUDA graph, and a bounded pool of them.

Batches are filled up to one of the engine's buckets (:mod:`xopt.engines.cuda_buckets`). A bucket
that comes for the first time runs launch by launch, which also compiles and tunes its kernels; when
it comes again it is captured. Where fewer programs are allowed than there are buckets, the least
recently used one is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from xopt.engines.cuda_buckets import Buckets
from xopt.engines.cuda_layer import PackedIds
from xopt.packing import PackedBatch

__all__ = ["Program", "Programs"]

Forward = Callable[[PackedIds], torch.Tensor]


class Program:
    """The encoder for batches of up to ``tokens`` and ``sentences``.

    Args:
        tokens: T of the bucket.
        sentences: B of the bucket.
        forward: the encoder.
        device: where it runs; on a CPU there is neither pinned memory nor a graph.
        filler: position id of the unused tail.
    """

    def __init__(
        self, tokens: int, sentences: int, forward: Forward, device: torch.device, filler: int
    ) -> None:
        self.tokens, self.sentences, self.forward = tokens, sentences, forward
        self.on_gpu = device.type == "cuda"
        size = 3 * tokens + sentences + 1
        self.staging = torch.zeros(size, dtype=torch.int32, pin_memory=self.on_gpu)
        self.device_ids = torch.zeros(size, dtype=torch.int32, device=device)
        self.filler = filler
        fields: list[int] = [tokens, tokens, tokens, sentences + 1]
        self.ids = PackedIds(*torch.split(self.device_ids, fields))
        self.graph: torch.cuda.CUDAGraph | None = None
        self.out: torch.Tensor | None = None
        self.answer: torch.Tensor | None = None
        self.runs = 0

    def run(self, batch: PackedBatch, rows: int, memory: object) -> NDArray[np.float32]:
        """Answer a batch; the first ``rows`` of the bucket's answer, a new array.

        Args:
            batch: fits into the bucket.
            rows: of the answer that belong to the batch.
            memory: the pool of device memory that graphs share.
        """
        self._stage(batch)
        self.device_ids.copy_(self.staging, non_blocking=True)
        if self.on_gpu and self.runs == 1:
            self._capture(memory)
        self.runs += 1
        if self.graph is not None:
            self.graph.replay()
        else:
            self.out = self.forward(self.ids)
        assert self.out is not None
        if not self.on_gpu:
            return self.out[:rows].numpy().copy()
        if self.answer is None:
            self.answer = torch.empty(self.out.shape, dtype=self.out.dtype, pin_memory=True)
        self.answer[:rows].copy_(self.out[:rows], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self.answer[:rows].numpy().copy()

    def _stage(self, batch: PackedBatch) -> None:
        host = self.staging.numpy()
        used, bound = batch.tokens, self.tokens
        fields = (
            (batch.input_ids, 0),
            (batch.position_ids, self.filler),
            (batch.token_type_ids, 0),
        )
        for number, (values, filler) in enumerate(fields):
            start = number * bound
            host[start : start + used] = values
            host[start + used : start + bound] = filler
        host[3 * bound : 3 * bound + batch.sentences + 1] = batch.cu_seqlens
        host[3 * bound + batch.sentences + 1 :] = used

    def _capture(self, memory: object) -> None:
        self.out = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory, stream=torch.cuda.current_stream()):  # type: ignore[arg-type]
            self.out = self.forward(self.ids)
        self.graph = graph


class Programs:
    """The buckets in use, at most ``bound`` of them.

    Graphs share one pool of device memory: they run one after the other on one stream, and what a
    graph answers is copied away before the next one runs.

    Args:
        forward: the encoder.
        device: where it runs.
        filler: position id of an unused tail.
        bound: most programs to keep.
        buckets: the shapes that batches are filled up to.
    """

    def __init__(
        self, forward: Forward, device: torch.device, filler: int, bound: int, buckets: Buckets
    ) -> None:
        self.forward, self.device, self.filler, self.bound = forward, device, filler, bound
        self.buckets = buckets
        self.programs: OrderedDict[tuple[int, int], Program] = OrderedDict()
        on_gpu = device.type == "cuda"
        self.memory: object = torch.cuda.graph_pool_handle() if on_gpu else None

    def run(self, batch: PackedBatch, rows: int) -> NDArray[np.float32]:
        """Answer a batch that fits into a bucket, by the program of the smallest."""
        key = self.buckets.find(batch.tokens, batch.sentences)
        assert key is not None
        return self._at(key).run(batch, rows, self.memory)

    def warm_up(self, batch: PackedBatch) -> None:
        """Run every bucket that is kept until it is captured, the largest first.

        Smaller graphs then find room in the memory of the larger ones.

        Args:
            batch: one that fits into every bucket.
        """
        for key in sorted(self.buckets.shapes[: self.bound], reverse=True):
            # The first run compiles and tunes, the second one captures.
            while self.device.type == "cuda" and key not in self.captured:
                self._at(key).run(batch, 1, self.memory)

    def _at(self, key: tuple[int, int]) -> Program:
        program = self.programs.pop(key, None)
        if program is None:
            while len(self.programs) >= self.bound:
                self.programs.popitem(last=False)
            program = Program(*key, self.forward, self.device, self.filler)
        self.programs[key] = program
        if self.memory is not None and not self.captured:
            # PyTorch takes no graph into a pool whose graphs are all gone.
            self.memory = torch.cuda.graph_pool_handle()
        return program

    @property
    def captured(self) -> list[tuple[int, int]]:
        """Shapes that run as a CUDA graph."""
        return [key for key, program in self.programs.items() if program.graph is not None]
