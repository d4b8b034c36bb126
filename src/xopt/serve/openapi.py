"""The interfaces in OpenAPI's words."""

from __future__ import annotations

from typing import Any

from xopt.host import tool_versions

__all__ = ["describe"]

TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
FLAG = {"type": "boolean"}
NAME = {"type": "string"}
NUMBER = {"type": "integer"}
# Of text-embeddings-inference; only the side of the checkpoint's own library can be asked for.
CUT = {"truncate": FLAG, "truncation_direction": {"enum": ["left", "right", "Left", "Right"]}}

# path -> (method, what it does, properties of the body, those that it must have)
PATHS: dict[str, tuple[str, str, dict[str, Any], list[str]]] = {
    "/v1/embeddings": (
        "post", "Embeddings, as OpenAI's clients ask for them.",
        {
            "input": TEXTS, "model": NAME, "dimensions": NUMBER, "prompt_name": NAME,
            "encoding_format": {"enum": ["float", "base64"]}, "truncate": FLAG,
        },
        ["input"],
    ),
    "/v1/models": ("get", "What is served.", {}, []),
    "/v1/models/{name}": ("get", "One of what is served.", {}, []),
    "/embed": (
        "post", "Embeddings, as text-embeddings-inference gives them.",
        {
            "inputs": TEXTS, **CUT, "normalize": FLAG, "prompt_name": NAME,
            "dimensions": NUMBER, "model": NAME,
        },
        ["inputs"],
    ),
    "/predict": (
        "post", "Labels with their probabilities or scores, the highest first.",
        {
            "inputs": {"description": "A text, a pair [a, b], or a list of [a] and [a, b]."},
            "raw_scores": FLAG, **CUT, "model": NAME,
        },
        ["inputs"],
    ),
    "/rerank": (
        "post", "Texts ordered by how well they fit a query.",
        {
            "query": NAME, "texts": {"type": "array", "items": NAME}, "raw_scores": FLAG,
            "return_text": FLAG, **CUT, "model": NAME,
        },
        ["query", "texts"],
    ),
    "/info": ("get", "What is served, as text-embeddings-inference says it.", {}, []),
    "/health": ("get", "200 where every model has just answered a text, else 503.", {}, []),
    "/metrics": ("get", "Numbers for Prometheus.", {}, []),
    "/v2": ("get", "Open Inference Protocol: the server.", {}, []),
    "/v2/health/live": ("get", "Open Inference Protocol: the process is there.", {}, []),
    "/v2/health/ready": ("get", "Open Inference Protocol: as /health.", {}, []),
    "/v2/models/{name}": ("get", "Open Inference Protocol: inputs and outputs.", {}, []),
    "/v2/models/{name}/ready": ("get", "Open Inference Protocol: the model is there.", {}, []),
    "/v2/models/{name}/infer": (
        "post", "Open Inference Protocol: TEXT and PAIR in, the head's output and TOKENS out.",
        {
            "id": NAME,
            "inputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object", "properties": {"truncate": FLAG}},
        },
        ["inputs"],
    ),
}  # fmt: skip

RESPONSES = {
    "200": {"description": "The answer."},
    "400": {"description": "The request cannot be answered; the message says why."},
    "401": {"description": "The API key is missing or wrong."},
    "404": {"description": "There is no such path, or no model of this name is served."},
    "413": {"description": "A text, the number of texts, or the body is too large."},
    "415": {"description": "The body is compressed; send it as it is."},
    "429": {"description": "Too much is waiting; Retry-After says when to ask again."},
    "503": {"description": "The request waited too long, or the server is stopping."},
}


# The protocol's paths may name the version too.
MODEL = "/v2/models/{name}"
PATHS |= {
    path.replace(MODEL, MODEL + "/versions/{version}"): entry
    for path, entry in PATHS.items()
    if path.startswith(MODEL)
}


def describe() -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for path, (method, summary, properties, required) in PATHS.items():
        entry: dict[str, Any] = {"summary": summary, "responses": RESPONSES}
        in_path = [part for part in ("name", "version") if f"{{{part}}}" in path]
        if in_path:
            entry["parameters"] = [
                {"name": part, "in": "path", "required": True, "schema": NAME} for part in in_path
            ]
        if method == "post":
            schema = {"type": "object", "properties": properties, "required": required}
            entry["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }
        paths[path] = {method: entry}
    return {
        "openapi": "3.1.0",
        "info": {"title": "xopt serve", "version": tool_versions("xopt").get("xopt", "0")},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }
