"""Where an engine's time goes: what each operation took, by its kind and its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from xopt.artifacts import Bundle
from xopt.engines.base import Signature
from xopt.errors import UnsupportedError
from xopt.packing import PackedBatch
from xopt.registry import Registry

__all__ = [
    "EMBEDDINGS", "HEAD", "KINDS", "Operation", "Profile", "Profiled", "open_profiled",
    "quiet_half",
]  # fmt: skip

# ``products``: linear layers. ``attention``: scores, softmax and context. ``norms``: LayerNorm and
# RMSNorm without scale and bias. ``elementwise``: those, residuals, activations that run by
# themselves, smoothing and quantization. ``gathers``: embedding look-ups, gathers, transposes and
# the head's pooling. ``waiting``: a stream had nothing to do, or the engine did what it counts not.
KINDS = ("products", "attention", "norms", "elementwise", "gathers", "waiting")
# Places beside the numbers of the layers.
EMBEDDINGS, HEAD = "embeddings", "head"


@dataclass(frozen=True)
class Operation:
    """One operation of one run.

    Attributes:
        name: as the engine calls it.
        kind: one of :data:`KINDS` but the last.
        place: ``embeddings``, the layer's number from 0 on, or ``head``.
        seconds: that its stream spent in it.
    """

    name: str
    kind: str
    place: str
    seconds: float


@dataclass(frozen=True)
class Profile:
    """One run of a batch, or of several one after another.

    Attributes:
        wall_s: from the first one's start to the last one's answer.
        stream_s: the time that all streams together had for it.
        operations: in the order in which they ran, stream after stream.
    """

    wall_s: float
    stream_s: float
    operations: tuple[Operation, ...]

    @classmethod
    def joined(cls, profiles: Iterable[Profile]) -> Self:
        """Of runs that followed one another."""
        every = list(profiles)
        return cls(
            sum(p.wall_s for p in every),
            sum(p.stream_s for p in every),
            tuple(op for p in every for op in p.operations),
        )

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

    def profile(self, batch: PackedBatch) -> Profile:
        """Answer a batch and tell where the time went."""
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


def quiet_half(profiles: Sequence[Profile]) -> list[Profile]:
    """The runs that took no longer than the median one: what disturbed the others is not theirs."""
    ordered = sorted(profiles, key=lambda profile: profile.wall_s)
    return ordered[: (len(ordered) + 1) // 2]


def _rank(place: str) -> int:
    ends = {EMBEDDINGS: -1, HEAD: 1 << 30}
    return ends[place] if place in ends else int(place)
