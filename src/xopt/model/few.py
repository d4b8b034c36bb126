"""A tokenizer that knows no more pieces than a few texts need.

A Unigram tokenizer (Kudo, 2018) of 250,000 pieces takes 0.6 s and 280 MiB to build, most of it for
a tree of characters. It cuts a text into pieces that stand in it, so that those alone give the same
cut of the same text, if the lowest score of all is kept too, from which that of the unknown piece
follows. What stands in a text is seen after its normalization, which is the checkpoint's own here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.kept_pieces import KeptPieces
from xopt.model.shell import PartTokenizer, keeps_numbers, no_collection, renumbered
from xopt.packing import Encoding
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["FewPieces", "open_few"]

# Below this many pieces the whole tokenizer is as fast.
LEAST = 50_000
# Above this many characters the whole one is worth it.
CHARACTERS = 10_000


@dataclass(frozen=True)
class FewPieces(PartTokenizer):
    """A tokenizer for texts that are known; for any other text the whole one is read.

    Attributes:
        numbers: ``[pieces]`` int32, the checkpoint's id of each piece.
        known: the texts.
    """

    numbers: NDArray[np.int32]
    known: frozenset[str]

    def encode_words(
        self, sentences: Sequence[Sequence[str]], *, max_tokens: int | None = None
    ) -> list[Encoding]:
        """As :meth:`~xopt.tokenization.Tokenizer.encode_words`, with every piece."""
        return self.whole.encode_words(sentences, max_tokens=max_tokens)

    def encode(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_tokens: int | None = -1,
        details: bool = False,
    ) -> list[Encoding]:
        """As :meth:`~xopt.tokenization.Tokenizer.encode`."""
        if not self.known.issuperset([*texts, *(pairs or ())]):
            return self.whole.encode(texts, pairs, max_tokens=max_tokens, details=details)
        return super().encode(texts, pairs, max_tokens=max_tokens, details=details)

    def _kept(
        self,
        count: int,
        limit: int | None,
        read: Callable[[Sequence[int], int | None], list[Encoding]],
    ) -> list[Encoding]:
        """As of every tokenizer, in the checkpoint's own numbers."""

        def numbered(chosen: Sequence[int], limit: int | None) -> list[Encoding]:
            return [replace(e, ids=self.numbers[e.ids]) for e in read(chosen, limit)]

        return super()._kept(count, limit, numbered)


def open_few(path: Path, spec: TextSpec, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer for these texts; the whole one where it cannot be cut down.

    Args:
        path: of ``tokenizer.json``.
        spec: how texts are read.
        texts: what will be encoded, prompts included.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    if sum(map(len, texts)) <= CHARACTERS:
        try:
            with no_collection():
                found = _few(path, spec, texts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found = None
        if found is not None:
            return found
    return Tokenizer.open(path, spec)


def _few(path: Path, spec: TextSpec, texts: Sequence[str]) -> FewPieces | None:
    facts: dict[str, Any] = json.loads(path.read_bytes())
    model = facts["model"]
    vocabulary: list[list[Any]] = model["vocab"]
    if model["type"] != "Unigram" or len(vocabulary) < LEAST:
        return None
    special = [token["content"] for token in facts["added_tokens"]]
    shell = _shell(facts, spec)
    forms = [form for text in texts for form in _forms(shell, text)]
    # Some are looked for in the text as it is, some where the normalizer has changed both.
    names = {form for name in special for form in _forms(shell, name)} - {""}
    if any(name in form for name in names for form in forms):
        return None
    lowest = min(vocabulary, key=lambda piece: piece[1])[0]
    longest = max(len(piece) for piece, _ in vocabulary)
    wanted = _substrings(_segments(shell, texts), longest) | {
        vocabulary[model["unk_id"]][0],
        lowest,
        *special,
    }
    if model.get("byte_fallback"):
        wanted |= {f"<0x{number:02X}>" for number in range(256)}
    numbers = [number for number, (piece, _) in enumerate(vocabulary) if piece in wanted]
    pieces = [vocabulary[number] for number in numbers]
    place = {number: index for index, number in enumerate(numbers)}
    # An added token that is no piece gets the next number, as in the library.
    for token in facts["added_tokens"]:
        if token["id"] not in place:
            place[token["id"]] = len(numbers)
            numbers.append(token["id"])
    few = renumbered(facts, place, {**model, "vocab": pieces, "unk_id": place[model["unk_id"]]})
    built = Tokenizer.build(json.dumps(few), spec)
    if not keeps_numbers(built, few):
        return None
    kept = KeptPieces.read(path.parent) if spec.trimmed else None
    known, own = frozenset(texts), np.array(numbers, np.int32)
    return FewPieces(built.fast, spec, path, own, known, pieces=kept)


def _shell(facts: Mapping[str, Any], spec: TextSpec) -> Tokenizer:
    """The tokenizer without its pieces: what it does to a text before it looks for them."""
    bare = {**facts, "added_tokens": [], "post_processor": None}
    bare["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0.0]]}
    return Tokenizer.build(json.dumps(bare), spec)


def _forms(shell: Tokenizer, text: str) -> tuple[str, str, str]:
    """A text as it was given, composed if the checkpoint wants that, and normalized."""
    [composed], _ = shell.compose([text])
    normalizer = shell.fast.normalizer
    return text, composed, composed if normalizer is None else normalizer.normalize_str(composed)


def _segments(shell: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The normalized texts, and what of them the pieces are looked for in."""
    found = []
    for text in texts:
        normal = _forms(shell, text)[-1]
        found.append(normal)
        if shell.fast.pre_tokenizer is not None:
            found += [part for part, _ in shell.fast.pre_tokenizer.pre_tokenize_str(normal)]
    return found


def _substrings(segments: Iterable[str], longest: int) -> set[str]:
    return {
        segment[start:stop]
        for segment in segments
        for start in range(len(segment))
        for stop in range(start + 1, min(len(segment), start + longest) + 1)
    }
