"""What a bundle for TensorRT says of its engine."""

from __future__ import annotations

from typing import Any

from xopt.cli import deploy  # noqa: F401
from xopt.engines.tensorrt.compat import RunsOn

INPUTS: dict[str, list[Any]] = {
    "input_ids": ["T"],
    "position_ids": ["T"],
    "pad_index": ["B", "S", 1],
    "attention_bias": ["B", 1, 1, "S"],
    "cu_seqlens": ["B_plus_1"],
}


RUNS_ON = RunsOn(
    library="tensorrt", version="11.4.0.106", later=False, sm=(89,), above=False,
    gpu="NVIDIA L4", system="Linux", processor="x86_64",
)  # fmt: skip
