"""One phase: the model is made, its batches are planned, it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open

from xopt.calibrate.corpus import Corpus
from xopt.compile.checkpoint import Checkpoint
from xopt.progress import Progress
from xopt.tokenization import Tokenizer
from xopt.tune.batches import Collate, Plan, Stream
from xopt.tune.data import TaskData
from xopt.tune.distill import Distillation, prepare_student
from xopt.tune.encode import Item, encode_examples
from xopt.tune.heads import Heads, load_encoder, load_tuned, put_heads
from xopt.tune.mlm import MlmBatches, MlmHead, masking_ids
from xopt.tune.options import TuneOptions
from xopt.tune.parts import words_of
from xopt.tune.qat import insert_quantizers, remove_quantizers
from xopt.tune.qat_sites import measure_sites
from xopt.tune.recipes import Numbers, process_count
from xopt.tune.training import DevSet, Trained, train_phase
from xopt.tune.vocabulary import cut_table

__all__ = ["Stage", "StageResult", "run_stage"]


@dataclass(frozen=True)
class Stage:
    """A phase: what it does, and on which tasks."""

    kind: Literal["intermediate", "target", "student", "qat"]
    tasks: tuple[str, ...]

    @property
    def title(self) -> str:
        """As progress shows it."""
        words = {"intermediate": "phase 2", "target": "phase 3"}.get(self.kind, self.kind)
        return f"{words}: {', '.join(self.tasks)}"


@dataclass(frozen=True)
class StageResult:
    """A phase's model, what training did, and what ``training.json`` says besides."""

    model: Any
    trained: Trained
    details: dict[str, Any]


def run_stage(
    stage: Stage,
    folder: Path,
    checkpoint: Checkpoint,
    data: Mapping[str, TaskData],
    options: TuneOptions,
    numbers: Numbers,
    texts: Corpus | None,
    work: Path,
    progress: Progress,
) -> StageResult:
    """Train one phase.

    Args:
        stage: which.
        folder: the checkpoint it starts from.
        checkpoint: the one that the first phase started from; it has the same tokens and limits.
        data: of each task.
        options: as asked.
        numbers: as decided.
        texts: whose masked tokens are guessed too; None leaves that out.
        work: for the Trainer's checkpoints.
        progress: told the share that is done.
    """
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    padding = _padding(checkpoint)
    train: dict[str, list[Item]] = {}
    dev: dict[str, DevSet] = {}
    for name, found in data.items():
        limit = numbers.max_tokens[name]
        train[name] = encode_examples(found.task, found.train, found.labels, tokenizer, limit)
        items = encode_examples(found.task, found.dev, found.labels, tokenizer, limit)
        dev[name] = DevSet(found, items)
    model, models = _load(stage, folder, data, options)
    table, masked, head, extra_loss = None, None, None, None
    if texts is None:
        every = [
            item for part in (*train.values(), *(d.items for d in dev.values())) for item in part
        ]
        table = cut_table(encoder_of(model), every, padding)
    else:
        masked = _masked_batches(texts, tokenizer, checkpoint, options, numbers)
        head = _masked_head(checkpoint)
    if stage.kind == "student":
        assert options.student_layers is not None
        teacher, model = model, prepare_student(model, options.student_layers)
        extra_loss = Distillation(teacher, model)
        models = dict.fromkeys(models, model)
    if stage.kind == "qat":
        insert_quantizers(model, measure_sites(folder, options.int8))
    base = encoder_of(model)
    if options.freeze_embeddings:
        for part in base.modules():
            if isinstance(part, torch.nn.Embedding):
                part.requires_grad_(False)
    rows = None if table is None else table.rows
    collate = Collate(padding, checkpoint.config.types, rows)
    plan = _plan(train, data, options, numbers, collate, masked)
    trained = train_phase(
        Heads(models, head),
        plan,
        dev,
        options,
        steps=numbers.steps,
        lr=numbers.lr,
        evaluate_every=numbers.evaluate_every,
        work=work,
        progress=progress,
        extra_loss=extra_loss,
    )
    model = model.cpu().eval()
    if stage.kind == "qat":
        remove_quantizers(model)
    moved = 0 if options.freeze_embeddings else words_of(base).num_embeddings
    if table is not None:
        table.restore(base)
    details = {
        "items": {name: len(part) for name, part in train.items()},
        "batches": plan.counts,
        "tuned_embedding_rows": moved,
    }
    return StageResult(model, trained, details)


def encoder_of(model: Any) -> Any:
    """An encoder itself, or that of a model with a head."""
    return getattr(model, "base_model", model)


def _padding(checkpoint: Checkpoint) -> int:
    """Id of the padding token; RoBERTa counts positions from the number after it."""
    first = checkpoint.config.first_position
    return first - 1 if first else int(checkpoint.raw.get("pad_token_id") or 0)


def _load(
    stage: Stage, folder: Path, data: Mapping[str, TaskData], options: TuneOptions
) -> tuple[Any, dict[str, Any]]:
    """What is saved in the end, and the model of each task."""
    if stage.kind in ("student", "qat"):
        [task] = data.values()
        model = load_tuned(folder, task.task.head)
        return model, {task.task.name: model}
    encoder = load_encoder(folder)
    tasks = {name: (found.task, found.labels) for name, found in data.items()}
    models = put_heads(encoder, tasks, options.seed)
    return (encoder if stage.kind == "intermediate" else models[stage.tasks[0]]), models


def _plan(
    train: Mapping[str, list[Item]],
    data: Mapping[str, TaskData],
    options: TuneOptions,
    numbers: Numbers,
    collate: Collate,
    masked: MlmBatches | None,
) -> Plan:
    parts = options.gradient_accumulation
    streams = {
        name: Stream(items, numbers.batch[name] // parts, options.seed, number)
        for number, (name, items) in enumerate(train.items())
    }
    return Plan(
        streams,
        {name: found.task.head for name, found in data.items()},
        # Of several processes each takes every n-th batch.
        batches=numbers.steps * parts * process_count(),
        probabilities=numbers.probabilities,
        seed=options.seed,
        collate=collate,
        mlm=masked,
    )


def _masked_batches(
    texts: Corpus,
    tokenizer: Tokenizer,
    checkpoint: Checkpoint,
    options: TuneOptions,
    numbers: Numbers,
) -> MlmBatches:
    mask, special = masking_ids(checkpoint.tokenizer.path)
    return MlmBatches(
        texts,
        tokenizer,
        mask,
        special,
        checkpoint.config.vocabulary,
        _padding(checkpoint),
        batch=max(numbers.batch.values()) // options.gradient_accumulation,
        max_tokens=max(numbers.max_tokens.values()),
        seed=options.seed,
    )


def _masked_head(checkpoint: Checkpoint) -> MlmHead:
    """The checkpoint's own head of masked language modelling, or a new one."""
    config = checkpoint.config
    head = MlmHead(config.hidden, config.vocabulary, config.epsilon)
    state = {}
    for path in checkpoint.weight_files:
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118  (a handle, not a mapping)
                if name.startswith(("lm_head.", "cls.")):
                    state[name] = weights.get_tensor(name).float()
    head.take_weights(state)
    return head
