"""Parts of a transformers model that tuning reads or replaces, by what its family calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from xopt.encoders.families import family_of
from xopt.encoders.family import Family

__all__ = ["family_in", "layers_of", "set_layers", "set_words", "words_of"]


def family_in(base: Any) -> Family:
    """The family of an encoder without its head."""
    return family_of(base.config.model_type, "The model")


def words_of(base: Any) -> nn.Embedding:
    """The word embeddings of an encoder without its head."""
    found = base.get_submodule(family_in(base).theirs("embeddings.word"))
    assert isinstance(found, nn.Embedding)
    return found


def set_words(base: Any, table: nn.Embedding) -> None:
    """Put other word embeddings in their place."""
    base.set_submodule(family_in(base).theirs("embeddings.word"), table)


def layers_of(base: Any) -> nn.ModuleList:
    """The layers of an encoder without its head, from the first to the last."""
    found = base.get_submodule(family_in(base).layers)
    assert isinstance(found, nn.ModuleList)
    return found


def set_layers(base: Any, layers: Sequence[nn.Module]) -> None:
    """Put other layers in their place."""
    base.set_submodule(family_in(base).layers, nn.ModuleList(layers))
    base.config.num_hidden_layers = len(layers)
