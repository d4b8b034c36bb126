"""XTREME's tasks answered by a plain transformers loop: padded batches, one example after another.

This is the other side of every score parity check, so it shares no code with xopt: it tokenizes
with the checkpoint's own transformers tokenizer, splits and windows in plain loops, and reads
answers out of padded logits.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

CLASSES = {
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "embed": "AutoModel",
}


class Plain:
    """A checkpoint as transformers runs it, in fp32."""

    def __init__(self, folder: Path, kind: str, *, batch: int = 16) -> None:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if (folder / "tokenizer_config.json").is_file():
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        else:
            # Told nothing else, AutoTokenizer makes a WordPiece one for every BERT.
            self.tokenizer = transformers.PreTrainedTokenizerFast(
                tokenizer_file=str(folder / "tokenizer.json"), unk_token="<unk>", pad_token="<pad>"
            )
        self.kind = kind
        loader = getattr(transformers, CLASSES[kind])
        self.model = loader.from_pretrained(folder, dtype=torch.float32).eval()
        self.labels = [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]
        self.batch = batch
        pair = self.tokenizer("a", "a", return_token_type_ids=True)
        start = pair["input_ids"]
        piece = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        [first, second] = [i for i in range(len(start)) if start[i : i + len(piece)] == piece]
        self.open, self.close = start[:first], start[second + len(piece) :]
        self.middle = start[first + len(piece) : second]
        # XLM-R's tokenizer numbers both texts 0, also where the model is a BERT.
        self.second_type = pair["token_type_ids"][second]

    def run(self, sequences: list[list[int]], types: list[list[int]] | None = None) -> list[Any]:
        """Model outputs for token ids, one entry each, padding removed; short ones first."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        found: list[Any] = [None] * len(sequences)
        for at in range(0, len(order), self.batch):
            chosen = order[at : at + self.batch]
            longest = max(len(sequences[i]) for i in chosen)
            ids = torch.full((len(chosen), longest), self.model.config.pad_token_id)
            mask = torch.zeros_like(ids)
            kinds = torch.zeros_like(ids)
            for row, i in enumerate(chosen):
                ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
                mask[row, : len(sequences[i])] = 1
                if types is not None:
                    kinds[row, : len(types[i])] = torch.tensor(types[i])
            feed = {"input_ids": ids, "attention_mask": mask}
            if self.model.config.type_vocab_size > 1:
                feed["token_type_ids"] = kinds
            with torch.inference_mode():
                out = self.model(**feed, output_hidden_states=self.kind == "embed")
            for row, i in enumerate(chosen):
                size = len(sequences[i])
                if "start_logits" in out:
                    both = torch.stack([out.start_logits[row, :size], out.end_logits[row, :size]])
                    found[i] = both.numpy()
                elif "logits" in out:
                    logits = out.logits[row]
                    found[i] = (logits[:size] if logits.ndim == 2 else logits).numpy()
                else:
                    found[i] = [state[row, :size].mean(0).numpy() for state in out.hidden_states]
        return found

    def classify(self, pairs: list[tuple[str, str]], max_tokens: int = 128) -> list[str]:
        encoded = [
            self.tokenizer(a, b, truncation="longest_first", max_length=max_tokens)
            for a, b in pairs
        ]
        ids = [e["input_ids"] for e in encoded]
        types = [e.get("token_type_ids", [0] * len(e["input_ids"])) for e in encoded]
        return [self.labels[int(x.argmax())] for x in self.run(ids, types)]

    def tag(self, sentences: list[list[str]], max_tokens: int = 128) -> list[list[str]]:
        """Split where XTREME splits; a part ends as its script ends it, with both separators."""
        parts: list[list[int]] = []
        heads: list[list[int]] = []
        owners: list[int] = []
        unknown = self.tokenizer.unk_token_id
        if unknown is None:
            unknown = self.tokenizer.convert_tokens_to_ids("<unk>")
        room = max_tokens - len(self.open) - len(self.middle)
        known: dict[str, list[int]] = {}
        for number, words in enumerate(sentences):
            current: list[int] = []
            firsts: list[int] = []
            for word in words:
                if word not in known:
                    split = [[word]]
                    found = self.tokenizer(
                        split, is_split_into_words=True, add_special_tokens=False
                    )
                    known[word] = found["input_ids"][0]
                ids = known[word]
                if not 0 < len(ids) <= room:
                    ids = [unknown]
                if len(current) + len(ids) > room:
                    parts.append(self.open + current + self.middle)
                    heads.append(firsts)
                    owners.append(number)
                    current, firsts = [], []
                firsts.append(len(self.open) + len(current))
                current = current + ids
            parts.append(self.open + current + self.middle)
            heads.append(firsts)
            owners.append(number)
        answers: list[list[str]] = [[] for _ in sentences]
        for logits, firsts, owner in zip(self.run(parts), heads, owners, strict=True):
            answers[owner] += [self.labels[int(logits[i].argmax())] for i in firsts]
        return answers

    def span(
        self,
        questions: list[tuple[str, str]],
        *,
        window: int = 384,
        stride: int = 128,
        max_query: int = 64,
        n_best: int = 20,
        max_answer: int = 30,
    ) -> list[str]:
        """Answers to (question, passage) pairs."""
        sequences, types, places = [], [], []
        for number, (question, passage) in enumerate(questions):
            asked = self.tokenizer(question, add_special_tokens=False)["input_ids"][:max_query]
            text = self.tokenizer(passage, add_special_tokens=False, return_offsets_mapping=True)
            ids, offsets = text["input_ids"], text["offset_mapping"]
            front = self.open + asked + self.middle
            room = window - len(front) - len(self.close)
            spans, start = [], 0
            while True:
                spans.append((start, min(start + room, len(ids))))
                if start + room >= len(ids):
                    break
                start += stride
            for order, (begin, end) in enumerate(spans):
                sequences.append(front + ids[begin:end] + self.close)
                behind = end - begin + len(self.close)
                types.append([0] * len(front) + [self.second_type] * behind)
                places.append((number, len(front), begin, end, order, spans, offsets))
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(questions)
        for logits, place in zip(self.run(sequences, types), places, strict=True):
            number, front_size, begin, end, order, spans, offsets = place
            starts = sorted(range(logits.shape[1]), key=lambda i: -logits[0, i])[:n_best]
            ends = sorted(range(logits.shape[1]), key=lambda i: -logits[1, i])[:n_best]
            for s in starts:
                for e in ends:
                    first, last = s - front_size + begin, e - front_size + begin
                    if not begin <= first < end or not begin <= last < end:
                        continue
                    if last < first or last - first + 1 > max_answer:
                        continue
                    if richest_window(first, spans) != order:
                        continue
                    score = float(logits[0, s] + logits[1, e])
                    if score > best[number][0]:
                        passage = questions[number][1]
                        words = passage[offsets[first][0] : offsets[last][1]].strip()
                        best[number] = (score, words)
        return [text for _, text in best]

    def embed(self, texts: list[str], layer: int = -1, max_tokens: int = 512) -> np.ndarray:
        ids = [
            self.tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
            for text in texts
        ]
        rows = np.stack([states[layer] for states in self.run(ids)])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def richest_window(token: int, spans: list[tuple[int, int]]) -> int:
    """The first of the windows in which the token has the most context."""
    values = [
        min(token - begin, end - 1 - token) + 0.01 * (end - begin) if begin <= token < end else -1e9
        for begin, end in spans
    ]
    return values.index(max(values))


