"""The encoder in PyTorch over a packed batch: the one that is traced, observed and tested.

It follows the plan of :mod:`xopt.encoders.plan`, operation after operation. Everything but
attention runs on ``[T, width]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.compile.attention import attend, attend_jointly
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.head_spec import Head
from xopt.compile.heads import head_inputs, make_head
from xopt.compile.modules import ACTIVATE, make_norm
from xopt.compile.relative import Distances
from xopt.compile.weights import encoder_state, rotations
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
    plan,
)
from xopt.encoders.spec import EncoderSpec
from xopt.packing import PackedBatch

__all__ = ["PackedEncoder", "Watch", "graph_inputs"]

# The order in which a graph takes its inputs.
ORDER = (
    "input_ids", "position_ids", "token_type_ids", "pad_index", "attention_bias", "unpad_index",
    "window_queries", "window_keys", "window_slots", "window_bias", "cu_seqlens",
    "prompt_tokens",
)  # fmt: skip

# Called at each quantization site with its name and value.
Watch = Callable[[str, Tensor], None]
JointAttention = Callable[[Attend, Tensor, dict[str, Tensor], Watch], Tensor]


def graph_inputs(spec: EncoderSpec, ops: Iterable[Op], head: Head) -> list[str]:
    """The arrays of the packed batch that this encoder with this head reads."""
    reads = {"input_ids", *head_inputs(head)}
    if spec.types > 1:
        reads.add("token_type_ids")
    if spec.table or rotations(ops):
        reads.add("position_ids")
    windows = {op.window for op in ops if isinstance(op, Attend)}
    if None in windows:
        reads |= {"pad_index", "unpad_index", "attention_bias"}
    if windows - {None}:
        reads |= {"window_queries", "window_keys", "window_slots", "window_bias"}
    return [name for name in ORDER if name in reads]


def _ignore(name: str, value: Tensor) -> None:
    """The watch that watches nothing."""


class Rotation(nn.Module):
    """Cosine and sine of every position's angles."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.cos: Tensor
        self.sin: Tensor
        for name in ("cos", "sin"):
            self.register_buffer(name, torch.empty(spec.max_tokens, spec.head_dim))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """``[T]`` -> twice ``[T, 1, head_dim]``."""
        cosine, sine = (F.embedding(positions, table) for table in (self.cos, self.sin))
        return cosine[:, None], sine[:, None]


class PackedEncoder(nn.Module):
    """A whole encoder with its head over the arrays of a :class:`~xopt.packing.PackedBatch`.

    One output: ``logits`` (``[B, labels]`` or ``[T, labels]``) or ``embeddings`` (``[B, hidden]``).
    """

    def __init__(self, config: EncoderSpec, head: Head) -> None:
        super().__init__()
        self.config, self.spec = config, head
        self.plan = plan(config, head.layer)
        self.inputs = graph_inputs(config, self.plan, head)
        # The names of modules are those of the plan: `layers.0.ffn_in`.
        self.embeddings = nn.Module()
        depth = config.layers if head.layer is None else head.layer
        self.layers = nn.ModuleList(nn.Module() for _ in range(depth))
        for op in self.plan:
            self._build(op)
        bases = rotations(self.plan)
        self._rotations = {theta: number for number, theta in enumerate(bases)}
        self.rotary = nn.ModuleList(Rotation(config) for _ in bases)
        self.distances: Distances | None = None
        if config.relative is not None and any(isinstance(op, Attend) for op in self.plan):
            self.distances = Distances(config.relative, config.max_tokens)
        self.head = make_head(config, head)
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
        with torch.device("meta"):
            return cls(checkpoint.config, checkpoint.head).eval()

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
    def output_name(self) -> str:
        """``logits`` or ``embeddings``."""
        return "embeddings" if self.spec.kind == "embed" else "logits"

    def forward(
        self, arrays: dict[str, Tensor], watch: Watch = _ignore, trail: list[Tensor] | None = None
    ) -> Tensor:
        """Run the packed batch.

        Args:
            arrays: the arrays named in ``inputs``.
            watch: called at every quantization site.
            trail: receives each hidden state ``[T, hidden]``: the embeddings, then every layer.
        """
        values: dict[str, Tensor] = {}
        turns = {t: self.rotary[n](arrays["position_ids"]) for t, n in self._rotations.items()}
        distances: dict[str, Tensor] = {}
        if self.distances is not None:
            distances = self.distances(arrays["pad_index"].shape[1])
        seen: set[str] = set()
        for op in self.plan:
            match op:
                case Embed():
                    values[op.out] = self._embed(op, arrays, watch)
                case Normalize() | Linear():
                    site = op.site if isinstance(op, Linear) else None
                    if site is not None and site not in seen:
                        seen.add(site)
                        watch(site, values[op.source])
                    values[op.out] = self.get_submodule(op.name)(values[op.source])
                case Attend():
                    parts = [values[name] for name in op.source]
                    if len(parts) == 1:
                        values[op.out] = self.joint_attention(op, parts[0], arrays, watch)
                    else:
                        q, k, v = parts
                        turn = turns[op.theta] if op.theta is not None else None
                        tables = {t: self._table(op, t) for t in op.terms}
                        values[op.out] = attend(op, q, k, v, arrays, turn, tables, distances)
                case Act():
                    values[op.out] = ACTIVATE[op.kind](values[op.source])
                case Gate():
                    values[op.out] = values[op.source] * values[op.other]
                case Residual():
                    values[op.out] = values[op.source] + values[op.other]
                case State():
                    if trail is not None:
                        trail.append(values["x"])
        out: Tensor = self.head(values["x"], arrays)
        return out

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
        """As :meth:`forward`, from a numpy batch."""
        arrays = batch.arrays(self.config.window)
        out: Tensor = self({n: torch.from_numpy(arrays[n]) for n in self.inputs}, **extra)
        return out
