"""The numbers of a phase: those asked for, else each task's own."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from xopt.errors import InputError
from xopt.tune.batches import MLM
from xopt.tune.data import TaskData
from xopt.tune.options import TuneOptions
from xopt.tune.sampling import task_probabilities

__all__ = ["Numbers", "decide_numbers", "process_count"]

# The paper halves its rate where masked texts are mixed in (from memory, not verified).
MLM_RATE = 0.5
EVALUATIONS = 10
EVALUATE_AT_MOST = 1000


@dataclass(frozen=True)
class Numbers:
    """What a phase runs with.

    Attributes:
        lr: highest learning rate.
        batch: examples of a step in each process, of each task.
        max_tokens: of an input, of each task.
        steps: of the optimiser.
        evaluate_every: steps.
        probabilities: of each task, and of ``mlm`` where it is mixed in.
    """

    lr: float
    batch: Mapping[str, int]
    max_tokens: Mapping[str, int]
    steps: int
    evaluate_every: int
    probabilities: Mapping[str, float]


def process_count() -> int:
    """How many processes train together, as torchrun and accelerate launch say."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def decide_numbers(data: Mapping[str, TaskData], options: TuneOptions, *, mlm: bool) -> Numbers:
    """The numbers of a phase over these tasks.

    Raises:
        InputError: a batch that does not split into its parts.
    """
    batch = {name: options.batch or task.task.recipe.batch for name, task in data.items()}
    for name, size in batch.items():
        if size % options.gradient_accumulation:
            raise InputError(
                f"The batch of {name}, {size}, does not split into "
                f"{options.gradient_accumulation} parts.",
                hint="Give --batch, a multiple of --gradient-accumulation.",
            )
    sizes = {name: len(task.train) for name, task in data.items()}
    shares = dict(
        task_probabilities(
            sizes,
            sampling=options.sampling,
            temperature=options.temperature,
            cap=options.examples_cap,
        )
    )
    steps = options.max_steps
    if steps is None:
        # A task beyond the cap counts as the cap: with one task alone there is nothing to mix.
        cap = options.examples_cap if len(data) > 1 else max(sizes.values())
        steps = sum(
            (options.epochs or task.task.recipe.epochs)
            * math.ceil(min(sizes[n], cap) / (batch[n] * process_count()))
            for n, task in data.items()
        )
    rate = max(task.task.recipe.lr for task in data.values())
    if mlm:
        rate *= MLM_RATE
        shares = {name: p * (1 - options.mlm_share) for name, p in shares.items()}
        shares[MLM] = options.mlm_share
        if options.max_steps is None:
            steps = math.ceil(steps / (1 - options.mlm_share))
    every = options.evaluate_every or min(EVALUATE_AT_MOST, math.ceil(steps / EVALUATIONS))
    return Numbers(
        lr=options.lr or rate,
        batch=batch,
        max_tokens={n: options.max_tokens or t.task.recipe.max_tokens for n, t in data.items()},
        steps=steps,
        evaluate_every=every,
        probabilities=shares,
    )
