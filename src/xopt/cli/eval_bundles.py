"""Which bundle answers a task, and the fp32 reference that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xopt.artifacts import Bundle
from xopt.cli.common import first_that_runs
from xopt.compile.public import ways_to
from xopt.errors import InputError, require
from xopt.evaluate.tasks import TASKS, Task
from xopt.evidence import built_with, known_builds
from xopt.progress import Progress

__all__ = ["NoWishes", "Wishes", "find_candidate", "parse_bundles", "with_reference"]


class Wishes(Protocol):
    """The options that choose bundles."""

    @property
    def reference(self) -> str | None:
        """A bundle to compare with."""

    @property
    def layer(self) -> int | None:
        """The hidden state to pool."""

    @property
    def pooling(self) -> str | None:
        """How to pool it."""


@dataclass(frozen=True)
class NoWishes:
    """The reference that the candidate's own options give."""

    reference: str | None = None
    layer: int | None = None
    pooling: str | None = None


def parse_bundles(pairs: tuple[str, ...]) -> dict[str, str]:
    """``TASK=PATH`` pairs as a table.

    Raises:
        InputError: no such form, or no such task.
    """
    table: dict[str, str] = {}
    for pair in pairs:
        task, sign, path = pair.partition("=")
        if not sign or not path:
            raise InputError(f"--bundle {pair!r} is not TASK=PATH.", hint="As in xnli=bundles/xnli")
        TASKS.resolve(task)
        table[task] = path
    return table


def find_candidate(task: Task, name: str | None) -> Bundle:
    """The bundle ``name``, or the newest built here whose head fits the task and that runs here.

    Raises:
        InputError: it does not fit, or none does.
        ArtifactError: the folder is no bundle.
    """
    if name is not None:
        bundle = Bundle.open(Path(name))
        task.check(bundle.head, bundle.folder.name)
        return bundle
    reason, fitting = "", list[Bundle]()
    for entry in known_builds():
        bundle = Bundle.open(Path(entry["folder"]))
        if bundle.precision == "fp32":
            continue
        try:
            task.check(bundle.head, bundle.folder.name)
        except InputError as error:
            if bundle.head["kind"] == task.head:
                reason = reason or f" {error.message}"
            continue
        fitting.append(bundle)
    if fitting:
        return first_that_runs(fitting)
    raise InputError(
        f"No bundle built on this machine fits the task {task.name} "
        f"(it needs the head {task.head!r}).{reason}",
        hint=f"Build one with one of these, then type this again:\n{ways_to(task.name)}",
    )


def with_reference(candidate: Bundle, wishes: Wishes, progress: Progress) -> tuple[Bundle, Bundle]:
    """The candidate (at another layer if asked) and its fp32 reference.

    Raises:
        InputError: the candidate was not built here and no reference is given; or its checkpoint
            is no longer the one that it was built of.
    """
    wanted = _changes(candidate, wishes)
    if wishes.reference is not None:
        if wanted:
            raise InputError(
                f"--reference does not go with --{next(iter(wanted))}: both bundles are rebuilt.",
                hint="Leave one of them out.",
            )
        return candidate, _same_checkpoint(candidate, Bundle.open(Path(wishes.reference)))
    made = built_with(candidate)
    if made is None:
        raise InputError(
            f"{candidate.folder} was not built on this machine: its fp32 reference is not known.",
            hint="Give one with --reference BUNDLE "
            "(made by: xopt build CHECKPOINT --precision fp32).",
        )
    require("onnx", extra="build", why="Building the fp32 reference")
    from xopt.compile.build import BuildOptions, build_bundle, open_checkpoint
    from xopt.compile.made import check_checkpoint

    if wanted:
        check_checkpoint(candidate, open_checkpoint(BuildOptions(**made)).fingerprint)
        options = BuildOptions(**made | wanted).in_cache()
        candidate = build_bundle(options, progress, record=False).bundle
    exact = BuildOptions(**made | wanted).reference().in_cache()
    result = build_bundle(exact, progress, record=False)
    check_checkpoint(candidate, result.bundle.manifest["provenance"]["checkpoint"])
    return candidate, result.bundle


def _same_checkpoint(candidate: Bundle, reference: Bundle) -> Bundle:
    """The reference, if it was made from the candidate's own weights and kept them in fp32.

    Raises:
        InputError: it was not.
    """
    ours, theirs = (b.manifest["provenance"]["checkpoint"] for b in (candidate, reference))
    if ours != theirs:
        raise InputError(
            f"{reference.folder.name} was made from another checkpoint "
            f"({reference.manifest['checkpoint']}) than {candidate.folder.name}.",
            hint="Build the reference from the same one: xopt build CHECKPOINT --precision fp32",
        )
    if reference.precision != "fp32":
        raise InputError(
            f"{reference.folder} is {reference.precision}, and the reference is what fp32 answers.",
            hint="Build it: xopt build CHECKPOINT --precision fp32 -o DIR; then add --reference "
            "DIR. Two other bundles are compared by evaluating both: xopt report ONE TWO",
        )
    return reference


def _changes(candidate: Bundle, wishes: Wishes) -> dict[str, Any]:
    """What is wanted of an ``embed`` head and is not so yet."""
    wanted = {"layer": wishes.layer, "pooling": wishes.pooling}
    head = candidate.head
    if head["kind"] != "embed":
        return {}
    found = {"layer": head["layer"], "pooling": "+".join(head["pooling"])}
    return {
        name: value for name, value in wanted.items() if value is not None and found[name] != value
    }
