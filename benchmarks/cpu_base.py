"""What the peers of ``cpu.py`` share: the form of a call, padding, transformers' model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[NDArray[np.int32]]
Call = Callable[[Ids], object]
Peer = Callable[[Path, Path, int], Call]


def padded(ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``[B, S]`` ids and attention mask."""
    lengths = np.array([len(i) for i in ids])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    table = np.ones(mask.shape, np.int64)
    table[mask] = np.concatenate(ids)
    return table, mask.astype(np.int64)


def onnxruntime_call(place: Path, threads: int) -> Call:
    """An ONNX model that takes padded ids and their mask, in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(place, options, ["CPUExecutionProvider"])

    def call(ids: Ids) -> object:
        table, mask = padded(ids)
        return session.run(None, {"input_ids": table, "attention_mask": mask})

    return call


def torch_model(checkpoint: Path, attention: str = "sdpa") -> Any:
    """transformers' classifier in fp32."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype="float32", attn_implementation=attention
    ).eval()


def padded_logits(checkpoint: Path, attention: str = "sdpa") -> Any:
    """As :func:`of_ids_and_mask`, of the classifier."""
    return of_ids_and_mask(torch_model(checkpoint, attention), "logits")


def of_ids_and_mask(model: Any, answer: str) -> Any:
    """The model with ids and mask as its only arguments, one answer, and an example of both."""
    import torch

    class OneAnswer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return getattr(self.model(input_ids, attention_mask=attention_mask), answer)

    ids = torch.ones((3, 7), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return OneAnswer().eval(), (ids, mask)
