"""Graph → LoweredGraph: explicit Q/DQ INT8, or fp16 weights, in standard ONNX operators.

For our own kernels it is no graph but the arrays that they read.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from xopt.artifacts import Graph, LoweredGraph, Ranges, fingerprint, publish, write_manifest
from xopt.calibrate.sites import read_sites
from xopt.compile.centering import center_attention
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.recipes import Lowering
from xopt.compile.traced import WEIGHTS
from xopt.compile.trimming import Trimmed, trim_words
from xopt.engines.cuda_weights import write_weights
from xopt.hashing import source_digest
from xopt.host import tool_versions

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
    checkpoint: Checkpoint | None = None,
) -> LoweredGraph:
    """Lower ``graph``, or take it from the cache.

    Args:
        graph: fp32.
        lowering: what the target wants.
        ranges: needed when activations are quantized.
        trimmed: the rows of the word embeddings that are kept, if not all.
        checkpoint: that the graph was traced from; its weights are read for the form ``kernels``.
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
        elif lowering.form == "kernels":
            assert checkpoint is not None
            # Both load PyTorch.
            from xopt.compile.lower_kernels import kernel_arrays
            from xopt.compile.packed_encoder import PackedEncoder

            model = PackedEncoder.load(checkpoint)
            sites = read_sites(ranges) if ranges else {}
            write_weights(*kernel_arrays(model, lowering, sites), work)
        else:
            _write(graph, lowering, ranges, work, trimmed)
        write_manifest(work, LoweredGraph.kind, digest, facts)
    return LoweredGraph.open(LoweredGraph.place(digest))


def _write(
    graph: Graph, lowering: Lowering, ranges: Ranges | None, folder: Path, trimmed: Trimmed | None
) -> None:
    # Loading them takes seconds.
    from xopt.compile.editing import GraphEditor
    from xopt.compile.external import WeightsWriter, load_model, save_model
    from xopt.compile.lower_packed import lower_packed
    from xopt.compile.lower_tensorrt import Lowerer, lower_tensorrt
    from xopt.compile.plugin_attention import lower_plugin
    from xopt.compile.tensorrt_rotary import RotaryLowerer

    model = load_model(graph.path)
    sites = read_sites(ranges) if ranges else {}
    with WeightsWriter(folder) as writer:
        editor = GraphEditor(model, writer)
        if trimmed is not None:
            trim_words(editor, trimmed)
        if lowering.attention:
            center_attention(editor, sites)
        given = editor, lowering, sites, graph.manifest
        if lowering.form == "packed":
            lower_packed(*given)
        elif lowering.form == "tensorrt-plugin":
            lower_plugin(*given)
        else:
            rotary = "rotary.0.cos" in editor.weights
            lower_tensorrt(*given, RotaryLowerer if rotary else Lowerer)
    save_model(model, folder / "graph.onnx")
