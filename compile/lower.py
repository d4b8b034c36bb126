"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

For our own kernels it is no graph but the arrays that they read.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.sites import read_sites
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.recipes import Lowering
from xopt.compile.traced import WEIGHTS
from xopt.compile.trimming import Trimmed, trim_words
from xopt.encoders.plan import Op, plan
from xopt.engines.cuda_weights import write_weights
from xopt.hashing import source_digest
from xopt.host import tool_versions

if TYPE_CHECKING:
    from xopt.compile.packed_encoder import PackedEncoder

__all__ = ["lower_graph", "lowered_fingerprint"]


def lowered_fingerprint(
    graph: str, lowering: Lowering, ranges: str | None, trimmed: Trimmed | None = None
) -> str:
    """The fingerprint the lowered graph has, known before it is made."""
    source = source_digest("encoders", "calibrate", "compile")
    kept = [] if trimmed is None else [trimmed.fingerprint]
    return fingerprint(graph, ranges, asdict(lowering), source, *kept)


def lower_graph(
    graph: Graph,
    lowering: Lowering,
    ranges: Ranges | None,
    trimmed: Trimmed | None = None,
    *,
    checkpoint: Checkpoint,
) -> LoweredGraph:
    """Lower ``graph``, or take it from the cache.

    Args:
        graph: fp32.
        lowering: what the target wants.
        ranges: needed when activations are quantized.
        trimmed: the rows of the word embeddings that are kept, if not all.
        checkpoint: that the graph was traced from; what is not ``packed`` is made of its weights.
    """
    digest = lowered_fingerprint(
        graph.fingerprint, lowering, ranges.fingerprint if ranges else None, trimmed
    )
    cached = LoweredGraph.find(digest)
    if cached is not None:
        return cached
    keys = ("head", "inputs", "output", "layers", "heads", "hidden", "first_position")
    facts = {key: graph.manifest[key] for key in (*keys, "max_tokens", "types", "checkpoint")}
    facts |= {
        "parent": graph.fingerprint,
        "ranges": ranges.fingerprint if ranges else None,
        "lowering": asdict(lowering),
        "tools": tool_versions("xopt", "onnx", "onnx-ir", "numpy"),
    }
    with publish(LoweredGraph.place(digest)) as work:
        if lowering == Lowering("fp32") and trimmed is None:
            for name in ("graph.onnx", WEIGHTS):
                # A copy: ONNX refuses weights that have a second hard link.
                shutil.copyfile(graph.folder / name, work / name)
        elif lowering.form == "packed":
            ops = plan(checkpoint.config, checkpoint.head.layer)
            _write(graph, ops, lowering, ranges, work, trimmed)
        else:
            # Loads PyTorch.
            from xopt.compile.packed_encoder import PackedEncoder

            _write_plan(PackedEncoder.load(checkpoint), lowering, ranges, work)
        write_manifest(work, LoweredGraph.kind, digest, facts)
    return LoweredGraph.open(LoweredGraph.place(digest))


def _write_plan(
    model: PackedEncoder, lowering: Lowering, ranges: Ranges | None, folder: Path
) -> None:
    """What the plan alone gives, without a graph that was traced."""
    sites = read_sites(ranges) if ranges else {}
    if lowering.form == "kernels":
        from xopt.compile.lower_kernels import kernel_arrays

        write_weights(*kernel_arrays(model, lowering, sites), folder)
        return
    from xopt.compile.external import WeightsWriter, save_model
    from xopt.compile.lower_tensorrt import lower_tensorrt
    from xopt.compile.plugin_attention import lower_plugin

    lower = lower_plugin if lowering.form == "tensorrt-plugin" else lower_tensorrt
    with WeightsWriter(folder) as writer:
        lowered = lower(writer, model, lowering, sites)
    save_model(lowered, folder / "graph.onnx")


def _write(
    graph: Graph, ops: Sequence[Op], lowering: Lowering, ranges: Ranges | None, folder: Path,
    trimmed: Trimmed | None,
) -> None:  # fmt: skip
    # Loading them takes seconds.
    from xopt.compile.editing import GraphEditor
    from xopt.compile.external import WeightsWriter, load_model, save_model
    from xopt.compile.lower_packed import lower_packed

    model = load_model(graph.path)
    sites = read_sites(ranges) if ranges else {}
    with WeightsWriter(folder) as writer:
        editor = GraphEditor(model, writer)
        if trimmed is not None:
            trim_words(editor, trimmed)
        lower_packed(editor, lowering, sites, ops)
    save_model(model, folder / "graph.onnx")
