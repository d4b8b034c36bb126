"""What the encoder's states are turned into: the description that every lowering reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from xopt.encoders.spec import HeadForm
from xopt.errors import InputError, did_you_mean

__all__ = [
    "POOLING_MODES",
    "Dense",
    "Head",
    "HeadKind",
    "HeadModule",
    "LayerNorm",
    "Normalize",
    "Truncate",
    "read_pooling",
]

HeadKind = Literal["classify", "tag", "span", "embed"]

# As sentence-transformers names them, in the order in which it puts several one behind the other
# where its file has a flag for each.
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True)
class Dense:
    """``activation(W x + b)``, with ``+ x`` or ``+ R x`` where it is residual.

    Attributes:
        path: its folder within the checkpoint's; where its weights lie.
        inputs: size of x.
        outputs: size of the answer.
        bias: whether there is a b.
        activation: one of :data:`xopt.activations.CLASSES`.
        residual: whether x is added again; through R where the sizes differ.
    """

    path: str
    inputs: int
    outputs: int
    bias: bool = True
    activation: str = "Tanh"
    residual: bool = False

    @property
    def projects_residual(self) -> bool:
        """Whether x is added through a matrix."""
        return self.residual and self.inputs != self.outputs

    @property
    def width(self) -> int:
        """Values it gives."""
        return self.outputs

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "type": "Dense", "path": self.path, "inputs": self.inputs, "outputs": self.outputs,
            "bias": self.bias, "activation": self.activation, "residual": self.residual,
        }  # fmt: skip


@dataclass(frozen=True)
class LayerNorm:
    """LayerNorm of ``width`` values, with ε = 1e-5 as sentence-transformers has it."""

    path: str
    width: int
    epsilon: float = 1e-5

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "type": "LayerNorm", "path": self.path, "width": self.width, "epsilon": self.epsilon,
        }  # fmt: skip


@dataclass(frozen=True)
class Normalize:
    """To length 1, where another module follows; a last one is the bundle's last step."""

    width: int

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"type": "Normalize", "width": self.width}


@dataclass(frozen=True)
class Truncate:
    """The first ``width`` values (``truncate_dim``)."""

    width: int

    def manifest(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"type": "Truncate", "width": self.width}


HeadModule = Dense | LayerNorm | Normalize | Truncate


@dataclass(frozen=True)
class Head:
    """What the encoder's states are turned into.

    Attributes:
        kind: ``classify``, ``tag``, ``span`` or ``embed``.
        labels: label names by id; empty for ``embed``.
        activation: for ``classify`` and ``tag``, what its own library makes of logits: one of
            :data:`xopt.activations.ACTIVATIONS`. Not in the graph: whoever answers
            takes that last step.
        problem_type: for ``classify``, as config.json says it.
        layer: which hidden state is pooled: 0 the embeddings, ``layers`` the last. This and the
            next three for ``embed``, and for a cross-encoder made of modules.
        pooling: some of :data:`POOLING_MODES`, one behind the other.
        include_prompt: whether the prompt's tokens are pooled too.
        modules: what follows the pooling, in order; a cross-encoder's last one gives its logits.
        normalize: for ``embed``, whether the answer gets length 1. Not in the graph.
        sparse: for ``embed``, the special tokens, where every other token gets a weight too; None
            for no weights.
        form: of every other head, what stands between the states and the logits.
        overridden: what the checkpoint itself says where an option said something else.
    """

    kind: HeadKind
    labels: tuple[str, ...] = ()
    activation: str = "softmax"
    problem_type: str | None = None
    layer: int | None = None
    pooling: tuple[str, ...] = ()
    include_prompt: bool = True
    modules: tuple[HeadModule, ...] = ()
    normalize: bool = False
    sparse: tuple[int, ...] | None = None
    form: HeadForm | None = None
    overridden: dict[str, Any] = field(default_factory=dict, hash=False)

    def width(self, hidden: int) -> int:
        """Values of an answer: of an embedding, or logits."""
        if self.kind != "embed":
            return len(self.labels)
        return self.modules[-1].width if self.modules else hidden * len(self.pooling)

    def manifest(self) -> dict[str, Any]:
        """As a JSON object; see ``docs/decisions.md`` for what reads it."""
        facts: dict[str, Any] = {"kind": self.kind}
        if self.pooling:
            facts |= {
                "layer": self.layer,
                "pooling": list(self.pooling),
                "include_prompt": self.include_prompt,
                "modules": [module.manifest() for module in self.modules],
            }
        if self.kind == "embed":
            facts["normalize"] = self.normalize
            if self.sparse is not None:
                facts["sparse"] = list(self.sparse)
            return facts | ({"overridden": self.overridden} if self.overridden else {})
        facts["labels"] = list(self.labels)
        if self.kind in ("classify", "tag"):
            facts["activation"] = self.activation
        if self.kind == "classify":
            facts["problem_type"] = self.problem_type
        return facts


def read_pooling(text: str) -> tuple[str, ...]:
    """``--pooling`` as modes: ``cls``, or several as ``mean+max``.

    Raises:
        InputError: no such mode.
    """
    modes = tuple(part.strip() for part in text.split("+"))
    for mode in modes:
        if mode not in POOLING_MODES:
            raise InputError(
                f"Unknown pooling {mode!r}.",
                hint=f"{did_you_mean(mode, POOLING_MODES)} Several stand as mean+max.",
            )
    return modes
