"""A span of a passage that answers a question; SQuAD v2.0 also asks what has no answer."""

from __future__ import annotations

from dataclasses import replace

from xopt.evaluate.data import REVISION, Row
from xopt.tune.tasks.base import JIANT, RECALLED, Columns, Example, HubPart, Recipe, TrainingTask

__all__ = ["MLQA", "SQUAD", "SQUAD2", "TYDIQA", "XQUAD"]


def read_span(row: Row) -> Example | None:
    """A row with at least one answer; a start that is off is moved to where the answer stands."""
    found = read_span_or_none(row)
    return found if found is None or found["answers"] else None


def read_span_or_none(row: Row) -> Example | None:
    """As :func:`read_span`, but a row without an answer is an example too."""
    texts, starts = list(row["answers"]["text"]), list(row["answers"]["answer_start"])
    if len(texts) != len(starts):
        raise ValueError(f"{len(texts)} answers and {len(starts)} starts")
    context, placed = row["context"], []
    for text, start in zip(texts, starts, strict=True):
        there = start if context[start : start + len(text)] == text else context.find(text)
        if there < 0 or not text:
            # Some copies strip the passage; an answer that fell with the rest teaches nothing.
            return None
        placed.append(there)
    example = {"question": row["question"], "context": context}
    return example | {"answers": texts, "starts": placed}


COLUMNS: Columns = {"context": str, "question": str, "answers": dict}

SQUAD = TrainingTask(
    name="squad",
    title="SQuAD v1.1",
    head="span",
    columns=COLUMNS,
    read=read_span,
    recipe=Recipe(8, 3, 384, RECALLED),
    train=(HubPart("rajpurkar/squad", "train"),),
    dev=(HubPart("rajpurkar/squad", "validation"),),
    folders=("SQuAD",),
    score="spans",
)

SQUAD2 = replace(
    SQUAD,
    name="squad2",
    title="SQuAD v2.0",
    read=read_span_or_none,
    train=(HubPart("rajpurkar/squad_v2", "train"),),
    dev=(HubPart("rajpurkar/squad_v2", "validation"),),
    folders=("squad_v2",),
)

XQUAD = replace(
    SQUAD,
    name="xquad",
    title="XQuAD",
    folders=("squad", "SQuAD"),
    recipe=Recipe(16, 2, 384, JIANT),
)
MLQA = replace(XQUAD, name="mlqa", title="MLQA")

# TyDiQA's validation rows are what XTREME scores, so that the dev part comes from the training set.
TYDIQA = replace(
    SQUAD,
    name="tydiqa",
    title="TyDiQA (English)",
    recipe=Recipe(16, 2, 384, JIANT),
    columns={"id": str, **COLUMNS},
    train=(HubPart("google/xtreme", "train", "tydiqa", REVISION),),
    dev=(),
    folders=("tydiqa.en",),
    dev_split=None,
    english=lambda row: row["id"].startswith("english-"),
)
