"""A small editor for ONNX graphs: nodes in topological order, fresh names, new constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from xopt.compile.external import Weights, WeightsWriter
from xopt.errors import BuildError

__all__ = ["GraphEditor"]

# Constants up to this many bytes are kept, since a later step may read them: biases and norms.
READ_AGAIN = 1 << 20


class GraphEditor:
    """Rebuilds a graph node by node.

    A pass walks ``source`` and either keeps a node or emits others in its place, in order, so the
    result stays topologically sorted. Unused initializers disappear when it is finished.
    """

    def __init__(self, model: onnx.ModelProto, weights: Weights, writer: WeightsWriter) -> None:
        self.model, self.weights, self.writer = model, weights, writer
        self.source = list(model.graph.node)
        self.nodes: list[onnx.NodeProto] = []
        self.dropped: set[str] = set()
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.source:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self.constants: dict[str, onnx.TensorProto] = {}
        self.added: dict[str, NDArray[Any]] = {}
        self.offered: dict[str, NDArray[Any]] = {}

    def keep(self, node: onnx.NodeProto) -> None:
        """Take ``node`` over as it is, unless it was dropped."""
        if node.output[0] not in self.dropped:
            self.nodes.append(node)

    def drop(self, node: onnx.NodeProto) -> None:
        """Leave ``node`` out when it is reached."""
        self.dropped.add(node.output[0])

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes of the source that read ``name``."""
        return list(self._consumers.get(name, []))

    def consumer(self, name: str, operator: str) -> onnx.NodeProto:
        """The one node that reads ``name``, which must be an ``operator``.

        Raises:
            BuildError: the graph has another form than this pass knows.
        """
        found = self._consumers.get(name, [])
        if len(found) != 1 or found[0].op_type != operator:
            kinds = [node.op_type for node in found]
            raise BuildError(f"{name} should be read by one {operator}, not by {kinds}.")
        return found[0]

    def emit(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name."""
        self.emit_all(operator, inputs, [output], **attributes)
        return output

    def emit_all(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node of several outputs."""
        self.nodes.append(
            helper.make_node(operator, list(inputs), list(outputs), name=outputs[0], **attributes)
        )

    def prune(self, output: str) -> None:
        """Leave out every node that ``output`` does not depend on."""
        needed, kept = {output}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]

    def array(self, name: str) -> NDArray[np.float32]:
        """An initializer of the source, or a small one that was added since, as float32."""
        if name in self.weights:
            return np.asarray(self.weights[name], np.float32)
        return np.asarray((self.offered if name in self.offered else self.added)[name], np.float32)

    def offer(self, name: str, value: NDArray[Any]) -> str:
        """As :meth:`constant`, written only if a node still reads it in the end."""
        self.offered[name] = value
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer and return its name."""
        if name not in self.constants:
            self.constants[name] = self.writer.add(name, value)
            if value.nbytes <= READ_AGAIN:
                self.added[name] = value
        return name

    def finish(self) -> onnx.ModelProto:
        """The edited model, its kept initializers written to the new weights file."""
        used = {name for node in self.nodes for name in node.input}
        for name, value in self.offered.items():
            if name in used:
                self.constant(name, value)
        for tensor in self.model.graph.initializer:
            if tensor.name in used and tensor.name not in self.constants:
                self.constant(tensor.name, np.asarray(self.weights[tensor.name]))
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        del graph.initializer[:]
        graph.initializer.extend(self.constants[name] for name in self.constants if name in used)
        return self.model
