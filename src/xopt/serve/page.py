"""What the page at ``/`` asks: facts of a model, and its answers in a form to show."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from xopt.errors import InputError
from xopt.evidence import read_reports
from xopt.languages import names_of
from xopt.model.results import Answer, Embedding, Prediction, Tags
from xopt.serve.service import Service
from xopt.serve.wire import a_name, text_rows

__all__ = ["ask", "facts"]

# Texts of one question of the page.
MOST = 12
# Of a language, on the page.
SHOWN = ("candidate", "difference", "ci95")


def facts(service: Service, name: str | None) -> dict[str, Any]:
    """Names of all models, and card and retention of one."""
    served = service.find(name)
    bundle = served.model.bundle
    card = bundle.folder / "card.md"
    return {
        "models": list(service.models),
        "name": served.name,
        "kind": served.model.head.kind,
        "precision": bundle.precision,
        "target": bundle.target,
        "max_tokens": served.model.max_tokens,
        "card": card.read_text(encoding="utf-8") if card.is_file() else "",
        "retention": [
            {
                "task": report["task"],
                "data": report["data"]["label"],
                "mean": report["mean"],
                "languages": {
                    name: {k: report["languages"][code][k] for k in SHOWN}
                    for code, name in names_of(report["languages"]).items()
                },
            }
            for report in read_reports(bundle)
        ],
    }


async def ask(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """``model``, ``texts``, ``pair``: answers to show, and the milliseconds they took."""
    served = service.find(a_name(body, "model"))
    texts, pair = body.get("texts"), a_name(body, "pair")
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST:
        raise InputError(f"texts has to be a list of 1 to {MOST} texts.")
    rows = text_rows(texts, [pair] * len(texts) if pair else None, ("Text", "second text"))
    begin = time.perf_counter()
    found = await service.ask(served, rows, served.model.asking(truncate=True))
    spent = (time.perf_counter() - begin) * 1e3
    shown: list[Any] = []
    for result in found:
        match result:
            case Prediction():
                shown.append({"values": result.named(), "says": result.says})
            case Answer():
                shown.append({"answer": result.text, "probability": result.probability})
            case Tags():
                shown.append({"tags": list(result)})
    vectors = [r.values for r in found if isinstance(r, Embedding)]
    similar = []
    if vectors:
        table = np.stack(vectors)
        table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        similar = (table @ table.T).tolist()
    return {
        "ms": spent,
        "tokens": [result.tokens for result in found],
        "answers": shown,
        "similarity": similar,
    }
