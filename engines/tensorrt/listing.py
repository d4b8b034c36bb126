"""What a built engine holds, read back from TensorRT-RTX's verbose log and from the plan itself.

The log lists every kernel with the types of its tensors and the ONNX nodes it came from; the plan
carries, as text, the factor ``alpha`` that each product's accumulators are multiplied by before
they are rounded to fp16. A factor of exactly 1 means that raw int32 sums reach fp16 and overflow.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xopt.errors import BuildError

if TYPE_CHECKING:
    from mmap import mmap

    ReadableBuffer = bytes | mmap

__all__ = [
    "Kernel",
    "Listing",
    "UnfusedError",
    "chosen_kernels",
    "read_alphas",
    "read_kernels",
    "read_log",
    "read_padded_lengths",
    "unfused_attentions",
    "worst_profile",
]

LINEARS = ("qkv", "attention_output", "ffn_in", "ffn_out")
LINEAR = re.compile(r"^(layers\.\d+)\.(qkv|attention_output|ffn_in|ffn_out)\.matmul$")
ATTENTION = ("qk.matmul", "pv.matmul")
# Listed among the kernels, and run by the host.
HOST = ("signal", "wait", "shape_call")

_KERNEL = re.compile(r"^Name: (.*?), LayerType: (\w+), (.*)$")
_TENSOR = re.compile(r"Datatype: (\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_PROFILE = re.compile(r"_myl(\d+)_\d+$")
_PADDED, _LENGTH = re.compile(rb", // padded skv"), re.compile(rb"\d+$")
_PRODUCT = re.compile(
    rb'fully_connected=\{ name="[^\n]*? alpha=([0-9A-F]+) [^\n]*? layers="([^"\n]*)"'
)


class UnfusedError(BuildError):
    """Attention did not become the one INT8 kernel it was lowered for."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of the plan.

    Attributes:
        name: as TensorRT names it, without its number.
        profile: of which it is a part, from 0.
        kind: ``gemm``, ``kgen`` and so on.
        inputs: types of what it reads.
        constants: types of its weights.
        outputs: types of what it writes.
        nodes: names of the ONNX nodes it stands for.
    """

    name: str
    profile: int
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def signature(self) -> str:
        """Name and types, as ``gemm Int8,Int8 -> Half``."""
        weights = self.constants[:1] if self.kind == "gemm" else ()
        label = "gemm" if self.kind == "gemm" else self.name
        return f"{label} {','.join((*self.inputs, *weights))} -> {','.join(self.outputs)}"


def read_kernels(lines: Iterable[str]) -> list[Kernel]:
    """The kernels of the last list of layers in a verbose log."""
    found: list[Kernel] = []
    for line in lines:
        text = line.rstrip("\n")
        if text.endswith("Layers:"):
            found = []
        match = _KERNEL.match(text)
        if match is None or match.group(2) in HOST:
            continue
        name, kind, rest = match.groups()
        inputs, _, rest = rest.partition("Constants: ")
        constants, _, rest = rest.partition("Outputs: ")
        outputs, _, rest = rest.partition("TacticName: ")
        place = _PROFILE.search(name)
        found.append(
            Kernel(
                _PROFILE.sub("", name),
                int(place.group(1)) if place else 0,
                kind,
                inputs=tuple(_TENSOR.findall(inputs)),
                constants=tuple(_TENSOR.findall(constants)),
                outputs=tuple(_TENSOR.findall(outputs)),
                nodes=tuple(_NODE.findall(rest)),
            )
        )
    return found


def read_padded_lengths(plan: ReadableBuffer) -> list[int]:
    """The lengths that the fused attention kernels were compiled for, each once."""
    found = (_LENGTH.search(plan, m.start() - 20, m.start()) for m in _PADDED.finditer(plan))
    return sorted({int(length[0]) for length in found if length})


def read_alphas(plan: ReadableBuffer) -> dict[str, list[float]]:
    """ONNX product -> the factor of its accumulators, once for each profile."""
    found: dict[str, list[float]] = defaultdict(list)
    for match in _PRODUCT.finditer(plan):
        [alpha] = struct.unpack(">f", bytes.fromhex(match.group(1).decode().zfill(8)))
        for node in _NODE.findall(match.group(2).decode(errors="replace")):
            if node.endswith(".matmul"):
                found[node].append(alpha)
    return dict(found)


@dataclass(frozen=True)
class Listing:
    """Counts of one profile: all have the same, or these are :func:`worst_profile`'s.

    Attributes:
        kernels: launched by one run of the encoder and its head.
        products: linear layers of the encoder that one kernel computes.
        int8_products: of these, with INT8 operands.
        attentions: layers that have attention.
        int8_fused_attentions: of these, one kernel that reads INT8 q, k and v and writes INT8.
        fused_attentions: of these, one kernel, whatever its types.
        products_with_alpha_one: INT8 products whose raw accumulators are written as fp16.
    """

    kernels: int
    products: int
    int8_products: int
    attentions: int
    int8_fused_attentions: int
    fused_attentions: int
    products_with_alpha_one: int

    @classmethod
    def read(cls, kernels: Sequence[Kernel], alphas: dict[str, list[float]]) -> Listing:
        """Count.

        Raises:
            BuildError: the log holds no list of layers.
        """
        worst = worst_profile(kernels)
        if not worst:
            raise BuildError("TensorRT's log holds no list of layers.", hint=REPORT)
        unknown = sorted({n for k in kernels if is_int8(k) for n in products_of(k)} - set(alphas))
        if unknown:
            raise BuildError(
                f"TensorRT's plan states no factor for the accumulators of {unknown[0]}, so that "
                "they may overflow.",
                hint=REPORT,
            )
        return _count(worst, alphas)

    def check(
        self, *, layers: int, int8: bool, int8_attention: bool, unfused: Sequence[str] = ()
    ) -> None:
        """Refuse an engine that is not what was asked for.

        Args:
            layers: of the encoder.
            int8: whether its products are to be INT8.
            int8_attention: whether attention is.
            unfused: from :func:`unfused_attentions`, for the message.

        Raises:
            UnfusedError: attention is not one kernel in every layer, or not in INT8.
            BuildError: a linear layer is no INT8 product, or would overflow.
        """
        if self.products_with_alpha_one:
            raise BuildError(
                f"{self.products_with_alpha_one} INT8 products write their raw accumulators as "
                "fp16, where they overflow (alpha is 1.0).",
                hint=REPORT,
            )
        linears = len(LINEARS) * layers
        if int8 and self.int8_products < linears:
            raise BuildError(
                f"{linears - self.int8_products} of {linears} linear layers did not become INT8 "
                "products.",
                hint=REPORT,
            )
        fused = self.int8_fused_attentions if int8_attention else self.fused_attentions
        if fused < layers:
            kind = "INT8 attention" if int8_attention else "attention"
            raise UnfusedError(
                f"{kind} became one kernel in {fused} of {layers} layers only."
                + (f" What did not fuse: {'; '.join(unfused)}." if unfused else ""),
                hint="Add --allow-unfused to take fp16 attention where INT8 does not fuse."
                if int8_attention
                else REPORT,
            )

    def manifest(self) -> dict[str, int]:
        """As a JSON object."""
        return asdict(self)


REPORT = "Please report this with the checkpoint's config.json and the TensorRT version."


def products_of(kernel: Kernel) -> list[str]:
    """The linear layers of the encoder that a kernel computes."""
    return [node for node in kernel.nodes if LINEAR.match(node)]


def is_int8(kernel: Kernel) -> bool:
    """Whether a kernel multiplies INT8 with INT8 weights."""
    return set(kernel.inputs) == {"Int8"} and kernel.constants[:1] == ("Int8",)


def _count(kernels: Sequence[Kernel], alphas: dict[str, list[float]]) -> Listing:
    products = [k for k in kernels if products_of(k)]
    int8 = [k for k in products if is_int8(k)]
    named = {node for kernel in int8 for node in products_of(kernel)}
    fused = [k for k in kernels if all(_ends(k, part) for part in ATTENTION)]
    quantized = [k for k in fused if k.inputs.count("Int8") == 3 and set(k.outputs) == {"Int8"}]
    layers = {n.rpartition(".qk")[0] for k in kernels for n in k.nodes if n.endswith(ATTENTION[0])}
    return Listing(
        kernels=len(kernels),
        products=len(products),
        int8_products=len(int8),
        attentions=len(layers),
        int8_fused_attentions=len(quantized),
        fused_attentions=len(fused),
        products_with_alpha_one=sum(1.0 in a for n, a in alphas.items() if n in named),
    )


def worst_profile(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Kernels of the profile that fuses least; of equals, fewest INT8 products, then most kernels.

    A listing of it passes :meth:`Listing.check` only if each profile's would.
    """
    profiles: dict[int, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        profiles[kernel.profile].append(kernel)
    return min(profiles.values(), key=_merit, default=[])


def _merit(kernels: Sequence[Kernel]) -> tuple[int, ...]:
    found = _count(kernels, alphas={})
    fused = found.int8_fused_attentions, found.fused_attentions
    return (*fused, found.int8_products, -found.kernels)


def unfused_attentions(kernels: Sequence[Kernel]) -> list[str]:
    """Layers of :func:`worst_profile` whose attention is several kernels, with their types."""
    return [
        f"{layer}: {parts['attention']}"
        for layer, parts in chosen_kernels(kernels).items()
        if " + " in parts.get("attention", "")
    ]


def _ends(kernel: Kernel, part: str) -> bool:
    return any(node.endswith(part) for node in kernel.nodes)


def chosen_kernels(kernels: Sequence[Kernel]) -> dict[str, dict[str, str]]:
    """``layer -> {linear layer or attention -> kernel}`` of :func:`worst_profile`."""
    chosen: dict[str, dict[str, str]] = defaultdict(dict)
    for kernel in worst_profile(kernels):
        for node in kernel.nodes:
            if linear := LINEAR.match(node):
                chosen[linear.group(1)][linear.group(2)] = kernel.signature
            elif node.endswith(ATTENTION):
                layer = node.rsplit(".", 2)[0]
                before = chosen[layer].get("attention")
                parts = [before] if before else []
                if kernel.signature not in parts:
                    parts.append(kernel.signature)
                chosen[layer]["attention"] = " + ".join(parts)
    return {layer: dict(sorted(parts.items())) for layer, parts in chosen.items()}


def read_log(path: Path) -> list[Kernel]:
    """As :func:`read_kernels`, from a file."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return read_kernels(line.removeprefix("V ") for line in lines)
