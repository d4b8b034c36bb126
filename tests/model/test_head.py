"""What a bundle's manifest says of its head."""

from __future__ import annotations

import pytest

from xopt.errors import ArtifactError
from xopt.model.head import Head


@pytest.mark.parametrize("kind", ["classify", "tag"])
@pytest.mark.parametrize("labels", [[], ["a"], [["a", "b", "c"]], ["a", "b", "c", "d"]])
def test_labels_that_are_not_as_many_as_the_engines_numbers_are_refused(
    labels: list[str], kind: str
) -> None:
    facts = {"kind": kind, "labels": labels}
    with pytest.raises(ArtifactError, match=f"names {len(labels)} labels.*gives 3 numbers"):
        Head.read(facts, 3)
    assert len(Head.read(facts, len(labels)).labels) == len(labels)


def test_embeddings_have_no_labels() -> None:
    assert Head.read({"kind": "embed", "labels": None}, 384).labels == ()
