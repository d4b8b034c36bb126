"""A shallower copy of a tuned checkpoint, taught by it.

The student begins as the teacher's evenly spaced layers, the last among them (as DistilBERT takes
every other one, Sanh et al., 2019), under the teacher's own embeddings and head. It learns the
teacher's logits, softened by a temperature (Hinton et al., 2015), and after each of its layers the
hidden state that the teacher has there (TinyBERT, Jiao et al., 2020), beside the labels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xopt.errors import InputError
from xopt.tune.encode import IGNORED
from xopt.tune.parts import layers_of, set_layers

__all__ = ["Distillation", "layer_places", "prepare_student", "soft_loss"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Far below any logit, and finite: it has to survive a division and half precision.
NEVER = -1e4


def layer_places(teacher: int, student: int) -> tuple[int, ...]:
    """The teacher's layers, counted from 0, that become the student's.

    Raises:
        InputError: the student has no layer, or is not shallower.
    """
    if not 1 <= student < teacher:
        raise InputError(
            f"--student-layers is {student}; the checkpoint has {teacher} layers.",
            hint=f"Possible: 1 to {teacher - 1}.",
        )
    return tuple(round((number + 1) * teacher / student) - 1 for number in range(student))


def prepare_student(model: Any, layers: int) -> Any:
    """A copy of a transformers model with any head, of ``layers`` layers.

    Raises:
        InputError: see :func:`layer_places`.
    """
    places = layer_places(len(layers_of(model.base_model)), layers)
    student = copy.deepcopy(model)
    whole = layers_of(student.base_model)
    set_layers(student.base_model, [whole[place] for place in places])
    return student


class Distillation:
    """What a student's loss is beside the labels': of its logits and of its hidden states.

    Args:
        teacher: is only asked; not trained.
        student: made by :func:`prepare_student` from ``teacher``.
        temperature: of the logits.
        hidden_weight: of the mean squared error of the hidden states; 0 leaves it out.
    """

    def __init__(
        self, teacher: Any, student: Any, *, temperature: float = 2.0, hidden_weight: float = 1.0
    ) -> None:
        if not temperature > 0 or hidden_weight < 0:
            raise InputError("A distillation's temperature is above 0, its weight not below.")
        self.teacher = teacher.requires_grad_(False).eval()
        self.temperature, self.hidden_weight = temperature, hidden_weight
        ours, theirs = layers_of(student.base_model), layers_of(teacher.base_model)
        places = layer_places(len(theirs), len(ours))
        self._ours = [_Last(layer) for layer in ours]
        self._theirs = [_Last(theirs[place]) for place in places]

    def __call__(self, model: Any, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """The loss of a batch that the student has just answered.

        Args:
            model: the student; its hidden states are those of its last call.
            outputs: what it answered.
            inputs: what it was given: ``[B, S]``, or ``[B, C, S]`` for multiple choice.
        """
        given = {name: inputs[name] for name in INPUTS if name in inputs}
        self.teacher.to(given["input_ids"].device)
        with torch.no_grad():
            wanted = self.teacher(**given)
        loss = soft_loss(outputs, wanted, inputs, self.temperature)
        if self.hidden_weight:
            real = given["attention_mask"].flatten(0, -2).bool()
            pairs = zip(self._ours, self._theirs, strict=True)
            errors = [F.mse_loss(s.value[real].float(), t.value[real].float()) for s, t in pairs]
            loss = loss + self.hidden_weight * torch.stack(errors).mean()
        return loss


class _Last:
    """Keeps what a layer gave last: ``[B, S, hidden]``."""

    def __init__(self, layer: nn.Module) -> None:
        self.value = torch.empty(0)
        layer.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.value = output[0] if isinstance(output, tuple) else output


def soft_loss(student: Any, teacher: Any, inputs: Mapping[str, Any], temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student's answers from the teacher's, times T squared.

    Args:
        student: output of a transformers model with any head.
        teacher: output of the teacher, with the same head.
        inputs: ``labels`` say which tokens of a tagging task are read, ``attention_mask`` where a
            span may lie.
        temperature: T.
    """
    if "start_logits" in student:
        padding = inputs["attention_mask"] == 0
        pairs = [
            tuple(side[name].masked_fill(padding, NEVER) for side in (student, teacher))
            for name in ("start_logits", "end_logits")
        ]
    else:
        ours, theirs = student["logits"], teacher["logits"]
        if ours.dim() == 3:
            labels = inputs.get("labels")
            read = inputs["attention_mask"] == 1 if labels is None else labels != IGNORED
            ours, theirs = ours[read], theirs[read]
        pairs = [(ours, theirs)]
    losses = [
        F.kl_div(
            F.log_softmax(ours.float() / temperature, dim=-1),
            F.log_softmax(theirs.float() / temperature, dim=-1),
            log_target=True,
            reduction="sum",
        )
        / max(len(ours), 1)
        for ours, theirs in pairs
    ]
    return torch.stack(losses).mean() * temperature**2
