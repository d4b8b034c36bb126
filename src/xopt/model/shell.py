"""A tokenizer's file without its pieces, or with others: what it does to a text stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["renumbered"]


def renumbered(facts: Mapping[str, Any], place: Mapping[int, int]) -> dict[str, Any]:
    """A ``tokenizer.json`` whose special and added tokens have other numbers.

    Args:
        facts: of the file.
        place: number of each special or added token -> its new one.

    Raises:
        KeyError: it adds special tokens in a way that is not known here.
    """
    added = [{**token, "id": place[token["id"]]} for token in facts["added_tokens"]]
    processor = _processor(facts["post_processor"], place)
    return {**facts, "added_tokens": added, "post_processor": processor}


def _processor(processor: Any, place: Mapping[int, int]) -> Any:
    """What adds special tokens."""
    if processor is None or processor["type"] == "ByteLevel":
        return processor
    if processor["type"] == "Sequence":
        return {**processor, "processors": [_processor(p, place) for p in processor["processors"]]}
    if processor["type"] in ("RobertaProcessing", "BertProcessing"):
        ends = {key: [processor[key][0], place[processor[key][1]]] for key in ("sep", "cls")}
        return {**processor, **ends}
    special = {
        name: {**token, "ids": [place[number] for number in token["ids"]]}
        for name, token in processor["special_tokens"].items()
    }
    return {**processor, "special_tokens": special}
