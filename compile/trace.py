"""Checkpoint → Graph: the packed encoder as standard ONNX, traced without its weights in memory."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xopt.artifacts import Graph, fingerprint, publish, write_manifest
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.parity import check_parity
from xopt.compile.traced import OPERATION
from xopt.engines.signature import TOKEN_WEIGHTS
from xopt.errors import require
from xopt.hashing import source_digest
from xopt.host import collect_cycles, release_memory, tool_versions
from xopt.packing import Encoding, pack

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch.export import ExportedProgram

    from xopt.compile.head_spec import Head
    from xopt.compile.packed_encoder import PackedEncoder
    from xopt.encoders.spec import EncoderSpec

__all__ = ["OPSET", "graph_fingerprint", "trace_checkpoint"]

# Gelu is an operator of its own since 20, and 16-bit Q/DQ axes are settled since 21.
OPSET = 21

# Which axis of each input carries which size of the packed batch.
AXES: dict[str, dict[int, str]] = {
    "input_ids": {0: "T"},
    "position_ids": {0: "T"},
    "token_type_ids": {0: "T"},
    "cu_seqlens": {0: "B_plus_1"},
    "pad_index": {0: "B", 1: "S"},
    "unpad_index": {0: "T"},
    "attention_bias": {0: "B", 3: "S"},
    "prompt_tokens": {0: "B"},
    "window_queries": {0: "N", 1: "Q"},
    "window_keys": {0: "N", 1: "K"},
    "window_slots": {0: "T"},
    "window_bias": {0: "N", 2: "Q", 3: "K"},
}


def graph_fingerprint(checkpoint: Checkpoint) -> str:
    """The fingerprint its graph has, known before it is traced."""
    parts = source_digest("encoders", "compile"), tool_versions("torch", "onnxscript")
    return fingerprint(checkpoint.fingerprint, *parts)


def trace_checkpoint(checkpoint: Checkpoint) -> Graph:
    """Export the packed encoder with dynamic T, B and S; from the cache when it is there.

    Raises:
        CheckpointError: the weights do not fit the config.
        ParityError: the graph does not answer as transformers does; nothing is kept.
        MissingExtraError: the extra ``build`` is not installed.
    """
    digest = graph_fingerprint(checkpoint)
    cached = Graph.find(digest)
    if cached is not None:
        return cached
    for module in ("torch", "onnx", "onnx_ir", "onnxscript"):
        require(module, extra="build", why="Tracing a checkpoint")
    from xopt.compile.packed_encoder import PackedEncoder

    skeleton = PackedEncoder.skeleton(checkpoint)
    facts: dict[str, Any] = {
        "parent": checkpoint.fingerprint,
        "checkpoint": checkpoint.source,
        "head": checkpoint.head.manifest(),
        "inputs": skeleton.inputs,
        "output": skeleton.output_name,
        "layers": checkpoint.depth,
        "heads": checkpoint.config.heads,
        "hidden": checkpoint.config.hidden,
        "first_position": checkpoint.config.first_position,
        "max_tokens": checkpoint.text.max_tokens,
        "types": max(checkpoint.config.types, 1),
        "window": checkpoint.config.window,
        "tools": tool_versions("xopt", "torch", "onnx", "onnx-ir", "onnxscript"),
    }
    with publish(Graph.place(digest)) as work:
        _export_into(work, checkpoint, skeleton)
        facts["parity"] = check_parity(checkpoint, work / "graph.onnx", skeleton.inputs)
        write_manifest(work, Graph.kind, digest, facts)
    return Graph.open(Graph.place(digest))


def _export_into(folder: Path, checkpoint: Checkpoint, skeleton: PackedEncoder) -> None:
    """Trace and save. The weights are mapped only in here: what is written is let go again."""
    from xopt.compile.packed_encoder import PackedEncoder

    model, state = _export(skeleton, PackedEncoder.load(checkpoint))
    _save(model, state, folder)
    held = sum(tensor.nbytes for tensor in state.values())
    # The exporter's objects refer to one another in circles and would keep the mapping alive.
    del model, state
    collect_cycles(held)
    release_memory()


def _export(skeleton: PackedEncoder, weights: PackedEncoder) -> tuple[Any, dict[str, torch.Tensor]]:
    """The graph as an onnx_ir model, and every weight it names."""
    import torch

    state = weights.state_dict()
    with _quiet():
        # The names that a checkpoint gives its tensors are behind us.
        config = replace(skeleton.config, model_type="")
        structure, values = _structure(config, _in_graph(skeleton.spec))
        exported = torch.onnx.ONNXProgram(structure.clone(), None)
        # A rule of the optimizer remembers the biases it has seen; as copies they do not keep the
        # whole mapped file with them.
        exported.apply_weights({n: t.clone() if t.numel() < 2**20 else t for n, t in state.items()})
        exported.optimize()
    _tidy(exported.model, values)
    return exported.model, state


def _in_graph(head: Head) -> Head:
    """The head without what :class:`Head` says is not in the graph; labels by their number."""
    labels = tuple(map(str, range(len(head.labels))))
    free: dict[str, Any] = {"activation": "softmax", "problem_type": None, "overridden": {}}
    return replace(head, labels=labels, normalize=False, **free)


@lru_cache(maxsize=32)
def _structure(config: EncoderSpec, head: Head) -> tuple[Any, dict[str, str]]:
    """The graph before its weights are known, for whoever clones it: nothing else decides it.

    Checkpoints of one structure, such as a sweep's, are traced once in a process: of all that a
    build does to a small model, this takes longest.

    Returns:
        The graph, and value -> the operation of the plan whose weight it is computed with. Names
        of values outlive the optimizer; those of nodes and of like weights do not.
    """
    import torch

    from xopt.compile.packed_encoder import PackedEncoder

    skeleton = PackedEncoder.empty(config, head)
    lengths = (5, 7, 3)
    batch = pack(
        [Encoding(np.arange(n, dtype=np.int32), np.zeros(n, np.int32)) for n in lengths],
        first_position=config.first_position,
    ).arrays()
    # No two sizes alike, or the exporter would take them for one.
    batch |= {
        "window_queries": np.zeros((11, 6), np.int32),
        "window_keys": np.zeros((11, 9), np.int32),
        "window_slots": np.zeros(sum(lengths), np.int32),
        "window_bias": np.zeros((11, 1, 6, 9), np.float32),
    }
    example = {name: torch.from_numpy(batch[name]).to("meta") for name in skeleton.inputs}
    dynamic = {name: dict.fromkeys(AXES[name], torch.export.Dim.DYNAMIC) for name in example}
    with _quiet(), torch.no_grad():
        program = torch.export.export(skeleton, (example,), dynamic_shapes=(dynamic,), strict=False)

        def convert(program: ExportedProgram) -> torch.onnx.ONNXProgram | None:
            return torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(example),
                output_names=skeleton.outputs,
                optimize=False,
                verbose=False,
            )

        try:
            exported = convert(_as_written(program))
        except torch.onnx.errors.OnnxExporterError:
            exported = convert(program)
    if exported is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return exported.model, {
        str(node.outputs[0].name): name.removesuffix(".weight")
        for name, weight in exported.model.graph.initializers.items()
        for node in weight.consumers()
        if name.endswith(".weight")
    }


def _as_written(program: ExportedProgram) -> ExportedProgram:
    """The program for the exporter as it is, which would trace it again to decompose it.

    That takes half of all the time, and leaves alone what ONNX has a function for: everything here
    but casts. The exporter refuses what it has none for; then the program has to be decomposed.
    """
    import torch

    written = copy.copy(program)
    written._graph_module = copy.deepcopy(program.graph_module)
    for node in written.graph.nodes:
        if node.target is torch.ops.aten.to.dtype:
            node.target = torch.ops.aten._to_copy.default
            node.args, node.kwargs = node.args[:1], {"dtype": node.args[1]}

    def already(*_: Any, **__: Any) -> ExportedProgram:
        return written

    written.run_decompositions = already
    return written


class _quiet:
    """The exporter's progress and its notes on packages nobody needs, kept off the terminal."""

    def __enter__(self) -> None:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._level = logging.getLogger("torch.onnx").level
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        self._out, self._err = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
        self._out.__enter__()
        self._err.__enter__()

    def __exit__(self, *reason: Any) -> None:
        self._err.__exit__(*reason)
        self._out.__exit__(*reason)
        logging.getLogger("torch.onnx").setLevel(self._level)
        self._warnings.__exit__(*reason)


