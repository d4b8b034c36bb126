"""What a family says of its checkpoints: how to read one, and what its tensors are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xopt.encoders.config import Config
from xopt.encoders.spec import EncoderSpec, HeadForm

__all__ = ["Family", "Place"]

# Where a tensor goes: the names of our modules that share its rows, in their order.
Place = tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One family of encoders.

    Attributes:
        types: ``model_type`` -> the prefix of its classes, and of the encoder's tensors beside a
            head's.
        read: the description of a config.
        modules: the checkpoint's name of a module, with ``{n}`` for the layer -> ours, or several
            of ours where their rows lie in one tensor. Two names of one of ours are two spellings,
            of which a checkpoint has either.
        head: the form of the head of this kind (``classify``, ``choice``, ``tag``, ``span``), None
            where the family has no such class.
        idle: tensors within the encoder that some configs have and do not read, as patterns.
        renamed: older spellings, pattern -> replacement, applied to every name.
        retired: a ``model_type`` of the same encoder that is not read -> what to do instead.
    """

    types: Mapping[str, tuple[str, str]]
    read: Callable[[Config], EncoderSpec]
    modules: Mapping[str, str | Place]
    head: Callable[[Config, str], HeadForm | None]
    idle: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    retired: Mapping[str, str] = field(default_factory=dict)

    def plain(self, name: str, model_type: str) -> str:
        """A tensor's name without the encoder's prefix, as today's version would save it."""
        name = name.removeprefix(self.types[model_type][1])
        for pattern, replacement in self.renamed.items():
            name = re.sub(pattern, replacement, name)
        return name

    def places(self, layers: Iterable[int]) -> dict[str, Place]:
        """The checkpoint's module names, without the prefix -> ours."""
        found: dict[str, Place] = {}
        for theirs, ours in self.modules.items():
            names = (ours,) if isinstance(ours, str) else ours
            if "{n}" not in theirs:
                found[theirs] = names
                continue
            for number in layers:
                key = theirs.replace("{n}", str(number))
                found[key] = tuple(name.replace("{n}", str(number)) for name in names)
        return found

    def owns(self, name: str) -> bool:
        """Whether a tensor of this name, without the prefix, lies in the encoder itself."""
        return name.partition(".")[0] in {theirs.partition(".")[0] for theirs in self.modules}

    def theirs(self, ours: str) -> str:
        """The checkpoint's name of a module that is one of ours alone, in its first spelling."""
        return next(theirs for theirs, found in self.modules.items() if found == ours)

    @property
    def layers(self) -> str:
        """The checkpoint's name of the list of layers."""
        return next(theirs for theirs in self.modules if "{n}" in theirs).partition(".{n}")[0]

    def layer_pattern(self, number: int) -> str:
        """What every tensor of layer ``number`` begins with, as a pattern."""
        return re.escape(f"{self.layers}.{number}.") + ".*"
