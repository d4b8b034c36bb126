"""MLQA (Lewis et al., 2020), question and passage in the same language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.metrics import mlqa
from xopt.evaluate.tasks.span import SpanAnswers

__all__ = ["Mlqa"]


@dataclass(frozen=True)
class Mlqa(SpanAnswers):
    """Answers are normalised as their language has it."""

    config: str = "MLQA"

    name: ClassVar[str] = "mlqa"
    languages: ClassVar[tuple[str, ...]] = ("en", "es", "de", "ar", "hi", "vi", "zh")

    def config_of(self, language: str) -> str:
        return f"{self.config}.{language}.{language}"

    def compared(self, text: str, language: str) -> str:
        return mlqa.normalise(text, language)
