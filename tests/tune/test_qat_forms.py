"""Each form of INT8: its simulation has the numbers of what the build lowers, bit for bit."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.compile.lowered_tensorrt import constants
from tests.tune.qat_forms import (
    BUILDS,
    Codes,
    folders,
    load,
    lowered,
    options_of,
    place,
)

from xopt.artifacts import LoweredGraph
from xopt.compile.build import choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.int8_form import FORMS, form_of_build, tell_other_form, tuned_form
from xopt.compile.recipes import lowering_for
from xopt.tune.quantized_attention import ATTENTION

__all__ = ["folders"]


def simulated(model: Any) -> tuple[Codes, Codes]:
    """Whole numbers ``[out, in]`` and steps ``[out]`` of every weight, by our names."""
    codes, steps = {}, {}
    for name, module in model.named_modules():
        if not hasattr(module, "parametrizations"):
            continue
        [quantizer] = module.parametrizations.weight
        scaled = quantizer.scaled(module.parametrizations.weight.original.detach())
        found = quantizer.quantizer.steps(scaled)
        ours = ".".join(place(name))
        codes[ours] = (scaled / found).round().numpy().astype(np.int8)
        steps[ours] = found[:, 0].numpy()
        rounded = quantizer.quantizer(scaled).numpy()
        np.testing.assert_array_equal(rounded, codes[ours] * found.numpy())
    return codes, steps


def built(graph: LoweredGraph, form: str) -> tuple[Codes, dict[str, np.ndarray]]:
    """Whole numbers of every weight in the lowered form, by the same names; and all it holds."""
    if form.startswith("cuda"):
        found = load_file(next(graph.folder.glob("*.safetensors")))
        weights = {k.removesuffix(".weight"): v for k, v in found.items() if v.dtype == np.int8}
    else:
        found = constants(graph.path)
        weights = {
            name.removesuffix(".int8").removesuffix(".weight"): value
            for name, value in found.items()
            if name.endswith(".int8") and name.startswith("layers.")
        }
        if form.startswith("tensorrt"):
            weights = {name: value.T for name, value in weights.items()}
    codes = {}
    for name, value in weights.items():
        layer, _, linear = name.rpartition(".")
        if linear == "qkv":
            codes |= {f"{layer}.{p}": v for p, v in zip("qkv", np.split(value, 3), strict=True)}
        elif layer.startswith("layers."):
            codes[name] = value
    return codes, found


@pytest.mark.parametrize("form", BUILDS)
def test_weights_are_the_builds_bit_for_bit(form: str, folders: Callable[[str], Path]) -> None:
    folder = folders(form)
    checkpoint, graph, _ = lowered(folder, form)
    assert form_of_build(choose_lowering(options_of(form), checkpoint)) == form
    model = load(folder, form)
    codes, steps = simulated(model)
    found, held = built(graph, form)
    assert set(found) == set(codes)
    assert len(codes) == 12
    compared = 0
    for name, expected in found.items():
        np.testing.assert_array_equal(codes[name], expected, name)
        if form.startswith("cpu") and name + ".weight.scale" in held:
            # The factor of the scores is in the queries' steps.
            factor = np.float32(32**-0.5) if name.endswith(".q") else np.float32(1)
            np.testing.assert_array_equal(steps[name] * factor, held[name + ".weight.scale"])
            compared += 1
        if form == "cpu-any":
            pairs = expected.astype(int)
            assert np.abs(pairs[:, ::2] + pairs[:, 1::2]).max() <= 128
    assert compared == (12 if form.startswith("cpu") else 0)


@pytest.mark.parametrize("form", [form for form in BUILDS if not form.startswith("cpu")])
def test_steps_of_values_are_the_builds_bit_for_bit(
    form: str, folders: Callable[[str], Path]
) -> None:
    folder = folders(form)
    _, graph, _ = lowered(folder, form)
    _, held = built(graph, form)
    model = load(folder, form)
    seen = 0
    for name, module in model.named_modules():
        if hasattr(module, "parametrizations"):
            layer, linear = place(name)
            kinds = {"attention_output": "context", "ffn_in": "ffn_in", "ffn_out": "ffn_act"}
            site = f"{layer}.{kinds.get(linear, 'qkv_in')}"
            has = module.input_quantizer
            steps = f"{site}.steps" if f"{site}.steps" in held else f"{site}.scale"
            expected = held[steps].astype(np.float32)
            np.testing.assert_array_equal(has.steps.numpy(), expected, site)
            for key, value in (("smooth", has.factor), ("middle", has.middle)):
                if f"{site}.{key}" in held:
                    expected = held[f"{site}.{key}"].astype(np.float32)
                    np.testing.assert_array_equal(value.numpy(), expected, site)
                    seen += 1
        elif name.endswith("attention.self") and form.endswith("attention"):
            layer = f"layers.{name.split('layer.')[1].split('.')[0]}"
            has = getattr(module, ATTENTION)
            parts = [float(getattr(has, part).steps) for part in "qkv"]
            if form == "cuda-attention":
                expected = held[f"{layer}.qkv_out.scale"].reshape(3, -1)[:, 0]
            else:
                expected = [float(held[f"{layer}.{part}.scale"]) for part in "qkv"]
                assert float(has.probs.steps) == float(held[f"{layer}.probs.scale"])
            np.testing.assert_array_equal(np.float32(parts), np.float32(expected))
            seen += 1
    assert seen == {"cuda": 0, "cuda-attention": 2, "tensorrt": 20}.get(form, 22)


def test_a_build_in_another_form_says_so(
    folders: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(folders("cpu-any"), tmp_path / "tuned")
    told = {
        "phase": "qat", "tasks": ["panx"], "fingerprint": "0", "recipe": {"form": "cpu-any"},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(told))
    training = Checkpoint.open(folder).training
    for form in FORMS:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            lowering = choose_lowering(options_of(form), Checkpoint.open(folders(form)))
            tell_other_form(training, lowering)
        assert len(caplog.records) == (form != "cpu-any")
        if form != "cpu-any":
            assert str(FORMS["cpu-any"]) in caplog.text
            assert str(FORMS[form]) in caplog.text
            assert "\n" not in caplog.records[0].getMessage()
    caplog.clear()
    tell_other_form(training, lowering_for("openvino", "fp32"))
    tell_other_form(None, lowering_for("openvino", "int8"))
    assert not caplog.records


@pytest.mark.parametrize("recipe", [None, {}, {"form": "x86"}, {"form": ["cuda"]}, 3])
def test_a_checkpoint_that_does_not_say_its_form_is_of_the_first_one(recipe: Any) -> None:
    assert tuned_form({"phase": "qat", "recipe": recipe}) == "cpu-vnni"
    assert tuned_form({"phase": "qat"}) == "cpu-vnni"
    assert tuned_form({"phase": "target", "recipe": {"form": "cuda"}}) is None
