"""``varlen_attention`` against plain fp32 attention, sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from xopt.engines import kernels
from xopt.engines.kernels.criteria import EPS, largest_error, plain_attention
from xopt.errors import UnsupportedError

CuSeqlens = Callable[[list[int]], torch.Tensor]
RAGGED = [1, 33, 63, 64, 65, 257]


def assert_close(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    longest: int,
    scale: float | None = None,
    rows: int = 128,
) -> None:
    """The kernel's largest error is at most twice PyTorch's in the same dtype."""
    out = kernels.varlen_attention(qkv, cu_seqlens, longest, scale=scale, rows=rows)
    reference = kernels.varlen_attention_reference(qkv, cu_seqlens, longest, scale=scale)
    peer = plain_attention(qkv, cu_seqlens, scale)
    assert out.dtype == qkv.dtype
    assert out.shape == reference.shape
    assert largest_error(out, reference) <= 2 * largest_error(peer, reference) + EPS


def make_qkv(
    tokens: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Normal values with a fixed seed."""
    generator = torch.Generator().manual_seed(42)
    return torch.randn(tokens, 3, heads, head_dim, generator=generator).to(device, dtype)


@pytest.mark.parametrize("length", RAGGED)
def test_one_sentence(length: int, device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv = make_qkv(length, 2, 64, torch.float16, device)
    assert_close(qkv, cu_seqlens([length]), length)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_ragged(
    head_dim: int, dtype: torch.dtype, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv = make_qkv(sum(RAGGED), 2, head_dim, dtype, device)
    assert_close(qkv, cu_seqlens(RAGGED), max(RAGGED))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("head_dim", [32, 64])
def test_ragged_in_tiles_of_64_rows(
    head_dim: int, dtype: torch.dtype, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    """With empty sentences and an unused tail."""
    lengths = [*RAGGED, 0, 31, 0]
    qkv = make_qkv(sum(lengths) + 70, 2, head_dim, dtype, device)
    assert_close(qkv, cu_seqlens(lengths), max(lengths), rows=64)
    out = kernels.varlen_attention(qkv, cu_seqlens(lengths), max(lengths), rows=64)
    assert not out[sum(lengths) :].any()


@pytest.mark.parametrize("lengths", [[64, 0, 7], [0, 128, 1], [5, 0, 0]], ids=str)
@pytest.mark.parametrize("tail", [0, 1, 64, 200])
def test_empty_sentences_and_an_unused_tail(
    lengths: list[int], tail: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv = make_qkv(sum(lengths) + tail, 1, 32, torch.float16, device)
    qkv[sum(lengths) :] = torch.nan
    assert_close(qkv, cu_seqlens(lengths), max(lengths))
    out = kernels.varlen_attention(qkv, cu_seqlens(lengths), max(lengths))
    assert not out[sum(lengths) :].any()


def test_more_sentences_than_one_load_covers(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    lengths = [1 + index % 3 for index in range(300)]
    assert_close(make_qkv(sum(lengths), 1, 32, torch.float16, device), cu_seqlens(lengths), 3)


def test_a_long_sentence(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    from xopt.engines.kernels.attention import launch_attention
    from xopt.engines.kernels.attention_tiles import attention_tile
    from xopt.engines.kernels.tiles import Tile

    qkv = make_qkv(5 + 8192, 1, 32, torch.float16, device)
    # Few large steps, which no GPU has room for, keep the interpreter's time short.
    large = Tile(block_m=512, block_n=512, num_warps=4, num_stages=1)
    tile = large if device.type == "cpu" else attention_tile(32, qkv.dtype)
    out = launch_attention(qkv, cu_seqlens([5, 8192]), tile)[-64:, 0]
    # The last queries, which see every key, are enough to compare.
    q, k, v = qkv[5:, :, 0].unbind(1)
    peer = torch.softmax(q[-64:] @ k.T * 32**-0.5, dim=-1) @ v
    q, k, v = q.float(), k.float(), v.float()
    reference = torch.softmax(q[-64:] @ k.T * 32**-0.5, dim=-1) @ v
    assert largest_error(out, reference) <= 2 * largest_error(peer, reference) + EPS


def test_large_scores_do_not_overflow(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv = make_qkv(100, 1, 64, torch.float16, device) * 20
    out = kernels.varlen_attention(qkv, cu_seqlens([100]), 100)
    q, k, v = qkv[:, :, 0].double().unbind(1)
    scores = q @ k.T * 64**-0.5
    best = scores.topk(2, dim=-1).values
    # 64 products of 6400 at most, an eighth of their sum: fp32 is right to 1. Where the largest
    # leads by 40, e^-39 of the others is below half a step of fp16: the answer is the value itself.
    clear = best[:, 0] - best[:, 1] > 40
    assert clear.sum() > 50
    assert torch.equal(out[clear, 0].double(), v[scores.argmax(dim=-1)][clear])
    assert torch.isfinite(out).all()


def test_scale(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    assert_close(make_qkv(70, 1, 64, torch.float16, device), cu_seqlens([70]), 70, scale=0.5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_does_not_depend_on_batch_mates(
    data: st.DataObject, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 140), min_size=1, max_size=5))
    chosen = data.draw(st.integers(0, len(lengths) - 1))
    rows = data.draw(st.sampled_from([64, 128]))
    qkv = make_qkv(sum(lengths), 1, 32, torch.float16, device)
    start, end = sum(lengths[:chosen]), sum(lengths[: chosen + 1])
    given = (qkv, cu_seqlens(lengths), max(lengths))
    together = kernels.varlen_attention(*given, rows=rows)[start:end]
    length = end - start
    alone = kernels.varlen_attention(qkv[start:end], cu_seqlens([length]), length, rows=rows)
    assert torch.equal(together, alone)


@pytest.mark.parametrize("rows", [64, 128])
@pytest.mark.parametrize(("window", "kv_heads"), [(0, 2), (7, 1), (64, 2), (None, 1)])
def test_windows_and_shared_heads(
    window: int | None, kv_heads: int, rows: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    lengths = [1, 33, 200]
    generator = torch.Generator().manual_seed(3)
    qkv = torch.randn(sum(lengths), 2 + 2 * kv_heads, 32, generator=generator).to(device).half()
    starts = cu_seqlens(lengths)
    out = kernels.varlen_attention(qkv, starts, 200, kv_heads=kv_heads, window=window, rows=rows)
    options = {"kv_heads": kv_heads, "window": window}
    reference = kernels.varlen_attention_reference(qkv, starts, 200, **options)
    peer = plain_attention(qkv, starts, None, kv_heads, window)
    assert largest_error(out, reference) <= 2 * largest_error(peer, reference) + EPS


@pytest.fixture
def contracted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product and what is subtracted from it are rounded once, as a GPU's compiler has it."""
    from triton.runtime.interpreter import InterpreterBuilder

    exact: dict[int, tuple[Any, np.ndarray]] = {}
    multiply, subtract = InterpreterBuilder.create_fmul, InterpreterBuilder.create_fsub

    def fmul(self: Any, left: Any, right: Any) -> Any:
        out = multiply(self, left, right)
        if out.data.dtype == np.float32:
            # Kept with its handle, whose id would otherwise be another's soon.
            exact[id(out)] = out, left.data.astype(np.float64) * right.data
        return out

    def fsub(self: Any, left: Any, right: Any) -> Any:
        out = subtract(self, left, right)
        if id(left) in exact and out.data.dtype == np.float32:
            out.data = (exact[id(left)][1] - right.data).astype(np.float32)
        return out

    monkeypatch.setattr(InterpreterBuilder, "create_fmul", fmul)
    monkeypatch.setattr(InterpreterBuilder, "create_fsub", fsub)


@pytest.mark.usefixtures("contracted")
@pytest.mark.parametrize("head_dim", [32, 64, 128])
@pytest.mark.parametrize("rows", [64, 128])
def test_a_row_may_see_no_key_of_a_step(
    rows: int, head_dim: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    """Whatever the sign of what its scaled peak was rounded by."""
    qkv = make_qkv(300, 1, head_dim, torch.float16, device)
    starts = cu_seqlens([300])
    for scale in (head_dim**-0.5, 0.11, 0.3):
        out = kernels.varlen_attention(qkv, starts, 300, scale=scale, window=9, rows=rows)
        given = {"scale": scale, "window": 9}
        reference = kernels.varlen_attention_reference(qkv, starts, 300, **given)
        peer = plain_attention(qkv, starts, scale, None, 9)
        assert largest_error(out, reference) <= 2 * largest_error(peer, reference) + EPS


@pytest.mark.usefixtures("contracted")
@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("size", [2.0**10, 2.0**13, 2.0**15])
def test_the_largest_score_is_taken_away_as_it_is(
    size: float, window: int | None, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    """Up to the largest that fp16 makes, the leader of each row has all of its weight."""
    generator = torch.Generator().manual_seed(5)
    q = 0.6 + torch.rand(70, 1, 64, generator=generator)
    place = torch.randperm(70, generator=generator)
    # Keys are multiples of one row: which leads is clear, and what its score is rounded by is not.
    k = torch.ones(70, 1, 64) * (0.6 + place / 70)[:, None, None]
    v = torch.randn(70, 1, 64, generator=generator)
    qkv = torch.stack([q * size, k * size, v], 1).to(device, torch.float16)
    out = kernels.varlen_attention(qkv, cu_seqlens([70]), 70, window=window)
    near = (torch.arange(70)[:, None] - torch.arange(70)).abs() <= (window or 70)
    leader = torch.where(near, place, -1).argmax(1)
    assert torch.equal(out.cpu(), qkv[leader.to(device), 2].cpu())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("window", [None, 4])
def test_scores_of_any_size(
    window: int | None, sign: int, device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    """No score is as far below as a key that a window hides: bf16 makes such of 1e30."""
    qkv = torch.full((130, 3, 1, 32), 1e15, dtype=torch.bfloat16)
    qkv[:, 0] *= sign
    qkv[:, 2] = make_qkv(130, 1, 32, torch.bfloat16, torch.device("cpu"))[:, 2]
    given = (qkv.to(device), cu_seqlens([130]), 130)
    out = kernels.varlen_attention(*given, window=window)
    reference = kernels.varlen_attention_reference(*given, window=window)
    assert largest_error(out, reference) <= 2**-8


def test_keys_outside_of_the_window_are_not_read(
    device: torch.device, cu_seqlens: CuSeqlens
) -> None:
    qkv = make_qkv(512, 1, 32, torch.float16, device)
    exact = kernels.varlen_attention(qkv, cu_seqlens([512]), 512, window=9)
    # A masked key's value would still bring its NaN into the product: 0 · NaN is NaN.
    qkv[256 + 9 :, 2] = torch.nan
    out = kernels.varlen_attention(qkv, cu_seqlens([512]), 512, window=9)
    assert torch.equal(out[:256], exact[:256])


def test_inputs_are_checked(device: torch.device, cu_seqlens: CuSeqlens) -> None:
    qkv, cu = make_qkv(8, 2, 64, torch.float16, device), cu_seqlens([8])
    attend = kernels.varlen_attention
    with pytest.raises(kernels.KernelInputError, match=r"expected \[T, 3, heads, head_dim\]"):
        attend(qkv[:, 0], cu, 8)
    with pytest.raises(kernels.KernelInputError, match="head_dim 48"):
        attend(qkv[..., :48], cu, 8)
    with pytest.raises(kernels.KernelInputError, match="float64; this kernel takes float16"):
        attend(qkv.double(), cu, 8)
    with pytest.raises(kernels.KernelInputError, match="int64; this kernel takes int32"):
        attend(qkv, cu.long(), 8)
    with pytest.raises(kernels.KernelInputError, match="contiguous"):
        attend(qkv[:, :, ::2], cu, 8)
    with pytest.raises(kernels.KernelInputError, match="2 heads of queries cannot share 3"):
        attend(make_qkv(8, 1, 64, torch.float16, device).view(3, 8, 64), cu, 8, kv_heads=3)
    with pytest.raises(kernels.KernelInputError, match="scale must be above 0"):
        attend(qkv, cu, 8, scale=0.0)
    with pytest.raises(kernels.KernelInputError, match="at least one sentence"):
        attend(qkv, cu[:1], 8)
    with pytest.raises(
        kernels.KernelInputError, match="rows is 32; attention has tiles of 128 and 64"
    ):
        attend(qkv, cu, 8, rows=32)


def test_a_cpu_is_refused_outside_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, cu_seqlens: CuSeqlens
) -> None:
    import triton

    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    qkv = make_qkv(8, 1, 32, torch.float16, torch.device("cpu"))
    with pytest.raises(UnsupportedError, match="SM 80 or newer, not on cpu"):
        kernels.varlen_attention(qkv, cu_seqlens([8]).cpu(), 8)
