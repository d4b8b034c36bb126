"""What the CUDA engine stores: plain names and arrays, read from a lowered graph.

``weights.safetensors`` holds, with ``site`` one of qkv_in, context, ffn_in and ffn_act, and
``linear`` the layer that reads it:

    embeddings.{word,position,type}               [rows, hidden]; word may be int8
    embeddings.word.scale                         [vocabulary], if it is
    {embeddings.norm,layers.N.{attention,ffn}_norm}.{weight,bias}      [hidden]
    layers.N.LINEAR.{weight,bias}                 [out, in] fp16 or int8, [out]
    layers.N.LINEAR.weight.scale                  [out], if int8
    layers.N.SITE.scale                           [], of the site's int8 values
    layers.N.SITE.steps                           [in], scale · SmoothQuant's divisor, if smoothed
    layers.N.qkv_out.scale                        [3 · hidden], if attention is quantized
    head.{dense,output}.{weight,bias}             fp32

``engine.json`` holds the few numbers that are no arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import LoweredGraph
from xopt.errors import ArtifactError, BuildError, UnsupportedError, require

__all__ = ["FACTS", "HEAD_DIMS", "READER", "TENSORS", "read_facts", "read_lowered", "write_weights"]

FACTS = "engine.json"
TENSORS = "weights.safetensors"
FORMAT = 1
# What the attention kernels take; they say so too, but cannot be imported without Triton.
HEAD_DIMS = (32, 64, 128)
# site -> the linear layer that reads it
READER = {
    "qkv_in": "qkv",
    "context": "attention_output",
    "ffn_in": "ffn_in",
    "ffn_act": "ffn_out",
}

Array = NDArray[Any]


def read_facts(folder: Path) -> dict[str, Any]:
    """The page that :func:`write_weights` wrote.

    Raises:
        ArtifactError: another version of xopt wrote it.
    """
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if facts.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder} has CUDA weights of format {facts.get('format')}; this xopt reads {FORMAT}.",
            hint="Build it again with this version of xopt.",
        )
    return facts


def write_weights(tensors: Mapping[str, Array], facts: Mapping[str, Any], out: Path) -> None:
    """Write both files.

    Args:
        tensors: by the names above.
        facts: ``layers``, ``heads``, ``hidden``, ``epsilon`` and ``head``.
        out: an existing folder.

    Raises:
        UnsupportedError: the kernels do not take this head size.
    """
    head_dim = facts["hidden"] // facts["heads"]
    if head_dim not in HEAD_DIMS:
        raise UnsupportedError(
            f"This encoder's attention heads have {head_dim} dimensions; the CUDA kernels take "
            f"{', '.join(map(str, HEAD_DIMS))}.",
            hint="Build it for the CPU: xopt build --target cpu",
        )
    numpy_files = require("safetensors.numpy", extra="cuda", why="Building for CUDA")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    # What is 0-dimensional must stay so.
    shaped = {name: array.reshape(tensors[name].shape) for name, array in contiguous.items()}
    numpy_files.save_file(shaped, out / TENSORS)
    text = json.dumps({"format": FORMAT, **facts}, indent=1) + "\n"
    (out / FACTS).write_text(text, encoding="utf-8")


def read_lowered(lowered: LoweredGraph) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and facts of a graph lowered for ``cuda``.

    Raises:
        BuildError: the graph has another form than the tracer gives it.
        MissingExtraError: ``onnx`` is not installed.
    """
    graph = _Graph(lowered)
    manifest = lowered.manifest
    try:
        tensors = dict(_tensors(graph, int(manifest["layers"])))
    except (KeyError, IndexError) as error:
        raise BuildError(
            f"The lowered graph lacks {error}, which the CUDA engine reads.",
            hint="Build it again with: xopt build --target cuda",
        ) from error
    facts = {key: manifest[key] for key in ("layers", "heads", "hidden", "head")}
    return tensors, facts | {"epsilon": graph.epsilon}


