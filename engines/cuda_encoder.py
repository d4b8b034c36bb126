"""The packed encoder on the kernels of ``engines/kernels``: seven launches a layer, no padding.

    qkv ─ attention ─ output ─ add + LayerNorm ─ ffn_in + GELU ─ ffn_out ─ add + LayerNorm

The residual stream is fp16 or bf16 and every sum fp32. In INT8 the step before each matrix product
also quantizes what the product reads, so that no value makes the way through memory for that alone.
Everything follows from the shapes of the batch, never from its values: a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from triton import knobs

from xopt.engines import kernels
from xopt.engines.kernels.linear import launch_linear_int8, linear_int8_candidates
from xopt.engines.kernels.linear_float import launch_linear_gelu, linear_gelu_candidates
from xopt.engines.kernels.tiles import Tile

__all__ = ["DTYPES", "Encoder", "PackedIds", "Products"]

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
WARM_LAUNCHES, TIMED_LAUNCHES = 2, 10


@dataclass(frozen=True)
class PackedIds:
    """A packed batch on the device; see :class:`xopt.packing.PackedBatch`.

    Attributes:
        input_ids: ``[T]`` int32.
        position_ids: ``[T]`` int32.
        token_type_ids: ``[T]`` int32.
        cu_seqlens: ``[B + 1]`` int32.
    """

    input_ids: Tensor
    position_ids: Tensor
    token_type_ids: Tensor
    cu_seqlens: Tensor


class Products:
    """Matrix products of ours, each shape by what was fastest for it when it first came.

    The sums of INT8 are integers, so an answer is the same whichever is chosen.
    """

    def __init__(self) -> None:
        self.chosen: dict[tuple[int, int, int, bool, bool], Tile | None] = {}

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_gelu`."""
        out_features, in_features = weight.shape
        key = (len(x), out_features, in_features, True, False)
        if key not in self.chosen:
            kernels.linear_gelu(x, weight, bias)
            candidates = linear_gelu_candidates(len(x), x.dtype)
            self._choose(key, candidates, lambda tile: launch_linear_gelu(x, weight, bias, tile))
        return launch_linear_gelu(x, weight, bias, self.chosen[key])

    def __call__(
        self, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, **epilogue: Any
    ) -> Tensor:
        """As :func:`xopt.engines.kernels.linear_int8`."""
        operands = (x, weight, scale, bias)
        tokens, (out_features, in_features) = len(x), weight.shape
        quantized = epilogue.get("out_scale") is not None
        key = (tokens, out_features, in_features, bool(epilogue.get("gelu")), quantized)
        if key in self.chosen:
            return launch_linear_int8(*operands, self.chosen[key], **epilogue)
        # Checks every argument, and compiles the default.
        out = kernels.linear_int8(*operands, **epilogue)
        candidates = linear_int8_candidates(tokens, out_features, in_features)
        self._choose(key, candidates, lambda tile: launch_linear_int8(*operands, tile, **epilogue))
        return out

    def _choose(
        self,
        key: tuple[int, int, int, bool, bool],
        candidates: list[Tile | None],
        launch: Callable[[Tile | None], Tensor],
    ) -> None:
        self.chosen[key] = candidates[0]
        if len(candidates) > 1 and not knobs.runtime.interpret:
            times = {tile: _time(launch, tile) for tile in candidates}
            self.chosen[key] = min(times, key=lambda tile: times[tile])


def _time(launch: Callable[[Tile | None], Tensor], tile: Tile | None) -> float:
    """Milliseconds of one launch; infinite where this GPU cannot do it."""
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    try:
        for number in range(WARM_LAUNCHES + TIMED_LAUNCHES):
            if number == WARM_LAUNCHES:
                start.record()
            launch(tile)
        end.record()
        end.synchronize()
    # A tile that needs more shared memory than there is, or a shape the library refuses.
    except Exception:
        return float("inf")
    return float(start.elapsed_time(end)) / TIMED_LAUNCHES


