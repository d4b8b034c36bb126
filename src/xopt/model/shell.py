"""A tokenizer's file without its pieces, or with others: what it does to a text stays the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xopt.tokenization import Tokenizer

__all__ = ["PartTokenizer", "keeps_numbers", "no_collection", "renumbered"]


@dataclass(frozen=True)
class PartTokenizer(Tokenizer):
    """A tokenizer that has not every piece in ``fast``.

    Attributes:
        path: of ``tokenizer.json``, for what it cannot do itself.
    """

    path: Path

    @property
    def whole(self) -> Tokenizer:
        """The library's own, with every piece; it is read when it is first needed."""
        return self._read

    @cached_property
    def _read(self) -> Tokenizer:
        return Tokenizer.open(self.path, self.spec)


@contextmanager
def no_collection() -> Iterator[None]:
    """No search for garbage, while the file's half a million objects are made, none of which is."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def renumbered(
    facts: Mapping[str, Any], place: Mapping[int, int], model: Mapping[str, Any]
) -> dict[str, Any]:
    """A ``tokenizer.json`` with another model, whose special and added tokens have other numbers.

    Args:
        facts: of the file.
        place: number of each special or added token -> its new one.
        model: the other one.

    Raises:
        KeyError: it adds special tokens in a way that is not known here.
    """
    added = [{**token, "id": place[token["id"]]} for token in facts["added_tokens"]]
    processor = _processor(facts["post_processor"], place)
    return {**facts, "model": model, "added_tokens": added, "post_processor": processor}


def keeps_numbers(tokenizer: Tokenizer, facts: Mapping[str, Any]) -> bool:
    """Whether the added tokens have the numbers that their file gives them."""
    return all(
        tokenizer.fast.token_to_id(token["content"]) == token["id"]
        for token in facts["added_tokens"]
    )


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
