"""Tensors as bytes behind the JSON, as the protocol's binary extension writes them."""

from __future__ import annotations

import json
import struct
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.errors import InputError
from xopt.model.core import load
from xopt.serve.tensors import HEADER, read_request
from xopt.serve.wire import parse

TEXTS = ["Habari", "おはよう\n", "x" * 30]


def packed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def asked(behind: bytes, size: object, **more: Any) -> tuple[bytes, str]:
    tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [len(TEXTS), 1]}
    tensor["parameters"] = {"binary_data_size": size}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + behind, str(len(head))


def test_texts_as_bytes_are_read_and_answers_written_as_bytes(
    server: Any, bundles: dict[str, Path]
) -> None:
    behind = packed(*(text.encode() for text in TEXTS))
    outputs = [{"name": "embeddings", "parameters": {"binary_data": True}}, {"name": "TOKENS"}]
    body, stated = asked(behind, len(behind), outputs=outputs)
    request = urllib.request.Request(server.url + "/v2/models/embed/infer", body, {HEADER: stated})
    with urllib.request.urlopen(request, timeout=60) as answer:
        data, size = answer.read(), int(answer.headers[HEADER])
        assert answer.headers["content-type"] == "application/octet-stream"
    embeddings, tokens = json.loads(data[:size])["outputs"]
    assert embeddings == {
        "name": "embeddings", "datatype": "FP32", "shape": [len(TEXTS), 64],
        "parameters": {"binary_data_size": len(data) - size},
    }  # fmt: skip
    with load(bundles["embed"]) as model:
        right = model.encode(TEXTS)
        counts = [len(encoding) for encoding in model.session.tokenizer.encode(TEXTS)]
    values = np.frombuffer(data[size:], "<f4").reshape(len(TEXTS), 64)
    np.testing.assert_array_equal(values, right)
    assert (tokens["datatype"], tokens["data"]) == ("INT32", counts)


@pytest.mark.parametrize(
    ("behind", "size", "said"),
    [
        (packed(b"a"), 6, "binary_data_size of TEXT is 6; 5 bytes are left"),
        (packed(b"a"), -1, "is -1"),
        (packed(b"a"), True, "is true"),
        (packed(b"a"), 4, r"TEXT\[0\] is longer than the tensor"),
        (packed(b"a") + b"\0\0", 7, "ends within the length"),
        (packed(b"a") + b"more", 5, "4 bytes stand behind"),
        (packed(*[b""] * 101), 404, "TEXT has more than 100 texts"),
        (packed(b"a", b"\xff"), 10, r"TEXT\[1\] is not valid UTF-8"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(behind: bytes, size: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_request(*asked(behind, size), parse, 100)


@pytest.mark.parametrize("stated", ["-1", "x", "9999", "²", "9" * 5000])
def test_a_stated_length_that_cannot_be_is_refused(stated: str) -> None:
    with pytest.raises(InputError, match=HEADER):
        read_request(b"{}", stated, parse, 100)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([{"name": "embeddings"}, {"name": "other"}], "possible: embeddings, TOKENS"),
        ({"name": "embeddings"}, "outputs is an object; it has to be a list"),
        (["TOKENS"], 'There is no output "TOKENS"'),
        ([{"name": "TOKENS", "parameters": {"binary_data": 1}}], "possible: true, false"),
        (
            [{"name": "TOKENS", "parameters": []}],
            "parameters is a list; it has to be a JSON object",
        ),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(server: Any, outputs: Any, said: str) -> None:
    tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    body = {"inputs": [tensor], "outputs": outputs}
    status, found, _ = server.ask("/v2/models/embed/infer", body)
    assert (status, said in found["error"]) == (400, True), found
    assert "--help" not in found["error"]


def test_an_answer_of_padding_alone_is_refused(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xopt.serve.kserve.MOST_VALUES", 100)
    for texts, status in ((["a"], 200), (["a"] * 20 + ["Habari za asubuhi"], 413)):
        data = {"name": "TEXT", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
        found = server.ask("/v2/models/tag/infer", {"inputs": [data]})
        assert found[0] == status, found
    assert "filled up to the longest; at most 100" in found[1]["error"]
