"""Every family, found by the ``model_type`` of a checkpoint's config.json."""

from __future__ import annotations

from xopt.encoders.config import EXAMPLE
from xopt.encoders.families import (
    bert,
    deberta_v2,
    distilbert,
    electra,
    eurobert,
    gemma3,
    gte,
    jina,
    modernbert,
    roformer,
    xlm_roberta_xl,
)
from xopt.encoders.family import Family
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["FAMILIES", "family_of"]

FAMILIES: tuple[Family, ...] = (
    bert.FAMILY,
    distilbert.FAMILY,
    electra.FAMILY,
    roformer.FAMILY,
    xlm_roberta_xl.FAMILY,
    modernbert.FAMILY,
    gte.FAMILY,
    jina.FAMILY,
    eurobert.FAMILY,
    gemma3.FAMILY,
    deberta_v2.FAMILY,
)


def family_of(model_type: str, where: str) -> Family:
    """The family of a ``model_type``.

    Raises:
        CheckpointError: no family has it; says what there is.
    """
    for family in FAMILIES:
        if model_type in family.types:
            return family
        if model_type in family.retired:
            raise CheckpointError(
                f"{where} is of the architecture {spelled(model_type)}, which needs code of its "
                "own.",
                hint=family.retired[model_type],
            )
    names = [name for family in FAMILIES for name in family.types]
    raise CheckpointError(
        f"{where} is of the architecture {spelled(model_type)}, which xopt does not compile.",
        hint=f"Possible: {', '.join(sorted(names))}. One that is: xopt build {EXAMPLE}",
    )
