"""A tuned checkpoint on disk: weights, tokenizer, ``training.json`` and the loss curve."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from xopt.artifacts import Artifact, publish, write_manifest
from xopt.errors import require
from xopt.hashing import cache_folder
from xopt.tune.stage import StageResult
from xopt.tune.training import Trained

__all__ = ["TRAINING", "TunedCheckpoint", "copy_tuned", "locked", "write_tuned"]

TRAINING = "training.json"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt", "vocab.json",
    "merges.txt",
)  # fmt: skip


@dataclass(frozen=True)
class TunedCheckpoint(Artifact):
    """A Hugging Face folder that a phase left."""

    kind: ClassVar[str] = "checkpoint"

    @property
    def training(self) -> dict[str, Any]:
        """What ``training.json`` says."""
        found: dict[str, Any] = json.loads((self.folder / TRAINING).read_text(encoding="utf-8"))
        return found


def write_tuned(
    final: Path, digest: str, result: StageResult, tokenizer: Path, report: Mapping[str, Any]
) -> TunedCheckpoint:
    """Save a phase's model as transformers does.

    Args:
        final: the folder.
        digest: its fingerprint.
        result: of the phase.
        tokenizer: the folder whose tokenizer goes with it.
        report: becomes ``training.json``.

    Raises:
        ArtifactError: ``final`` is something xopt did not make.
        BuildError: it cannot be written.
    """
    with publish(final, TunedCheckpoint.kind) as work:
        result.model.save_pretrained(work)
        for name in TOKENIZER:
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, work / name)
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        (work / TRAINING).write_text(text, encoding="utf-8")
        _plot(work / "loss.png", result.trained)
        write_manifest(work, TunedCheckpoint.kind, digest, {"training": TRAINING})
    return TunedCheckpoint.open(final)


def copy_tuned(found: TunedCheckpoint, final: Path) -> TunedCheckpoint:
    """The same checkpoint at another place."""
    with publish(final, TunedCheckpoint.kind) as work:
        for path in found.folder.iterdir():
            shutil.copyfile(path, work / path.name)
    return TunedCheckpoint.open(final)


@contextlib.contextmanager
def locked(digest: str) -> Iterator[Path]:
    """The folder for a phase's own checkpoints, held by one process at a time; the rest wait."""
    root = cache_folder() / "tuning"
    root.mkdir(parents=True, exist_ok=True)
    with (root / f"{digest[:20]}.lock").open("w") as stream:
        if os.environ.get("RANK", "0") == "0":
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield root / digest[:20]


def _plot(path: Path, trained: Trained) -> None:
    """Training loss, and below it the dev score, by step."""
    matplotlib = require("matplotlib", extra="tune", why="The loss curve")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 5))
    upper.plot(*zip(*trained.losses, strict=True))
    upper.set_ylabel("training loss")
    names = list(trained.scores[0][1])
    for name in names if len(names) > 2 else ["score"]:
        lower.plot([s for s, _ in trained.scores], [v[name] for _, v in trained.scores], ".-")
    lower.axvline(trained.best_step, linestyle=":", color="grey")
    lower.set_ylabel("English dev score, %")
    lower.set_xlabel("step")
    if len(names) > 2:
        lower.legend(names)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
