"""Processes that end, and disks that fill, at random moments: nothing half-built, same bytes after.

A command runs in a child that is killed (SIGKILL, SIGTERM), or whose files may not grow beyond some
size, or on a small file system, or where no temporary folder has room. Then the same command runs
undisturbed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.child import Ending, run_forked
from tests.faults.jobs import JOBS, Job, set_up
from tests.faults.workshop import Workshop

__all__ = ["Stops", "run_stopped", "run_together"]

CPU_S, WALL_S = 120, 300
MIB = 2**20
BLOCK = 4096


@dataclass
class Stops:
    """What came of the moments at which one command was stopped."""

    moments: int = 0
    stopped: int = 0
    refused: int = 0
    faults: list[str] = field(default_factory=list)


def run_stopped(
    workshop: Workshop,
    scratch: Path,
    count: int,
    seed: int,
    jobs: Sequence[Job] = JOBS,
    until: float = float("inf"),
    *,
    compiled: bool = False,
) -> dict[str, Stops]:
    """``count`` moments, evenly over commands and over the ways in which they are stopped.

    Each seed begins with another way: a run that ends after some minutes may not reach them all.
    ``compiled``: every command finds our own operations in its cache, as behind the first run.
    """
    found = {job.name: Stops() for job in jobs}
    native = scratch / "cache" / "native" if compiled else None
    wanted = {job.name: _undisturbed(job, workshop, scratch, native) for job in jobs}
    ways = ["SIGKILL", "SIGTERM", "file size"]
    if _mounts():
        ways += ["disk full", "full /tmp"]
    for number in range(count):
        if time.monotonic() > until:
            break
        job, way = jobs[number % len(jobs)], ways[(seed + number // len(jobs)) % len(ways)]
        digest, seconds, base, size = wanted[job.name]
        random = Random(f"{seed}:{number}")
        stops = found[job.name]
        place = scratch / "stopped"
        with _place(place, small=way == "disk full", size=base + random.random() * size) as grow:
            stops.moments += 1
            case = f"{job.name}, {way}, {seed}:{number}"
            _ready(workshop, place, native)
            ending = _disturbed(job, place, way, random, seconds, size)
            stops.stopped += ending.code < 0
            stops.refused += ending.code in (1, 2)
            stops.faults += [f"{wrong}  [{case}]" for wrong in _wrong(job, place, ending, digest)]
            grow()
            again = _run(job, place)
            stops.faults += [f"{w}  [{case}, again]" for w in _after(job, place, again, digest)]
    return found


def _disturbed(
    job: Job, place: Path, way: str, random: Random, seconds: float, size: int
) -> Ending:
    if way in ("SIGKILL", "SIGTERM"):
        moment = random.uniform(0, seconds)
        return _run(job, place, stop=(moment, getattr(signal, way)))
    limit = int(random.uniform(0, size)) if way == "file size" else None
    if way != "full /tmp":
        return _run(job, place, file_bytes=limit)
    with _full(place.parent / "tmp") as temporary:
        return _run(job, place, temporary=temporary)


def _run(
    job: Job,
    place: Path,
    *,
    stop: tuple[float, int] | None = None,
    file_bytes: int | None = None,
    temporary: Path | None = None,
) -> Ending:
    os.environ["XOPT_CACHE"] = str(place / "cache")

    def limit() -> None:
        if temporary is not None:
            os.environ["TMPDIR"] = str(temporary)
            # Else Python looks for another one.
            vars(tempfile)["_candidate_tempdir_list"] = lambda: [str(temporary)]
            tempfile.tempdir = None
        if file_bytes is not None:
            # Without the signal a write beyond the limit fails as on a full disk.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    streams = place.parent / "streams"
    streams.mkdir(exist_ok=True)
    return run_forked(
        job.words, place, streams=streams, cpu_s=CPU_S, wall_s=WALL_S, first=limit, stop=stop
    )


def _undisturbed(
    job: Job, workshop: Workshop, scratch: Path, native: Path | None
) -> tuple[str, float, int, int]:
    """What the command leaves, how long it takes, what lies there before, and what it writes."""
    place = scratch / "whole"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    _ready(workshop, place, native)
    before = _size(place)
    begin = time.monotonic()
    ending = _run(job, place)
    seconds = time.monotonic() - begin
    assert ending.code == 0, ending.errors
    digest = job.digest(place)
    assert digest is not None
    return digest, seconds, before, _size(place) - before


def _wrong(job: Job, place: Path, ending: Ending, wanted: str) -> list[str]:
    """What is wrong after a command was stopped: an unclean end, or half a result."""
    found = []
    if ending.code >= 0 and (ending.code, job.name) != (1, "sweep"):
        # A sweep says with 1 that it lacks a cell.
        fault = ending.fault(may_succeed=True, base_mib=float("inf"))
        found += [fault] if fault else []
    elif ending.late:
        found.append("hangs")
    try:
        digest = job.digest(place)
    except Exception as error:
        return [*found, f"half-built: {type(error).__name__}: {error}"]
    # Under its final name stands nothing, or all of it. Other bytes are right where they were told:
    # without room our own attention is not compiled, and OpenVINO's rounds otherwise.
    told = digest is None or "could not be compiled" in ending.errors
    return found if told else found + _other(digest, wanted)


def _after(job: Job, place: Path, ending: Ending, wanted: str) -> list[str]:
    if ending.code != 0:
        return [f"does not finish: {ending.code} {ending.errors[-300:]}"]
    try:
        digest = job.digest(place)
    except Exception as error:
        return [f"half-built: {type(error).__name__}: {error}"]
    found = _other(digest, wanted)
    left = [p for p in place.rglob(".*") if p.name.endswith((".partial", ".parts", ".new", ".old"))]
    return found + [f"leaves {path.name}" for path in left[:1]]


def _other(digest: str | None, wanted: str) -> list[str]:
    """Which parts are others than those of a command that nothing stopped."""
    if digest == wanted:
        return []
    ours, theirs = (json.loads(said or "null") for said in (digest, wanted))
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return ["other bytes"]
    parts = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    return [f"other bytes: {', '.join(parts)}"]


def _ready(workshop: Workshop, place: Path, native: Path | None) -> None:
    set_up(workshop, place)
    if native is not None and native.is_dir():
        shutil.copytree(native, place / "cache" / "native")


@contextlib.contextmanager
def _place(place: Path, *, small: bool, size: float) -> Iterator[Callable[[], None]]:
    """An empty folder; ``small``: a file system that holds ``size`` bytes until it is let grow."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if not small:
        yield lambda: None
        return
    start = int(size) // BLOCK * BLOCK
    _mount("-t", "tmpfs", "-o", f"size={start}", "none", str(place))
    try:
        yield lambda: _mount("-o", f"remount,size={start + 400 * MIB}", str(place))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def _full(place: Path) -> Iterator[Path]:
    """A file system without room."""
    place.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={BLOCK}", "none", str(place))
    try:
        (place / "filled").write_bytes(bytes(BLOCK))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mounts() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _size(place: Path) -> int:
    """Bytes on disk, in whole blocks."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in files)


def run_together(workshop: Workshop, scratch: Path, count: int, seed: int) -> list[str]:
    """Four builds at once in one cache, ``count`` times: two the same, and two others.

    Returns:
        What was wrong.
    """
    found: list[str] = []
    for number in range(count):
        random = Random(f"{seed}:{number}")
        place = scratch / "together"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        set_up(workshop, place)
        os.environ["XOPT_CACHE"] = str(place / "cache")
        same = random.random() < 0.5
        kinds = [("int8", "out"), ("int8", "out"), ("int8", "out" if same else "other"),
                 ("fp32", "exact")]  # fmt: skip
        processes = []
        for one, (precision, out) in enumerate(kinds):
            words = ("build", "embed", "--precision", precision, "--calibration-tokens", "256",
                     "-o", out, "--json")  # fmt: skip
            streams = scratch / f"streams-{one}"
            streams.mkdir(exist_ok=True)
            time.sleep(random.choice((0.0, random.uniform(0, 1))))
            processes.append((words, streams, os.fork()))
            if processes[-1][2] == 0:
                ending = run_forked(words, place, streams=streams, cpu_s=CPU_S, wall_s=WALL_S)
                (streams / "code").write_text(f"{ending.code}")
                os._exit(0)
        for words, streams, process in processes:
            os.waitpid(process, 0)
            code = (streams / "code").read_text()
            if code != "0":
                said = (streams / "err.txt").read_text()[-300:]
                found.append(f"{' '.join(words)}: {code} {said}  [{seed}:{number}]")
        from tests.faults.jobs import artifact

        digests = {out: artifact(out)(place) for _, out in kinds}
        if not same and digests["out"] != digests["other"]:
            found.append(f"the same build twice gave two results  [{seed}:{number}]")
        if None in digests.values():
            found.append(f"a bundle is missing  [{seed}:{number}]")
    return found
