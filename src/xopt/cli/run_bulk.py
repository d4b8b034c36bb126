"""``xopt run --output``: many texts to a file."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xopt.artifacts import Bundle
from xopt.bulk.job import Job, Work, run_job
from xopt.bulk.reading import Input
from xopt.bulk.writing import find_format
from xopt.cli.output import error_console, print_json
from xopt.cli.output_rows import rows_bar
from xopt.engines.base import Signature
from xopt.host import cpu_count
from xopt.model.asking import Asking
from xopt.model.core import Model
from xopt.model.head import Head
from xopt.model.prompts import find_prompt

if TYPE_CHECKING:
    from xopt.cli.run import Asked

__all__ = ["run_to_file"]


def run_to_file(
    bundle: Bundle,
    source: Input,
    output: Path,
    asked: Asked,
    *,
    ray: str | None,
    workers: int,
    quiet: bool,
) -> None:
    """Answer every row of ``source`` into ``output``, going on where an earlier run stopped."""
    head = Head.read(bundle.head)
    form = find_format(output, head, Signature.read(bundle.manifest).width)
    prompt = find_prompt(bundle, asked.prompt)
    asking = Asking(prompt, asked.normalize, asked.truncate, asked.windows)
    threads = asked.threads or (cpu_count() if bundle.target == "openvino" else None)
    # Where the work is done is left out: it changes no byte.
    facts = {"bundle": bundle.fingerprint, "format": output.suffix, "threads": threads}
    if asked.streams is not None:
        facts["streams"] = asked.streams
    facts |= {"pair": source.pair, "columns": str(getattr(source, "columns", ""))}
    facts |= {"batch_tokens": asked.batch_tokens, **asdict(asking)}
    begin = time.perf_counter()
    with rows_bar(quiet) as progress:
        job = Job(source, output, form, facts, say=_say, progress=progress)
        if ray is not None:
            with _on_ray(bundle, asked, asking, job, threads, ray, workers) as (rounding, work):
                rows = run_job(replace(job, facts=facts | rounding), work)
        else:
            from xopt.bulk.local import rounding_of, work_here

            with Model.open(
                bundle, threads=threads, streams=asked.streams, device=asked.device
            ) as model:
                model.say = _say
                model.warm_up()
                job = replace(job, facts=facts | rounding_of(model))
                rows = run_job(job, work_here(model, asking, form, batch_tokens=asked.batch_tokens))
    seconds = time.perf_counter() - begin
    if quiet:
        print_json({"output": str(output), "rows": rows, "prompt": prompt, "seconds": seconds})
    else:
        _say(f"{rows:,} row{'' if rows == 1 else 's'} in {seconds:,.1f} s: {output}")


def _on_ray(
    bundle: Bundle, asked: Asked, asking: Asking, job: Job, threads: int | None, address: str,
    workers: int,
) -> AbstractContextManager[tuple[dict[str, str], Work]]:  # fmt: skip
    from xopt.bulk.ray import WorkerOptions, workers_on_ray

    folder = str(bundle.folder.resolve())
    options = WorkerOptions(
        folder, bundle.fingerprint, threads, asked.streams, asked.device, asking, job.format,
        asked.batch_tokens,
    )  # fmt: skip
    return workers_on_ray(options, address, workers)


def _say(sentence: str) -> None:
    error_console().print(sentence, highlight=False, markup=False)
