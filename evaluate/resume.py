"""Results of single languages, kept until the command that needs them is through."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xopt.hashing import cache_folder
from xopt.publishing import write_whole
from xopt.reading import parse_json

__all__ = ["Partial"]


class Partial:
    """What an interrupted run had finished, by fingerprint.

    Args:
        folder: where the results lie; in the cache by default.
        enabled: off, nothing is read or written.
    """

    def __init__(self, folder: Path | None = None, *, enabled: bool = True) -> None:
        self.folder = folder or cache_folder() / "evaluations"
        self.enabled = enabled
        self._used: set[str] = set()

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of this key, if a run before finished it."""
        if not self.enabled:
            return None
        try:
            found = parse_json(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        self._used.add(key)
        return dict(found)

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result: whole, or not at all."""
        if not self.enabled:
            return
        write_whole(self._path(key), json.dumps(result, ensure_ascii=False))
        self._used.add(key)

    def clear(self) -> None:
        """Forget what this run read and wrote: the next one measures anew."""
        for key in self._used:
            self._path(key).unlink(missing_ok=True)
        self._used.clear()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
