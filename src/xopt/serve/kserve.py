"""KServe's Open Inference Protocol (v2) over REST, with the names of ``xopt deploy triton``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.host import tool_versions
from xopt.model.asking import ALONE
from xopt.model.remote import TooLargeError
from xopt.model.results import Answer, Embedding, Prediction, Result, Tags
from xopt.serve.service import Served, Service, UnknownModelError
from xopt.serve.tensors import parameters_of, wants_bytes, write_outputs
from xopt.serve.wire import a_bool, shown, text_rows, there

__all__ = ["check_version", "infer", "metadata", "server_metadata"]

# Every model has one version, by which the protocol's paths may name it.
VERSION = "1"
# What to do about inputs that are something else.
TENSORS = (
    'Send "inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["a text"]}].'
)

# Values of an answer, zeros behind the last tokens of short texts included: 128 MiB.
MOST_VALUES = 2**25

Array = NDArray[np.float32]


def server_metadata() -> dict[str, Any]:
    """Of the server."""
    return {
        "name": "xopt",
        "version": tool_versions("xopt").get("xopt", ""),
        "extensions": ["binary_tensor_data"],
    }


def metadata(served: Served) -> dict[str, Any]:
    """Inputs and outputs of a model."""
    signature = served.model.session.engine.signature
    shape = [-1, -1, signature.width] if signature.per_token else [-1, signature.width]
    return {
        "name": served.name,
        "versions": [VERSION],
        "platform": f"xopt_{served.model.bundle.target}",
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [-1, 1]} for name in _inputs(served)
        ],
        "outputs": [
            {"name": signature.output, "datatype": "FP32", "shape": shape},
            {"name": "TOKENS", "datatype": "INT32", "shape": [-1, 1]},
        ],
    }


def check_version(served: Served, version: str) -> None:
    """Refuse a version that there is not.

    Raises:
        UnknownModelError: it is another one.
    """
    if version != VERSION:
        raise UnknownModelError(
            f"{served.name} has no version {version!r:.40}; possible: {VERSION}."
        )


async def infer(
    service: Service, served: Served, body: dict[str, Any]
) -> tuple[dict[str, Any], bytes | None]:
    """TEXT (and PAIR) in, the head's output and TOKENS out.

    Embeddings are as the checkpoint's own library gives them; logits are what the head gives
    before its last step, zero behind a text's last token.

    Returns:
        The answer's JSON, and the bytes behind it where outputs were asked for as bytes.

    Raises:
        InputError: a tensor is missing, of another datatype, of another shape than its
            data, without a text, or there twice.
    """
    tensors = _tensors(body, _inputs(served))
    texts = tensors.get("TEXT")
    if texts is None:
        raise InputError("The input TEXT is missing.", hint=TENSORS)
    output = served.model.session.engine.signature.output
    asked = wants_bytes(body, (output, "TOKENS"))
    rows = text_rows(texts, tensors.get("PAIR"), ("TEXT", "PAIR"))
    asking = served.model.asking(
        truncate=bool(a_bool(parameters_of(body), "truncate", service.options.truncate))
    )
    found = await service.ask(served, rows, asking)
    tokens = np.array([[result.tokens] for result in found], np.int32).reshape(-1, 1)
    values = {output: _stacked([_values(result) for result in found]), "TOKENS": tokens}
    entries, behind = write_outputs(values, asked)
    answer = {
        "model_name": served.name,
        "model_version": VERSION,
        **({"id": body["id"]} if isinstance(body.get("id"), str) else {}),
        "outputs": entries,
    }
    return answer, behind


def _inputs(served: Served) -> tuple[str, ...]:
    return ("TEXT",) if served.model.head.kind in ALONE else ("TEXT", "PAIR")


def _tensors(body: dict[str, Any], possible: tuple[str, ...]) -> dict[str, list[Any]]:
    given = there(body, "inputs", "a list of tensors")
    if not isinstance(given, list):
        raise InputError(f"inputs is {shown(given)}; it has to be a list.", hint=TENSORS)
    found: dict[str, list[Any]] = {}
    for tensor in given:
        # A PAIR that this model does not read is refused where its kind is known, in more words.
        if not isinstance(tensor, dict) or tensor.get("name") not in ("TEXT", "PAIR"):
            name = tensor.get("name") if isinstance(tensor, dict) else tensor
            raise InputError(f"There is no input {shown(name)}; possible: {', '.join(possible)}.")
        name, data, shape = tensor["name"], tensor.get("data"), tensor.get("shape")
        if tensor.get("datatype") != "BYTES":
            kind = shown(tensor.get("datatype"))
            raise InputError(f"{name} has the datatype {kind}; possible: BYTES.", hint=TENSORS)
        if name in found:
            raise InputError(f"The input {name} stands twice.")
        if not isinstance(data, list):
            raise InputError(f"{name} has no list of data.", hint=TENSORS)
        flat = [v for item in data for v in (item if isinstance(item, list) else [item])]
        if not flat:
            raise InputError(f"{name} has no text.", hint="Send at least one text.")
        sizes = isinstance(shape, list) and all(type(size) is int for size in shape)
        if not sizes or shape not in ([len(flat)], [len(flat), 1]):
            raise InputError(
                f"{name} has the shape {json.dumps(shape):.40} and {len(flat)} texts.",
                hint=f"Possible: [{len(flat)}, 1].",
            )
        found[name] = flat
    return found


def _values(result: Result) -> Array:
    if isinstance(result, Embedding):
        return result.values
    assert isinstance(result, Prediction | Tags | Answer)
    return result.logits


def _stacked(rows: Sequence[Array]) -> Array:
    """``[n, width]``, or ``[n, longest, width]`` with zeros behind a text's last token.

    Raises:
        TooLargeError: a long text among many would make them GiB of zeros.
    """
    if not rows:
        return np.zeros((0, 0), np.float32)
    if rows[0].ndim == 1:
        return np.stack(rows)
    shape = (len(rows), max(map(len, rows)), rows[0].shape[1])
    if math.prod(shape) > MOST_VALUES:
        raise TooLargeError(
            f"The answer would have {math.prod(shape):,} values, each text filled up to the "
            f"longest; at most {MOST_VALUES:,} are written.",
            hint="Send the longest texts in requests of their own.",
        )
    table = np.zeros(shape, np.float32)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table
