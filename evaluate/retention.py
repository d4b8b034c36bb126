"""Retention: reference and candidate answer the same examples; what did the candidate lose?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from xopt.artifacts import fingerprint
from xopt.errors import InputError
from xopt.evaluate.data import Source
from xopt.evaluate.resume import Partial
from xopt.evaluate.statistics import Difference, Scored, mean_difference, paired_bootstrap
from xopt.evaluate.tasks.base import Examples, Task
from xopt.evaluate.throughput import measure_in_turn, measure_latency, throughput
from xopt.hashing import source_digest
from xopt.host import host_facts
from xopt.languages import check_languages, to_iso1
from xopt.model.session import Session
from xopt.model.usage import Usage
from xopt.publishing import write_whole

__all__ = ["choose_languages", "compare_sessions"]

# Changes when a key of the report changes its meaning or goes; docs/report.md describes it.
SCHEMA = "xopt-eval/1"
# How its intervals are found; a report of before 2026-11-29 does not say, and its are narrower.
INTERVALS = "bootstrap-plus-two"
# Examples of which a sentence is timed by itself, and which both engines are given in turn.
LATENCY_TEXTS = 200

# (language, which of the two engines, share)
Report = Callable[[str, str, float], None]
SIDES = ("reference", "candidate")


def choose_languages(task: Task, source: Source, asked: Sequence[str] | None) -> list[str]:
    """The asked languages as the task spells them; all that the data holds by default.

    Raises:
        InputError: the data holds none, or not the asked one.
    """
    available = task.available(source)
    if not available:
        others = [s for s in ("test", "validation", "train") if s != task.split]
        held = [
            split
            for split in others
            if any(source.has(task.config_of(code), split) for code in task.languages)
        ]
        first = task.config_of(task.languages[0])
        hint = (
            f"It should hold {first}/{task.split}.jsonl or .parquet, as google/xtreme does; give "
            "another folder, or type: --data sample"
        )
        if held:
            hint = f"It has another split: add --split {held[0]}"
        elif source.folder and source.folder.resolve().name in map(task.config_of, task.languages):
            hint = f"It is one of the folders that it should hold: --data {source.folder.parent}"
        raise InputError(
            f"{source.label} holds no language of {task.name} in the split {task.split!r}.",
            hint=hint,
        )
    if not asked:
        return available
    return check_languages(asked, available, where=f"{task.name} in {source.label}")


def compare_sessions(
    task: Task,
    source: Source,
    reference: Session,
    candidate: Session,
    *,
    languages: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 2000,
    report: Report = lambda language, side, share: None,
    partial: Partial | None = None,
    submission: Path | None = None,
    command: str = "",
    cores: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run both sessions over every language and compare their answers.

    Args:
        task: what is asked.
        source: where its examples come from.
        reference: the fp32 bundle.
        candidate: the bundle under test.
        languages: all that the source holds if None.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        report: told the progress of each language and side.
        partial: languages that a run before finished are taken from here.
        submission: folder for XTREME's submission files of the candidate.
        command: what was typed; it stands in the report.
        cores: threads and streams, where they were chosen; they stand in the report.

    Returns:
        The report, a JSON object: scores and differences in points, ``agreement`` as a share.

    Raises:
        InputError: a language that the data does not hold, or a head that does not fit.
    """
    sessions: dict[str, Session] = dict(zip(SIDES, (reference, candidate), strict=True))
    for session in sessions.values():
        task.check(session.bundle.head, session.bundle.folder.name)
    task = task.on(source).asked_of(candidate.tokenizer.spec)
    partial = partial or Partial(enabled=False)
    used = {side: Usage() for side in SIDES}
    found: dict[str, Any] = {}
    prints: dict[str, str] = {}
    timed: list[Examples] = []
    drawn: list[Difference] = []
    part_drawn: list[dict[str, Difference]] = []
    for language in choose_languages(task, source, languages):
        examples = task.load(source, language)
        if submission is not None:
            task.check_submission(examples, language)
        prints[language] = task.fingerprint(examples)[:16]
        bundles = [session.bundle.fingerprint for session in sessions.values()]
        key = fingerprint(
            task.name, dict(task.conventions), language, prints[language], bundles, seed, resamples,
            host_facts(), candidate.engine.predicted, dict(cores or {}),
            source_digest("evaluate", "model"),
        )  # fmt: skip
        result = partial.get(key)
        if result is None:
            result = _measure(task, language, examples, sessions, seed, resamples, report)
            partial.put(key, result)
        found[language] = result["found"]
        drawn.append(_read(result["drawn"]))
        part_drawn.append({name: _read(kept) for name, kept in result["part_drawn"].items()})
        for side in SIDES:
            used[side].add(Usage(**result["usage"][side]))
            report(language, side, 1.0)
        if submission is not None:
            _write(task, language, examples, result["answers"], submission)
        timed.append(examples[:LATENCY_TEXTS])
    worst = min(found, key=lambda code: found[code]["difference"])
    chosen = _in_turn(timed)
    return {
        "schema": SCHEMA,
        "task": task.name,
        "precision": candidate.bundle.precision,
        "target": candidate.bundle.target,
        "predicted": candidate.engine.predicted,
        "data": {"label": source.label, "kind": source.kind, "fingerprints": prints},
        "metric": task.metric,
        "intervals": INTERVALS,
        "conventions": dict(task.conventions) | _pooling(candidate),
        "languages": found,
        "mean": _mean(list(found.values()), drawn),
        "parts": {
            name: _mean(
                [entry["parts"][name] for entry in found.values()],
                [each[name] for each in part_drawn],
            )
            for name in part_drawn[0]
        },
        "worst": {"language": worst, "difference": found[worst]["difference"]},
        "throughput": throughput(used["candidate"])
        | measure_latency(candidate, [task.text(example) for example in chosen]),
        "reference_throughput": throughput(used["reference"]),
        "in_turn": measure_in_turn(
            reference, candidate, lambda tokenizer: task.encodings(tokenizer, chosen)
        ),
        "bundle": candidate.bundle.fingerprint,
        "reference_bundle": reference.bundle.fingerprint,
        "host": host_facts(),
        "command": command,
        "cores": dict(cores or {}),
    }


