"""``xopt.load``: the one way from texts to answers, for Python, the command line and servers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from xopt.artifacts import Bundle
from xopt.errors import InputError
from xopt.host import check_platform
from xopt.model.answering import OpenBundle
from xopt.model.asking import Asking
from xopt.model.given import pairs_of, sentences_of, texts_of
from xopt.model.results import Answer, Embedding, Prediction, Tags
from xopt.model.sparse import Hybrid, encode_hybrid
from xopt.model.texts import numbered

__all__ = ["Model", "load"]

Array = NDArray[np.float32]
CALLS = {"embed": "encode", "classify": "predict", "tag": "tag", "span": "answer"}


class Model(OpenBundle):
    """A bundle, opened: an engine, its tokenizer, and the last step of the checkpoint's library.

    A context manager. Several threads may call one model; the engine serves them in turn.

    Args:
        session: an open one; the model closes it.
    """

    @overload
    def encode(
        self, texts: Iterable[str], prompt_name: str | None = None, *, prompt: str | None = None,
        normalize: bool | None = None, truncate: bool = False, batch_tokens: int | None = None,
        return_sparse: Literal[False] = False,
    ) -> Array: ...  # fmt: skip

    @overload
    def encode(
        self, texts: Iterable[str], prompt_name: str | None = None, *, prompt: str | None = None,
        normalize: bool | None = None, truncate: bool = False, batch_tokens: int | None = None,
        return_sparse: Literal[True],
    ) -> Hybrid: ...  # fmt: skip

    def encode(
        self, texts: Iterable[str], prompt_name: str | None = None, *, prompt: str | None = None,
        normalize: bool | None = None, truncate: bool = False, batch_tokens: int | None = None,
        return_sparse: bool = False,
    ) -> Array | Hybrid:  # fmt: skip
        """Embed texts, as sentence-transformers does with the same folder.

        Args:
            texts: n of them.
            prompt_name: one of :attr:`prompts`; the checkpoint's default prompt if None.
            prompt: a text put before every text, in its place; ``""`` for none.
            normalize: to length 1; as the checkpoint says if None.
            truncate: cut a text that is longer than the encoder takes; else it is refused.
            batch_tokens: most slots of a batch, tokens and padding together.
            return_sparse: with bge-m3's lexical weights, of the same run of the encoder.

        Returns:
            ``[n, width]`` float32, in the order of the texts; a :class:`~xopt.model.sparse.Hybrid`
            of them and of the weights with ``return_sparse``.

        Raises:
            InputError: a text that cannot be answered, by its number; an unknown prompt; a bundle
                that does not embed, or that has no sparse head.
        """
        self._check_kind("embed")
        asking = self.asking(prompt_name, prompt=prompt, normalize=normalize, truncate=truncate)
        asked = texts_of(texts)
        if return_sparse:
            return encode_hybrid(self.session, self.head, numbered(asked), asking, batch_tokens)
        table = np.empty((len(asked), self.width), np.float32)
        for number, (_, found) in enumerate(
            self.stream(numbered(asked), asking, batch_tokens=batch_tokens)
        ):
            table[number] = cast(Embedding, found).values
        return table

    def predict(
        self, texts: Iterable[str | Sequence[str]], prompt_name: str | None = None, *,
        prompt: str | None = None, truncate: bool = False, batch_tokens: int | None = None,
    ) -> list[Prediction]:  # fmt: skip
        """Classify texts or pairs of texts, or score them.

        Args:
            texts: texts, or (first, second) pairs, as the checkpoint was trained on.
            prompt_name: one of :attr:`prompts`, put before a text or the first text of a pair; the
                checkpoint's default prompt if None.
            prompt: a text put there in its place; ``""`` for none.
            truncate: cut a text or pair that is longer than the encoder takes, the longer text of a
                pair first; else it is refused.
            batch_tokens: most slots of a batch, tokens and padding together.

        Returns:
            One prediction each: probabilities where transformers' pipeline or
            sentence-transformers' CrossEncoder gives probabilities, scores where it gives scores.

        Raises:
            InputError: as :meth:`encode`.
        """
        self._check_kind("classify")
        rows = numbered(*pairs_of(texts))
        asking = self.asking(prompt_name, prompt=prompt, truncate=truncate)
        return [
            cast(Prediction, found)
            for _, found in self.stream(rows, asking, batch_tokens=batch_tokens)
        ]

    def tag(
        self, texts: Iterable[str | Sequence[str]], *, truncate: bool = False,
        batch_tokens: int | None = None,
    ) -> list[Tags]:  # fmt: skip
        """Tag the words of sentences, or the tokens of texts.

        Args:
            texts: each a sentence in words, or a text. A sentence that is longer than the encoder
                takes is read in parts that are cut between words; a text is refused.
            truncate: cut a text instead.
            batch_tokens: most slots of a batch, tokens and padding together.

        Returns:
            For each sentence a tag of every word, from its first token; for each text one of every
            token that is not special. A word without a token is left out of its sentence, as
            transformers leaves it out, and is answered alone as the unknown token. Of a word that
            is longer than the encoder takes, the first tokens are read.

        Raises:
            InputError: as :meth:`encode`.
        """
        self._check_kind("tag")
        asking = Asking(truncate=truncate)
        found = self.stream(numbered(sentences_of(texts)), asking, batch_tokens=batch_tokens)
        return [cast(Tags, tags) for _, tags in found]

    def answer(
        self, questions: Iterable[str], contexts: Iterable[str], *, truncate: bool = False,
        batch_tokens: int | None = None,
    ) -> list[Answer]:  # fmt: skip
        """Find the span of a context that answers a question.

        A context of any length is read in the windows of ``xopt eval``: 384 tokens, of which every
        next one begins 128 tokens later.

        Args:
            questions: n of them.
            contexts: one for each.
            truncate: keep the first 64 tokens of a question that leaves no room for its context;
                else it is refused.
            batch_tokens: most slots of a batch, tokens and padding together.

        Raises:
            InputError: as :meth:`encode`; or there are not as many contexts as questions.
        """
        self._check_kind("span")
        asked, read = texts_of(questions, "questions"), texts_of(contexts, "contexts")
        if len(asked) != len(read):
            raise InputError(f"There are {len(asked)} questions and {len(read)} contexts.")
        rows = numbered(asked, read)
        asking = Asking(truncate=truncate)
        return [
            cast(Answer, found) for _, found in self.stream(rows, asking, batch_tokens=batch_tokens)
        ]

    def _check_kind(self, kind: str) -> None:
        if self.head.kind != kind:
            raise InputError(
                f"{self.bundle.folder.name} has the head {self.head.kind!r}, which cannot "
                f"{CALLS[kind]}.",
                hint=f"Call model.{CALLS[self.head.kind]}(...).",
            )


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    streams: int | None = None,
    device: str | int | None = None,
) -> Model:
    """Open the bundle in a folder.

    Args:
        path: the folder that ``xopt build`` wrote; every file is verified.
        threads: cores to use, on the CPU; all by default.
        streams: parts of a batch that run side by side, on the CPU; as many as cores by default.
        device: the GPU to use, such as ``cuda:1`` or 1; the first by default.

    Raises:
        ArtifactError: no bundle, or one whose files are not those that were built.
        UnsupportedError: this machine cannot run it.
        MissingExtraError: its engine's library is not installed.
    """
    check_platform()
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"The path is {path!r}.", hint="Give the folder of a bundle.")
    bundle = Bundle.open(Path(path))
    return Model.open(bundle, threads=threads, streams=streams, device=device)
