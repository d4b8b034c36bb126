"""From a file of texts to a file of answers; a killed run goes on where it stopped.

Each chunk of rows becomes a part: a file in a folder beside the output, flushed before it gets its
name. When all are there, they are joined, and the result is renamed to the output. The folder's
manifest holds what the parts depend on, so that parts of another input, bundle or option are never
joined with new ones.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xopt import __version__
from xopt.bulk.reading import FileInput, Input
from xopt.bulk.writing import Format
from xopt.disk_errors import disk_hint
from xopt.errors import BuildError, InputError, XoptError
from xopt.model.texts import Row, chunked
from xopt.publishing import check_outside, flush, write_whole
from xopt.reading import parse_json

__all__ = ["Job", "Work", "run_job"]

MANIFEST = "manifest.json"

# (number of the chunk, its rows)
Numbered = tuple[int, list[Row]]
# Chunks in, (number, rows, part) of each out, in any order. The second argument is told how many
# rows beyond those of finished chunks are done.
Work = Callable[[Iterator[Numbered], Callable[[float], None]], Iterable[tuple[int, int, bytes]]]


@dataclass(frozen=True)
class Job:
    """What is asked.

    Attributes:
        source: the texts.
        output: where the answers go.
        format: how they stand there.
        facts: what they depend on beside the texts: the bundle's fingerprint and the options.
        say: told in a sentence what became of an earlier run.
        progress: told (rows done, rows in all).
    """

    source: Input
    output: Path
    format: Format
    facts: Mapping[str, Any]
    say: Callable[[str], None] = lambda sentence: None
    progress: Callable[[float, int], None] = field(default=lambda done, total: None)

    @property
    def folder(self) -> Path:
        """Where the parts are until all are there."""
        return self.output.with_name(f".{self.output.name}.parts")


def run_job(job: Job, work: Work) -> int:
    """Answer every row of the input.

    Args:
        job: what is asked.
        work: answers chunks.

    Returns:
        The number of rows.

    Raises:
        InputError: the input has no row, changed meanwhile, or another run writes this output.
        DataError: a row that cannot be read.
        BuildError: a file cannot be written.
    """
    _check_output(job)
    folder = job.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            try:
                rows = _run(job, work)
            except XoptError:
                # Nothing is worth keeping where not even the first part was made.
                if not any(folder.glob("*.part")):
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
        return rows
    except Timeout as error:
        raise InputError(f"Another run writes {job.output} now.", hint="Wait for it.") from error
    except OSError as error:
        helps = disk_hint(error, job.output, "--output")
        kept = "the answers so far are kept, and the same command goes on with them."
        raise BuildError(
            f"{error.filename or job.output}: {error.strerror or error}.",
            hint=f"{helps}; {kept}" if any(folder.glob("*.part")) else f"{helps}.",
        ) from error


def _run(job: Job, work: Work) -> int:
    digest = job.source.digest()
    _begin(job, {"input": digest, "xopt": __version__, **job.facts})
    total = job.source.count()
    sizes: dict[int, int] = {}
    already = 0

    def lacking() -> Iterator[Numbered]:
        nonlocal already
        for number, rows in enumerate(chunked(job.source.rows())):
            sizes[number] = len(rows)
            if _part(job, number).is_file():
                already += len(rows)
            else:
                yield number, rows

    done = 0

    def heard(more: float) -> None:
        job.progress(already + done + more, total)

    for number, rows, part in work(lacking(), heard):
        write_whole(_part(job, number), part)
        done += rows
        heard(0)
    if not sizes:
        raise InputError(f"{job.source.called} has no text.", hint="Give at least one.")
    if job.source.digest() != digest:
        raise InputError(
            "The input was changed while it was read.", hint="Type the same command again."
        )
    parts = [_part(job, number) for number in range(len(sizes))]
    whole = job.folder / "whole"
    job.format.join(parts, whole)
    flush(whole)
    whole.replace(job.output)
    flush(job.output.absolute().parent)
    return sum(sizes.values())


def _check_output(job: Job) -> None:
    """Refuse what could not be written at the end, or would replace what is read."""
    check_outside(job.output, "--output")
    if job.output.is_dir():
        raise InputError(f"{job.output} is a folder.", hint="Name a file in it.")
    given = job.source.path if isinstance(job.source, FileInput) else None
    if given is not None and job.output.exists() and job.output.samefile(given):
        raise InputError(f"{job.output} is the input itself.", hint="Name another --output.")


def _part(job: Job, number: int) -> Path:
    return job.folder / f"{number:08d}.part"


def _begin(job: Job, facts: Mapping[str, Any]) -> None:
    """Keep the parts of an earlier run that depend on the same, remove all others."""
    path = job.folder / MANIFEST
    parts = list(job.folder.glob("*.part"))
    with contextlib.suppress(OSError, ValueError):
        found = parse_json(path.read_bytes())
        if found == facts:
            if parts:
                job.say(f"Parts kept of an earlier run that was stopped: {len(parts)}.")
            return
        old = found if isinstance(found, dict) else {}
        changed = [key for key in facts if old.get(key) != facts[key]]
        job.say(f"Begins anew: since an earlier run another {', '.join(changed)} was given.")
    for part in parts:
        part.unlink()
    write_whole(path, json.dumps(facts, indent=1, sort_keys=True))
