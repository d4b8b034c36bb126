"""What a calibration corpus holds, as the checkpoint's tokenizer sees it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xopt.calibrate.corpus import UNKNOWN, Corpus
from xopt.calibrate.sampling import LENGTH_CLASSES, class_of
from xopt.languages import NAMES, to_iso1
from xopt.packing import Encoding
from xopt.tokenization import Tokenizer

__all__ = ["overview", "script_of", "scripts_of"]

# The first word of a letter's Unicode name, where it is not what people call the script.
CALLED = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "FULLWIDTH": "Latin"}
UNKNOWN_TOKENS = ("<unk>", "[UNK]")


def script_of(letter: str) -> str:
    """``Latin``, ``Cyrillic``, ``Han`` and so on; empty for what is no letter."""
    if not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return CALLED.get(first, first.capitalize())


def scripts_of(texts: Iterable[str]) -> dict[str, float]:
    """The share of each script among the letters, the largest first."""
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text)
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        if script := script_of(letter):
            scripts[script] += count
    total = scripts.total()
    return {script: count / total for script, count in scripts.most_common()}


def overview(corpus: Corpus, tokenizer: Tokenizer) -> dict[str, Any]:
    """Languages, scripts, lengths and unknown tokens, as a JSON object.

    Returns:
        ``texts``, ``distinct`` and ``tokens``; ``languages``: for each its ``texts``, ``tokens``,
        ``unknown`` (share of its tokens) and most frequent ``script``; ``scripts`` (shares of
        letters); ``lengths``: texts by class, and percentiles in tokens; ``unknown``; ``cut``, the
        texts that are longer than the encoder takes; ``unnamed``, those whose language nothing
        states; ``absent``, the languages of XTREME that it does not hold.
    """
    whole = tokenizer.encode([text for _, text in corpus.rows], max_tokens=None)
    known = [tokenizer.fast.token_to_id(name) for name in UNKNOWN_TOKENS]
    unknown = [number for number in known if number is not None]
    by_language: dict[str, list[int]] = {}
    for number, (language, _) in enumerate(corpus.rows):
        by_language.setdefault(language, []).append(number)
    lengths = np.array([len(encoding) for encoding in whole])
    held = {to_iso1(language).partition("-")[0] for language in by_language}
    return {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint,
        "texts": len(corpus.rows),
        "distinct": len(set(corpus.rows)),
        "tokens": int(lengths.sum()),
        "unknown": _unknown(whole, unknown),
        "cut": int((lengths > tokenizer.max_tokens).sum()),
        "languages": {
            language: {
                "texts": len(numbers),
                "tokens": int(lengths[numbers].sum()),
                "unknown": _unknown([whole[i] for i in numbers], unknown),
                "script": next(iter(scripts_of(corpus.rows[i][1] for i in numbers)), ""),
            }
            for language, numbers in sorted(by_language.items())
        },
        "scripts": scripts_of(text for _, text in corpus.rows),
        "lengths": {
            "classes": {
                name: sum(class_of(int(n)) == name for n in lengths) for name in LENGTH_CLASSES
            },
            "percentiles": {
                str(p): int(np.percentile(lengths, p, method="nearest"))
                for p in (0, 5, 50, 95, 100)
            },
        },
        "unnamed": len(by_language.get(UNKNOWN, [])),
        "absent": [code for code in NAMES if code not in held] if held != {UNKNOWN} else [],
    }


def _unknown(encodings: Sequence[Encoding], unknown: Sequence[int]) -> float:
    """The share of tokens that stand for what the vocabulary lacks."""
    ids = np.concatenate([encoding.ids for encoding in encodings])
    return float(np.isin(ids, unknown).mean())
