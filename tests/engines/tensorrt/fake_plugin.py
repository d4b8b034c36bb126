"""A stand-in for ``tensorrt`` and ``tensorrt.plugin`` that is as strict as the real one.

Written from the behaviour of TensorRT 10.9 to 11: what is refused there is refused here, in the
same phase. ``build_layer`` asks a plugin what TensorRT asks it while it builds an engine.
"""

from __future__ import annotations

import importlib.util
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORBIDDEN_ATTRIBUTES = {"outputs", "stream", "tactic"}
RESERVED_NAMESPACES = {"", "trt", "tensorrt", "std"}
ATTRIBUTE_TYPES = (int, float, bytes, bool, str)
DATA_TYPES = {"FP32": "FLOAT", "FP16": "HALF", "INT8": "INT8", "INT32": "INT32"}

# Loaded by its place too: no package holds these two.
_spec = importlib.util.spec_from_file_location(
    "fake_expressions", Path(__file__).with_name("fake_expressions.py")
)
assert _spec is not None
assert _spec.loader is not None
_found = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_found)
SymIntExpr, SymInt32, SymIntExprs = _found.SymIntExpr, _found.SymInt32, _found.SymIntExprs
ShapeExpr, ShapeExprs, TensorDesc = _found.ShapeExpr, _found.ShapeExprs, _found.TensorDesc
SymInt16, _Exprs = _found.SymInt16, _found._Exprs
from_shape_expr, cdiv = _found.from_shape_expr, _found.cdiv


class DataType:
    FLOAT, HALF, INT8, INT32 = "FLOAT", "HALF", "INT8", "INT32"


class TensorFormat:
    LINEAR = "LINEAR"


class AutoTuneCombination:
    def __init__(self, io_types: str, layouts: str = "LINEAR", tactics: Any = None) -> None:
        self.types = [DATA_TYPES[part.strip()] for part in io_types.split(",")]
        self.layouts = [getattr(TensorFormat, part.strip()) for part in layouts.split(",")]
        if any(not isinstance(t, int) or t < 1 for t in tactics or []):
            raise ValueError("tactics are positive integers")
        self.tactics = list(tactics or [])


