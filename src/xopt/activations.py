"""What a checkpoint's own library makes of logits: functions of ``torch.nn``, in numpy.

An exported folder holds a copy of this file, so it needs numpy and nothing of xopt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "CLASSES", "PROBABILITIES", "activate"]

Array = NDArray[np.float64]

# Of these alone an answer is a probability; of every other it is a score.
PROBABILITIES = ("softmax", "sigmoid")


def _logsoftmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    summed: Array = np.exp(shifted).sum(axis=-1, keepdims=True)
    found: Array = shifted - np.log(summed)
    return found


def _softplus(x: Array) -> Array:
    # logaddexp does not overflow on the way; torch gives x itself beyond its threshold of 20.
    return np.where(x > 20, x, np.logaddexp(0.0, x))


def _sigmoid(x: Array) -> Array:
    # exp of a large positive number would overflow on its way to 0.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def _gelu(x: Array) -> Array:
    erf: Any = np.vectorize(math.erf, otypes=[np.float64])
    found: Array = x * (0.5 * (1.0 + erf(x / math.sqrt(2.0))))
    return found


# By the class of torch.nn; each as that class is without arguments.
_OF_CLASSES: dict[str, Callable[[Array], Array]] = {
    "Softmax": lambda x: np.exp(_logsoftmax(x)),
    "Sigmoid": _sigmoid,
    "Identity": lambda x: x,
    "CELU": _elu,
    "ELU": _elu,
    "GELU": _gelu,
    "Hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0.0),
    "Hardsigmoid": lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "Hardswish": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "Hardtanh": lambda x: np.clip(x, -1.0, 1.0),
    "LeakyReLU": lambda x: np.where(x >= 0, x, 0.01 * x),
    "LogSigmoid": lambda x: -np.logaddexp(0.0, -x),
    "LogSoftmax": _logsoftmax,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "ReLU": lambda x: np.maximum(x, 0.0),
    "ReLU6": lambda x: np.clip(x, 0.0, 6.0),
    # Klambauer et al. 2017, "Self-Normalizing Neural Networks", as torch rounds its numbers.
    "SELU": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * _elu(x)),
    "SiLU": lambda x: x * _sigmoid(x),
    "Softmin": lambda x: np.exp(_logsoftmax(-x)),
    "Softplus": _softplus,
    "Softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0),
    "Softsign": lambda x: x / (1.0 + np.abs(x)),
    "Tanh": np.tanh,
    "Tanhshrink": lambda x: x - np.tanh(x),
}
CLASSES = tuple(_OF_CLASSES)
# As a bundle names them.
ACTIVATIONS = {name.lower(): function for name, function in _OF_CLASSES.items()}


def activate(name: str, logits: NDArray[Any]) -> NDArray[np.float32]:
    """The function ``name`` of :data:`ACTIVATIONS` over rows of logits.

    Args:
        name: a key of :data:`ACTIVATIONS`.
        logits: ``[..., labels]``, any float type; softmax and its kin run over the last axis.

    Returns:
        ``[..., labels]`` float32, computed in float64.
    """
    return ACTIVATIONS[name](logits.astype(np.float64)).astype(np.float32)
