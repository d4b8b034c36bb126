"""Arrays of an ``.npz`` that anyone may have written."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_arrays"]


def read_arrays(path: Path, most_bytes: int | None = None) -> dict[str, NDArray[Any]]:
    """Name -> array.

    Args:
        path: the file.
        most_bytes: that the arrays may take in memory, where the file is packed: it can hold a
            thousand times its own size. None: as many as the file has, which then is not packed.

    Raises:
        ValueError: it is no such file, is damaged, holds objects of Python, or takes more.
    """
    try:
        # NumPy takes what is no archive for a pickle, and says how to open it unsafely.
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path.name} is missing" if not path.is_file() else "it is no .npz")
        # NumPy leaves a damaged file open that it opened itself.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            total = sum(member.file_size for member in stored.zip.infolist())
            if total > (path.stat().st_size if most_bytes is None else most_bytes):
                raise ValueError(f"its arrays take {total:,} bytes, more than they may")
            return {name: stored[name] for name in stored.files}
    except Exception as error:
        # Of zipfile, of zlib, of NumPy.
        raise ValueError(str(error).partition(". If you trust")[0]) from error
