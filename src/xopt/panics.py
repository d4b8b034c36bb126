"""Panics of libraries in Rust, as errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["panics_as_errors"]


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic into a RuntimeError.

    ``tokenizers`` panics where a file says what its reader did not expect. The exception that
    Python sees then is no ``Exception``, so that whoever catches those lets it through.

    Raises:
        RuntimeError: the library panicked.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(f"its library panicked: {error}") from error
