"""A vocabulary trimmed to some languages, and what that does to texts that were not counted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.corpus import Corpus
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.cutting import cut_pieces
from xopt.compile.scripts import read_languages
from xopt.compile.traced import WORDS
from xopt.compile.vocabulary import Vocabulary, choose_pieces
from xopt.errors import DataError
from xopt.kept_pieces import KeptPieces
from xopt.languages import language_name, to_iso1
from xopt.tokenization import Tokenizer

if TYPE_CHECKING:
    from xopt.compile.editing import GraphEditor

__all__ = ["Trimmed", "trim", "trim_words"]

# Of a language's texts one in so many is not counted, and measured instead.
HELD_OUT = 4


@dataclass(frozen=True)
class Trimmed:
    """What is kept of a vocabulary.

    Attributes:
        vocabulary: all of it.
        kept: ``[vocabulary]``, which ids have a row.
        languages: it was trimmed to.
        asked: how many pieces were to be kept, if there are not more that always are; 0 for all.
        corpus: of which the texts were counted.
        counted: how many texts were.
        held_out: language -> the tokens of each text that was not counted.
    """

    vocabulary: Vocabulary
    kept: NDArray[np.bool_]
    languages: tuple[str, ...]
    asked: int
    corpus: str
    counted: int
    held_out: Mapping[str, list[NDArray[np.int32]]]

    @cached_property
    def pieces(self) -> KeptPieces:
        """What stands for each id."""
        return cut_pieces(self.vocabulary, self.kept)

    @property
    def fingerprint(self) -> str:
        """Of what is kept; what is cut into what follows from it and from the tokenizer."""
        return hashlib.sha256(np.packbits(self.kept).tobytes()).hexdigest()

    @property
    def rows(self) -> NDArray[np.int32]:
        """The kept ids, ascending."""
        return np.flatnonzero(self.kept).astype(np.int32)

    @property
    def row_of(self) -> NDArray[np.int32]:
        """``[vocabulary]``: the row of each id; of one that is not kept, its first piece's."""
        rows = (np.cumsum(self.kept) - 1).astype(np.int32)
        found: NDArray[np.int32] = rows[self.pieces.ids[self.pieces.starts[:-1]]]
        return found

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``vocabulary`` of a bundle's manifest."""
        return {
            "languages": list(self.languages),
            "asked": self.asked,
            "kept": int(self.kept.sum()),
            "of": len(self.kept),
            "corpus": self.corpus,
            "counted_texts": self.counted,
            "held_out": {code: self._measure(texts) for code, texts in self.held_out.items()},
        }

    def _measure(self, texts: Sequence[NDArray[np.int32]]) -> dict[str, int]:
        """Of texts that were not counted: tokens before and after, and what became of them."""
        ids = np.concatenate(texts)
        lost = ~self.kept[ids]
        after = np.concatenate(
            [self.pieces.ids[slice(*self.pieces.starts[n : n + 2])] for n in ids]
        )
        unknown = self.vocabulary.unknown
        return {
            "texts": len(texts),
            "texts_changed": sum(bool((~self.kept[text]).any()) for text in texts),
            "tokens": len(ids),
            "tokens_after": len(after),
            "replaced": int(lost.sum()),
            "unknown_before": int((ids == unknown).sum()),
            "unknown_after": int((after == unknown).sum()),
        }


def trim(
    checkpoint: Checkpoint, languages: str, most: int, corpus: Corpus, *, complete: bool = False
) -> Trimmed:
    """What ``xopt build --languages`` keeps of a checkpoint's vocabulary.

    The pieces of the checkpoint's prompts are kept beside those that are counted.

    Args:
        checkpoint: whose tokenizer is read.
        languages: codes with commas between.
        most: pieces, if there are not more that always are kept; 0 for every one of the scripts.
        corpus: whose texts are counted, but for one in :data:`HELD_OUT` of each language.
        complete: whether the corpus must have texts of every language.

    Raises:
        InputError: no language, or an unknown one.
        DataError: the corpus is not complete.
        UnsupportedError: the tokenizer is of a kind that cannot be trimmed.
    """
    codes = read_languages(languages)
    vocabulary = Vocabulary.read(checkpoint.tokenizer.path, checkpoint.config.vocabulary)
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    # A prompt stands before every text, whatever its own language is.
    prompts = tokenizer.encode(list(checkpoint.text.prompts.values()), max_tokens=None)
    counted = {int(number) for encoding in prompts for number in encoding.ids}
    texts, held_out = 0, {}
    for code in codes:
        given = _texts(corpus, code)
        if not given and complete:
            raise DataError(
                f"{corpus.name} has no text in {language_name(code)} ({code}).",
                hint=f"Add some ({code}.txt in a folder of texts), or leave --count out.",
            )
        encodings = tokenizer.encode(given, max_tokens=None)
        apart = [e.ids for e in encodings[HELD_OUT - 1 :: HELD_OUT]]
        del encodings[HELD_OUT - 1 :: HELD_OUT]
        counted.update(int(number) for e in encodings for number in np.unique(e.ids))
        texts += len(encodings)
        if apart:
            held_out[code] = apart
    kept = choose_pieces(vocabulary, codes, counted, most)
    return Trimmed(vocabulary, kept, tuple(codes), most, corpus.name, texts, held_out)


def _texts(corpus: Corpus, code: str) -> list[str]:
    """Of a language, each once, in an order that does not depend on the corpus's.

    One of a run of like texts would else be counted, and its neighbour held out. Texts of a
    script (``zh-Hant``) are texts of the language, but not the other way round.
    """
    found = {text for stated, text in corpus.rows if f"{to_iso1(stated)}-".startswith(f"{code}-")}
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())


def trim_words(editor: GraphEditor, trimmed: Trimmed) -> None:
    """Leave rows of the word embeddings out of a graph that is about to be lowered.

    It goes on taking the checkpoint's ids, so that every reader of the graph has one numbering.
    """
    node = editor.nodes["embeddings.word"]
    editor.take_rows(editor.weights[WORDS], trimmed.rows)
    table = editor.constant(f"{WORDS}.row_of", trimmed.row_of)
    out = f"{node.outputs[0].name}.row"
    node.replace_input_with(1, editor.emit("Gather", [table, node.inputs[1]], out, axis=0))
