"""Where an engine's time goes: what each operation took, by its kind and its layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xopt.artifacts import Bundle
from xopt.engines.base import Signature
from xopt.errors import UnsupportedError
from xopt.packing import PackedBatch
from xopt.registry import Registry

__all__ = [
    "EMBEDDINGS", "HEAD", "KINDS", "Operation", "Profile", "Profiled", "open_profiled",
]  # fmt: skip

# ``products``: linear layers. ``attention``: scores, softmax and context. ``norms``: LayerNorm and
# RMSNorm without scale and bias. ``elementwise``: those, residuals, activations that run by
# themselves, smoothing and quantization. ``gathers``: embedding look-ups, gathers, transposes and
# the head's pooling. ``waiting``: a stream had nothing to do, or the engine did what it counts not.
KINDS: tuple[str, ...] = (
    "products", "attention", "norms", "elementwise", "gathers", "waiting",
)  # fmt: skip
# Places beside the numbers of the layers.
EMBEDDINGS, HEAD = "embeddings", "head"


@dataclass(frozen=True)
class Operation:
    """One operation of the graph.

    Attributes:
        name: as the engine calls it.
        kind: one of :data:`KINDS` but the last.
        place: ``embeddings``, the layer's number from 0 on, or ``head``.
        seconds: that a stream spent in it in one run, in the mean.
    """

    name: str
    kind: str
    place: str
    seconds: float


@dataclass(frozen=True)
class Profile:
    """The mean run of one batch after another.

    Attributes:
        runs: of which it is the mean.
        wall_s: of a run.
        stream_s: the time that all streams together had in a run.
        operations: of every stream.
    """

    runs: int
    wall_s: float
    stream_s: float
    operations: tuple[Operation, ...]

    def by_place(self) -> dict[str, dict[str, float]]:
        """``{place: {kind: share}}`` of the streams' time in the model's order, without waiting."""
        found: dict[str, dict[str, float]] = {}
        for op in self.operations:
            kinds = found.setdefault(op.place, {})
            kinds[op.kind] = kinds.get(op.kind, 0.0) + op.seconds / self.stream_s
        return dict(sorted(found.items(), key=lambda item: _rank(item[0])))

    def shares(self) -> dict[str, float]:
        """``{kind: share}`` of the streams' time; every kind is there, and they sum to 1."""
        found = dict.fromkeys(KINDS, 0.0)
        for op in self.operations:
            found[op.kind] += op.seconds / self.stream_s
        # Clocks of operations and of the run may differ in their last microsecond.
        found["waiting"] = max(0.0, 1.0 - sum(found.values()))
        return found


class Profiled(Protocol):
    """An engine that counts."""

    signature: Signature

    def profile(self, batches: Sequence[PackedBatch], *, repeat: int, warmup: int = 3) -> Profile:
        """Answer batches one after another, again and again, and tell where the time went.

        Args:
            batches: of one run.
            repeat: runs that count.
            warmup: runs before them.
        """
        ...

    def close(self) -> None:
        """Release what the native library holds."""
        ...


PROFILED: Registry[Callable[..., Profiled]] = Registry(
    "target", {"openvino": "xopt.engines.openvino_profile:ProfiledOpenVinoEngine"}
)


def open_profiled(bundle: Bundle, **options: Any) -> Profiled:
    """Open a bundle's engine in the form that counts; its answers are the same.

    Args:
        bundle: what to open.
        options: of the engine.

    Raises:
        UnsupportedError: the engine of this target keeps no counters.
        XoptError: as :func:`~xopt.engines.base.open_engine`.
    """
    if bundle.target not in PROFILED:
        raise UnsupportedError(
            f"{bundle.folder.name} runs on {bundle.target}, whose engine keeps no counters of its "
            "operations here.",
            hint="Leave out --profile, or give a bundle built with --target cpu.",
        )
    bundle.verify()
    return PROFILED.resolve(bundle.target)(bundle, **options)


def _rank(place: str) -> int:
    ends = {EMBEDDINGS: -1, HEAD: 1 << 30}
    return ends[place] if place in ends else int(place)
