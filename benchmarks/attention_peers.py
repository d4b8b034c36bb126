"""The peers of ``attention.py``, and the batch that all are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, context_bound, largest_error, plain_attention

Run = Callable[[], torch.Tensor]


class NotApplicable(Exception):
    """A peer cannot do a case; the message is the reason."""


@dataclass
class Batch:
    """The tokens of one case, in the forms that the peers take."""

    lengths: torch.Tensor
    heads: int
    head_dim: int
    generator: torch.Generator

    def __post_init__(self) -> None:
        self.tokens = int(self.lengths.sum())
        self.longest = int(self.lengths.max())
        shape = (self.tokens, 3, self.heads, self.head_dim)
        self.qkv = torch.randn(shape, generator=self.generator).to("cuda", torch.float16)
        starts = functional.pad(self.lengths.cumsum(0), (1, 0))
        self.cu_seqlens = starts.to("cuda", torch.int32)

    @property
    def padding(self) -> float:
        """Share of a padded batch that is padding."""
        return 1 - self.tokens / (len(self.lengths) * self.longest)

    @property
    def operations(self) -> int:
        """Multiplications and additions of the two products, over existing tokens only."""
        return 4 * self.heads * self.head_dim * int((self.lengths.long() ** 2).sum())

    @cached_property
    def exists(self) -> torch.Tensor:
        """``[B, S]`` bool: which slots of a padded batch hold a token."""
        slots = torch.arange(self.longest, device="cuda")
        return slots < self.lengths.cuda()[:, None]

    @cached_property
    def padded(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Q, K and V, each ``[B, heads, S, head_dim]`` fp16."""
        slots = self.qkv.new_zeros(*self.exists.shape, *self.qkv.shape[1:])
        slots[self.exists] = self.qkv
        q, k, v = slots.permute(2, 0, 3, 1, 4).contiguous()
        return q, k, v

    @cached_property
    def mask(self) -> torch.Tensor:
        """``[B, heads, S, S]`` fp16, all heads and queries on the same memory: 0, or -inf."""
        bias = torch.zeros_like(self.exists, dtype=torch.float16)
        bias = bias.masked_fill(~self.exists, -torch.inf)[:, None, None, :]
        return bias.expand(-1, self.heads, self.longest, -1)

    @cached_property
    def reference(self) -> torch.Tensor:
        """``[T, heads, head_dim]`` fp32."""
        return kernels.varlen_attention_reference(self.qkv, self.cu_seqlens, self.longest)

    @cached_property
    def plain_error(self) -> float:
        """What PyTorch's plain operations err in fp16."""
        return largest_error(plain_attention(self.qkv, self.cu_seqlens), self.reference)

    def check(self, out: torch.Tensor, times: float = 4) -> str:
        """What is wrong with an fp16 answer ``[T, heads, head_dim]``; empty if nothing is.

        Ours are held to twice PyTorch's error, as in the tests; others to four times, so that none
        is left out for its rounding.
        """
        error, allowed = largest_error(out, self.reference), times * self.plain_error + EPS
        return "" if error <= allowed else f"error {error:.2e} > {allowed:.2e}"


def prepare_xopt(batch: Batch, rows: int = 128) -> tuple[Run, str]:
    def run() -> torch.Tensor:
        return kernels.varlen_attention(batch.qkv, batch.cu_seqlens, batch.longest, rows=rows)

    return run, batch.check(run(), times=2)


def prepare_xopt_int8(batch: Batch, rows: int = 128) -> tuple[Run, str]:
    scale = batch.qkv.abs().amax((0, 2, 3)).float() / 127
    qkv = (batch.qkv.float() / scale[:, None, None]).round().clamp(-128, 127).to(torch.int8)
    arguments = (qkv, batch.cu_seqlens, batch.longest)

    def run() -> torch.Tensor:
        options = {"qkv_scale": scale, "out_scale": 0.02, "rows": rows}
        return kernels.varlen_attention_int8(*arguments, **options)

    exact = kernels.varlen_attention_int8_reference(*arguments, qkv_scale=scale, out_scale=0.02)
    steps = (context_bound(qkv, batch.cu_seqlens, scale) / 0.02).ceil()
    wrong = int(((run().int() - exact.int()).abs() > steps).sum())
    return run, f"{wrong} of {exact.numel()} values wrong" if wrong else ""


