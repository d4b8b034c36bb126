"""One request of each interface, over models of every head."""

from __future__ import annotations

from typing import Any

TEXTS = ["Habari za asubuhi", "Guten Morgen", "おはよう"]


def tensor(name: str) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(TEXTS), 1], "data": TEXTS}


INTERFACES = [
    ("/v1/embeddings", "embed", {"input": TEXTS}),
    ("/embed", "embed", {"inputs": TEXTS}),
    ("/", "embed", {"inputs": TEXTS}),
    ("/predict", "nli", {"inputs": [[text] for text in TEXTS]}),
    ("/rerank", "rerank", {"query": "Wo?", "texts": TEXTS}),
    ("/v2/models/{name}/infer", "span", {"inputs": [tensor("TEXT"), tensor("PAIR")]}),
    ("/page/ask", "tag", {"texts": TEXTS}),
]
