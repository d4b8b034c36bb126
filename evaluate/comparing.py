"""Two bundles, opened and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle
from xopt.engines.opening import EngineOptions
from xopt.evaluate.data import Source
from xopt.evaluate.options import EvalOptions
from xopt.evaluate.resume import Partial
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.tasks.base import Task
from xopt.model.session import Session

__all__ = ["compare_bundles"]


def compare_bundles(
    task: Task,
    source: Source,
    reference: Bundle,
    candidate: Bundle,
    options: EvalOptions,
    *,
    cores: EngineOptions | None = None,
    languages: Sequence[str] | None = None,
    report: Callable[[str, str, float], None] = lambda language, side, share: None,
    partial: Partial | None = None,
    submission: Path | None = None,
    command: str = "",
) -> dict[str, Any]:
    """As :func:`~xopt.evaluate.retention.compare_sessions`, of bundles that are opened for it.

    Where the candidate's engine cannot run here, the CPU predicts it; the report says so.

    Args:
        task, source, languages, report, partial, submission, command: as there.
        reference: the fp32 bundle.
        candidate: the bundle under test.
        options: of the comparison.
        cores: to use; all by default.
    """
    cores = cores or EngineOptions()
    # Refused before anything is opened.
    chosen = cores.of(candidate.target, candidate.folder.name)
    most = options.batch_tokens
    with (
        Session.open(reference, batch_tokens=most, **cores.of(reference.target)) as exact,
        Session.open(candidate, batch_tokens=most, predict=True, **chosen) as reduced,
    ):
        return compare_sessions(
            task, source, exact, reduced, languages=languages, seed=options.seed,
            resamples=options.resamples, report=report, partial=partial, submission=submission,
            command=command, cores=chosen,
        )  # fmt: skip
