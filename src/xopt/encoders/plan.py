"""The operations of an encoder, in order: what every interpreter follows.

Values have names; an operation reads ``source`` and writes ``out``. The states between the layers
are ``x``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xopt.encoders.spec import SITES, Activation, Block, EncoderSpec, Norm, Rotary

__all__ = [
    "Act", "Attend", "Embed", "Gate", "Linear", "Normalize", "Op", "Residual", "State", "is_joint",
    "last_reads", "needs", "plan", "site_names",
]  # fmt: skip


@dataclass(frozen=True)
class Embed:
    """Word, position and token type embeddings, summed: ``[T, word_width]``.

    Attributes:
        rows: table name -> its rows.
        width: of every table.
    """

    rows: tuple[tuple[str, int], ...]
    width: int
    out: str = "x"


@dataclass(frozen=True)
class Normalize:
    """A norm over the last axis of ``[T, width]``, or of ``[T, heads, width]``."""

    name: str
    norm: Norm
    width: int
    source: str = "x"
    out: str = "x"
    heads: int = 1


@dataclass(frozen=True)
class Linear:
    """``[T, inputs]`` -> ``[T, outputs]``.

    Attributes:
        name: such as ``layers.0.ffn_in``.
        site: what it reads, where that may be quantized; layers of one site read the same value.
        bias: whether the checkpoint has one.
    """

    name: str
    site: str | None
    inputs: int
    outputs: int
    bias: bool
    source: str
    out: str


@dataclass(frozen=True)
class Attend:
    """Softmax attention of every sentence by itself: ``[T, hidden]``.

    Attributes:
        layer: such as ``layers.0``.
        source: the joint projection, or those of queries, keys and values.
        heads: of the queries.
        kv_heads: of keys and values.
        head_dim: of one head.
        rotary: positions; None for none. A key may be quantized without its mean only where there
            are none.
        turns_values: whether the values are rotated as well.
        window: how far a token sees to each side; None for the whole sentence.
        scale: of the scores.
        terms: of :class:`~xopt.encoders.spec.Relative`, in their order; empty for none.
    """

    layer: str
    source: tuple[str, ...]
    heads: int
    kv_heads: int
    head_dim: int
    rotary: Rotary | None
    turns_values: bool
    window: int | None
    out: str
    scale: float
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Act:
    """An activation."""

    kind: Activation
    source: str
    out: str


@dataclass(frozen=True)
class Gate:
    """``source · other``."""

    source: str
    other: str
    out: str


@dataclass(frozen=True)
class Residual:
    """``source + other``."""

    source: str
    other: str = "x"
    out: str = "x"


@dataclass(frozen=True)
class State:
    """``x`` is now this hidden state: 0 behind the embeddings, N behind layer N - 1."""

    number: int


Op = Embed | Normalize | Linear | Attend | Act | Gate | Residual | State


def plan(spec: EncoderSpec, depth: int | None = None) -> tuple[Op, ...]:
    """The operations of the first ``depth`` layers; of all, with the final norm, by default."""
    return tuple(_operations(spec, spec.layers if depth is None else depth))


def _operations(spec: EncoderSpec, depth: int) -> Iterator[Op]:
    tables = {"word": spec.vocabulary, "position": spec.table, "token_type": spec.types}
    rows = tuple((name, count) for name, count in tables.items() if count)
    yield Embed(rows, spec.word_width)
    if spec.embedding_norm is not None:
        yield Normalize("embeddings.norm", spec.embedding_norm, spec.word_width)
    if spec.word_width != spec.hidden:
        yield Linear("embeddings.project", None, spec.word_width, spec.hidden, True, "x", "x")
    for number, block in enumerate(spec.blocks[:depth]):
        yield State(number)
        layer = f"layers.{number}"
        yield from _part(spec, block, block.attention_norm, f"{layer}.attention_norm",
                         list(_attention(spec, block, layer)))  # fmt: skip
        yield from _part(spec, block, block.ffn_norm, f"{layer}.ffn_norm",
                         list(_feed_forward(spec, block, layer)))  # fmt: skip
    if spec.final_norm is not None and depth == spec.layers:
        yield Normalize("final_norm", spec.final_norm, spec.hidden)
    yield State(depth)


def _part(
    spec: EncoderSpec, block: Block, norm: Norm | None, name: str, inner: list[Op]
) -> Iterator[Op]:
    """``inner`` reads ``h`` and writes ``y``, with its norm and its residual around it."""
    before = block.order != "post" and norm is not None
    if before and norm is not None:
        yield Normalize(name, norm, spec.hidden, "x", "h")
    yield from inner if before else _reading_states(inner)
    if block.order == "both" and norm is not None:
        yield Normalize(f"{name}_behind", norm, spec.hidden, "y", "y")
    yield Residual("y")
    if block.order == "post" and norm is not None:
        yield Normalize(name, norm, spec.hidden)


def _reading_states(inner: list[Op]) -> Iterator[Op]:
    """The same operations, of the states themselves."""
    for op in inner:
        if isinstance(op, Linear) and op.source == "h":
            yield Linear(op.name, op.site, op.inputs, op.outputs, op.bias, "x", op.out)
        else:
            yield op


def _attention(spec: EncoderSpec, block: Block, layer: str) -> Iterator[Op]:
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    site = f"{layer}.{SITES['qkv']}"
    if is_joint(spec, block):
        yield Linear(f"{layer}.qkv", site, spec.hidden, queries + 2 * keys, True, "h", "qkv")
        source: tuple[str, ...] = ("qkv",)
    else:
        for part, width in (("q", queries), ("k", keys), ("v", keys)):
            name = f"{layer}.{part}"
            yield Linear(name, site, spec.hidden, width, part in block.biases, "h", part)
        source = ("q", "k", "v")
        if block.head_norm is not None:
            for part, count in (("q", spec.heads), ("k", spec.kv_heads)):
                name = f"{layer}.{part}_norm"
                yield Normalize(name, block.head_norm, spec.head_dim, part, part, count)
    heads = (spec.heads, spec.kv_heads, spec.head_dim)
    terms = () if spec.relative is None else tuple(sorted(spec.relative.terms))
    yield Attend(
        layer, source, *heads, block.rotary, block.turns_values, block.window, "context",
        spec.score_scale, terms,
    )  # fmt: skip
    name = "attention_output"
    site, bias = f"{layer}.{SITES[name]}", name in block.biases
    yield Linear(f"{layer}.{name}", site, queries, spec.hidden, bias, "context", "y")


def is_joint(spec: EncoderSpec, block: Block) -> bool:
    """Whether queries, keys and values are one projection: nothing happens to one of them alone."""
    plain = block.rotary is None and block.window is None and spec.kv_heads == spec.heads
    plain = plain and spec.score_parts == 1 and block.head_norm is None
    return plain and {"q", "k", "v"} <= block.biases


def _feed_forward(spec: EncoderSpec, block: Block, layer: str) -> Iterator[Op]:
    inner = spec.intermediate
    for part in ("ffn_in", "ffn_gate") if block.gated else ("ffn_in",):
        bias = part in block.biases
        site = f"{layer}.{SITES[part]}"
        yield Linear(f"{layer}.{part}", site, spec.hidden, inner, bias, "h", part)
    yield Act(block.activation, "ffn_in", "act")
    if block.gated:
        yield Gate("act", "ffn_gate", "act")
    site, bias = f"{layer}.{SITES['ffn_out']}", "ffn_out" in block.biases
    yield Linear(f"{layer}.ffn_out", site, inner, spec.hidden, bias, "act", "y")


def site_names(ops: tuple[Op, ...]) -> list[str]:
    """Every quantization site, in the order the values are computed."""
    names = ["embeddings"]
    for op in ops:
        if isinstance(op, Linear) and op.site is not None and op.site not in names:
            names.append(op.site)
        elif isinstance(op, Attend) and len(op.source) == 1:
            names += [f"{op.layer}.{part}" for part in ("q", "k", "v", "probs")]
    return names


def last_reads(ops: tuple[Op, ...]) -> list[tuple[str, ...]]:
    """For each operation, the values that it reads and that no later one does."""
    found: list[tuple[str, ...]] = []
    live = {"x"}
    for op in reversed(ops):
        reads, writes = _values(op)
        found.append(tuple(sorted(reads - live - writes)))
        live = live - writes | reads
    return found[::-1]


def _values(op: Op) -> tuple[set[str], set[str]]:
    """The names that an operation reads, and that it writes."""
    match op:
        case Embed():
            return set(), {op.out}
        case Attend():
            return set(op.source), {op.out}
        case Gate() | Residual():
            return {op.source, op.other}, {op.out}
        case State():
            return {"x"}, set()
        case _:
            return {op.source}, {op.out}


def needs(spec: EncoderSpec) -> tuple[str, ...]:
    """What an interpreter must know beyond the block of BERT, in words."""
    found: dict[str, None] = {}
    for block in spec.blocks:
        norms = [n for n in (block.attention_norm, block.ffn_norm, spec.final_norm) if n]
        asked = {
            "norms before each part": block.order != "post",
            "norms behind each part, inside of its residual": block.order == "both",
            "norms of queries and keys": block.head_norm is not None,
            "RMSNorm": any(norm.kind == "rms" for norm in norms),
            "LayerNorm without a bias": any(n.kind == "layer" and not n.bias for n in norms),
            "rotary positions": block.rotary is not None,
            "rotated values": block.turns_values,
            "windowed attention": block.window is not None,
            "grouped key and value heads": spec.kv_heads != spec.heads,
            "a gated feed-forward part": block.gated,
            f"the activation {block.activation}": block.activation != "gelu",
        }
        found |= dict.fromkeys(name for name, wanted in asked.items() if wanted)
    if spec.heads * spec.head_dim != spec.hidden:
        found["heads that are wider or narrower than their share of the states"] = None
    if spec.word_width != spec.hidden:
        found["projected embeddings"] = None
    if spec.relative is not None:
        found["disentangled positions"] = None
    elif spec.score_parts > 1 or spec.divided != spec.head_dim:
        found["a divisor of the scores that is not the root of a head's width"] = None
    if spec.embedding_norm is None:
        found["embeddings without a norm"] = None
    return tuple(found)
