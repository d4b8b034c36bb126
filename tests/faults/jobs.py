"""Commands that write, and what they leave: what must be whole, and equal whoever interrupted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.workshop import EXPERIMENT, Workshop, write_training_rows

__all__ = ["JOBS", "NEEDED", "Job", "artifact", "set_up"]

# The sets that a working folder is made of.
NEEDED = ("embed", "reports", "tables")

# What differs between two runs of the same: the clock, and what was measured.
CLOCKED = (
    "created", "checksum", "throughput", "reference_throughput", "host", "command", "date",
    "in_turn", "seconds",
    "tokens_per_s", "sentences_per_s", "size_mib", "resumed_from", "evidence", "wall_s", "busy_s",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: of the command.
        words: what is typed, in the folder that :func:`set_up` made.
        digest: JSON of what it left under its final name, such as the sums of its files; None where
            there is nothing. Raises where it is not whole.
    """

    name: str
    words: tuple[str, ...]
    digest: Callable[[Path], str | None]


def set_up(workshop: Workshop, place: Path) -> None:
    """A working folder with a checkpoint, a bundle, texts and data."""
    shutil.copytree(workshop.root / "embed", place / "embed")
    shutil.copytree(workshop.root / "tables" / "b", place / "b")
    shutil.copytree(workshop.root / "tables" / "data", place / "data")
    shutil.copytree(workshop.root / "reports", place / "r")
    (place / "one.toml").write_text(EXPERIMENT)
    draw = Random(0)
    words = ["river", "stone", "cloud", "paper", "green", "seven", "north", "table"]
    lines = [" ".join(draw.choices(words, k=draw.randint(2, 10))) for _ in range(2500)]
    (place / "t.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_training_rows(place / "tune", 24)


def artifact(name: str) -> Callable[[Path], str | None]:
    """A folder with a manifest: every file must be the one the manifest says."""

    def digest(place: Path) -> str | None:
        from xopt.artifacts import Bundle

        folder = place / name
        if not folder.exists():
            return None
        bundle = Bundle.open(folder)
        bundle.verify()
        files = {n: f["sha256"] for n, f in bundle.manifest["files"].items() if "evidence" not in n}
        files.pop("card.md", None)
        return _said({"fingerprint": bundle.fingerprint, **files})

    return digest


def _evaluated(place: Path) -> str | None:
    """A bundle, and the scores of the report in it."""
    from xopt.artifacts import Bundle
    from xopt.evidence import read_reports

    bundle = Bundle.open(place / "b")
    bundle.verify()
    reports = read_reports(bundle)
    return _said([_unclocked(report) for report in reports]) if reports else None


def _checkpoint(name: str) -> Callable[[Path], str | None]:
    """A tuned checkpoint: weights, config and how it was trained."""

    def digest(place: Path) -> str | None:
        folder = place / name
        if not folder.exists():
            return None
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        config = (folder / "config.json").read_text(encoding="utf-8")
        return _said({"weights": weights, "config": config, **_unclocked(training)})

    return digest


def _file(name: str) -> Callable[[Path], str | None]:
    def digest(place: Path) -> str | None:
        path = place / name
        return _said(hashlib.sha256(path.read_bytes()).hexdigest()) if path.exists() else None

    return digest


def _unclocked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unclocked(inner) for key, inner in value.items() if key not in CLOCKED}
    return [_unclocked(inner) for inner in value] if isinstance(value, list) else value


def _said(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _swept(place: Path) -> str | None:
    """A sweep's report; every cell must be whole."""
    cells = [json.loads(path.read_text()) for path in place.glob("sweep/cells/*.json")]
    assert all("mean" in cell for cell in cells)
    path = place / "sweep" / "report.json"
    if not path.exists():
        return None
    report = json.loads(path.read_text())
    page = place / "sweep" / "report.md"
    assert not page.exists() or report["command"] in page.read_text()
    return _said(_unclocked(report["tables"]))


EVAL = ("eval", "b", "--reference", "b", "--data", "data", "--languages", "sw,th", "--resamples",
        "20", "--json")  # fmt: skip
TUNE = ("tune", "embed", "--target", "pawsx", "--data", "tune", "--max-steps", "4", "-o", "tuned",
        "--json")  # fmt: skip
BUILD = ("build", "embed", "--precision", "int8", "--calibration-tokens", "256", "-o", "out",
         "--json")  # fmt: skip

JOBS: tuple[Job, ...] = (
    Job("build", BUILD, artifact("out")),
    Job("eval", EVAL, _evaluated),
    Job("tune", TUNE, _checkpoint("tuned")),
    Job("sweep", ("sweep", "one.toml", "-o", "sweep", "--json"), _swept),
    Job("report", ("report", "r", "-o", "r.html", "--json"), _file("r.html")),
    Job("run --output .jsonl", ("run", "b", "--input", "t.txt", "--output", "o.jsonl", "--json"),
        _file("o.jsonl")),
    Job("run --output .npy", ("run", "b", "--input", "t.txt", "--output", "o.npy", "--json"),
        _file("o.npy")),
)  # fmt: skip
