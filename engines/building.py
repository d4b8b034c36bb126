"""The contract of every builder: options of its own, and a context that it asks for graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from xopt.artifacts import LoweredGraph
from xopt.progress import Progress

__all__ = ["Builder", "BuilderOptions", "Built", "Context"]


@dataclass(frozen=True, kw_only=True)
class BuilderOptions:
    """What one target alone is asked for; a target that asks for nothing has this."""

    def __post_init__(self) -> None:
        """Nothing to check."""

    def changes(self, precision: str, max_tokens: int) -> dict[str, Any]:
        """Fields of the precision's recipe that these options change.

        Args:
            precision: what is built.
            max_tokens: of one sentence, as the encoder takes it.
        """
        return {}

    @property
    def own(self) -> dict[str, Any]:
        """What the engine depends on beside the recipe."""
        return asdict(self)


class Context(Protocol):
    """What a builder may ask for."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of the corpus's sentences, as quantiles; empty if the builder reads none."""
        ...

    def lower(self, **changes: Any) -> LoweredGraph:
        """The graph as target and options want it, but for ``changes`` of fields of the recipe."""
        ...


@dataclass(frozen=True)
class Built:
    """What a builder leaves.

    Attributes:
        lowered: the graph that the engine was made from.
        facts: for the manifest.
    """

    lowered: LoweredGraph
    facts: dict[str, Any]


O = TypeVar("O", bound=BuilderOptions)  # noqa: E741
C = TypeVar("C", bound=Context, contravariant=True)


class Builder(ABC, Generic[O, C]):
    """Makes an engine's files.

    Args:
        options: of this target.
    """

    target = "builder"
    # Whether what is built depends on how long the corpus's sentences are.
    reads_lengths = False

    def __init__(self, options: O) -> None:
        self.options = options

    def look(self) -> dict[str, Any]:
        """Look at what the build needs, before anything is traced or calibrated.

        Returns:
            Facts on this machine without which the engine would be another one.

        Raises:
            MissingExtraError: a library is not installed.
            UnsupportedError: this machine cannot build what is asked for.
        """
        return {}

    @abstractmethod
    def build(self, context: C, out: Path, progress: Progress) -> Built:
        """Write the engine's files.

        Args:
            context: gives the lowered graph.
            out: an existing folder.
            progress: told the share that is done, where the library says it.

        Raises:
            MissingExtraError: the native library is not installed.
            BuildError: the native library failed.
        """
