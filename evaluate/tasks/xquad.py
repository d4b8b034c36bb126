"""XQuAD (Artetxe et al., 2020): SQuAD questions, translated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.tasks.span import SpanAnswers

__all__ = ["Xquad"]


@dataclass(frozen=True)
class Xquad(SpanAnswers):
    """Scored by SQuAD v1's script, whose English normalisation serves every language."""

    config: str = "XQuAD"
    split: str = "validation"

    name: ClassVar[str] = "xquad"
    languages: ClassVar[tuple[str, ...]] = (
        "en", "es", "de", "el", "ru", "tr", "ar", "vi", "th", "zh", "hi",
    )  # fmt: skip
