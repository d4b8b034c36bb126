"""A small editor for ONNX graphs: new nodes before the one at hand, new constants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from xopt.compile.external import WeightsWriter
from xopt.compile.quantize import check_finite
from xopt.compile.traced import OPERATION

__all__ = ["GraphEditor"]

Inputs = Sequence[ir.Value | None]
Output = str | ir.Value


class GraphEditor:
    """Puts other nodes in the place of a graph's nodes.

    A pass goes over nodes with :meth:`walk`. What it emits stands before the node at hand, so the
    graph stays sorted. A node that it does nothing about stays; one that nothing reads any more,
    since its values were replaced, is passed over and taken out.

    Attributes:
        source: the nodes, as they were before any was changed.
        weights: the initializers by name, as they were; written at last if a node still reads them.
        inputs: the inputs by name.
        nodes: operation of the plan -> the node that computes with its weight; two operations that
            compute the same of the same values have one.
    """

    def __init__(self, model: ir.Model, writer: WeightsWriter) -> None:
        self.model, self.graph, self.writer = model, model.graph, writer
        self.source = tuple(self.graph)
        self.inputs = {str(value.name): value for value in self.graph.inputs}
        self.weights = dict(self.graph.initializers)
        told = ((node.metadata_props.pop(OPERATION, None), node) for node in self.source)
        self.nodes = {name: node for name, node in told if name is not None}
        # What is written is registered anew.
        self.graph.initializers.clear()
        self._offered: list[ir.Value] = []
        # Emitted nodes stand before it; None: at the end.
        self._at: ir.Node | None = next(iter(self.source), None)
        self._replaced: list[ir.Node] = []

    def walk(self, nodes: Iterable[ir.Node]) -> Iterator[ir.Node]:
        """Those of ``nodes`` that something reads; afterwards nodes are emitted at the end."""
        for node in nodes:
            if node.graph is not None:
                self._at = node
                yield node
                self._take_out()
        self._at = None

    def _take_out(self) -> None:
        """Nodes whose values were replaced, and what only they have read."""
        while self._replaced:
            node = self._replaced.pop()
            read = any(value.uses() or value.is_graph_output() for value in node.outputs)
            if node.graph is not None and not read:
                self._replaced += node.predecessors()
                self.graph.remove(node, safe=True)

    def input(self, name: str) -> ir.Value:
        """An input, which may be one that the traced graph does not have."""
        return self.inputs.setdefault(name, ir.Value(name=name))

    def emit(self, operator: str, inputs: Inputs, output: Output, **attributes: Any) -> ir.Value:
        """Add a node of one output and return that; see :meth:`emit_all`."""
        return self.emit_all(operator, inputs, [output], **attributes)[0]

    def emit_all(
        self, operator: str, inputs: Inputs, outputs: Sequence[Output], **attributes: Any
    ) -> list[ir.Value]:
        """Add a node; an output is a new name, or a value whose name and readers it takes over."""
        made = [
            ir.Value(name=output)
            if isinstance(output, str)
            else ir.Value(name=output.name, type=output.type, shape=output.shape)
            for output in outputs
        ]
        domain, given = attributes.pop("domain", ""), dict(sorted(attributes.items()))
        node = ir.node(operator, inputs, given, domain=domain, outputs=made, name=made[0].name)
        if self._at is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._at, node)
        for output, value in zip(outputs, made, strict=True):
            if isinstance(output, ir.Value):
                output.replace_all_uses_with(value, replace_graph_outputs=True)
                self._replaced += filter(None, [output.producer()])
        return made

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """Add an initializer, or find the one of this name that was added before.

        Raises:
            UnsupportedError: it has a NaN or an infinity.
        """
        known = self.graph.initializers
        if name not in known:
            check_finite(name, array)
            known.add(ir.Value(name=name, const_value=self.writer.add(array)))
        return known[name]

    def take_rows(self, constant: ir.Value, rows: NDArray[np.int32]) -> None:
        """From now on a constant is these rows of it, copied when they are read."""
        whole = constant.const_value
        assert whole is not None
        shape = ir.Shape((len(rows), *whole.shape.numpy()[1:]))
        constant.const_value = ir.LazyTensor(
            lambda: ir.Tensor(whole.numpy()[rows]), whole.dtype, shape
        )

    def set_bias(self, node: ir.Node, name: str, bias: NDArray[np.float32]) -> None:
        """Another third input of a Gemm or LayerNormalization, written if that is there at last."""
        self._offered.append(ir.Value(name=name, const_value=ir.Tensor(bias)))
        node.resize_inputs(3)
        node.replace_input_with(2, self._offered[-1])

    def finish(self) -> None:
        """Take out what no output depends on, and write the initializers that are read at last."""
        RemoveUnusedNodesPass()(self.model)
        for value in (*self._offered, *self.weights.values()):
            if value.uses() and value.const_value is not None:
                array = value.const_value.numpy()
                check_finite(str(value.name), array)
                value.const_value = self.writer.add(array)
                self.graph.initializers.add(value)
