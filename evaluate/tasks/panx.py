"""PAN-X, or WikiANN (Pan et al., 2017): names of persons, organisations and places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.tasks.tagging import Tagging

__all__ = ["PanX"]


@dataclass(frozen=True)
class PanX(Tagging):
    """Scored by the F1 of whole names."""

    config: str = "PAN-X"

    name: ClassVar[str] = "panx"
    column: ClassVar[str] = "ner_tags"
    gold: ClassVar[str] = "ner_tags"
    tags: ClassVar[tuple[str, ...]] = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
    languages: ClassVar[tuple[str, ...]] = (
        "ar", "he", "vi", "id", "jv", "ms", "tl", "eu", "ml", "ta", "te", "af", "nl", "en", "de",
        "el", "bn", "hi", "mr", "ur", "fa", "fr", "it", "pt", "es", "bg", "ru", "ja", "ka", "ko",
        "th", "sw", "yo", "my", "zh", "kk", "tr", "et", "fi", "hu",
    )  # fmt: skip
