"""Checkpoint → Bundle: the whole flow, every stage taken from the cache when it is there."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import (
    Bundle,
    Graph,
    LoweredGraph,
    Ranges,
    fingerprint,
    publish,
    write_manifest,
)
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import calibrate, ranges_fingerprint
from xopt.calibrate.sampling import Sample, draw_sample
from xopt.card import render_card
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import column_maxima, lower_graph, lowered_fingerprint
from xopt.compile.options import BuildOptions
from xopt.compile.recipes import Lowering, check_encoder, lowering_for
from xopt.compile.sources import locate
from xopt.compile.trace import graph_fingerprint, trace_checkpoint
from xopt.engines.base import BUILDERS
from xopt.engines.tensorrt.compat import Machine
from xopt.engines.tensorrt.listing import UnfusedError
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.engines.tensorrt.portable import copy_portable
from xopt.evidence import record_build
from xopt.host import tool_versions
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer

__all__ = ["BuildOptions", "BuildResult", "build_bundle"]

# Targets that build on the GPU the engine will run on, and so for no other.
ON_GPU = ("tensorrt", "torch-tensorrt")


@dataclass(frozen=True)
class BuildResult:
    """A bundle, and what it took."""

    bundle: Bundle
    seconds: float
    cached: bool


def build_bundle(
    options: BuildOptions, progress: Progress | None = None, *, record: bool = True
) -> BuildResult:
    """Build what ``options`` ask for, or find that it is built already.

    Args:
        options: what to build.
        progress: told the stages.
        record: remember the bundle as the newest one of this machine.

    Raises:
        XoptError: any of the flow's errors; what was built before stays.
    """
    start = time.perf_counter()
    progress = progress or Silent()
    progress.stage("checkpoint")
    source = locate(options.checkpoint)
    checkpoint = Checkpoint.open(
        source.folder, source=source.label, layer=options.layer, pooling=options.pooling
    )
    check_encoder(options.engine, checkpoint.config, checkpoint.head.form)
    lowering = choose_lowering(options, checkpoint)
    machine = _machine(options)
    sample = _sample(checkpoint, options) if lowering.activations != "none" else None
    tensorrt = options.tensorrt
    if machine is not None:
        tensorrt = replace(tensorrt, lengths=_lengths(sample or _sample(checkpoint, options)))
    digest = _bundle_fingerprint(checkpoint, options, tensorrt, lowering, sample, machine)
    out = Path(options.out) if options.out else _default_place(checkpoint, options)
    # A damaged one is built again.
    present = Bundle.find_whole(out, digest)
    if present is not None:
        if record:
            record_build(present, _anywhere(options))
        return BuildResult(present, time.perf_counter() - start, cached=True)
    progress.stage("tracing")
    graph = trace_checkpoint(checkpoint)
    ranges = None
    if sample is not None:
        progress.stage("calibrating")
        ranges = _calibrate(checkpoint, graph, sample, options, progress)
    # Mapped weights count as memory as long as anything refers to them.
    gc.collect()
    with publish(out) as work:
        lowered, engine = _build_engine(work, options, tensorrt, graph, lowering, ranges, progress)
        _write_bundle(work, digest, checkpoint, options, graph, ranges, lowered, engine)
    bundle = Bundle.open(out)
    if record:
        record_build(bundle, _anywhere(options))
    return BuildResult(bundle, time.perf_counter() - start, cached=False)


def choose_lowering(options: BuildOptions, checkpoint: Checkpoint) -> Lowering:
    """The recipe's lowering; for TensorRT with our plugin, or fp16 where INT8 cannot fuse."""
    lowering = lowering_for(options.engine, options.precision)
    if lowering.form == "tensorrt" and options.attention == "plugin":
        return replace(lowering, form="tensorrt-plugin")
    if lowering.form == "tensorrt" and options.tensorrt.fp16_attention(
        checkpoint.config.max_tokens
    ):
        return replace(lowering, attention=False)
    return lowering


def _build_engine(
    work: Path,
    options: BuildOptions,
    tensorrt: TensorRtOptions,
    graph: Graph,
    lowering: Lowering,
    ranges: Ranges | None,
    progress: Progress,
) -> tuple[LoweredGraph, dict[str, Any]]:
    """Lower and compile; once more with fp16 attention if INT8 did not fuse and that is allowed."""
    progress.stage("lowering")
    lowered = lower_graph(graph, lowering, ranges)
    gc.collect()
    progress.stage("compiling")
    builder = BUILDERS.resolve(options.engine)()
    try:
        facts = builder.build(lowered, work, tensorrt, progress)
        if lowering.form == "tensorrt-plugin":
            # What answers for a GPU that is not there knows no plugin.
            copy_portable(lower_graph(graph, replace(lowering, form="tensorrt"), ranges), work)
        return lowered, facts
    except UnfusedError:
        if not (options.allow_unfused and lowering.attention):
            raise
    unfused = replace(lowering, attention=False)
    return _build_engine(work, options, tensorrt, graph, unfused, ranges, progress)


