"""What a recipe says, in plain PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from xopt.artifacts import Bundle, Ranges
from xopt.calibrate.sites import read_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.encoders.plan import Attend, Linear
from xopt.packing import PackedBatch


def by_definition(checkpoint: Checkpoint, bundle: Bundle, batch: PackedBatch) -> np.ndarray:
    """What the recipe says, in PyTorch and fp32, from the checkpoint's weights and the ranges."""
    model, precision = PackedEncoder.load(checkpoint), bundle.precision
    words = model.get_parameter("embeddings.word.weight")
    read = {op.site for op in model.plan if isinstance(op, Linear) and op.site is not None}
    linears = {id(module): site for site in read for module in model.readers(site)}
    if precision == "fp16":
        with torch.no_grad():
            for weight in (words, *(m.weight for site in read for m in model.readers(site))):
                weight.copy_(weight.half().float())
        return model.run(batch).numpy()
    found = Ranges.find(bundle.manifest["provenance"]["ranges"])
    assert found is not None
    sites, attention = read_sites(found), precision == "int8-attention"
    with torch.no_grad():
        words.copy_(rounded(words, words.abs().amax(dim=1, keepdim=True)))

    def mean(site: str) -> torch.Tensor:
        middle = sites[site].middle
        assert middle is not None
        return torch.from_numpy(middle)

    def product(module: Any, source: torch.Tensor) -> torch.Tensor:
        site = sites[linears[id(module)]]
        assert site.divisor is not None
        divisor, moved = torch.from_numpy(site.divisor), site.kind == "context" and attention
        smoothed = module.weight * divisor
        weight = rounded(smoothed, smoothed.abs().amax(dim=1, keepdim=True))
        amax = site.centered if moved else site.amax
        out = F.linear(rounded(source / divisor, torch.tensor(amax)), weight, module.bias)
        return out + F.linear(mean(f"{site.layer}.v"), module.weight) if moved else out

    def attend(op: Attend, qkv: torch.Tensor, *_: Any) -> torch.Tensor:
        parts = list(qkv.chunk(3, dim=1))
        if attention:
            parts = [
                rounded(
                    part - mean(f"{op.layer}.{kind}") if kind != "q" else part,
                    torch.tensor(sites[f"{op.layer}.{kind}"].amax),
                )
                for kind, part in zip("qkv", parts, strict=True)
            ]
        q, k, v = (part.view(len(part), op.heads, -1).transpose(0, 1) for part in parts)
        out = []
        for start, end in itertools.pairwise(batch.cu_seqlens.tolist()):
            scores = q[:, start:end] @ k[:, start:end].mT * op.head_dim**-0.5
            probs = scores.softmax(-1)
            probs = rounded(probs, torch.tensor(1.0)) if attention else probs
            out.append((probs @ v[:, start:end]).transpose(0, 1).flatten(1))
        return torch.cat(out)

    model.joint_attention = attend
    going = model.begin(model.tensors(batch))
    for op in model.plan:
        model.step(op, going, lambda *_: None, product)
    answer: torch.Tensor = model.head(going.values["x"], going.arrays)
    return answer.numpy()


def rounded(values: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """To 127 steps on each side of zero."""
    # A row of zeros has no step.
    step = (reach / 127).clamp(min=1e-30)
    return (values / step).round().clamp(-128, 127) * step