def _save(model: ir.Model, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write ``graph.onnx`` and ``weights.bin``; a weight is never copied in memory."""
    from xopt.compile.external import WeightsWriter, save_model

    with WeightsWriter(folder) as writer:
        for name, value in model.graph.initializers.items():
            assert value.const_value is not None
            array = state[name].numpy() if name in state else value.const_value.numpy()
            value.const_value = writer.add(array)
    save_model(model, folder / "graph.onnx")


def _tidy(model: ir.Model, values: Mapping[str, str]) -> None:
    """Name the axes T, B, S, and the plan's operations where ``values`` are computed.

    The exporter's private notes go: they hold paths of the machine.
    """
    import onnx_ir as ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.doc_string = "xopt", None
    model.metadata_props.clear()
    for node in model.graph:
        if (name := node.outputs[0].name) in values:
            node.metadata_props[OPERATION] = values[str(name)]
    named = {value: AXES[str(value.name)] for value in model.graph.inputs}
    per_sentence = any(value.name == "cu_seqlens" for value in named)
    for value in model.graph.outputs:
        first = "B" if value.name == "embeddings" or per_sentence else "T"
        named[value] = {0: "T" if value.name == TOKEN_WEIGHTS else first}
    for value, axes in named.items():
        value.doc_string = None
        value.metadata_props.clear()
        assert value.shape is not None
        value.shape = ir.Shape([axes.get(axis, size) for axis, size in enumerate(value.shape)])
