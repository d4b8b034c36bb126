"""Which split of the data at hand is scored, where it is not the one that XTREME scores."""

from __future__ import annotations

from dataclasses import replace

from xopt.evaluate.data import Source
from xopt.evaluate.tasks.base import Task, is_absent

__all__ = ["settle_split"]

OTHER = {"test": "validation", "validation": "test"}


def settle_split(task: Task, source: Source) -> tuple[Task, str]:
    """The task on a split of a folder that has labels, and what there is to say of that.

    Args:
        task: on the split that XTREME scores; not one that somebody asked for.
        source: the data; only a folder can lack a split.

    Returns:
        The task, changed where its own split is not there or has no labels and the other has; and
        one sentence, empty where nothing was changed.
    """
    other = OTHER.get(task.split)
    if source.kind != "folder" or not task.gold or other is None:
        return task, ""
    if not _has_labels(task, source, other):
        return task, ""
    if not _held(task, source, task.split):
        why = f"has no {task.split} split of {task.name}"
    elif not _has_labels(task, source, task.split):
        why = f"has no labels in its {task.split} split of {task.name}"
    else:
        return task, ""
    return replace(task, split=other), f"{source.label} {why}: its {other} split is scored."


def _held(task: Task, source: Source, split: str) -> str | None:
    """The first config of the task that the source holds in a split."""
    configs = dict.fromkeys(task.config_of(code) for code in task.languages)
    return next((config for config in configs if source.has(config, split)), None)


def _has_labels(task: Task, source: Source, split: str) -> bool:
    config = _held(task, source, split)
    if config is None:
        return False
    first = next(iter(source.read(config, split)), None)
    return first is not None and not is_absent(first.get(task.gold))
