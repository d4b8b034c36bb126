"""The English rows a task is trained and selected on; nothing else is opened."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import fingerprint
from xopt.errors import DataError, InputError, require
from xopt.evaluate.data import SAMPLE, Row, Source
from xopt.forms import WORDS, in_words, spelled
from xopt.hub import MIRROR, hub_at_hand
from xopt.tune.ccgbank import read_ccgbank
from xopt.tune.sample import on_sample
from xopt.tune.tasks import Example, HubPart, TrainingTask

__all__ = ["TaskData", "load_task", "open_folder"]

HELD_OUT = 0.1


@dataclass(frozen=True)
class TaskData:
    """A task with its examples.

    Attributes:
        task: whose they are.
        train: trained on.
        dev: English too; stops the training and chooses the checkpoint.
        labels: class names, by number.
        facts: where the rows come from, how many, and their fingerprints.
    """

    task: TrainingTask
    train: Sequence[Example]
    dev: Sequence[Example]
    labels: tuple[str, ...]
    facts: dict[str, Any]


def open_folder(name: str | None) -> Path | None:
    """The data folder, ``sample`` for our own sentences; None for the hub.

    Raises:
        InputError: there is no such folder.
    """
    if name in (None, "hub"):
        return None
    if name == "sample":
        return SAMPLE
    folder = Path(str(name)).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"There is no data folder {folder}.",
            hint="Give a folder that holds TASK/train.jsonl or .parquet, one in the layout of "
            "google/xtreme, or sample; leave --data out for the Hugging Face hub.",
        )
    return folder


def load_task(
    task: TrainingTask,
    folder: Path | None,
    *,
    seed: int,
    translated: Path | None = None,
    max_train: int | None = None,
    max_dev: int = 500,
) -> TaskData:
    """Read a task's rows, hold out a dev part where it has none, and cut both.

    Args:
        task: what to read.
        folder: see :func:`open_folder`.
        seed: of the held-out part, and of the choice of ``max_train``.
        translated: a folder of the same layout whose training rows are added.
        max_train: training examples kept; all if None.
        max_dev: dev examples kept, the first ones; of a task with several parts on the hub, as
            many of each part.

    Raises:
        InputError: the rows cannot be had.
        DataError: a row breaks the schema, or none is left.
    """
    if folder == SAMPLE:
        task = on_sample(task)
    train = _examples(task, folder, task.train_split)
    if task.dev_split is None or not _has(task, folder, task.dev_split):
        train, dev = _hold_out(train, seed, max_dev)
        held_out = True
    else:
        dev, held_out = _examples(task, folder, task.dev_split, most=max_dev), False
    if translated is not None:
        train = [*train, *_examples(task, translated, task.train_split, translated=True)]
    if max_train is not None and len(train) > max_train:
        chosen = np.random.default_rng((seed, 1)).permutation(len(train))[:max_train]
        train = [train[i] for i in sorted(chosen)]
    labels = task.labels
    if task.head == "tag" and not labels:
        labels = tuple(sorted({tag for row in train for tag in row["tags"]}))
    facts: dict[str, Any] = {
        "task": task.name,
        "rows_from": _rows_from(folder),
        "translated_from": translated.resolve().name if translated else None,
        "train": len(train),
        "dev": len(dev),
        "dev_held_out": held_out,
        "train_fingerprint": fingerprint(train),
        "dev_fingerprint": fingerprint(dev),
    }
    if folder is None:
        facts["hub"] = [_hub_name(part) for part in (*task.train, *task.dev)]
    return TaskData(task, train, dev, labels, facts)


def _rows_from(folder: Path | None) -> str:
    if folder is None:
        return "hub"
    return "sample" if folder == SAMPLE else folder.resolve().name


def _hold_out(rows: Sequence[Example], seed: int, most: int) -> tuple[list[Example], list[Example]]:
    count = min(most, max(1, round(len(rows) * HELD_OUT)))
    if len(rows) < 2:
        raise DataError("One row is not enough to train on and to hold out a dev part.")
    order = np.random.default_rng((seed, 0)).permutation(len(rows))
    dev, train = sorted(order[:count]), sorted(order[count:])
    return [rows[i] for i in train], [rows[i] for i in dev]


def _examples(
    task: TrainingTask,
    folder: Path | None,
    split: str,
    *,
    translated: bool = False,
    most: int | None = None,
) -> list[Example]:
    parts = _rows(task, folder, split)
    found: list[Example] = []
    for number, rows in enumerate(parts):
        examples = _read(task, rows, translated)
        if most is not None:
            share = most * (number + 1) // len(parts) - most * number // len(parts)
            examples = itertools.islice(examples, share)
        found += examples
    if not found:
        raise DataError(
            f"{task.name}/{split} holds no example to learn from.",
            hint=f"Expected columns: {', '.join(task.columns)}.",
        )
    return found


def _read(
    task: TrainingTask, rows: Iterable[tuple[str, Row]], translated: bool
) -> Iterator[Example]:
    for where, row in rows:
        _check_columns(task, row, where)
        if not translated and task.english is not None and not task.english(row):
            continue
        try:
            example = task.read(row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{where}: {in_words(error)}.") from error
        if example is not None:
            yield example


def _check_columns(task: TrainingTask, row: Row, where: str) -> None:
    for name, kind in task.columns.items():
        if name not in row:
            raise DataError(
                f"{where}: the column {name!r} is missing.",
                hint=f"{task.name} needs the columns {', '.join(task.columns)}.",
            )
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(WORDS[one] for one in kinds)
            raise DataError(f"{where}: {name!r} is {spelled(row[name])}, not {wanted}.")


def _rows(task: TrainingTask, folder: Path | None, split: str) -> list[Iterator[tuple[str, Row]]]:
    """Of each part its rows, each with the words that name it."""
    if folder is None:
        return [_numbered(_hub_name(part), _from_hub(part)) for part in _parts(task, split)]
    source = Source(folder.name, "folder", folder)
    place = _place(task, source, split)
    if place is None and task.licence:
        return [_numbered(f"{task.name}/{split}", read_ccgbank(folder, split))]
    # Of a task that is not there, reading raises, and lists what is.
    place = place or task.name
    return [_numbered(f"{place}/{split}", source.read(place, split))]


def _numbered(where: str, rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    for number, row in enumerate(rows, 1):
        yield f"{where}, row {number}", row


def _place(task: TrainingTask, source: Source, split: str) -> str | None:
    names = (task.name, *task.folders)
    return next((name for name in names if source.has(name, split)), None)


def _has(task: TrainingTask, folder: Path | None, split: str) -> bool:
    if folder is None:
        return bool(_parts(task, split))
    return (
        bool(task.licence) or _place(task, Source(folder.name, "folder", folder), split) is not None
    )


def _parts(task: TrainingTask, split: str) -> Sequence[HubPart]:
    if task.licence:
        raise InputError(
            f"{task.title} is not on the hub: {task.licence}.",
            hint="Give the folder that holds your copy: --data DIR",
        )
    return task.train if split == task.train_split else task.dev


def _hub_name(part: HubPart) -> str:
    config = f":{part.config}" if part.config else ""
    return f"{part.repository}{config}/{part.split}@{(part.revision or 'newest')[:12]}"


def _from_hub(part: HubPart) -> Iterable[Row]:
    why = "Fetching training data from the hub"
    datasets = require("datasets", extra="tune", why=why)
    with hub_at_hand(why=why, extra="tune") as hub:
        try:
            rows: Iterable[Row] = datasets.load_dataset(
                part.repository, part.config, split=part.split, revision=part.revision
            )
        except Exception as error:
            said = hub.fault or f"{type(error).__name__}: {' '.join(str(error).split()):.200}"
            raise InputError(
                f"{_hub_name(part)} could not be fetched from the hub: {said}.",
                hint=f"Give a folder that holds TASK/train.jsonl: --data DIR, or {MIRROR}. "
                "Where there is neither, --data sample shows every step on two dozen sentences.",
            ) from error
    return rows
