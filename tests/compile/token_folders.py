"""Folders of a tokenizer's files, and what transformers makes of them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from xopt.calibrate.corpus import load_corpus
from xopt.compile.tokens import TokenizerFile
from xopt.tokenization import Tokenizer

TEXTS = (
    "Guten Morgen, Herr Müller", "Où est la Gare de Lyon ?", "Habari  za asubuhi ", " TIẾNG VIỆT\n",
    "ΟΔΥΣΣΕΥΣ İzmir", "മലയാള\u200dം \u200cതെലുഗు", "日本語\u3000中文",
    "a <mask> b </s>", "[SEP] x [PAD]", unicodedata.normalize("NFD", "한국어 Việt"), "ﬁ ① ２０２６",
)  # fmt: skip


PAIRS = (("Erste Frage?", "Zweiter  Satz "), ("第一", "<s> ２"))


def corpus() -> list[str]:
    return [text for _, text in load_corpus().rows]


def folder_of(
    place: Path, model_type: str, config: dict[str, Any] | None, **files: str | bytes
) -> Path:
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps({"model_type": model_type}))
    if config is not None:
        (place / "tokenizer_config.json").write_text(json.dumps(config))
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (place / name.replace("__", ".")).write_bytes(raw)
    return place


def assert_same_tokens(folder: Path, found: TokenizerFile, *, types: bool = True) -> None:
    import transformers

    library = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ours = Tokenizer.open(found.path, 512)
    for text in TEXTS:
        [got] = ours.encode([text])
        assert got.ids.tolist() == library(text)["input_ids"], text
    for first, second in PAIRS:
        [got] = ours.encode([first], [second])
        expected = library(first, second)
        assert got.ids.tolist() == expected["input_ids"]
        if types:
            assert got.type_ids.tolist() == expected.get("token_type_ids", [0] * len(got))
