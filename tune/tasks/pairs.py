"""Sentence pairs with a class: natural language inference and paraphrases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from xopt.evaluate.data import REVISION, Row
from xopt.evaluate.tasks.pawsx import PawsX
from xopt.evaluate.tasks.xnli import Xnli
from xopt.forms import spelled
from xopt.tune.tasks.base import JIANT, RECALLED, Example, HubPart, Recipe, TrainingTask

__all__ = ["ANLI", "MNLI", "PAWSX", "QQP", "XNLI", "XNLI_VALIDATION"]

# As the hub's NLI data sets number them.
NLI = ("entailment", "neutral", "contradiction")
LABEL = (int, str)


def pair_reader(
    first: str, second: str, label: str, names: Sequence[str]
) -> Callable[[Row], Example | None]:
    """A reader of rows whose label is a number or a name; -1 is a row that nobody agreed on."""

    def read(row: Row) -> Example | None:
        value = row[label]
        if value in (-1, "-1", "-"):
            return None
        if isinstance(value, str) and value not in names and value.isdigit():
            value = int(value)
        if isinstance(value, int):
            if not 0 <= value < len(names):
                raise ValueError(f"{label} {value} is none of 0 to {len(names) - 1}")
            value = names[value]
        if value not in names:
            raise ValueError(f"{label} {spelled(value)} is none of {', '.join(names)}")
        return {"first": row[first], "second": row[second], "label": value}

    return read


def glue(config: str, split: str) -> HubPart:
    """A split of GLUE."""
    return HubPart("nyu-mll/glue", split, config)


MNLI = TrainingTask(
    name="mnli",
    title="MNLI",
    head="classify",
    columns={"premise": str, "hypothesis": str, "label": LABEL},
    read=pair_reader("premise", "hypothesis", "label", NLI),
    recipe=Recipe(24, 2, 256, RECALLED),
    labels=NLI,
    train=(glue("mnli", "train"),),
    dev=(glue("mnli", "validation_matched"),),
)

ANLI = replace(
    MNLI,
    name="anli",
    title="ANLI+",
    train=(
        HubPart("stanfordnlp/snli", "train"),
        *MNLI.train,
        *(HubPart("facebook/anli", f"train_r{n}") for n in (1, 2, 3)),
    ),
    dev=(
        HubPart("stanfordnlp/snli", "validation"),
        *MNLI.dev,
        *(HubPart("facebook/anli", f"dev_r{n}") for n in (1, 2, 3)),
    ),
)

QQP = TrainingTask(
    name="qqp",
    title="QQP",
    head="classify",
    columns={"question1": str, "question2": str, "label": LABEL},
    read=pair_reader("question1", "question2", "label", ("not_duplicate", "duplicate")),
    recipe=Recipe(24, 3, 256, RECALLED),
    labels=("not_duplicate", "duplicate"),
    train=(glue("qqp", "train"),),
    dev=(glue("qqp", "validation"),),
)

# XNLI has no training rows of its own: MNLI's are its English ones.
XNLI = replace(
    MNLI,
    name="xnli",
    title="XNLI",
    labels=Xnli.classes,
    folders=("mnli",),
    recipe=Recipe(32, 2, 256, JIANT),
)

XNLI_VALIDATION = TrainingTask(
    name="xnli-validation",
    title="XNLI validation (English)",
    head="classify",
    columns={"language": str, "sentence1": str, "sentence2": str, "gold_label": str},
    read=pair_reader("sentence1", "sentence2", "gold_label", NLI),
    recipe=Recipe(16, 3, 128, "ours: no published run trains on these rows"),
    labels=Xnli.classes,
    train=(HubPart("google/xtreme", "validation", "XNLI", REVISION),),
    folders=("XNLI",),
    train_split="validation",
    dev_split=None,
    english=lambda row: row["language"] == "en",
)

PAWSX = TrainingTask(
    name="pawsx",
    title="PAWS-X",
    head="classify",
    columns={"sentence1": str, "sentence2": str, "label": LABEL},
    read=pair_reader("sentence1", "sentence2", "label", PawsX.classes),
    recipe=Recipe(32, 5, 256, JIANT),
    labels=PawsX.classes,
    train=(HubPart("google/xtreme", "train", "PAWS-X.en", REVISION),),
    dev=(HubPart("google/xtreme", "validation", "PAWS-X.en", REVISION),),
    folders=("PAWS-X.en",),
)
