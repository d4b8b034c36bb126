"""What a server is asked: texts, each interface of an embedding model, and what it must refuse."""

from __future__ import annotations

import base64
import json
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.corpus import load_corpus

__all__ = ["MISTAKES", "WAYS", "Way", "make_texts"]

Array = NDArray[np.float32]
TABLE = 4000
# Share of texts of 100 words or more.
LONG = 0.01


def make_texts(seed: int) -> list[str]:
    """Stretches of the calibration texts, each of one language; short ones more often."""
    draw = random.Random(seed)
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for language, text in load_corpus().rows:
        rows[language].append(text)
    joined = [" ".join(texts) for _, texts in sorted(rows.items())]
    # Of Chinese, Japanese, Thai and their like, characters: a word there is a sentence.
    units = [words if len(words := t.split()) > len(t) / 20 else list(t) for t in joined]
    texts = []
    for _ in range(TABLE):
        words = draw.choice(units)
        long = draw.random() < LONG
        size = draw.randint(100, 400) if long else 2 + int(draw.expovariate(1 / 10))
        start = draw.randrange(max(1, len(words) - size))
        part = words[start : start + size]
        texts.append(("" if max(map(len, part)) == 1 else " ").join(part).strip() or words[0])
    return texts


class Way(NamedTuple):
    """A path, the body that asks texts there, and what reads the embeddings of its answer."""

    path: str
    ask: Callable[[list[str]], dict[str, Any]]
    read: Callable[[bytes], Array]


def _tensor(texts: list[str]) -> dict[str, Any]:
    return {"name": "TEXT", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}


def _floats(body: bytes) -> Array:
    return np.array([e["embedding"] for e in json.loads(body)["data"]], np.float32)


def _packed(body: bytes) -> Array:
    parts = [base64.b64decode(entry["embedding"]) for entry in json.loads(body)["data"]]
    return np.stack([np.frombuffer(part, "<f4") for part in parts])


def _output(body: bytes) -> Array:
    outputs = json.loads(body)["outputs"]
    found = next(entry for entry in outputs if entry["datatype"] == "FP32")
    return np.array(found["data"], np.float32).reshape(found["shape"])


def _behind(body: bytes) -> Array:
    # In Latin-1 a character is a byte, so what stands behind the JSON may be anything.
    answer, place = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    for entry in answer["outputs"]:
        size = entry["parameters"]["binary_data_size"]
        if entry["datatype"] == "FP32":
            return np.frombuffer(body[place : place + size], "<f4").reshape(entry["shape"])
        place += size
    raise ValueError("no output in FP32")


# The model is called m.
WAYS = {
    "OpenAI, float": Way("/v1/embeddings", lambda texts: {"model": "m", "input": texts}, _floats),
    # What the openai package asks for.
    "OpenAI, base64": Way(
        "/v1/embeddings",
        lambda texts: {"model": "m", "input": texts, "encoding_format": "base64"},
        _packed,
    ),
    "text-embeddings-inference": Way(
        "/embed",
        lambda texts: {"inputs": texts},
        lambda body: np.array(json.loads(body), np.float32),
    ),
    "Open Inference Protocol": Way(
        "/v2/models/m/infer", lambda texts: {"inputs": [_tensor(texts)]}, _output
    ),
    # What tritonclient asks for.
    "Open Inference Protocol, bytes": Way(
        "/v2/models/m/infer",
        lambda texts: {"inputs": [_tensor(texts)], "parameters": {"binary_data_output": True}},
        _behind,
    ),
}
MISTAKES = (
    ("/v1/embeddings", b'{"model": "m", "input": []}'),
    ("/v1/embeddings", b'{"model": "none", "input": ["a"]}'),
    ("/v1/embeddings", b'{"model": "m", "input": [17]}'),
    ("/embed", b'{"inputs": ["a", ""'),
    ("/embed", b'{"inputs": null}'),
    ("/embed", b'{"inputs": "\xff\xfe"}'),
    ("/predict", b'{"inputs": "a"}'),
    ("/v2/models/m/infer", b'{"inputs": [{"name": "TEXT"}]}'),
    ("/v2/models/none/infer", b"{}"),
)
