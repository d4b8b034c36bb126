"""Results as JSON, for ``--json`` and for files of lines."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.model.results import Answer, Embedding, Prediction, Result, Tags
from xopt.model.texts import Row

__all__ = ["result_facts", "result_json"]


def result_facts(row: Row, result: Result) -> dict[str, Any]:
    """What the model said, by name; embeddings as an array, all else as JSON takes it."""
    facts: dict[str, Any] = {"text": row.text if isinstance(row.text, str) else list(row.text)}
    if row.pair is not None:
        facts["pair"] = row.pair
    facts["tokens"] = result.tokens
    if isinstance(result, Embedding):
        facts["embeddings"] = result.values
    elif isinstance(result, Prediction):
        facts["label"] = result.label
        facts[result.says] = short(result.value)
        plural = "probabilities" if result.says == "probability" else "scores"
        facts[plural] = {name: short(value) for name, value in result.named().items()}
    elif isinstance(result, Answer):
        facts |= {"answer": result.text, "start": result.start, "stop": result.stop}
        # JSON has no infinity: no span was allowed.
        facts["score"] = short(result.score) if np.isfinite(result.score) else None
        facts["probability"] = short(result.probability)
    else:
        facts["tags"] = _tags(result)
    return facts


def result_json(row: Row, result: Result, *, logits: bool) -> str:
    """One JSON object on one line: the text, its tokens, and what the model said.

    Args:
        row: what was asked.
        result: what was answered.
        logits: also what the engine gave before the last step.
    """
    facts = result_facts(row, result)
    arrays = {"embeddings": facts.pop("embeddings")} if "embeddings" in facts else {}
    if logits and not isinstance(result, Embedding):
        arrays["logits"] = result.logits
    said = json.dumps(facts, ensure_ascii=False)
    for name, values in arrays.items():
        said = f'{said[:-1]}, "{name}": {_array(values)}}}'
    return said


def short(value: float) -> float:
    """A float32 in the nine digits that tell it from every other."""
    return float(f"{value:.9g}")


def _tags(tags: Tags) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, (word, label) in enumerate(tags):
        entry: dict[str, Any] = {"word": word, "label": label}
        entry[tags.says] = short(float(tags.values[number].max()))
        if tags.offsets is not None:
            entry |= {"start": int(tags.offsets[number, 0]), "stop": int(tags.offsets[number, 1])}
        found.append(entry)
    return found


def _array(values: NDArray[np.float32]) -> str:
    """As JSON; one format call for a row is much faster than one for each of its values."""
    if values.ndim > 1:
        return f"[{', '.join(map(_array, values))}]"
    return f"[{', '.join(['%.9g'] * len(values)) % tuple(values.tolist())}]"
