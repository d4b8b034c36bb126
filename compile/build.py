"""Checkpoint → Bundle: the whole flow, every stage taken from the cache when it is there."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import (
    Bundle,
    check_place,
    fingerprint,
    publish,
    write_manifest,
)
from xopt.calibrate.corpus import corpus_path
from xopt.calibrate.ranges import ranges_fingerprint
from xopt.calibrate.sampling import Sample
from xopt.card import render_card
from xopt.compile.builders import BUILDERS
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.context import BuildContext
from xopt.compile.int8_form import tell_other_form
from xopt.compile.lower import lowered_fingerprint
from xopt.compile.options import BuildOptions
from xopt.compile.public import ways_to
from xopt.compile.ranging import choose_recipe, ranges_of, sample_of, trimmed_of
from xopt.compile.recipes import Lowering, check_encoder, check_head, lowering_for
from xopt.compile.sources import locate
from xopt.compile.trace import graph_fingerprint, trace_checkpoint
from xopt.compile.traced import WEIGHTS
from xopt.compile.trimming import Trimmed
from xopt.encoders.plan import needs, plan, site_names
from xopt.engines.building import Built
from xopt.errors import InputError, UnsupportedError
from xopt.evaluate.tasks import TASKS, fitting_tasks
from xopt.evidence import record_build
from xopt.hashing import source_digest
from xopt.host import collect_cycles, peak_rss_mib, release_memory, tool_versions
from xopt.progress import Progress, Silent, Stage, StageClock

__all__ = [
    "BuildOptions", "BuildResult", "build_bundle", "choose_lowering", "open_checkpoint", "place_of",
]  # fmt: skip


@dataclass(frozen=True)
class BuildResult:
    """A bundle, and what it took."""

    bundle: Bundle
    seconds: float
    cached: bool
    stages: tuple[Stage, ...] = ()


def build_bundle(
    options: BuildOptions,
    progress: Progress | None = None,
    *,
    record: bool = True,
    search: Mapping[str, Any] | None = None,
) -> BuildResult:
    """Build what ``options`` ask for, or find that it is built already.

    Args:
        options: what to build.
        progress: told the stages.
        record: remember the bundle as the newest one of this machine.
        search: how its sites were chosen (:mod:`xopt.compile.mixing`); it goes into the bundle.

    Raises:
        XoptError: any of the flow's errors; what was built before stays.
    """
    start = time.perf_counter()
    progress = StageClock(progress or Silent(), peak_rss_mib)
    progress.stage("checkpoint")
    checkpoint = open_checkpoint(options)
    check_encoder(options.engine, checkpoint.config, checkpoint.head, checkpoint.depth)
    builder = BUILDERS.resolve(options.engine)(options.builder)
    lowering = choose_lowering(options, checkpoint)
    tell_other_form(checkpoint.training, lowering)
    check_head(options.engine, lowering, checkpoint.config, checkpoint.head, checkpoint.depth)
    here = builder.look()
    sample = sample_of(checkpoint, options) if lowering.activations != "none" else None
    lengths: tuple[int, ...] = ()
    if builder.reads_lengths:
        lengths = _lengths(sample or sample_of(checkpoint, options))
    trimmed = trimmed_of(checkpoint, options)
    digest = _bundle_fingerprint(checkpoint, options, lowering, sample, lengths, here, trimmed)
    if search is not None:
        digest = fingerprint(digest, search)
    out = place_of(checkpoint, options)
    check_place(out, Bundle.kind)
    # A damaged one is built again.
    present = Bundle.find_whole(out, digest)
    if present is not None:
        if record:
            record_build(present, _anywhere(options))
        progress.finish()
        taken = time.perf_counter() - start
        return BuildResult(present, taken, cached=True, stages=tuple(progress.stages))
    # What read the tokenizer took half a gigabyte, and libc would keep it.
    release_memory()
    progress.stage("tracing")
    graph = trace_checkpoint(checkpoint)
    ranges = None
    if sample is not None:
        progress.stage("calibrating")
        ranges = ranges_of(checkpoint, graph, sample, options, progress)
    # Mapped weights count as memory as long as anything refers to them.
    collect_cycles((graph.folder / WEIGHTS).stat().st_size)
    release_memory()
    with publish(out, Bundle.kind) as work:
        context = BuildContext(checkpoint, graph, ranges, lowering, lengths, progress, trimmed)
        built = builder.build(context, work, progress)
        _write_bundle(work, digest, context, options, built, search)
    bundle = Bundle.open(out)
    if record:
        record_build(bundle, _anywhere(options))
    progress.finish()
    taken = time.perf_counter() - start
    return BuildResult(bundle, taken, cached=False, stages=tuple(progress.stages))


def open_checkpoint(options: BuildOptions) -> Checkpoint:
    """The checkpoint that is asked for, with what the options change of its head and texts.

    Raises:
        XoptError: it cannot be had, read, or answer the task that is asked for; or there is no
            such calibration corpus, which is looked for before anything is fetched.
    """
    if lowering_for(options.engine, options.precision).activations != "none":
        corpus_path(options.calibration)
    source = locate(options.checkpoint, task=options.task)
    checkpoint = Checkpoint.open(
        source.folder,
        source=source.label,
        layer=options.layer,
        pooling=options.pooling,
        normalize=options.normalize,
    )
    if options.task is not None:
        check_task(checkpoint, options.task)
    return checkpoint


def check_task(checkpoint: Checkpoint, task: str) -> None:
    """Refuse a checkpoint whose head cannot answer a task, before anything is built.

    Raises:
        InputError: with the commands that make one that can.
    """
    try:
        TASKS.resolve(task)().check(checkpoint.head.manifest(), checkpoint.name)
    except InputError as error:
        raise InputError(error.message, hint=f"What can:\n{ways_to(task)}") from error


def choose_lowering(options: BuildOptions, checkpoint: Checkpoint) -> Lowering:
    """The recipe of target and precision, as the target's options change it for this encoder.

    Raises:
        InputError: a site is to be in fp32 or bf16 that this encoder does not have.
        UnsupportedError: attention is to be INT8 and has rotary positions.
    """
    lowering = lowering_for(options.engine, options.precision)
    changes = options.builder.changes(options.precision, checkpoint.text.max_tokens)
    if "rotary positions" in needs(checkpoint.config):
        if options.precision == "int8-attention":
            raise UnsupportedError(
                f"The target {options.target} cannot quantize the attention of this "
                f"{checkpoint.config.model_type} encoder: positions are rotated into its keys.",
                hint="Build it with --precision int8, whose attention is fp16 there.",
            )
        # A rotated key has no range of its own in the sample.
        lowering = replace(lowering, attention=False)
    lowering = replace(lowering, **changes)
    known = site_names(plan(checkpoint.config, checkpoint.head.layer))
    for how in ("fp32", "bf16"):
        names = [name.strip() for name in (getattr(options, f"{how}_sites") or "").split(",")]
        for site in getattr(lowering, f"{how}_sites"):
            if site in known:
                continue
            # A layer's name stands for its four sites.
            typed = next(name for name in names if f"{site}.".startswith(f"{name}."))
            raise InputError(
                f"--{how}-sites names {typed!r}; this encoder has {checkpoint.depth} layers.",
                hint=f"Possible: layers.0 to layers.{checkpoint.depth - 1}"
                + (", and embeddings." if how == "fp32" else "."),
            )
    return lowering


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


def place_of(checkpoint: Checkpoint, options: BuildOptions) -> Path:
    """The bundle's folder."""
    if options.out:
        return Path(options.out)
    return Path("bundles") / f"{checkpoint.name}-{options.precision}-{options.target}"


