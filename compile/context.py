"""What a builder is given: the checkpoint, its graph and its ranges, and the graph lowered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xopt.artifacts import Graph, LoweredGraph, Ranges
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.lower import lower_graph
from xopt.compile.recipes import Lowering
from xopt.compile.traced import WEIGHTS
from xopt.compile.trimming import Trimmed
from xopt.host import collect_cycles
from xopt.progress import Progress

__all__ = ["BuildContext"]


@dataclass(frozen=True)
class BuildContext:
    """One build, up to its builder.

    Attributes:
        checkpoint: what is built.
        graph: it, traced.
        ranges: what was measured, if the recipe quantizes activations.
        lowering: the recipe.
        lengths: tokens of the corpus's sentences, as quantiles; empty if the builder reads none.
        progress: told when a graph is lowered and when it is compiled.
        trimmed: what is kept of the vocabulary, if not all.
    """

    checkpoint: Checkpoint
    graph: Graph
    ranges: Ranges | None
    lowering: Lowering
    lengths: tuple[int, ...]
    progress: Progress
    trimmed: Trimmed | None = None

    def lower(self, **changes: Any) -> LoweredGraph:
        """The graph by the recipe, but for ``changes`` of its fields; from the cache if there."""
        self.progress.stage("lowering")
        recipe = replace(self.lowering, **changes)
        given = self.graph, recipe, self.ranges, self.trimmed
        lowered = lower_graph(*given, checkpoint=self.checkpoint)
        # Mapped weights count as memory as long as anything refers to them.
        collect_cycles((self.graph.folder / WEIGHTS).stat().st_size)
        self.progress.stage("compiling")
        return lowered
