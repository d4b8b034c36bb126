"""A sweep's quantizers are those of what it builds."""

from __future__ import annotations

from typing import Any

import pytest

from xopt.tune.options import TuneOptions
from xopt.tune.sweep.cells import plan_sweep
from xopt.tune.sweep.experiment import Experiment


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ({"engines": ["cuda", "cpu"], "precisions": ["fp16", "int8"]}, {"qat_target": "cuda"}),
        ({"build": {"cpu": "any"}}, {"cpu": "any"}),
        ({"engines": ["cuda"], "precisions": ["int8-attention"]},
         {"qat_target": "cuda", "qat_precision": "int8-attention"}),
        ({"precisions": ["fp32"]}, {}),
    ],
)  # fmt: skip
def test_quantizers_are_for_the_first_int8_that_is_built(
    asked: dict[str, Any], form: dict[str, str]
) -> None:
    base: dict[str, Any] = {"name": "t", "checkpoints": ["base/model"], "targets": ["panx"]}
    plan = plan_sweep(Experiment(**base | {"qat": [True], "precisions": ["int8"]} | asked))
    [options] = [step.options for step in plan.steps if step.kind == "tune"]
    names = ("qat_target", "qat_precision", "cpu")
    assert {name: options[name] for name in names if name in options} == form
    TuneOptions(**{k: v for k, v in options.items() if k != "checkpoint"})
