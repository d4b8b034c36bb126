"""The packed encoder on the kernels of ``engines/kernels``: seven launches a layer, no padding.

    qkv ─ attention ─ output ─ add + norm ─ ffn_in + GELU ─ ffn_out ─ add + norm

Rotary positions are one launch more, and so is the activation of a gated part. Norms stand behind
each part or in front of it: then the add writes the residual stream and its norm. The stream is
fp16 or bf16 and every sum fp32. In INT8 the step before each matrix product also quantizes what the
product reads, so that no value makes the way through memory for that alone. Everything follows from
the shapes of the batch, never from its values: a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from xopt.engines import kernels
from xopt.engines.cuda_head import Head
from xopt.engines.cuda_layer import Layer, Linear, Norm, PackedIds, Weights
from xopt.engines.cuda_products import Products
from xopt.engines.cuda_weights import Facts

__all__ = ["DTYPES", "Encoder"]

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

Part = Callable[[Tensor, PackedIds, Tensor], Tensor]


class Encoder:
    """A whole encoder with its head.

    Args:
        tensors: by the names of :mod:`xopt.engines.cuda_weights`.
        facts: of the encoder.
        device: where it runs.
        dtype: of the activations.
        rows: of attention's tiles (:mod:`xopt.engines.cuda_rows`).
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], facts: Facts, device: torch.device, dtype: torch.dtype,
        rows: int,
    ) -> None:  # fmt: skip
        weights = Weights(tensors, device, dtype)
        self.dtype, self.epsilon = dtype, facts.epsilon
        self.products = Products()
        self.words = weights.matrix("embeddings.word")
        quantized = self.words.dtype == torch.int8
        self.word_scale = weights.full("embeddings.word.scale") if quantized else None
        absolute = "embeddings.position" in tensors
        self.positions = weights.full("embeddings.position") if absolute else None
        self.types = weights.full("embeddings.type")

        def norm(name: str) -> Norm | None:
            return Norm(weights, name, facts) if name + ".weight" in tensors else None

        numbers = range(facts.layers)
        self.layers = [Layer(weights, number, facts, self.products, rows) for number in numbers]
        self.norm = norm("embeddings.norm")
        names = [f"layers.{n}.{part}_norm" for n in numbers for part in ("attention", "ffn")]
        norms = [norm(name) for name in names]
        self.first: Norm | None = None
        if facts.pre and norms:
            # What stands in front of a part follows the one before it.
            self.first, *norms = [*norms, norm("final_norm")]
        self.steps = list(self._steps(norms))
        head = {name: weights.full(name) for name in tensors if name.startswith("head.")}
        self.head = Head(head, facts.head, facts.form)

    def _steps(self, norms: list[Norm | None]) -> Iterator[tuple[Part, Norm | None, Linear | None]]:
        """Each part of a layer, the norm behind its sum, and what reads that."""
        parts: list[tuple[Part, Linear]] = []
        for layer in self.layers:
            parts += [(layer.attend, layer.qkv), (layer.feed_forward, layer.ffn_in)]
        readers = [reader for _, reader in parts[1:]]
        for (part, _), norm, reader in zip_longest(parts, norms, readers):
            yield part, norm, reader

    def __call__(self, ids: PackedIds) -> Tensor:
        """``[B, width]`` or ``[T, width]`` fp32."""
        x, read = self._embed(ids)
        for part, norm, reader in self.steps:
            out = part(read, ids, x)
            if norm is None:
                # Behind the last of the layers that run.
                read = x + out
            else:
                x, read = norm.add(out, x, reader)
        return self.head(read, ids.cu_seqlens)

    def _embed(self, ids: PackedIds) -> tuple[Tensor, Tensor]:
        """The embeddings, and what the first layer reads of them."""
        rows = (
            ids.input_ids, ids.position_ids, ids.token_type_ids,
            self.words, self.positions, self.types,
        )  # fmt: skip
        options: dict[str, Any] = {"word_scale": self.word_scale, "out_dtype": self.dtype}
        reader = self.layers[0].qkv if self.layers else None
        if self.norm is not None and self.first is None and reader and reader.quantized:
            given = self.norm.weight, self.norm.bias, self.epsilon, reader.steps
            return kernels.embed_layer_norm_int8(*rows, *given, **options)
        weight, bias = (None, None) if self.norm is None else (self.norm.weight, self.norm.bias)
        x = kernels.embed_layer_norm(*rows, weight, bias, self.epsilon, **options)
        return (x, x) if self.first is None else self.first.add(x, None, reader)