def _mean(found: Sequence[Mapping[str, Any]], drawn: Sequence[Difference]) -> dict[str, Any]:
    """Over the languages; the interval resamples them together."""
    mean: dict[str, Any] = {
        side: sum(entry[side] for entry in found) / len(found) for side in (*SIDES, "difference")
    }
    return mean | {"ci95": list(mean_difference(drawn).interval())}


def _in_turn(examples: Sequence[Examples]) -> list[Any]:
    """:data:`LATENCY_TEXTS` examples, one of every language in turn."""
    rounds = zip_longest(*examples)
    turns = [example for round_ in rounds for example in round_ if example is not None]
    return turns[:LATENCY_TEXTS]


def _pooling(session: Session) -> dict[str, Any]:
    head = session.bundle.head
    if head["kind"] != "embed":
        return {}
    return {"layer": head["layer"], "pooling": "+".join(head["pooling"])}


def _measure(
    task: Task,
    language: str,
    examples: Examples,
    sessions: Mapping[str, Session],
    seed: int,
    resamples: int,
    report: Report,
) -> dict[str, Any]:
    """One language: what was found, what it took, and the candidate's answers."""
    answers: dict[str, Sequence[Any]] = {}
    usage: dict[str, Any] = {}
    for side, session in sessions.items():
        session.usage = Usage()
        answers[side] = task.answer(
            session,
            examples,
            lambda share, who=side: report(language, who, share),  # type: ignore[misc]
        )
        usage[side] = asdict(session.usage)
    pairs = zip(*(answers[side] for side in SIDES), strict=True)
    scored = {side: task.score(examples, answers[side]) for side in SIDES}
    clusters = task.clusters(examples)
    found: dict[str, Any] = {"n": len(examples), "distinct": len(set(clusters))}
    if sessions["candidate"].tokenizer.pieces is not None:
        found |= {name: usage["candidate"][name] for name in ("tokens", "replaced")}
    difference, drawn = _difference(scored, clusters, seed, resamples)
    found |= difference
    found["agreement"] = sum(task.agree(a, b) for a, b in pairs) / len(examples)
    part_drawn = {}
    parts = {side: task.parts(examples, answers[side]) for side in SIDES}
    if parts["reference"]:
        found["parts"] = {}
        for name in parts["reference"]:
            both = {side: parts[side][name] for side in SIDES}
            found["parts"][name], of_part = _difference(both, clusters, seed, resamples)
            part_drawn[name] = _kept(of_part)
    return {
        "found": found,
        "drawn": _kept(drawn),
        "part_drawn": part_drawn,
        "usage": usage,
        "answers": list(answers["candidate"]),
    }


def _kept(difference: Difference) -> dict[str, Any]:
    """As JSON."""
    draws = [round(float(value), 6) for value in difference.draws]
    return vars(difference) | {"draws": draws}


def _read(kept: Mapping[str, Any]) -> Difference:
    """What :func:`_kept` gave."""
    draws = np.array(kept["draws"], np.float64)
    return Difference(kept["seen"], draws, kept["rows"], kept["turn"])


def _difference(
    scored: Mapping[str, Scored], clusters: Sequence[int], seed: int, resamples: int
) -> tuple[dict[str, Any], Difference]:
    """Both scores with the interval of their difference, and what that was resampled to."""
    reference, candidate = (scored[side] for side in SIDES)
    drawn = paired_bootstrap(
        reference, candidate, clusters=clusters, resamples=resamples, seed=seed
    )
    found = {
        "reference": reference.value,
        "candidate": candidate.value,
        "difference": drawn.seen,
        "ci95": list(drawn.interval()),
    }
    return found, drawn


def _write(
    task: Task, language: str, examples: Examples, answers: Sequence[Any], folder: Path
) -> None:
    place = folder / task.name / f"test-{to_iso1(language)}.{task.ending}"
    write_whole(place, task.submission(language, examples, answers))
