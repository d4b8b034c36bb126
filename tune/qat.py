"""Quantization-aware tuning: train on with the rounding that INT8 will bring.

ModelOpt's fake quantizers stand where `xopt build --precision int8` rounds: at the input of every
linear layer of the encoder, on its weight (a scale for each output channel), and on the rows of the
word embeddings. The inputs' ranges and SmoothQuant's divisors come from xopt's own calibration, on
its multilingual sample; the weights' follow the weights. The gradient passes straight through
(Bengio et al., 2013). What is left in the end is an ordinary checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate, read_ranges
from xopt.calibrate.sampling import draw_sample
from xopt.compile.build import BuildOptions
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.trace import graph_fingerprint
from xopt.distribution import install_command
from xopt.errors import MissingExtraError
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer

__all__ = [
    "calibration_facts", "insert_quantizers", "measure_sites", "quantizers_of", "remove_quantizers",
]  # fmt: skip

Array = NDArray[np.float32]

# Site -> the linear layers of transformers' encoder layer that read it.
READERS = {
    "qkv_in": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "context": ("attention.output.dense",),
    "ffn_in": ("intermediate.dense",),
    "ffn_act": ("output.dense",),
}
# ... and the packed encoder's layer of the same weights.
PACKED = {
    "qkv_in": "qkv", "context": "attention_output", "ffn_in": "ffn_in", "ffn_act": "ffn_out",
}  # fmt: skip
INPUT = "input_quantizer"


def measure_sites(
    folder: Path, progress: Progress | None = None
) -> tuple[dict[str, float], dict[str, Array]]:
    """Range and divisor of each site as `xopt build` finds them by default.

    Args:
        folder: a checkpoint with the head of a target task.
        progress: told the share.

    Returns:
        ``site -> amax`` and ``site -> [in]``, what :func:`insert_quantizers` takes.

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
    model = PackedEncoder.load(checkpoint)

    def columns(site: str) -> Array:
        layer, _, name = site.rpartition(".")
        weight: Tensor = model.get_parameter(f"{layer}.{PACKED[name]}.weight")
        largest: Array = weight.abs().amax(dim=0).numpy()
        return largest

    ranges = calibrate(
        model,
        # Of the graph that is not traced here: the same weights have the same ranges.
        graph_fingerprint(checkpoint),
        sample,
        CalibrationRecipe(defaults.ranges, defaults.percentile, defaults.smooth),
        first_position=checkpoint.config.first_position,
        columns=columns,
        progress=progress.share,
    )
    amax, smooth, _ = read_ranges(ranges)
    return amax, smooth


def calibration_facts() -> dict[str, Any]:
    """What :func:`measure_sites` measures on, and how: a JSON object."""
    corpus, defaults = load_corpus(), BuildOptions()
    names = ("calibration_tokens", "seed", "ranges", "percentile", "smooth")
    return {"corpus": corpus.name, "fingerprint": corpus.fingerprint} | {
        name: getattr(defaults, name) for name in names
    }


def insert_quantizers(
    model: Any, amax: Mapping[str, float], smooth: Mapping[str, Array]
) -> list[str]:
    """Put a fake quantizer at each site of a transformers model, in place.

    A linear layer then computes ``Q(x / s) Q(W s)ᵀ``, as the engine does.

    Args:
        model: with any head.
        amax: range of each site.
        smooth: divisors ``[in]`` of the sites that are smoothed.

    Returns:
        The sites, in order.

    Raises:
        MissingExtraError: ModelOpt is not installed.
    """
    make = _quantizers()
    base = model.base_model
    words = base.embeddings.word_embeddings
    words.add_module(INPUT, make(None, per_row=True))
    words.register_forward_hook(_quantize_rows)
    sites = ["embeddings"]
    for number, layer in enumerate(base.encoder.layer):
        for site, readers in READERS.items():
            name = f"layers.{number}.{site}"
            divisor = torch.from_numpy(smooth[name].copy()) if name in smooth else None
            sites.append(name)
            for reader in readers:
                linear = layer.get_submodule(reader)
                linear.add_module(INPUT, _Smoothed(make(amax[name]), divisor))
                linear.register_forward_pre_hook(_quantize_input)
                weight = _Smoothed(make(None, per_row=True), divisor, inverse=True)
                parametrize.register_parametrization(linear, "weight", weight)
    return sites


def remove_quantizers(model: Any) -> None:
    """Take every quantizer out again; the weights stay as they were trained."""
    base = model.base_model
    linears = [
        layer.get_submodule(reader)
        for layer in base.encoder.layer
        for readers in READERS.values()
        for reader in readers
    ]
    for module in (base.embeddings.word_embeddings, *linears):
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
        if type(module).__name__ == "TensorQuantizer"
    }


class _Smoothed(nn.Module):
    """Quantizes ``x / s`` and multiplies by ``s`` again; ``inverse`` for the weight's side.

    Args:
        quantizer: ModelOpt's.
        divisor: ``[in]``, or None for 1.
        inverse: multiply first, then divide.
    """

    divisor: Tensor | None

    def __init__(self, quantizer: nn.Module, divisor: Tensor | None, inverse: bool = False) -> None:
        super().__init__()
        self.quantizer = quantizer
        factor = divisor.reciprocal() if divisor is not None and inverse else divisor
        self.register_buffer("divisor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` -> ``[..., in]``."""
        if self.divisor is None:
            rounded: Tensor = self.quantizer(x)
            return rounded
        smoothed: Tensor = self.quantizer(x / self.divisor)
        return smoothed * self.divisor


def _quantize_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    quantizer = module.get_submodule(INPUT)
    return (quantizer(inputs[0]), *inputs[1:])


def _quantize_rows(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """A looked-up row is rounded as the table's row would be: with the scale of its own."""
    rows: Tensor = module.get_submodule(INPUT)(output.flatten(0, -2))
    return rows.view_as(output)


def _quantizers() -> Any:
    """What makes a quantizer.

    ``make(amax)`` has one range; ``make(None, per_row=True)`` takes those of the rows at hand.

    Raises:
        MissingExtraError: ModelOpt is not installed.
    """
    with _quiet():
        try:
            nodes = importlib.import_module("modelopt.torch.quantization.nn")
            config = importlib.import_module("modelopt.torch.quantization.config")
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"Quantization-aware tuning needs {error.name}, which is not installed.",
                hint=f"Install it with: {install_command('build')}, or leave --qat out.",
            ) from error

    def make(amax: float | None, *, per_row: bool = False) -> nn.Module:
        attributes = config.QuantizerAttributeConfig(num_bits=8, axis=0 if per_row else None)
        quantizer: nn.Module = nodes.TensorQuantizer(attributes)
        if amax is not None:
            quantizer.amax = torch.tensor(amax)
        return quantizer

    return make


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ModelOpt warns of every transformers release that is newer than its own tests."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
