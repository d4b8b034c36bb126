"""Which arrays of a packed batch an encoder reads."""

from __future__ import annotations

from collections.abc import Iterable

from xopt.compile.head_spec import Head
from xopt.compile.heads import head_inputs
from xopt.compile.rotary import rotations
from xopt.encoders.plan import Attend, Op
from xopt.encoders.spec import EncoderSpec

__all__ = ["encoder_inputs"]

# The order in which a graph takes its inputs.
ORDER = (
    "input_ids", "position_ids", "token_type_ids", "pad_index", "attention_bias", "unpad_index",
    "window_queries", "window_keys", "window_slots", "window_bias", "cu_seqlens",
    "prompt_tokens",
)  # fmt: skip


def encoder_inputs(spec: EncoderSpec, ops: Iterable[Op], head: Head) -> list[str]:
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
