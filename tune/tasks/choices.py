"""Multiple choice: the likeliest of several continuations or answers."""

from __future__ import annotations

from dataclasses import replace

from xopt.evaluate.data import Row
from xopt.tune.tasks.base import RECALLED, Example, HubPart, Recipe, TrainingTask

__all__ = ["COMMONSENSEQA", "COSMOSQA", "COSMOSQA_VALIDATION", "HELLASWAG"]

LABEL = (int, str)


def _chosen(first: str, choices: list[str], label: int) -> Example:
    if not 0 <= label < len(choices):
        raise ValueError(f"the label {label} is none of 0 to {len(choices) - 1}")
    return {"first": first, "choices": choices, "label": label}


def read_hellaswag(row: Row) -> Example | None:
    """A context and four endings."""
    return _chosen(row["ctx"], list(row["endings"]), int(row["label"]))


def read_cosmosqa(row: Row) -> Example | None:
    """A passage, a question and four answers."""
    answers = [f"{row['question']} {row[f'answer{n}']}" for n in range(4)]
    return _chosen(row["context"], answers, int(row["label"]))


def read_commonsenseqa(row: Row) -> Example | None:
    """A question and five answers, the right one by its letter."""
    letters, texts = list(row["choices"]["label"]), list(row["choices"]["text"])
    return _chosen(row["question"], texts, letters.index(row["answerKey"]))


HELLASWAG = TrainingTask(
    name="hellaswag",
    title="HellaSwag",
    head="choice",
    columns={"ctx": str, "endings": list, "label": LABEL},
    read=read_hellaswag,
    recipe=Recipe(24, 7, 256, RECALLED),
    train=(HubPart("Rowan/hellaswag", "train"),),
    dev=(HubPart("Rowan/hellaswag", "validation"),),
)

COSMOSQA = TrainingTask(
    name="cosmosqa",
    title="Cosmos QA",
    head="choice",
    columns={
        "context": str,
        "question": str,
        "label": LABEL,
        **dict.fromkeys((f"answer{n}" for n in range(4)), str),
    },
    read=read_cosmosqa,
    recipe=Recipe(4, 15, 256, RECALLED),
    folders=("extra/cosmosqa",),
    train=(HubPart("allenai/cosmos_qa", "train"),),
    dev=(HubPart("allenai/cosmos_qa", "validation"),),
)

# For a machine without the training rows: the same task from its small public dev set.
COSMOSQA_VALIDATION = replace(
    COSMOSQA,
    name="cosmosqa-validation",
    title="Cosmos QA validation",
    recipe=Recipe(8, 3, 256, "ours: no published run trains on these rows"),
    train=COSMOSQA.dev,
    dev=(),
    folders=("cosmosqa", "extra/cosmosqa"),
    train_split="validation",
    dev_split=None,
)

COMMONSENSEQA = TrainingTask(
    name="commonsenseqa",
    title="CommonsenseQA",
    head="choice",
    columns={"question": str, "choices": dict, "answerKey": str},
    read=read_commonsenseqa,
    recipe=Recipe(4, 10, 256, RECALLED),
    train=(HubPart("tau/commonsense_qa", "train"),),
    dev=(HubPart("tau/commonsense_qa", "validation"),),
)
