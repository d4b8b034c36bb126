"""The packed batch: sentences end to end, no padding, and the order in which they are run.

Layout after ByteTransformer (Zhai et al., 2023): every token-wise operation runs on
``[T, hidden]``; only attention leaves the packed form, through ``pad_index`` and ``unpad_index``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.windows import Windows, cut_windows

__all__ = ["MASKED", "Encoding", "PackedBatch", "pack", "plan_batches"]

# Added to the attention scores of padding slots. Finite in fp16, and exp() of it is exactly 0.
MASKED = -10000.0

# What every engine may ask of a batch.
ARRAYS = ("input_ids", "position_ids", "token_type_ids", "cu_seqlens", "pad_index", "unpad_index",
          "attention_bias", "prompt_tokens")  # fmt: skip

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Encoding:
    """One tokenized sentence or pair.

    Attributes:
        ids: ``[n]`` int32, special tokens included.
        type_ids: ``[n]`` int32, 0 for the first text and 1 for the second.
        offsets: ``[n, 2]`` int32, the characters of its own text that each token covers, if asked
            for.
        sequence: ``[n]`` int32, which text a token comes from (0, 1, or -1 for special tokens), if
            asked for.
        words: ``[n]`` int32, index of the token's word (-1 for special tokens), if asked for.
        prompt_tokens: how many tokens at its begin are of a prompt; read where the prompt is left
            out of the pooling.
        replaced: tokens without a row (:mod:`xopt.kept_pieces`), read as others.
    """

    ids: IntArray
    type_ids: IntArray
    offsets: IntArray | None = None
    sequence: IntArray | None = None
    words: IntArray | None = None
    prompt_tokens: int = 0
    replaced: int = 0

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class PackedBatch:
    """B sentences with T tokens in all, padded to S slots each where attention needs it.

    Attributes:
        input_ids: ``[T]`` int32.
        position_ids: ``[T]`` int32, counted as the checkpoint counts them.
        token_type_ids: ``[T]`` int32.
        cu_seqlens: ``[B + 1]`` int32, where each sentence starts; the last entry is T.
        prompt_tokens: ``[B]`` int32, tokens of each sentence's prompt.
        width: S, where it is told; 0 for that of the longest sentence.
    """

    input_ids: IntArray
    position_ids: IntArray
    token_type_ids: IntArray
    cu_seqlens: IntArray
    prompt_tokens: IntArray = field(default_factory=lambda: np.zeros(0, np.int32))
    width: int = 0

    def __post_init__(self) -> None:
        """Sentences whose prompt is not told have none."""
        if not len(self.prompt_tokens):
            object.__setattr__(self, "prompt_tokens", np.zeros(self.sentences, np.int32))

    @cached_property
    def lengths(self) -> IntArray:
        """``[B]`` int32, tokens of each sentence."""
        return self.cu_seqlens[1:] - self.cu_seqlens[:-1]

    @property
    def sentences(self) -> int:
        """B."""
        return len(self.cu_seqlens) - 1

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest sentence."""
        return int(self.lengths.max())

    @property
    def slots(self) -> int:
        """S."""
        return self.width or self.longest

    @property
    def is_dense(self) -> bool:
        """Whether every sentence has S tokens, so that nothing would be padded."""
        return self.tokens == self.sentences * self.slots

    @cached_property
    def unpad_index(self) -> IntArray:
        """``[T]`` int32: token -> slot, into B·S."""
        slots = np.repeat(np.arange(self.sentences, dtype=np.int32) * self.slots, self.lengths)
        return slots + self._within()

    @cached_property
    def pad_index(self) -> IntArray:
        """``[B, S]`` int32: slot -> token; padding slots point at 0."""
        index = np.zeros(self.sentences * self.slots, np.int32)
        index[self.unpad_index] = np.arange(self.tokens, dtype=np.int32)
        return index.reshape(self.sentences, self.slots)

    @cached_property
    def attention_bias(self) -> NDArray[np.float32]:
        """``[B, 1, 1, S]`` float32: 0, or :data:`MASKED` on padding."""
        slots = np.arange(self.slots, dtype=np.int32)
        padded = slots[None, :] >= self.lengths[:, None]
        return np.where(padded, np.float32(MASKED), np.float32(0.0))[:, None, None, :]

    def windows(self, window: int) -> Windows:
        """Its blocks for layers in which a token sees ``window`` tokens to each side."""
        return cut_windows(self.cu_seqlens[:-1], self.lengths, window, MASKED, self.width)

    def arrays(
        self, window: int | None = None, names: Collection[str] | None = None
    ) -> dict[str, NDArray[np.generic]]:
        """The arrays an engine may ask for, by their names in the graph.

        Args:
            window: of the layers that see a part of the text only; adds ``window_queries``,
                ``window_keys``, ``window_slots`` and ``window_bias``.
            names: those that are wanted, and computed; all by default.
        """
        own = ARRAYS if names is None else [name for name in ARRAYS if name in names]
        found = {name: getattr(self, name) for name in own}
        if window is not None and (names is None or len(own) < len(names)):
            local = self.windows(window).arrays()
            found |= {n: array for n, array in local.items() if names is None or n in names}
        return found

    def padded(self, width: int) -> PackedBatch:
        """The same sentences in ``width`` slots each, which the longest fits into."""
        return replace(self, width=width)

    def token_index(self, sentences: NDArray[np.intp]) -> NDArray[np.intp]:
        """``[t]``: the tokens of ``sentences``, in that order."""
        lengths = self.lengths[sentences].astype(np.intp)
        starts = self.cu_seqlens[:-1][sentences].astype(np.intp)
        ends = np.cumsum(lengths)
        index: NDArray[np.intp] = np.repeat(starts - (ends - lengths), lengths)
        return index + np.arange(int(ends[-1]))

    def select(self, sentences: NDArray[np.intp]) -> PackedBatch:
        """The batch of these sentences alone, in this order."""
        index = self.token_index(sentences)
        lengths = self.lengths[sentences]
        return PackedBatch(
            self.input_ids[index],
            self.position_ids[index],
            self.token_type_ids[index],
            np.concatenate(([0], np.cumsum(lengths))).astype(np.int32),
            self.prompt_tokens[sentences],
            self.width,
        )

    def _within(self) -> IntArray:
        starts = np.repeat(self.cu_seqlens[:-1], self.lengths)
        return np.arange(self.tokens, dtype=np.int32) - starts


