"""Checkpoint → Bundle: the whole flow, every stage taken from the cache when it is there."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from xopt.calibrate.ranges import CalibrationRecipe, calibrate, ranges_fingerprint
from xopt.calibrate.sampling import Sample, draw_sample
from xopt.card import render_card
from xopt.compile.checkpoint import Checkpoint, Pooling
from xopt.compile.lower import column_maxima, lower_graph, lowered_fingerprint
from xopt.compile.recipes import Lowering, lowering_for
from xopt.compile.sources import locate
from xopt.compile.trace import graph_fingerprint, trace_checkpoint
from xopt.engines.base import ALIASES, BUILDERS
from xopt.errors import ArtifactError, InputError
from xopt.evidence import record_build
from xopt.host import tool_versions
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer

__all__ = ["BuildOptions", "BuildResult", "build_bundle"]


@dataclass(frozen=True)
class BuildOptions:
    """What to build. Every field is a key of ``[build]`` in ``xopt.toml`` and an option of the CLI.

    Attributes:
        checkpoint: folder, hub id or ``pip:multilingual-e5-small``; the default encoder if None.
        precision: ``fp32``, ``fp16`` or ``int8``.
        target: an engine's name; ``cpu`` is OpenVINO.
        calibration: corpus, see :func:`xopt.calibrate.corpus.load_corpus`.
        calibration_tokens: budget of the calibration sample.
        ranges: ``minmax``, ``percentile``, ``entropy`` or ``mse``.
        percentile: for ``ranges = "percentile"``.
        smooth: SmoothQuant's alpha; 0 turns it off.
        seed: of the calibration sample.
        layer: for encoders without a head, which hidden state is pooled; the last if None.
        pooling: for encoders without a head, ``mean`` or ``cls``.
        out: the bundle's folder; ``bundles/NAME-PRECISION-TARGET`` if None.
    """

    checkpoint: str | None = None
    precision: str = "int8"
    target: str = "cpu"
    calibration: str | None = None
    calibration_tokens: int = 16_384
    ranges: str = "minmax"
    percentile: float = 99.99
    smooth: float = 0.8
    seed: int = 0
    layer: int | None = None
    pooling: Pooling = "mean"
    out: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without reading anything."""
        if self.pooling not in ("mean", "cls"):
            raise InputError(f"Unknown pooling {self.pooling!r}.", hint="Possible: mean, cls.")
        if self.calibration_tokens < 64:
            raise InputError(
                f"--calibration-tokens is {self.calibration_tokens}; at least 64 are needed."
            )
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; possible: 0 and above.")
        lowering_for(self.engine, self.precision)
        _ = self.recipe

    @property
    def engine(self) -> str:
        """The target as the engines' table spells it."""
        name = ALIASES.get(self.target, self.target)
        if name not in BUILDERS:
            BUILDERS.resolve(name)
        return name

    @property
    def recipe(self) -> CalibrationRecipe:
        """The calibration part."""
        return CalibrationRecipe(self.ranges, self.percentile, self.smooth)


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
    lowering = lowering_for(options.engine, options.precision)
    sample = _sample(checkpoint, options) if lowering.activations != "none" else None
    digest = _bundle_fingerprint(checkpoint, options, lowering, sample)
    out = Path(options.out) if options.out else _default_place(checkpoint, options)
    present = _present(out, digest)
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
    progress.stage("lowering")
    lowered = lower_graph(graph, lowering, ranges)
    gc.collect()
    progress.stage("compiling")
    with publish(out) as work:
        _write_bundle(work, digest, checkpoint, options, graph, ranges, lowered)
    bundle = Bundle.open(out)
    if record:
        record_build(bundle, _anywhere(options))
    return BuildResult(bundle, time.perf_counter() - start, cached=False)


def _present(out: Path, digest: str) -> Bundle | None:
    """The bundle in ``out`` if it is the one asked for and whole; a damaged one is built again."""
    if not (out / "manifest.json").is_file():
        return None
    try:
        found = Bundle.open(out)
        if found.fingerprint != digest:
            return None
        found.verify()
    except ArtifactError:
        return None
    return found


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
    checkpoint: Checkpoint, options: BuildOptions, lowering: Lowering, sample: Sample | None
) -> str:
    graph = graph_fingerprint(checkpoint)
    ranges = ranges_fingerprint(graph, sample, options.recipe) if sample else None
    lowered = lowered_fingerprint(graph, lowering, ranges)
    return fingerprint(lowered, options.engine, tool_versions("xopt", "openvino"))


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
) -> None:
    engine_facts = BUILDERS.resolve(options.engine)().build(lowered, work)
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
            "graph": graph.fingerprint,
            "ranges": ranges.fingerprint if ranges else None,
            "lowered": lowered.fingerprint,
            "calibration": ranges.manifest["sample"] if ranges else None,
            "calibration_recipe": asdict(options.recipe) if ranges else None,
        },
        "engine": engine_facts,
        "tools": graph.manifest["tools"] | tool_versions("openvino", "tokenizers", "numpy"),
    }
    (work / "card.md").write_text(render_card(facts, []), encoding="utf-8")
    write_manifest(work, Bundle.kind, digest, facts)
