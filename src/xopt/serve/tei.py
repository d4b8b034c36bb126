"""The interface of text-embeddings-inference: ``/embed``, ``/predict``, ``/rerank``, ``/info``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.host import tool_versions
from xopt.model.results import Embedding, Prediction
from xopt.model.texts import Row, check_row
from xopt.serve.openai import ask, cut, read_dimensions, wrong_kind
from xopt.serve.service import ASIDE, Served, Service
from xopt.serve.tensors import parameters_of
from xopt.serve.wire import a_bool, a_name, a_text, shown, single_or_many, there

__all__ = ["embed", "info", "predict", "rerank", "root"]

# Characters whose check is worth a thread.
CHARACTERS = 65_536 // ASIDE


async def embed(service: Service, body: dict[str, Any]) -> list[NDArray[np.float32]]:
    """``inputs``, ``truncate``, ``truncation_direction``, ``normalize``, ``prompt_name``,
    ``dimensions``.

    Without ``normalize`` an embedding is what the checkpoint's own library gives.

    Raises:
        InputError: what the request asks cannot be done.
    """
    served = _of_kind(service, body, "embed")
    size = read_dimensions(service, served, body.get("dimensions"))
    rows, _ = single_or_many(there(body, "inputs", "a text, or a list of texts,"), "inputs", _text)
    asking = served.model.asking(
        prompt_name=a_name(body, "prompt_name"),
        normalize=a_bool(body, "normalize", None),
        truncate=_truncate(service, served, body),
    )
    found = await service.ask(served, rows, asking)
    return [cut(cast(Embedding, r).values, size) for r in found]


async def predict(service: Service, body: dict[str, Any]) -> Any:
    """``inputs``: a text, a pair ``[a, b]``, or a list of ``[a]`` and ``[a, b]``; ``raw_scores``.

    Returns:
        ``[{"label", "score"}, …]`` for one input, the highest first; a list of these for a list.

    Raises:
        InputError: what the request asks cannot be done.
    """
    served = _of_kind(service, body, "classify")
    rows, single = _sequences(there(body, "inputs", "a text, a pair of texts, or a list of them,"))
    raw = bool(a_bool(body, "raw_scores", False))
    asking = served.model.asking(truncate=_truncate(service, served, body))
    found = [cast(Prediction, r) for r in await service.ask(served, rows, asking)]
    listed = await service.aside(len(found), lambda: [_labelled(r, raw) for r in found])
    return listed[0] if single else listed


async def rerank(service: Service, body: dict[str, Any]) -> list[dict[str, Any]]:
    """``query``, ``texts``, ``raw_scores``, ``return_text``: the best text first.

    Raises:
        InputError: what the request asks cannot be done, or the model scores no pairs.
    """
    served = service.find(a_name(body, "model"))
    if served.model.head.kind != "classify":
        raise wrong_kind(service, served, "classify", _rerankers(service))
    if len(served.model.labels) != 1:
        raise InputError(
            f"{served.name} gives {len(served.model.labels)} labels; a reranker gives one score.",
            hint=ask("/predict", _rerankers(service)),
        )
    query = a_text(there(body, "query", "a text"), "query")
    texts = there(body, "texts", "a list of texts")
    if not isinstance(texts, list):
        raise InputError(f"texts is {shown(texts)}; it has to be a list of texts.")
    passages, _ = single_or_many(texts, "texts", _text)
    whole = [Row(query, name="query"), *passages]

    def check() -> None:
        # Here, where each has its own name.
        for row in whole:
            check_row(row, truncate=True)

    await service.aside(sum(row.characters for row in whole) // CHARACTERS, check)
    rows = [Row(query, row.first, f"query with {row.name}") for row in passages]
    raw = bool(a_bool(body, "raw_scores", False))
    back = bool(a_bool(body, "return_text", False))
    asking = served.model.asking(truncate=_truncate(service, served, body))
    found = [cast(Prediction, r) for r in await service.ask(served, rows, asking)]
    scores = [float((r.logits if raw else r.values)[0]) for r in found]
    order = sorted(range(len(texts)), key=lambda n: (-scores[n], n))
    return [{"index": n, "score": scores[n]} | ({"text": texts[n]} if back else {}) for n in order]


async def root(service: Service, body: dict[str, Any]) -> Any:
    """What huggingface_hub's client asks at ``/``: embeddings, or lists of labels."""
    served = service.find(a_name(body, "model"))
    asked = body | parameters_of(body)
    if served.model.head.kind == "embed":
        return await embed(service, asked)
    found = await predict(service, asked)
    return found if isinstance(found[0], list) else [found]


