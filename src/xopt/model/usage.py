"""What was answered, and what it took."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Usage"]


@dataclass
class Usage:
    """What a session has done so far; seconds of wall time.

    ``replaced`` counts tokens that a trimmed vocabulary has no row for.
    """

    sentences: int = 0
    tokens: int = 0
    replaced: int = 0
    engine_s: float = 0.0
    tokenization_s: float = 0.0
    lengths: list[int] = field(default_factory=list)

    def add(self, other: Usage) -> None:
        """Count what another session, or another language, has done too."""
        self.sentences += other.sentences
        self.tokens += other.tokens
        self.replaced += other.replaced
        self.engine_s += other.engine_s
        self.tokenization_s += other.tokenization_s
        self.lengths += other.lengths