class _Linear:
    """A layer's matrix product, in floating point or INT8."""

    def __init__(self, weights: _Weights, name: str, site: str, products: Products) -> None:
        self.weight = weights.matrix(name + ".weight")
        self.bias = weights.full(name + ".bias")
        self.products = products
        self.quantized = self.weight.dtype == torch.int8
        if self.quantized:
            self.scale = weights.full(name + ".weight.scale")
            self.x_scale = float(weights.full(site + ".scale"))
            self.steps = weights.steps(site)
        else:
            self.narrow_bias = self.bias.to(self.weight.dtype)

    def __call__(
        self,
        x: Tensor,
        *,
        dtype: torch.dtype,
        gelu: bool = False,
        out_scale: float | Tensor | None = None,
    ) -> Tensor:
        """``[T, in]``, int8 if quantized -> ``[T, out]``, int8 if there is an ``out_scale``."""
        if self.quantized:
            return self.products(
                x, self.weight, self.scale, self.bias,
                x_scale=self.x_scale, gelu=gelu, out_scale=out_scale, out_dtype=dtype,
            )  # fmt: skip
        if gelu:
            return self.products.gelu(x, self.weight, self.bias)
        return functional.linear(x, self.weight, self.narrow_bias)


class _Weights:
    """The stored tensors on the device, each in the type it is used in."""

    def __init__(
        self, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.tensors, self.device, self.dtype = tensors, device, dtype

    def matrix(self, name: str) -> Tensor:
        """int8 as it is, anything else in the dtype of the activations."""
        tensor = self.tensors[name].to(self.device)
        return tensor if tensor.dtype == torch.int8 else tensor.to(self.dtype)

    def full(self, name: str) -> Tensor:
        """fp32."""
        return self.tensors[name].to(self.device, torch.float32)

    def steps(self, site: str) -> float | Tensor:
        """The scale that quantizes a site: one per channel where it is smoothed."""
        if site + ".steps" in self.tensors:
            return self.full(site + ".steps")
        return float(self.tensors[site + ".scale"])

    def norm(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight and bias of a LayerNorm."""
        return self.full(name + ".weight"), self.full(name + ".bias")


class _Layer:
    """Self-attention and feed-forward on ``[T, hidden]``."""

    def __init__(self, weights: _Weights, number: int, heads: int, products: Products) -> None:
        name = f"layers.{number}"
        self.heads = heads
        self.dtype = weights.dtype
        self.qkv = _Linear(weights, f"{name}.qkv", f"{name}.qkv_in", products)
        self.output = _Linear(weights, f"{name}.attention_output", f"{name}.context", products)
        self.ffn_in = _Linear(weights, f"{name}.ffn_in", f"{name}.ffn_in", products)
        self.ffn_out = _Linear(weights, f"{name}.ffn_out", f"{name}.ffn_act", products)
        self.attention_norm = weights.norm(f"{name}.attention_norm")
        self.ffn_norm = weights.norm(f"{name}.ffn_norm")
        self.quantized = self.qkv.quantized
        self.qkv_scale: Tensor | None = None
        if f"{name}.qkv_out.scale" in weights.tensors:
            self.qkv_scale = weights.full(f"{name}.qkv_out.scale")
            self.part_scale = self.qkv_scale.view(3, -1)[:, 0].contiguous()

    def attend(self, x: Tensor, cu_seqlens: Tensor) -> Tensor:
        """``[T, hidden]``, what the joint projection reads -> what the output projection reads."""
        qkv = self.qkv(x, dtype=self.dtype, out_scale=self.qkv_scale)
        tokens = len(qkv)
        packed = qkv.view(tokens, 3, self.heads, -1)
        steps = self.output.steps if self.quantized else None
        if self.qkv_scale is None:
            context = kernels.varlen_attention(packed, cu_seqlens, tokens, out_scale=steps)
        else:
            context = kernels.varlen_attention_int8(
                packed, cu_seqlens, tokens, qkv_scale=self.part_scale, out_scale=steps
            )
        return context.view(tokens, -1)


class Encoder:
    """A whole encoder with its head.

    Args:
        tensors: by the names of :mod:`xopt.engines.cuda_weights`.
        facts: of the encoder, by the names of the same module.
        device: where it runs.
        dtype: of the activations.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        weights = _Weights(tensors, device, dtype)
        self.dtype = dtype
        self.products = Products()
        self.epsilon = float(facts["epsilon"])
        self.words = weights.matrix("embeddings.word")
        quantized = self.words.dtype == torch.int8
        self.word_scale = weights.full("embeddings.word.scale") if quantized else None
        self.positions = weights.full("embeddings.position")
        self.types = weights.full("embeddings.type")
        self.norm = weights.norm("embeddings.norm")
        self.layers = [
            _Layer(weights, number, facts["heads"], self.products)
            for number in range(facts["layers"])
        ]
        self.kind, self.pooling = facts["head"]["kind"], facts["head"].get("pooling")
        self.head = {name: weights.full(name) for name in tensors if name.startswith("head.")}

    def __call__(self, ids: PackedIds) -> Tensor:
        """``[B, width]`` or ``[T, width]`` fp32."""
        x, read = self._embed(ids)
        for number, layer in enumerate(self.layers):
            context = layer.attend(read, ids.cu_seqlens)
            out = layer.output(context, dtype=self.dtype)
            x, read = self._add_norm(out, x, layer.attention_norm, layer.ffn_in)
            act_scale = layer.ffn_out.steps if layer.quantized else None
            act = layer.ffn_in(read, dtype=self.dtype, gelu=True, out_scale=act_scale)
            out = layer.ffn_out(act, dtype=self.dtype)
            last = number + 1 == len(self.layers)
            reader = None if last else self.layers[number + 1].qkv
            x, read = self._add_norm(out, x, layer.ffn_norm, reader)
        return self._answer(x, ids.cu_seqlens)

    def _embed(self, ids: PackedIds) -> tuple[Tensor, Tensor]:
        """The embeddings, and what the first layer reads of them."""
        arguments = (
            ids.input_ids, ids.position_ids, ids.token_type_ids,
            self.words, self.positions, self.types, *self.norm, self.epsilon,
        )  # fmt: skip
        options: dict[str, Any] = {"word_scale": self.word_scale, "out_dtype": self.dtype}
        if self.layers and self.layers[0].quantized:
            steps = self.layers[0].qkv.steps
            x, read = kernels.embed_layer_norm_int8(*arguments, steps, **options)
            return x, read
        x = kernels.embed_layer_norm(*arguments, **options)
        return x, x

    def _add_norm(
        self, x: Tensor, residual: Tensor, norm: tuple[Tensor, Tensor], reader: _Linear | None
    ) -> tuple[Tensor, Tensor]:
        """The next residual stream, and what ``reader`` reads of it."""
        if reader is not None and reader.quantized:
            return kernels.add_layer_norm_int8(x, residual, *norm, self.epsilon, reader.steps)
        out = kernels.add_layer_norm(x, residual, *norm, self.epsilon)
        return out, out

    def _answer(self, x: Tensor, cu_seqlens: Tensor) -> Tensor:
        """The head, in fp32 as in the lowered graph."""
        if self.kind == "embed" and self.pooling == ["mean"]:
            return kernels.mean_pool(x, cu_seqlens)
        if self.kind in ("classify", "embed"):
            # An empty sentence that fills up a bucket begins behind the last token.
            first = cu_seqlens[:-1].clamp(max=len(x) - 1)
            x = x.index_select(0, first)
        x = x.float()
        if self.kind == "embed":
            return x
        if self.kind == "classify":
            x = torch.tanh(functional.linear(x, *self._head("dense")))
        return functional.linear(x, *self._head("output"))

    def _head(self, name: str) -> tuple[Tensor, Tensor]:
        return self.head[f"head.{name}.weight"], self.head[f"head.{name}.bias"]
