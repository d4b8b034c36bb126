"""How each form of INT8 rounds sites and weights, as quantizers that can be trained on.

The CPU's form has unsigned numbers with a zero point and moves each channel to its middle; its
weights are bounded in pairs where they are made for every CPU. The CUDA kernels' has signed
numbers. TensorRT's has signed numbers in fp16 steps, of channels moved to their middle. What fp16
rounds beside the 8-bit numbers is not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xopt.calibrate.ranges import calibrate
from xopt.calibrate.sites import Site, read_sites
from xopt.compile.build import BuildOptions, choose_lowering
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.quantize import half_inverse, in_half
from xopt.compile.ranging import nearest_steps, sample_of
from xopt.compile.recipes import Lowering
from xopt.compile.trace import graph_fingerprint
from xopt.progress import Progress, Silent
from xopt.tune.quantized_attention import AttentionQuantizer
from xopt.tune.quantizers import AffineQuantizer, SignedQuantizer, WeightQuantizer

__all__ = ["Measured", "measure_sites"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """What calibration found, and the lowering that makes numbers of it.

    Attributes:
        sites: by name.
        lowering: of a precision with 8-bit activations.
        scale: of attention's scores.
    """

    sites: dict[str, Site]
    lowering: Lowering
    scale: float

    @property
    def half(self) -> bool:
        """Whether steps, divisors and middles are fp16: in TensorRT's form."""
        return self.lowering.form.startswith("tensorrt")

    def reads(self, name: str) -> nn.Module:
        """The quantizer of what a linear layer reads."""
        site, lowering = self.sites[name], self.lowering
        if lowering.activations == "uint8":
            return AffineQuantizer(site.affine)
        reach = site.reach(lowering.attention, moved=self.half)
        if not self.half:
            step = np.float32(reach / 127)
            # As the kernels read it: one division.
            ones = np.float32(1)
            return SignedQuantizer(step if site.divisor is None else step / (ones / site.divisor))
        step = in_half(np.float32(reach / 127))
        if site.kind == "context":
            # Behind attention the divisor is in the values already, and nothing is moved.
            return SignedQuantizer(step, 1 if site.divisor is None else _inverse(site.divisor))
        factor = np.float32(1) if site.divisor is None else half_inverse(site.divisor)
        middle = np.float32(0) if site.middle is None else site.middle * factor
        return SignedQuantizer(step, factor, middle.astype(np.float16).astype(np.float32))

    def weight(self, linear: str, name: str) -> WeightQuantizer:
        """The quantizer of a linear layer's weight.

        Args:
            linear: ``q``, ``k``, ``v``, ``attention_output``, ``ffn_in`` or ``ffn_out``.
            name: of the site that it reads.
        """
        site, pair_sum = self.sites[name], self.lowering.pair_sum
        if not self.half:
            divisor = np.float32(1) if site.divisor is None else site.divisor
            return WeightQuantizer(divisor, pair_sum=pair_sum)
        rows: Array | np.float32 = np.float32(1)
        if linear == "q":
            rows = np.float32(self.scale)
        elif linear == "v" and (later := self.sites[f"{site.layer}.context"].divisor) is not None:
            rows = _inverse(later)
        if site.divisor is None:
            return WeightQuantizer(np.float32(1), rows=rows)
        if site.kind == "context":
            return WeightQuantizer(site.divisor)
        return WeightQuantizer(half_inverse(site.divisor), inverse=True, rows=rows)

    def attention(self, layer: str) -> AttentionQuantizer | None:
        """The quantizers within a layer's attention; None where that is not in 8 bits."""
        if not self.lowering.attention:
            return None
        q, k, v = (self.sites[f"{layer}.{part}"] for part in "qkv")
        assert k.middle is not None
        assert v.middle is not None
        if not self.half:
            return AttentionQuantizer(
                SignedQuantizer(np.float32(q.amax / 127)),
                SignedQuantizer(np.float32(k.amax / 127), middle=k.middle),
                SignedQuantizer(np.float32(v.amax / 127), middle=v.middle),
                probs=1 / 127,
                factor=self.scale,
            )
        factor, divisor = np.float32(self.scale), self.sites[f"{layer}.context"].divisor
        inverse = np.float32(1) if divisor is None else _inverse(divisor)
        smoothed = v.amax if v.smoothed is None else v.smoothed
        steps = (in_half(np.float32(n / 127)) for n in (factor * q.amax, k.amax, smoothed))
        q_step, k_step, v_step = steps
        return AttentionQuantizer(
            SignedQuantizer(q_step, factor),
            SignedQuantizer(k_step, middle=k.middle),
            SignedQuantizer(v_step, inverse, v.middle * inverse),
            probs=float(in_half(np.float32(1 / 127))),
            factor=1.0,
        )

    def mean_of_values(self, layer: str) -> torch.Tensor | None:
        """``[in]``: what attention took from the values; None where nothing was taken."""
        middle = self.sites[f"{layer}.v"].middle if self.lowering.attention else None
        return None if middle is None else torch.from_numpy(middle.copy())


def measure_sites(
    folder: Path, options: BuildOptions, progress: Progress | None = None
) -> Measured:
    """The ranges that ``xopt build`` finds for a checkpoint whose weights are tuned.

    Args:
        folder: a checkpoint with the head of a target task.
        options: of the build that is simulated; its checkpoint is not read.
        progress: told the share.

    Returns:
        What :func:`~xopt.tune.qat.insert_quantizers` takes.

    Raises:
        CheckpointError: it cannot be compiled.
        UnsupportedError: the target has no such precision, or cannot run this encoder.
    """
    progress = progress or Silent()
    checkpoint = Checkpoint.open(folder)
    ranges = calibrate(
        PackedEncoder.load(checkpoint),
        # Of the graph that is not traced here: the same weights have the same ranges.
        graph_fingerprint(checkpoint),
        sample_of(checkpoint, options),
        nearest_steps(options.recipe),
        first_position=checkpoint.config.first_position,
        progress=progress.share,
    )
    lowering = choose_lowering(options, checkpoint)
    return Measured(read_sites(ranges), lowering, checkpoint.config.score_scale)


def _inverse(divisor: Array) -> Array:
    return np.asarray(1 / divisor, np.float32)
