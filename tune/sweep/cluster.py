"""The same steps on a Ray cluster (Moritz et al., 2018): each as soon as those before it are done.

Every machine needs this xopt, and must see the sweep's folder, the data and the checkpoints under
the paths that they have here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xopt.cluster import connect
from xopt.progress import Progress, Silent
from xopt.tune.phases import tune_checkpoint
from xopt.tune.sweep.cells import Plan, Step
from xopt.tune.sweep.run import Failure, Outcome, begin, collect, do_step, failure

__all__ = ["run_on_ray"]


def run_on_ray(plan: Plan, folder: Path, address: str, progress: Progress | None = None) -> Outcome:
    """Do all pending steps on a cluster.

    Args:
        plan: what to do.
        folder: the sweep's.
        address: of the cluster as ``ray.init`` takes it, or ``local`` for one of this machine's.
        progress: told the finished share.

    Raises:
        InputError: the cluster cannot be reached.
        MissingExtraError: ray is not installed.
    """
    progress = progress or Silent()
    pending = begin(plan, folder)
    ray = connect(address, why="xopt sweep --ray")
    try:
        asked = plan.experiment.ray
        whole = asked.measure_cpus or _smallest_node(ray)
        remote = ray.remote(max_retries=0)(_attempt)
        submitted: dict[str, Any] = {}
        for step in pending:
            wishes = {"num_cpus": asked.cpus, "num_gpus": asked.gpus}
            if step.kind == "measure":
                wishes = {"num_cpus": whole}
            before = submitted.get(step.after) if step.after else None
            task = remote.options(**wishes, name=f"{step.kind} {step.name}")
            submitted[step.fingerprint] = task.remote(plan, step, str(folder.resolve()), before)
        failures = _follow(ray, pending, submitted, progress)
    finally:
        ray.shutdown()
    return collect(plan, folder, failures)


def _attempt(plan: Plan, step: Step, folder: str, before: Failure | None) -> Failure | None:
    """On a worker: do a step unless the one before it failed."""
    if before is not None:
        return Failure(step.name, f"rests on {before.step}")
    try:
        do_step(plan, step, Path(folder), None, tune_checkpoint)
    except Exception as error:
        return failure(step, error)
    return None


def _smallest_node(ray: Any) -> int:
    """CPUs of the smallest node, so that every node can take a measurement, and only one."""
    sizes = [int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]]
    return min((size for size in sizes if size > 0), default=1)


def _follow(
    ray: Any, pending: list[Step], submitted: dict[str, Any], progress: Progress
) -> list[Failure]:
    """Wait for every step; a worker that died counts as a step that failed."""
    progress.stage(f"{len(pending)} steps on the cluster")
    waiting = {submitted[step.fingerprint]: step for step in pending}
    failures: list[Failure] = []
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1)
        step = waiting.pop(ready[0])
        try:
            found = ray.get(ready[0])
        except Exception as error:
            found = failure(step, error)
        if found is not None:
            failures.append(found)
        progress.share(1 - len(waiting) / len(pending))
    return failures