def squad_scores(answers: list[str], golds: list[list[str]]) -> tuple[float, float]:
    """(EM, F1) in percent, by the definition of SQuAD v1."""

    def words(text: str) -> list[str]:
        text = "".join(c for c in text.lower() if c not in string.punctuation)
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    exact, overlap = [], []
    for answer, accepted in zip(answers, golds, strict=True):
        exact.append(max(words(answer) == words(gold) for gold in accepted))
        values = []
        for gold in accepted:
            same = sum((Counter(words(answer)) & Counter(words(gold))).values())
            precision = same / max(1, len(words(answer)))
            recall = same / max(1, len(words(gold)))
            values.append(2 * precision * recall / (precision + recall) if same else 0.0)
        overlap.append(max(values))
    return 100 * float(np.mean(exact)), 100 * float(np.mean(overlap))


def mined_pairs(left: np.ndarray, right: np.ndarray, k: int = 4) -> list[tuple[int, int, float]]:
    """Pairs by the ratio margin over the whole table of cosines at once, best first."""
    table = left @ right.T
    near_right = np.stack([np.argsort(-row)[:k] for row in table])
    near_left = np.stack([np.argsort(-column)[:k] for column in table.T])
    left_mean = np.take_along_axis(table, near_right, 1).mean(1)
    right_mean = np.take_along_axis(table.T, near_left, 1).mean(1)
    proposals = []
    for i, near in enumerate(near_right):
        margins = table[i, near] / ((left_mean[i] + right_mean[near]) / 2)
        proposals.append((float(margins.max()), i, int(near[margins.argmax()])))
    for j, near in enumerate(near_left):
        margins = table[near, j] / ((left_mean[near] + right_mean[j]) / 2)
        proposals.append((float(margins.max()), int(near[margins.argmax()]), j))
    lefts, rights, found = set(), set(), []
    for margin, i, j in sorted(proposals, key=lambda p: -p[0]):
        if i not in lefts and j not in rights:
            lefts.add(i)
            rights.add(j)
            found.append((i, j, margin))
    return found