def _bundle_fingerprint(
    checkpoint: Checkpoint,
    options: BuildOptions,
    lowering: Lowering,
    sample: Sample | None,
    lengths: tuple[int, ...],
    here: dict[str, Any],
    trimmed: Trimmed | None,
) -> str:
    graph = graph_fingerprint(checkpoint)
    recipe = choose_recipe(options, checkpoint)
    ranges = ranges_fingerprint(graph, sample, recipe) if sample else None
    lowered = lowered_fingerprint(graph, lowering, ranges, trimmed)
    parts: list[Any] = [tool_versions("xopt", "openvino"), source_digest("engines")]
    own = options.builder.own
    if own or lengths:
        parts += [own, list(lengths), tool_versions(options.engine), here]
    return fingerprint(lowered, options.engine, *parts)


def _write_bundle(
    work: Path,
    digest: str,
    context: BuildContext,
    options: BuildOptions,
    built: Built,
    search: Mapping[str, Any] | None,
) -> None:
    checkpoint, graph, ranges = context.checkpoint, context.graph, context.ranges
    lowered, engine = built.lowered, built.facts
    shutil.copyfile(checkpoint.tokenizer.path, work / "tokenizer.json")
    spec, trimmed = checkpoint.text, context.trimmed
    if trimmed is not None:
        trimmed.pieces.save(work)
        spec = replace(spec, trimmed=True)
    config = checkpoint.config
    facts: dict[str, Any] = {
        "parent": lowered.fingerprint,
        "checkpoint": checkpoint.source,
        "target": options.engine,
        "precision": options.precision,
        "head": checkpoint.head.manifest(),
        "tasks": fitting_tasks(checkpoint.head.manifest()),
        "text": spec.manifest(),
        "tokenizer": checkpoint.tokenizer.facts,
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
            "calibration_recipe": ranges.manifest["recipe"] if ranges else None,
        },
        "engine": engine,
        "tools": graph.manifest["tools"]
        | tool_versions("openvino", "tokenizers", "numpy", options.engine),
    }
    if trimmed is not None:
        facts["vocabulary"] = trimmed.facts
    if "layers" in engine:
        facts["layers"] = engine["layers"]
    if search is not None:
        text = json.dumps(search, indent=1, ensure_ascii=False) + "\n"
        (work / "search.json").write_text(text, encoding="utf-8")
        said = ("task", "data", "max_drop", "kept", "checked", "without_bf16")
        facts["search"] = {name: search[name] for name in said}
    (work / "card.md").write_text(render_card(facts, []), encoding="utf-8")
    write_manifest(work, Bundle.kind, digest, facts)
