"""What a training task is: where its English rows are, what head learns them, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xopt.evaluate.data import Row

__all__ = ["Columns", "Example", "Head", "HubPart", "Recipe", "TrainingTask"]

Head = Literal["classify", "tag", "span", "choice"]
Example = dict[str, Any]
Columns = Mapping[str, type | tuple[type, ...]]
Score = Literal["accuracy", "chunks", "spans"]


@dataclass(frozen=True)
class HubPart:
    """One split on the Hugging Face hub.

    Attributes:
        repository: the data set's id.
        split: of it.
        config: of it, where it has several.
        revision: a commit; None where none was verified, and then the newest is read.
    """

    repository: str
    split: str
    config: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters, and how sure they are.

    Attributes:
        batch: examples of a step.
        epochs: passes over the training set.
        max_tokens: of an input.
        source: where the numbers come from.
        lr: highest learning rate.
    """

    batch: int
    epochs: int
    max_tokens: int
    source: str
    lr: float = 1e-5


# jiant's published scripts for the paper (rate, warm-up, clipping, phase 3).
JIANT = "jiant's scripts for the paper (verified)"
# Batch and epochs of phase 2 as remembered from the paper's appendix.
RECALLED = (
    "lr: jiant's scripts (verified); batch and epochs: the paper's appendix, from memory; "
    "longest input: ours, as phase 3's"
)


@dataclass(frozen=True)
class TrainingTask:
    """English rows to learn from. A frozen entry of the table in ``tune/tasks``.

    Attributes:
        name: as the command line spells it.
        title: as tables spell it.
        head: what is put on the encoder.
        columns: what every row must have, with the type of each.
        read: a row as an example, or None to leave it out. Raises ValueError on a bad value.
        recipe: its defaults.
        labels: class names by number; empty where the data say them, or the head has none.
        train: parts on the hub; empty where there are none.
        dev: parts on the hub; where a task has none, a tenth of its training rows is held out.
        folders: names it may have in a data folder, besides its own.
        train_split: the split that is trained on.
        dev_split: the split that scores come from; None for a held-out part of the training rows.
        score: how the English dev set is scored.
        english: which rows of a data set of several languages are English.
        licence: why the hub does not have it, if it does not.
    """

    name: str
    title: str
    head: Head
    columns: Columns
    read: Callable[[Row], Example | None]
    recipe: Recipe
    labels: tuple[str, ...] = ()
    train: tuple[HubPart, ...] = ()
    dev: tuple[HubPart, ...] = ()
    folders: tuple[str, ...] = ()
    train_split: str = "train"
    dev_split: str | None = "validation"
    score: Score = "accuracy"
    english: Callable[[Row], bool] | None = None
    licence: str = ""
