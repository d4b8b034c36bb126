"""Texts to :class:`~xopt.packing.Encoding`, with the fast tokenizer alone (no transformers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import normalizers

from xopt.composing import Composed
from xopt.composing import compose as compose_text
from xopt.errors import ArtifactError
from xopt.kept_pieces import KeptPieces
from xopt.packing import Encoding
from xopt.panics import panics_as_errors
from xopt.text_spec import TextSpec

__all__ = ["Tokenizer"]


@dataclass(frozen=True)
class Tokenizer:
    """A checkpoint's ``tokenizer.json`` without padding.

    Attributes:
        fast: the `tokenizers` object; its own padding and truncation are off.
        spec: what is done to a text before its own normalizer.
        pieces: those that the encoder has rows for, if not for all.
    """

    fast: FastTokenizer
    spec: TextSpec
    pieces: KeptPieces | None = field(default=None, kw_only=True)

    @property
    def max_tokens(self) -> int:
        """The longest text or pair the encoder takes, special tokens included."""
        return self.spec.max_tokens

    @property
    def whole(self) -> Tokenizer:
        """The tokenizer whose ``fast`` has every piece under its own number: this one."""
        return self

    @classmethod
    def open(cls, path: Path, spec: TextSpec | int) -> Tokenizer:
        """Read ``tokenizer.json``.

        Args:
            path: the file, or the folder it lies in.
            spec: how texts are read; a number is the longest text and nothing else.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        if path.is_dir():
            path = path / "tokenizer.json"
        if isinstance(spec, int):
            spec = TextSpec(spec)
        pieces = KeptPieces.read(path.parent) if spec.trimmed else None
        try:
            with panics_as_errors():
                return cls.build(path.read_text(encoding="utf-8"), spec, pieces)
        except Exception as error:
            raise ArtifactError(f"{path} is no readable tokenizer.json: {error}.") from error

    @classmethod
    def build(cls, text: str, spec: TextSpec, pieces: KeptPieces | None = None) -> Tokenizer:
        """From the text of a ``tokenizer.json``."""
        fast = FastTokenizer.from_str(text)
        fast.no_padding()
        fast.no_truncation()
        if spec.lower:
            own = [] if fast.normalizer is None else [fast.normalizer]
            fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        return Tokenizer(fast, spec, pieces=pieces)

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_tokens: int | None = -1,
        details: bool = False,
    ) -> list[Encoding]:
        """Encode texts, or text pairs, with the checkpoint's special tokens.

        Args:
            texts: first (or only) texts.
            pairs: second texts, one for each first.
            max_tokens: cut to this many tokens, from the longer text first and on the side that the
                checkpoint says; -1 for the encoder's own limit, None for no limit.
            details: also keep offsets, text numbers and word numbers. Offsets count the characters
                of the text as it was given.
        """
        limit = self.max_tokens if max_tokens == -1 else max_tokens
        if pairs is None:
            rows = [[text] for text in texts]
        else:
            rows = [[text, pair] for text, pair in zip(texts, pairs, strict=True)]
        items = [self.compose(row) for row in rows]
        given = [tuple(row) if pairs is not None else row[0] for row, _ in items]

        def read(chosen: Sequence[int], limit: int | None) -> list[Encoding]:
            found = self._run([given[i] for i in chosen], limit, details, pretokenized=False)
            made = [items[i][1] for i in chosen]
            return [_convert(e, details, m) for e, m in zip(found, made, strict=True)]

        return self._kept(len(given), limit, read)

    def count_prompt(self, encodings: list[Encoding], prompt: str) -> list[Encoding]:
        """The same encodings; each knows its prompt's tokens if they are left out of the pooling.

        Args:
            encodings: of texts that begin with ``prompt``.
            prompt: may be empty.
        """
        if not prompt or not self.spec.special_ids:
            return encodings
        [alone] = self.encode([prompt])
        count = self.spec.prompt_tokens(alone.ids.tolist())
        return [replace(encoding, prompt_tokens=count) for encoding in encodings]

    def encode_behind(
        self,
        prompt: str,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_tokens: int | None = -1,
    ) -> list[Encoding]:
        """As :meth:`encode`, behind a prompt that is pooled as the checkpoint pools one.

        Args:
            prompt: put before every text, of a pair before its first; may be empty.
            texts, pairs, max_tokens: as for :meth:`encode`.
        """
        encoded = self.encode([prompt + text for text in texts], pairs, max_tokens=max_tokens)
        return self.count_prompt(encoded, prompt)

    def encode_words(
        self, sentences: Sequence[Sequence[str]], *, max_tokens: int | None = None
    ) -> list[Encoding]:
        """Encode sentences that are already split into words; ``words`` says which is which.

        Offsets count the characters of the token's own word.
        """
        items = [self.compose(words) for words in sentences]

        def read(chosen: Sequence[int], limit: int | None) -> list[Encoding]:
            found = self._run([items[i][0] for i in chosen], limit, True, pretokenized=True)
            made = [items[i][1] for i in chosen]
            return [_convert(e, True, m, by_word=True) for e, m in zip(found, made, strict=True)]

        return self._kept(len(items), max_tokens, read)

    def compose(self, texts: Sequence[str]) -> tuple[list[str], list[Composed | None]]:
        """Texts as the tokenizer sees them, and those that differ from what was given."""
        if self.spec.normalize == "none":
            return list(texts), []
        made = [compose_text(text) for text in texts]
        ready = [text if m is None else m.text for text, m in zip(texts, made, strict=True)]
        return ready, made

    def _kept(
        self,
        count: int,
        limit: int | None,
        read: Callable[[Sequence[int], int | None], list[Encoding]],
    ) -> list[Encoding]:
        """Encodings in the pieces that the encoder has rows for.

        One that pieces in place of others made too long is cut by as much more, where the
        tokenizer cuts.
        """
        found = read(range(count), limit)
        if self.pieces is None:
            return found
        found = [self.pieces.apply(encoding) for encoding in found]
        # With fewer than its special tokens the tokenizer would not cut at all.
        least = self.fast.num_special_tokens_to_add(is_pair=True)
        if limit is None or limit <= least:
            return found
        for i in range(count):
            room = limit
            while len(found[i]) > limit and room > least:
                room = max(room - (len(found[i]) - limit), least)
                found[i] = self.pieces.apply(read([i], room)[0])
        return found

    def _run(
        self, items: Sequence[object], limit: int | None, details: bool, *, pretokenized: bool
    ) -> list[Any]:
        if limit is None:
            self.fast.no_truncation()
        else:
            self.fast.enable_truncation(limit, direction=self.spec.truncation_side)
        encode = self.fast.encode_batch if details else self.fast.encode_batch_fast
        try:
            with panics_as_errors():
                found: list[Any] = encode(items, is_pretokenized=pretokenized)
        except TypeError:
            # Of what was given, not of the file.
            raise
        except Exception as error:
            raise ArtifactError(
                f"tokenizer.json is damaged, or made for another version of tokenizers: {error}.",
                hint="Copy the checkpoint's tokenizer.json again, and build: xopt build CHECKPOINT",
            ) from error
        return found


def _convert(
    found: Any, details: bool, made: Sequence[Composed | None], *, by_word: bool = False
) -> Encoding:
    ids = np.array(found.ids, np.int32)
    types = np.array(found.type_ids, np.int32)
    if not details:
        return Encoding(ids, types)
    offsets = np.array(found.offsets, np.int32).reshape(-1, 2)
    sequence = _numbers(found.sequence_ids)
    words = _numbers(found.word_ids)
    owner = words if by_word else sequence
    for number, composed in enumerate(made):
        if composed is not None:
            chosen = owner == number
            offsets[chosen] = composed.given(offsets[chosen])
    return Encoding(ids, types, offsets=offsets, sequence=sequence, words=words)


def _numbers(values: Sequence[int | None]) -> NDArray[np.int32]:
    return np.array([-1 if v is None else v for v in values], np.int32)
