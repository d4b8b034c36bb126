"""An open bundle that answers rows, in groups and without end; what every call rests on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Self

from xopt.artifacts import Bundle
from xopt.closing import Closing
from xopt.engines.opening import EngineOptions
from xopt.errors import InputError
from xopt.model.asking import Asking, read_rows
from xopt.model.finishing import finish
from xopt.model.head import Head
from xopt.model.prompts import find_prompt, prompts_of
from xopt.model.replaced import tell_replaced
from xopt.model.results import Result
from xopt.model.session import BATCH_TOKENS, Session
from xopt.model.texts import Row, chunked

__all__ = ["OpenBundle"]


class OpenBundle(Closing):
    """An engine, its tokenizer, and the last step of the checkpoint's library.

    A context manager.

    Args:
        session: an open one; this closes it.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.head = Head.read(session.bundle.head, session.engine.signature.width)
        # Told of texts that lose tokens, where the vocabulary is trimmed.
        self.say: Callable[[str], None] = warnings.warn

    @classmethod
    def open(
        cls,
        bundle: Bundle,
        *,
        threads: int | None = None,
        streams: int | None = None,
        device: str | int | None = None,
        batch_tokens: int = BATCH_TOKENS,
        known: Sequence[Row] | None = None,
    ) -> Self:
        """As :func:`~xopt.load`, of a bundle whose manifest was read.

        Where ``known`` holds the few rows that will be asked, with their prompts, the first answer
        comes sooner.
        """
        options = EngineOptions(threads, streams, device).of(bundle.target)
        if bundle.head["kind"] not in ("embed", "classify"):
            known = None
        session = Session.open(
            bundle, batch_tokens=batch_tokens, lengths=False, known=known, **options
        )
        try:
            return cls(session)
        except BaseException:
            session.close()
            raise

    @property
    def bundle(self) -> Bundle:
        """What was opened."""
        return self.session.bundle

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of a classifier's or tagger's outputs."""
        return self.head.labels

    @property
    def max_tokens(self) -> int:
        """The most tokens of one text or pair, special tokens included."""
        return self.session.tokenizer.max_tokens

    @property
    def prompts(self) -> dict[str, str]:
        """The checkpoint's prompts by their names."""
        return prompts_of(self.bundle)

    @property
    def width(self) -> int:
        """Values of an embedding, or logits of a text or token."""
        return self.session.engine.signature.width

    def warm_up(self) -> None:
        """Compile, tune and capture what batches will need, so that no text waits for it.

        Takes milliseconds on a CPU, and on a GPU up to a minute the first time: call it before the
        first text where texts come one after another for long. Servers do.

        Raises:
            InputError: the model is closed.
            UnsupportedError: there is no memory for all that batches may need.
        """
        self.session.warm_up()

    def asking(
        self,
        prompt_name: str | None = None,
        *,
        prompt: str | None = None,
        normalize: bool | None = None,
        truncate: bool = False,
        windows: bool = True,
    ) -> Asking:
        """How texts are read, with the checkpoint's prompt filled in.

        Raises:
            InputError: the checkpoint has no prompt of this name, or two were given.
        """
        for name, value in (("prompt", prompt), ("prompt_name", prompt_name)):
            if not isinstance(value, str | None):
                raise InputError(f"{name} is {value!r}, no text.")
        if prompt is not None and prompt_name is not None:
            raise InputError("Both a prompt and the name of one were given.", hint="Give one.")
        if prompt is None:
            prompt = find_prompt(self.bundle, prompt_name)
        return Asking(prompt, normalize, truncate, windows)

    def stream(
        self, rows: Iterable[Row], asking: Asking | None = None, *, batch_tokens: int | None = None
    ) -> Iterator[tuple[Row, Result]]:
        """Answer rows without end, in order, a bounded number at a time.

        Args:
            rows: read as they are needed.
            asking: how they are read; see :meth:`asking`.
            batch_tokens: most slots of a batch, tokens and padding together.
        """
        for chunk, results in self.chunks(chunked(rows), asking, batch_tokens=batch_tokens):
            yield from zip(chunk, results, strict=True)

    def chunks(
        self,
        groups: Iterable[list[Row]],
        asking: Asking | None = None,
        *,
        batch_tokens: int | None = None,
        progress: Callable[[list[Row], float], None] = lambda rows, share: None,
    ) -> Iterator[tuple[list[Row], list[Result]]]:
        """As :meth:`stream`, in the groups that are given; none shares a batch with another.

        ``progress`` is told the share of a group that is done.
        """
        asking = asking or self.asking()
        for group, encodings, answers in self.session.chunks(
            groups,
            lambda tokenizer, rows: read_rows(tokenizer, rows, self.head.kind, asking),
            batch_tokens=batch_tokens,
        ):
            if self.session.tokenizer.pieces is not None:
                tell_replaced(group, encodings, self.say)
            yield (
                group,
                [
                    finish(self.head, row, parts, values, asking.normalize)
                    for row, parts, values in zip(group, encodings, answers, strict=True)
                ],
            )

    def close(self) -> None:
        """Close the engine; a call that is under way in another thread then fails."""
        self.session.close()
