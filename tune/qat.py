"""Quantization-aware tuning: train on with the rounding that INT8 will bring.

Fake quantizers stand where `xopt build --precision int8` rounds for the CPU: at the input of every
linear layer of the encoder (with its zero point and its channels' middle), on its weight (a scale
for each output channel), and on the rows of the word embeddings. Targets with signed
activations round the same values in other steps. The inputs' ranges and SmoothQuant's divisors come
from xopt's own calibration, on its multilingual sample; the weights' follow the weights. The
gradient passes straight through (Bengio et al., 2013). What is left in the end is an ordinary
checkpoint; the build knows it by its ``training.json``, and rounds its weights as it was tuned, to
the nearest step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.quantized import Affine
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.calibrate.sites import read_sites
from xopt.compile.build import BuildOptions
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.trace import graph_fingerprint
from xopt.encoders.spec import SITES
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer
from xopt.tune.parts import family_in, words_of

__all__ = [
    "calibration_facts", "insert_quantizers", "measure_sites", "quantizers_of", "remove_quantizers",
]  # fmt: skip

INPUT = "input_quantizer"


def measure_sites(folder: Path, progress: Progress | None = None) -> dict[str, Affine]:
    """How each site is rounded as `xopt build` finds it by default for the CPU.

    Args:
        folder: a checkpoint with the head of a target task.
        progress: told the share.

    Returns:
        Site -> step, zero point, divisor and middle, what :func:`insert_quantizers` takes.

    Raises:
        CheckpointError: it cannot be compiled.
    """
    progress = progress or Silent()
    checkpoint = Checkpoint.open(folder)
    defaults = BuildOptions()
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    sample = draw_sample(
        load_corpus(), tokenizer, max_tokens=defaults.calibration_tokens, seed=defaults.seed
    )
    ranges = calibrate(
        PackedEncoder.load(checkpoint),
        # Of the graph that is not traced here: the same weights have the same ranges.
        graph_fingerprint(checkpoint),
        sample,
        _recipe(defaults),
        first_position=checkpoint.config.first_position,
        progress=progress.share,
    )
    sites = read_sites(ranges).values()
    return {site.name: site.affine for site in sites if site.limits is not None}


def calibration_facts() -> dict[str, Any]:
    """What :func:`measure_sites` measures on, and how: a JSON object."""
    corpus, defaults = load_corpus(), BuildOptions()
    return {
        "corpus": corpus.name, "fingerprint": corpus.fingerprint, "seed": defaults.seed,
        "calibration_tokens": defaults.calibration_tokens, "recipe": asdict(_recipe(defaults)),
    }  # fmt: skip


def _recipe(defaults: BuildOptions) -> CalibrationRecipe:
    """A build's, but for the weights: they are tuned to be rounded to their nearest step."""
    return replace(defaults.recipe, levels=0, pair_sum=0)


def insert_quantizers(model: Any, affine: Mapping[str, Affine]) -> list[str]:
    """Put a fake quantizer at each site of a transformers model, in place.

    A linear layer then computes ``Q((x - m) / s) Q(W s)ᵀ`` and takes the middle ``m`` back, as the
    engine does.

    Args:
        model: with any head.
        affine: how each site is rounded.

    Returns:
        The sites, in order.
    """
    base = model.base_model
    words = words_of(base)
    words.add_module(INPUT, RowQuantizer())
    words.register_forward_hook(_quantize_rows)
    linears = _linears(base)
    for site, linear in linears:
        linear.add_module(INPUT, AffineQuantizer(affine[site]))
        linear.register_forward_pre_hook(_quantize_input)
        weight = _Smoothed(torch.from_numpy(affine[site].divisor.copy()))
        parametrize.register_parametrization(linear, "weight", weight)
    return list(dict.fromkeys(["embeddings", *(site for site, _ in linears)]))


def _linears(base: Any) -> list[tuple[str, nn.Module]]:
    """The linear layers of a transformers encoder, each with the site that it reads."""
    found = []
    places = family_in(base).places(range(base.config.num_hidden_layers))
    for theirs, (ours,) in places.items():
        layer, _, name = ours.rpartition(".")
        if name in SITES:
            found.append((f"{layer}.{SITES[name]}", base.get_submodule(theirs)))
    return sorted(found, key=lambda pair: int(pair[0].split(".")[1]))


def remove_quantizers(model: Any) -> None:
    """Take every quantizer out again; the weights stay as they were trained."""
    base = model.base_model
    for module in (words_of(base), *(linear for _, linear in _linears(base))):
        if not hasattr(module, INPUT):
            continue
        delattr(module, INPUT)
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [k for k, h in hooks.items() if h in (_quantize_rows, _quantize_input)]:
                del hooks[key]
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def quantizers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The fake quantizers in a model, by the name of the module that holds each."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, AffineQuantizer | RowQuantizer)
    }


class AffineQuantizer(nn.Module):
    """Rounds a linear layer's input to 8 bits with a zero point, and takes it back.

    The gradient passes where nothing is cut off (Bengio et al., 2013).
    """

    divisor: Tensor
    middle: Tensor

    def __init__(self, how: Affine) -> None:
        super().__init__()
        self.step, self.zero = how.step, how.zero
        self.register_buffer("divisor", torch.from_numpy(how.divisor.copy()))
        self.register_buffer("middle", torch.from_numpy(how.middle.copy()))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., in]``."""
        moved = (x - self.middle) / self.divisor
        rounded = torch.fake_quantize_per_tensor_affine(moved, self.step, self.zero, 0, 255)
        return rounded * self.divisor + self.middle


class RowQuantizer(nn.Module):
    """Rounds each row of a weight or a table to the steps that it has at the moment.

    The numbers are those of :func:`xopt.calibrate.quantized.quantize_rows`, by which the build
    rounds. No value oversteps its row's range, so the whole gradient passes.
    """

    def forward(self, rows: Tensor) -> Tensor:
        """``[rows, columns]`` -> the same."""
        steps = rows.detach().abs().amax(dim=1, keepdim=True) / 127
        steps[steps == 0] = 1
        rounded: Tensor = _Round.apply(rows, steps)  # type: ignore[no-untyped-call]
        return rounded


class _Round(torch.autograd.Function):
    """To whole steps; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, steps: Tensor) -> Tensor:
        return (rows / steps).round() * steps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


class _Smoothed(nn.Module):
    """Quantizes a weight ``[out, in]`` times the divisor ``[in]`` of what it reads."""

    divisor: Tensor

    def __init__(self, divisor: Tensor) -> None:
        super().__init__()
        self.quantizer = RowQuantizer()
        self.register_buffer("divisor", divisor)

    def forward(self, weight: Tensor) -> Tensor:
        """``[out, in]`` -> ``[out, in]``."""
        rounded: Tensor = self.quantizer(weight * self.divisor)
        return rounded / self.divisor


def _quantize_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    quantizer = module.get_submodule(INPUT)
    return (quantizer(inputs[0]), *inputs[1:])


def _quantize_rows(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A looked-up row is rounded as the table's row would be: with the scale of its own."""
    rows: Tensor = module.get_submodule(INPUT)(output.flatten(0, -2))
    return rows.view_as(output)