def _machine(options: BuildOptions) -> Machine | None:
    """Where a target that builds on the GPU at hand will build; None for every other target.

    Raises:
        MissingExtraError: its library is not installed.
        UnsupportedError: the library or the GPU cannot build what is asked for.
    """
    if options.engine not in ON_GPU:
        return None
    builder: Any = BUILDERS.resolve(options.engine)()
    machine: Machine = builder.machine(options.tensorrt)
    return machine


def _lengths(sample: Sample) -> tuple[int, ...]:
    """Tokens of the sample's sentences, as percentiles."""
    counts = [len(encoding) for encoding in sample.encodings]
    return tuple(int(n) for n in np.percentile(counts, range(101)))


def _anywhere(options: BuildOptions) -> dict[str, Any]:
    """The options with absolute paths, so that they hold in every working folder."""
    stored = asdict(options)
    for name in ("checkpoint", "calibration"):
        value = stored[name]
        if value is not None and Path(value).exists():
            stored[name] = str(Path(value).resolve())
    return stored


def _default_place(checkpoint: Checkpoint, options: BuildOptions) -> Path:
    return Path("bundles") / f"{checkpoint.name}-{options.precision}-{options.target}"


def _sample(checkpoint: Checkpoint, options: BuildOptions) -> Sample:
    tokenizer = Tokenizer.open(checkpoint.folder / "tokenizer.json", checkpoint.config.max_tokens)
    return draw_sample(
        load_corpus(options.calibration),
        tokenizer,
        max_tokens=options.calibration_tokens,
        seed=options.seed,
    )


def _bundle_fingerprint(
    checkpoint: Checkpoint,
    options: BuildOptions,
    tensorrt: TensorRtOptions,
    lowering: Lowering,
    sample: Sample | None,
    machine: Machine | None,
) -> str:
    graph = graph_fingerprint(checkpoint)
    ranges = ranges_fingerprint(graph, sample, options.recipe) if sample else None
    lowered = lowered_fingerprint(graph, lowering, ranges)
    parts: list[Any] = [tool_versions("xopt", "openvino")]
    if "tensorrt" in options.engine:
        parts += [asdict(tensorrt), tool_versions(options.engine)]
    if machine is not None:
        parts.append(asdict(machine))
    return fingerprint(lowered, options.engine, *parts)


def _calibrate(
    checkpoint: Checkpoint,
    graph: Graph,
    sample: Sample,
    options: BuildOptions,
    progress: Progress,
) -> Ranges:
    digest = ranges_fingerprint(graph.fingerprint, sample, options.recipe)
    cached = Ranges.find(digest)
    if cached is not None:
        return cached
    from xopt.compile.packed_encoder import PackedEncoder

    return calibrate(
        PackedEncoder.load(checkpoint),
        graph.fingerprint,
        sample,
        options.recipe,
        first_position=checkpoint.config.first_position,
        columns=column_maxima(graph),
        progress=progress.share,
    )


def _write_tokenizer(source: Path, target: Path) -> None:
    """The same tokenizer without the white space between its 250,000 pieces: 17 MB become 9."""
    document = json.loads(source.read_text(encoding="utf-8"))
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    target.write_text(text, encoding="utf-8")


def _write_bundle(
    work: Path,
    digest: str,
    checkpoint: Checkpoint,
    options: BuildOptions,
    graph: Graph,
    ranges: Ranges | None,
    lowered: LoweredGraph,
    engine: dict[str, Any],
) -> None:
    _write_tokenizer(checkpoint.folder / "tokenizer.json", work / "tokenizer.json")
    config = checkpoint.config
    facts: dict[str, Any] = {
        "parent": lowered.fingerprint,
        "checkpoint": checkpoint.source,
        "target": options.engine,
        "precision": options.precision,
        "head": checkpoint.head.manifest(),
        "signature": checkpoint.signature(graph.manifest["inputs"], graph.manifest["output"]),
        "shape": {"layers": checkpoint.depth, "hidden": config.hidden, "heads": config.heads},
        "parity": graph.manifest["parity"],
        "provenance": {
            "checkpoint": checkpoint.fingerprint,
            "training": checkpoint.training,
            "graph": graph.fingerprint,
            "ranges": ranges.fingerprint if ranges else None,
            "lowered": lowered.fingerprint,
            "calibration": ranges.manifest["sample"] if ranges else None,
            "calibration_recipe": asdict(options.recipe) if ranges else None,
        },
        "engine": engine,
        "tools": graph.manifest["tools"]
        | tool_versions("openvino", "tokenizers", "numpy", options.engine),
    }
    if "layers" in engine:
        facts["layers"] = engine["layers"]
    (work / "card.md").write_text(render_card(facts, []), encoding="utf-8")
    write_manifest(work, Bundle.kind, digest, facts)
