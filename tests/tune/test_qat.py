"""Fake quantizers: where they sit, that they round as the engine does, and what they leave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from numpy.typing import NDArray

from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.quantized import quantize_rows
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.encoders.plan import plan, site_names
from xopt.model.session import Session
from xopt.tokenization import Tokenizer
from xopt.tune.qat import (
    insert_quantizers,
    quantizers_of,
    remove_quantizers,
)
from xopt.tune.qat_sites import measure_sites
from xopt.tune.quantizers import RowQuantizer

Factory = Callable[..., Path]
LABELS = ["a", "b", "c"]


def texts(count: int) -> list[str]:
    return [text for _, text in load_corpus().rows[:count]]


def load(folder: Path) -> Any:
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder)


def logits_of(model: Any, folder: Path, given: list[str]) -> torch.Tensor:
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 64)
    rows = []
    for encoding in tokenizer.encode(given):
        rows.append(model(input_ids=torch.from_numpy(encoding.ids)[None].long()).logits[0])
    return torch.stack(rows)


def answers_of(folder: Path, precision: str, given: list[str], out: Path) -> NDArray[np.float32]:
    """Logits ``[n, labels]`` of a bundle."""
    options = BuildOptions(str(folder), precision=precision, out=str(out))
    bundle = build_bundle(options, record=False).bundle
    found = np.empty((len(given), len(LABELS)), np.float32)
    with Session.open(bundle) as session:
        tokenizer = Tokenizer.open(folder / "tokenizer.json", 64)
        encodings = tokenizer.encode(given)
        for index, _, answer in session.answers(len(given), lambda t, a, b: encodings[a:b]):
            found[index] = answer
    return found


@pytest.fixture(scope="module")
def folder(make_checkpoint: Factory) -> Path:
    return make_checkpoint("xlm-roberta", "classify", labels=LABELS, seed=5)


def test_quantizers_sit_at_exactly_the_sites_of_the_int8_recipe(folder: Path) -> None:
    model = load(folder)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    sites = insert_quantizers(model, measure_sites(folder, BuildOptions()))
    recipe = {"qkv_in", "context", "ffn_in", "ffn_act", "embeddings"}
    every = site_names(plan(Checkpoint.open(folder).config))
    assert sites == [s for s in every if s.rpartition(".")[2] in recipe]
    quantizers = quantizers_of(model)
    holders = {
        name.split(".input_quantizer")[0].split(".parametrizations")[0] for name in quantizers
    }
    prefix = "roberta.encoder.layer."
    linears = {
        f"{prefix}{layer}.{part}"
        for layer in range(2)
        for part in (
            "attention.self.query", "attention.self.key", "attention.self.value",
            "attention.output.dense", "intermediate.dense", "output.dense",
        )
    }  # fmt: skip
    assert holders == linears | {"roberta.embeddings.word_embeddings"}
    # An input and a weight each, and the rows of the embeddings.
    assert len(quantizers) == 2 * len(linears) + 1
    remove_quantizers(model)
    assert not quantizers_of(model)
    left = model.state_dict()
    assert set(left) == set(plain)
    for name, value in plain.items():
        assert torch.equal(left[name], value), name
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


def test_the_simulation_is_closer_to_the_engine_than_fp32_is(folder: Path, tmp_path: Path) -> None:
    # From 64 tokens on the engine's attention rounds too, to steps of its own.
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 64)
    given = [text for text in texts(60) if len(tokenizer.encode([text])[0].ids) < 64]
    # The build rounds its weights as quantization-aware tuning does: to the nearest step.
    int8 = answers_of(tuned_with(folder, tmp_path / "tuned"), "int8", given, tmp_path / "int8")
    model = load(folder).eval()
    with torch.no_grad():
        exact = logits_of(model, folder, given).numpy()
        insert_quantizers(model, measure_sites(folder, BuildOptions()))
        simulated = logits_of(model, folder, given).numpy()
    assert np.abs(int8 - exact).mean() > 1e-4
    assert np.abs(int8 - simulated).mean() < 0.25 * np.abs(int8 - exact).mean()


def test_rows_are_rounded_as_the_build_rounds_them() -> None:
    """Bit for bit, also a row of zeros, a row of ties and half of a row's largest step."""
    rows = torch.randn(40, 33, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.no_grad():
        rows[3] = 0
        rows[4] = (torch.arange(33) - 16) / 32
        rows[5, 0] = 127
        rows[5, 1:] = torch.arange(32) + 0.5
    values, scales = quantize_rows(rows.detach().numpy())
    found = RowQuantizer()(rows)
    np.testing.assert_array_equal(found.detach().numpy(), values * scales[:, None])
    found.sum().backward()
    assert torch.equal(rows.grad, torch.ones_like(rows))


def test_every_weight_gets_a_gradient_and_ranges_stay(folder: Path) -> None:
    model = load(folder)
    insert_quantizers(model, measure_sites(folder, BuildOptions()))
    loss = F.cross_entropy(logits_of(model, folder, texts(6)), torch.arange(6) % 3)
    loss.backward()
    names = [name for name, p in model.named_parameters() if p.grad is None]
    assert names == []
    for name, parameter in model.named_parameters():
        # A key's bias moves all scores of a query alike, and the softmax undoes it.
        if not name.endswith("key.bias"):
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0, name


def train(model: Any, folder: Path, steps: int, lr: float) -> list[float]:
    """On whether a text is short, middling or long: something that 64 dimensions can learn."""
    torch.manual_seed(0)
    given = texts(48)
    wanted = targets(given)
    # The norms stay as they are: one of their channels is dead on purpose.
    moved = [p for name, p in model.named_parameters() if "LayerNorm" not in name]
    optimizer = torch.optim.AdamW(moved, lr=lr, weight_decay=0.0)
    model.eval()
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(logits_of(model, folder, given), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def targets(given: list[str]) -> torch.Tensor:
    order = np.argsort(np.argsort([len(text) for text in given]))
    return torch.from_numpy(order * 3 // len(given)).long()


def coarsen(model: Any) -> None:
    """A dead channel with large weights: without meaning in fp32, it takes most of INT8's steps."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name:
                parameter[0] = 0
            elif name.endswith(("query.weight", "key.weight", "value.weight", "te.dense.weight")):
                parameter[:, 0] = 12


def test_int8_after_qat_is_no_worse_than_after_as_much_plain_tuning(
    folder: Path, tmp_path: Path
) -> None:
    """Weights rounded alike, to the nearest step, so that the tuning alone makes the difference."""
    given = texts(48)
    wanted = targets(given)
    model = load(folder)
    coarsen(model)
    losses = train(model, folder, 12, 2e-3)
    assert losses[-1] < losses[0]
    tuned = saved(model, tmp_path / "tuned", folder)
    found, gaps, right = {}, {}, {}
    for name in ("ptq", "qat"):
        model = load(tuned)
        if name == "qat":
            insert_quantizers(model, measure_sites(tuned, BuildOptions()))
        losses = train(model, tuned, 8, 5e-4)
        assert losses[-1] < losses[0]
        remove_quantizers(model)
        place = saved(model, tmp_path / name, folder)
        say_phase(place)
        again = load(place)
        assert set(again.state_dict()) == set(load(folder).state_dict())
        with torch.no_grad():
            exact = F.cross_entropy(logits_of(again.eval(), place, given), wanted).item()
        int8 = torch.from_numpy(answers_of(place, "int8", given, tmp_path / f"{name}-int8"))
        found[name] = F.cross_entropy(int8, wanted).item()
        gaps[name] = found[name] - exact
        right[name] = int((int8.argmax(-1) == wanted).sum())
    assert found["qat"] <= found["ptq"]
    assert gaps["qat"] < gaps["ptq"]
    assert right["qat"] >= right["ptq"]


def say_phase(place: Path) -> None:
    """What ``xopt tune --qat`` leaves beside the weights, as far as the build reads it."""
    told = {"phase": "qat", "tasks": ["xnli"], "fingerprint": "0"}
    (place / "training.json").write_text(json.dumps(told))


def tuned_with(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    say_phase(place)
    return place


def saved(model: Any, place: Path, source: Path) -> Path:
    model.save_pretrained(place)
    for file in source.glob("tokenizer*"):
        shutil.copy(file, place)
    return place