def prepare_sdpa(backend: SDPBackend) -> Callable[[Batch], tuple[Run, str]]:
    def prepare(batch: Batch) -> tuple[Run, str]:
        q, k, v = batch.padded
        if batch.padding and backend is SDPBackend.FLASH_ATTENTION:
            raise NotApplicable("takes no mask, so it cannot leave padding out")
        mask = batch.mask if batch.padding else None

        def run() -> torch.Tensor:
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        return run, batch.check(run().transpose(1, 2)[batch.exists])

    return prepare


def prepare_torch_varlen(batch: Batch) -> tuple[Run, str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise NotApplicable("this release of PyTorch has none") from error
    q, k, v = batch.qkv.unbind(1)
    cu, longest = batch.cu_seqlens, batch.longest

    def run() -> torch.Tensor:
        out: torch.Tensor = varlen_attn(q, k, v, cu, cu, longest, longest)
        return out

    return run, batch.check(run())


def prepare_torch_nested(batch: Batch) -> tuple[Run, str]:
    offsets = batch.cu_seqlens.long()
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(
            part.contiguous(),
            offsets,
            min_seqlen=int(batch.lengths.min()),
            max_seqlen=batch.longest,
        ).transpose(1, 2)
        for part in batch.qkv.unbind(1)
    )

    def run() -> torch.Tensor:
        return functional.scaled_dot_product_attention(q, k, v)

    return run, batch.check(run().transpose(1, 2).values())


def prepare_flash_attention(batch: Batch) -> tuple[Run, str]:
    try:
        from flash_attn import flash_attn_varlen_qkvpacked_func
    except ImportError as error:
        raise NotApplicable("flash-attn is not installed") from error

    def run() -> torch.Tensor:
        out: torch.Tensor = flash_attn_varlen_qkvpacked_func(
            batch.qkv, batch.cu_seqlens, batch.longest
        )
        return out

    return run, batch.check(run())


def prepare_flash_attention_3(batch: Batch) -> tuple[Run, str]:
    try:
        from flash_attn_interface import flash_attn_varlen_func
    except ImportError as error:
        raise NotApplicable("FlashAttention 3 is not installed") from error
    q, k, v = batch.qkv.unbind(1)
    cu, longest = batch.cu_seqlens, batch.longest

    def run() -> torch.Tensor:
        out = flash_attn_varlen_func(q, k, v, cu, cu, longest, longest)
        context: torch.Tensor = out[0] if isinstance(out, tuple) else out
        return context

    return run, batch.check(run())


def prepare_tile(text: str) -> Callable[[Batch], tuple[Run, str]]:
    """``block_m x block_n x warps x stages``, to try another tile than the kernel's own."""
    from triton.runtime.errors import OutOfResources

    from xopt.engines.kernels.attention import launch_attention
    from xopt.engines.kernels.tiles import Tile

    tile = Tile(*map(int, text.split("x")))

    def prepare(batch: Batch) -> tuple[Run, str]:
        def run() -> torch.Tensor:
            return launch_attention(batch.qkv, batch.cu_seqlens, tile)

        try:
            return run, batch.check(run(), times=2)
        except OutOfResources as error:
            raise NotApplicable(str(error)) from error

    return prepare


PEERS: dict[str, Callable[[Batch], tuple[Run, str]]] = {
    "xopt fp16": prepare_xopt,
    "xopt int8": prepare_xopt_int8,
    "torch varlen": prepare_torch_varlen,
    "torch nested": prepare_torch_nested,
    "flash-attn 2": prepare_flash_attention,
    "flash-attn 3": prepare_flash_attention_3,
    "sdpa flash, padded": prepare_sdpa(SDPBackend.FLASH_ATTENTION),
    "sdpa cudnn, padded": prepare_sdpa(SDPBackend.CUDNN_ATTENTION),
    "sdpa efficient, padded": prepare_sdpa(SDPBackend.EFFICIENT_ATTENTION),
}
