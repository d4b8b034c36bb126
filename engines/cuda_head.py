"""The head of the CUDA engine, in PyTorch and fp32 as in the lowered graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from xopt.engines import kernels
from xopt.engines.activate import ACTIVATE

__all__ = ["Head"]

# What stands between the states and the logits where the facts name nothing else.
FORMS: dict[str, dict[str, Any]] = {
    "classify": {"pool": "first", "activation": "tanh", "norm": None},
    "tag": {"pool": "token", "activation": None, "norm": None},
    "span": {"pool": "token", "activation": None, "norm": None},
}


class Head:
    """States -> answer.

    Args:
        tensors: fp32, by the names of :mod:`xopt.engines.cuda_weights`.
        manifest: of the head.
        form: as :meth:`xopt.encoders.spec.HeadForm.manifest` has it; None for BERT's.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], manifest: dict[str, Any], form: dict[str, Any] | None
    ) -> None:
        self.tensors = tensors
        self.embeds = manifest["kind"] == "embed"
        if self.embeds:
            pool = "mean" if manifest["pooling"] == ["mean"] else "first"
            form = {"pool": pool, "activation": None, "norm": None}
        self.form = form or FORMS[manifest["kind"]]

    def __call__(self, x: Tensor, cu_seqlens: Tensor) -> Tensor:
        """``[T, hidden]`` -> ``[B, width]`` or ``[T, width]``."""
        pool, activation, norm = (self.form[key] for key in ("pool", "activation", "norm"))
        if pool == "mean":
            x = kernels.mean_pool(x, cu_seqlens)
        elif pool == "first":
            x = kernels.first_pool(x, cu_seqlens)
        x = x.float()
        if self.embeds:
            return x
        if activation is not None:
            x = ACTIVATE[activation](functional.linear(x, *self._layer("dense")))
        if norm is not None:
            kind, epsilon, _ = norm
            weight, bias = self._layer("norm")
            x = (
                functional.rms_norm(x, x.shape[-1:], weight, epsilon)
                if kind == "rms"
                else functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon)
            )
        logits = functional.linear(x, *self._layer("output"))
        return kernels.mean_pool(logits, cu_seqlens) if pool == "late" else logits

    def _layer(self, name: str) -> tuple[Tensor, Tensor | None]:
        return self.tensors[f"head.{name}.weight"], self.tensors.get(f"head.{name}.bias")