class KernelLaunchParams:
    FIELDS = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")

    def __init__(self) -> None:
        for name in self.FIELDS:
            setattr(self, name, 0 if name == "shared_mem" else 1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.FIELDS:
            raise AttributeError(f"KernelLaunchParams has no {name}")
        self.__dict__[name] = SymInt32(value)


class Plugin:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.describe = function
        self.tensors: list[str] = []
        self.attributes: dict[str, type] = {}
        self.autotune: Callable[..., Any] | None = None
        self.autotune_attributes: list[str] = []
        self.launch: Callable[..., Any] | None = None


REGISTRY: dict[str, Plugin] = {}


def register(plugin_id: str) -> Callable[[Any], Any]:
    namespace = plugin_id.split("::")[0]
    if "." in plugin_id or namespace in RESERVED_NAMESPACES:
        raise ValueError(f"{plugin_id} is not a name a plugin can have")
    if plugin_id in REGISTRY:
        raise ValueError(f"{plugin_id} is registered already")

    def decorate(function: Any) -> Any:
        plugin = Plugin(function)
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            _take(plugin, parameter)
        if not issubclass(signature.return_annotation, TensorDesc):
            raise ValueError("register wants one TensorDesc")
        REGISTRY[plugin_id] = plugin
        return function

    return decorate


def _take(plugin: Plugin, parameter: inspect.Parameter) -> None:
    if parameter.annotation is inspect.Parameter.empty:
        raise ValueError(f"{parameter.name} has no type hint")
    if parameter.default is not inspect.Parameter.empty:
        raise ValueError(f"{parameter.name} has a default value")
    # A string, as `from __future__ import annotations` makes of it, is no class.
    if issubclass(parameter.annotation, TensorDesc):
        if plugin.attributes:
            raise ValueError(f"the tensor {parameter.name} stands behind an attribute")
        plugin.tensors.append(parameter.name)
        return
    if not plugin.tensors:
        raise ValueError("tensors come first")
    if parameter.name in FORBIDDEN_ATTRIBUTES or parameter.annotation not in ATTRIBUTE_TYPES:
        raise ValueError(f"{parameter.name}: {parameter.annotation} is no attribute")
    plugin.attributes[parameter.name] = parameter.annotation


def _check_function(plugin: Plugin, function: Any, tail: list[str]) -> list[str]:
    """The attributes that ``function`` names; refused where hints or order differ."""
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        hint = parameter.annotation
        if hint is inspect.Parameter.empty:
            continue
        if name == "outputs":
            fits = typing.get_origin(hint) is tuple and set(typing.get_args(hint)) == {TensorDesc}
        elif name == "tactic":
            fits = issubclass(hint, int)
        elif issubclass(hint, TensorDesc):
            fits = name in plugin.tensors
        else:
            fits = plugin.attributes.get(name) == hint
        if not fits:
            raise ValueError(f"{name} has the type hint {hint}")
    named = [name for name in plugin.attributes if name in parameters]
    if list(parameters) != [*plugin.tensors, *named, *tail]:
        raise ValueError(f"arguments in another order than registered: {list(parameters)}")
    return named


def autotune(plugin_id: str) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        plugin = REGISTRY[plugin_id]
        plugin.autotune_attributes = _check_function(plugin, function, ["outputs"])
        if inspect.signature(function).return_annotation != list[AutoTuneCombination]:
            raise ValueError("autotune gives a list of AutoTuneCombination")
        plugin.autotune = function
        return function

    return decorate


def aot_impl(plugin_id: str) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        plugin = REGISTRY[plugin_id]
        _check_function(plugin, function, ["outputs", "tactic"])
        hint = inspect.signature(function).return_annotation
        parts = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
        texts = [set(typing.get_args(part)) or {part} for part in parts[:2]]
        if len(parts) != 4 or any(not text <= {str, bytes} for text in texts):
            raise ValueError(f"aot_impl returns {hint}")
        if not issubclass(parts[2], KernelLaunchParams) or not issubclass(parts[3], _Exprs):
            raise ValueError(f"aot_impl returns {hint}")
        plugin.launch = function
        return function

    return decorate


def build_layer(
    plugin_id: str, inputs: list[tuple[list[str | int], str]], attributes: dict[str, Any]
) -> dict[str, Any]:
    """What TensorRT learns of one layer: output type and shape, and each tactic's one kernel.

    Args:
        plugin_id: ``namespace::name``.
        inputs: of each tensor, the shape (a name for a dynamic dimension) and the data type.
        attributes: as the ONNX node has them, in any order.
    """
    plugin = REGISTRY[plugin_id]
    if set(attributes) != set(plugin.attributes) or len(inputs) != len(plugin.tensors):
        raise ValueError(f"{plugin_id} has tensors {plugin.tensors}, {list(plugin.attributes)}")
    # In the order of the fields that the parser hands over.
    ordered = {name: plugin.attributes[name](value) for name, value in attributes.items()}
    unknown = [TensorDesc(_shape(["?"] * len(shape)), dtype) for shape, dtype in inputs]
    first = plugin.describe(*unknown, **ordered)
    described = [TensorDesc(_shape(shape), dtype) for shape, dtype in inputs]
    output = plugin.describe(*described, **ordered)
    if first.dtype != output.dtype:
        raise ValueError(
            "the type must not depend on shapes: it is asked for before they are known"
        )
    outputs = (output,)
    tactics: list[int] = []
    if plugin.autotune:
        chosen = [ordered[name] for name in plugin.autotune_attributes]
        for combination in plugin.autotune(*described, *chosen, outputs):
            kinds = [dtype for _, dtype in inputs] + [output.dtype]
            if combination.types != kinds:
                raise ValueError(f"a strongly typed network has {kinds}, not {combination.types}")
            tactics += combination.tactics
    assert plugin.launch is not None
    kernels = []
    for tactic in tactics or [0]:
        # Every attribute by position, whatever the function asked for.
        answer = plugin.launch(*described, *ordered.values(), outputs, tactic)
        kernels.append({"tactic": tactic, **_launchable(*answer)})
    return {"dtype": output.dtype, "shape": output.shape_expr, "kernels": kernels}


def _shape(shape: list[str | int]) -> ShapeExprs:
    def dimension(name: str | int) -> Any:
        return name if isinstance(name, int) else ShapeExpr(lambda sizes: sizes[name])

    return ShapeExprs.from_tuple(dimension(name) for name in shape)


def _launchable(name: Any, code: Any, params: Any, extra: Any) -> dict[str, Any]:
    if not isinstance(name, str | bytes) or not isinstance(code, str | bytes):
        raise TypeError("name and code are text")
    if not isinstance(params, KernelLaunchParams) or not isinstance(extra, _Exprs):
        raise TypeError("launch parameters and extra arguments have types of their own")
    for argument in extra.items:
        if not isinstance(argument, SymInt32):
            raise TypeError(f"an extra argument is a SymInt32, not a {type(argument).__name__}")
    fields = {field: getattr(params, field)()[1] for field in KernelLaunchParams.FIELDS}
    return {"name": name, "ptx": code, **fields, "extra": [a.evaluate for a in extra.items]}
