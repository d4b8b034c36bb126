"""Precisions, and what each target makes of them: one readable table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xopt.compile.head_spec import Head
from xopt.encoders.plan import needs
from xopt.encoders.spec import EncoderSpec
from xopt.engines.cuda_weights import HEAD_DIMS
from xopt.errors import InputError, UnsupportedError, did_you_mean

__all__ = ["LOWERINGS", "PRECISIONS", "Lowering", "check_encoder", "check_head", "lowering_for"]

PRECISIONS: dict[str, str] = {
    "fp32": "every weight and every operation in fp32: the reference",
    "fp16": "weights in fp16",
    "int8": "linear layers with INT8 weights and activations, embedding rows in INT8",
    "int8-attention": "as int8, with the two products of attention in INT8 too",
}


@dataclass(frozen=True)
class Lowering:
    """How one target wants one precision.

    Attributes:
        weights: storage of the linear layers' weights.
        activations: type of the quantized activations; ``uint8`` has a zero point for each site,
            and x86 CPUs without AMX multiply it faster (:mod:`xopt.compile.lower_openvino`). There
            three projections stand instead of one of three times the width, with the scale of the
            scores folded into the first; OpenVINO reads each transposed inside its attention
            kernel and copies nothing.
        embeddings: storage of the word embeddings; ``int8`` has one scale per row.
        attention: whether q, k, v and the probabilities are quantized too.
        form: which operators: ``kernels`` is no graph but the arrays of our own kernels;
            ``tensorrt`` is all fp16 and of the patterns that fuse there; ``tensorrt-plugin`` is the
            same with attention as our own plugin.
        levels: steps of a weight on one side of zero where weights are rounded by their effect
            (:mod:`xopt.calibrate.rounding`); 0 where each goes to its nearest of 127.
        pair_sum: most that two neighbouring weights of one sign may sum to. x86 without VNNI adds
            two products of a uint8 and an int8 in 16 bits: 255 · 128 is the most that fits. 0 for
            no bound, as VNNI adds in 32 bits.
        fp32_sites: sites whose products stay in fp32 where the others are INT8.
        bf16_sites: those whose weights are bf16; their products read bf16 where our own layers run.
    """

    weights: Literal["fp32", "fp16", "int8"]
    activations: Literal["none", "int8", "uint8"] = "none"
    embeddings: Literal["fp32", "fp16", "int8"] = "fp32"
    attention: bool = False
    form: Literal["packed", "kernels", "tensorrt", "tensorrt-plugin"] = "packed"
    levels: int = 0
    pair_sum: int = 0
    fp32_sites: tuple[str, ...] = ()
    bf16_sites: tuple[str, ...] = ()


LOWERINGS: dict[tuple[str, str], Lowering] = {
    ("openvino", "fp32"): Lowering("fp32"),
    ("openvino", "fp16"): Lowering("fp16", embeddings="fp16"),
    ("openvino", "int8"): Lowering("int8", "uint8", "int8", levels=127),
    ("cuda", "fp16"): Lowering("fp16", embeddings="fp16", form="kernels"),
    ("cuda", "int8"): Lowering("int8", "int8", "int8", form="kernels"),
    ("cuda", "int8-attention"): Lowering("int8", "int8", "int8", attention=True, form="kernels"),
    ("tensorrt-rtx", "fp16"): Lowering("fp16", embeddings="fp16", form="tensorrt"),
    ("tensorrt-rtx", "int8"): Lowering("int8", "int8", "int8", attention=True, form="tensorrt"),
    ("tensorrt", "fp16"): Lowering("fp16", embeddings="fp16", form="tensorrt"),
    ("tensorrt", "int8"): Lowering("int8", "int8", "int8", attention=True, form="tensorrt"),
    ("torch-tensorrt", "fp16"): Lowering("fp16", embeddings="fp16"),
    ("null", "fp32"): Lowering("fp32"),
    ("null", "int8"): Lowering("int8", "uint8", "int8", levels=127),
}


# Targets that take every operation of a plan; the others take the block of BERT and its heads.
WHOLE_PLAN = ("openvino", "null")
# What TensorRT-RTX has beyond it, in the words of :func:`~xopt.encoders.plan.needs`.
RTX = (
    "norms before each part", "LayerNorm without a bias", "rotary positions", "windowed attention",
    "a gated feed-forward part",
)  # fmt: skip
# And our own kernels, which take every head of labels as well.
CUDA = (
    *RTX, "RMSNorm", "rotated values", "grouped key and value heads", "embeddings without a norm",
    "heads that are wider or narrower than their share of the states",
    "a divisor of the scores that is not the root of a head's width",
)  # fmt: skip
# Activations of a gated part that they have.
GATES = ("gelu", "silu")


def check_encoder(target: str, spec: EncoderSpec, head: Head | None, depth: int) -> None:
    """Refuse, before anything is measured, an encoder with operations that a target lacks.

    Args:
        target: as in :data:`LOWERINGS`.
        spec: the encoder.
        head: on it, if there is one.
        depth: how many of its layers run.

    Raises:
        UnsupportedError: names the operations, and the targets that have them.
    """
    lacks = _lacks(target, spec, head, depth)
    if lacks:
        raise UnsupportedError(
            f"The target {target} cannot run this {spec.model_type} encoder: it lacks "
            f"{', '.join(lacks)}.",
            hint=_elsewhere(spec, head, depth),
        )


def _elsewhere(spec: EncoderSpec, head: Head | None, depth: int, attention: str = "") -> str:
    """The targets that build the encoder and its head as well, as advice."""
    targets = dict.fromkeys(name for name, _ in LOWERINGS if name not in WHOLE_PLAN)
    able = ["cpu"]
    for name in targets:
        if not (_lacks(name, spec, head, depth) or (head and _head_lacks(name, head))):
            able.append(f"{name} {attention}" if attention and name == "tensorrt" else name)
    hint = "Build it for a target that has them: xopt build CHECKPOINT --target "
    return hint + " or ".join(able)


def _lacks(target: str, spec: EncoderSpec, head: Head | None, depth: int) -> list[str]:
    """What a target does not have of an encoder and its head, in words."""
    if target in WHOLE_PLAN:
        return []
    asked = list(needs(spec))
    if target == "cuda":
        gates = {f"the activation {kind}" for kind in GATES if all(b.gated for b in spec.blocks)}
        asked = [name for name in asked if name not in {*CUDA, *gates}]
        if spec.head_dim not in HEAD_DIMS:
            asked.append(f"attention heads of {spec.head_dim} values")
        return asked
    form = head.form if head is not None else None
    asked += [form.needs] if form is not None and form.needs else []
    if target == "tensorrt-rtx" and "rotary positions" in asked:
        asked = [name for name in asked if name not in RTX]
        if depth < spec.layers and spec.final_norm is not None:
            asked.append("an answer of a layer without the norm behind the last one")
    return asked


def lowering_for(target: str, precision: str) -> Lowering:
    """The table's entry.

    Raises:
        InputError: no such precision.
        UnsupportedError: this target has no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"Unknown precision {precision!r}.", hint=did_you_mean(precision, PRECISIONS)
        )
    found = LOWERINGS.get((target, precision))
    if found is None:
        possible = [p for t, p in LOWERINGS if t == target]
        shown = "cpu" if target == "openvino" else target
        raise UnsupportedError(
            f"The target {shown} has no precision {precision}.",
            hint=f"Possible for {shown}: {', '.join(possible) or 'none'}.",
        )
    return found


