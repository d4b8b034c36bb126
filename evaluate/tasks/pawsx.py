"""PAWS-X (Yang et al., 2019): do two sentences of almost the same words say the same?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from xopt.evaluate.data import Source
from xopt.evaluate.tasks.base import Examples
from xopt.evaluate.tasks.classification import PairClassification

__all__ = ["PawsX"]


@dataclass(frozen=True)
class PawsX(PairClassification):
    """1 is a paraphrase, 0 is none."""

    config: str = "PAWS-X"

    name: ClassVar[str] = "pawsx"
    gold: ClassVar[str] = "label"
    classes: ClassVar[tuple[str, ...]] = ("0", "1")
    # LABEL_1 is what transformers writes where nobody named class 1.
    aliases: ClassVar[Mapping[str, str]] = {
        "label_0": "0",
        "not_paraphrase": "0",
        "different": "0",
        "label_1": "1",
        "paraphrase": "1",
    }
    languages: ClassVar[tuple[str, ...]] = ("de", "en", "es", "fr", "ja", "ko", "zh")

    def load(self, source: Source, language: str) -> Examples:
        config = self.config_of(language)
        columns = {"sentence1": str, "sentence2": str, "label": str}
        rows = source.rows(config, self.split, columns)
        return self.checked(enumerate(rows, 1), "label", f"{config}/{self.split}")
