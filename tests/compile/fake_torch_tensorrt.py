"""A fake of ``torch_tensorrt``: it remembers what it is called with."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

# What the real function takes and we give; `test_the_real_function` looks there.
SETTINGS = {
    "arg_inputs", "arg_input_binding_names", "output_binding_names", "immutable_weights",
    "version_compatible", "hardware_compatible", "workspace_size",
}  # fmt: skip


class FakeInput:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields


def fake_torch_tensorrt() -> Any:
    """Remembers what it is called with; the engine is a few bytes."""
    module: Any = types.ModuleType("torch_tensorrt")
    module.__version__ = "2.14.0"
    module.Input = FakeInput
    module.calls = []
    module.converters = []

    def convert(program: torch.export.ExportedProgram, **settings: Any) -> bytes:
        unknown = set(settings) - SETTINGS
        assert not unknown, f"the library swallows {unknown}"
        signature = program.module_call_graph[0].signature
        for name, tree in (
            ("arg_input_binding_names", signature.in_spec.child(0)),
            ("output_binding_names", signature.out_spec),
        ):
            leaves, given = tree_flatten(settings[name])
            assert all(isinstance(leaf, str) for leaf in leaves)
            assert given == tree, f"{name}: {given}, not {tree}"
        module.calls.append((program, settings))
        return b"plan"

    def converter(name: str, **settings: Any) -> None:
        module.converters.append((name, settings))

    plugins = types.SimpleNamespace(generate_plugin_converter=converter)
    module.dynamo = types.SimpleNamespace(
        convert_exported_program_to_serialized_trt_engine=convert,
        conversion=types.SimpleNamespace(plugins=plugins),
    )
    return module
