"""Outputs of kernels that begin as what no answer is full of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

POISON = 85


@contextmanager
def poisoned() -> Iterator[None]:
    """What a kernel module allocates begins as NaN, or as a number that no answer is full of."""

    def poison(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def allocated(*arguments: Any, **options: Any) -> torch.Tensor:
            tensor = allocate(*arguments, **options)
            if sys._getframe(1).f_globals["__name__"].startswith("xopt.engines.kernels"):
                tensor.fill_(torch.nan if tensor.is_floating_point() else POISON)
            return tensor

        return allocated

    with (
        mock.patch.object(torch, "empty", poison(torch.empty)),
        mock.patch.object(torch, "empty_like", poison(torch.empty_like)),
    ):
        yield
