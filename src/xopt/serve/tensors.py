"""Tensors of the Open Inference Protocol, in JSON or as bytes behind it (its binary extension).

Source: the protocol's Binary Tensor Data Extension, as KServe and Triton publish it. Texts are
``BYTES``: each has its length in four bytes before it, the lowest first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.errors import InputError
from xopt.model.remote import TooLargeError
from xopt.serve.wire import shown

__all__ = ["HEADER", "parameters_of", "read_request", "wants_bytes", "write_outputs"]

# In a request or an answer with tensors as bytes: how many bytes of JSON come before them.
HEADER = "Inference-Header-Content-Length"
# What to do about texts as bytes that do not fit.
LENGTHS = "Send each text behind its length in four bytes, the lowest first."


def read_request(
    body: bytes, stated: str | None, parse: Callable[[bytes], dict[str, Any]], most_texts: int
) -> dict[str, Any]:
    """A request whose inputs all have ``data``, also those that came as bytes.

    Args:
        body: JSON, and the bytes of tensors where ``stated`` says how long the JSON is.
        stated: the header of this name, if it was sent.
        parse: reads the JSON.
        most_texts: of one tensor in bytes.

    Raises:
        TooLargeError: more texts.
        InputError: lengths that do not fit each other, or a text that is not UTF-8.
    """
    if stated is None:
        return parse(body)
    # Twenty digits are more than any length has, and fewer than Python refuses to read.
    known = stated.isascii() and stated.isdecimal() and len(stated) <= 20
    if not (known and int(stated) <= len(body)):
        raise InputError(
            f"{HEADER} is {stated!r:.40}; the body has {len(body):,} bytes.",
            hint="It is the number of bytes of the JSON before the tensors.",
        )
    place = int(stated)
    found = parse(body[:place])
    given = found.get("inputs")
    for tensor in given if isinstance(given, list) else ():
        if not isinstance(tensor, dict) or tensor.get("datatype") != "BYTES":
            continue
        size = parameters_of(tensor).get("binary_data_size")
        if size is None:
            continue
        name = f"{tensor.get('name')!s:.40}"
        left = len(body) - place
        if type(size) is not int or not 0 <= size <= left:
            raise InputError(
                f"binary_data_size of {name} is {shown(size)}; {left:,} bytes are left.",
                hint="It is the number of bytes of this tensor behind the JSON.",
            )
        tensor["data"] = _texts(body[place : place + size], name, most_texts)
        place += size
    if place < len(body):
        raise InputError(
            f"{len(body) - place:,} bytes stand behind the last tensor.",
            hint=f"Send what {HEADER} and binary_data_size say.",
        )
    return found


def wants_bytes(body: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, bool]:
    """The outputs that a request asks for, in its order, and whether each is written as bytes.

    Raises:
        InputError: an output that there is not.
    """
    usual = _flag(body, "binary_data_output", default=False)
    asked = body.get("outputs")
    if asked is None or asked == []:
        return dict.fromkeys(names, usual)
    if not isinstance(asked, list):
        raise InputError(
            f"outputs is {shown(asked)}; it has to be a list.",
            hint=f'Send [{{"name": "{names[0]}"}}].',
        )
    found = {}
    for output in asked:
        name = output.get("name") if isinstance(output, dict) else None
        if name not in names:
            wrong = output if name is None else name
            raise InputError(f"There is no output {shown(wrong)}; possible: {', '.join(names)}.")
        found[str(name)] = _flag(output, "binary_data", default=usual)
    return found


def write_outputs(
    tensors: Mapping[str, NDArray[np.generic]], asked: Mapping[str, bool]
) -> tuple[list[dict[str, Any]], bytes | None]:
    """The entries of ``outputs``, and the bytes that go behind the JSON where any were asked for.

    Args:
        tensors: float32 or int32, by name.
        asked: of :func:`wants_bytes`.
    """
    entries, parts = [], []
    for name, as_bytes in asked.items():
        values = tensors[name]
        kind = "FP32" if values.dtype == np.float32 else "INT32"
        entry: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(values.shape)}
        if as_bytes:
            parts.append(values.astype(values.dtype.newbyteorder("<")).tobytes())
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = values.reshape(-1)
        entries.append(entry)
    return entries, b"".join(parts) if any(asked.values()) else None


def _texts(data: bytes, name: str, most: int) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(data):
        if len(texts) == most:
            raise TooLargeError(
                f"{name} has more than {most:,} texts.",
                hint="Send several requests; they are joined again.",
            )
        if place + 4 > len(data):
            raise InputError(f"{name} ends within the length of a text.", hint=LENGTHS)
        (size,) = struct.unpack_from("<I", data, place)
        place += 4
        if place + size > len(data):
            raise InputError(f"{name}[{len(texts)}] is longer than the tensor.", hint=LENGTHS)
        try:
            texts.append(data[place : place + size].decode())
        except UnicodeDecodeError as error:
            raise InputError(f"{name}[{len(texts)}] is not valid UTF-8.") from error
        place += size
    return texts


def parameters_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The ``parameters`` of a request, an input or an output; empty where there are none.

    Raises:
        InputError: something else stands there.
    """
    found = entry.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"parameters is {shown(found)}; it has to be a JSON object.")
    return found


def _flag(entry: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters_of(entry).get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; possible: true, false.")
    return value
