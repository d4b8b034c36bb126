"""The English rows of our evaluation sample as training data, where nothing else is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xopt.errors import InputError
from xopt.evaluate.data import Row
from xopt.evaluate.tasks.pawsx import PawsX
from xopt.evaluate.tasks.xnli import Xnli
from xopt.tune.tasks import Recipe, TrainingTask
from xopt.tune.tasks.pairs import pair_reader

__all__ = ["on_sample"]

# Enough steps for two dozen rows; a head of the usual two epochs would hardly have moved.
RECIPE = Recipe(8, 10, 128, "ours: for two dozen rows", lr=5e-5)


def on_sample(task: TrainingTask) -> TrainingTask:
    """The task on the rows that `xopt eval --data sample` scores in English.

    What the sample then says of the other languages is zero-shot, of English it is not.

    Raises:
        InputError: the sample has no rows for the task.
    """
    place = PLACES.get(task.name)
    if place is None:
        raise InputError(
            f"The sample has no rows for {task.name}.",
            hint=f"It has rows for: {', '.join(PLACES)}. Without an intermediate task: "
            "xopt tune --intermediate none --target xnli --data sample",
        )
    folder, split, changes = place
    recipe = replace(RECIPE, max_tokens=max(RECIPE.max_tokens, task.recipe.max_tokens))
    return replace(
        task, folders=(folder,), train_split=split, dev_split=None, recipe=recipe, train=(), dev=(),
        **changes,
    )  # fmt: skip


def _is_english(row: Row) -> bool:
    return bool(row["language"] == "en")


_NLI: Mapping[str, Any] = {
    "columns": {"language": str, "sentence1": str, "sentence2": str, "gold_label": str},
    "read": pair_reader("sentence1", "sentence2", "gold_label", Xnli.classes),
    "english": _is_english,
}
_PAIRS: Mapping[str, Any] = {"read": pair_reader("sentence1", "sentence2", "label", PawsX.classes)}
# Task -> its folder in the sample, the split there, and what differs from the task's usual rows.
PLACES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "xnli": ("XNLI", "test", _NLI),
    "pawsx": ("PAWS-X.en", "test", _PAIRS),
    "udpos": ("udpos.English", "test", {}),
    "panx": ("PAN-X.en", "test", {}),
    "xquad": ("XQuAD.en", "validation", {}),
    "mlqa": ("MLQA.en.en", "test", {}),
    "tydiqa": ("tydiqa", "validation", {}),
}
