"""Results of single languages, kept until the command that needs them is through."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xopt.artifacts import fingerprint
from xopt.disk_errors import disk_hint
from xopt.hashing import cache_folder
from xopt.publishing import write_whole
from xopt.reading import parse_json

__all__ = ["Partial"]

log = logging.getLogger(__name__)


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
            kept = parse_json(self._path(key).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(kept, dict) or kept.get("sha256") != fingerprint(kept.get("result")):
            # Another version's, or damaged: a digit of a score would not show by itself.
            return None
        self._used.add(key)
        return dict(kept["result"])

    def put(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result: whole, or not at all. Where that fails it is said, and no more is kept."""
        if not self.enabled:
            return
        # As it is read again: the keys of an object are texts then.
        text = json.dumps(result, ensure_ascii=False)
        kept = {"sha256": fingerprint(json.loads(text)), "result": result}
        try:
            write_whole(self._path(key), json.dumps(kept, ensure_ascii=False))
        except OSError as error:
            self.enabled = False
            log.warning(
                "The run goes on; if it is interrupted, what is measured from here on is measured "
                "again: %s: %s. %s.",
                self.folder, error.strerror or error, disk_hint(error, self.folder),
            )  # fmt: skip
            return
        self._used.add(key)

    def clear(self) -> None:
        """Forget what this run read and wrote: the next one measures anew."""
        for key in self._used:
            # In a cache that cannot be written it stays, and is taken again.
            with contextlib.suppress(OSError):
                self._path(key).unlink(missing_ok=True)
        self._used.clear()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
