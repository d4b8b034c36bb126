"""Ranges of a checkpoint, measured on a small sample."""

from pathlib import Path

from xopt.artifacts import Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.trace import trace_checkpoint
from xopt.tokenization import Tokenizer


def run(folder: Path, recipe: CalibrationRecipe, model: PackedEncoder | None = None) -> Ranges:
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    return calibrate(
        model or PackedEncoder.load(checkpoint),
        graph.fingerprint,
        draw_sample(load_corpus(), tokenizer, max_tokens=1500),
        recipe,
        first_position=2,
    )
