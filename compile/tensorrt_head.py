"""The heads in TensorRT's form: fp16 for logits, fp32 from the pooling on, the answer in fp32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from xopt.compile.editing import GraphEditor
from xopt.compile.head_spec import Dense, Head, HeadModule, LayerNorm, Normalize, Truncate
from xopt.compile.tensorrt_linear import LinearLowerer

__all__ = ["emit_head", "pool_slots"]

# As :meth:`~xopt.compile.lower_tensorrt.Lowerer.pool`.
Pool = Callable[..., list[ir.Value]]
# Nothing real is below it.
LOWEST = np.finfo(np.float32).min


def emit_head(work: LinearLowerer, hidden: ir.Value, head: Head, pool: Pool) -> ir.Value:
    """The head over ``[T, hidden]``.

    Args:
        work: the lowering.
        hidden: the encoder's last output.
        head: what the states are turned into.
        pool: for modes that read more than the first token.

    Returns:
        Logits fp16, or embeddings fp32.
    """
    if head.form is None:
        return _embedding(work, hidden, head, pool)
    if head.kind == "classify":
        hidden = _first(work, hidden)
    emit, dense = work.editor.emit, head.form.activation is not None
    for number, name in enumerate(["head.dense", "head.output"] if dense else ["head.output"]):
        if number:
            hidden = emit("Tanh", [hidden], "head.tanh")
        values = work.turned(name + ".weight.fp16", work.state[name + ".weight"])
        exact = emit("MatMul", [hidden, values], name + ".weight.product")
        shift = work.half(name + ".weight.bias", work.state[name + ".bias"])
        hidden = emit("Add", [exact, shift], name + ".weight.out")
    return hidden


def _first(work: LinearLowerer, hidden: ir.Value) -> ir.Value:
    """``[B, hidden]``: each sentence's first token."""
    given = [hidden, work.editor.input("first_index")]
    return work.editor.emit("GatherND", given, "head.first")


def _embedding(work: LinearLowerer, hidden: ir.Value, head: Head, pool: Pool) -> ir.Value:
    emit, whole = work.editor.emit, head.include_prompt
    firsts = [mode for mode in head.pooling if mode == "cls" and whole]
    others = [mode for mode in head.pooling if mode not in firsts]
    pooled = iter(pool(hidden, others, include_prompt=whole))
    parts = [
        emit("Cast", [_first(work, hidden)], "head.first.full", to=ir.DataType.FLOAT)
        if mode in firsts
        else next(pooled)
        for mode in head.pooling
    ]
    x = parts[0] if len(parts) == 1 else emit("Concat", parts, "head.pooled", axis=1)
    for number, module in enumerate(head.modules):
        x = _module(work, x, number, module)
    return x


def _module(work: LinearLowerer, x: ir.Value, number: int, module: HeadModule) -> ir.Value:
    """What follows the pooling, in fp32: a row a sentence costs nothing."""
    editor, emit, name = work.editor, work.editor.emit, f"head.{number}"
    stored = f"head.modules_behind.{number}"
    last = editor.constant("axis.last", np.array([-1], np.int64))
    match module:
        case Dense():
            linear = _linear(work, x, name, f"{stored}.linear")
            out = _activate(editor, module.activation, linear, name)
            if not module.residual:
                return out
            if module.projects_residual:
                x = _linear(work, x, name + ".kept", f"{stored}.residual")
            return emit("Add", [out, x], name + ".residual")
        case LayerNorm():
            values = [
                editor.constant(f"{name}.norm.{i}", work.state[f"{stored}.norm.{part}"])
                for i, part in enumerate(("weight", "bias"))
            ]
            given = {"axis": -1, "epsilon": module.epsilon}
            return emit("LayerNormalization", [x, *values], name + ".norm", **given)
        case Normalize():
            least = editor.constant("least.length", np.array(1e-12, np.float32))
            length = emit("ReduceL2", [x, last], name + ".length", keepdims=1)
            length = emit("Max", [length, least], name + ".divisor")
            return emit("Div", [x, length], name + ".unit")
        case Truncate():
            bounds = [
                editor.constant(f"{name}.{i}", np.array([value], np.int64))
                for i, value in enumerate((0, module.width))
            ]
            return emit("Slice", [x, *bounds, last], name + ".cut")


def _linear(work: LinearLowerer, x: ir.Value, name: str, stored: str) -> ir.Value:
    constant, emit = work.editor.constant, work.editor.emit
    weight, bias = (work.state[f"{stored}.{part}"] for part in ("weight", "bias"))
    values = constant(name + ".weight", np.ascontiguousarray(weight.T))
    product = emit("MatMul", [x, values], name + ".product")
    return emit("Add", [product, constant(name + ".bias", bias)], name + ".out")


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
