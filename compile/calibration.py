"""``xopt calibrate``: what a corpus holds, and the ranges that it gives a checkpoint."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xopt.artifacts import Ranges, check_place, publish
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.overview import overview
from xopt.compile.build import choose_lowering, open_checkpoint
from xopt.compile.options import BuildOptions
from xopt.compile.ranging import ranges_of, sample_of
from xopt.compile.recipes import check_encoder, check_head
from xopt.compile.trace import trace_checkpoint
from xopt.errors import InputError
from xopt.progress import Progress
from xopt.tokenization import Tokenizer

__all__ = ["Calibration", "calibrate_checkpoint"]


@dataclass(frozen=True)
class Calibration:
    """What became of a corpus.

    Attributes:
        corpus: what it holds; :func:`~xopt.calibrate.overview.overview`.
        sample: which texts were drawn of it.
        ranges: where they lie; None where only the corpus was looked at.
        seconds: it took.
    """

    corpus: dict[str, Any]
    sample: dict[str, Any]
    ranges: Ranges | None
    seconds: float


def calibrate_checkpoint(
    options: BuildOptions, out: Path | None, progress: Progress
) -> Calibration:
    """Look at a corpus, and measure a checkpoint's ranges on it.

    The corpus, the seed and the options decide every byte of the ranges on one kind of machine.

    Args:
        options: of the build that will use them; ``calibration`` names the corpus.
        out: the folder for the ranges, which ``xopt build --calibration`` takes; None to only look.
        progress: told the stages.

    Raises:
        InputError: there is no such corpus, or the precision needs no ranges.
        ArtifactError: ``out`` holds something else.
    """
    start = time.perf_counter()
    if out is not None:
        check_place(out, Ranges.kind)
    progress.stage("checkpoint")
    checkpoint = open_checkpoint(options)
    about = checkpoint.config, checkpoint.head, checkpoint.depth
    check_encoder(options.engine, *about)
    if out is not None:
        lowering = choose_lowering(options, checkpoint)
        check_head(options.engine, lowering, *about)
        if lowering.activations == "none":
            raise InputError(
                f"{options.precision} for {options.target} quantizes nothing by ranges.",
                hint="Ask for --precision int8, or leave -o out to look at the corpus alone.",
            )
    corpus = load_corpus(options.calibration)
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    found = overview(corpus, tokenizer)
    sample = sample_of(checkpoint, options)
    ranges = None
    if out is not None:
        progress.stage("tracing")
        graph = trace_checkpoint(checkpoint)
        progress.stage("calibrating")
        measured = ranges_of(checkpoint, graph, sample, options, progress)
        with publish(out, Ranges.kind) as work:
            shutil.copytree(measured.folder, work, dirs_exist_ok=True)
        ranges = Ranges.open(out)
    return Calibration(found, sample.facts, ranges, time.perf_counter() - start)
