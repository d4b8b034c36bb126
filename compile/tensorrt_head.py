"""The heads in TensorRT's form: fp16 for logits, fp32 from the pooling on, the answer in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xopt.compile.editing import GraphEditor
from xopt.compile.traced import array, input_name

__all__ = ["emit_head", "pool_slots"]

Array = NDArray[np.float32]
# Nothing real is below it.
LOWEST = np.finfo(np.float32).min


class HeadParts(Protocol):
    """What the lowering gives to its head."""

    def half(self, name: str, values: Array) -> ir.Value:
        """A constant in fp16."""
        ...

    def turned(self, name: str, weight: Array) -> ir.Value:
        """``[in, out]`` in fp16 of ``[out, in]``."""
        ...

    def weight_and_bias(self, node: ir.Node) -> tuple[Array, Array]:
        """``[out, in]`` and ``[out]`` of a Gemm."""
        ...

    def pool(
        self, hidden: ir.Value, modes: Sequence[str], *, include_prompt: bool
    ) -> list[ir.Value]:
        """``[B, hidden]`` fp32 for each mode that reads more than the first token."""
        ...


def emit_head(
    editor: GraphEditor,
    hidden: ir.Value,
    behind: Sequence[ir.Node],
    facts: Mapping[str, Any],
    lowerer: HeadParts,
) -> None:
    """The head over ``[T, hidden]``.

    Args:
        editor: over the traced graph.
        hidden: the encoder's last output.
        behind: the traced nodes behind the encoder.
        facts: ``head`` of the graph's manifest.
        lowerer: the lowering.
    """
    head = facts["head"]
    if head["kind"] == "embed":
        answer = _embedding(editor, hidden, behind, head, lowerer)
    else:
        if head["kind"] == "classify":
            hidden = editor.emit("GatherND", [hidden, editor.input("first_index")], "head.first")
        layers = [node for node in behind if node.op_type == "Gemm"]
        answer = _logits(editor, hidden, layers, lowerer)
    editor.emit("Cast", [answer], editor.graph.outputs[0], to=ir.DataType.FLOAT)


def _logits(
    editor: GraphEditor, hidden: ir.Value, layers: Sequence[ir.Node], lowerer: HeadParts
) -> ir.Value:
    """The head's linear layers, a tanh between each two."""
    for number, node in enumerate(layers):
        if number:
            hidden = editor.emit("Tanh", [hidden], "head.tanh")
        weight, bias = lowerer.weight_and_bias(node)
        name = input_name(node, 1)
        values = lowerer.turned(name + ".fp16", weight)
        exact = editor.emit("MatMul", [hidden, values], name + ".product")
        shift = lowerer.half(name + ".bias", bias)
        hidden = editor.emit("Add", [exact, shift], name + ".out")
    return hidden


def _embedding(
    editor: GraphEditor,
    hidden: ir.Value,
    behind: Sequence[ir.Node],
    head: Mapping[str, Any],
    lowerer: HeadParts,
) -> ir.Value:
    modes, whole = head["pooling"], head["include_prompt"]
    firsts = [mode for mode in modes if mode == "cls" and whole]
    others = lowerer.pool(
        hidden, [mode for mode in modes if mode not in firsts], include_prompt=whole
    )
    pooled = iter(others)
    parts = []
    for mode in modes:
        if mode in firsts:
            first = editor.emit("GatherND", [hidden, editor.input("first_index")], "head.first")
            parts.append(editor.emit("Cast", [first], "head.first.full", to=ir.DataType.FLOAT))
        else:
            parts.append(next(pooled))
    answer = parts[0]
    if len(parts) > 1:
        answer = editor.emit("Concat", parts, "head.pooled", axis=1)
    return _modules(editor, answer, behind, head["modules"], lowerer)


