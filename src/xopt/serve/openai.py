"""OpenAI's ``/v1/embeddings`` and ``/v1/models``, as its own client speaks them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.model.results import Embedding
from xopt.model.texts import Row
from xopt.serve.service import Served, Service
from xopt.serve.wire import a_bool, a_name, a_text, shown, single_or_many, there

__all__ = [
    "ask", "cut", "embeddings", "error_body", "model", "models", "read_dimensions", "wrong_kind",
]  # fmt: skip

# Kind of head -> what it gives, as a client calls it.
GIVES = {
    "embed": "embeddings",
    "classify": "labels of texts",
    "tag": "tags of words",
    "span": "answers from a context",
}

Array = NDArray[np.float32]


async def embeddings(service: Service, body: dict[str, Any]) -> dict[str, Any]:
    """``input``, ``model``, ``encoding_format``, ``dimensions``; beside them ``prompt_name``.

    Raises:
        InputError: what the request asks cannot be done.
    """
    served = _embedding_model(service, a_name(body, "model"))
    form = a_name(body, "encoding_format")
    form = "float" if form is None else form
    if form not in ("float", "base64"):
        raise InputError(f"encoding_format is {shown(form)}; possible: float, base64.")
    size = read_dimensions(service, served, body.get("dimensions"))
    rows, _ = single_or_many(there(body, "input", "a text, or a list of texts,"), "input", _row)
    asking = served.model.asking(
        prompt_name=a_name(body, "prompt_name"),
        truncate=bool(a_bool(body, "truncate", service.options.truncate)),
    )
    found = [cast(Embedding, r) for r in await service.ask(served, rows, asking)]
    tokens = sum(r.tokens for r in found)
    values = await service.aside(
        len(found), lambda: [_written(cut(r.values, size), form) for r in found]
    )
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(values)
        ],
        "model": served.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def models(served: Sequence[Served]) -> dict[str, Any]:
    """The list of what is served."""
    return {"object": "list", "data": [model(s) for s in served]}


def model(served: Served) -> dict[str, Any]:
    """One of them."""
    opened = int(served.opened)
    return {"id": served.name, "object": "model", "created": opened, "owned_by": "xopt"}


def error_body(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """An error as OpenAI's client reads it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def read_dimensions(service: Service, served: Served, asked: Any) -> int | None:
    """How many values of an embedding are kept.

    Raises:
        InputError: a size that this checkpoint was not trained for, as far as the server knows.
    """
    if asked is None:
        return None
    width = served.model.width
    allowed = [*sorted(n for n in service.options.dimensions if n < width), width]
    if type(asked) is not int or asked not in allowed:
        raise InputError(
            f"dimensions is {shown(asked)}; {served.name} gives {', '.join(map(str, allowed))}.",
            hint="Send one of these, or leave it out; whoever runs the server can allow more.",
        )
    return asked


def cut(values: Array, size: int | None) -> Array:
    """The first ``size`` values, of length 1 again where the whole was (Kusupati et al., 2022)."""
    if size is None or size == len(values):
        return values
    part = values[:size]
    length = float(np.linalg.norm(values))
    if abs(length - 1.0) < 1e-3:
        part = part / max(float(np.linalg.norm(part)), 1e-12)
    return part.astype(np.float32)


def _embedding_model(service: Service, name: str | None) -> Served:
    served = service.find(name)
    if served.model.head.kind != "embed":
        raise wrong_kind(service, served, "embed")
    return served


def wrong_kind(
    service: Service, served: Served, asked: str, fits: Sequence[str] | None = None
) -> InputError:
    """A model that gives something else than was asked: where it does, and which gives that."""
    kind = served.model.head.kind
    way = {"embed": "/embed", "classify": "/predict"}.get(kind, f"/v2/models/{served.name}/infer")
    if fits is None:
        fits = [name for name, s in service.models.items() if s.model.head.kind == asked]
    return InputError(
        f"{served.name} gives {GIVES[kind]}, not {GIVES[asked]}.", hint=ask(way, fits)
    )


def ask(way: str, fits: Sequence[str]) -> str:
    """What a client does whose model does not fit: another path, or a model that is served."""
    if not fits:
        return f"Ask {way}; no other model is served that fits."
    others = "".join(f", or {name}" for name in fits[1:])
    return f'Ask {way}, or send "model": "{fits[0]}"{others}.'


def _row(value: Any, name: str) -> Row:
    if type(value) is int or (isinstance(value, list) and value and type(value[0]) is int):
        raise InputError(
            f"{name} holds token ids; this server reads texts, because ids of another tokenizer "
            "mean nothing to this checkpoint.",
            hint="Send texts. With langchain: OpenAIEmbeddings(check_embedding_ctx_length=False).",
        )
    return Row(a_text(value, name), None, name)


def _written(values: Array, form: str) -> Any:
    if form == "base64":
        return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")
    return values
