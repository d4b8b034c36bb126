"""Which texts calibrate: every language and every length gets its share of a token budget."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xopt.artifacts import Ranges, fingerprint
from xopt.calibrate.corpus import Corpus
from xopt.errors import ArtifactError
from xopt.forms import in_words
from xopt.packing import Encoding
from xopt.reading import parse_json
from xopt.tokenization import Tokenizer

__all__ = [
    "LENGTH_CLASSES", "Encode", "Form", "Sample", "class_of", "draw_sample", "encode_rows",
    "read_sample",
]  # fmt: skip

Form = Literal["text", "pair", "question"]
Rows = Sequence[tuple[str, ...]]
# Rows of a sample, (language, text) or (language, first, second), as the model is asked.
Encode = Callable[[Rows, Tokenizer], list[Encoding]]

# Upper bounds in tokens: a sentence of a dialogue, a sentence of a newspaper, a paragraph.
LENGTH_CLASSES = {"short": 24, "middle": 96, "long": 1_000_000}


@dataclass(frozen=True)
class Sample:
    """The encodings that calibrate, and how they were chosen.

    Attributes:
        encodings: in the order they were drawn.
        rows: (language, text) of each, or (language, first, second).
        facts: corpus, seed, counts per language and length class, as a JSON object.
    """

    encodings: tuple[Encoding, ...]
    rows: tuple[tuple[str, ...], ...]
    facts: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the chosen texts, in order, how they are read, and the facts."""
        read = [(e.ids.tolist(), e.type_ids.tolist()) for e in self.encodings]
        return fingerprint(self.rows, read, self.facts)


def encode_rows(rows: Rows, tokenizer: Tokenizer) -> list[Encoding]:
    """Texts or pairs, cut at the encoder's limit."""
    firsts = [row[1] for row in rows]
    if len(rows[0]) == 2:
        return tokenizer.encode(firsts)
    return tokenizer.encode(firsts, [row[2] for row in rows])


def draw_sample(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    max_tokens: int = 16_384,
    seed: int = 0,
    form: Form = "text",
    prompts: Sequence[str] = ("",),
    encode: Encode = encode_rows,
) -> Sample:
    """Draw texts so that every language and every length class takes part.

    Strata are language x length class. The classes are visited in turn, and within a class the
    languages in a seeded random order, one text from each at a time, until the budget is spent; so
    after any number of rounds no language is more than one text of a class ahead of another.
    A text that the corpus repeats is one text: copies would spend the budget and show nothing new.

    Args:
        corpus: the texts.
        tokenizer: of the checkpoint.
        max_tokens: budget for all texts together, special tokens included; each class has a third,
            and what it cannot hold goes to the others.
        seed: of the order within strata.
        form: ``text``; ``pair``, each text with another of its language; or ``question``, the
            same, the shorter text first.
        prompts: put before the texts, of a pair before the first, each in its turn; ``""`` for
            none.
        encode: reads the rows as the model is asked.
    """
    generator = np.random.default_rng(seed)
    given = _given(corpus, form, prompts, seed)
    encodings = encode(given, tokenizer)
    strata: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in LENGTH_CLASSES}
    for index in generator.permutation(len(encodings)):
        strata[class_of(len(encodings[index]))][given[index][0]].append(int(index))
    chosen: list[int] = []
    # What a class cannot hold goes to the next shorter one, before any is drawn.
    budgets, missing = dict.fromkeys(LENGTH_CLASSES, max_tokens // len(LENGTH_CLASSES)), 0
    for name in reversed(LENGTH_CLASSES):
        budgets[name] += missing
        held = sum(len(encodings[i]) for indices in strata[name].values() for i in indices)
        missing = 0 if name == next(iter(LENGTH_CLASSES)) else max(0, budgets[name] - held)
        budgets[name] -= missing
    # Short texts are many and cheap: what a class leaves over goes to the next, longer one.
    left = 0
    for name in LENGTH_CLASSES:
        budget = budgets[name] + left
        taken = _draw_class(strata[name], encodings, budget, generator)
        left = budget - sum(len(encodings[i]) for i in taken)
        chosen += taken
    chosen = chosen or [int(np.argmin([len(e) for e in encodings]))]
    rows = tuple(given[i] for i in chosen)
    picked = tuple(encodings[i] for i in chosen)
    facts = {
        "corpus": corpus.name,
        "corpus_fingerprint": corpus.fingerprint,
        "seed": seed,
        "form": form,
        "prompts": list(prompts),
        "max_tokens": max_tokens,
        "texts": len(picked),
        "tokens": sum(map(len, picked)),
        "by_length": {
            name: sum(class_of(len(e)) == name for e in picked) for name in LENGTH_CLASSES
        },
        "by_language": {
            language: sum(row[0] == language for row in rows)
            for language in sorted({row[0] for row in rows})
        },
    }
    return Sample(picked, rows, facts)


def _given(corpus: Corpus, form: Form, prompts: Sequence[str], seed: int) -> list[tuple[str, ...]]:
    """Every text of the corpus, once, in the form that the model will be asked in."""
    texts, turns = list(dict.fromkeys(corpus.rows)), itertools.cycle(prompts)
    if form == "text":
        return [(language, next(turns) + text) for language, text in texts]
    generator = np.random.default_rng([seed, 1])
    by_language: dict[str, list[int]] = defaultdict(list)
    for index in generator.permutation(len(texts)):
        by_language[texts[index][0]].append(int(index))
    rows: dict[int, tuple[str, ...]] = {}
    for language, indices in by_language.items():
        # Each text with the one before it, the first with the last; one alone with itself.
        for place, index in enumerate(indices):
            pair = texts[index][1], texts[indices[place - 1]][1]
            rows[index] = (language, *(sorted(pair, key=len) if form == "question" else pair))
    # Of two texts the shorter one is the question of both.
    ordered = dict.fromkeys(rows[index] for index in range(len(texts)))
    return [(language, next(turns) + first, second) for language, first, second in ordered]


def class_of(tokens: int) -> str:
    """The length class of a text of so many tokens."""
    return next(name for name, bound in LENGTH_CLASSES.items() if tokens <= bound)


def _draw_class(
    by_language: dict[str, list[int]],
    encodings: Sequence[Encoding],
    budget: int,
    generator: np.random.Generator,
) -> list[int]:
    taken: list[int] = []
    queues = {language: list(indices) for language, indices in sorted(by_language.items())}
    while queues:
        for language in generator.permutation(sorted(queues)):
            index = queues[language].pop()
            if not queues[language]:
                del queues[language]
            if len(encodings[index]) <= budget:
                budget -= len(encodings[index])
                taken.append(index)
    return taken


def read_sample(ranges: Ranges, tokenizer: Tokenizer, encode: Encode = encode_rows) -> Sample:
    """The texts that were watched, tokenized again.

    Raises:
        ArtifactError: the file that holds them is damaged.
    """
    path = ranges.folder / "sample.jsonl"
    try:
        lines = filter(None, path.read_text(encoding="utf-8").split("\n"))
        rows = tuple(tuple(map(str, row)) for row in map(parse_json, lines))
        encodings = encode(rows, tokenizer)
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ArtifactError(
            f"{path} is damaged: {in_words(error)}.", hint="Calibrate again."
        ) from error
    return Sample(tuple(encodings), rows, dict(ranges.manifest["sample"]))
