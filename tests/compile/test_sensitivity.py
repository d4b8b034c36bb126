"""The error of one rounded site, against the engine that has it and PyTorch's own divergence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xopt.calibrate.corpus import load_corpus
from xopt.compile import sensitivity
from xopt.compile.build import BuildOptions, build_bundle, choose_lowering, open_checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.ranging import ranges_of, sample_of
from xopt.compile.trace import trace_checkpoint
from xopt.engines.base import open_engine
from xopt.packing import pack
from xopt.progress import Silent
from xopt.tokenization import Tokenizer

# How an error may differ where a code at a half step falls to the other side. In fp32 that happens
# to 2 * 127 * 64**0.5 * 2**-24 of the codes, each a step off where rounding is off by 12**-0.5 of
# one: a share of the error's length, and twice of its square.
TIES = 2 * (12 * 2 * 127 * 64**0.5 * 2**-24) ** 0.5
# The same of bf16, whose steps are 2**-8 of a value.
TIES_BF16 = 2 * (12 * 2 * 64**0.5 * 2**-16) ** 0.5


@pytest.mark.parametrize("head", ["tag", "embed"])
def test_an_error_is_that_of_an_engine_with_one_int8_site(
    make_checkpoint: Callable[..., Path], tmp_path: Path, head: str
) -> None:
    """Against the engine, which runs the same sites in fp32, and PyTorch's own divergence."""
    folder = make_checkpoint("xlm-roberta", head)
    plain = BuildOptions(str(folder), calibration_tokens=512, cpu="any")
    checkpoint = open_checkpoint(plain)
    graph = trace_checkpoint(checkpoint)
    ranges = ranges_of(checkpoint, graph, sample_of(checkpoint, plain), plain, Silent())
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    texts = [text for _, text in load_corpus().rows][:6]
    encodings = tokenizer.encode(texts)
    site = "layers.0.ffn_act"
    model = PackedEncoder.load(checkpoint)
    every = sensitivity.forked_sites(model)
    lowering = choose_lowering(plain, checkpoint)
    asked = {"a": encodings[:4], "b": encodings[4:]}
    found = dict(sensitivity.site_errors(model, ranges, lowering, asked, sites=every))
    others = ",".join(s for s in every if s != site)
    mix = replace(plain, fp32_sites=others, out=str(tmp_path / "mix"))
    with open_engine(build_bundle(mix, record=False).bundle) as engine:
        for code, items in asked.items():
            batch = pack(items, first_position=checkpoint.config.first_position)
            [given] = engine.run(batch).values()
            exact = model.run(batch).numpy()
            wanted = independent_error(head, exact, given, batch.lengths.tolist())
            assert found[site][code] == pytest.approx(wanted, rel=TIES), code
    assert all(error > 0 for by_code in found.values() for error in by_code.values())
    linear = [name for name in every if name != "embeddings"]
    asked_too = {"sites": linear, "precision": "bf16"}
    brain: dict[str, Any] = dict(
        sensitivity.site_errors(model, ranges, lowering, asked, **asked_too)  # type: ignore[arg-type]
    )
    totals = [sum(by[name][code] for name in linear for code in asked) for by in (brain, found)]
    assert 0 < totals[0] < totals[1] / 2
    mix = replace(mix, bf16_sites=site, out=str(tmp_path / "brain"))
    with open_engine(build_bundle(mix, record=False).bundle) as engine:
        if not any("PackedLayer" in name for name in engine.describe()["kernels"]):
            # OpenVINO's layers round weights alone.
            return
        for code, items in asked.items():
            batch = pack(items, first_position=checkpoint.config.first_position)
            [given] = engine.run(batch).values()
            wanted = independent_error(
                head, model.run(batch).numpy(), given, batch.lengths.tolist()
            )
            assert brain[site][code] == pytest.approx(wanted, rel=TIES_BF16), code


def independent_error(head: str, exact: Any, given: Any, lengths: list[int]) -> float:
    a, b = torch.from_numpy(exact).double(), torch.from_numpy(given).double()
    if head == "embed":
        return float(1 - F.cosine_similarity(a, b).mean())
    if head == "span":
        pairs = zip(a.split(lengths), b.split(lengths), strict=True)
        sums = [
            F.kl_div(q.log_softmax(0), p.log_softmax(0), reduction="sum", log_target=True)
            for p, q in pairs
        ]
        return float(torch.stack(sums).mean())
    if head == "scores":
        p, q = torch.sigmoid(a), torch.sigmoid(b)
        both = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        return float(both.sum(-1).mean())
    return float(
        F.kl_div(b.log_softmax(-1), a.log_softmax(-1), reduction="batchmean", log_target=True)
    )


@pytest.mark.parametrize(
    ("head", "kind", "activation", "width"),
    [
        ("span", "span", "softmax", 2), ("scores", "classify", "sigmoid", 3),
        ("scores", "classify", "softmax", 1), ("classes", "classify", "softmax", 3),
        ("embed", "embed", "softmax", 8),
    ],
)  # fmt: skip
def test_an_error_is_pytorchs_own(head: str, kind: str, activation: str, width: int) -> None:
    generator = np.random.default_rng(3)
    exact, found = generator.normal(0, 2, (2, 9, width)).astype(np.float32)
    starts = np.array([0, 2, 9])
    errors = sensitivity.answer_errors(kind, activation, exact, found, starts)
    assert errors.shape == ((2,) if head == "span" else (9,))
    wanted = independent_error(head, exact, found, [2, 7])
    assert errors.mean() == pytest.approx(wanted, rel=1e-6)
    assert np.allclose(sensitivity.answer_errors(kind, activation, exact, exact, starts), 0)
