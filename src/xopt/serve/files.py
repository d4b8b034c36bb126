"""The files of a bundle that is served, which nobody may write over.

An engine may read its weights where they lie: what is written into such a file is answered with at
once, and a file that is cut off ends the process. A file that is put in its place by renaming
changes nothing until the bundle is opened anew.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from xopt.artifacts import SIGNATURE, Bundle
from xopt.errors import BuildError
from xopt.hashing import sha256_file

__all__ = ["Files", "same"]

# What of a manifest says nothing of what the bundle answers.
APART = ("created", "checksum", SIGNATURE)
MAPS = Path("/proc/self/maps")


class Files:
    """The files that this process reads where they lie, as they were.

    Args:
        bundle: an open one; its files were verified.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.lock = threading.Lock()
        mapped = _mapped()
        # Open, so that they are told from what others put in their places.
        self.held = {
            path: (os.open(path, os.O_RDONLY), facts["sha256"])
            for name, facts in bundle.manifest["files"].items()
            if (path := (bundle.folder / name).resolve()) in mapped
        }
        self.seen = {path: _look(number) for path, (number, _) in self.held.items()}

    def check(self) -> None:
        """Look whether one of them was written over.

        Raises:
            BuildError: it was, and is named.
        """
        with self.lock:
            for path, (number, digest) in self.held.items():
                if (now := _look(number)) == self.seen[path]:
                    continue
                if sha256_file(Path(f"/proc/self/fd/{number}")) != digest:
                    raise BuildError(
                        f"{path} was written over while it is served.",
                        hint="Rename a whole bundle to its place, and start the server anew.",
                    )
                # Touched alone, or as it was again.
                self.seen[path] = now

    def close(self) -> None:
        """Let them go."""
        with self.lock:
            for number, _ in self.held.values():
                os.close(number)
            self.held = {}


def same(one: Bundle, other: Bundle) -> bool:
    """Whether two manifests say the same of what is answered."""
    found, right = (
        {key: value for key, value in bundle.manifest.items() if key not in APART}
        for bundle in (one, other)
    )
    return found == right


def _mapped() -> set[Path]:
    """Files in the memory of this process; none where the system does not say."""
    if not MAPS.is_file():
        return set()
    lines = (line.split(maxsplit=5) for line in os.fsdecode(MAPS.read_bytes()).splitlines())
    return {Path(line[5]) for line in lines if len(line) == 6}


def _look(number: int) -> tuple[int, int]:
    """(size, when it was written)."""
    found = os.fstat(number)
    return found.st_size, found.st_mtime_ns
