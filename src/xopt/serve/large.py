"""Large bodies, read and written beside the event loop and in steps.

A thread alone does not help: what reads JSON in C keeps Python to itself until the last byte, and
32 MiB of empty lists take it seconds. Here a step is one value or one text, after which others may
go on; and as many values, and as long texts, are read as a request can have a use for.
"""

from __future__ import annotations

import codecs
import json
import json.decoder
import json.scanner
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson

from xopt.model.remote import TooLargeError

__all__ = ["LARGE", "count_values", "parse_in_steps", "write", "write_in_steps"]

# Bytes of a body, or four times the values of an answer, from which on a thread is worth its wait.
LARGE = 2**16
STEP = 2**20
# A number of more digits is none that a request has.
DIGITS = 400
# Bytes that JSON may spend on one byte of UTF-8: \u0041.
ESCAPED = 6

# Its two readers in Python, which have no types.
PYTHON: Any = json.decoder
Scan = Callable[[str, int], tuple[Any, int]]


def parse_in_steps(body: bytes, most_values: int, max_text_kib: int) -> Any:
    """As :func:`xopt.reading.parse_json`, in steps.

    Args:
        body: UTF-8.
        most_values: of lists and objects together.
        max_text_kib: of one text in UTF-8; somewhat more passes here.

    Raises:
        TooLargeError: more values, or a longer text.
        ValueError: it is no JSON, or nested too deep.
    """
    reader = codecs.getincrementaldecoder("utf-8-sig")()
    parts = [reader.decode(body[at : at + STEP]) for at in range(0, len(body), STEP)]
    text = "".join([*parts, reader.decode(b"", True)])
    try:
        return _Steps(most_values, max_text_kib).decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text in it is not valid UTF-8: half of a surrogate pair") from error


class _Steps(json.JSONDecoder):
    """A reader of JSON in Python, which counts; texts are read in C."""

    def __init__(self, most_values: int, max_text_kib: int) -> None:
        super().__init__(parse_int=_number(int), parse_float=_number(float))
        self.most = self.left = most_values
        self.max_text_kib = max_text_kib
        self.longest = ESCAPED * max_text_kib * 2**10
        self.parse_array: Any = self._array
        self.parse_object: Any = self._object
        self.parse_string: Any = self._string
        make: Any = json.scanner
        self.scan_once: Any = make.py_make_scanner(self)

    def _array(self, place: tuple[str, int], scan: Scan) -> Any:
        return PYTHON.JSONArray(place, self._counted(scan))

    def _object(self, place: tuple[str, int], strict: bool, scan: Scan, *more: Any) -> Any:
        found, end = PYTHON.JSONObject(place, strict, self._counted(scan), *more)
        for name in found:
            # Names are read past _string.
            name.encode()
        return found, end

    def _counted(self, scan: Scan) -> Scan:
        def one(text: str, at: int) -> tuple[Any, int]:
            self.left -= 1
            if self.left < 0:
                raise TooLargeError(
                    f"The body has more than {self.most:,} values in lists and objects.",
                    hint="Send several requests; they are joined again.",
                )
            return scan(text, at)

        return one

    def _string(self, text: str, begin: int, strict: bool = True) -> tuple[str, int]:
        """A text from behind its first quote; where it ends is searched for before it is read."""
        place = begin
        while True:
            quote = text.find('"', place, begin + self.longest)
            if quote < 0 and begin + self.longest < len(text):
                raise TooLargeError(
                    f"A text of the body has more than {self.max_text_kib:,} KiB.", hint="Split it."
                )
            back = quote
            while quote >= 0 and text[back - 1] == "\\":
                back -= 1
            if (quote - back) % 2 == 0:
                break
            place = quote + 1
        found, end = PYTHON.scanstring(text, begin, strict)
        found.encode()
        return found, end


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(digits: str) -> Any:
        # The reader in Python takes the digits of every script.
        if not digits.isascii():
            raise ValueError("a number in it has digits other than 0 to 9")
        if len(digits) > DIGITS:
            raise ValueError(f"a number in it has more than {DIGITS} digits")
        return kind(digits)

    return read


def count_values(answer: Any) -> int:
    """Numbers and texts of an answer, roughly: items of a list are taken as alike."""
    if isinstance(answer, np.ndarray):
        return answer.size
    if isinstance(answer, dict):
        return sum(map(count_values, answer.values()))
    if isinstance(answer, list | tuple):
        return len(answer) * count_values(answer[0]) if answer else 0
    # A text counts by its length: an embedding in base64 is one.
    return 1 + len(answer) // 4 if isinstance(answer, str) else 1


def write(answer: Any) -> bytes:
    """As JSON; arrays too, in the fewest digits that are the same float32."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def write_in_steps(answer: Any) -> bytes:
    """The bytes of :func:`write`, made in steps."""
    return write(_written(answer))


def _written(answer: Any) -> Any:
    if isinstance(answer, np.ndarray):
        return orjson.Fragment(b"[" + b",".join(_items(answer)) + b"]")
    if isinstance(answer, dict):
        return {key: _written(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [_written(item) for item in answer]
    return answer


def _items(values: Any) -> Iterator[bytes]:
    if values.ndim > 1:
        for row in values:
            yield b"[" + b",".join(_items(row)) + b"]"
        return
    for at in range(0, len(values), LARGE):
        yield write(np.ascontiguousarray(values[at : at + LARGE]))[1:-1]
