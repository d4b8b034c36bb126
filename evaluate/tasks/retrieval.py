"""What Tatoeba and BUCC share: sentences by their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.prompted import Prompted
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["Retrieval"]


@dataclass(frozen=True)
class Retrieval(Prompted):
    """Sentences that are compared by their embeddings."""

    head: ClassVar[str] = "embed"

    def encode(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> list[Encoding]:
        """Sentences behind the prefix, which is pooled as the checkpoint pools a prompt.

        Args:
            tokenizer: of the bundle.
            sentences: without the prefix.
        """
        return tokenizer.encode_behind(self.prefix or "", sentences)

    def encodings(self, tokenizer: Tokenizer, examples: Examples) -> list[list[Encoding]]:
        return [[one] for one in self.encode(tokenizer, [self.text(row) for row in examples])]
