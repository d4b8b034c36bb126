"""Retention: reference and candidate answer the same examples; what did the candidate lose?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xopt.errors import InputError
from xopt.evaluate.data import Source, rows_fingerprint
from xopt.evaluate.session import Session
from xopt.evaluate.statistics import paired_bootstrap
from xopt.evaluate.tasks.base import Task
from xopt.evaluate.throughput import measure_latency, throughput
from xopt.host import host_facts
from xopt.languages import check_languages

__all__ = ["check_head", "compare_bundles"]

# (language, which of the two engines, share)
Report = Callable[[str, str, float], None]


def check_head(task: Task, head: Mapping[str, Any], what: str) -> None:
    """Refuse a bundle whose head cannot answer the task.

    Raises:
        InputError: with the head the task needs.
    """
    if head["kind"] != task.head:
        raise InputError(
            f"{what} has the head {head['kind']!r}; the task {task.name} needs {task.head!r}.",
            hint="Build a checkpoint that was tuned for this task: xopt build CHECKPOINT",
        )


def compare_bundles(
    task: Task,
    source: Source,
    reference: Session,
    candidate: Session,
    *,
    languages: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    report: Report = lambda language, side, share: None,
    command: str = "",
) -> dict[str, Any]:
    """Run both sessions over every language and compare their answers.

    Returns:
        The report, a JSON object: scores and differences in points, ``agreement`` as a share.

    Raises:
        InputError: a language that the data does not hold, or a head that does not fit.
    """
    for session in (reference, candidate):
        check_head(task, session.bundle.head, str(session.bundle.folder.name))
    available = task.available(source)
    chosen = (
        check_languages(languages, available, where=f"{task.name} in {source.label}")
        if languages
        else available
    )
    if not chosen:
        raise InputError(f"{source.label} holds no language of {task.name}.")
    found: dict[str, Any] = {}
    prints: dict[str, str] = {}
    timed: list[str] = []
    for language in chosen:
        examples = task.load(source, language)
        prints[language] = rows_fingerprint(examples)[:16]
        answers = {}
        for side, session in (("reference", reference), ("candidate", candidate)):
            answers[side] = task.answer(
                session,
                examples,
                lambda share, where=language, who=side: report(where, who, share),  # type: ignore[misc]
            )
        found[language] = _compare(task, examples, answers, seed=seed, resamples=resamples)
        timed += [next(v for v in row.values() if isinstance(v, str)) for row in examples[:20]]
    worst = min(found, key=lambda code: found[code]["difference"])
    return {
        "task": task.name,
        "precision": candidate.bundle.precision,
        "target": candidate.bundle.target,
        "data": {"label": source.label, "kind": source.kind, "fingerprints": prints},
        "metric": task.metric,
        "conventions": dict(task.conventions) | _pooling(candidate),
        "languages": found,
        "mean": {
            side: sum(f[side] for f in found.values()) / len(found)
            for side in ("reference", "candidate", "difference")
        },
        "worst": {"language": worst, "difference": found[worst]["difference"]},
        "throughput": throughput(candidate) | measure_latency(candidate, timed[:200]),
        "reference_throughput": throughput(reference),
        "bundle": candidate.bundle.fingerprint,
        "reference_bundle": reference.bundle.fingerprint,
        "host": host_facts(),
        "command": command,
    }


def _pooling(session: Session) -> dict[str, Any]:
    return {k: v for k, v in session.bundle.head.items() if k in ("layer", "pooling")}


def _compare(
    task: Task,
    examples: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Any]],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    reference = task.score(examples, answers["reference"])
    candidate = task.score(examples, answers["candidate"])
    low, high = paired_bootstrap(reference, candidate, resamples=resamples, seed=seed)
    same = sum(a == b for a, b in zip(answers["reference"], answers["candidate"], strict=True))
    return {
        "n": len(examples),
        "reference": reference.value,
        "candidate": candidate.value,
        "difference": candidate.value - reference.value,
        "ci95": [low, high],
        "agreement": same / len(examples),
    }
