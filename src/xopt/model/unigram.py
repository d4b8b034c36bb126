"""The pieces of a Unigram model and its best cut of a text (Kudo, 2018), in ``unigram.cpp``."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.compiled import compile_library

__all__ = ["Unigram", "read_score"]

SOURCE = "unigram.cpp"


class Unigram:
    """Pieces and their scores; see ``unigram.cpp``.

    Args:
        vocabulary: pieces with their scores, by number.
        unknown: number of the unknown piece.
        added: of each added token, its number.

    Raises:
        OSError: it cannot be compiled or loaded.
        subprocess.SubprocessError: the compiler failed.
    """

    def __init__(
        self, vocabulary: Sequence[tuple[str, float]], unknown: int, added: Sequence[int]
    ) -> None:
        self._native = _native()
        pieces = [piece.encode() for piece, _ in vocabulary]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        scores = np.array([score for _, score in vocabulary], np.float64)
        text = np.frombuffer(b"".join(pieces) + b"\0", np.uint8)
        numbers = np.array(added, np.int32)
        self._pieces = ctypes.c_void_p(
            self._native.xopt_pieces(
                _address(text), _address(ends), _address(scores), len(pieces),
                unknown, _address(numbers), len(numbers),
            )
        )  # fmt: skip
        weakref.finalize(self, self._native.xopt_pieces_free, self._pieces)

    def cut(self, symbols: Sequence[int], words: Sequence[int | None]) -> NDArray[np.int32]:
        """The numbers of a text's pieces.

        Args:
            symbols: its bytes in UTF-8, and 256 + its place for each added token.
            words: of each the word that it belongs to; a piece lies within one word.

        Raises:
            TypeError: a symbol belongs to no word.
        """
        given, owners = np.array(symbols, np.int32), np.array(words, np.int32)
        found = np.empty_like(given)
        count = self._native.xopt_cut(
            self._pieces, _address(given), _address(owners), len(given), _address(found)
        )
        return found[:count]


def read_score(text: str) -> float:
    """A number as the library's reader rounds it, which may be the next one to the nearest.

    It divides (or multiplies) the digits as a double by a power of ten: serde_json without its
    ``float_roundtrip``. Where pieces repeat (*nnnn*), the last bit decides between cuts.

    Args:
        text: of a number in JSON that has a fraction or an exponent.

    Raises:
        ValueError: it is too large or too small to be read so.
    """
    mantissa, _, power = text.lower().lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits, exponent = int(whole + fraction), int(power or 0) - len(fraction)
    while digits >= 2**64:
        digits, exponent = digits // 10, exponent + 1
    if abs(exponent) > 308:
        raise ValueError(f"{text} is no score")
    scale = float(f"1e{abs(exponent)}")
    value = float(digits) * scale if exponent > 0 else float(digits) / scale
    return -value if text.startswith("-") else value


@cache
def _native() -> Any:
    source = resources.files("xopt.model").joinpath(SOURCE).read_bytes()
    loaded = ctypes.CDLL(str(compile_library(SOURCE, {SOURCE: source}, ["-O2"])))
    pointer, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    loaded.xopt_pieces.restype = pointer
    loaded.xopt_pieces.argtypes = [pointer, pointer, pointer, count, number, pointer, count]
    loaded.xopt_pieces_free.argtypes = [pointer]
    loaded.xopt_cut.restype = count
    loaded.xopt_cut.argtypes = [pointer, pointer, pointer, count, pointer]
    return loaded


def _address(array: NDArray[Any]) -> int:
    return array.ctypes.data
