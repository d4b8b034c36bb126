"""What a page calls its runs, so that no two of them have one name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["place_names", "told_apart"]


def told_apart(names: Sequence[str]) -> list[str]:
    """The names; what was there before gets a number: ``a``, ``a #2``, ``a #3``."""
    found: dict[str, None] = {}
    for name in names:
        own, number = name, 1
        while own in found:
            number += 1
            own = f"{name} #{number}"
        found[own] = None
    return list(found)


def place_names(places: Sequence[Path]) -> list[str]:
    """The last part of each path without ``.json``, and as many before it as tell it from others.

    ``e5`` for ``runs/e5.json``; ``monday/e5`` where ``tuesday/e5.json`` is among them.
    """
    parts = [path.resolve().with_name(_name(path)).parts for path in places]
    found = []
    for own in parts:
        depth = 1
        others = [other for other in parts if other != own]
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        found.append(str(Path(*own[-depth:])))
    return found


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".json" else path.resolve().name
