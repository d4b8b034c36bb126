"""``python -m tests.faults damaged --count 10000 --seed 0``: the long runs; docs/reliability.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tests.faults.bodies import run_bodies
from tests.faults.child import prepare
from tests.faults.damaged import run_case, run_damaged, show
from tests.faults.jobs import JOBS, NEEDED
from tests.faults.ragged import run_ragged
from tests.faults.ragged_engines import forms
from tests.faults.stopped import run_stopped, run_together
from tests.faults.subjects import SUBJECTS
from tests.faults.workshop import Workshop


def main() -> int:
    """Run one kind of fault; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("kind", choices=list(RUNS))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--only", help="kinds of files, jobs or engines whose name holds this")
    parser.add_argument("--commands", help="kinds of files that these commands read: run,eval")
    parser.add_argument(
        "--compiled", action="store_true", help="stopped: our operations are in the cache before"
    )
    parser.add_argument("--case", help="one case again, by the key behind its fault")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder that may be filled")
    given = parser.parse_args()
    return RUNS[given.kind](given)


def _damaged(given: argparse.Namespace) -> int:
    only = given.case.split(":")[1] if given.case else given.only or ""
    commands = given.commands.split(",") if given.commands else [s.words[0] for s in SUBJECTS]
    chosen = [s for s in SUBJECTS if only in s.name and s.words[0] in commands]
    workshop = _workshop(
        given, {subject.words[0] for subject in chosen}, {subject.source for subject in chosen}
    )
    if given.case:
        subject = next(s for s in SUBJECTS if s.name == given.case.split(":")[1])
        done, ending = run_case(subject, workshop, given.scratch, given.case)
        print(done, ending.output, ending.errors, ending, sep="\n")
        return ending.code
    tallies = run_damaged(
        workshop,
        given.scratch,
        given.count,
        given.seed,
        chosen,
        time.monotonic() + 60 * given.minutes,
    )
    show(tallies)
    return int(any(tally.faults for tally in tallies.values()))


def _workshop(
    given: argparse.Namespace, commands: Collection[str], sets: Collection[str] = NEEDED
) -> Workshop:
    workshop = Workshop(given.scratch / "sound")
    os.environ["XOPT_CACHE"] = str(given.scratch / "cache")
    _apart(lambda: workshop.make(sets))
    prepare(commands)
    return workshop


def _stopped(given: argparse.Namespace) -> int:
    jobs = [job for job in JOBS if not given.only or given.only in job.name]
    workshop = _workshop(given, {job.words[0] for job in jobs})
    until = time.monotonic() + 60 * given.minutes
    found = run_stopped(
        workshop, given.scratch, given.count, given.seed, jobs, until, compiled=given.compiled
    )
    for name, stops in found.items():
        print(
            f"{name}: {stops.moments} moments, {stops.stopped} ended by a signal, "
            f"{stops.refused} with an error; {len(stops.faults)} faults"
        )
        print(*stops.faults, sep="\n", file=sys.stderr)
    return int(any(stops.faults for stops in found.values()))


def _together(given: argparse.Namespace) -> int:
    faults = run_together(_workshop(given, {"build"}), given.scratch, given.count, given.seed)
    print(f"{given.count} times four builds at once; {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults))


def _ragged(given: argparse.Namespace) -> int:
    os.environ["XOPT_CACHE"] = str(given.scratch / "cache")
    chosen = [form for form in forms(given.scratch) if (given.only or "") in form.name]
    if not chosen:
        raise SystemExit(f"no form's name holds {given.only}")
    found = run_ragged(chosen, given.count, given.seed, time.monotonic() + 60 * given.minutes)
    for name, ragged in found.items():
        allowed = "none promised" if ragged.bound is None else f"allowed {ragged.bound:g}"
        print(f"{name}: {ragged.batches} batches, {ragged.answers} answers alone and together; "
              f"largest difference {ragged.largest:.2e}, {allowed}, {ragged.above} above; "
              f"{ragged.shifted} above 1e-3")  # fmt: skip
    return int(any(ragged.above for ragged in found.values()))


def _bodies(given: argparse.Namespace) -> int:
    os.environ["XOPT_CACHE"] = str(given.scratch / "cache")
    found = run_bodies(given.scratch, given.count, given.seed, 60 * given.minutes)
    statuses = ", ".join(f"{times} x {status}" for status, times in sorted(found.statuses.items()))
    print(f"{found.statuses.total()} requests: {statuses}; {found.hung_up} hung up before; "
          f"slowest {found.slowest_s:.2f} s; {len(found.faults)} faults")  # fmt: skip
    print(*found.faults, sep="\n", file=sys.stderr)
    return int(bool(found.faults))


def _apart(work: Callable[[], None]) -> None:
    """Run it in a process of its own: what it starts (threads) no fork may meet."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise SystemExit("the sound files could not be made")


RUNS = {
    "bodies": _bodies, "damaged": _damaged, "ragged": _ragged, "stopped": _stopped,
    "together": _together,
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main())