def info(service: Service, name: str | None) -> dict[str, Any]:
    """What is served, under the names that TEI's clients read."""
    served = service.find(name)
    model, options = served.model, service.options
    kind = model.head.kind
    labels = {str(n): label for n, label in enumerate(model.labels)}
    kinds: dict[str, Any] = {"classifier": {"id2label": labels}}
    if kind == "embed":
        kinds = {"embedding": {"pooling": "+".join(model.bundle.head.get("pooling", ["mean"]))}}
    elif kind == "classify" and len(labels) == 1:
        kinds = {"reranker": {"id2label": labels}}
    return {
        "model_id": served.name,
        "model_sha": model.bundle.fingerprint,
        "model_dtype": model.bundle.precision,
        "model_type": kinds,
        "max_input_length": model.max_tokens,
        "max_batch_tokens": options.batch_tokens,
        "max_client_batch_size": options.max_texts,
        # The limit is one of tokens: so many of the longest texts wait before one is refused.
        "max_concurrent_requests": max(1, options.queue_tokens // model.max_tokens),
        "auto_truncate": options.truncate,
        "version": tool_versions("xopt").get("xopt", ""),
        "prompts": model.prompts,
        "default_prompt_name": (model.bundle.manifest.get("text") or {}).get("default_prompt"),
        "models": list(service.models),
    }


def _labelled(found: Prediction, raw: bool) -> list[dict[str, Any]]:
    values = found.logits if raw else found.values
    pairs = [{"label": n, "score": float(v)} for n, v in zip(found.labels, values, strict=True)]
    return sorted(pairs, key=lambda pair: -cast(float, pair["score"]))


def _of_kind(service: Service, body: dict[str, Any], kind: str) -> Served:
    served = service.find(a_name(body, "model"))
    if served.model.head.kind != kind:
        raise wrong_kind(service, served, kind)
    return served


def _rerankers(service: Service) -> list[str]:
    models = ((name, s.model) for name, s in service.models.items())
    return [n for n, m in models if m.head.kind == "classify" and len(m.labels) == 1]


def _truncate(service: Service, served: Served, body: dict[str, Any]) -> bool:
    """Whether what is too long is cut; only on the side where the checkpoint's library cuts."""
    cut_off = bool(a_bool(body, "truncate", service.options.truncate))
    side, own = a_name(body, "truncation_direction"), served.model.session.tokenizer.spec
    if side is not None and side.lower() not in ("left", "right"):
        raise InputError(f"truncation_direction is {shown(side)}; possible: left, right.")
    if cut_off and side is not None and side.lower() != own.truncation_side:
        raise InputError(
            f"truncation_direction is {shown(side)}; what is too long for {served.name} is cut on "
            f"the side {own.truncation_side!r}.",
            hint="Leave it out, or cut the text yourself.",
        )
    return cut_off


def _text(value: Any, name: str) -> Row:
    return Row(a_text(value, name), None, name)


def _sequences(inputs: Any) -> tuple[list[Row], bool]:
    """As TEI reads them: strings in a list are one text or one pair, lists in a list are many."""
    if isinstance(inputs, list) and inputs and all(isinstance(i, str) for i in inputs):
        return [_sequence(inputs, "inputs")], True
    return single_or_many(inputs, "inputs", _sequence)


def _sequence(value: Any, name: str) -> Row:
    if isinstance(value, list):
        if len(value) not in (1, 2):
            raise InputError(f"{name} has {len(value)} texts; possible: one, or a pair.")
        pair = a_text(value[1], f"{name}[1]") if len(value) == 2 else None
        return Row(a_text(value[0], f"{name}[0]"), pair, name)
    return _text(value, name)
