"""A tag for each word: supertags of CCG, parts of speech, names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xopt.evaluate.data import REVISION, Row
from xopt.evaluate.tasks.panx import PanX
from xopt.evaluate.tasks.tagging import tag_name
from xopt.evaluate.tasks.udpos import UdPos
from xopt.tune.tasks.base import JIANT, RECALLED, Example, HubPart, Recipe, TrainingTask

__all__ = ["CCG", "PANX", "UDPOS"]


def tag_reader(
    column: str, names: Sequence[str], clean: Callable[[str], str] = str
) -> Callable[[Row], Example | None]:
    """A reader of rows whose tags are numbers of ``names``, or names."""

    def read(row: Row) -> Example | None:
        tokens, tags = row["tokens"], row[column]
        if len(tokens) != len(tags):
            raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags")
        if not tokens:
            return None
        return {"tokens": [clean(t) for t in tokens], "tags": [tag_name(t, names) for t in tags]}

    return read


CCG = TrainingTask(
    name="ccg",
    title="CCG",
    head="tag",
    columns={"tokens": list, "tags": list},
    read=tag_reader("tags", ()),
    recipe=Recipe(24, 15, 256, RECALLED),
    licence="CCGbank is licensed by the Linguistic Data Consortium (LDC2005T13)",
)

PANX = TrainingTask(
    name="panx",
    title="PAN-X",
    head="tag",
    columns={"tokens": list, "ner_tags": list},
    read=tag_reader("ner_tags", PanX.tags),
    recipe=Recipe(32, 10, 256, JIANT),
    labels=PanX.tags,
    train=(HubPart("google/xtreme", "train", "PAN-X.en", REVISION),),
    dev=(HubPart("google/xtreme", "validation", "PAN-X.en", REVISION),),
    folders=("PAN-X.en",),
    score="chunks",
)

UDPOS = TrainingTask(
    name="udpos",
    title="UD-POS",
    head="tag",
    columns={"tokens": list, "pos_tags": list},
    read=tag_reader("pos_tags", UdPos.tags, UdPos().clean),
    recipe=Recipe(32, 10, 256, JIANT),
    labels=UdPos.tags,
    train=(HubPart("google/xtreme", "train", "udpos.English", REVISION),),
    dev=(HubPart("google/xtreme", "validation", "udpos.English", REVISION),),
    # Where a folder has both, XTREME's own files with their fused words come first.
    folders=("udpos_xtreme.English", "udpos.English"),
    score="chunks",
)
