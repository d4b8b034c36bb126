"""The encoder in PyTorch over a packed batch: the one that is traced, observed and tested.

It follows the plan of :mod:`xopt.encoders.plan`, operation after operation. Everything but
attention runs on ``[T, width]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xopt.compile.attention import attend, attend_jointly
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.encoder_inputs import encoder_inputs
from xopt.compile.head_spec import Head
from xopt.compile.heads import make_head
from xopt.compile.modules import ACTIVATE, Rotation, make_norm, multiply
from xopt.compile.relative import Distances
from xopt.compile.rotary import rotations
from xopt.compile.weights import encoder_state
from xopt.encoders.plan import (
    Act,
    Attend,
    Embed,
    Gate,
    Linear,
    Normalize,
    Op,
    Residual,
    State,
    last_reads,
    plan,
    site_names,
)
from xopt.encoders.spec import EncoderSpec, Rotary
from xopt.engines.signature import TOKEN_WEIGHTS
from xopt.packing import PackedBatch

__all__ = ["PackedEncoder", "Watch"]

# Called at each quantization site with its name and value.
Watch = Callable[[str, Tensor], None]
Product = Callable[[nn.Module, Tensor], Tensor]
JointAttention = Callable[[Attend, Tensor, dict[str, Tensor], Watch], Tensor]


def _ignore(name: str, value: Tensor) -> None:
    """The watch that watches nothing."""


@dataclass
class Going:
    """A packed batch on its way.

    Attributes:
        arrays: of the batch.
        turns: rotary positions -> cosine and sine of each token's position.
        distances: from :class:`~xopt.compile.relative.Distances`.
        values: what the operations read and write, by name.
        seen: the sites that were watched.
    """

    arrays: dict[str, Tensor]
    turns: dict[Rotary, tuple[Tensor, Tensor]]
    distances: dict[str, Tensor]
    values: dict[str, Tensor] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


class PackedEncoder(nn.Module):
    """A whole encoder with its head over the arrays of a :class:`~xopt.packing.PackedBatch`.

    Its output is ``logits`` (``[B, labels]`` or ``[T, labels]``) or ``embeddings``
    (``[B, hidden]``); with a sparse head, ``token_weights`` (``[T, 1]``) are a second one.
    """

    def __init__(self, config: EncoderSpec, head: Head) -> None:
        super().__init__()
        self.config, self.spec = config, head
        self.plan = plan(config, head.layer)
        self.inputs = encoder_inputs(config, self.plan, head)
        # The names of modules are those of the plan: `layers.0.ffn_in`.
        self.embeddings = nn.Module()
        depth = config.layers if head.layer is None else head.layer
        self.layers = nn.ModuleList(nn.Module() for _ in range(depth))
        for op in self.plan:
            self._build(op)
        self._rotations = {rotary: number for number, rotary in enumerate(rotations(self.plan))}
        self.rotary = nn.ModuleList(Rotation(config) for _ in self._rotations)
        self.distances: Distances | None = None
        if config.relative is not None and any(isinstance(op, Attend) for op in self.plan):
            self.distances = Distances(config.relative, config.max_tokens)
        self.head = make_head(config, head)
        self.token_weights = None if head.sparse is None else nn.Linear(config.hidden, 1)
        # A target may have an operator of its own for it.
        self.joint_attention: JointAttention = attend_jointly

    def _build(self, op: Op) -> None:
        if isinstance(op, Embed):
            for name, rows in op.rows:
                self.embeddings.add_module(name, nn.Embedding(rows, op.width))
        elif isinstance(op, Normalize):
            self._place(op.name, make_norm(op.norm, op.width))
        elif isinstance(op, Linear):
            # With a bias of zeros where there is none: every graph then has one form.
            self._place(op.name, nn.Linear(op.inputs, op.outputs))
        elif isinstance(op, Attend) and self.config.relative is not None:
            for term in op.terms:
                table = nn.Embedding(self.config.relative.rows, op.heads * op.head_dim)
                self._place(f"{op.layer}.{term}", table)

    def _place(self, name: str, module: nn.Module) -> None:
        parent, _, child = name.rpartition(".")
        self.get_submodule(parent).add_module(child, module)

    @classmethod
    def skeleton(cls, checkpoint: Checkpoint) -> PackedEncoder:
        """The encoder without weights (on the meta device), enough to trace its graph."""
        return cls.empty(checkpoint.config, checkpoint.head)

    @classmethod
    def empty(cls, config: EncoderSpec, head: Head) -> PackedEncoder:
        """The skeleton of every checkpoint of this structure."""
        with torch.device("meta"):
            return cls(config, head).eval()

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> PackedEncoder:
        """The encoder with the checkpoint's weights, fp32.

        Raises:
            CheckpointError: a weight is unset, unused, or of another shape than config.json says.
        """
        model = cls.skeleton(checkpoint)
        model.load_state_dict(encoder_state(checkpoint), assign=True)
        return model.requires_grad_(False).eval()

    @property
    def outputs(self) -> list[str]:
        """The names of all outputs."""
        return [self.output_name, *([] if self.token_weights is None else [TOKEN_WEIGHTS])]

    @property
    def output_name(self) -> str:
        """``logits`` or ``embeddings``."""
        return "embeddings" if self.spec.kind == "embed" else "logits"

    def forward(
        self, arrays: dict[str, Tensor], watch: Watch = _ignore, trail: list[Tensor] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the packed batch.

        Args:
            arrays: the arrays named in ``inputs``.
            watch: called at every quantization site.
            trail: receives each hidden state ``[T, hidden]``: the embeddings, then every layer.
        """
        going = self.begin(arrays)
        for op in self.plan:
            self.step(op, going, watch)
            if isinstance(op, State) and trail is not None:
                trail.append(going.values["x"])
        out: Tensor = self.head(going.values["x"], arrays)
        if self.token_weights is not None:
            return out, torch.relu(self.token_weights(going.values["x"]))
        return out

    def begin(self, arrays: dict[str, Tensor]) -> Going:
        """A batch before the first operation."""
        turns = {r: self.rotary[n](arrays["position_ids"]) for r, n in self._rotations.items()}
        distances: dict[str, Tensor] = {}
        if self.distances is not None:
            distances = self.distances(arrays["pad_index"].shape[1])
        return Going(arrays, turns, distances)

    def step(self, op: Op, going: Going, watch: Watch, multiply: Product | None = None) -> None:
        """One operation of one batch.

        Args:
            op: of the plan.
            going: the batch; its values are changed.
            watch: called where the operation reads a site for the first time.
            multiply: computes linear layers in place of their modules.
        """
        values = going.values
        match op:
            case Embed():
                values[op.out] = self._embed(op, going.arrays, watch)
            case Normalize():
                value, norm = values[op.source], self.get_submodule(op.name)
                split = value if op.heads == 1 else value.view(-1, op.heads, op.width)
                values[op.out] = norm(split) if op.heads == 1 else norm(split).flatten(1)
            case Linear():
                if op.site is not None and op.site not in going.seen:
                    going.seen.add(op.site)
                    watch(op.site, values[op.source])
                layer = self.get_submodule(op.name)
                source = values[op.source]
                values[op.out] = layer(source) if multiply is None else multiply(layer, source)
            case Attend():
                parts = [values[name] for name in op.source]
                if len(parts) == 1:
                    values[op.out] = self.joint_attention(op, parts[0], going.arrays, watch)
                else:
                    q, k, v = parts
                    turn = going.turns[op.rotary] if op.rotary is not None else None
                    tables = {t: self._table(op, t) for t in op.terms}
                    values[op.out] = attend(
                        op, q, k, v, going.arrays, turn, tables, going.distances
                    )
            case Act():
                values[op.out] = ACTIVATE[op.kind](values[op.source])
            case Gate():
                values[op.out] = values[op.source] * values[op.other]
            case Residual():
                values[op.out] = values[op.source] + values[op.other]
            case State():
                pass

    @property
    def sites(self) -> list[str]:
        """Where :meth:`walk` shows values, in its order."""
        return [name for name in site_names(self.plan) if not name.endswith(".probs")]

    def readers(self, site: str) -> list[Any]:
        """The linear layers that read ``site``, in the order of the plan."""
        names = [op.name for op in self.plan if isinstance(op, Linear) and op.site == site]
        return [self.get_submodule(name) for name in names]

    def weight(self, site: str) -> NDArray[np.float32]:
        """``[out, in]``: the weights of the linear layers that read ``site``."""
        found = [module.weight.numpy() for module in self.readers(site)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    @torch.inference_mode()
    def walk(
        self, batches: Sequence[PackedBatch], visit: Callable[[str, list[Tensor]], None]
    ) -> None:
        """Run batches side by side: one operation of all of them, then the next. No head is run.

        What no later operation reads is let go, so that the states and the values of one part of a
        layer are all that is held.

        Args:
            batches: all that is run.
            visit: called at each of :attr:`sites` with what every batch shows there.
        """
        runs = [self.begin(self.tensors(batch)) for batch in batches]
        for op, last in zip(self.plan, last_reads(self.plan), strict=True):
            found: dict[str, list[Tensor]] = {}

            def watch(site: str, value: Tensor, found: dict[str, list[Tensor]] = found) -> None:
                if not site.endswith(".probs"):
                    found.setdefault(site, []).append(value)

            for going in runs:
                self.step(op, going, watch, multiply)
                for name in last:
                    del going.values[name]
            for site in list(found):
                visit(site, found.pop(site))

    def _table(self, op: Attend, term: str) -> Tensor:
        """``[rows, heads·head_dim]``: a layer's vectors of distances."""
        table: Tensor = self.get_parameter(f"{op.layer}.{term}.weight")
        return table

    def _embed(self, op: Embed, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
        """``[T, word_width]``."""
        tables: dict[str, Any] = dict(self.embeddings.named_children())
        words: Tensor = tables["word"](arrays["input_ids"])
        watch("embeddings", words)
        rows = dict(op.rows)
        if rows.get("token_type", 0) > 1:
            words = words + tables["token_type"](arrays["token_type_ids"])
        elif "token_type" in rows:
            words = words + tables["token_type"].weight[0]
        if "position" in rows:
            words = words + tables["position"](arrays["position_ids"])
        return words

    @torch.inference_mode()
    def run(self, batch: PackedBatch, **extra: Any) -> Tensor:
        """The first output of :meth:`forward`, from a numpy batch."""
        found = self(self.tensors(batch), **extra)
        out: Tensor = found if isinstance(found, Tensor) else found[0]
        return out

    def tensors(self, batch: PackedBatch) -> dict[str, Tensor]:
        """The arrays named in ``inputs``."""
        arrays = batch.arrays(self.config.window)
        return {name: torch.from_numpy(arrays[name]) for name in self.inputs}
