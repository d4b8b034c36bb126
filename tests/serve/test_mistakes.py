"""What a client gets wrong: told in words, in the form of the interface that was asked."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest


def _bytes(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}


LONG = "Habari za asubuhi, rafiki yangu. " * 60


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/embeddings", {"input": ""}, 400, "input is empty"),
        ("/v1/embeddings", {"input": ["a", " \n"]}, 400, r"input[1] is empty"),
        ("/v1/embeddings", {"input": []}, 400, "empty list"),
        ("/v1/embeddings", {"input": 7}, 400, "token ids"),
        ("/v1/embeddings", {}, 400, "input is missing. Send a text"),
        ("/v1/embeddings", {"input": LONG}, 400, 'Send "truncate": true'),
        ("/v1/embeddings", {"input": "x" * 9000}, 413, "8 KiB"),
        ("/v1/embeddings", {"input": ["x"] * 101}, 413, "101 texts"),
        ("/v1/embeddings", {"input": "x" * 70_000}, 413, "body"),
        (
            "/v1/embeddings",
            {"input": "x", "model": "nli"},
            400,
            'nli gives labels of texts, not embeddings. Ask /predict, or send "model": "embed".',
        ),
        ("/v1/embeddings", {"input": "x", "model": 7}, 400, "model is 7; it has to be a string"),
        ("/v1/embeddings", {"input": "x", "encoding_format": "xml"}, 400, "float, base64"),
        ("/v1/embeddings", {"input": "x", "encoding_format": ""}, 400, 'encoding_format is ""'),
        ("/", {"inputs": "x", "parameters": []}, 400, "parameters is a list; it has to be a"),
        (
            "/v2/models/embed/infer",
            {"inputs": [_bytes("TEXT", ["a"]) | {"data": [[]]}]},
            400,
            "TEXT has no text. Send at least one text.",
        ),
        ("/v1/embeddings", {"input": "x", "prompt_name": "query"}, 400, "no prompt 'query'"),
        ("/v1/embeddings", b"{", 400, "no JSON"),
        ("/v1/embeddings", b"[1]", 400, "not a JSON object"),
        ("/v1/embeddings", b'{"input": "\xff"}', 400, "no JSON"),
        ("/v1/embeddings", b'{"input": "\\ud800"}', 400, "not valid UTF-8"),
        ("/v1/embeddings", b'{"input": "a", "model": "\\ud800"}', 400, "not valid UTF-8"),
        ("/v2/models/nli/infer", b'{"id": "\\ud800"}', 400, "not valid UTF-8"),
        ("/embed", {"inputs": "x", "normalize": "yes"}, 400, "possible: true, false"),
        ("/embed", {"inputs": "x", "model": "span"}, 400, "Ask /v2/models/span/infer"),
        ("/predict", {"inputs": [["a", "b", "c"]], "model": "nli"}, 400, "one, or a pair"),
        ("/predict", {"inputs": ["a", " "], "model": "nli"}, 400, "its pair, is empty"),
        ("/predict", {"inputs": "x"}, 400, 'Ask /embed, or send "model": "rerank", or nli.'),
        ("/rerank", {"query": "a"}, 400, 'Ask /embed, or send "model": "rerank".'),
        ("/rerank", {"query": "a", "model": "nli"}, 400, 'Ask /predict, or send "model": "rerank"'),
        ("/rerank", {"query": "a", "texts": [], "model": "rerank"}, 400, "texts is an empty list"),
        ("/rerank", {"query": "a", "texts": ["b", 3], "model": "rerank"}, 400, "texts[1]"),
        (
            "/rerank",
            {"query": "a", "texts": ["b", None], "model": "rerank"},
            400,
            "texts[1] is null; it has to be a string",
        ),
        (
            "/rerank",
            {"query": "a", "texts": ["b", " "], "model": "rerank"},
            400,
            "texts[1] is empty",
        ),
        ("/rerank", {"query": " ", "texts": ["b"], "model": "rerank"}, 400, "query is empty"),
        (
            "/rerank",
            {"query": "a" * 4000, "texts": ["b"] * 20, "model": "rerank", "truncate": True},
            413,
            "more than 64 KiB together",
        ),
        ("/v2/models/span/infer", {"inputs": [_bytes("TEXT", ["a"])]}, 400, "no context"),
        ("/v2/models/nli/infer", {"inputs": [_bytes("WORD", ["a"])]}, 400, "TEXT, PAIR"),
        (
            "/v2/models/nli/infer",
            {"inputs": [_bytes("TEXT", ["a", "b"]), _bytes("PAIR", ["c"])]},
            400,
            "2 TEXT and 1 PAIR",
        ),
        (
            "/v2/models/nli/infer",
            {"inputs": [_bytes("TEXT", ["a"]) | {"shape": [2]}]},
            400,
            "has the shape [2] and 1 texts",
        ),
        ("/v2/models/none/infer", {"inputs": []}, 404, "No model 'none'"),
        ("/v2/models/none/versions/1/infer", {"inputs": []}, 404, "No model 'none'"),
        ("/v1/embeddings", {"input": "x", "model": "embd"}, 404, "Did you mean 'embed'?"),
        ("/embed", {"inputs": "x", "model": "none"}, 404, "No model 'none'"),
        ("/predict", {"inputs": "x", "model": "none"}, 404, "No model 'none'"),
        ("/rerank", {"query": "x", "texts": ["y"], "model": "none"}, 404, "No model 'none'"),
        ("/", {"inputs": "x", "model": "none"}, 404, "No model 'none'"),
        ("/page/ask", {"texts": ["x"], "model": "none"}, 404, "No model 'none'"),
        (
            "/v2/models/nli/infer",
            {"inputs": [_bytes("TEXT", ["a"]), _bytes("TEXT", ["b"])]},
            400,
            "TEXT stands twice",
        ),
        (
            "/v2/models/embed/infer",
            {"inputs": [_bytes("TEXT", ["a"]) | {"shape": [True]}]},
            400,
            "has the shape [true]",
        ),
        ("/v2/models/embed/infer", {"inputs": [_bytes("TEXT", [])]}, 400, "has no text"),
        ("/v2/models/embed/versions/2/infer", {"inputs": []}, 404, "no version '2'; possible: 1"),
        ("/embed", {"inputs": "x", "truncation_direction": "up"}, 400, "possible: left, right"),
        (
            "/embed",
            {"inputs": LONG, "truncate": True, "truncation_direction": "Left"},
            400,
            "is cut on the side 'right'",
        ),
        ("/embed", {"inputs": None}, 400, "inputs is null"),
        ("/embed", {"inputs": {"a": 1}}, 400, "inputs is an object"),
        ("/embed", {"inputs": ["a", True]}, 400, "inputs[1] is true"),
        ("/embed", {"inputs": "\u200b \ufeff\u0007"}, 400, "at least one visible character"),
        ("/embed", {"inputs": "x", "prompt_name": "z"}, 400, "This model has no prompt 'z'"),
        ("/embed", {"inputs": "x", "model": "y" * 900}, 404, f"No model '{'y' * 79} is served."),
        (
            "/embed",
            {"inputs": "x", "prompt_name": "y" * 900},
            400,
            f"no prompt '{'y' * 79}. Possible",
        ),
        ("/embed", b"", 400, "The body is empty. Send a JSON object"),
        ("/embed", b"null", 400, "The body is null, not a JSON object"),
        ("/predict", {"inputs": "x", "model": "tag"}, 400, "gives tags of words, not labels"),
        ("/predict", {"inputs": "x", "model": "tag"}, 400, "Ask /v2/models/tag/infer"),
        (
            "/rerank",
            {"query": "a", "model": "rerank"},
            400,
            "texts is missing. Send a list of texts",
        ),
        (
            "/rerank",
            {"query": "a", "texts": "b", "model": "rerank"},
            400,
            'texts is "b"; it has to be a list',
        ),
        ("/v2/models/embed/infer", {"inputs": [None]}, 400, "no input null; possible: TEXT."),
        (
            "/v2/models/tag/infer",
            {"inputs": [_bytes("WORD", ["a"])]},
            400,
            'no input "WORD"; possible: TEXT.',
        ),
        (
            "/v2/models/embed/infer",
            {"inputs": 1},
            400,
            'inputs is 1; it has to be a list. Send "inputs"',
        ),
        (
            "/v2/models/tag/infer",
            {"inputs": [_bytes("TEXT", ["a"]), _bytes("PAIR", ["b"])]},
            400,
            "this model tags single texts. Leave the second text out",
        ),
        ("/v1/none", {}, 404, "There is no /v1/none"),
        ("/v2/none", {}, 404, "There is no /v2/none"),
        ("/health", {}, 405, "not with POST"),
    ],
)
def test_a_clients_mistake_is_told_in_words_and_is_no_server_error(
    server: Any, path: str, body: Any, status: int, said: str
) -> None:
    found = server.ask(path, body)
    assert found[0] == status, found
    text = json.dumps(found[1], ensure_ascii=False).replace('\\"', '"')
    assert said in text
    assert "xopt run" not in text
    assert "--help" not in text
    assert "--truncate" not in text
    # JSON's words, and those of who knows the model by its name alone.
    words = re.search(r"\b(None|NoneType|True|False|dict|str|list'|tuple|NAME|bundle)\b", text)
    # What langchain is told is Python.
    assert words is None or "langchain" in text
    # In the form of the interface.
    if path.startswith("/v1"):
        assert found[1]["error"]["type"] == "invalid_request_error"
    else:
        assert found[1].get("error_type", "validation") == "validation"
    # The server goes on as before.
    assert server.ask("/embed", {"inputs": "Habari"})[0] == 200


def test_a_side_is_taken_where_the_checkpoints_library_cuts(server: Any) -> None:
    plain = server.ask("/embed", {"inputs": LONG, "truncate": True})
    asked = {"inputs": LONG, "truncate": True, "truncation_direction": "Right"}
    assert server.ask("/embed", asked)[:2] == plain[:2]
    # Nothing is cut, so that no side is wrong.
    assert server.ask("/embed", {"inputs": "x", "truncation_direction": "left"})[0] == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed", "/v2/models/nli/infer"])
def test_a_compressed_body_is_refused_by_what_was_done_to_it(server: Any, path: str) -> None:
    packed = {"Content-Encoding": "GZIP"}
    status, found, headers = server.ask(path, gzip.compress(b"{}"), **packed)
    assert (status, headers["accept-encoding"]) == (415, "identity")
    assert "Content-Encoding 'GZIP'" in str(found)
    assert "without compression" in str(found)


def test_a_body_that_says_it_is_not_compressed_is_read(server: Any) -> None:
    status, _, _ = server.ask("/embed", {"inputs": "x"}, **{"Content-Encoding": "identity"})
    assert status == 200
