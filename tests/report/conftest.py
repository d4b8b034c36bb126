"""Documents to make reports of: those that xopt printed, and small ones."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
Write = Callable[[str, Mapping[str, Any]], Path]


@pytest.fixture
def tatoeba() -> dict[str, Any]:
    """What ``xopt eval`` printed on 2026-11-23: 18 languages."""
    found: dict[str, Any] = json.loads((RESULTS / "tatoeba-e5-small-int8.json").read_text())
    return found


@pytest.fixture
def sweep() -> dict[str, Any]:
    """What ``xopt sweep`` printed on 2026-11-22: 36 cells."""
    found: dict[str, Any] = json.loads((RESULTS / "e5_small_sweep.json").read_text())
    return found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a document into a file."""

    def put(name: str, document: Mapping[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return put


@pytest.fixture
def many(tatoeba: dict[str, Any]) -> dict[str, Any]:
    """Nine tasks in forty languages, as one document of ``xopt eval --task all``."""
    from xopt.evaluate.tasks import TASKS
    from xopt.languages import NAMES

    some = list(tatoeba["languages"].values())
    tasks = []
    for number, name in enumerate(TASKS):
        entry = copy.deepcopy(tatoeba) | {"task": name}
        entry["languages"] = {
            code: some[(place + number) % len(some)] for place, code in enumerate(NAMES)
        }
        entry["worst"] = {"language": "ka", "difference": -1.0}
        tasks.append(entry)
    return {"tasks": tasks, "groups": {}, "average": None}
