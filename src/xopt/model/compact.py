"""A large Unigram tokenizer in a tenth of the memory, with the same answers.

The library keeps the 250,000 pieces of XLM-R (Unigram: Kudo, 2018) in a tree of hash tables, which
takes 250 MiB; ``unigram.cpp`` keeps them in 10. All else is the library's here too: it finds added
tokens, normalizes, splits into words (with bytes for pieces), cuts what is too long and adds
special tokens. Where nothing can be compiled, and for texts in words or with offsets, the whole is
read.
"""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as FastTokenizer

from xopt.host import release_memory
from xopt.kept_pieces import KeptPieces
from xopt.model.shell import PartTokenizer, keeps_numbers, no_collection, renumbered
from xopt.model.unigram import Unigram, read_score
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["CompactTokenizer", "open_compact"]

log = logging.getLogger(__name__)

# Below this many pieces the library's tree is small.
LEAST = 50_000
BYTES = 256
# Of a model: with any other key it cuts texts in a way that is not known here.
KEYS = {"type", "unk_id", "vocab", "byte_fallback"}
# A model without a merge: one token for each byte, or for each letter of a text of x.
LETTERS: Mapping[str, Any] = {"type": "BPE", "vocab": {"x": 0}, "merges": []}
NO_PIECES: Mapping[str, Any] = {
    "type": "BPE",
    "vocab": {f"<0x{byte:02X}>": byte for byte in range(BYTES)},
    "merges": [],
    "byte_fallback": True,
}

Ids = NDArray[np.int32]
NO_IDS: Ids = np.zeros(0, np.int32)


class _Encoding(NamedTuple):
    """What of the library's encoding is read where no details are asked for."""

    ids: Ids
    type_ids: Ids


class _Part(NamedTuple):
    """Of an encoding: special tokens, or what is kept of text number ``text``."""

    text: int | None
    kept: slice
    special: Ids
    type_id: int


class _Frame(NamedTuple):
    """What the library does to one text's tokens, or two texts', behind the model."""

    parts: list[_Part]
    special: int

    @classmethod
    def read(cls, letters: FastTokenizer, numbers: Ids, sizes: Sequence[int] | int) -> _Frame:
        """From what it does to letters.

        Args:
            letters: as in :class:`CompactTokenizer`.
            numbers: of the added tokens.
            sizes: tokens of each text; or how many texts, of which no token is cut away.
        """
        each = sizes if not isinstance(sizes, int) else [1] * sizes
        first, *second = ("x" * size for size in each)
        found = letters.encode(first, second[0] if second else None)
        places = zip(found.sequence_ids, found.type_ids, found.ids, found.offsets, strict=True)
        parts = []
        for (text, type_id), group in itertools.groupby(places, key=lambda place: place[:2]):
            _, _, ids, offsets = zip(*group, strict=True)
            kept = slice(None) if isinstance(sizes, int) else slice(offsets[0][0], offsets[-1][1])
            special = numbers[np.array(ids) - 1] if text is None else NO_IDS
            parts.append(_Part(text, kept, special, type_id))
        return cls(parts, sum(len(part.special) for part in parts))

    def filled(self, texts: Sequence[Ids]) -> _Encoding:
        """With the pieces of the texts."""
        ids = [p.special if p.text is None else texts[p.text][p.kept] for p in self.parts]
        types = np.repeat([part.type_id for part in self.parts], [len(part) for part in ids])
        return _Encoding(np.concatenate([*ids, NO_IDS]), types.astype(np.int32))


@dataclass(frozen=True)
class CompactTokenizer(PartTokenizer):
    """A tokenizer whose pieces are kept here; ``fast`` has bytes in their place.

    Attributes:
        unigram: the pieces.
        numbers: ``[added tokens]`` int32, the checkpoint's number of each.
        letters: adds special tokens to a text of so many x, and cuts it; token 0 is an x, and
            1 + its place a special one.
    """

    unigram: Unigram
    numbers: Ids
    letters: FastTokenizer

    def _run(
        self, items: Sequence[Any], limit: int | None, details: bool, *, pretokenized: bool
    ) -> list[Any]:
        if details or pretokenized:
            return self.whole._run(items, limit, details, pretokenized=pretokenized)
        rows = [(item,) if isinstance(item, str) else tuple(item) for item in items]
        self.fast.no_truncation()
        texts = [text for row in rows for text in row]
        found = self.fast.encode_batch(texts, add_special_tokens=False)
        cuts = iter([self.unigram.cut(each.ids, each.word_ids) for each in found])
        own = [[next(cuts) for _ in row] for row in rows]
        return [self._framed(ids, limit) for ids in own]

    def _framed(self, own: Sequence[Ids], limit: int | None) -> _Encoding:
        """With special tokens, and cut, by the library's rules."""
        frame = self._frames[len(own) - 1]
        if limit is not None and sum(map(len, own)) + frame.special > limit:
            self.letters.enable_truncation(limit, direction=self.spec.truncation_side)
            frame = _Frame.read(self.letters, self.numbers, [len(ids) for ids in own])
            self.letters.no_truncation()
        return frame.filled(own)

    @cached_property
    def _frames(self) -> list[_Frame]:
        """Of one text and of two, of which nothing is cut away."""
        return [_Frame.read(self.letters, self.numbers, texts) for texts in (1, 2)]


def open_compact(path: Path, spec: TextSpec) -> Tokenizer:
    """The tokenizer in little memory; the library's where it is small, or of another kind.

    Args:
        path: of ``tokenizer.json``.
        spec: how texts are read.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        with no_collection():
            found = _compact(path, spec)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.debug("%s is read whole: %s", path, error)
        found = None
    except subprocess.SubprocessError as error:
        log.debug("unigram.cpp could not be compiled: %s", error)
        found = None
    # The file's half a million objects are gone.
    release_memory()
    return found or Tokenizer.open(path, spec)


def _compact(path: Path, spec: TextSpec) -> CompactTokenizer | None:
    facts: dict[str, Any] = json.loads(path.read_bytes(), parse_float=read_score)
    model = facts["model"]
    if (
        model["type"] != "Unigram"
        or len(model["vocab"]) < LEAST
        or model.get("byte_fallback")
        or not set(model) <= KEYS
        or not 0 <= model["unk_id"] < len(model["vocab"])
    ):
        return None
    added = [token["id"] for token in facts["added_tokens"]]

    def shell(model: Mapping[str, Any], first: int) -> dict[str, Any]:
        return renumbered(facts, {number: first + i for i, number in enumerate(added)}, model)

    with_bytes = shell(NO_PIECES, BYTES)
    built = Tokenizer.build(json.dumps(with_bytes), spec)
    if not keeps_numbers(built, with_bytes):
        return None
    # Without added tokens: one that is written in x alone would be found among the letters.
    bare: dict[str, Any] = {"normalizer": None, "pre_tokenizer": None, "added_tokens": []}
    text = json.dumps(shell(LETTERS, 1) | bare)
    letters = Tokenizer.build(text, TextSpec(spec.max_tokens))
    if not letters.fast.num_special_tokens_to_add(is_pair=True):
        # The library's fast call then numbers both texts of a pair 0, and its other call does not.
        return None
    unigram = Unigram(model["vocab"], model["unk_id"], added)
    numbers = np.array(added, np.int32)
    pieces = KeptPieces.read(path.parent) if spec.trimmed else None
    return CompactTokenizer(built.fast, spec, path, unigram, numbers, letters.fast, pieces=pieces)
