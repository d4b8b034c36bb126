"""What Tatoeba and BUCC share: sentences by their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from xopt.evaluate.tasks.base import Examples, Task
from xopt.packing import Encoding
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

__all__ = ["Retrieval"]


@dataclass(frozen=True)
class Retrieval(Task):
    """Sentences that are compared by their embeddings.

    Attributes:
        prefix: put before every sentence; None for the checkpoint's default prompt.
    """

    prefix: str | None = None

    head: ClassVar[str] = "embed"

    def asked_of(self, spec: TextSpec) -> Retrieval:
        """As the checkpoint's own library embeds a sentence, unless a prefix was chosen."""
        if self.prefix is not None:
            return self
        name = spec.default_prompt
        return replace(self, prefix="" if name is None else spec.prompts[name])

    def encode(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> list[Encoding]:
        """Sentences behind the prefix, which is pooled as the checkpoint pools a prompt.

        Args:
            tokenizer: of the bundle.
            sentences: without the prefix.
        """
        prefix = self.prefix or ""
        encoded = tokenizer.encode([prefix + sentence for sentence in sentences])
        return tokenizer.count_prompt(encoded, prefix)

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        return [[one] for one in self.encode(tokenizer, [self.text(row) for row in examples])]
