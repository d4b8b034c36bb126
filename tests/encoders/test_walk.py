"""Batches side by side, one operation after the other, against each batch by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.encoders.families import save, tokens
from tests.encoders.test_families import CASES, small

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.packing import pack


@pytest.mark.parametrize("prefix", CASES)
def test_a_walk_shows_what_every_batch_shows(prefix: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(save(tmp_path, prefix, CASES[prefix][1][0], **small(prefix)))
    model = PackedEncoder.load(checkpoint)
    batches = [
        pack(tokens(lengths, seed), first_position=checkpoint.config.first_position)
        for seed, lengths in enumerate([(3, 17), (29,), (1, 1, 40)])
    ]
    seen: list[dict[str, torch.Tensor]] = []
    for batch in batches:
        found: dict[str, torch.Tensor] = {}
        model.run(batch, watch=found.__setitem__)
        seen.append({site: v for site, v in found.items() if not site.endswith(".probs")})
    order: list[str] = []

    def visit(site: str, parts: list[torch.Tensor]) -> None:
        order.append(site)
        for part, alone in zip(parts, seen, strict=True):
            assert float((part - alone[site]).abs().max()) <= 1e-4

    model.walk(batches, visit)
    assert order == model.sites == list(seen[0])
