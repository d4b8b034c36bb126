"""Quantization-aware tuning: train on with the rounding that INT8 will bring.

Fake quantizers stand where `xopt build --precision int8` rounds for the target that is asked for
(:mod:`xopt.tune.qat_sites`): at the input of every linear layer of the encoder, on its weight (a
scale for each output channel), on the rows of the word embeddings, and within attention where the
form has it in 8 bits. The inputs' ranges and SmoothQuant's divisors come from xopt's own
calibration, on its multilingual sample; the weights' follow the weights. What is left in the end is
an ordinary checkpoint; the build knows it by its ``training.json``, and rounds its weights as it
was tuned, to the nearest step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from xopt.calibrate.corpus import load_corpus
from xopt.compile.build import BuildOptions
from xopt.compile.ranging import nearest_steps
from xopt.encoders.spec import SITES
from xopt.tune.parts import family_in, words_of
from xopt.tune.qat_sites import Measured
from xopt.tune.quantized_attention import ATTENTION, use_quantized_attention
from xopt.tune.quantizers import (
    AffineQuantizer,
    RowQuantizer,
    SignedQuantizer,
)

__all__ = ["calibration_facts", "insert_quantizers", "quantizers_of", "remove_quantizers"]

INPUT = "input_quantizer"
# The mean that attention took from the values, and how transformers computed attention before.
MEAN, PLAIN = "mean_of_values", "plain_attention"


def calibration_facts(options: BuildOptions) -> dict[str, Any]:
    """What :func:`~xopt.tune.qat_sites.measure_sites` measures on, and how: a JSON object."""
    corpus = load_corpus()
    return {
        "corpus": corpus.name, "fingerprint": corpus.fingerprint, "seed": options.seed,
        "calibration_tokens": options.calibration_tokens,
        "recipe": asdict(nearest_steps(options.recipe)),
    }  # fmt: skip


def insert_quantizers(model: Any, measured: Measured) -> list[str]:
    """Put a fake quantizer at each site of a transformers model, in place.

    A linear layer then computes ``Q((x - m) / s) Q(W s)ᵀ`` and takes the middle ``m`` back, as the
    engine does.

    Args:
        model: with any head.
        measured: how each site is rounded.

    Returns:
        The sites, in order.
    """
    base = model.base_model
    words = words_of(base)
    words.add_module(INPUT, RowQuantizer())
    words.register_forward_hook(_quantize_rows)
    linears = list(_linears(base))
    for site, linear, module in linears:
        module.add_module(INPUT, measured.reads(site))
        module.register_forward_pre_hook(_quantize_input)
        parametrize.register_parametrization(module, "weight", measured.weight(linear, site))
        if linear == "attention_output":
            module.register_buffer(MEAN, measured.mean_of_values(site.rpartition(".")[0]))
            module.register_forward_hook(_return_mean)
    if measured.lowering.attention:
        setattr(model, PLAIN, base.config._attn_implementation)
        for layer, module in _attentions(base):
            module.add_module(ATTENTION, measured.attention(layer))
        use_quantized_attention(model)
    return list(dict.fromkeys(["embeddings", *(site for site, _, _ in linears)]))


def _linears(base: Any) -> Iterator[tuple[str, str, nn.Module]]:
    """The linear layers of a transformers encoder: the site that each reads, and its own name."""
    places = family_in(base).places(range(base.config.num_hidden_layers))
    named = [(theirs, *ours.rpartition(".")) for theirs, (ours,) in places.items()]
    found = [(layer, name, theirs) for theirs, layer, _, name in named if name in SITES]
    for layer, name, theirs in sorted(found, key=lambda part: int(part[0].split(".")[1])):
        yield f"{layer}.{SITES[name]}", name, base.get_submodule(theirs)


def _attentions(base: Any) -> Iterator[tuple[str, nn.Module]]:
    """What holds the projections of each layer, and the layer's name."""
    places = family_in(base).places(range(base.config.num_hidden_layers))
    for theirs, (ours,) in places.items():
        layer, _, name = ours.rpartition(".")
        if name == "q":
            yield layer, base.get_submodule(theirs.rpartition(".")[0])


def remove_quantizers(model: Any) -> None:
    """Take every quantizer out again; the weights stay as they were trained."""
    base = model.base_model
    hooks = (_quantize_rows, _quantize_input, _return_mean)
    for module in (words_of(base), *(module for _, _, module in _linears(base))):
        if not hasattr(module, INPUT):
            continue
        delattr(module, INPUT)
        if hasattr(module, MEAN):
            delattr(module, MEAN)
        for registered in (module._forward_hooks, module._forward_pre_hooks):
            for key in [k for k, hook in registered.items() if hook in hooks]:
                del registered[key]
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
    if hasattr(model, PLAIN):
        for _, module in _attentions(base):
            delattr(module, ATTENTION)
        model.set_attn_implementation(getattr(model, PLAIN))
        delattr(model, PLAIN)


def quantizers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The fake quantizers in a model, by the name of the module that holds each."""
    kinds = AffineQuantizer | RowQuantizer | SignedQuantizer
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def _quantize_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    quantizer = module.get_submodule(INPUT)
    return (quantizer(inputs[0]), *inputs[1:])


def _quantize_rows(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A looked-up row is rounded as the table's row would be: with the scale of its own."""
    rows: Tensor = module.get_submodule(INPUT)(output.flatten(0, -2))
    return rows.view_as(output)


def _return_mean(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Attention's values are without their mean, which comes back through the exact weight."""
    mean = getattr(module, MEAN)
    if mean is None:
        return output
    exact: Tensor = module.get_parameter("parametrizations.weight.original")
    returned: Tensor = output + exact @ mean
    return returned
