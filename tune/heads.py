"""One encoder and the heads of the tasks it is tuned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xopt.errors import require
from xopt.tune.batches import MLM
from xopt.tune.mlm import MlmHead
from xopt.tune.parts import words_of
from xopt.tune.tasks import TrainingTask

__all__ = ["AUTO", "Heads", "Tuning", "load_encoder", "load_tuned", "put_heads"]

AUTO = {
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "choice": "AutoModelForMultipleChoice",
}

Tuning = Mapping[str, tuple[TrainingTask, Sequence[str]]]


def quiet_transformers() -> Any:
    """transformers, without its remarks on heads that are new on purpose."""
    transformers = require("transformers", extra="tune", why="xopt tune")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_encoder(folder: Path) -> Any:
    """The encoder of a checkpoint, in fp32, without whatever head it has.

    Its pooler is kept where the checkpoint has one, as BERT's own is.
    """
    transformers = quiet_transformers()
    encoder, found = transformers.AutoModel.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    if any(name.startswith("pooler") for name in found["missing_keys"]):
        encoder.pooler = None
    return encoder


def load_tuned(folder: Path, head: str) -> Any:
    """A tuned checkpoint with its head, in fp32."""
    kind = getattr(quiet_transformers(), AUTO[head])
    return kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)


def put_heads(encoder: Any, tasks: Tuning, seed: int) -> dict[str, Any]:
    """A model with a new head for each task, all of them on the same encoder.

    Args:
        encoder: from :func:`load_encoder`; the models share its modules.
        tasks: each with its labels.
        seed: of the heads' weights.
    """
    models = {}
    for number, (name, (task, labels)) in enumerate(tasks.items()):
        torch.manual_seed(seed * 1000 + number)
        models[name] = _put_head(encoder, task, labels)
    return models


def _put_head(encoder: Any, task: TrainingTask, labels: Sequence[str]) -> Any:
    kind = getattr(quiet_transformers(), AUTO[task.head])
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {name: number for number, name in enumerate(labels)}
    elif task.head == "span":
        config.id2label, config.label2id = {0: "start", 1: "end"}, {"start": 0, "end": 1}
    # transformers writes it with the first loss that a process computes, so that the file would say
    # where a phase was cut off.
    single = task.head == "classify"
    config.problem_type = "single_label_classification" if single else None
    # The encoder's own parts come in a moment; drawing 250,000 rows for nothing takes seconds.
    sizes = {"vocab_size": 2 + (config.pad_token_id or 0), "num_hidden_layers": 1}
    true = {key: getattr(config, key) for key in sizes}
    for key, value in sizes.items():
        setattr(config, key, value)
    model = kind.from_config(config, dtype=torch.float32)
    for key, value in true.items():
        setattr(model.config, key, value)
    base = model.base_model
    for name, part in encoder.named_children():
        # Not every head's class has a pooler.
        if getattr(base, name, None) is not None:
            setattr(base, name, part)
    return model


class Heads(nn.Module):
    """What the Trainer sees: a batch names its task and gets that task's loss.

    Args:
        models: by task, sharing an encoder.
        mlm: head of masked language modelling, where it is mixed in.
    """

    def __init__(self, models: Mapping[str, Any], mlm: MlmHead | None = None) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.mlm = mlm
        self._again = set[str]()
        for named in (self.named_parameters, self.named_buffers):
            every = {name for name, _ in named(remove_duplicate=False)}
            self._again |= every - {name for name, _ in named()}

    @property
    def base(self) -> Any:
        """The encoder as the first task's model holds it."""
        return next(iter(self.models.values())).base_model

    def forward(self, task: str, **inputs: Tensor) -> Any:
        """The task's own output, with ``loss`` where targets are given."""
        if task != MLM:
            return self.models[task](**inputs)
        assert self.mlm is not None
        labels = inputs.pop("labels")
        states = self.base(**inputs).last_hidden_state
        words = words_of(self.base).weight
        return {"loss": self.mlm(states, words, labels)}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Every weight once: safetensors takes no tensor under two names."""
        found = super().state_dict(*args, **kwargs)
        return {name: value for name, value in found.items() if name not in self._again}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Take what :meth:`state_dict` gave."""
        result = super().load_state_dict(state_dict, strict=False)
        return type(result)(
            [name for name in result.missing_keys if name not in self._again],
            result.unexpected_keys,
        )
