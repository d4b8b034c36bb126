"""Padding-free peers of ``cpu.py`` in PyTorch: transformers' own layers over packed tokens.

One scaled dot product a sentence stands for attention, which transformers takes as a registered
function; everything else is the checkpoint's own class. Compiled for the very lengths of a case,
which favours it, by inductor or, on AMD, by zentorch; in bf16, or in static INT8 (torchao's PT2E)
with bf16 between, where zentorch has fp32: with bf16 its INT8 answers differ from call to call
(findings/zentorch-int8-bf16-calls-differ.sh). PyTorch's varlen attention is CUDA's alone (2.13).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cpu_base import Call, Ids, Peer, torch_model


def packed_torch(backend: str, *, int8: bool) -> Peer:
    """A peer for ``torch.compile``'s ``backend``."""

    def make(checkpoint: Path, scratch: Path, threads: int) -> Call:
        import torch

        if backend == "zentorch":
            import zentorch  # noqa: F401
        torch.set_num_threads(threads)
        module = _packed(checkpoint)
        if not int8:
            module = module.to(torch.bfloat16)
        between = int8 and backend != "zentorch"
        made: dict[tuple[int, ...], Any] = {}

        def call(ids: Ids) -> object:
            lengths = tuple(len(i) for i in ids)
            inputs = _inputs(ids)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=between):
                if lengths not in made:
                    module.lengths = lengths
                    made[lengths] = _compiled(module, inputs, backend, int8=int8)
                return np.asarray(made[lengths](*inputs).float())

        return call

    return make


def _compiled(module: Any, inputs: tuple[Any, ...], backend: str, *, int8: bool) -> Any:
    import torch
    from torch._inductor import config as inductor

    inductor.freezing = True
    torch._dynamo.reset()
    if int8:
        import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer as x86
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = x86.X86InductorQuantizer()
        how = x86.get_default_x86_inductor_quantization_config()
        # A configuration for all operations takes the sums of positions, which are whole.
        quantizer.set_module_type_qconfig(torch.nn.Linear, how)
        watched = prepare_pt2e(torch.export.export(module, inputs).module(), quantizer)
        watched(*inputs)
        module = convert_pt2e(watched)
    return torch.compile(module, backend=backend, dynamic=False)


def _packed(checkpoint: Path) -> Any:
    """``(ids [T], positions [T], firsts [B])`` to logits ``[B, labels]``; ``lengths`` first."""
    import torch
    from transformers import AttentionInterface

    AttentionInterface.register("by_sentence", _by_sentence)
    model = torch_model(checkpoint, attention="by_sentence")

    class Packed(torch.nn.Module):
        lengths: tuple[int, ...] = ()

        def __init__(self) -> None:
            super().__init__()
            self.body = model.roberta
            self.head = model.classifier

        def forward(
            self, ids: torch.Tensor, positions: torch.Tensor, firsts: torch.Tensor
        ) -> torch.Tensor:
            hidden = self.body.embeddings(
                input_ids=ids[None],
                position_ids=positions[None],
                token_type_ids=torch.zeros_like(ids[None]),
            )
            for layer in self.body.encoder.layer:
                hidden = layer(hidden, lengths=self.lengths)
            return self.head(hidden[0, firsts][:, None])

    return Packed().eval()


def _by_sentence(
    module: Any, query: Any, key: Any, value: Any, mask: Any, *, lengths: Any, **_: Any
) -> tuple[Any, None]:
    """Attention over ``[1, heads, T, width]``, one sentence at a time; transformers' order out."""
    import torch

    parts = [
        torch.nn.functional.scaled_dot_product_attention(*part)
        for part in zip(*(x.split(lengths, 2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, 2).transpose(1, 2), None


def _inputs(ids: Ids) -> tuple[Any, Any, Any]:
    """Ids, positions as XLM-R numbers them, and the row of each sentence's first token."""
    import torch

    lengths = [len(i) for i in ids]
    positions = np.concatenate([np.arange(n) + 2 for n in lengths])
    firsts = np.cumsum([0, *lengths[:-1]])
    return tuple(
        torch.from_numpy(x.astype(np.int64)) for x in (np.concatenate(ids), positions, firsts)
    )
