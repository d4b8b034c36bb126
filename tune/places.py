"""Folders and files as reports name them: what is published says nothing of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["by_name", "name_of"]


def name_of(place: str) -> str:
    """The last part of a path; a hub id and every other word as it is."""
    path = Path(place).expanduser()
    is_path = path.is_absolute() or place.startswith((".", "~")) or path.exists()
    return path.resolve().name if is_path else place


def by_name(document: Any) -> Any:
    """A JSON document with every text that is an absolute path cut to its last part."""
    if isinstance(document, Mapping):
        return {key: by_name(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [by_name(value) for value in document]
    if isinstance(document, str) and document.startswith(("/", "~", "./", "../")):
        return name_of(document)
    return document