def _tensors(graph: _Graph, layers: int) -> Iterator[tuple[str, Array]]:
    yield from _embeddings(graph)
    names = ["embeddings.norm"]
    for number in range(layers):
        names += [f"layers.{number}.attention_norm", f"layers.{number}.ffn_norm"]
    # The exporter keeps one of several equal arrays, so only the order tells whose a norm is.
    for name, node in zip(names, graph.of("LayerNormalization"), strict=True):
        yield from graph.weight_and_bias(name, node)
    for number in range(layers):
        for site, linear in READER.items():
            yield from _linear(graph, f"layers.{number}.{linear}", f"layers.{number}.{site}")
        name = f"layers.{number}.qkv_out.scale"
        if name in graph:
            yield name, graph[name]
    # The layers' own have become MatMul.
    for node in graph.of("Gemm"):
        yield from graph.weight_and_bias(node.input[1].removesuffix(".weight"), node)


def _embeddings(graph: _Graph) -> Iterator[tuple[str, Array]]:
    word = "embeddings.word.weight"
    if word + ".int8" in graph:
        yield "embeddings.word", graph[word + ".int8"]
        yield "embeddings.word.scale", graph[word + ".scale"].reshape(-1)
    else:
        yield "embeddings.word", graph[word + ".fp16"]
    yield "embeddings.position", graph["embeddings.position.weight"]
    name = "embeddings.token_type.weight"
    yield "embeddings.type", graph[name] if name in graph else graph.only_type()


def _linear(graph: _Graph, linear: str, site: str) -> Iterator[tuple[str, Array]]:
    weight = linear + ".weight"
    yield linear + ".bias", graph.added_to_product(weight + ".t")
    if weight + ".fp16" in graph:
        yield weight, graph[weight + ".fp16"]
        return
    yield weight, graph[weight + ".int8"]
    yield weight + ".scale", graph[weight + ".scale"]
    scale = graph[site + ".scale"]
    yield site + ".scale", scale
    if site + ".smooth" in graph:
        yield site + ".steps", scale / graph[site + ".smooth"]


class _Graph:
    """A lowered ONNX graph, asked for its arrays by name and by place."""

    def __init__(self, lowered: LoweredGraph) -> None:
        self._onnx = require("onnx", extra="build", why="Building for CUDA")
        graph = self._onnx.load(lowered.path, load_external_data=False).graph
        self._folder = lowered.folder
        self._arrays = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes = list(graph.node)
        self._hidden = int(lowered.manifest["hidden"])

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Array:
        tensor = self._arrays[name]
        if tensor.data_location != self._onnx.TensorProto.EXTERNAL:
            array: Array = self._onnx.numpy_helper.to_array(tensor)
            return array
        entry = {item.key: item.value for item in tensor.external_data}
        # Mapped, so that only what is asked for is read; beside the graph, wherever else it points.
        return np.memmap(
            self._folder / Path(entry["location"]).name,
            dtype=self._onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type),
            mode="r",
            offset=int(entry.get("offset", 0)),
            shape=tuple(tensor.dims),
        )

    @property
    def epsilon(self) -> float:
        """Of every LayerNorm."""
        node = self.of("LayerNormalization")[0]
        return float(next(a.f for a in node.attribute if a.name == "epsilon"))

    def of(self, operator: str) -> list[Any]:
        """The nodes of this operator, in the order of the computation."""
        return [node for node in self._nodes if node.op_type == operator]

    def weight_and_bias(self, name: str, node: Any) -> Iterator[tuple[str, Array]]:
        """The second and third input of ``node``; the exporter drops a bias that is all zeros."""
        weight = self[node.input[1]]
        yield name + ".weight", weight
        bias = node.input[2] if len(node.input) > 2 else ""
        yield name + ".bias", self[bias] if bias else np.zeros(len(weight), np.float32)

    def added_to_product(self, weight: str) -> Array:
        """The bias behind the product with ``weight``."""
        product = next(n.output[0] for n in self.of("MatMul") if n.input[1] == weight)
        return self[next(n.input[1] for n in self.of("Add") if n.input[0] == product)]

    def only_type(self) -> Array:
        """``[1, hidden]``: the one token type's row, folded into a constant; zeros if dropped."""
        for node in self._nodes[: self._nodes.index(self.of("LayerNormalization")[0])]:
            for name in node.input:
                if node.op_type == "Add" and name in self and self[name].shape == (self._hidden,):
                    return self[name][None, :]
        return np.zeros((1, self._hidden), np.float32)
