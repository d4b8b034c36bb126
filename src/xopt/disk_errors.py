"""What failed on a disk, whichever library met it, and what helps against it."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from xopt.errors import XoptError
from xopt.hashing import cache_folder

__all__ = ["disk_error", "disk_hint"]

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Of libraries that fail to write and do not say why: type, what their message holds, name.
SILENT = (
    (RuntimeError, "inline_container", "PyTorch"),
    (RuntimeError, "iostream error", "OpenVINO"),
    (OSError, "requested and", "NumPy"),
)


def disk_error(error: Exception) -> OSError | None:
    """What failed on the disk, where a library has an error of its own for that; None if nothing.

    Rust's libraries (safetensors, tokenizers) say the number. PyTorch's writer says only where in
    the file it met something else than it wrote, OpenVINO only that a stream failed, NumPy how many
    values it wrote of how many. Python's copy of a folder lists what failed; the first is told.
    """
    if isinstance(error, shutil.Error):
        return _first_failed(error)
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if isinstance(error, XoptError):
        # In words already, whatever they quote.
        return None
    number = re.search(r"\(os error (\d+)\)", str(error))
    if number is not None:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    for kind, words, library in SILENT:
        if isinstance(error, kind) and words in str(error):
            said = f"{library} could not write a file; most often the disk is full"
            return OSError(errno.ENOSPC, said)
    return error if isinstance(error, OSError) else None


def _first_failed(error: shutil.Error) -> OSError:
    """Of a folder's copy, whose list may be as long as the folder, or one text."""
    failed = error.args[0] if error.args else ""
    if not isinstance(failed, list) or not failed:
        return error
    _, target, why = failed[0]
    number = re.search(r"\[Errno (\d+)\]", str(why))
    if number is None:
        return OSError(errno.EIO, str(why), str(target))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(target))


def disk_hint(error: OSError, place: Path | None = None, option: str = "-o") -> str:
    """What helps against it; the start of a sentence.

    Args:
        error: what failed.
        place: where, unless the error itself says it.
        option: what chooses the place of what the command writes; empty if nothing does.
    """
    named = error.filename if isinstance(error.filename, str | bytes) else None
    where = Path(os.fsdecode(named)) if named is not None else place
    if where is not None and where.absolute().is_relative_to(cache_folder().absolute()):
        # Whatever the command is, it was not told to write there.
        other = "set XOPT_CACHE to another folder"
    else:
        other = f"choose another place with {option}" if option else ""
    with_it = f" or {other}" if other else ""
    if error.errno in FULL:
        return f"Free some space{with_it}"
    if error.errno == errno.EFBIG:
        return f"Raise the limit of a file's size (ulimit -f){with_it}"
    if error.errno in FORBIDDEN:
        who = "hange who may read and write there"
        return f"{other[0].upper()}{other[1:]}, or c{who}" if other else f"C{who}"
    either = f", or {other}," if other else ""
    return f"Mend that{either} and type the same command again"
