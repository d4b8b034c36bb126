"""The English training tasks: nine intermediate ones, those of XTREME, and small stand-ins."""

from collections.abc import Mapping

from xopt.errors import InputError, did_you_mean
from xopt.tune.tasks.base import Example, HubPart, Recipe, TrainingTask
from xopt.tune.tasks.choices import (
    COMMONSENSEQA,
    COSMOSQA,
    COSMOSQA_VALIDATION,
    HELLASWAG,
)
from xopt.tune.tasks.pairs import ANLI, MNLI, PAWSX, QQP, XNLI, XNLI_VALIDATION
from xopt.tune.tasks.spans import MLQA, SQUAD, SQUAD2, TYDIQA, XQUAD
from xopt.tune.tasks.tags import CCG, PANX, UDPOS

__all__ = [
    "INTERMEDIATE", "TARGETS", "TASKS", "Example", "HubPart", "Recipe", "TrainingTask", "find_task",
]  # fmt: skip

# The paper's nine, in its order.
INTERMEDIATE = (
    "anli", "mnli", "qqp", "squad2", "squad", "hellaswag", "ccg", "cosmosqa", "commonsenseqa",
)  # fmt: skip
# XTREME's that are trained for; BUCC and Tatoeba take the encoder as it is.
TARGETS = ("xnli", "pawsx", "udpos", "panx", "xquad", "mlqa", "tydiqa")

TASKS: Mapping[str, TrainingTask] = {
    task.name: task
    for task in (
        ANLI, MNLI, QQP, SQUAD2, SQUAD, HELLASWAG, CCG, COSMOSQA, COMMONSENSEQA,
        XNLI, PAWSX, UDPOS, PANX, XQUAD, MLQA, TYDIQA, XNLI_VALIDATION,
        COSMOSQA_VALIDATION,
    )
}  # fmt: skip


def find_task(name: str) -> TrainingTask:
    """The training task of this name.

    Raises:
        InputError: no such task, or one that is not trained for.
    """
    if name in ("bucc2018", "tatoeba"):
        raise InputError(
            f"{name} is not trained for: it takes the encoder as phase 2 leaves it.",
            hint="Leave --target out, then: xopt eval BUNDLE --task " + name,
        )
    if name not in TASKS:
        raise InputError(f"Unknown training task {name!r}.", hint=did_you_mean(name, TASKS))
    return TASKS[name]