def pack(encodings: Sequence[Encoding], *, first_position: int) -> PackedBatch:
    """Lay ``encodings`` end to end.

    Args:
        encodings: at least one; each of at least one token.
        first_position: what the first token's position id is: 0 for BERT, ``padding_idx + 1`` for
            RoBERTa, XLM-RoBERTa and CamemBERT, where padding tokens in a text are not counted.

    Raises:
        InputError: no sentence, or one without a token.
    """
    if not encodings:
        raise InputError("There is nothing to pack: the batch has no sentence.")
    # Few calls of numpy: behind an answer each is cold, and a lone sentence waits for all of them.
    lengths = [len(e) for e in encodings]
    if not all(lengths):
        raise InputError(f"Sentence {lengths.index(0)} of the batch has no token.")
    cu_seqlens = np.array([0, *accumulate(lengths)], np.int32)
    ids = np.concatenate([e.ids for e in encodings], dtype=np.int32)
    return PackedBatch(
        ids,
        _positions(ids, cu_seqlens, first_position),
        np.concatenate([e.type_ids for e in encodings], dtype=np.int32),
        cu_seqlens,
        np.array([e.prompt_tokens for e in encodings], np.int32),
    )


def _positions(ids: IntArray, cu_seqlens: IntArray, first: int) -> IntArray:
    """``[T]`` int32: as ``create_position_ids_from_input_ids`` of transformers' RoBERTa counts.

    Where positions begin behind the padding token's id, a padding token has that id as its position
    and is not counted, also one that the text itself names.
    """
    lengths = cu_seqlens[1:] - cu_seqlens[:-1]
    counted = ids != first - 1
    if first == 0 or counted.all():
        places = np.arange(first, first + len(ids), dtype=np.int32)
        return places if len(lengths) == 1 else places - np.repeat(cu_seqlens[:-1], lengths)
    through = np.concatenate(([0], np.cumsum(counted))).astype(np.int32)
    within = through[1:] - np.repeat(through[cu_seqlens[:-1]], lengths)
    positions: IntArray = np.where(counted, within + np.int32(first - 1), np.int32(first - 1))
    return positions


def plan_batches(lengths: Sequence[int], max_tokens: int) -> list[NDArray[np.intp]]:
    """Indices of each batch: sentences sorted by length, at most ``max_tokens`` slots a batch.

    A slot is a token or padding: a batch costs ``sentences · longest``, so a batch of like lengths
    wastes nothing. A sentence longer than the budget runs alone. Longest first, so that a batch
    that does not fit into memory fails at once and not at the end.
    """
    order = np.argsort(-np.asarray(lengths, np.int64), kind="stable")
    batches: list[NDArray[np.intp]] = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, max_tokens // longest)
        batches.append(order[start : start + size])
        start += size
    return batches
