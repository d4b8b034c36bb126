"""Texts to :class:`~xopt.packing.Encoding`, with the fast tokenizer alone (no transformers)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from xopt.errors import ArtifactError, InputError
from xopt.packing import Encoding

__all__ = ["Tokenizer"]


@dataclass(frozen=True)
class Tokenizer:
    """A checkpoint's ``tokenizer.json`` without padding.

    Attributes:
        fast: the `tokenizers` object; its own padding and truncation are off.
        max_tokens: the longest sequence the encoder takes, special tokens included.
    """

    fast: FastTokenizer
    max_tokens: int

    @classmethod
    def open(cls, path: Path, max_tokens: int) -> Tokenizer:
        """Read ``tokenizer.json``.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:
            raise ArtifactError(f"{path} is no readable tokenizer.json: {error}.") from error
        fast.no_padding()
        fast.no_truncation()
        return cls(fast, max_tokens)

    def check_texts(self, texts: Sequence[str], *, truncate: bool = False) -> list[Encoding]:
        """Encode single texts that a person typed.

        Raises:
            InputError: a text is empty, or longer than the encoder takes and ``truncate`` is off.
        """
        if not texts:
            raise InputError("There is no text.", hint='Type: xopt run BUNDLE "some text"')
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise InputError(
                    f"Text {number} is empty.", hint="Give at least one visible character."
                )
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise InputError(
                    f"Text {number} is not valid UTF-8.", hint="Convert it to UTF-8 first."
                )
        if truncate:
            return self.encode(texts)
        encodings = self.encode(texts, max_tokens=None)
        for number, encoding in enumerate(encodings, 1):
            if len(encoding) > self.max_tokens:
                raise InputError(
                    f"Text {number} has {len(encoding):,} tokens; "
                    f"this encoder takes at most {self.max_tokens}.",
                    hint=f"Pass --truncate to keep the first {self.max_tokens}, or split the text.",
                )
        return encodings

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
            max_tokens: cut to this many tokens, from the longer text first; -1 for the encoder's
                own limit, None for no limit.
            details: also keep offsets, text numbers and word numbers.
        """
        limit = self.max_tokens if max_tokens == -1 else max_tokens
        items = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        return self._run(items, limit, details, pretokenized=False)

    def encode_words(
        self, sentences: Sequence[Sequence[str]], *, max_tokens: int | None = None
    ) -> list[Encoding]:
        """Encode sentences that are already split into words; ``words`` says which is which."""
        return self._run([list(s) for s in sentences], max_tokens, True, pretokenized=True)

    def _run(
        self, items: Sequence[object], limit: int | None, details: bool, *, pretokenized: bool
    ) -> list[Encoding]:
        if limit is None:
            self.fast.no_truncation()
        else:
            self.fast.enable_truncation(limit)
        encode = self.fast.encode_batch if details else self.fast.encode_batch_fast
        found = encode(items, is_pretokenized=pretokenized)
        return [_convert(e, details) for e in found]


def _convert(found: object, details: bool) -> Encoding:
    ids = np.array(found.ids, np.int32)  # type: ignore[attr-defined]
    types = np.array(found.type_ids, np.int32)  # type: ignore[attr-defined]
    if not details:
        return Encoding(ids, types)
    return Encoding(
        ids,
        types,
        offsets=np.array(found.offsets, np.int32).reshape(-1, 2),  # type: ignore[attr-defined]
        sequence=_numbers(found.sequence_ids),  # type: ignore[attr-defined]
        words=_numbers(found.word_ids),  # type: ignore[attr-defined]
    )


def _numbers(values: Sequence[int | None]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([-1 if v is None else v for v in values], np.int32)
