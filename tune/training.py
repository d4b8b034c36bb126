"""One phase on the Hugging Face Trainer: batches by plan, English dev score, exact resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from xopt.progress import Progress
from xopt.tune.batches import Plan, by_length
from xopt.tune.checkpoints import checkpoint_at, keep_only, mark_whole, newest_whole
from xopt.tune.data import TaskData
from xopt.tune.encode import Item
from xopt.tune.heads import Heads
from xopt.tune.options import TuneOptions
from xopt.tune.scores import dev_score

__all__ = ["DevSet", "Trained", "train_phase"]

SCORE = "eval_score"
# As the Trainer calls a checkpoint's files.
STATE, WEIGHTS = "trainer_state.json", "model.safetensors"
CURVE_POINTS = 100

ExtraLoss = Callable[[Any, Any, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class DevSet:
    """A task's dev examples and their items."""

    data: TaskData
    items: Sequence[Item]


@dataclass(frozen=True)
class Trained:
    """What a phase did.

    Attributes:
        steps: of the optimiser.
        best_step: whose weights were kept.
        losses: (step, mean loss since the point before).
        scores: (step, dev score of each task and their mean as ``score``), in percent.
        resumed_from: step of the checkpoint it went on from; 0 if it began anew.
        tokens_per_s: of this process, dev sets and checkpoints included; without padding.
    """

    steps: int
    best_step: int
    losses: list[tuple[float, float]]
    scores: list[tuple[float, dict[str, float]]]
    resumed_from: int
    tokens_per_s: float


