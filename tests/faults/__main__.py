"""``python -m tests.faults damaged --count 10000 --seed 0``: the long runs; docs/reliability.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def main() -> int:
    """Run one kind of fault; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("kind", choices=("damaged",))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--only", help="kinds of files whose name holds this")
    parser.add_argument("--case", help="one case again, by the key behind its fault")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder that may be filled")
    given = parser.parse_args()
    return _damaged(given)


def _damaged(given: argparse.Namespace) -> int:
    from tests.faults.child import prepare
    from tests.faults.damaged import run_case, run_damaged, show
    from tests.faults.subjects import SUBJECTS, Workshop

    workshop = Workshop(given.scratch / "sound")
    _apart(workshop.make)
    prepare()
    chosen = [s for s in SUBJECTS if not given.only or given.only in s.name]
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


def _apart(work) -> None:
    """Run it in a process of its own: what it starts (threads) no fork may meet."""
    import os

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


if __name__ == "__main__":
    sys.exit(main())
