"""One layer of the encoder on the kernels of ``engines/kernels``.

Queries, keys and values are one product, and so are both halves of a gated part. The step before
each matrix product also quantizes what the product reads, where it is INT8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.cuda_products import Products
from xopt.engines.cuda_weights import Facts

__all__ = ["Layer", "Linear", "Norm", "PackedIds", "Weights"]


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


class Weights:
    """The stored tensors on the device, each in the type it is used in."""

    def __init__(
        self, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.tensors, self.device, self.dtype = tensors, device, dtype
        self._turns: dict[int, tuple[Tensor, Tensor]] = {}

    def matrix(self, name: str) -> Tensor:
        """int8 as it is, anything else in the dtype of the activations."""
        tensor = self.tensors[name].to(self.device)
        return tensor if tensor.dtype == torch.int8 else tensor.to(self.dtype)

    def full(self, name: str) -> Tensor:
        """fp32."""
        return self.tensors[name].to(self.device, torch.float32)

    def steps(self, site: str) -> float | Tensor:
        """What quantizes a site: a number, or scales per channel where it is smoothed."""
        if site + ".steps" in self.tensors:
            return kernels.channel_scales(self.full(site + ".steps"))
        return float(self.tensors[site + ".scale"])

    def turn(self, number: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary positions, which many layers share."""
        if number not in self._turns:
            cosine, sine = (self.full(f"rotary.{number}.{kind}") for kind in ("cos", "sin"))
            self._turns[number] = cosine, sine
        return self._turns[number]


class Linear:
    """A layer's matrix product, in floating point or INT8."""

    def __init__(self, weights: Weights, name: str, site: str, products: Products) -> None:
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


class Norm:
    """A norm, of the sum of a part and the residual stream.

    Args:
        weights: that hold it.
        name: of it.
        facts: of the encoder.
    """

    def __init__(self, weights: Weights, name: str, facts: Facts) -> None:
        self.weight = weights.full(name + ".weight")
        biased = name + ".bias" in weights.tensors
        self.bias = weights.full(name + ".bias") if biased else None
        self.epsilon, self.rms, self.pre = facts.epsilon, facts.rms, facts.pre

    def add(
        self, x: Tensor, residual: Tensor | None, reader: Linear | None
    ) -> tuple[Tensor, Tensor]:
        """The next residual stream, and what ``reader`` reads; without ``residual``, of ``x``."""
        steps = reader.steps if reader is not None and reader.quantized else None
        norm = self.weight, self.bias, self.epsilon
        if self.pre or residual is None:
            return kernels.pre_norm(x, residual, *norm, rms=self.rms, out_scale=steps)
        if steps is not None:
            return kernels.add_layer_norm_int8(x, residual, *norm, steps)
        out = kernels.add_layer_norm(x, residual, *norm)
        return out, out


class Layer:
    """Self-attention and feed-forward on ``[T, hidden]``.

    Args:
        weights: that hold it.
        number: of the layer.
        facts: of the encoder.
        products: that it multiplies by.
        rows: of attention's tiles.
    """

    def __init__(
        self, weights: Weights, number: int, facts: Facts, products: Products, rows: int
    ) -> None:
        name = f"layers.{number}"
        self.facts, self.dtype, self.rows = facts, weights.dtype, rows
        self.window = facts.windows[number] if facts.windows else None
        self.qkv = Linear(weights, f"{name}.qkv", f"{name}.qkv_in", products)
        self.output = Linear(weights, f"{name}.attention_output", f"{name}.context", products)
        self.ffn_in = Linear(weights, f"{name}.ffn_in", f"{name}.ffn_in", products)
        self.ffn_out = Linear(weights, f"{name}.ffn_out", f"{name}.ffn_act", products)
        table = facts.turns[number] if facts.turns else None
        self.turn = None if table is None else weights.turn(table)
        self.qkv_scale: Tensor | None = None
        if f"{name}.qkv_out.scale" in weights.tensors:
            scale = weights.full(f"{name}.qkv_out.scale")
            self.qkv_scale = kernels.channel_scales(scale)
            self.part_scale = scale.view(3, -1)[:, 0].contiguous()

    def attend(self, x: Tensor, ids: PackedIds, stream: Tensor) -> Tensor:
        """``[T, hidden]``, what the joint projection reads -> what is added to the stream.

        ``stream`` is told of values beyond the activations' type, of which int8 would say nothing.
        """
        facts = self.facts
        qkv = self.qkv(x, dtype=self.dtype, out_scale=self.qkv_scale)
        tokens = len(qkv)
        steps = self.output.steps if self.output.quantized else None
        if self.qkv_scale is None:
            packed = qkv.view(tokens, facts.heads + 2 * facts.shared, facts.width)
            if self.turn is not None:
                turned = facts.heads + (1 + facts.turns_values) * facts.shared
                kernels.rotate(packed, ids.position_ids, *self.turn, turned)
            context = kernels.varlen_attention(
                packed, ids.cu_seqlens, tokens, scale=facts.scale, out_scale=steps,
                kv_heads=facts.shared, window=self.window, rows=self.rows,
                stream=None if steps is None else stream,
            )  # fmt: skip
        else:
            context = kernels.varlen_attention_int8(
                qkv.view(tokens, 3, facts.heads, -1), ids.cu_seqlens, tokens,
                qkv_scale=self.part_scale, out_scale=steps, rows=self.rows,
            )  # fmt: skip
        return self.output(context.view(tokens, -1), dtype=self.dtype)

    def feed_forward(self, x: Tensor, ids: PackedIds, stream: Tensor) -> Tensor:
        """``[T, hidden]``, what its first product reads -> what joins the stream, as above."""
        steps = self.ffn_out.steps if self.ffn_out.quantized else None
        if self.facts.gate is None:
            act = self.ffn_in(x, dtype=self.dtype, gelu=True, out_scale=steps)
        else:
            both = self.ffn_in(x, dtype=self.dtype)
            told = None if steps is None else stream
            act = kernels.gated(both, self.facts.gate, out_scale=steps, stream=told)
        return self.ffn_out(act, dtype=self.dtype)
