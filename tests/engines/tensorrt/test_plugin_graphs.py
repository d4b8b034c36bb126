"""Graphs with the attention plugin, through the real parser and builder of TensorRT-RTX.

TensorRT-RTX takes no plugin and ends the process over one, so a stand-in of the same types and
shapes is put in its place: what is tested is everything around it, strongly typed. Two forms run by
default; ``XOPT_ALL_FORMS=1`` runs every head in every form, which takes minutes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from xopt.artifacts import LoweredGraph
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.packed_encoder import PackedEncoder
from xopt.compile.recipes import lowering_for
from xopt.compile.trace import trace_checkpoint
from xopt.engines.tensorrt.child import run_child
from xopt.engines.tensorrt.graph import check_graph, graph_inputs
from xopt.engines.tensorrt.network import Request
from xopt.engines.tensorrt.plugin import ATTENTION, NAMESPACE
from xopt.engines.tensorrt.profiles import plan_profiles
from xopt.progress import Silent
from xopt.tokenization import Tokenizer

HIDDEN = 128
SIZES = {"hidden_size": HIDDEN, "num_attention_heads": 4, "intermediate_size": 256}
HEADS = ("embed", "classify", "tag", "span")
FORMS = ("fp16", "int8", "int8 products")
CHOSEN = [("embed", "int8"), ("tag", "fp16")]
ALL = [(head, form) for head in HEADS for form in FORMS]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is not installed"
)


def lower(folder: Path, form: str) -> LoweredGraph:
    """The checkpoint in the plugin's form."""
    checkpoint = Checkpoint.open(folder)
    graph = trace_checkpoint(checkpoint)
    lowering = lowering_for("tensorrt", form.split()[0])
    lowering = replace(lowering, form="tensorrt-plugin", attention=form == "int8")
    ranges = None
    if lowering.weights == "int8":
        tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
        ranges = calibrate(
            PackedEncoder.load(checkpoint),
            graph.fingerprint,
            draw_sample(load_corpus(), tokenizer, max_tokens=1000),
            CalibrationRecipe(),
            first_position=checkpoint.config.first_position,
        )
    return lower_graph(graph, lowering, ranges, checkpoint=checkpoint)


def without_plugins(source: Path, out: Path) -> int:
    """Each plugin's answer becomes the query part of what it reads; how many there were."""
    model = onnx.load(source)
    graph, nodes, count = model.graph, [], 0
    constants = {
        "query.start": np.array([0], np.int64),
        "query.end": np.array([HIDDEN], np.int64),
        "query.axis": np.array([1], np.int64),
        "query.scale": np.array(1, np.float16),
        "query.zero": np.array(0, np.int8),
    }
    part, step = list(constants)[:3], list(constants)[3:]
    for node in graph.node:
        if node.domain != NAMESPACE:
            nodes.append(node)
            continue
        count += 1
        taken, given = node.input[0], node.output[0]
        if node.op_type == ATTENTION:
            nodes.append(helper.make_node("Slice", [taken, *part], [given], name=given))
            continue
        # Integers cannot be sliced in a network of TensorRT; numbers in steps of 1 can.
        names = [f"{given}.numbers", f"{given}.query"]
        nodes += [
            helper.make_node("DequantizeLinear", [taken, *step], names[:1], name=names[0]),
            helper.make_node("Slice", [names[0], *part], names[1:], name=names[1]),
            helper.make_node("QuantizeLinear", [names[1], *step], [given], name=given),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in constants.items())
    read = {name for node in nodes for name in node.input}
    for kind in (graph.input, graph.initializer):
        kept = [value for value in kind if value.name in read]
        del kind[:]
        kind.extend(kept)
    onnx.save(model, out)
    return count


@pytest.mark.parametrize(("head", "form"), ALL if os.environ.get("XOPT_ALL_FORMS") else CHOSEN)
def test_it_parses_and_builds(
    make_checkpoint: Callable[..., Path], tmp_path: Path, head: str, form: str
) -> None:
    lowered = lower(make_checkpoint("xlm-roberta", head, **SIZES), form)
    layers = lowered.manifest["layers"]
    check_graph(lowered.path, layers=layers, plugins=(NAMESPACE,))
    path = tmp_path / "graph.onnx"
    assert without_plugins(lowered.path, path) == layers
    inputs = graph_inputs(path)
    profiles = plan_profiles(
        (10, 20, 40),
        max_tokens=lowered.manifest["max_tokens"],
        batch_tokens=2048,
        padded="pad_index" in inputs,
    )
    request = Request(
        module="tensorrt_rtx",
        graph=str(path),
        engine=str(tmp_path / "engine.trt"),
        log=str(tmp_path / "build.log"),
        profiles=tuple(
            {name: [list(shape) for shape in three] for name, three in p.shapes(inputs).items()}
            for p in profiles
        ),
        sms=(89,),
    )
    run_child(request, Silent())
    assert (tmp_path / "engine.trt").stat().st_size > 0
