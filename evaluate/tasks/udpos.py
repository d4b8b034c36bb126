"""Universal Dependencies 2.5 (Nivre et al., 2020): the part of speech of each word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.tasks.tagging import Tagging
from xopt.languages import NAMES

__all__ = ["UdPos"]


@dataclass(frozen=True)
class UdPos(Tagging):
    """Scored by seqeval's F1 over tags without a prefix, which is not token accuracy.

    The hub's configs join other treebanks than XTREME's own files do and keep syntactic words, so
    their scores are not comparable with published ones.
    """

    config: str = "udpos"

    name: ClassVar[str] = "udpos"
    column: ClassVar[str] = "pos_tags"
    gold: ClassVar[str] = "pos_tags"
    tags: ClassVar[tuple[str, ...]] = (
        "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON",
        "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
    )  # fmt: skip
    languages: ClassVar[tuple[str, ...]] = (
        "af", "ar", "bg", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu",
        "id", "it", "ja", "kk", "ko", "mr", "nl", "pt", "ru", "ta", "te", "th", "tl", "tr", "ur",
        "vi", "yo", "zh",
    )  # fmt: skip

    def config_of(self, language: str) -> str:
        return f"{self.config}.{NAMES[language]}"

    def clean(self, token: str) -> str:
        # XTREME's preparation (utils_preprocess.py) strips words, then takes the zero-width
        # non-joiner and plain blanks out of them.
        return token.strip().replace("\u200c", "").replace(" ", "")