# Targets that do every pooling and every module behind it; the others do mean or cls alone.
EVERY_HEAD = ("openvino", "null", "tensorrt-rtx", "tensorrt")


def check_head(target: str, lowering: Lowering, spec: EncoderSpec, head: Head, depth: int) -> None:
    """Refuse a head that this target cannot do, before anything is calibrated.

    Raises:
        UnsupportedError: names the targets that can, with this encoder under it.
    """
    plugin = lowering.form == "tensorrt-plugin"
    lacks = _head_lacks(target, head, plugin=plugin)
    if not lacks:
        return
    what = f"{target} with the attention plugin" if plugin else target
    hint = _elsewhere(spec, head, depth, "--attention native" if plugin else "")
    if head.sparse is not None:
        hint += ", or move sparse_linear.safetensors out of the folder."
    raise UnsupportedError(f"The target {what} does not do {lacks}.", hint=hint)


def _head_lacks(target: str, head: Head, *, plugin: bool = False) -> str:
    """What a target does not do of a head, in words; nothing where it does all of it."""
    if not head.pooling or target == "openvino":
        return ""
    if head.sparse is not None:
        return "token weights beside an embedding"
    parts = ["+".join(head.pooling) + " pooling"]
    parts += [] if head.include_prompt else ["without the prompt"]
    parts += [type(module).__name__ for module in head.modules]
    if head.kind == "classify" and target not in WHOLE_PLAN:
        return f"a cross-encoder made of modules yet: {', '.join(parts)}"
    simple = head.include_prompt and head.pooling in (("mean",), ("cls",))
    if (simple and (plugin or not head.modules)) or (target in EVERY_HEAD and not plugin):
        return ""
    return f"this checkpoint's head yet (mean or cls pooling alone): {', '.join(parts)}"
