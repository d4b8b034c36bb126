"""The peers of ``gpu.py``: an encoder in the form that each takes, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from shapes import SHAPES, random_checkpoint

Ids = Sequence[NDArray[np.int32]]


Call = Callable[[Ids], NDArray[np.float32]]


VOCABULARY = 250_002


class NotApplicable(Exception):
    """A peer cannot do a case; the message is the reason."""


@dataclass(frozen=True)
class Work:
    """One batch."""

    case: str
    model: str
    ids: Ids

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def longest(self) -> int:
        return max(map(len, self.ids))

    @property
    def operations(self) -> float:
        """Multiplications and additions in matrix products, over existing tokens only."""
        layers, hidden, _, width = SHAPES[self.model]
        linear = 2 * (4 * hidden**2 + 2 * hidden * width) * self.tokens
        return layers * (linear + 4.0 * hidden * sum(len(i) ** 2 for i in self.ids))


class Models:
    """One shape's random checkpoint in every form, each made when first asked for."""

    def __init__(self, shape: str, device: str, scratch: Path) -> None:
        self.shape, self.device, self.scratch = shape, device, scratch / shape
        self.engines: dict[str, Any] = {}

    @cached_property
    def folder(self) -> Path:
        return random_checkpoint(self.shape, self.scratch / "checkpoint", tokenizer=False)

    @cached_property
    def packed(self) -> Any:
        """Checkpoint, packed encoder and ranges."""
        from gpu_build import measure_ranges

        from xopt.compile.checkpoint import Checkpoint
        from xopt.compile.packed_encoder import PackedEncoder

        checkpoint = Checkpoint.open(self.folder)
        encoder = PackedEncoder.load(checkpoint)
        return checkpoint, encoder, measure_ranges(checkpoint, encoder)

    def bundle(self, precision: str) -> Any:
        from gpu_build import write_bundle

        from xopt.artifacts import Bundle

        out = self.scratch / precision
        if out.is_dir():
            return Bundle.open(out)
        checkpoint, encoder, ranges = self.packed
        return write_bundle(checkpoint, encoder, precision, ranges, out)

    def engine(self, precision: str) -> Any:
        from xopt.engines.base import open_engine

        if precision not in self.engines:
            self.engines[precision] = open_engine(self.bundle(precision), device=self.device)
        return self.engines[precision]

    def _transformers(self, dtype: str, attention: str = "sdpa") -> Any:
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, dtype=dtype, attn_implementation=attention
        )
        return model.eval().to(self.device)

    @cached_property
    def full(self) -> Any:
        """transformers in fp32."""
        return self._transformers("float32")

    @cached_property
    def half(self) -> Any:
        """transformers in fp16."""
        return self._transformers("float16")

    @cached_property
    def unpadded(self) -> Any:
        """The same, whose attention is told where sentences begin."""
        from transformers import AttentionInterface

        AttentionInterface.register("varlen", _varlen)
        return self._transformers("float16", "varlen")

    @cached_property
    def compiled(self) -> Any:
        import torch

        return torch.compile(self.half, mode="max-autotune", dynamic=False)

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()
        self.engines.clear()
        for name in ("full", "half", "unpadded", "compiled", "packed"):
            self.__dict__.pop(name, None)


def packed(ids: Ids, first_position: int) -> Any:
    from xopt.packing import Encoding, pack

    types = np.zeros(max(map(len, ids)), np.int32)
    return pack([Encoding(i, types[: len(i)]) for i in ids], first_position=first_position)


def call_xopt(models: Models, precision: str) -> Call:
    engine = models.engine(precision)

    def call(ids: Ids) -> NDArray[np.float32]:
        batch = packed(ids, engine.signature.first_position)
        answer: NDArray[np.float32] = engine.run(batch)["logits"]
        return answer

    return call


def plain_answer(engine: Any, ids: Ids) -> NDArray[np.float32]:
    """What an INT8 engine answers with exact integers in place of the kernels that multiply."""
    from xopt.engines import kernels
    from xopt.engines.cuda_products import Products
    from xopt.engines.cuda_programs import Programs

    def multiply(_: Any, *operands: Any, **epilogue: Any) -> Any:
        return kernels.linear_int8_reference(*operands, **epilogue)

    first = engine.signature.first_position
    programs = Programs(engine.encoder, engine.device, first, 1, engine.buckets)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Products, "__call__", multiply))
        for name in ("varlen_attention", "varlen_attention_int8"):
            reference = getattr(kernels, f"{name}_reference")
            stack.enter_context(mock.patch.object(kernels, name, reference))
        with engine._entered():
            return programs.run(packed(ids, first), len(ids))


def call_padded(model: Any, device: str) -> Call:
    import torch

    def call(ids: Ids) -> NDArray[np.float32]:
        lengths = np.array([len(i) for i in ids])
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        table = np.ones(mask.shape, np.int64)
        table[mask] = np.concatenate(ids)
        with torch.inference_mode():
            out = model(
                torch.from_numpy(table).to(device),
                attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            )
            answer: NDArray[np.float32] = out.logits.float().cpu().numpy()
        return answer

    return call


def call_unpadded(models: Models) -> Call:
    """transformers' own layers over packed tokens, with PyTorch's attention for them."""
    import torch

    try:
        import torch.nn.attention.varlen
    except ImportError as error:
        raise NotApplicable("this release of PyTorch has no attention without padding") from error
    model = models.unpadded

    def call(ids: Ids) -> NDArray[np.float32]:
        lengths = [len(i) for i in ids]
        starts = np.cumsum([0, *lengths])
        # As XLM-R numbers them.
        positions = np.concatenate([np.arange(n) + 2 for n in lengths])
        given = (np.concatenate(ids), positions, starts[:-1], starts)
        with torch.inference_mode():
            tokens, places, firsts, bounds = (
                torch.from_numpy(array.astype(np.int64)).to(models.device) for array in given
            )
            options = {"starts": bounds.int(), "longest": max(lengths)}
            hidden = model.roberta.embeddings(
                input_ids=tokens[None],
                position_ids=places[None],
                token_type_ids=torch.zeros_like(tokens[None]),
            )
            for layer in model.roberta.encoder.layer:
                hidden = layer(hidden, **options)
            logits = model.classifier(hidden[0, firsts][:, None])
            answer: NDArray[np.float32] = logits.float().cpu().numpy()
        return answer

    return call


def _varlen(
    module: Any, query: Any, key: Any, value: Any, mask: Any, *, starts: Any, longest: int, **_: Any
) -> tuple[Any, None]:
    """Attention over ``[1, heads, T, width]``; transformers' order out."""
    from torch.nn.attention import varlen

    rows = (x[0].transpose(0, 1) for x in (query, key, value))
    return varlen.varlen_attn(*rows, starts, starts, longest, longest)[None], None


PEERS: dict[str, Callable[[Models], Call]] = {
    "xopt fp16": lambda models: call_xopt(models, "fp16"),
    "xopt int8": lambda models: call_xopt(models, "int8"),
    "xopt int8-attention": lambda models: call_xopt(models, "int8-attention"),
    "transformers sdpa fp16": lambda models: call_padded(models.half, models.device),
    "transformers unpadded fp16": call_unpadded,
    "torch.compile fp16": lambda models: call_padded(models.compiled, models.device),
}
