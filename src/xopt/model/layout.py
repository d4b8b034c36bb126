"""Special tokens of a checkpoint, and encodings laid out where XTREME's layout is its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import Unigram

from xopt.errors import InputError
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["Frame", "read_sentences", "read_words", "told"]

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Frame:
    """What a tokenizer puts around one text or two.

    Attributes:
        before: tokens before the first text.
        between: tokens between two texts; XLM-R has two separators there, BERT one.
        after: tokens after the last text.
        types: token types of a pair: before the first text, of it, between the two, of the second,
            after it.
        unknown: id of the unknown token; None where the tokenizer has none, as byte-level ones.
    """

    before: Ids
    between: Ids
    after: Ids
    types: tuple[Ids, ...]
    unknown: int | None

    @classmethod
    def read(cls, tokenizer: Tokenizer) -> Frame:
        """From how the tokenizer encodes a pair.

        Raises:
            InputError: it does not put the second text behind the first.
        """
        tokenizer = tokenizer.whole
        text = _readable(tokenizer.fast)
        [pair] = tokenizer.encode([text], [text], max_tokens=None, details=True)
        assert pair.sequence is not None
        first = np.flatnonzero(pair.sequence == 0)
        second = np.flatnonzero(pair.sequence == 1)
        if not (len(first) and len(second) and first[-1] < second[0]):
            raise InputError(
                "This tokenizer does not put the second text of a pair behind the first one.",
                hint="A context cannot be read in windows; correct the post_processor in "
                "tokenizer.json.",
            )
        cuts = [first[0], first[-1] + 1, second[0], second[-1] + 1]
        before, _, between, _, after = np.split(pair.ids, cuts)
        types = tuple(np.split(pair.type_ids, cuts))
        return cls(before, between, after, types, _unknown(tokenizer.fast))

    def words(
        self,
        pieces: Sequence[Ids],
        limit: int,
        *,
        extra_separator: bool,
        name: str = "The sentence",
        numbers: Sequence[int] | None = None,
    ) -> list[Encoding]:
        """A sentence of words in as few parts as fit, cut between words only.

        Args:
            pieces: of each word; one without any, or with more than fit, becomes the unknown token.
            limit: tokens of a part, special ones included.
            extra_separator: end a part as a first text of a pair ends: XTREME's taggers were tuned
                on ``</s></s>``.
            name: what a message calls the sentence.
            numbers: of the words within it, from 0; all of them, in order, if None.

        Returns:
            The parts. ``words`` is 1 at the first piece of each word, else 0.

        Raises:
            InputError: ``limit`` has no room for a word; or a word needs the unknown token and
                there is none.
        """
        tail = self.between if extra_separator else self.after
        room = limit - len(self.before) - len(tail)
        if room < 1:
            raise InputError(
                f"{limit} tokens have no room for a word beside {limit - room} special ones.",
                hint=f"Possible: --convention max_tokens={limit - room + 1} and above.",
            )
        parts: list[list[Ids]] = [[]]
        used = 0
        for number, word in zip(numbers or range(len(pieces)), pieces, strict=True):
            called = f"{name}, word {number + 1},"
            kept = word if 0 < len(word) <= room else self._stand_in(called, len(word), room)
            if used + len(kept) > room:
                parts.append([])
                used = 0
            parts[-1].append(kept)
            used += len(kept)
        return [self._part(part, tail) for part in parts]

    def _stand_in(self, word: str, size: int, room: int) -> Ids:
        """The unknown token, in the place of a word that cannot be read."""
        if self.unknown is None:
            raise InputError(
                f"{word} has {size:,} tokens; it needs 1 to {room}, and this tokenizer has no "
                "unknown token to stand for it.",
                hint="Leave the word out, or split it.",
            )
        return np.array([self.unknown], np.int32)

    def _part(self, words: Sequence[Ids], tail: Ids) -> Encoding:
        ids = np.concatenate([self.before, *words, tail]).astype(np.int32)
        first = np.zeros(len(ids), np.int32)
        sizes = [len(word) for word in words]
        first[len(self.before) + np.cumsum([0, *sizes[:-1]])] = 1
        return Encoding(ids, np.zeros_like(ids), words=first)

    def windows(
        self, question: Ids, context: Encoding, *, window: int, stride: int
    ) -> list[Encoding]:
        """A question with each window of a context.

        Windows begin every ``stride`` tokens, or sooner where some would stand in none. A token
        answers in the window where it has the most context on its poorer side, as in BERT's own
        SQuAD code.

        Args:
            question: its tokens.
            context: the passage, without special tokens.
            window: tokens of a window; more than those of the question and the special ones.
            stride: as above.

        Returns:
            The windows. ``sequence`` is 1 on context tokens, ``words`` is 1 where an answer may
            begin, ``offsets`` are characters of the context.
        """
        assert context.offsets is not None
        front = np.concatenate([self.before, question, self.between])
        room = window - len(front) - len(self.after)
        stride = min(stride, room)
        total = len(context)
        starts = np.arange(0, max(1, total - room + stride), stride)
        spans = [(int(s), min(int(s) + room, total)) for s in starts]
        richest = _richest(spans, total)
        found = []
        for number, (start, stop) in enumerate(spans):
            size = stop - start
            ids = np.concatenate([front, context.ids[start:stop], self.after]).astype(np.int32)
            inside = slice(len(front), len(front) + size)
            types = self._types(len(question), size)
            offsets = np.zeros((len(ids), 2), np.int32)
            offsets[inside] = context.offsets[start:stop]
            sequence, begins = np.zeros_like(ids), np.zeros_like(ids)
            sequence[inside] = 1
            begins[inside] = richest[start:stop] == number
            found.append(Encoding(ids, types, offsets, sequence, begins))
        return found

    def _types(self, question: int, context: int) -> Ids:
        """Token types of a window of so many tokens of either text."""
        before, first, between, second, after = self.types
        return np.concatenate(
            [before, np.repeat(first[:1], question), between, np.repeat(second[:1], context), after]
        )


def _readable(fast: FastTokenizer) -> str:
    """A text that has a token: most have a letter; one may know the letters of its script alone."""

    def reads(text: str) -> bool:
        return len(fast.encode(text, add_special_tokens=False)) > 0

    if reads("a"):
        return "a"
    words = ("".join(filter(str.isalpha, piece)) for piece in fast.get_vocab(False))
    return next((word for word in words if word and reads(word)), "a")


def _unknown(fast: FastTokenizer) -> int | None:
    """The id of the unknown token, by the name that the model or custom gives it."""
    for name in (getattr(fast.model, "unk_token", None), "<unk>", "[UNK]"):
        number = None if name is None else fast.token_to_id(name)
        if number is not None:
            return int(number)
    if not isinstance(fast.model, Unigram):
        return None
    # Unigram counts it, and tells its number to nobody but a file.
    found = json.loads(fast.to_str())["model"]["unk_id"]
    return None if found is None else int(found)


def _richest(spans: Sequence[tuple[int, int]], total: int) -> NDArray[np.intp]:
    """``[total]``: for each token the window with the most context; the first of equals."""
    places = np.arange(total)
    context = np.full((len(spans), total), -np.inf)
    for row, (start, stop) in zip(context, spans, strict=True):
        inside = places[start:stop]
        row[start:stop] = np.minimum(inside - start, stop - 1 - inside) + 0.01 * (stop - start)
    richest: NDArray[np.intp] = context.argmax(axis=0)
    return richest


def read_words(
    tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], limit: int, *, extra_separator: bool
) -> list[list[Encoding]]:
    """Each sentence in as many parts as it needs; see :meth:`Frame.words`."""
    frame = Frame.read(tokenizer)
    found = zip(tokenizer.encode_words(sentences), sentences, strict=True)
    return [
        told(
            frame.words(
                _pieces(encoding, len(words)),
                limit,
                extra_separator=extra_separator,
                name=f"Sentence {number}",
            ),
            encoding.replaced,
        )
        for number, (encoding, words) in enumerate(found, 1)
    ]


def read_sentences(
    tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], names: Sequence[str]
) -> list[list[Encoding]]:
    """Each sentence as transformers reads words: one without a token changes no other's answer.

    Such a word stands alone, as the unknown token, in a part behind the others. Of a word with more
    tokens than a part has room for, the first are read.

    Args:
        tokenizer: of the checkpoint.
        sentences: each in words.
        names: what a message calls each.

    Returns:
        The parts of each. ``words`` counts the words from 1 at the first piece of each, else 0.

    Raises:
        InputError: as :meth:`Frame.words`.
    """
    frame, limit = Frame.read(tokenizer), tokenizer.max_tokens
    room = limit - len(frame.before) - len(frame.after)
    found = []
    for encoding, words, name in zip(
        tokenizer.encode_words(sentences), sentences, names, strict=True
    ):
        pieces = [piece[: max(room, 0)] for piece in _pieces(encoding, len(words))]
        read = [number for number, piece in enumerate(pieces) if len(piece)]
        alone = [number for number, piece in enumerate(pieces) if not len(piece)]
        groups = [read] if read else []
        parts = []
        for group in [*groups, *([number] for number in alone)]:
            chosen = [pieces[number] for number in group]
            made = frame.words(chosen, limit, extra_separator=False, name=name, numbers=group)
            parts += made
        counts = iter(np.array([*read, *alone], np.int32) + 1)
        for part in parts:
            assert part.words is not None
            for place in np.flatnonzero(part.words):
                part.words[place] = next(counts)
        found.append(told(parts, encoding.replaced))
    return found


def told(parts: list[Encoding], replaced: int) -> list[Encoding]:
    """The parts of an item, of which the first says how many of its tokens were replaced."""
    return [replace(parts[0], replaced=replaced), *parts[1:]] if replaced else parts


def _pieces(encoding: Encoding, words: int) -> list[NDArray[np.int32]]:
    """The pieces of each word; none for a word that the tokenizer drops."""
    assert encoding.words is not None
    inside = encoding.words >= 0
    ids, owners = encoding.ids[inside], encoding.words[inside]
    return np.split(ids, np.searchsorted(owners, np.arange(1, words)))
