"""Triton's Python backend as far as our model asks it, and a model that is started in it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.deploy.pbtxt import parse

from xopt.cli import deploy  # noqa: F401
from xopt.deploy.serve import TritonPythonModel


class Tensor:
    def __init__(self, name: str, array: Any) -> None:
        self.name, self.array = name, array

    def as_numpy(self) -> Any:
        return self.array


class Response:
    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.tensors = {tensor.name: tensor.array for tensor in output_tensors}
        self.failure = error

    def has_error(self) -> bool:
        return self.failure is not None

    def error(self) -> Any:
        return self.failure


class Failure:
    INTERNAL, INVALID_ARG = 1, 3

    def __init__(self, text: str, code: int = 1) -> None:
        self.text, self.kind = text, code

    def message(self) -> str:
        return self.text


def fake_triton(answer: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """``triton_python_backend_utils``; ``answer`` is the other model."""
    module: Any = types.ModuleType("triton_python_backend_utils")
    module.asked = []

    class InferenceRequest:
        def __init__(self, **fields: Any) -> None:
            self.fields = fields

        def exec(self) -> Response:
            module.asked.append(self.fields)
            arrays = {tensor.name: tensor.array for tensor in self.fields["inputs"]}
            assert answer is not None
            found = answer(arrays)
            if isinstance(found, str):
                return Response(error=Failure(found))
            [output] = self.fields["requested_output_names"]
            return Response([Tensor(output, found)])

    module.Tensor, module.InferenceResponse, module.TritonError = Tensor, Response, Failure
    module.InferenceRequest = InferenceRequest
    module.TRITONSERVER_MEMORY_CPU = 0
    module.PreferredMemory = lambda kind, number: (kind, number)
    module.get_input_tensor_by_name = lambda request, name: request.get(name)
    module.get_output_tensor_by_name = lambda response, name: Tensor(name, response.tensors[name])
    return module


def served(
    folder: Path, name: str, module: Any, monkeypatch: pytest.MonkeyPatch, **instance: str
) -> TritonPythonModel:
    """The model that Triton would start from this repository."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    config = parse((folder / "models" / name / "config.pbtxt").read_text())
    parameters = {entry["key"][0]: entry["value"][0] for entry in config["parameters"]}
    given = {key: {"string_value": value["string_value"][0]} for key, value in parameters.items()}
    model = TritonPythonModel()
    model.initialize(
        {
            "model_repository": str(folder / "models" / name),
            "model_version": "1",
            "model_config": json.dumps({"parameters": given}),
            "model_name": name,
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            **instance,
        }
    )
    return model


class Request(dict[str, Tensor]):
    """Inputs by name, and parameters as JSON; the empty string where none were sent."""

    asked: str = ""

    def parameters(self) -> str:
        return self.asked


def request(*texts: str | bytes, pairs: tuple[str, ...] = (), parameters: str = "") -> Request:
    found = Request()
    found.asked = parameters
    for name, given in (("TEXT", texts), ("PAIR", pairs)):
        values = [text.encode() if isinstance(text, str) else text for text in given]
        if values:
            found[name] = Tensor(name, np.array(values, object)[:, None])
    return found
