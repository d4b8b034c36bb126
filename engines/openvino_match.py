"""Reading OpenVINO's graph: what gives a node its inputs, and who reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Places", "as_input", "constant", "is_input", "origin", "reader", "redirect", "source"]


def source(node: Any, number: int, kind: str | None = None) -> Any:
    """The node that gives an input, if it is of this kind; None of no node."""
    if node is None:
        return None
    found = node.input_value(number).get_node()
    return found if kind is None or found.get_type_name() == kind else None


def reader(node: Any, kind: str) -> Any:
    """The only node that reads this one, if it is of this kind."""
    readers = [r.get_node() for r in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 and readers[0].get_type_name() == kind else None


def redirect(node: Any, output: Any) -> None:
    """Let all that read ``node``'s first output read ``output``."""
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(output)


def constant(node: Any, number: int) -> list[int] | None:
    """The whole numbers of a constant input."""
    found = source(node, number, "Constant")
    return None if found is None else [int(value) for value in np.ravel(found.get_data())]


def origin(node: Any) -> Any:
    """What is cast to another type."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node


def is_input(node: Any, number: int, name: str) -> bool:
    """Whether an input is the model's own of this name."""
    found = origin(node.input_value(number).get_node())
    return bool(found.get_type_name() == "Parameter" and found.get_friendly_name() == name)


def as_input(node: Any) -> str | None:
    """The name of the model's input that this is, through gathers of a part of it and casts."""
    while node.get_type_name() in ("Gather", "Convert"):
        node = node.input_value(0).get_node()
    return str(node.get_friendly_name()) if node.get_type_name() == "Parameter" else None


class Places:
    """The model's inputs, and ``cu_seqlens`` among them, which is made where it is missing."""

    def __init__(self, openvino: Any, model: Any) -> None:
        self.openvino, self.model = openvino, model

    def output(self) -> Any:
        """Of ``cu_seqlens``, ``[B + 1]`` int32."""
        for parameter in self.model.get_parameters():
            if parameter.get_friendly_name() == "cu_seqlens":
                return parameter.output(0)
        made = self.openvino.opset13.parameter([-1], np.int32, name="cu_seqlens")
        made.output(0).get_tensor().set_names({"cu_seqlens"})
        self.model.add_parameters([made])
        return made.output(0)

    def drop_unread(self) -> None:
        """Remove every input that leads to no answer any more."""
        alive = {node.get_friendly_name() for node in self.model.get_ordered_ops()}
        for parameter in self.model.get_parameters():
            targets = parameter.output(0).get_target_inputs()
            if not any(t.get_node().get_friendly_name() in alive for t in targets):
                self.model.remove_parameter(parameter)
        self.model.validate_nodes_and_infer_types()
