"""Damaged files by the thousand: each ends in an error with a hint, or in sound answers."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.child import Ending, run_forked
from tests.faults.subjects import SUBJECTS, Subject
from tests.faults.workshop import Workshop

__all__ = ["Tally", "run_case", "run_damaged"]


@dataclass
class Tally:
    """What came of the cases of one kind of file."""

    cases: int = 0
    refused: int = 0
    answered: int = 0
    slowest_s: float = 0.0
    most_mib: float = 0.0
    faults: list[str] = field(default_factory=list)


def run_case(subject: Subject, workshop: Workshop, scratch: Path, seed: str) -> tuple[str, Ending]:
    """Damage a copy as ``seed`` says and run the command: what was done, and how it ended."""
    random = Random(seed)
    place = scratch / "case"
    shutil.rmtree(place, ignore_errors=True)
    source = workshop.root / subject.source
    words = list(subject.words)
    if subject.source == "reports":
        # One document in a folder of its own.
        chosen = random.choice(sorted(source.glob("*.json")))
        place.mkdir(parents=True)
        shutil.copyfile(chosen, place / "REPORT")
        done = f"{chosen.name}: {subject.damage(place, random)}"
        (place / "REPORT").rename(place / "run.json")
        words = ["run.json" if word == "REPORT" else word for word in words]
    else:
        shutil.copytree(source, place)
        done = subject.damage(place, random)
    return done, run_forked(words, place)


def run_damaged(
    workshop: Workshop,
    scratch: Path,
    count: int,
    seed: int,
    subjects: Sequence[Subject] = SUBJECTS,
    until: float = float("inf"),
) -> dict[str, Tally]:
    """``count`` cases, evenly over the kinds of files; every fault with the seed that shows it."""
    tallies = {subject.name: Tally() for subject in subjects}
    sound: dict[str, Ending] = {}
    os.environ["XOPT_CACHE"] = str(scratch / "cache")
    for subject in subjects:
        if subject.same:
            shutil.rmtree(scratch / "case", ignore_errors=True)
            shutil.copytree(workshop.root / subject.source, scratch / "case")
            sound[subject.name] = run_forked(subject.words, scratch / "case")
            assert sound[subject.name].code == 0, sound[subject.name].errors
    base = run_forked(("--version",), scratch).memory
    for number in range(count):
        if time.monotonic() > until:
            break
        subject = subjects[number % len(subjects)]
        tally = tallies[subject.name]
        key = f"{seed}:{subject.name}:{number}"
        done, ending = run_case(subject, workshop, scratch, key)
        _count(tally, ending)
        fault = ending.fault(may_succeed=subject.may_succeed, base_mib=base)
        before = sound.get(subject.name)
        if before and fault is None and ending.code == 0 and ending.output != before.output:
            fault = "other answers than the sound files give"
        if fault:
            tally.faults.append(f"{fault}  [{done}; {key}]")
        # Nothing half-built under a final name, whatever happened.
        left = sorted((scratch / "cache").rglob("*.partial")) + sorted(
            (scratch / "case").glob(".*.partial")
        )
        if left and ending.code >= 0:
            tally.faults.append(f"leaves {left[0].name}  [{done}; {key}]")
        for path in left:
            # Of a process that was killed; the next build of that name removes it.
            shutil.rmtree(path)
    return tallies


def _count(tally: Tally, ending: Ending) -> None:
    tally.cases += 1
    tally.refused += ending.code == 2
    tally.answered += ending.code == 0
    tally.slowest_s = max(tally.slowest_s, ending.seconds)
    tally.most_mib = max(tally.most_mib, ending.memory)


def show(tallies: dict[str, Tally]) -> None:
    """A table, then every fault, those of one cause together."""
    print(f"{'file':<36}{'cases':>7}{'exit 2':>8}{'sound':>7}{'s':>6}{'MiB':>7}{'faults':>8}")
    for name, t in tallies.items():
        print(
            f"{name:<36}{t.cases:>7}{t.refused:>8}{t.answered:>7}{t.slowest_s:>6.1f}"
            f"{t.most_mib:>7.0f}{len(t.faults):>8}"
        )
    for name, t in tallies.items():
        causes = Counter(fault.partition("  [")[0] for fault in t.faults)
        for cause, times in causes.most_common():
            example = next(f for f in t.faults if f.startswith(cause))
            print(f"{name}: {times} x {example}", file=sys.stderr)


def as_document(tallies: dict[str, Tally]) -> str:
    """JSON of all tallies."""
    return json.dumps({name: vars(tally) for name, tally in tallies.items()}, indent=1)