def _modules(
    editor: GraphEditor,
    x: ir.Value,
    behind: Sequence[ir.Node],
    modules: Sequence[Mapping[str, Any]],
    lowerer: HeadParts,
) -> ir.Value:
    """What follows the pooling, in fp32: a row a sentence costs nothing."""
    linear = iter([node for node in behind if node.op_type == "Gemm"])
    norms = iter([node for node in behind if node.op_type == "LayerNormalization"])
    last = editor.constant("axis.last", np.array([-1], np.int64))
    for number, module in enumerate(modules):
        name = f"head.{number}"
        match module["type"]:
            case "Dense":
                out = _activate(
                    editor, module["activation"], _linear(editor, x, name, linear, lowerer), name
                )
                if module["residual"]:
                    widened = module["inputs"] != module["outputs"]
                    kept = _linear(editor, x, name + ".kept", linear, lowerer) if widened else x
                    out = editor.emit("Add", [out, kept], name + ".residual")
                x = out
            case "LayerNorm":
                node = next(norms)
                values = [
                    editor.constant(f"{name}.norm.{i}", array(part))
                    for i, part in enumerate(node.inputs[1:])
                ]
                x = editor.emit(
                    "LayerNormalization",
                    [x, *values],
                    name + ".norm",
                    axis=-1,
                    epsilon=module["epsilon"],
                )
            case "Normalize":
                least = editor.constant("least.length", np.array(1e-12, np.float32))
                length = editor.emit("ReduceL2", [x, last], name + ".length", keepdims=1)
                length = editor.emit("Max", [length, least], name + ".divisor")
                x = editor.emit("Div", [x, length], name + ".unit")
            case "Truncate":
                bounds = [
                    editor.constant(f"{name}.{i}", np.array([value], np.int64))
                    for i, value in enumerate((0, module["width"]))
                ]
                x = editor.emit("Slice", [x, *bounds, last], name + ".cut")
    return x


def _linear(
    editor: GraphEditor, x: ir.Value, name: str, nodes: Iterator[ir.Node], lowerer: HeadParts
) -> ir.Value:
    weight, bias = lowerer.weight_and_bias(next(nodes))
    values = editor.constant(name + ".weight", np.ascontiguousarray(weight.T))
    product = editor.emit("MatMul", [x, values], name + ".product")
    return editor.emit("Add", [product, editor.constant(name + ".bias", bias)], name + ".out")


def _activate(editor: GraphEditor, kind: str, x: ir.Value, name: str) -> ir.Value:
    """A class of ``torch.nn`` with its usual options, as ONNX operators."""
    emit = editor.emit

    def number(value: float) -> ir.Value:
        return editor.constant(f"number.{value}", np.array(value, np.float32))

    def clip(source: ir.Value, low: float, high: float, out: str) -> ir.Value:
        return emit("Clip", [source, number(low), number(high)], out)

    def gated(gate: ir.Value) -> ir.Value:
        return emit("Mul", [x, gate], name + ".act")

    def negated() -> ir.Value:
        return emit("Neg", [x], name + ".neg")

    simple = {
        "CELU": "Elu", "ELU": "Elu", "GELU": "Gelu", "ReLU": "Relu", "SELU": "Selu",
        "Sigmoid": "Sigmoid", "Softplus": "Softplus", "Softsign": "Softsign", "Tanh": "Tanh",
    }  # fmt: skip
    if kind in simple:
        return emit(simple[kind], [x], name + ".act")
    made: dict[str, Callable[[], ir.Value]] = {
        "Identity": lambda: x,
        "LeakyReLU": lambda: emit("LeakyRelu", [x], name + ".act", alpha=0.01),
        "Hardsigmoid": lambda: emit("HardSigmoid", [x], name + ".act", alpha=1 / 6, beta=0.5),
        "Hardtanh": lambda: clip(x, -1.0, 1.0, name + ".act"),
        "Hardshrink": lambda: emit("Shrink", [x], name + ".act", bias=0.0, lambd=0.5),
        "Softshrink": lambda: emit("Shrink", [x], name + ".act", bias=0.5, lambd=0.5),
        "Softmax": lambda: emit("Softmax", [x], name + ".act", axis=-1),
        "LogSoftmax": lambda: emit("LogSoftmax", [x], name + ".act", axis=-1),
        "Softmin": lambda: emit("Softmax", [negated()], name + ".act", axis=-1),
        "LogSigmoid": lambda: emit(
            "Neg", [emit("Softplus", [negated()], name + ".soft")], name + ".act"
        ),
        "Tanhshrink": lambda: emit("Sub", [x, emit("Tanh", [x], name + ".tanh")], name + ".act"),
        "ReLU6": lambda: clip(x, 0.0, 6.0, name + ".act"),
        "SiLU": lambda: gated(emit("Sigmoid", [x], name + ".gate")),
        "Hardswish": lambda: gated(emit("HardSigmoid", [x], name + ".gate", alpha=1 / 6, beta=0.5)),
        "Mish": lambda: gated(
            emit("Tanh", [emit("Softplus", [x], name + ".soft")], name + ".gate")
        ),
    }
    return made[kind]()


