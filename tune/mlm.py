"""Masked language modelling (Devlin et al., 2019): batches that remind a tuned encoder of others.

Of the tokens that are no special ones, a share is chosen; of the chosen, 80 % become the mask, 10 %
any other token and 10 % stay. Languages take turns by ``p ∝ n^0.3`` (XLM-R, Conneau et al., 2020).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xopt.calibrate.corpus import Corpus, load_corpus
from xopt.errors import InputError
from xopt.tokenization import Tokenizer
from xopt.tune.encode import IGNORED
from xopt.tune.sampling import TaskSampler, task_probabilities

__all__ = ["MlmBatches", "MlmHead", "load_mlm_texts", "mask_tokens", "masking_ids"]

LANGUAGE_POWER = 0.3

Ids = NDArray[np.int64]


def load_mlm_texts(name: str | None = None) -> Corpus:
    """Texts by language: what ``--mlm`` names, or xopt's own sentences in 40 languages.

    Args:
        name: as for :func:`xopt.calibrate.corpus.load_corpus`: a ``.txt``, ``.jsonl`` or
            ``.parquet`` file, a folder of them named by language, ``hub:ID[:CONFIG]``, or None.

    Raises:
        InputError: there is no such corpus, or it is empty.
        DataError: a file or a row that cannot be read; it is named.
    """
    return load_corpus(name)


def masking_ids(tokenizer: Path) -> tuple[int, frozenset[int]]:
    """The id of the mask and those of all special tokens, from ``tokenizer.json``.

    Raises:
        InputError: the tokenizer has no mask.
    """
    added = json.loads(tokenizer.read_text(encoding="utf-8")).get("added_tokens") or []
    special = {str(token["content"]): int(token["id"]) for token in added if token.get("special")}
    mask = special.get("<mask>", special.get("[MASK]"))
    if mask is None:
        raise InputError(
            f"{tokenizer} has no mask token; masked language modelling needs one.",
            hint="Leave --mlm out, or start from a checkpoint with <mask> or [MASK].",
        )
    return mask, frozenset(special.values())


def mask_tokens(
    input_ids: Ids,
    *,
    mask_id: int,
    vocabulary: int,
    special_ids: frozenset[int] | set[int],
    rng: np.random.Generator,
    share: float = 0.15,
) -> tuple[Ids, Ids]:
    """Hide a share of the tokens.

    Args:
        input_ids: ``[B, S]`` int64, padding included.
        mask_id: what 80 % of the chosen tokens become.
        vocabulary: number of ids; 10 % become any of them that is not special.
        special_ids: never chosen; padding must be among them.
        rng: draws.
        share: of the other tokens, above 0 and at most 1.

    Returns:
        inputs ``[B, S]`` int64, and labels ``[B, S]`` int64 with -100 wherever nothing is asked.

    Raises:
        InputError: the share is out of range.
    """
    if not 0 < share <= 1:
        raise InputError(f"The masked share is {share}; possible: above 0, up to 1.")
    special = np.fromiter(special_ids, np.int64)
    chosen = (rng.random(input_ids.shape) < share) & ~np.isin(input_ids, special)
    kind = rng.random(input_ids.shape)
    apart = sorted(number for number in special_ids if number < vocabulary)
    others = rng.integers(0, vocabulary - len(apart), input_ids.shape)
    # Step over the special ids from below: every other id stays as likely as the next.
    for number in apart:
        others += others >= number
    inputs = np.where(chosen & (kind < 0.8), mask_id, input_ids)
    inputs = np.where(chosen & (kind >= 0.9), others, inputs)
    return inputs, np.where(chosen, input_ids, IGNORED)


@dataclass(frozen=True)
class MlmBatches:
    """Masked batches by step number; a step's batch is the same whenever it is asked for.

    Attributes:
        corpus: the texts.
        tokenizer: of the checkpoint.
        mask_id: see :func:`masking_ids`.
        special_ids: from :func:`masking_ids` too.
        vocabulary: size of the embedding table that may be drawn from.
        padding: id of the padding token.
        batch: texts in a batch.
        max_tokens: texts are cut to this length.
        seed: of the draws.
        share: of the tokens that is masked.
    """

    corpus: Corpus
    tokenizer: Tokenizer
    mask_id: int
    special_ids: frozenset[int]
    vocabulary: int
    padding: int
    batch: int
    max_tokens: int
    seed: int = 0
    share: float = 0.15

    @cached_property
    def texts(self) -> dict[str, list[str]]:
        """The corpus by language."""
        found: dict[str, list[str]] = defaultdict(list)
        for language, text in self.corpus.rows:
            found[language].append(text)
        return dict(found)

    @cached_property
    def languages(self) -> TaskSampler:
        """Draws the language of each text."""
        sizes = {language: len(texts) for language, texts in self.texts.items()}
        wanted = task_probabilities(sizes, sampling="temperature", temperature=1 / LANGUAGE_POWER)
        return TaskSampler(wanted, seed=self.seed)

    def at(self, step: int) -> dict[str, Tensor]:
        """The batch of a step.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels``, each ``[B, S]`` int64.
        """
        rng = np.random.default_rng((self.seed, step, 1))
        rows = []
        for place in range(self.batch):
            of_language = self.texts[self.languages.task(step * self.batch + place)]
            rows.append(of_language[int(rng.integers(len(of_language)))])
        limit = min(self.max_tokens, self.tokenizer.max_tokens)
        encoded = self.tokenizer.encode(rows, max_tokens=limit)
        ids = np.full((len(rows), max(map(len, encoded))), self.padding, np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encoded):
            ids[row, : len(encoding)] = encoding.ids
            mask[row, : len(encoding)] = 1
        inputs, labels = mask_tokens(
            ids,
            mask_id=self.mask_id,
            vocabulary=self.vocabulary,
            special_ids=self.special_ids | {self.padding},
            rng=rng,
            share=self.share,
        )
        found = {"input_ids": inputs, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(values) for name, values in found.items()}


class MlmHead(nn.Module):
    """dense → GELU → LayerNorm → product with the encoder's own word embeddings, plus a bias.

    The form of both BERT's and XLM-R's head. Its weights are those of a checkpoint that has them.

    Args:
        hidden: width of the encoder.
        vocabulary: rows of its word embeddings.
        epsilon: of the LayerNorm.
    """

    # The checkpoint's names, RoBERTa's and BERT's, for ours.
    NAMES = (
        {"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "bias": "lm_head.bias"},
        {
            "dense": "cls.predictions.transform.dense",
            "norm": "cls.predictions.transform.LayerNorm",
            "bias": "cls.predictions.bias",
        },
    )

    def __init__(self, hidden: int, vocabulary: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=epsilon)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def take_weights(self, state: Mapping[str, Tensor]) -> bool:
        """Take the checkpoint's own head if ``state`` holds one whole; else stay as we are."""
        for names in self.NAMES:
            wanted: dict[str, Any] = {"bias": state.get(names["bias"])}
            for part in ("dense", "norm"):
                for kind in ("weight", "bias"):
                    wanted[f"{part}.{kind}"] = state.get(f"{names[part]}.{kind}")
            if all(value is not None for value in wanted.values()):
                self.load_state_dict(wanted)
                return True
        return False

    def forward(self, hidden: Tensor, words: Tensor, labels: Tensor) -> Tensor:
        """The mean loss over the masked tokens; 0 where none was masked.

        Args:
            hidden: ``[B, S, hidden]``, the encoder's last states.
            words: ``[vocabulary, hidden]``, the encoder's word embeddings.
            labels: ``[B, S]`` int64 with -100 for "not asked".
        """
        asked = labels != IGNORED
        # Only what is asked is multiplied with the vocabulary: a seventh of the work.
        states = self.norm(F.gelu(self.dense(hidden[asked])))
        logits = F.linear(states, words, self.bias)
        return F.cross_entropy(logits, labels[asked], reduction="sum") / asked.sum().clamp(min=1)
