"""The labels of a checkpoint's head, as a task's data set names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xopt.errors import InputError

__all__ = ["match_labels"]


def match_labels(
    labels: Sequence[str],
    classes: Sequence[str],
    aliases: Mapping[str, str],
    *,
    what: str,
    task: str,
) -> list[str]:
    """The task's class of each of the head's outputs, whatever their order.

    Args:
        labels: ``id2label`` of the checkpoint, by id; case does not matter.
        classes: the task's own names.
        aliases: other names for them, in lower case.
        what: the bundle, as a message calls it.
        task: its name, as a message gives it.

    Raises:
        InputError: a label means nothing to the task, or a class has none or two.
    """
    known = {name.lower(): name for name in classes} | dict(aliases)
    found = [known.get(label.lower()) for label in labels]
    names = [name for name in found if name is not None]
    if len(names) == len(labels) and sorted(names) == sorted(classes):
        return names
    strange = [label for label, name in zip(labels, found, strict=True) if name is None]
    reason = (
        f"{', '.join(map(repr, strange[:4]))} {'is' if len(strange) == 1 else 'are'} unknown to it"
        if strange
        else f"missing or double: {', '.join(c for c in classes if names.count(c) != 1)}"
    )
    raise InputError(
        f"The labels of {what} do not fit the task {task}: {reason}.",
        hint=f"{task} needs id2label in config.json to name, in any order: {', '.join(classes)}. "
        "Set it as the checkpoint was trained, then: xopt build CHECKPOINT",
    )
