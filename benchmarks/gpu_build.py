"""A bundle for the CUDA engine straight from PyTorch's weights, where ONNX is not installed.

Calibration and lowering are those of ``xopt build --target cuda``. The ranges here come from random
tokens: good enough for speed and for a check of the arithmetic, and never to be deployed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xopt.artifacts import Bundle, Ranges, publish, write_manifest
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import Sample
from xopt.calibrate.sites import read_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower_kernels import kernel_arrays
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.engines.cuda_buckets import choose_buckets
from xopt.engines.cuda_rows import FIELD, choose_rows
from xopt.engines.cuda_weights import write_weights
from xopt.packing import Encoding

CALIBRATION_LENGTHS = (512, 300, 128, 64, 20)


def measure_ranges(checkpoint: Checkpoint, encoder: PackedEncoder) -> Ranges:
    """Over one batch of random tokens, smoothed as ``int8`` is by default."""
    config = encoder.config
    lengths = [min(n, config.max_tokens) for n in CALIBRATION_LENGTHS]
    generator = np.random.default_rng(1)
    # Without the special ones.
    ids = [generator.integers(5, config.vocabulary, n).astype(np.int32) for n in lengths]
    sample = Sample(
        tuple(Encoding(i, np.zeros(len(i), np.int32)) for i in ids),
        tuple(("und", f"{len(i)} random tokens") for i in ids),
        {"corpus": "random tokens", "lengths": lengths},
    )
    return calibrate(
        encoder,
        checkpoint.fingerprint,
        sample,
        CalibrationRecipe(),
        first_position=config.first_position,
    )


def write_bundle(
    checkpoint: Checkpoint, encoder: PackedEncoder, precision: str, ranges: Ranges, out: Path
) -> Bundle:
    """A bundle without tokenizer and card, for :func:`xopt.engines.base.open_engine`."""
    config, most = checkpoint.config, checkpoint.text.max_tokens
    facts = {
        "target": "cuda",
        "precision": precision,
        "head": checkpoint.head.manifest(),
        "signature": checkpoint.signature(encoder.inputs, encoder.output_name),
        "checkpoint": checkpoint.source,
        "shape": {"layers": checkpoint.depth, "hidden": config.hidden, "heads": config.heads},
        "provenance": {"checkpoint": checkpoint.fingerprint, "lowered": ""},
        "engine": {
            **choose_buckets(CALIBRATION_LENGTHS, most).manifest(),
            FIELD: choose_rows(CALIBRATION_LENGTHS, most),
        },
        "tools": {},
    }
    with publish(out) as work:
        sites = read_sites(ranges)
        write_weights(*kernel_arrays(encoder, lowering_for("cuda", precision), sites), work)
        write_manifest(work, Bundle.kind, "", facts)
    return Bundle.open(out)