def train_phase(
    model: Heads,
    plan: Plan,
    dev: Mapping[str, DevSet],
    options: TuneOptions,
    *,
    steps: int,
    lr: float,
    evaluate_every: int,
    work: Path,
    progress: Progress,
    extra_loss: ExtraLoss | None = None,
) -> Trained:
    """Train ``model`` in place and leave in it the weights that are best on the English dev sets.

    Args:
        model: encoder and heads.
        plan: ``steps * gradient_accumulation`` batches for each process.
        dev: of each task.
        options: seed, precision, patience and so on.
        steps: of the optimiser.
        lr: highest learning rate.
        evaluate_every: steps between evaluations, each with a checkpoint.
        work: checkpoints are kept here; a phase that was cut off goes on from the newest whole one.
        progress: told the share that is done.
        extra_loss: added to the task's: (model, outputs, inputs) -> scalar.
    """
    work.mkdir(parents=True, exist_ok=True)
    newest, from_step = newest_whole(work)
    watch = _Watch(progress, options.patience)
    trainer = _Trainer(
        plan=plan,
        dev=dev,
        extra_loss=extra_loss,
        model=model,
        args=_arguments(options, steps, lr, evaluate_every, work),
        eval_dataset=[0],
        callbacks=[watch],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    begin = time.perf_counter()
    state = transformers.TrainerState.load_from_json(str(newest / STATE)) if newest else None
    if state is not None and _is_stale(state.log_history, options.patience):
        # It was cut off after its last step: the Trainer would take one more before it stops.
        assert state.best_global_step is not None
        model.load_state_dict(load_file(checkpoint_at(work, state.best_global_step) / WEIGHTS))
    else:
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        state = trainer.state
    seconds = time.perf_counter() - begin
    each = options.gradient_accumulation
    tokens = plan.tokens(state.global_step * each) - plan.tokens(from_step * each)
    history = state.log_history
    return Trained(
        steps=state.global_step,
        best_step=int(state.best_global_step or state.global_step),
        losses=[(e["step"], e["loss"]) for e in history if "loss" in e],
        scores=[
            (e["step"], {k.removeprefix("eval_"): e[k] for k in e if k.startswith("eval_")})
            for e in history
            if SCORE in e
        ],
        resumed_from=from_step,
        tokens_per_s=tokens / seconds,
    )


def _arguments(
    options: TuneOptions, steps: int, lr: float, evaluate_every: int, work: Path
) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=options.gradient_accumulation,
        learning_rate=lr,
        lr_scheduler_type="linear",
        warmup_steps=int(np.ceil(steps * options.warmup)),
        weight_decay=0.0,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        use_cpu=not torch.cuda.is_available(),
        bf16=options.precision == "bf16",
        seed=options.seed,
        full_determinism=torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=evaluate_every,
        save_strategy="steps",
        save_steps=evaluate_every,
        # Old ones are removed once the new one is whole (`_Watch`).
        save_total_limit=None,
        load_best_model_at_end=True,
        metric_for_best_model=SCORE,
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=max(1, steps // CURVE_POINTS),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        ddp_find_unused_parameters=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
    )


class _Watch(transformers.TrainerCallback):
    """Tells the progress, marks checkpoints as whole, and stops a phase that no longer gains.

    How long ago the best score was is read from the history, which a checkpoint holds: a resumed
    phase stops where an uninterrupted one does.
    """

    def __init__(self, progress: Progress, patience: int) -> None:
        self.progress, self.patience = progress, patience

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.progress.share(state.global_step / state.max_steps)
        if state.global_step == state.max_steps:
            # The end is always looked at, whatever the interval.
            control.should_evaluate = control.should_save = True
        # A checkpoint holds no losses since the last point of the curve.
        control.should_log = control.should_log or control.should_save
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if _is_stale(state.log_history, self.patience):
            control.should_training_stop = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if torch.distributed.is_initialized():
            # Each process writes the state of its own random numbers.
            torch.distributed.barrier()
        if state.is_world_process_zero:
            work = Path(args.output_dir)
            mark_whole(checkpoint_at(work, state.global_step))
            keep_only(work, (state.global_step, state.best_global_step))
        return control


def _is_stale(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the best score was as many looks ago as a phase waits for a better one."""
    scores = [entry[SCORE] for entry in history if SCORE in entry]
    return bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= patience


class _Trainer(transformers.Trainer):
    """The Trainer with batches by plan and a score of our own."""

    def __init__(
        self,
        *,
        plan: Plan,
        dev: Mapping[str, DevSet],
        extra_loss: ExtraLoss | None,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.plan, self.dev, self.extra_loss = plan, dev, extra_loss
        # Every batch counts alike, whatever its number of labels.
        self.model_accepts_loss_kwargs = False

    def get_train_dataloader(self) -> Any:
        """One batch of the plan at a time; several processes take turns."""
        loader = torch.utils.data.DataLoader(self.plan, batch_size=1, collate_fn=_only)
        return self.accelerator.prepare(loader)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The task's loss, and what a distillation adds to it."""
        outputs = model(**inputs)
        loss = outputs["loss"]
        if self.extra_loss is not None:
            loss = loss + self.extra_loss(model, outputs, inputs)
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The dev score of each task, and their mean, by which the best checkpoint is chosen."""
        model = self.accelerator.unwrap_model(self.model)
        training = model.training
        model.eval()
        scores = {name: self._score(model, name, dev) for name, dev in self.dev.items()}
        model.train(training)
        metrics = {f"eval_{name}": score for name, score in scores.items()}
        metrics[SCORE] = float(np.mean(list(scores.values())))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _score(self, model: Heads, name: str, dev: DevSet) -> float:
        head = dev.data.task.head
        logits: list[Any] = [None] * len(dev.items)
        size = 2 * self.plan.streams[name].size
        for places in by_length(dev.items, size):
            batch = self.plan.collate([dev.items[i] for i in places], head)
            inputs = {
                key: value.to(self.args.device)
                for key, value in batch.items()
                if key in ("input_ids", "attention_mask", "token_type_ids")
            }
            with torch.no_grad():
                found = model(task=name, **inputs)
            if head == "span":
                rows = torch.stack([found.start_logits, found.end_logits], dim=-1)
            else:
                rows = found.logits
            for place, row in zip(places, rows.float().cpu().numpy(), strict=True):
                logits[place] = row
        return dev_score(dev.data, dev.items, logits)


def _only(batch: Sequence[Any]) -> Any:
    """The one element: the plan's batches are tensors already."""
    [one] = batch
    return one