def pool_slots(
    editor: GraphEditor, hidden: ir.Value, modes: Sequence[str], *, include_prompt: bool
) -> list[ir.Value]:
    """``[B, hidden]`` fp32 for each mode, over the padded slots, summed in fp32.

    A single token is a sum with one weight: an index made in the graph would be a scalar kernel.
    """
    if not modes:
        return []
    emit, constant = editor.emit, editor.constant
    middle = constant("axes.middle", np.array([1, 2], np.int64))
    last = constant("axis.last", np.array([-1], np.int64))
    over = constant("axis.slots", np.array([1], np.int64))
    zero = constant("zero.fp16", np.array(0, np.float16))
    one = constant("one.full", np.array(1, np.float32))
    bias = emit("Squeeze", [editor.input("attention_bias"), middle], "head.bias")
    real = emit("GreaterOrEqual", [bias, zero], "head.real")
    counted = emit("Cast", [real], "head.counted", to=ir.DataType.FLOAT)
    everything = counted
    least = constant("least.total", np.array(1e-9, np.float32))
    index = editor.input("pad_index")
    rows = emit("GatherND", [hidden, index], "head.padded")
    rows = emit("Cast", [rows], "head.rows", to=ir.DataType.FLOAT)

    def places() -> ir.Value:
        """``[B, S]``: the place of each slot in its sentence, from 0 on."""
        slots = emit("Squeeze", [index, last], "head.slots")
        within = emit("Sub", [slots, editor.input("first_index")], "head.within")
        return emit("Cast", [within], "head.places", to=ir.DataType.FLOAT)

    def at(place: ir.Value, name: str) -> ir.Value:
        """1 at one place of each sentence."""
        found = emit("Equal", [within, place], f"head.{name}.here")
        found = emit("Cast", [found], f"head.{name}.one", to=ir.DataType.FLOAT)
        return emit("Mul", [found, everything], f"head.{name}.weights")

    within = prompt = length = None
    if not include_prompt or set(modes) & {"weightedmean", "lasttoken"}:
        within = places()
    if not include_prompt or "lasttoken" in modes:
        length = emit("ReduceSum", [everything, over], "head.tokens", keepdims=1)
    if not include_prompt:
        prompt = emit("Cast", [editor.input("prompt_tokens")], "head.prompt", to=ir.DataType.FLOAT)
        behind = emit("GreaterOrEqual", [within, prompt], "head.behind")
        behind = emit("Cast", [behind], "head.behind.one", to=ir.DataType.FLOAT)
        counted = emit("Mul", [everything, behind], "head.kept")
    made = []
    for mode in modes:
        name = f"head.{mode}"
        if mode == "max":
            kept = emit("Cast", [counted], f"{name}.real", to=ir.DataType.BOOL)
            kept = emit("Unsqueeze", [kept, last], f"{name}.rows")
            low = constant("lowest", np.array(LOWEST, np.float32))
            masked = emit("Where", [kept, rows, low], f"{name}.masked")
            made.append(emit("ReduceMax", [masked, over], f"{name}.pooled", keepdims=0))
            continue
        weights, divides = counted, mode not in ("cls", "lasttoken")
        if mode == "weightedmean":
            ranks = emit("Add", [within, one], f"{name}.ranks")
            weights = emit("Mul", [counted, ranks], f"{name}.weights")
        elif mode == "lasttoken":
            weights = at(emit("Sub", [length, one], f"{name}.place"), mode)
        elif mode == "cls":
            inside = emit("Less", [prompt, length], f"{name}.inside")
            inside = emit("Cast", [inside], f"{name}.inside.one", to=ir.DataType.FLOAT)
            weights = at(emit("Mul", [prompt, inside], f"{name}.place"), mode)
        total = emit("ReduceSum", [weights, over], f"{name}.all", keepdims=1)
        total = emit("Max", [total, least], f"{name}.total")
        wide = emit("Unsqueeze", [weights, last], f"{name}.wide")
        summed = emit("Mul", [rows, wide], f"{name}.taken")
        summed = emit("ReduceSum", [summed, over], f"{name}.sum", keepdims=0)
        if mode == "mean_sqrt_len_tokens":
            total = emit("Sqrt", [total], f"{name}.root")
        made.append(emit("Div", [summed, total], f"{name}.pooled") if divides else summed)
    return made
