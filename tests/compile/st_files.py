"""Files of a sentence-transformers folder, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MODULES = "sentence_transformers.models."


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def change(path: Path, **values: Any) -> None:
    write(path, (json.loads(path.read_text()) if path.exists() else {}) | values)


def modules(folder: Path, *kinds: str, root: str = "", prefix: str = MODULES) -> None:
    """``modules.json`` with a Transformer before ``kinds``, each in a folder of its own."""
    entries = [{"idx": 0, "name": "0", "path": root, "type": prefix + "Transformer"}]
    for number, kind in enumerate(kinds, 1):
        place = f"{number}_{kind}"
        entries.append({"idx": number, "name": place, "path": place, "type": prefix + kind})
    write(folder / "modules.json", entries)


def pool(folder: Path, **config: Any) -> None:
    modules(folder, "Pooling")
    write(folder / "1_Pooling" / "config.json", config)
