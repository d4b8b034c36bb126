"""The encoder in PyTorch over a packed batch: the one that is traced, observed and tested.

Post-LayerNorm Transformer encoder (Devlin et al., 2019) as BERT, RoBERTa, XLM-RoBERTa and CamemBERT
share it. Attention gathers ``[T, 3·hidden]`` once into ``[B, S, 3·hidden]`` and back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.compile.checkpoint import Checkpoint, EncoderConfig, Head
from xopt.compile.heads import head_inputs, make_head
from xopt.compile.weights import encoder_weights
from xopt.errors import CheckpointError
from xopt.packing import PackedBatch

__all__ = ["PackedEncoder", "Watch", "graph_inputs", "site_names"]

# The order in which a graph takes its inputs.
ORDER = (
    "input_ids", "position_ids", "token_type_ids", "pad_index", "attention_bias", "unpad_index",
    "cu_seqlens",
)  # fmt: skip

# Called at each quantization site with its name and value.
Watch = Callable[[str, Tensor], None]


def site_names(layers: int) -> list[str]:
    """Every quantization site, in the order the values are computed."""
    names = ["embeddings"]
    for layer in range(layers):
        for site in ("qkv_in", "q", "k", "v", "probs", "context", "ffn_in", "ffn_act"):
            names.append(f"layers.{layer}.{site}")
    return names


def graph_inputs(config: EncoderConfig, head: Head) -> list[str]:
    """The arrays of the packed batch that this encoder with this head reads."""
    reads = {"input_ids", "position_ids", *head_inputs(head)}
    if config.types > 1:
        reads.add("token_type_ids")
    if head.layer != 0:
        reads |= {"pad_index", "unpad_index", "attention_bias"}
    return [name for name in ORDER if name in reads]


def _ignore(name: str, value: Tensor) -> None:
    """The watch that watches nothing."""


class Embeddings(nn.Module):
    """Word + position + token type, then LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocabulary, config.hidden)
        self.position = nn.Embedding(config.positions, config.hidden)
        self.token_type = nn.Embedding(config.types, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.epsilon)

    def forward(self, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
        """``[T, hidden]``."""
        words = self.word(arrays["input_ids"])
        watch("embeddings", words)
        if self.token_type.num_embeddings > 1:
            words = words + self.token_type(arrays["token_type_ids"])
        else:
            words = words + self.token_type.weight[0]
        hidden: Tensor = self.norm(words + self.position(arrays["position_ids"]))
        return hidden


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a LayerNorm after it."""

    def __init__(self, config: EncoderConfig, number: int) -> None:
        super().__init__()
        self.heads, self.head_dim = config.heads, config.head_dim
        self.name = f"layers.{number}"
        hidden = config.hidden
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.epsilon)
        self.ffn_in = nn.Linear(hidden, config.intermediate)
        self.ffn_out = nn.Linear(config.intermediate, hidden)
        self.ffn_norm = nn.LayerNorm(hidden, eps=config.epsilon)

    def forward(self, x: Tensor, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
        """``[T, hidden]`` -> ``[T, hidden]``."""
        watch(f"{self.name}.qkv_in", x)
        context = self.attention(self.qkv(x), arrays, watch)
        watch(f"{self.name}.context", context)
        x = self.attention_norm(self.attention_output(context) + x)
        watch(f"{self.name}.ffn_in", x)
        act = F.gelu(self.ffn_in(x))
        watch(f"{self.name}.ffn_act", act)
        out: Tensor = self.ffn_norm(self.ffn_out(act) + x)
        return out

    def attention(self, qkv: Tensor, arrays: dict[str, Tensor], watch: Watch) -> Tensor:
        """``[T, 3·hidden]`` -> ``[T, hidden]``, every sentence by itself."""
        pad_index, unpad_index = arrays["pad_index"], arrays["unpad_index"]
        for name, part in zip("qkv", qkv.chunk(3, dim=-1), strict=True):
            watch(f"{self.name}.{name}", part)
        batch, longest = pad_index.shape
        padded = F.embedding(pad_index, qkv)  # [B, S, 3·hidden]; a Gather, not a GatherND
        split = padded.view(batch, longest, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = (part.squeeze(0) for part in torch.split(split, 1))  # [B, heads, S, head_dim]
        scores = (q * self.head_dim**-0.5) @ k.transpose(2, 3) + arrays["attention_bias"]
        probs = torch.softmax(scores, dim=-1)
        watch(f"{self.name}.probs", probs)
        context = (probs @ v).permute(0, 2, 1, 3).reshape(batch * longest, -1)
        return F.embedding(unpad_index, context)


class PackedEncoder(nn.Module):
    """A whole encoder with its head over the arrays of a :class:`~xopt.packing.PackedBatch`.

    One output: ``logits`` (``[B, labels]`` or ``[T, labels]``) or ``embeddings`` (``[B, hidden]``).
    """

    def __init__(self, config: EncoderConfig, head: Head) -> None:
        super().__init__()
        self.config, self.spec = config, head
        depth = config.layers if head.layer is None else head.layer
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(depth))
        self.inputs = graph_inputs(config, head)
        self.head = make_head(config, head)

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
        model.load_state_dict(packed_state(checkpoint, model), assign=True)
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
        x: Tensor = self.embeddings(arrays, watch)
        for layer in self.layers:
            if trail is not None:
                trail.append(x)
            x = layer(x, arrays, watch)
        if trail is not None:
            trail.append(x)
        out: Tensor = self.head(x, arrays)
        return out

    @torch.inference_mode()
    def run(self, batch: PackedBatch, **extra: Any) -> Tensor:
        """As :meth:`forward`, from a numpy batch."""
        arrays = batch.arrays()
        out: Tensor = self({n: torch.from_numpy(arrays[n]) for n in self.inputs}, **extra)
        return out


def packed_state(checkpoint: Checkpoint, model: PackedEncoder) -> dict[str, Tensor]:
    """The checkpoint's weights under the packed encoder's names: query, key and value joined.

    Raises:
        CheckpointError: a shape differs from what config.json says.
    """
    weights = encoder_weights(checkpoint)
    for number in range(len(model.layers)):
        for part in ("weight", "bias"):
            names = [f"layers.{number}.{n}.{part}" for n in ("query", "key", "value")]
            weights[f"layers.{number}.qkv.{part}"] = torch.cat([weights.pop(n) for n in names])
    wrong = [
        f"{name}: {list(weights[name].shape)} where config.json says {list(value.shape)}"
        for name, value in model.state_dict().items()
        if weights[name].shape != value.shape
    ]
    if wrong:
        raise CheckpointError(
            f"Weights of {checkpoint.folder} have another shape than its config.json says:\n  "
            + "\n  ".join(wrong)
        )
    return weights
